package boltstore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime/debug"

	"go.etcd.io/bbolt"

	"github.com/statelatch/statelatch/s3/s3model"
)

// txn is a transaction as one request sees it. What the tables hold is in schema.go, who commits in commit.go.
type txn struct {
	*bbolt.Tx
	box      *box
	rows     *rowCache
	since    uint64   // of rows, when the transaction had not begun
	changed  []string // rows
	wrote    bool
	obsolete []string
}

// view runs fn in a read transaction. Those are kept short: bodies are never streamed
// inside one, because the database file cannot be remapped meanwhile.
func (s *Store) view(fn func(*txn) error) (err error) {
	defer s.recoverDamage(&err)()
	since := s.rows.now()
	return failure(s.db.View(func(tx *bbolt.Tx) error {
		return fn(&txn{Tx: tx, box: s.box, rows: &s.rows, since: since})
	}))
}

// recoverDamage turns what bbolt does on a damaged file, a panic or a fault in the
// mapped memory, into an error. The result is to be deferred.
func (s *Store) recoverDamage(err *error) func() {
	faults := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(faults)
		if p := recover(); p != nil {
			s.log.Error("the database could not be used", "panic", p, "stack", string(debug.Stack()))
			*err = s3model.ErrInternal.With("", damaged("%v", p))
		}
	}
}

func (t *txn) get(table, key []byte, v any) (bool, error) {
	data := t.Bucket(table).Get(key)
	if data == nil {
		return false, nil
	}
	return true, t.decode(table, key, data, v)
}

func (t *txn) put(table, key []byte, v any) error {
	data, err := encode(v)
	if err != nil {
		return err
	}
	return t.putSealed(table, key, data)
}

func (t *txn) putSealed(table, key, data []byte) error {
	return t.putRaw(table, key, t.box.seal(table, key, data))
}

func (t *txn) putRaw(table, key, data []byte) error {
	t.change(table, key)
	if err := t.Bucket(table).Put(key, data); err != nil {
		return fmt.Errorf("write table %s: %w", table, err)
	}
	return nil
}

func (t *txn) remove(table, key []byte) error {
	t.change(table, key)
	if err := t.Bucket(table).Delete(key); err != nil {
		return fmt.Errorf("write table %s: %w", table, err)
	}
	return nil
}

// change notes that the transaction changes a row.
func (t *txn) change(table, key []byte) {
	t.wrote = true
	if cached(table) {
		t.changed = append(t.changed, string(place(table, key)))
	}
}

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return b, nil
}

// decode opens and parses a record.
func (t *txn) decode(table, key, data []byte, v any) error {
	data, err := t.box.open(table, key, data)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return damaged("record %q of table %s: %v", key, table, err)
	}
	return nil
}

// scan calls fn for the entries of a table whose key begins with prefix, in order,
// until it returns false.
func scan(tx *bbolt.Tx, table, prefix []byte, fn func(k, v []byte) (bool, error)) error {
	c := tx.Bucket(table).Cursor()
	for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if more, err := fn(k, v); err != nil || !more {
			return err
		}
	}
	return nil
}

// bucketOf returns the record of a bucket, which nobody changes.
func (t *txn) bucketOf(name string) (*bucketRecord, error) {
	key := []byte(name)
	b, err := t.row(bucketTable, key, func(stored []byte) (any, error) {
		if stored == nil {
			return nil, s3model.ErrNoSuchBucket
		}
		b := &bucketRecord{}
		return b, t.decode(bucketTable, key, stored, b)
	})
	if err != nil {
		return nil, err
	}
	return b.(*bucketRecord), nil
}

// smallBodies copies the bodies that are in the database; nil for one that is a file.
func (t *txn) smallBodies(bodies []body) ([][]byte, error) {
	small := make([][]byte, len(bodies))
	for i, b := range bodies {
		if b.Inline == 0 {
			continue
		}
		data := t.Bucket(bodyTable).Get(number(b.Inline))
		if data == nil {
			return nil, damaged("small body %d is missing", b.Inline)
		}
		small[i] = bytes.Clone(data)
	}
	return small, nil
}

// release takes bodies out of the transaction's database.
func (t *txn) release(bodies []body) error {
	for _, b := range bodies {
		var err error
		switch {
		case b.File != "":
			t.obsolete = append(t.obsolete, b.File)
			err = t.remove(fileTable, []byte(b.File))
		case b.Inline != 0:
			err = t.remove(bodyTable, number(b.Inline))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
