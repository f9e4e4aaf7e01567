package resources

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// Redacted is what stands for a secret.
const Redacted = "(sensitive)"

// Secret is a part of a value tree that is not to be shown. It formats and encodes as [Redacted].
type Secret struct{ value any }

// String implements [fmt.Stringer].
func (Secret) String() string { return Redacted }

// GoString implements [fmt.GoStringer]: %#v would show the value.
func (Secret) GoString() string { return Redacted }

// MarshalJSON implements [json.Marshaler].
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(Redacted) }

// Reveal returns the value tree with its secrets shown.
func Reveal(v any) any {
	switch v := v.(type) {
	case Secret:
		return Reveal(v.value)
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = Reveal(e)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = Reveal(e)
		}
		return l
	}
	return v
}

func guardOutput(name string, declared bool, value any) any {
	if declared {
		return Secret{value}
	}
	return guardNames(value, secretName(name), nil)
}

// guard replaces the secrets in the attributes of an instance. sensitive is its "sensitive_attributes".
func guard(typ string, attributes any, sensitive json.RawMessage) any {
	var paths [][]struct {
		Type  string          `json:"type"`
		Value json.RawMessage `json:"value"`
	}
	if len(sensitive) > 0 && json.Unmarshal(sensitive, &paths) != nil {
		return Secret{attributes} // something is, and it cannot be told what
	}
	for _, path := range paths {
		var keys []any
		for _, step := range path {
			key, ok := stepKey(step.Type, step.Value)
			if !ok {
				break // what is above it, then
			}
			keys = append(keys, key)
		}
		attributes = guardPath(attributes, keys)
	}
	// What a provider computes from them, such as an output from an input, is not marked.
	var declared contents
	declared.collect(attributes, false)
	var payload func(string) bool
	if secretName(typ) {
		payload = payloadName
	}
	return guardNames(declared.guardCopies(attributes), false, payload)
}

// stepKey reads a step of a path: {"type":"get_attr","value":"name"} or
// {"type":"index","value":{"value":0,"type":"number"}}.
func stepKey(typ string, value json.RawMessage) (any, bool) {
	switch typ {
	case "get_attr":
		var name string
		err := json.Unmarshal(value, &name)
		return name, err == nil
	case "index":
		var index struct {
			Value any `json:"value"`
		}
		err := json.Unmarshal(value, &index)
		return index.Value, err == nil
	}
	return nil, false
}

// guardPath makes what is at a path a secret. A path that leads nowhere, into a set for one, makes the last value on it a secret.
func guardPath(v any, path []any) any {
	if _, done := v.(Secret); done {
		return v
	}
	if len(path) == 0 {
		return Secret{v}
	}
	switch at := v.(type) {
	case nil:
		return v
	case map[string]any:
		key, _ := path[0].(string)
		inner, ok := at[key]
		switch dynamic := isDynamic(at); {
		case dynamic && !ok:
			at["value"] = guardPath(at["value"], path)
			return at
		case ok && !dynamic:
			at[key] = guardPath(inner, path[1:])
			return at
		}
	case []any:
		if i, ok := path[0].(float64); ok && i >= 0 && int(i) < len(at) {
			at[int(i)] = guardPath(at[int(i)], path[1:])
			return at
		}
	}
	return Secret{v}
}

// isDynamic recognises how the engines store a value whose type the schema leaves open: {"value":...,"type":...}. Paths to
// what is inside do not mention it.
func isDynamic(m map[string]any) bool {
	typ := m["type"]
	if list, ok := typ.([]any); ok && len(list) == 2 { // ["list","string"]
		typ = list[0]
	}
	name, _ := typ.(string)
	_, hasValue := m["value"]
	return len(m) == 2 && hasValue && dynamicTypes[name]
}

var dynamicTypes = words("string number bool dynamic list set map object tuple")

// contents are those of secrets.
type contents struct {
	trees  []any // maps and lists: their keys may be secret, too
	leaves []any // strings and numbers
}

// collect adds the secrets in a tree.
func (c *contents) collect(v any, secret bool) {
	switch v := v.(type) {
	case Secret:
		c.collect(Reveal(v), true)
	case map[string]any:
		if secret && len(v) > 0 {
			c.trees = append(c.trees, v)
		}
		dynamic := isDynamic(v)
		for k, e := range v {
			if !dynamic || k == "value" {
				c.collect(e, secret)
			}
		}
	case []any:
		if secret && len(v) > 0 {
			c.trees = append(c.trees, v)
		}
		for _, e := range v {
			c.collect(e, secret)
		}
	case string, json.Number:
		if secret && v != "" && !slices.Contains(c.leaves, v) {
			c.leaves = append(c.leaves, v)
		}
	}
}

// guardCopies makes a secret of everything in v that is one of c, and of every text with one of c in it.
func (c *contents) guardCopies(v any) any {
	isCopy := func(secret any) bool { return reflect.DeepEqual(v, secret) }
	switch at := v.(type) {
	case map[string]any:
		if slices.ContainsFunc(c.trees, isCopy) {
			return Secret{v}
		}
		for k, e := range at {
			at[k] = c.guardCopies(e)
		}
	case []any:
		if slices.ContainsFunc(c.trees, isCopy) {
			return Secret{v}
		}
		for i, e := range at {
			at[i] = c.guardCopies(e)
		}
	case string:
		if slices.ContainsFunc(c.leaves, func(secret any) bool {
			s, ok := secret.(string)
			return ok && (at == s || len(s) >= minInside && strings.Contains(at, s))
		}) {
			return Secret{v}
		}
	case json.Number:
		if slices.Contains(c.leaves, v) {
			return Secret{v}
		}
	}
	return v
}

// minInside is how long a secret must be to be looked for within other texts: shorter ones are there by chance.
const minInside = 6
