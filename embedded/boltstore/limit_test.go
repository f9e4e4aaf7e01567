//go:build linux || darwin

package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/statelatch/statelatch/s3/s3model"
)

func init() {
	childRoles["limit"] = limitChild
	childRoles["unwritable"] = unwritableChild
}

// limitChild fills the database up to a limit of the file size, which the kernel enforces
// as it enforces a full disk, checks that nothing is lost, and goes on after the limit is lifted.
func limitChild(dir string) error {
	signal.Ignore(syscall.SIGXFSZ)
	s, err := Open(Config{Dir: dir, LifecycleInterval: -1})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := s.CreateBucket(ctx, "b", ""); err != nil {
		return err
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		return err
	}
	limited := before
	limited.Cur = 1 << 20
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited); err != nil {
		return err
	}
	write := func(key string, size int) error {
		_, err := s.Put(ctx, s3model.PutRequest{Bucket: "b", Key: key}, bytes.NewReader(pattern(size, 1)))
		return err
	}
	if err := write("large", 2<<20); !errors.Is(err, s3model.ErrStorageFull) {
		return fmt.Errorf("a large body above the limit: got %w, want ErrStorageFull", err)
	}
	stored := 0
	for ; stored < 1000; stored++ {
		if err = write(fmt.Sprint(stored), 10000); err != nil {
			break
		}
	}
	if !errors.Is(err, s3model.ErrStorageFull) || stored == 0 {
		return fmt.Errorf("after %d small bodies: got %w, want ErrStorageFull", stored, err)
	}
	for i := range 3 {
		if err := write("again", 40000); !errors.Is(err, s3model.ErrStorageFull) {
			return fmt.Errorf("attempt %d: got %w, want ErrStorageFull", i, err)
		}
	}
	if err := readAll(s, stored); err != nil {
		return err
	}
	if _, err := s.Head(ctx, s3model.ReadRequest{Bucket: "b", Key: "again"}); !errors.Is(err, s3model.ErrNoSuchKey) {
		return fmt.Errorf("a refused write: got %w, want ErrNoSuchKey", err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		return err
	}
	for _, size := range []int{40000, 2 << 20} {
		if err := write("after", size); err != nil {
			return fmt.Errorf("with space again: %w", err)
		}
	}
	if err := readAll(s, stored); err != nil {
		return err
	}
	return s.Close()
}

func readAll(s *Store, stored int) error {
	for i := range stored {
		_, r, err := s.Get(context.Background(), s3model.ReadRequest{Bucket: "b", Key: fmt.Sprint(i)})
		if err != nil {
			return err
		}
		var got bytes.Buffer
		_, err = got.ReadFrom(r)
		_ = r.Close()
		if err != nil || !bytes.Equal(got.Bytes(), pattern(10000, 1)) {
			return fmt.Errorf("object %d: %d bytes, %w", i, got.Len(), err)
		}
	}
	return nil
}

func TestStore_FileSizeLimit_RefusesAndRecovers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, err := child(t, "limit", dir).CombinedOutput(); err != nil {
		t.Fatalf("child: %v\n%s", err, out)
	}
	s := mustOpen(t, Config{Dir: dir})
	checkStorage(t, s)
}

func TestOpen_DirectoryCannotBeWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	if out, err := child(t, "unwritable", dir).CombinedOutput(); err != nil {
		t.Fatalf("child: %v\n%s", err, out)
	}
}

// unwritableChild stops being root, whom permissions do not stop.
func unwritableChild(dir string) error {
	const nobody = 65534
	if os.Geteuid() == 0 {
		if err := errors.Join(syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
			return err
		}
	}
	for _, d := range []string{dir, filepath.Join(dir, "sub")} {
		s, err := Open(Config{Dir: d})
		if err == nil {
			return errors.Join(fmt.Errorf("open %s succeeded", d), s.Close())
		}
		if !errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("open %s: got %w, want a permission error", d, err)
		}
	}
	return nil
}
