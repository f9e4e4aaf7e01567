package resources

import (
	"encoding/json"
	"strings"
	"unicode"

	"github.com/statelatch/statelatch/internal/secretlike"
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

// IsSecret reports whether a value is hidden.
func IsSecret(v any) bool {
	_, ok := v.(Secret)
	return ok
}

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

// secrets hides what has the name or the looks of a secret.
func secrets(payload func(string) bool) secretlike.Tree {
	return secretlike.Tree{Hide: func(v any) any { return Secret{v} }, Payload: payload, Wrapped: isDynamic}
}

func guardOutput(name string, declared bool, value any) any {
	if declared {
		return Secret{value}
	}
	return secrets(nil).Member(name, value)
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
		attributes = guardAttribute(attributes, keys)
	}
	// What a provider computes from them, such as an output from an input, is not marked.
	declared := newContents()
	declared.collect(attributes, false)
	var payload func(string) bool
	if secretlike.Name(typ) || strings.Contains(typ, "_sensitive_") { // local_sensitive_file
		payload = payloadName
	}
	return secrets(payload).Redact(declared.guardCopies(attributes))
}

// payloadName knows what is secret in a resource whose type is named after a secret.
func payloadName(name string) bool {
	if secretlike.About(name) {
		return false
	}
	for _, w := range strings.FieldsFunc(strings.ToLower(name),
		func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		if payloads[w] {
			return true
		}
	}
	return false
}

var payloads = words("data value values result content payload plaintext hash json base64")

func words(s string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(s) {
		m[w] = true
	}
	return m
}

// guardAttribute is guardPath from the attributes of an instance on. One that is not there has nothing to hide, unless
// it is spread over flat ones, as Terraform 0.11 stored it.
func guardAttribute(attributes any, path []any) any {
	all, isMap := attributes.(map[string]any)
	name, isName := "", false
	if len(path) > 0 {
		name, isName = path[0].(string)
	}
	if _, there := all[name]; !isMap || !isName || there || isDynamic(all) {
		return guardPath(attributes, path)
	}
	for k, v := range all {
		if strings.HasPrefix(k, name+".") {
			all[k] = guardPath(v, nil)
		}
	}
	return all
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

// guardPath makes what is at a path a secret. Where a member is not there, there is nothing to hide. A path that does
// not fit, into a set for one, makes the last value on it a secret.
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
		key, isKey := path[0].(string)
		inner, ok := at[key]
		switch dynamic := isDynamic(at); {
		case dynamic && !ok:
			at["value"] = guardPath(at["value"], path)
			return at
		case ok && !dynamic:
			at[key] = guardPath(inner, path[1:])
			return at
		case isKey && !ok:
			return at
		}
	case []any:
		if i, ok := path[0].(float64); ok && i >= 0 && i < float64(len(at)) {
			at[int(i)] = guardPath(at[int(i)], path[1:])
			return at
		}
	}
	return Secret{v}
}

// isDynamic recognises how the engines store a value whose type the schema leaves open: {"value":...,"type":...}. Paths
// to what is inside do not mention it.
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
