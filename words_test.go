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
	"unicode/utf8"
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
	// instead are words for what has a name of its own in docs/ARCHITECTURE.md; in names each word counts for itself.
	instead = map[*regexp.Regexp]string{
		regexp.MustCompile(`(?i)\brob(s|bed|ber|bers|bing)?\b`):                             "takeover, last holder, new holder",
		regexp.MustCompile(`(?i)\b(deed|fate)s?\b`):                                         "write, outcome",
		regexp.MustCompile(`(?i)\bbur(y|ies|ied|ying)\b`):                                   "replace",
		regexp.MustCompile(`(?i)\b(both|two|neither|either|which) (half|halves) of .*lock`): "lock object, item",
		regexp.MustCompile(`(?i)\blocks?( is| are| was| were)? (being )?given back\b`):      "release",
		regexp.MustCompile(`(?i)\bgiv(e|es|ing) (the|a|its|their) locks? back\b`):           "release",
	}
	// inCode is a path of ours in a document.
	inCode = regexp.MustCompile("`((?:[a-z0-9]+/)+[a-zA-Z0-9_]+(?:\\.[a-z]+)?)`")
	// repeats is what a command of ours in a document runs: the packages and the name, in either order.
	repeats   = regexp.MustCompile("`(?:[A-Z_]+=\\S+ )?go test ([^`]+)`")
	ofPackage = regexp.MustCompile(`\./(\S+)`)
	ofName    = regexp.MustCompile(`-(?:run|bench) (\w+)`)
	// hump is where a name in Go goes on with another word.
	hump = regexp.MustCompile(`([a-z0-9])([A-Z])|_`)
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

// A thing has one name, in the code, its comments and the documents.
func TestWords_OneName(t *testing.T) {
	t.Parallel()
	if got := hump.ReplaceAllString("removeItemOfRobbed", "$1 $2"); got != "remove Item Of Robbed" {
		t.Fatalf("got %q, want the words of a name", got)
	}
	check := func(name, text string) {
		for word, want := range instead {
			if got := word.FindString(text); got != "" {
				t.Errorf("%s says %q: want %s", name, got, want)
			}
		}
	}
	eachFile(t, func(path string, file *ast.File) {
		for _, group := range file.Comments {
			check(path, group.Text())
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				check(path, hump.ReplaceAllString(id.Name, "$1 $2"))
			}
			return true
		})
	})
	docs, err := filepath.Glob("docs/*.md")
	if err != nil || len(docs) < 8 {
		t.Fatalf("got %d documents, %v", len(docs), err)
	}
	for _, name := range append(docs, "README.md", "spec/README.md") {
		check(name, read(t, name))
	}
}

// Lines of documents end at column 120, as those of code do; rows of tables and transcripts are as long as they are.
func TestWords_Lines(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("docs/*.md")
	if err != nil || len(names) < 8 {
		t.Fatalf("got %d documents, %v", len(names), err)
	}
	for _, name := range append(names, "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "spec/README.md", "ci/README.md") {
		transcript, n := false, 0
		for line := range strings.Lines(read(t, name)) {
			n++
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				transcript = !transcript
			}
			if got := utf8.RuneCountInString(line) - 1; got > 120 && !transcript && line[0] != '|' {
				t.Errorf("%s:%d: got %d columns, want 120", name, n, got)
			}
		}
	}
}

// docs/ARCHITECTURE.md leads to rooms and files that are there.
func TestWords_FilesAreThere(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, m := range inCode.FindAllStringSubmatch(read(t, "docs/ARCHITECTURE.md"), -1) {
		seen++
		if _, err := os.Stat(m[1]); err != nil && !strings.Contains(m[1], "NAME") {
			t.Errorf("docs/ARCHITECTURE.md names %s: %v", m[1], err)
		}
	}
	if seen < 50 {
		t.Errorf("got %d files, want those that it names", seen)
	}
}

// What docs/SCALE.md says to run runs something.
func TestWords_WhatIsRunIsThere(t *testing.T) {
	t.Parallel()
	n := 0
	for _, m := range repeats.FindAllStringSubmatch(read(t, "docs/SCALE.md"), -1) {
		n++
		in := ofPackage.FindStringSubmatch(m[1])
		if in == nil {
			t.Fatalf("%s names no package", m[0])
		}
		tests, err := filepath.Glob(filepath.Join(in[1], "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range ofName.FindAllStringSubmatch(m[1], -1) {
			named := regexp.MustCompile(`(?m)^func (Test|Benchmark)\w*` + name[1])
			if name[1] != "xxx" && !slices.ContainsFunc(tests, func(file string) bool { return named.MatchString(read(t, file)) }) {
				t.Errorf("%s: nothing is named %s", m[0], name[1])
			}
		}
	}
	if n < 20 {
		t.Errorf("got %d commands, want all", n)
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
		case d.IsDir() && (slices.Contains([]string{"testdata", "embedded", "s3", "node_modules"}, name) ||
			name != "." && name[0] == '.'):
			return fs.SkipDir // who serves S3 knows its codes, and no locks
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
	eachFile(t, func(path string, file *ast.File) {
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
	})
	for _, name := range []string{"docs/GUARANTEES.md", "spec/README.md"} {
		f(name, read(t, name))
	}
}

// eachFile calls f with every Go file of the project.
func eachFile(t *testing.T, f func(path string, file *ast.File)) {
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
			f(filepath.ToSlash(path), file)
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
