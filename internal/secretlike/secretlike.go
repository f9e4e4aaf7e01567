// Package secretlike tells what looks like a secret: by the name it has, and by its own looks.
//
// Names are our own rules: words such as password, token or private key, unless the name is of something about a
// secret, as its type, its ARN or its length. Looks are the rules of gitleaks (MIT; gitleaks.toml beside this file is
// theirs, unchanged), and ours for what a scanner of repositories leaves out: headers, URLs, command lines, netrc, XML,
// YAML. Text is looked into where it is JSON or has base64, gzip or escapes in it.
//
// What it guarantees: the work grows with the size of the input and not faster. What it cannot: know a secret that has
// neither a name nor a look. In doubt it says yes.
package secretlike

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
)

const (
	// maxDepth is how deep texts within texts are looked into. Nobody reads what is deeper, so it counts as a secret.
	maxDepth = 8
	// shortest is the length of the shortest text that is looked at: pw=x.
	shortest = 4
	// longestName is how much of a name is looked at, from its end.
	longestName = 128
)

// Name reports whether the values of that name are secrets.
func Name(name string) bool { return classOf(name) != classNone }

// About reports whether a name of several words ends with one that makes it harmless: content_type, value_version.
func About(name string) bool {
	segments := split(tail(name))
	return len(segments) > 1 && aboutTail(segments[len(segments)-1])
}

// Text reports whether s is a secret or has one in it.
func Text(s string) bool { return new(scan).text(s) }

// Named reports whether value is a secret, for its name or its looks.
func Named(name, value string) bool { return namedSecret(name, value) || Text(value) }

// Tree finds secrets in a tree of nil, bool, json.Number, string, []any and map[string]any. Booleans and what is empty
// are none.
type Tree struct {
	// Hide returns what takes the place of a secret, which may be a whole map or list.
	Hide func(secret any) any
	// Payload, if not nil, says of which members of the root, beyond those that are known, the values are secrets.
	Payload func(name string) bool
	// Wrapped, if not nil, recognises a map that stands for its member "value" and has no names of its own.
	Wrapped func(map[string]any) bool
}

// Redact replaces the secrets in v by what Hide makes of them, in place where it can. Anything else, as what was hidden
// before, stays.
func (t Tree) Redact(v any) any {
	c := &scan{tree: t}
	return c.redact(v, t.Payload)
}

// Member is Redact of what has a name.
func (t Tree) Member(name string, v any) any {
	c := &scan{tree: t}
	return c.member(name, v, false, false)
}

// scan is one look into a text or a tree.
type scan struct {
	tree  Tree
	depth int
	// allowance is how many bytes may still be unpacked in the text that is looked into.
	allowance int
	steps     int // bytes that were looked at, for the test that work grows with the size alone
}

// redact is Redact of what has no name of a secret above it.
func (c *scan) redact(v any, payload func(string) bool) any {
	switch v := v.(type) {
	case map[string]any:
		if c.tree.Wrapped != nil && c.tree.Wrapped(v) {
			v["value"] = c.redact(v["value"], payload)
			return v
		}
		pair, jwk := namesSecret(v), isText(v["kty"])
		if v["kind"] == "Secret" && payload == nil { // of Kubernetes
			payload = func(name string) bool { return name == "data" || name == "stringData" }
		}
		for k, e := range v {
			if c.text(k) {
				return c.tree.Hide(v) // a key can be hidden with the whole only
			}
			v[k] = c.member(k, e, pair && valueName(k), payload != nil && payload(k) || jwk && privateInJWK[k])
		}
		return v
	case []any:
		if c.isCommand(v) {
			return c.tree.Hide(v)
		}
		for i, e := range v {
			if i > 0 && isFlag(v[i-1]) {
				v[i] = c.below(e)
			} else {
				v[i] = c.redact(e, nil)
			}
		}
		return v
	case string:
		if c.text(v) {
			return c.tree.Hide(v)
		}
	}
	return v
}

// member redacts what is under a key. named says that a sibling names it as a secret, payload that it is one whatever
// its name.
func (c *scan) member(k string, v any, named, payload bool) any {
	c.steps += len(k)
	switch v := v.(type) {
	case string:
		if v != "" && (payload || named && namedSecret("secret", v) || namedSecret(k, v)) {
			return c.tree.Hide(v)
		}
	case json.Number:
		if secretNumber(k) || named {
			return c.tree.Hide(v)
		}
	case map[string]any, []any:
		if payload && !empty(v) {
			return c.tree.Hide(v)
		}
		if named || classOf(k) == classSecret {
			return c.below(v)
		}
	}
	return c.redact(v, nil)
}

// below redacts what is below the name of a secret: all of it, unless some members have names of their own that say
// that they are about it.
func (c *scan) below(v any) any {
	switch v := v.(type) {
	case nil, bool:
		return v
	case string:
		if v == "" || !namedSecret("secret", v) && !c.text(v) {
			return v
		}
	case map[string]any:
		if len(v) == 0 {
			return v
		}
		if c.tree.Wrapped != nil && c.tree.Wrapped(v) {
			v["value"] = c.below(v["value"])
			return v
		}
		if isSchema(v) {
			return c.redact(v, nil)
		}
		if !speaks(v) {
			break
		}
		for k, e := range v {
			if c.text(k) {
				return c.tree.Hide(v)
			}
			if about(k, v) {
				v[k] = c.member(k, e, false, false)
			} else {
				v[k] = c.below(e)
			}
		}
		return v
	case []any:
		if !speaks(v) {
			break
		}
		for i, e := range v {
			v[i] = c.below(e)
		}
		return v
	}
	if empty(v) {
		return v
	}
	return c.tree.Hide(v)
}

func empty(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// speaks reports whether some member of v is about a secret and none itself, or is nothing to hide anyway.
func speaks(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if about(k, v) {
				return true
			}
			if s, ok := e.(string); ok && arn.MatchString(s) {
				return true
			}
		}
	case []any:
		for _, e := range v {
			if s, ok := e.(string); ok && arn.MatchString(s) || speaks(e) {
				return true
			}
		}
	}
	return false
}

// about reports whether a member below the name of a secret is harmless by its own name: secret_status, kms_key_id, or
// the name beside a value. One word alone does not say it: it may be chosen by whoever fills the map.
func about(k string, within map[string]any) bool {
	segments := split(tail(k))
	if len(segments) > 1 && aboutTail(segments[len(segments)-1]) {
		return classOf(k) == classNone
	}
	if len(segments) != 1 || segments[0] != "name" {
		return false
	}
	for other := range within {
		if strings.HasPrefix(strings.ToLower(other), "value") {
			return true
		}
	}
	return false
}

var schemaWords = words("type format description title nullable readOnly writeOnly minLength maxLength pattern sensitive required example deprecated")

// isSchema recognises what describes a value and does not give it: {"type": "string"}.
func isSchema(m map[string]any) bool {
	typ, _ := m["type"].(string)
	for k := range m {
		if !schemaWords[k] {
			return false
		}
	}
	return settings[typ]
}

// namesSecret recognises {"name": "DB_PASSWORD", "value": ...}, as containers have their environment, and
// {"sensitive": true, "value": ...}.
func namesSecret(m map[string]any) bool {
	if m["sensitive"] == true {
		return true
	}
	for k, v := range m {
		if s, ok := v.(string); ok && nameName(k) && (classOf(s) == classSecret || namedSecret(s, "Basic x y=z")) {
			return true
		}
	}
	return false
}

var (
	nameNames  = words("id k name key parameter option field header variable var env label")
	valueNames = words("v value values val content default data text plaintext")
)

// nameName and valueName are the two halves of such a pair by the last word: ParameterKey, option_name; ParameterValue.
func nameName(k string) bool { return lastIn(k, nameNames) }

func valueName(k string) bool { return lastIn(k, valueNames) }

func lastIn(k string, set map[string]bool) bool {
	segments := split(tail(k))
	last := len(segments) - 1
	return last >= 0 && last < 3 && set[segments[last]] && (last == 0 || len(segments[last]) > 2)
}

// tail bounds the length of a name.
func tail(name string) string {
	if len(name) > longestName {
		return name[len(name)-longestName:]
	}
	return name
}

// isFlag reports whether v is a flag of a command line whose value is a secret and follows.
func isFlag(v any) bool {
	s, ok := v.(string)
	return ok && len(s) > 2 && len(s) < longestName && s[0] == '-' && !strings.ContainsAny(s, "= ") && classOf(strings.TrimLeft(s, "-")) == classSecret
}

// isCommand reports whether a list is a command line with a secret that no word shows by itself: curl -u user:password.
func (c *scan) isCommand(v []any) bool {
	var line strings.Builder
	flags := false
	for _, e := range v {
		word, ok := e.(string)
		if !ok || len(word) > longestName || strings.ContainsAny(word, " \n") {
			return false
		}
		flags = flags || strings.HasPrefix(word, "-")
		line.WriteString(word + " ")
	}
	c.steps += line.Len()
	return flags && clientSecret(line.String())
}

// privateInJWK are the members of a JSON Web Key that are not public.
var privateInJWK = words("d p q dp dq qi k oth")

func isText(v any) bool { _, ok := v.(string); return ok }

// text looks into a text.
func (c *scan) text(s string) bool {
	if len(s) < shortest {
		return false
	}
	if c.depth >= maxDepth {
		return true
	}
	if c.depth == 0 {
		c.allowance = inflation*len(s) + inflateMore
	}
	c.depth++
	defer func() { c.depth-- }()
	if is, all := c.json(s); all {
		return is
	}
	if c.shapes(s) || c.assigns(s) {
		return true
	}
	if plain := c.unescaped(s); plain != s {
		s = plain
		if is, all := c.json(s); all {
			return is
		}
		if c.shapes(s) || c.assigns(s) {
			return true
		}
	}
	return c.encoded(s)
}

// json looks into a text that is JSON: one document, or several. all tells that there is nothing else in it.
func (c *scan) json(s string) (secret, all bool) {
	trimmed := strings.TrimSpace(s)
	if trimmed == "" || !strings.ContainsRune(`{["`, rune(trimmed[0])) {
		return false, false
	}
	c.steps += len(s)
	d := json.NewDecoder(strings.NewReader(trimmed))
	d.UseNumber()
	found := false
	inner := &scan{depth: c.depth, allowance: c.allowance, tree: Tree{Hide: func(any) any { found = true; return nil }}}
	defer func() { c.steps, c.allowance = c.steps+inner.steps, inner.allowance }()
	for {
		var v any
		if err := d.Decode(&v); err != nil {
			return found, errors.Is(err, io.EOF) || found
		}
		if inner.redact(v, nil); found {
			return true, true
		}
	}
}
