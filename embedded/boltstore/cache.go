package boltstore

import (
	"bytes"
	"sync"
)

// rowCache keeps rows of the small tables, of buckets and their settings, opened: every request asks for some. A row
// that a commit has changed is forgotten before anybody is told of the commit.
type rowCache struct {
	mu      sync.RWMutex
	rows    map[string]row
	changes uint64 // how often rows were forgotten
}

// row is what a table holds for a key, and what that means; nobody changes either. stored is nil if it holds nothing.
type row struct {
	stored []byte
	value  any
}

func (c *rowCache) get(key string) (row, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	r, ok := c.rows[key]
	return r, ok
}

// now is to be asked for before the transaction whose rows are then put.
func (c *rowCache) now() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.changes
}

// put keeps a row, unless it may have changed since.
func (c *rowCache) put(key string, r row, since uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes == since {
		c.rows[key] = r
	}
}

func (c *rowCache) forget(keys []string) {
	if len(keys) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	for _, k := range keys {
		delete(c.rows, k)
	}
}

// cached reports whether the rows of a table are kept.
func cached(table []byte) bool {
	return bytes.Equal(table, bucketTable) || bytes.Equal(table, configTable)
}

// row reads a row that is kept or, by open, from the table.
func (t *txn) row(table, key []byte, open func(stored []byte) (any, error)) (any, error) {
	at := string(place(table, key))
	stored := t.Bucket(table).Get(key)
	r, ok := t.rows.get(at)
	// Nothing is sealed alike twice, so that the row is the same also in the course of a transaction that changes it.
	if ok && (r.stored == nil) == (stored == nil) && bytes.Equal(r.stored, stored) {
		return r.value, nil
	}
	value, err := open(stored)
	if err == nil && !t.Writable() {
		t.rows.put(at, row{bytes.Clone(stored), value}, t.since)
	}
	return value, err
}

// row is txn.row without a transaction, if the row is kept.
func (s *Store) row(table, key []byte, read func(*txn) (any, error)) (value any, err error) {
	if r, ok := s.rows.get(string(place(table, key))); ok {
		return r.value, nil
	}
	err = s.view(func(t *txn) (err error) {
		value, err = read(t)
		return err
	})
	return value, err
}
