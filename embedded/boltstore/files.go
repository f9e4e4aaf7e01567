package boltstore

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
)

// bodyFiles is the directory of the large bodies: <dir>/<first two digits>/<name>, where
// a name is random and never used twice. A file counts only while the database names it.
type bodyFiles struct {
	dir  string
	log  *slog.Logger
	disk disk

	mu   sync.Mutex
	dirs map[string]bool // subdirectories that are known to survive a power cut
	pins map[string]*pin

	// gate is held for reading from the look-up of a file's name until it is pinned.
	gate sync.RWMutex
}

// pin keeps a file that readers may still open or seek in.
type pin struct {
	readers int
	doomed  bool // remove it with the last reader
}

var bodyFileName = regexp.MustCompile(`^[0-9a-f]{32}$`)

func (f *bodyFiles) path(name string) string { return filepath.Join(f.dir, name[:2], name) }

// create makes a new, empty file whose directory entry is not yet durable.
func (f *bodyFiles) create() (file *os.File, name string, err error) {
	name = hex.EncodeToString(randomBytes(16))
	if err := f.ensureDir(name[:2]); err != nil {
		return nil, "", err
	}
	if file, err = f.disk.create(f.path(name)); err != nil {
		return nil, "", fmt.Errorf("create body file: %w", err)
	}
	return file, name, nil
}

// ensureDir makes a subdirectory, once, and makes it durable.
func (f *bodyFiles) ensureDir(sub string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dirs[sub] {
		return nil
	}
	if err := f.disk.mkdir(filepath.Join(f.dir, sub)); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create body directory: %w", err)
	}
	if err := f.disk.syncDir(f.dir); err != nil {
		return err
	}
	f.dirs[sub] = true
	return nil
}

// finish makes a written file and its directory entry durable and closes it.
func (f *bodyFiles) finish(file *os.File) error {
	if err := cmp.Or(f.disk.sync(file), file.Close()); err != nil {
		return fmt.Errorf("sync body file: %w", err)
	}
	return f.disk.syncDir(filepath.Dir(file.Name()))
}

// remove deletes a file that the database does not name. What cannot be removed is
// left for the next open.
func (f *bodyFiles) remove(name string) {
	path := f.path(name)
	if err := f.disk.remove(path); err != nil && !isNotExist(err) {
		f.log.Warn("a body file that is no longer needed was left behind until the next start", "path", path, "err", err)
	}
}

// discard removes files that a commit has just made obsolete, those in use with
// their last reader.
func (f *bodyFiles) discard(names []string) {
	if len(names) == 0 {
		return
	}
	// Whoever looked a name up before the commit has pinned it once this returns, and
	// nobody can look it up any more.
	f.gate.Lock()
	f.gate.Unlock() //nolint:staticcheck // waiting is all it is for
	for _, name := range names {
		f.mu.Lock()
		p := f.pins[name]
		if p != nil {
			p.doomed = true
		}
		f.mu.Unlock()
		if p == nil {
			f.remove(name)
		}
	}
}

func (f *bodyFiles) pin(bodies []body) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range bodies {
		if b.File == "" {
			continue
		}
		p := f.pins[b.File]
		if p == nil {
			p = &pin{}
			f.pins[b.File] = p
		}
		p.readers++
	}
}

func (f *bodyFiles) unpin(bodies []body) {
	var doomed []string
	f.mu.Lock()
	for _, b := range bodies {
		p := f.pins[b.File]
		if p == nil {
			continue
		}
		if p.readers--; p.readers == 0 {
			delete(f.pins, b.File)
			if p.doomed {
				doomed = append(doomed, b.File)
			}
		}
	}
	f.mu.Unlock()
	for _, name := range doomed {
		f.remove(name)
	}
}

// present lists the body files that are on the disk.
func (f *bodyFiles) present() (map[string]bool, error) {
	names := make(map[string]bool)
	subs, err := os.ReadDir(f.dir)
	if err != nil {
		if isNotExist(err) {
			return names, nil
		}
		return nil, fmt.Errorf("list body files: %w", err)
	}
	for _, sub := range subs {
		if !sub.IsDir() || len(sub.Name()) != 2 {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(f.dir, sub.Name()))
		if err != nil {
			return nil, fmt.Errorf("list body files: %w", err)
		}
		for _, e := range entries {
			if bodyFileName.MatchString(e.Name()) && e.Name()[:2] == sub.Name() {
				names[e.Name()] = true
			}
		}
	}
	return names, nil
}

// sweepFiles removes the files of writes that were cut short, and reports bodies whose
// file is gone.
func (s *Store) sweepFiles(present map[string]bool) error {
	missing := 0
	err := s.view(func(t *txn) error {
		return scan(t.Tx, fileTable, nil, func(k, v []byte) (bool, error) {
			if !present[string(k)] {
				missing++
				s.log.Error("the file of a body is gone; reading that object fails", "path", s.files.path(string(k)), "object",
					string(v))
			}
			delete(present, string(k))
			return true, nil
		})
	})
	if err != nil {
		return err
	}
	for name := range present {
		s.files.remove(name)
	}
	if len(present) > 0 || missing > 0 {
		s.log.Info("checked the body files", "leftovers removed", len(present), "missing", missing)
	}
	return nil
}
