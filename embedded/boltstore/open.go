package boltstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"github.com/statelatch/statelatch/internal/filelock"
	"github.com/statelatch/statelatch/internal/private"
)

const (
	dbFile   = "store.db"
	lockFile = "store.lock"
	bodyDir  = "bodies"

	lockTimeout              = 100 * time.Millisecond
	defaultLifecycleInterval = time.Hour
)

// Open opens the store in cfg.Dir, or makes a new one there. It removes what writes that
// were cut short left behind. The error says which file is at fault; see [ErrInUse],
// [ErrCorrupt], [ErrFormat] and [ErrKey].
func Open(cfg Config) (*Store, error) {
	s := &Store{
		dir:   cfg.Dir,
		clock: cfg.Clock,
		log:   cfg.Logger,
		disk:  cfg.disk,

		rest:       rest,
		rows:       rowCache{rows: map[string]row{}},
		worthwhile: cmp.Or(cfg.worthwhile, defaultWorthwhile),

		queue: make(chan *update, maxBatch),
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.disk == nil {
		s.disk = osDisk{}
	}
	s.files = &bodyFiles{
		dir:  filepath.Join(s.dir, bodyDir),
		log:  s.log,
		disk: s.disk,
		dirs: make(map[string]bool),
		pins: make(map[string]*pin),
	}
	if err := s.open(); err != nil {
		_ = s.closeFiles() // the first error is the telling one
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.committed.Add(1)
	go s.commitLoop()

	ctx, stop := context.WithCancel(context.Background())
	s.stopSweep = stop
	if cfg.LifecycleInterval >= 0 {
		s.swept.Add(1)
		go s.runSweeps(ctx, cmp.Or(cfg.LifecycleInterval, defaultLifecycleInterval))
	}
	return s, nil
}

func (s *Store) open() error {
	if err := s.makeDir(); err != nil {
		return err
	}
	if err := s.lockDir(); err != nil {
		return err
	}
	present, err := s.files.present()
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, dbFile)
	if err := s.checkLoss(path, len(present)); err != nil {
		return err
	}
	if err := private.Owned(path); err != nil && !isNotExist(err) {
		return err
	}
	if err := s.openDB(path); err != nil {
		return err
	}
	check, err := s.checkFormat(path)
	if err != nil {
		return err
	}
	if s.masterKey, err = s.loadKey(check); err != nil {
		return err
	}
	if s.box, err = newBox(s.masterKey); err != nil {
		return err
	}
	if err := s.noteKey(check); err != nil {
		return err
	}
	if err := s.disk.mkdir(s.files.dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create body directory: %w", err)
	}
	// The entries of the database, the key and the bodies' directory.
	if err := s.disk.syncDir(s.dir); err != nil {
		return err
	}
	// Only now, holding the lock, is the list of files worth acting on.
	if present, err = s.files.present(); err != nil {
		return err
	}
	return s.sweepFiles(present)
}

// lockDir keeps other processes out of the directory, also while the database is exchanged, whose lock goes with it.
func (s *Store) lockDir() (err error) {
	path := filepath.Join(s.dir, lockFile)
	s.lock, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|filelock.NoFollow, 0o600)
	if err != nil {
		return explain(fmt.Errorf("lock data directory: %w", err))
	}
	for end := time.Now().Add(lockTimeout); ; time.Sleep(lockTimeout / 10) {
		held, err := filelock.Try(s.lock)
		switch {
		case err != nil:
			return fmt.Errorf("lock data directory: %s: %w", path, err)
		case held:
			return nil
		case time.Now().After(end):
			return inUse(s.dir)
		}
	}
}

func inUse(path string) error {
	return fmt.Errorf("%w: %s: stop it, or use another directory", ErrInUse, path)
}

// makeDir creates the data directory durably, if it is not there.
func (s *Store) makeDir() error {
	dir := s.dir
	if dir == "" {
		return errors.New("no data directory was given")
	}
	info, err := os.Stat(dir)
	if err == nil {
		if !info.IsDir() {
			return fmt.Errorf("the data directory %s is a file; name a directory", dir)
		}
		return private.Dir(dir)
	}
	if !isNotExist(err) {
		return fmt.Errorf("data directory: %w", err)
	}
	// Every directory made here needs its entry in the one above synced.
	var parents []string
	for p := filepath.Clean(dir); ; p = filepath.Dir(p) {
		if _, err := os.Stat(p); err == nil || filepath.Dir(p) == p {
			break
		}
		parents = append(parents, filepath.Dir(p))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return explain(fmt.Errorf("create data directory: %w", err))
	}
	for _, p := range parents {
		if err := s.disk.syncDir(p); err != nil {
			return err
		}
	}
	return private.Dir(dir)
}

// checkLoss refuses to begin a new database where one must have been: that would remove
// the bodies that are left, and show an empty store to people who kept state in it.
func (s *Store) checkLoss(path string, bodies int) error {
	info, err := os.Stat(path)
	switch {
	case isNotExist(err):
		if bodies > 0 {
			return fmt.Errorf("%w: %s is missing while %s holds %d bodies; nothing was changed: put the database back "+
				"from its backup", ErrCorrupt, path, s.files.dir, bodies)
		}
		return nil
	case err != nil:
		return fmt.Errorf("database: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s is not a regular file", ErrCorrupt, path)
	case info.Size() > 0:
		return nil
	}
	_, err = os.Stat(filepath.Join(s.dir, keyFile))
	if bodies > 0 || err == nil {
		return fmt.Errorf("%w: %s is empty although the store was in use; nothing was changed: put the database back "+
			"from its backup", ErrCorrupt, path)
	}
	return nil
}

// unwritable are the errors that say something about the disk, not about the database.
var unwritable = []syscall.Errno{
	syscall.EROFS, syscall.EACCES, syscall.EPERM, syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG,
}

// explain adds what to do about a disk that cannot be written; other errors pass as they are.
func explain(err error) error {
	switch {
	case isErrno(err, syscall.EROFS, syscall.EACCES, syscall.EPERM):
		return fmt.Errorf("the data directory cannot be written: %w: check its owner, its mode and how its disk is mounted",
			err)
	case isErrno(err, syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG):
		return fmt.Errorf("the data directory cannot be written: %w: free space on its disk", err)
	}
	return err
}

func corrupt(path string, cause error) error {
	return fmt.Errorf("%w: %s: %w; nothing was changed: put the file back from a backup", ErrCorrupt, path, cause)
}

// noteKey leaves a check value of the master key, without which nothing of the store can be read any more, and
// the format: an older program would take sealed records for damage.
func (s *Store) noteKey(check []byte) error {
	want, err := derive(s.masterKey, nil, purposeCheck)
	if err != nil {
		return err
	}
	format := []byte(strconv.Itoa(formatVersion))
	err = s.transact(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaTable)
		if check != nil && bytes.Equal(meta.Get(metaFormat), format) {
			return errNothingToCommit
		}
		return errors.Join(meta.Put(metaKeyCheck, want), meta.Put(metaFormat, format))
	})
	if err == nil || errors.Is(err, errNothingToCommit) {
		return nil
	}
	return explain(err)
}

// checkFormat reads the format of the database, makes the tables of a new one, and
// returns the check value of the encryption key, nil if there is none.
func (s *Store) checkFormat(path string) (check []byte, err error) {
	fresh := false
	var refusal error
	err = s.view(func(t *txn) error {
		meta := t.Bucket(metaTable)
		if meta == nil {
			first, _ := t.Cursor().First()
			if fresh = first == nil; !fresh {
				refusal = fmt.Errorf("%w: %s is the database of another program", ErrFormat, path)
			}
			return nil
		}
		version, err := strconv.Atoi(string(meta.Get(metaFormat)))
		if err != nil {
			refusal = corrupt(path, fmt.Errorf("format version %q", meta.Get(metaFormat)))
			return nil //nolint:nilerr // reported by refusal
		}
		if version > formatVersion {
			refusal = fmt.Errorf("%w: %s has format %d, this version reads up to %d: use a newer version", ErrFormat, path,
				version, formatVersion)
			return nil
		}
		for _, name := range allTables {
			if t.Bucket(name) == nil {
				refusal = corrupt(path, fmt.Errorf("table %s is missing", name))
				return nil
			}
		}
		check = bytes.Clone(meta.Get(metaKeyCheck))
		return nil
	})
	switch {
	case err != nil:
		return nil, corrupt(path, err)
	case refusal != nil:
		return nil, refusal
	case !fresh:
		return check, nil
	}
	err = s.transact(func(tx *bbolt.Tx) error {
		for _, name := range allTables {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return tx.Bucket(metaTable).Put(metaFormat, []byte(strconv.Itoa(formatVersion)))
	})
	if err != nil {
		return nil, explain(fmt.Errorf("make database %s: %w", path, err))
	}
	return nil, nil
}
