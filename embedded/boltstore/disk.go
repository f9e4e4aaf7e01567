package boltstore

import (
	"cmp"
	"fmt"
	"os"
	"runtime"

	"go.etcd.io/bbolt"
)

// disk is every call on which it depends what survives a power cut. What was created, made or removed survives
// once syncDir of its directory returned nil, what was written once sync did, and a transaction once update did.
type disk interface {
	mkdir(path string) error
	// create makes a new file, and fails if there is one.
	create(path string) (*os.File, error)
	write(f *os.File, p []byte) (int, error)
	sync(f *os.File) error
	syncDir(path string) error
	remove(path string) error
	// rename puts a file in the place of another, or of none.
	rename(from, to string) error
	// update runs change in a transaction and commits it, unless change fails or panics.
	update(db *bbolt.DB, change func(*bbolt.Tx) error) error
}

// osDisk is the disk of the operating system.
type osDisk struct{}

func (osDisk) mkdir(path string) error { return os.Mkdir(path, 0o700) }

func (osDisk) create(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func (osDisk) write(f *os.File, p []byte) (int, error) { return f.Write(p) }

func (osDisk) sync(f *os.File) error { return f.Sync() }

func (osDisk) remove(path string) error { return os.Remove(path) }

func (osDisk) rename(from, to string) error { return os.Rename(from, to) }

// update is not that of bbolt, which after a panic reads the whole database in a goroutine that damage would end the
// process in.
func (osDisk) update(db *bbolt.DB, change func(*bbolt.Tx) error) error {
	tx, err := db.Begin(true)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	if err := change(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// syncDir on Windows does nothing: it cannot, and need not.
func (osDisk) syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := cmp.Or(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
