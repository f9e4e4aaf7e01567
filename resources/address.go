package resources

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"unicode"
)

// address is that of an instance, as the engines write it.
func address(o Object) string {
	var b strings.Builder
	if o.Module != "" {
		b.WriteString(o.Module + ".")
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

// quoteHCL writes a string literal of the configuration language, as the engines write the keys of instances: people paste addresses
// from one to the other.
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
		strings.Compare(a.Module, b.Module),
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
	rest, ok := strings.CutPrefix(o.Address, addr)
	return ok && addr != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
}
