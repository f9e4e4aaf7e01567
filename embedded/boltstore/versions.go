package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/statelatch/statelatch/s3/s3model"
)

// A key's versions are one record in objectTable, if the latest version is an object,
// and all others in historyTable. So the record of an unversioned object is written
// once, a listing reads nothing but what it lists, and a key whose latest version
// is a delete marker has no record in objectTable.

// current returns the latest version if it is an object, else nil.
func (t *txn) current(bucket, key string) (*record, error) {
	r := &record{}
	ok, err := t.get(objectTable, join(bucket, key), r)
	if err != nil || !ok {
		return nil, err
	}
	return r, nil
}

// newestInHistory returns the first record of the key in historyTable, nil if there is
// none. If the key has no current object, that is its latest version.
func (t *txn) newestInHistory(bucket, key string) (*record, error) {
	var r *record
	prefix := join(bucket, key, "")
	err := scan(t.Tx, historyTable, prefix, func(k, v []byte) (bool, error) {
		r = &record{}
		return false, t.decode(historyTable, k, v, r)
	})
	return r, err
}

// latest returns the latest version, object or delete marker, nil if the key has none.
func (t *txn) latest(bucket, key string) (*record, error) {
	if r, err := t.current(bucket, key); r != nil || err != nil {
		return r, err
	}
	return t.newestInHistory(bucket, key)
}

// find returns a version, nil if there is none. An empty versionID is the latest.
func (t *txn) find(bucket, key, versionID string) (r *record, isLatest bool, err error) {
	latest, err := t.latest(bucket, key)
	if err != nil || latest == nil || versionID == "" {
		return latest, latest != nil, err
	}
	if latest.versionID() == versionID {
		return latest, true, nil
	}
	var seq uint64
	if versionID == s3model.NullVersion {
		if seq = t.nullSeq(bucket, key); seq == 0 {
			return nil, false, nil
		}
	} else {
		var ok bool
		if seq, ok = parseVersionID(versionID); !ok {
			return nil, false, nil
		}
	}
	r = &record{}
	ok, err := t.get(historyTable, historyKey(bucket, key, seq), r)
	if err != nil || !ok || r.versionID() != versionID {
		return nil, false, err
	}
	return r, false, nil
}

// nullSeq is the sequence number of the null version in history, 0 if it is not there.
func (t *txn) nullSeq(bucket, key string) uint64 {
	v := t.Bucket(nullTable).Get(join(bucket, key))
	if len(v) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(v)
}

func (t *txn) putHistory(bucket, key string, r *record) error {
	if err := t.put(historyTable, historyKey(bucket, key, r.Seq), r); err != nil {
		return err
	}
	if r.Null {
		return t.putRaw(nullTable, join(bucket, key), number(r.Seq))
	}
	return nil
}

func (t *txn) removeHistory(bucket, key string, r *record) error {
	if err := t.remove(historyTable, historyKey(bucket, key, r.Seq)); err != nil {
		return err
	}
	if r.Null {
		return t.remove(nullTable, join(bucket, key))
	}
	return nil
}

// insert makes r the latest version of the key, as the versioning of the bucket has it:
// beside the others (Enabled), in place of the null version (Suspended), or in place of
// the only one. cur is what t.current returns.
func (t *txn) insert(b *bucketRecord, bucket, key string, r, cur *record, now time.Time) error {
	seq, err := t.Bucket(historyTable).NextSequence()
	if err != nil {
		return fmt.Errorf("number version: %w", err)
	}
	r.Seq = seq
	r.Null = b.Settings.Versioning != s3model.Enabled

	if r.Null {
		if cur != nil && cur.Null {
			if err := t.release(cur.Bodies); err != nil {
				return err
			}
			cur = nil // its record is replaced or removed below
		} else if err := t.dropNull(bucket, key); err != nil {
			return err
		}
	}
	if cur == nil {
		err = t.retireMarker(bucket, key, now)
	} else {
		cur.Retired = now.UnixNano()
		err = t.putHistory(bucket, key, cur)
	}
	if err != nil {
		return err
	}
	if !r.Marker {
		return t.put(objectTable, join(bucket, key), r)
	}
	if err := t.remove(objectTable, join(bucket, key)); err != nil {
		return err
	}
	return t.putHistory(bucket, key, r)
}

// dropNull removes the null version from the history, if it is there.
func (t *txn) dropNull(bucket, key string) error {
	seq := t.nullSeq(bucket, key)
	if seq == 0 {
		return nil
	}
	r := &record{}
	if ok, err := t.get(historyTable, historyKey(bucket, key, seq), r); err != nil || !ok {
		return err
	}
	if err := t.release(r.Bodies); err != nil {
		return err
	}
	return t.removeHistory(bucket, key, r)
}

// retireMarker notes in a delete marker that was the latest version when its successor
// was written.
func (t *txn) retireMarker(bucket, key string, now time.Time) error {
	r, err := t.newestInHistory(bucket, key)
	if err != nil || r == nil || r.Retired != 0 {
		return err
	}
	r.Retired = now.UnixNano()
	return t.putHistory(bucket, key, r)
}

// removeVersion removes exactly one version. If it was the latest, the one below
// becomes the latest.
func (t *txn) removeVersion(bucket, key string, r *record, isLatest bool) error {
	if err := t.release(r.Bodies); err != nil {
		return err
	}
	inObjects := isLatest && !r.Marker
	if inObjects {
		if err := t.remove(objectTable, join(bucket, key)); err != nil {
			return err
		}
	} else if err := t.removeHistory(bucket, key, r); err != nil {
		return err
	}
	if !isLatest {
		return nil
	}
	next, err := t.newestInHistory(bucket, key)
	if err != nil || next == nil {
		return err
	}
	next.Retired = 0
	if next.Marker {
		return t.putHistory(bucket, key, next)
	}
	if err := t.removeHistory(bucket, key, next); err != nil {
		return err
	}
	return t.put(objectTable, join(bucket, key), next)
}

// isEmpty reports whether a bucket holds no version and no marker.
func (t *txn) isEmpty(bucket string) bool {
	prefix := join(bucket, "")
	for _, table := range [][]byte{objectTable, historyTable} {
		if k, _ := t.Bucket(table).Cursor().Seek(prefix); bytes.HasPrefix(k, prefix) {
			return false
		}
	}
	return true
}

// checkWrite decides a condition of a write against the version it is about (nil: none).
func checkWrite(c s3model.Condition, r *record) error {
	present := r != nil && !r.Marker
	if c.IfAbsent && present {
		return s3model.ErrPreconditionFailed
	}
	if c.IfMatch == "" {
		return nil
	}
	if !present {
		return s3model.ErrNoSuchKey
	}
	if c.IfMatch != "*" && c.IfMatch != r.ETag {
		return s3model.ErrPreconditionFailed
	}
	return nil
}

// checkDelete is checkWrite for a delete, which tells a delete marker from nothing when any
// object would do: S3 answers 412 to "*" on a marker, and 404 otherwise.
func checkDelete(c s3model.Condition, r *record) error {
	if c.IfAbsent {
		return s3model.ErrInvalidRequest.With("A delete cannot have the condition If-None-Match.", nil)
	}
	if c.IfMatch == "*" && r != nil && r.Marker {
		return s3model.ErrPreconditionFailed
	}
	return checkWrite(c, r)
}
