package resources

import (
	"encoding/json"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
)

const (
	// minInside is how long a secret must be to be looked for within other texts: shorter ones are there by chance.
	minInside = 6
	// compared is how much of a secret is compared with a text, alike how many that begin alike are. Beyond either a
	// text counts as a copy, so that the work stays in proportion to the size.
	compared = 64
	alike    = 8
)

// contents are those of secrets.
type contents struct {
	seed   maphash.Seed
	trees  map[uint64]bool     // sums of maps and lists: their keys may be secret, too
	leaves map[any]bool        // strings and numbers
	starts map[string][]string // the beginnings of the strings that are looked for within others, by how those begin
}

func newContents() *contents {
	return &contents{
		seed: maphash.MakeSeed(), trees: map[uint64]bool{}, leaves: map[any]bool{},
		starts: map[string][]string{},
	}
}

// collect adds the secrets in a tree, and returns the tree's sum.
func (c *contents) collect(v any, secret bool) uint64 {
	switch v := v.(type) {
	case Secret:
		return c.collect(v.value, true)
	case map[string]any:
		dynamic := isDynamic(v)
		sum := c.sum(v, func(k string, e any) uint64 { return c.collect(e, secret && (!dynamic || k == "value")) })
		if secret && len(v) > 0 {
			c.trees[sum] = true
		}
		return sum
	case []any:
		sum := c.sum(v, func(_ string, e any) uint64 { return c.collect(e, secret) })
		if secret && len(v) > 0 {
			c.trees[sum] = true
		}
		return sum
	case string:
		if secret && v != "" && !c.leaves[v] {
			c.leaves[v] = true
			if len(v) >= minInside {
				c.starts[v[:minInside]] = append(c.starts[v[:minInside]], v[:min(len(v), compared)])
			}
		}
	case json.Number:
		if secret {
			c.leaves[v] = true
		}
	}
	return c.sum(v, nil)
}

// sum is that of a tree; of gives those of the values in it.
func (c *contents) sum(v any, of func(key string, e any) uint64) uint64 {
	var h maphash.Hash
	h.SetSeed(c.seed)
	switch v := v.(type) {
	case map[string]any:
		maphash.WriteComparable(&h, "map")
		for _, k := range slices.Sorted(maps.Keys(v)) {
			maphash.WriteComparable(&h, k)
			maphash.WriteComparable(&h, of(k, v[k]))
		}
	case []any:
		maphash.WriteComparable(&h, "list")
		for _, e := range v {
			maphash.WriteComparable(&h, of("", e))
		}
	default: // nil, bool, string or json.Number
		maphash.WriteComparable(&h, v)
	}
	return h.Sum64()
}

// guardCopies makes a secret of everything in v that is one of c, and of every text with one of c in it.
func (c *contents) guardCopies(v any) any {
	if len(c.trees)+len(c.leaves) == 0 {
		return v
	}
	attributes, isMap := v.(map[string]any)
	if !isMap {
		v, _ = c.guarded(v)
		return v
	}
	for k, e := range attributes { // whose names are the schema's
		attributes[k], _ = c.guarded(e)
	}
	return attributes
}

// guarded is guardCopies with the sum that v had before.
func (c *contents) guarded(v any) (any, uint64) {
	switch at := v.(type) {
	case Secret:
		return v, c.collect(at.value, false)
	case map[string]any:
		sum := c.sum(at, func(k string, e any) (sum uint64) {
			at[k], sum = c.guarded(e)
			return sum
		})
		if c.trees[sum] || c.isKey(at) {
			return Secret{at}, sum
		}
		return at, sum
	case []any:
		i := 0
		sum := c.sum(at, func(_ string, e any) (sum uint64) {
			at[i], sum = c.guarded(e)
			i++
			return sum
		})
		if c.trees[sum] {
			return Secret{at}, sum
		}
		return at, sum
	case string:
		if c.leaves[at] || c.inside(at) {
			return Secret{v}, c.sum(v, nil)
		}
	case json.Number:
		if c.leaves[at] {
			return Secret{v}, c.sum(v, nil)
		}
	}
	return v, c.sum(v, nil)
}

// isKey reports whether a key of a map has a secret in it: it can be hidden with the whole only.
func (c *contents) isKey(m map[string]any) bool {
	for k := range m {
		if c.inside(k) {
			return true
		}
	}
	return false
}

// inside reports whether a text has a secret in it.
func (c *contents) inside(s string) bool {
	if len(c.starts) == 0 {
		return false
	}
	for i := 0; i+minInside <= len(s); i++ {
		if begins := c.starts[s[i:i+minInside]]; len(begins) > alike ||
			slices.ContainsFunc(begins, func(begin string) bool { return strings.HasPrefix(s[i:], begin) }) {
			return true
		}
	}
	return false
}
