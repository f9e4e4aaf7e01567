//go:build unix

package treefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestRead_PipesAndDevices(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "main.tf")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{pipe, "/dev/zero", "/dev/tty"} {
		if _, err := Read(name, MaxSize); !errors.Is(err, ErrNotRegular) && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %v, want ErrNotRegular", name, err)
		}
	}
	if data, err := ReadNamed(pipe, MaxSize); err != nil || len(data) != 0 { // nobody writes to it
		t.Errorf("got %q, %v of a pipe without a writer, want nothing", data, err)
	}
	if _, err := os.Stat("/proc/self/mem"); err == nil {
		if data, err := Read("/proc/self/mem", MaxSize); err != nil || len(data) != 0 {
			t.Errorf("got %d bytes of /proc, %v, want none", len(data), err)
		}
	}
}

func TestReadNamed_Pipe(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := os.Stat("/dev/fd"); err != nil {
		t.Log("no /dev/fd here: only the error is looked at")
		return
	}
	go func() { _, _ = w.WriteString("bucket = \"b\"\n"); _ = w.Close() }()
	data, err := ReadNamed(filepath.Join("/dev/fd", fmt.Sprint(r.Fd())), MaxSize)
	if err != nil || string(data) != "bucket = \"b\"\n" {
		t.Errorf("got %q, %v", data, err)
	}
}
