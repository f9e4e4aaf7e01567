package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/statelatch/statelatch"
)

const envWriter = "STATELATCH_TEST_AUDIT_WRITER"

// TestMain lets the test program be one of several processes that write a log.
func TestMain(m *testing.M) {
	if os.Getenv(envWriter) != "" {
		for i := range writes {
			if err := NewFileLog("audit.log").Append(context.Background(), event(fmt.Sprintf("%d-%d", os.Getpid(), i))); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		return
	}
	os.Exit(m.Run())
}

// writes is how many events each process and goroutine writes.
const writes = 25

func TestFileLog_Append_Processes(t *testing.T) {
	t.Parallel()
	l := NewFileLog(filepath.Join(t.TempDir(), "audit.log"))
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Dir, cmd.Env = filepath.Dir(l.path), append(os.Environ(), envWriter+"=1")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
		running.Go(func() {
			for i := range writes {
				if err := l.Append(t.Context(), event(fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	if _, r := read(t, l); len(r.Findings) != 0 || r.Events != 8*writes || r.Last.Seq != 8*writes {
		t.Errorf("got %d events up to %d, findings %v; want %d and none", r.Events, r.Last.Seq, r.Findings, 8*writes)
	}
	left, err := filepath.Glob(l.path + "*")
	if err != nil || len(left) != 2 {
		t.Errorf("got files %v, want the log and its head alone", left)
	}
	for _, path := range left {
		if is, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && is.Mode().Perm() != 0o600 {
			t.Errorf("%s: got mode %v, want 0600", path, is.Mode())
		}
	}
}

// A crash in the middle of a line, or between the line and the head, loses nothing that was stored.
func TestFileLog_Append_AfterACrash(t *testing.T) {
	t.Parallel()
	for name, torn := range map[string]string{"half a line": `{"v":1,"chain":"ab`, "all but its end": "whole", "nothing": ""} {
		l := NewFileLog(filepath.Join(t.TempDir(), "audit.log"))
		for _, id := range []string{"1", "2"} {
			if err := l.Append(t.Context(), event(id)); err != nil {
				t.Fatal(err)
			}
		}
		c, _ := read(t, l)
		if torn == "whole" {
			raw, _ := c.Head.next(event("torn"))
			torn = string(raw)
		}
		f, err := os.OpenFile(l.path, os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(torn)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		wantOnce(t, l, "1", "2")
		if err := l.Append(t.Context(), event("3")); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantOnce(t, l, "1", "2", "3")
	}

	l := NewFileLog(filepath.Join(t.TempDir(), "audit.log"))
	for i := range 3 {
		old, _ := os.ReadFile(l.headPath())
		if err := l.Append(t.Context(), event(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if i == 1 { // the head was not written any more
			if err := os.WriteFile(l.headPath(), old, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, r := read(t, l); len(r.Findings) != 0 || r.Behind != 1 {
				t.Errorf("got %+v, want a head that is 1 behind", r)
			}
		}
	}
	wantOnce(t, l, "0", "1", "2")
}

func TestFileLog_Append_Refusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := NewFileLog(filepath.Join(dir, "audit.log"))
	if _, err := l.Read(t.Context()); !errors.Is(err, statelatch.ErrNotFound) {
		t.Errorf("Read of nothing: got %v, want ErrNotFound", err)
	}
	f, err := l.open(t.Context()) // somebody holds the lock
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Append(ctx, event("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := NewFileLog(filepath.Join(dir, "none", "audit.log")).Append(t.Context(), event("x")); err == nil {
		t.Error("a directory that does not exist: got nil")
	}
	if err := NewFileLog(dir).Append(t.Context(), event("x")); err == nil {
		t.Error("a directory: got nil")
	}
	if runtime.GOOS != "windows" {
		link := filepath.Join(dir, "link")
		if err := os.Symlink(filepath.Join(dir, "elsewhere"), link); err != nil {
			t.Fatal(err)
		}
		if err := NewFileLog(link).Append(t.Context(), event("x")); err == nil {
			t.Error("a symbolic link: got nil")
		}
	}
	if err := os.WriteFile(l.path, []byte("no event\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), event("x")); !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), "audit verify") {
		t.Errorf("a last line that is no event: got %v, want ErrInvalid with the next step", err)
	}
}
