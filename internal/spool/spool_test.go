package spool_test

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/internal/spool"
)

// Up to the limit nothing is on disk; above it a file, without a name where the system allows that, and none after Close.
func TestSpool(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 10, 11, 1000} {
		dir := t.TempDir()
		s := spool.New(dir, 10)
		want := strings.Repeat("x", size)
		for part := range strings.SplitSeq(want, "") {
			if _, err := io.WriteString(s, part); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := s.Rewind(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(s); err != nil || string(got) != want {
				t.Errorf("%d bytes: got %q, %v", size, got, err)
			}
		}
		at := make([]byte, 1)
		if _, err := s.ReadAt(at, int64(max(size-1, 0))); size > 0 && (err != nil || at[0] != 'x') {
			t.Errorf("%d bytes: ReadAt the last: %q, %v", size, at, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%d bytes: left behind: %v", size, left)
		}
	}
}

func TestSpool_NoDisk(t *testing.T) {
	t.Parallel()
	s := spool.New(t.TempDir()+"/none", 1)
	if _, err := io.WriteString(s, "ab"); err == nil {
		t.Error("got no error without a directory")
	}
}
