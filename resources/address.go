package resources

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode"

	"github.com/statelatch/statelatch/internal/lazyre"
	"github.com/statelatch/statelatch/internal/secretlike"
)

// locate sets the addresses of an instance in a module, as the engines write them: the one that tells it from others,
// and the one to show, without keys that are secrets. Its attributes are guarded.
func (o *Object) locate(module string) {
	shown := *o
	shown.Module = hideKeys(module, func(key string) bool {
		return secretlike.Text(key) || len(key) >= minInside && isHidden(o.Attributes, key)
	})
	if key, ok := o.index.(string); ok && (secretlike.Text(key) || isHidden(o.Attributes, key)) {
		shown.index = Redacted
	}
	o.Module, o.module = shown.Module, module
	if o.Address, o.address = address(shown, shown.Module), address(*o, module); o.Address == o.address {
		o.Address = o.address // one text for both: there are many
	}
}

var moduleKey = lazyre.New(`\["((?:[^"\\]|\\.)*)"\]`)

// hideKeys hides the keys in the address of a module that are secrets.
func hideKeys(module string, secret func(key string) bool) string {
	return moduleKey.ReplaceAllStringFunc(module, func(quoted string) string {
		key := quoted[2 : len(quoted)-2]
		if plain, err := strconv.Unquote(quoted[1 : len(quoted)-1]); err == nil {
			key = plain
		}
		if secret(key) {
			return `["` + Redacted + `"]`
		}
		return quoted
	})
}

// isHidden reports whether a text is one of the secrets in a value tree, or has one in it.
func isHidden(v any, text string) bool {
	switch v := v.(type) {
	case Secret:
		return holds(v.value, text)
	case map[string]any:
		for _, e := range v {
			if isHidden(e, text) {
				return true
			}
		}
	case []any:
		for _, e := range v {
			if isHidden(e, text) {
				return true
			}
		}
	}
	return false
}

// holds reports whether a text is one of the values in a tree, or has one in it.
func holds(v any, text string) bool {
	switch v := v.(type) {
	case Secret:
		return holds(v.value, text)
	case string:
		return v == text || len(v) >= minInside && strings.Contains(text, v)
	case map[string]any:
		for _, e := range v {
			if holds(e, text) {
				return true
			}
		}
	case []any:
		for _, e := range v {
			if holds(e, text) {
				return true
			}
		}
	}
	return false
}

// address is that of an instance in a module.
func address(o Object, module string) string {
	var b strings.Builder
	if module != "" {
		b.WriteString(module + ".")
	}
	if o.Mode != "managed" {
		b.WriteString(o.Mode + ".")
	}
	b.WriteString(o.Type + "." + o.Name)
	switch k := o.index.(type) {
	case nil:
	case string:
		b.WriteString("[" + quoteHCL(k) + "]")
	default:
		fmt.Fprintf(&b, "[%v]", k)
	}
	return b.String()
}

// quoteHCL writes a string literal of the configuration language, as the engines write the keys of instances: people
// paste addresses from one to the other.
func quoteHCL(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i, r := range s {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '"', r == '\\':
			b.WriteString(`\` + string(r))
		case (r == '$' || r == '%') && strings.HasPrefix(s[i+1:], "{"):
			b.WriteRune(r)
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 1<<16:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// compareObjects is the order of addresses: the root module first, data before managed resources, indexes by number.
func compareObjects(a, b Object) int {
	return cmp.Or(
		strings.Compare(a.module, b.module),
		strings.Compare(a.Mode, b.Mode),
		strings.Compare(a.Type, b.Type),
		strings.Compare(a.Name, b.Name),
		compareIndexes(a.index, b.index),
		strings.Compare(a.Deposed, b.Deposed),
	)
}

func compareIndexes(a, b any) int {
	x, aNumber := number(a)
	y, bNumber := number(b)
	if aNumber && bNumber {
		return x.Cmp(y)
	}
	return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
}

func number(v any) (*big.Float, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return nil, false
	}
	f, _, err := big.ParseFloat(n.String(), 10, 512, big.ToNearestEven)
	return f, err == nil
}

// Below reports whether o is addr: the address of an instance, of all instances of a resource, or of a module.
func (o Object) Below(addr string) bool {
	below := func(address string) bool {
		rest, ok := strings.CutPrefix(address, addr)
		return ok && addr != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
	}
	return below(o.address) || below(o.Address)
}
