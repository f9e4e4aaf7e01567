package boltstore

import (
	"os"
	"runtime"
	"testing"

	"go.etcd.io/bbolt"
)

// stepDisk is the disk of the operating system with a step before every call, which can make it fail. A failing
// "commit" is rolled back. A failing "committed" is one whose last page was written and whose sync failed.
type stepDisk struct {
	osDisk
	step func(op, path string) error
}

func steps(step func(op, path string) error) disk { return stepDisk{step: step} }

func (d stepDisk) create(path string) (*os.File, error) {
	if err := d.step("create", path); err != nil {
		return nil, err
	}
	return d.osDisk.create(path)
}

func (d stepDisk) write(f *os.File, p []byte) (int, error) {
	if err := d.step("write", f.Name()); err != nil {
		return 0, err
	}
	return d.osDisk.write(f, p)
}

func (d stepDisk) sync(f *os.File) error {
	if err := d.step("sync-file", f.Name()); err != nil {
		return err
	}
	return d.osDisk.sync(f)
}

func (d stepDisk) syncDir(path string) error {
	if err := d.step("sync-dir", path); err != nil {
		return err
	}
	return d.osDisk.syncDir(path)
}

func (d stepDisk) remove(path string) error {
	if err := d.step("remove", path); err != nil {
		return err
	}
	return d.osDisk.remove(path)
}

func (d stepDisk) update(db *bbolt.DB, change func(*bbolt.Tx) error) error {
	err := d.osDisk.update(db, func(tx *bbolt.Tx) error {
		if err := change(tx); err != nil {
			return err
		}
		return d.step("commit", db.Path())
	})
	if err != nil {
		return err
	}
	return d.step("committed", db.Path())
}

// What the fakes of these tests stand in for really syncs: a device that cannot be synced is an error.
func TestOSDisk_Syncs(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no file that cannot be synced")
	}
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if err := (osDisk{}).sync(file); err == nil {
		t.Error("sync: got nil for what cannot be synced")
	}
	if err := (osDisk{}).syncDir(os.DevNull); err == nil {
		t.Error("syncDir: got nil for what cannot be synced")
	}
}
