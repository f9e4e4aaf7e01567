//go:build unix

package private

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func want(t *testing.T, err error, texts ...string) {
	t.Helper()
	if (err == nil) != (len(texts) == 0) {
		t.Fatalf("got %v, want an error with %q", err, texts)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want %q in it", err, text)
		}
	}
}

// mkdir makes a directory of exactly this mode.
func mkdir(t *testing.T, path string, mode fs.FileMode) string {
	t.Helper()
	if err := errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDir_Writable(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	for name, tt := range map[string]struct {
		mode fs.FileMode
		want []string
	}{
		"private":   {0o700, nil},
		"readable":  {0o755, nil},
		"everybody": {0o777, []string{"0777", "chmod go-w"}},
		"sticky":    {0o777 | fs.ModeSticky, []string{"0777"}}, // others can still put files into it
		"blind":     {0o702, []string{"0702"}},
	} {
		want(t, Dir(mkdir(t, filepath.Join(home, name), tt.mode)), tt.want...)
	}
	link := filepath.Join(home, "link")
	if err := os.Symlink(filepath.Join(home, "everybody"), link); err != nil {
		t.Fatal(err)
	}
	want(t, Dir(link), link, "0777")
	want(t, Dir(filepath.Join(home, "none")), "no such file")
}

func TestDir_Parent(t *testing.T) {
	t.Parallel()
	open := mkdir(t, filepath.Join(t.TempDir(), "open"), 0o777)
	inner := mkdir(t, filepath.Join(mkdir(t, filepath.Join(open, "a"), 0o755), "b"), 0o700)
	want(t, Dir(inner), inner, "is in "+open, "chmod o-w "+open)
	link := filepath.Join(open, "link")
	if err := os.Symlink(mkdir(t, filepath.Join(t.TempDir(), "safe"), 0o700), link); err != nil {
		t.Fatal(err)
	}
	want(t, Dir(link), link, "is in "+open)
	if err := os.Chmod(open, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	want(t, Dir(inner))
}

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret")
	if err := File(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, File(path))
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o602} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		want(t, File(path), "chmod 600 "+path)
		if mode&0o022 != 0 {
			want(t, Owned(path), "chmod 600 "+path)
		} else {
			want(t, Owned(path))
		}
	}
}

func TestOwner(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		uid  uint32
		self int
		want bool
	}{{1000, 1000, true}, {0, 1000, true}, {0, 0, true}, {1001, 1000, false}, {1000, 0, false}} {
		if got := trusted(tt.uid, tt.self); got != tt.want {
			t.Errorf("a file of %d for %d: got %t, want %t", tt.uid, tt.self, got, tt.want)
		}
	}
	for _, tt := range []struct {
		uid, gid uint32
		self     int
		want     bool
	}{
		{1000, 1000, 1000, true}, // a private group
		{1000, 100, 1000, false}, // users
		{0, 1000, 0, false},
		{0, 2000, 1000, true}, // a volume with a group for this process
		{0, 0, 0, true},
		{1000, 0, 1000, true},
	} {
		if got := ownGroup(tt.uid, tt.gid, tt.self); got != tt.want {
			t.Errorf("a directory of %d with group %d for %d: got %t, want %t", tt.uid, tt.gid, tt.self, got, tt.want)
		}
	}
	if os.Geteuid() != 0 {
		return // only the superuser can give files away, to see it whole
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chown(file, 4711, 4711), os.Chown(dir, 4711, 4711)); err != nil {
		t.Fatal(err)
	}
	want(t, File(file), file, "uid 4711")
	want(t, Dir(dir)) // the superuser may
	if err := os.Chmod(dir, 0o775); err != nil {
		t.Fatal(err)
	}
	want(t, Dir(dir), "0775", "chmod go-w "+dir)
}
