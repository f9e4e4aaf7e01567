package terragrunt_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf/terragrunt"
)

// testCase is a tree in testdata. Its comment says what terragrunt 1.1.3 makes of it.
type testCase struct {
	unit, dir, tree string
	env             map[string]string
	want            string // the arguments of a unit
	unknown         string // or the argument and the reason
}

func load(t *testing.T, name string) testCase {
	t.Helper()
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		write(t, filepath.Join(tree, f.Name), string(f.Data))
	}
	c := testCase{tree: tree, env: map[string]string{}}
	for line := range strings.Lines(string(archive.Comment)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "unit":
			c.unit, c.dir = value, filepath.Join(tree, value)
		case "env":
			k, v, _ := strings.Cut(value, "=")
			c.env[k] = v
		case "git":
			if err := os.Mkdir(filepath.Join(tree, ".git"), 0o755); err != nil {
				t.Fatal(err)
			}
		case "want":
			c.want = value
		case "unknown":
			c.unknown = value
		}
	}
	return c
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (c testCase) options() terragrunt.Options {
	return terragrunt.Options{Dir: c.dir, Tree: c.tree, LookupEnv: func(name string) (string, bool) {
		v, ok := c.env[name]
		return v, ok
	}}
}

// onlyTerragrunts are arguments that no engine is given.
var onlyTerragrunts = regexp.MustCompile(`^(skip_bucket_.*|s3_bucket_tags|lock_table)$`)

func TestEvaluate_AsTerragrunt(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			c := load(t, name)
			unit, err := terragrunt.Evaluate(c.options())
			if c.unknown != "" {
				checkUnknown(t, c, unit, err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			for _, item := range strings.Fields(c.want) {
				k, v, _ := strings.Cut(item, "=")
				want[k] = v
			}
			for _, name := range slices.Sorted(maps.Keys(want)) {
				if got := shown(t, unit.Args[name]); got != want[name] {
					t.Errorf("%s = %s, want %s", name, got, want[name])
				}
			}
			for name, arg := range unit.Args {
				if _, ok := want[name]; !ok && !onlyTerragrunts.MatchString(name) && name != "encrypt" {
					t.Errorf("%s = %s, want none", name, shown(t, arg))
				}
			}
		})
	}
}

func shown(t *testing.T, a terragrunt.Argument) string {
	t.Helper()
	if len(a.Unknown) > 0 {
		return fmt.Sprint("unknown: ", a.Unknown)
	}
	if s, ok := a.Value.(string); ok {
		return s
	}
	text, err := json.Marshal(a.Value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func checkUnknown(t *testing.T, c testCase, unit terragrunt.Unit, err error) {
	t.Helper()
	name, why, _ := strings.Cut(c.unknown, " ")
	if name == "-" {
		var unknown *terragrunt.UnknownError
		if !errors.As(err, &unknown) || !errors.Is(err, statelatch.ErrInvalid) || unknown.Because.String() != why {
			t.Errorf("got error %v, want an UnknownError because of %s", err, why)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	arg := unit.Args[name]
	if len(arg.Unknown) == 0 || arg.Unknown[0].String() != why || arg.Value != nil {
		t.Errorf("%s = %+v, want unknown because of %s", name, arg, why)
	}
	_, err = terragrunt.Resolve(c.options())
	var unknown *terragrunt.UnknownError
	if !errors.As(err, &unknown) || unknown.Argument != name {
		t.Errorf("Resolve: %v, want an UnknownError about %s", err, name)
	}
}
