package runner

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
)

func TestErroredStates_New(t *testing.T) {
	t.Parallel()
	write := func(path, content string) error { return os.WriteFile(path, []byte(content), 0o600) }
	nothing := func(string) error { return nil }
	for name, tc := range map[string]struct {
		before string // content of the file in the directory; empty: none
		during func(dir string) error
		want   []string
	}{
		"none":      {during: nothing},
		"unchanged": {before: "old", during: nothing},
		"new":       {during: func(dir string) error { return write(dir+"/errored.tfstate", "new") }, want: []string{"errored.tfstate"}},
		"other size": {
			before: "old", during: func(dir string) error { return write(dir+"/errored.tfstate", "longer") },
			want: []string{"errored.tfstate"},
		},
		"same size, written again": {
			before: "old", during: func(dir string) error { return write(dir+"/errored.tfstate", "new") },
			want: []string{"errored.tfstate"},
		},
		"replaced by one of the same size and time": {
			before: "old", during: func(dir string) error {
				info, err := os.Stat(dir + "/errored.tfstate")
				if err != nil {
					return err
				}
				return errors.Join(
					write(dir+"/other", "new"),
					os.Chtimes(dir+"/other", time.Time{}, info.ModTime()),
					os.Rename(dir+"/other", dir+"/errored.tfstate"),
				)
			}, want: []string{"errored.tfstate"},
		},
		"removed": {before: "old", during: func(dir string) error {
			return os.Remove(dir + "/errored.tfstate")
		}},
		"a directory": {during: func(dir string) error {
			return os.Mkdir(dir+"/errored.tfstate", 0o700)
		}},
		"in one and the other": {
			during: func(dir string) error {
				return errors.Join(write(dir+"/sub/errored.tfstate", "new"), write(dir+"/errored.tfstate", "new"))
			}, want: []string{"errored.tfstate", "sub/errored.tfstate"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
				t.Fatal(err)
			}
			if tc.before != "" {
				path := dir + "/errored.tfstate"
				// File times may be coarse; what an engine writes is newer than this.
				if err := errors.Join(write(path, tc.before), os.Chtimes(path, time.Time{}, time.Unix(1_700_000_000, 0))); err != nil {
					t.Fatal(err)
				}
			}
			snapshot, err := SnapshotErrored(dir, filepath.Join(dir, "sub"))
			if err != nil {
				t.Fatal(err)
			}
			if err := tc.during(dir); err != nil {
				t.Fatal(err)
			}
			got, err := snapshot.New()
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, name := range tc.want {
				want = append(want, filepath.Join(dir, name))
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestErroredStates_CannotBeLookedAt(t *testing.T) {
	t.Parallel()
	loop := filepath.Join(t.TempDir(), "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	if _, err := SnapshotErrored(loop); !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
}
