package lazyre

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Every expression of the project compiles, as far as it stands there whole.
func TestNew_AllCompile(t *testing.T) {
	t.Parallel()
	seen := 0
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "testdata") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				return true
			}
			name, ok := call.Fun.(*ast.SelectorExpr)
			if x, isName := ast.Unparen(call.Fun).(*ast.SelectorExpr); !ok || !isName || name.Sel.Name != "New" {
				return true
			} else if pkg, ok := x.X.(*ast.Ident); !ok || pkg.Name != "lazyre" {
				return true
			}
			literal, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				return true // it is made of parts: the tests of its package use it
			}
			seen++
			expr, err := strconv.Unquote(literal.Value)
			if err == nil {
				_, err = regexp.Compile(expr)
			}
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
			return true
		})
		return nil
	})
	if err != nil || seen < 50 {
		t.Fatalf("got %d expressions, %v, want all of them", seen, err)
	}
}

func TestRegexp(t *testing.T) {
	t.Parallel()
	r := New(`^a(b+)$`)
	if !r.MatchString("abb") || r.MatchString("a") || r.FindStringSubmatch("abb")[1] != "bb" || r.String() != `^a(b+)$` {
		t.Error("it is another expression")
	}
	defer func() {
		if recover() == nil {
			t.Error("got no panic from an expression that is wrong")
		}
	}()
	New(`(`).MatchString("x")
}
