package treefile

import (
	"bytes"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
)

// FuzzParse looks for a text that, repeated, makes a parser recurse although it has passed the check. An overflow ends
// the test's process, so the stack is kept small enough to find one soon.
func FuzzParse(f *testing.F) {
	for _, h := range hostile {
		f.Add(h.before, h.part, h.middle, h.end)
	}
	f.Add(`{"a":`, `[`, `"${`, `]`)
	f.Add(`{"a":"`, `\u0024{`, "\u0600\"", `}`)
	debug.SetMaxStack(16 << 20)
	f.Fuzz(func(_ *testing.T, before, part, middle, end string) {
		if len(before)+len(part)+len(middle)+len(end) > 60 {
			return
		}
		for _, n := range []int{900, 6_000} {
			text := []byte(before + strings.Repeat(part, n) + middle + strings.Repeat(end, n))
			if len(text) > 100<<10 {
				text = text[:100<<10]
			}
			for _, parse := range []func([]byte) (*hcl.File, hcl.Diagnostics){
				func(b []byte) (*hcl.File, hcl.Diagnostics) { return ParseHCL(b, "x.tf", hcl.InitialPos) },
				func(b []byte) (*hcl.File, hcl.Diagnostics) { return ParseJSON(b, "x.json") },
			} {
				file, _ := parse(bytes.Clone(text))
				if file == nil {
					continue
				}
				attrs, _ := file.Body.JustAttributes()
				for _, a := range attrs {
					_, _ = Literal(a.Expr)
					_ = a.Expr.Variables()
				}
			}
		}
	})
}
