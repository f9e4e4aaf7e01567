//go:build unix

package backendconf

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/treefile"
)

// A directory that somebody filled to break whoever reads it ends a command with an error: no wait, no overflow.
func TestLoad_HostileDirectory(t *testing.T) {
	t.Parallel()
	const block = "terraform {\n  backend \"s3\" {\n    bucket = \"b\"\n    key = \"k\"\n  }\n}\n"
	text := func(name, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			name := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	pipe := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			name := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mkfifo(name, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	link := func(name, target string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tc := range map[string]struct {
		fill func(t *testing.T, dir string)
		want string // of the error; empty: none
	}{
		"brackets":            {text("a.tf", "a = "+strings.Repeat("[", 20_000)), "Nested more than"},
		"blocks":              {text("a.tf", strings.Repeat("a {\n", 20_000)), "Nested more than"},
		"templates":           {text("a.tf", "a = "+strings.Repeat(`"${`, 10_000)), "Nested more than"},
		"JSON":                {text("a.tf.json", `{"a": `+strings.Repeat("[", 20_000)), "Nested more than"},
		"template in JSON":    {text("a.tf.json", `{"a": "${`+strings.Repeat("(", 20_000)+`"}`), "Nested more than"},
		"cache":               {text(".terraform/terraform.tfstate", `{"version": 3, "backend": {"type": "s3", "config": {"a": `+strings.Repeat("[", 20_000)), "it is not JSON"},
		"computed for ever":   {text("z_override.tf", "terraform {\n  backend \"s3\" {\n    key = "+strings.Repeat("[for a in [1, 2] : ", 40)+"1"+strings.Repeat("]", 40)+"\n  }\n}\n"), "computed"},
		"a pipe":              {pipe("a.tf"), "not a regular file"},
		"a pipe as cache":     {pipe(".terraform/terraform.tfstate"), "not a regular file"},
		"a pipe as workspace": {pipe(".terraform/environment"), "not a regular file"},
		"a device":            {link("a.tf", "/dev/zero"), "not a regular file"},
		"itself":              {link("a.tf", "a.tf"), "too many"},
		"a directory":         {func(t *testing.T, dir string) { t.Helper(); _ = os.Mkdir(filepath.Join(dir, "a.tf"), 0o755) }, ""},
		"a sparse file": {func(t *testing.T, dir string) {
			t.Helper()
			text("a.tf", "")(t, dir)
			if err := os.Truncate(filepath.Join(dir, "a.tf"), 4<<30); err != nil {
				t.Fatal(err)
			}
		}, "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			text("main.tf", block)(t, dir)
			tc.fill(t, dir)
			_, err := Load(Options{Dir: dir, Getenv: func(string) string { return "" }})
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case tc.want != "" && (!errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %.300v, want ErrInvalid with %q", err, tc.want)
			}
		})
	}
}

func TestWithin(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	read := within(12)
	for i, want := range []error{nil, nil, treefile.ErrTooLong} {
		if _, err := read(name, 10); !errors.Is(err, want) {
			t.Errorf("file %d: got %v, want %v", i+1, err, want)
		}
	}
}
