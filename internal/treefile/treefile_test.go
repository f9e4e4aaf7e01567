package treefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

func TestRead_Limits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(file, 5); err != nil || string(got) != "12345" {
		t.Errorf("got %q, %v, want all of it", got, err)
	}
	if _, err := Read(file, 4); !errors.Is(err, ErrTooLong) {
		t.Errorf("got %v, want ErrTooLong", err)
	}
	if err := os.Truncate(file, 1<<40); err == nil { // sparse
		if _, err := Read(file, MaxSize); !errors.Is(err, ErrTooLong) {
			t.Errorf("got %v, want ErrTooLong", err)
		}
	}
	if _, err := Read(dir, 5); !errors.Is(err, ErrNotRegular) {
		t.Errorf("got %v of a directory, want ErrNotRegular", err)
	}
	if _, err := Read(filepath.Join(dir, "gone"), 5); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
}

// hostile are texts that make a parser recurse, each as a part that is repeated and its end.
var hostile = []struct{ name, before, part, middle, end string }{
	{"parentheses", "a = ", "(", "1", ")"},
	{"tuples", "a = ", "[", "1", "]"},
	{"objects", "a = ", "{b=", "1", "}"},
	{"open tuples", "a = ", "[", "", ""},
	{"open and wrong ends", "a = ", "[(", "", "]"},
	{"tuples over lines", "a = ", "[\n", "1", "\n]"},
	{"blocks", "", "a {\n", "", "\n}\n"},
	{"blocks on a line", "", "a {", "", "}"},
	{"interpolations", "a = ", `"${`, "1", `}"`},
	{"interpolations of a heredoc", "a = <<E\n", `${"${`, "1", `}"}`},
	{"directives", `a = "`, `%{ if true }`, "1", `%{ endif }`},
	{"directives with trim", `a = "`, `%{~ if true ~}`, "1", `%{ endif }`},
	{"directives without an end", "a = <<E\n", `%{ for a in b }`, "", ""},
	{"directives with the wrong end", "a = \"", `%{ if a }%{ endfor }`, "", ""},
	{"not", "a = ", "!", "true", ""},
	{"minus", "a = ", "-", "1", ""},
	{"conditions", "a = ", "true?1:", "1", ""},
	{"conditions in the middle", "a = ", "true?", "1", ":1"},
	{"conditions over lines", "a = (", "true\n?1\n:\n", "1", ""},
	{"sums", "a = 1", "+1", "", ""},
	{"sums over lines", "a = (1", "\n+1", "", ""},
	{"comparisons", "a = 1", "==1", "", ""},
	{"operators of all kinds", "a = 1", "||1&&1!=1<1-1*1", "", ""},
	{"indexes", "a = b", "[b]", "", ""},
	{"splats", "a = b", "[*]", "", ""},
	{"old splats", "a = b", ".*", "", ""},
	{"calls", "a = ", "f(", "1", ")"},
	{"calls of a namespace", "a = ", "p::f(", "1", ")"},
	{"for expressions", "a = ", "[for x in y:", "1", "]"},
	{"for objects", "a = ", "{for x in y:1=>", "1", "}"},
}

func TestParseHCL_RefusesDeepNesting(t *testing.T) {
	t.Parallel()
	for _, h := range hostile {
		for _, n := range []int{20, 1001, 5_000} {
			text := h.before + strings.Repeat(h.part, n) + h.middle + strings.Repeat(h.end, n) + "\n"
			_, diags := ParseHCL([]byte(text), "x.tf", hcl.InitialPos)
			deep := strings.Contains(fmt.Sprint(diags), "Nested more than")
			if want := n > maxDepth && h.name != "directives with the wrong end"; deep != want && n != 1001 || deep && n == 20 {
				t.Errorf("%s, %d times: nested too deeply: %v, want %v (%.200v)", h.name, n, deep, want, diags)
			}
		}
	}
}

func TestParseJSON_RefusesDeepNesting(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"arrays":                  `{"a": ` + strings.Repeat("[", 5_000) + strings.Repeat("]", 5_000) + "}",
		"objects":                 strings.Repeat(`{"a":`, 5_000) + "1" + strings.Repeat("}", 5_000),
		"wrong ends":              `{"a": ` + strings.Repeat("[[}", 5_000),
		"a template in a string":  `{"a": "${` + strings.Repeat("(", 5_000) + `1` + strings.Repeat(")", 5_000) + `}"}`,
		"an escaped template":     `{"a": "\u0024\u007b` + strings.Repeat(`\u0028`, 5_000) + `1` + strings.Repeat(")", 5_000) + `}"}`,
		"behind a swallowed end":  "{\"a\": \"\u0600\" \" " + `: ` + strings.Repeat("[", 5_000),
		"behind a control letter": "{\"a\": \"\x01" + strings.Repeat("[", 5_000),
		"behind an escape":        `{"\\": ` + strings.Repeat("[", 5_000),
	} {
		if _, diags := ParseJSON([]byte(text), "x.tf.json"); !strings.Contains(fmt.Sprint(diags), "Nested more than") {
			t.Errorf("%s: got %.200v, want it refused for its depth", name, diags)
		}
	}
	if _, diags := ParseJSON([]byte(`{"a": "`+strings.Repeat("[", 5_000)+`"}`), "x.tf.json"); diags.HasErrors() {
		t.Errorf("brackets in a string: %v", diags)
	}
}

func TestParseExpression_RefusesDeepNesting(t *testing.T) {
	t.Parallel()
	if _, diags := ParseExpression([]byte(strings.Repeat("[", 5_000)), "x", hcl.InitialPos); !strings.Contains(fmt.Sprint(diags), "Nested more than") {
		t.Errorf("got %.200v, want it refused for its depth", diags)
	}
}

// What people write is parsed, however long it is.
func TestParseHCL_TakesLongFiles(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&text, "locals {\n  a%d = [for x in [1, 2] : !x ? -x + 1 : { y = \"${x}-${x[0]}\" }] # %%{ if\n  b = <<-E\n    %%{ if a }x%%{ else }y%%{ endif }\n  E\n}\n", i)
	}
	if _, diags := ParseHCL([]byte("\ufeff"+text.String()), "x.tf", hcl.InitialPos); diags.HasErrors() {
		t.Errorf("got %.300v", diags)
	}
}

func TestLiteral(t *testing.T) {
	t.Parallel()
	nested := "[" + strings.Repeat("for a in [1,2] : [", 40) + "1" + strings.Repeat("]", 41)
	for text, want := range map[string]bool{
		`"a"`: true, `"a${"b"}"`: true, `-1`: true, `true`: true, `null`: true, `["a", {b = "c", "d" = 1}]`: true, "<<E\nx\nE\n": true,
		`var.a`: false, `"${var.a}"`: false, `{(var.a) = 1}`: false, `upper("a")`: false, `1 + 1`: false, `true ? 1 : 2`: false,
		`1e999999999`: false, `"${1e99999999}"`: false, `1e-99999999`: false, `1e20`: true, nested: false, `"%{ for a in [1,2] }x%{ endfor }"`: false,
	} {
		expr, diags := hclsyntax.ParseExpression([]byte(text), "x", hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatal(text, diags)
		}
		if _, got := Literal(expr); got != want {
			t.Errorf("%.60s: got %v, want %v", text, got, want)
		}
	}
	f, diags := ParseJSON([]byte(`{"plain": "a", "list": ["a", {"b": 1}], "tpl": "${1}", "key": {"${1}": 1}, "num": 1e99999999, "none": null}`), "x.json")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	attrs, _ := f.Body.JustAttributes()
	for name, want := range map[string]bool{"plain": true, "list": true, "none": true, "tpl": false, "key": false, "num": false} {
		if v, got := Literal(attrs[name].Expr); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		} else if name == "plain" && v != cty.StringVal("a") {
			t.Errorf("got %#v", v)
		}
	}
}

// Nobody in the project parses but here.
func TestParsers_AreCalledHereAlone(t *testing.T) {
	t.Parallel()
	direct := regexp.MustCompile(`hclsyntax\.Parse(Config|Expression|Template)|hclwrite\.ParseConfig|hclparse\.|hcljson\.Parse|hclsimple\.|"github.com/hashicorp/hcl/v2/(hclparse|hclsimple|json)"`)
	err := filepath.WalkDir("../..", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.Contains(filepath.ToSlash(name), "internal/treefile/") {
			return err
		}
		text, err := os.ReadFile(name)
		if m := direct.Find(text); m != nil {
			t.Errorf("%s has %s: want treefile's, which refuses what would overflow the stack", name, m)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
