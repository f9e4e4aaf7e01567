package statelatch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	// code is the number of a rule, a defect, a quirk, a weakness or an invariant, or of a run of the model.
	code = regexp.MustCompile(`\b[A-IL-NQRW][0-9]{1,2}[a-z]?\b`)
	// inName is a code in the name of a test.
	inName = regexp.MustCompile(`_([BLQRW][0-9]{1,2})(?:_|\()`)
	// defined are the lines of our documents that say what a code is.
	defined = []*regexp.Regexp{
		regexp.MustCompile(`(?m)^\| ([A-Z][0-9]{1,2}[a-z]?) \|`),
		regexp.MustCompile(`(?m)^  r (?:quick|full) +([A-Z][0-9]+[a-z]?) `),
	}
	// elsewhere is a place in a document by its number, which changes with the document.
	elsewhere = regexp.MustCompile(`(?i)\b(section|protocol|chapter) \d`)
	// foreign are words that look like codes, and mean what everybody means by them.
	foreign = []string{"I2C", "R2", "B2", "H2", "C1"} // R2 and B2 are stores too, C1 are control characters
)

// Whoever reads a code finds what it means in the project's own documents.
func TestWords_CodesAreDefined(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, name := range []string{"docs/PROTOCOL.md", "docs/DEFECTS.md", "spec/check"} {
		text := read(t, name)
		for _, d := range defined {
			for _, m := range d.FindAllStringSubmatch(text, -1) {
				known[m[1]] = true
			}
		}
	}
	if len(known) < 100 || !known["R13"] || !known["B36"] || !known["W30"] || !known["L4"] || !known["G15"] {
		t.Fatalf("got %d codes, want all that are defined", len(known))
	}
	cited := 0
	eachText(t, func(name, text string) {
		codes := code.FindAllString(text, -1)
		for _, m := range inName.FindAllStringSubmatch(text, -1) {
			codes = append(codes, m[1])
		}
		for _, c := range codes {
			cited++
			if !known[c] && !slices.Contains(foreign, c) {
				t.Errorf("%s cites %s, which neither docs/PROTOCOL.md, docs/DEFECTS.md nor spec/check defines", name, c)
			}
		}
		for _, m := range elsewhere.FindAllString(text, -1) {
			t.Errorf("%s cites %q: name what is meant", name, m)
		}
	})
	if cited < 200 {
		t.Errorf("got %d codes, want them found", cited)
	}
}

// The ends of keys are the vocabulary's, and that a bucket is missing is a kind, not a code.
func TestWords_OnePlace(t *testing.T) {
	t.Parallel()
	seen := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && (name == "testdata" || name == "embedded" || name == "node_modules" || name != "." && name[0] == '.'):
			return fs.SkipDir // the embedded store knows S3's codes, and no locks
		case filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			home := ""
			switch value := strings.Trim(lit.Value, "\"`"); {
			case strings.HasSuffix(value, ".tflock"), value == "-md5":
				home = "ref.go"
			case value == "NoSuchBucket":
				home = "internal/sdkcall/meaning.go"
			default:
				return true
			}
			if seen++; filepath.ToSlash(path) != home {
				t.Errorf("%s has the literal %s, which belongs in %s alone", path, lit.Value, home)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 3 {
		t.Errorf("got %d literals, want those of the vocabulary found", seen)
	}
}

// eachText calls f with the comments and names of tests of every Go file, and with every document that cites codes.
func eachText(t *testing.T, f func(name, text string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && (name == "testdata" || name == "node_modules" || name != "." && name[0] == '.'):
			return fs.SkipDir
		case filepath.Ext(name) == ".go":
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			var text strings.Builder
			for _, group := range file.Comments {
				text.WriteString(group.Text())
			}
			for name := range strings.Lines(read(t, path)) {
				if strings.HasPrefix(name, "func Test") {
					text.WriteString(strings.NewReplacer("_", "__").Replace(name))
				}
			}
			f(path, text.String())
		case path == filepath.FromSlash("docs/GUARANTEES.md"), path == filepath.FromSlash("spec/README.md"):
			f(path, read(t, path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
