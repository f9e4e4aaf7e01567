package boltstore

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	// compactedFile is the database while it is compacted.
	compactedFile = dbFile + ".tmp"
	// defaultWorthwhile is how many free bytes are worth the time of a compaction.
	defaultWorthwhile = 64 << 20
	// compactBatch is how many bytes of it are in a transaction.
	compactBatch = 1 << 20
)

// listing says whether the list of free pages in the database file is current.
type listing struct {
	outdated bool // by commits, which leave it out
	lost     bool // a panic left pages behind that are on no list until they are looked for
}

// transact is disk.update on the database, which may be damaged.
func (s *Store) transact(change func(*bbolt.Tx) error) (err error) {
	defer s.recoverDamage(&err)()
	lost := s.list.lost
	s.list.lost = true // unless update returns
	err = s.disk.update(s.db, change)
	s.list.lost = lost
	s.list.outdated = s.list.outdated || err == nil
	return err
}

// listFree writes the list of free pages, so that the next opening need not look for them. If that fails, it does.
func (s *Store) listFree() {
	if !s.list.outdated || s.list.lost || s.broken.Load() != nil {
		return
	}
	s.db.NoFreelistSync = false
	if err := s.transact(func(*bbolt.Tx) error { return nil }); err != nil {
		s.log.Warn("the list of free pages was not written; the next start takes longer", "err", err)
	}
}

// openDB opens and locks the database, and finds out whether bbolt can work with it. If most of it is free, it is
// compacted before.
func (s *Store) openDB(path string) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // a truncated file faults when read
	defer func() {
		if p := recover(); p != nil {
			// What bbolt stumbled over says nothing to whoever has to mend it.
			err = corrupt(path, errors.New("its pages cannot be read"))
		}
	}()
	tmp := filepath.Join(s.dir, compactedFile)
	if err := s.disk.remove(tmp); err != nil && !isNotExist(err) {
		return explain(fmt.Errorf("remove what a compaction left: %w", err))
	}
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		if err := s.inspectDB(path, tmp); err != nil {
			return err
		}
	}
	s.db, _, err = openBolt(path, bbolt.Options{NoFreelistSync: true})
	return err
}

// inspectDB refuses a database that is damaged, and compacts one that is mostly free.
func (s *Store) inspectDB(path, tmp string) error {
	db, file, err := openBolt(path, bbolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // a second time does nothing
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	l, err := inspect(file, info.Size())
	if err != nil {
		return corrupt(path, err)
	}
	s.list.outdated = !l.listed
	free := int64(l.free) * l.pageSize
	if l.free < l.pages/2 || free < s.worthwhile {
		return nil
	}
	s.log.Info("compacting the database, most of which is free", "path", path, "bytes", info.Size(), "free", free)
	if err = s.writeCompact(db, tmp); err == nil {
		// Windows renames over no open file. The lock of the directory stays.
		if err = cmp.Or(db.Close(), s.disk.rename(tmp, path)); err == nil {
			s.list.outdated = false
			return nil // open syncs the directory before anything is written
		}
	}
	_ = s.disk.remove(tmp) // also tried by the next opening
	s.log.Warn("the database was not compacted", "err", err)
	return nil
}

// writeCompact copies what is used of a database into a new file, durably.
func (s *Store) writeCompact(db *bbolt.DB, to string) (err error) {
	file, err := s.disk.create(to)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, file.Close()) }()
	if err := copyDB(db, to); err != nil {
		return err
	}
	return s.disk.sync(file)
}

func copyDB(db *bbolt.DB, to string) (err error) {
	compact, _, err := openBolt(to, bbolt.Options{NoSync: true, NoGrowSync: true})
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, compact.Close()) }()
	defer func() {
		if p := recover(); p != nil {
			err = damaged("%v", p)
		}
	}()
	return bbolt.Compact(compact, db, compactBatch)
}

// openBolt opens a database and returns its file, too.
func openBolt(path string, options bbolt.Options) (db *bbolt.DB, file *os.File, err error) {
	options.Timeout = lockTimeout
	options.FreelistType = bbolt.FreelistMapType
	options.NoStatistics = true
	options.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		var err error
		file, err = os.OpenFile(name, flag, mode)
		return file, err
	}
	opened := false
	defer func() {
		if !opened && file != nil {
			unlock(file)
			_ = file.Close() // after a panic bbolt leaves it open
		}
	}()
	db, err = bbolt.Open(path, 0o600, &options)
	switch {
	case err == nil:
		opened = true
		return db, file, nil
	case errors.Is(err, berrors.ErrTimeout):
		return nil, nil, inUse(path)
	case isErrno(err, unwritable...):
		return nil, nil, explain(err)
	}
	return nil, nil, corrupt(path, err)
}
