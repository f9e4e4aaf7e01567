package treefile

import (
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// maxExponent, of two, that a number may have: its text is as long as its exponent is large.
const maxExponent = 1024

// Literal is the value of an expression that is written out: text, numbers, booleans, and lists and objects of these.
// It is false of everything that an engine would have to compute, even from literals alone: a few nested for
// expressions take for ever. A string of JSON that has a template is computed.
func Literal(expr hcl.Expression) (cty.Value, bool) {
	native, ok := expr.(hclsyntax.Expression)
	if ok && !writtenOut(native) {
		return cty.NilVal, false
	}
	value, diags := expr.Value(nil) // which leaves the templates of JSON as they are
	if diags.HasErrors() || !value.IsWhollyKnown() {
		return cty.NilVal, false
	}
	err := cty.Walk(value, func(_ cty.Path, v cty.Value) (bool, error) {
		switch {
		case v.IsNull():
		case v.Type() == cty.Number && !short(v):
			return false, errComputed
		case v.Type() == cty.String && !ok && hasTemplate(v.AsString()):
			return false, errComputed
		case v.Type().IsObjectType() && !ok:
			for name := range v.Type().AttributeTypes() {
				if hasTemplate(name) {
					return false, errComputed
				}
			}
		}
		return true, nil
	})
	return value, err == nil
}

type computed struct{}

func (computed) Error() string { return "it is computed" }

var errComputed = computed{}

func hasTemplate(text string) bool {
	return strings.Contains(text, "${") || strings.Contains(text, "%{")
}

func short(number cty.Value) bool {
	f := number.AsBigFloat()
	exponent := f.MantExp(nil)
	return !f.IsInf() && -maxExponent <= exponent && exponent <= maxExponent
}

func writtenOut(expr hclsyntax.Expression) bool {
	switch e := expr.(type) {
	case *hclsyntax.LiteralValueExpr:
		return e.Val.IsNull() || e.Val.Type() != cty.Number || short(e.Val)
	case *hclsyntax.TemplateExpr:
		return all(e.Parts)
	case *hclsyntax.TemplateWrapExpr:
		return writtenOut(e.Wrapped)
	case *hclsyntax.ParenthesesExpr:
		return writtenOut(e.Expression)
	case *hclsyntax.UnaryOpExpr:
		return writtenOut(e.Val)
	case *hclsyntax.TupleConsExpr:
		return all(e.Exprs)
	case *hclsyntax.ObjectConsExpr:
		for _, item := range e.Items {
			key, ok := item.KeyExpr.(*hclsyntax.ObjectConsKeyExpr)
			if (!ok || hcl.ExprAsKeyword(key.Wrapped) == "") && !writtenOut(item.KeyExpr) || !writtenOut(item.ValueExpr) {
				return false
			}
		}
		return true
	case *hclsyntax.ObjectConsKeyExpr:
		return writtenOut(e.Wrapped)
	}
	return false
}

func all(exprs []hclsyntax.Expression) bool {
	for _, e := range exprs {
		if !writtenOut(e) {
			return false
		}
	}
	return true
}
