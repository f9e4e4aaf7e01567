package statelatch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// byInterface are methods whose interface says what they do.
var byInterface = map[string]bool{
	"Error": true, "Unwrap": true, "Is": true, "String": true, "GoString": true,
	"MarshalText": true, "UnmarshalText": true, "MarshalJSON": true, "UnmarshalJSON": true,
}

// Whoever uses a package reads what each of its exported names is: a comment above it, or behind it on its line.
func TestComments_EveryExportedName(t *testing.T) {
	t.Parallel()
	fset, seen := token.NewFileSet(), 0
	bare := func(id *ast.Ident, docs ...*ast.CommentGroup) {
		if !id.IsExported() {
			return
		}
		seen++
		for _, doc := range docs {
			if strings.TrimSpace(doc.Text()) != "" {
				return
			}
		}
		t.Errorf("%s: %s has no comment", fset.Position(id.Pos()), id.Name)
	}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir():
			switch name {
			case "testdata", "internal", "cmd", "e2e", "node_modules":
				return fs.SkipDir
			}
			if name != "." && name[0] == '.' {
				return fs.SkipDir
			}
			return nil
		case filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil || ast.IsExported(receiver(d.Recv.List[0].Type)) && !byInterface[d.Name.Name] {
					bare(d.Name, d.Doc)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					var alone *ast.CommentGroup // the comment of a declaration is that of the only name in it
					if !d.Lparen.IsValid() {
						alone = d.Doc
					}
					switch s := spec.(type) {
					case *ast.ValueSpec:
						for _, id := range s.Names {
							bare(id, s.Doc, s.Comment, alone)
						}
					case *ast.TypeSpec:
						bare(s.Name, s.Doc, s.Comment, alone)
						if s.Name.IsExported() {
							eachMember(s.Type, bare)
						}
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 1000 {
		t.Errorf("got %d exported names, want them found", seen)
	}
}

// eachMember calls f with the fields and methods that a type declares, those of types without a name inside it too.
// What is embedded has its comment where it is declared.
func eachMember(typ ast.Expr, f func(*ast.Ident, ...*ast.CommentGroup)) {
	ast.Inspect(typ, func(n ast.Node) bool {
		var fields *ast.FieldList
		switch n := n.(type) {
		case *ast.StructType:
			fields = n.Fields
		case *ast.InterfaceType:
			fields = n.Methods
		case *ast.FuncType:
			return false
		default:
			return true
		}
		for _, field := range fields.List {
			for _, id := range field.Names {
				f(id, field.Doc, field.Comment)
			}
		}
		return true
	})
}

// receiver is the name of the type that a method is of.
func receiver(typ ast.Expr) string {
	for {
		switch t := typ.(type) {
		case *ast.Ident:
			return t.Name
		case *ast.StarExpr:
			typ = t.X
		case *ast.IndexExpr:
			typ = t.X
		default:
			return ""
		}
	}
}
