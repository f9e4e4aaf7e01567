package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/statelatch/statelatch/s3/s3model"
)

// pager collects a page and knows what of the listing is rolled up into prefixes.
type pager struct {
	req  s3model.ListRequest
	page s3model.ListPage
}

// full reports whether the page is complete; then another entry only shows that more follows.
func (p *pager) full() bool {
	return len(p.page.Objects)+len(p.page.Prefixes) >= p.req.Max
}

// common is the prefix that key is rolled up into, if any. key begins with req.Prefix.
func (p *pager) common(key string) (string, bool) {
	if p.req.Delimiter == "" {
		return "", false
	}
	i := strings.Index(key[len(p.req.Prefix):], p.req.Delimiter)
	if i < 0 {
		return "", false
	}
	return key[:len(p.req.Prefix)+i+len(p.req.Delimiter)], true
}

// start is the least key to look at when marker and what it stands for was listed before.
func (p *pager) start(marker string) (key []byte, ok bool) {
	if marker < p.req.Prefix {
		return []byte(p.req.Prefix), true
	}
	if !strings.HasPrefix(marker, p.req.Prefix) {
		return nil, false // beyond everything with the prefix
	}
	if c, rolled := p.common(marker); rolled {
		next := after([]byte(c))
		return next, next != nil
	}
	if marker == "" {
		return nil, true
	}
	// Keys hold no NUL, so this is the least key above marker; with a NUL it would be
	// at the key's own versions.
	return append([]byte(marker), 1), true
}

// List implements s3model.Store.
func (s *Store) List(_ context.Context, req s3model.ListRequest) (s3model.ListPage, error) {
	p := &pager{req: req}
	err := s.view(func(t *txn) error {
		b, err := t.bucketOf(req.Bucket)
		if err != nil || req.Max <= 0 {
			return err
		}
		p.page = s3model.ListPage{}
		begin, ok := p.start(req.After)
		if !ok {
			return nil
		}
		space := join(req.Bucket, "")
		scope := append(bytes.Clone(space), req.Prefix...)
		c := t.Bucket(objectTable).Cursor()
		k, v := c.Seek(append(bytes.Clone(space), begin...))
		for k != nil && bytes.HasPrefix(k, scope) {
			if p.full() {
				p.page.Truncated = true
				return nil
			}
			key := string(k[len(space):])
			if prefix, rolled := p.common(key); rolled {
				p.page.Prefixes = append(p.page.Prefixes, prefix)
				p.page.NextKey = prefix
				next := after(append(bytes.Clone(space), prefix...))
				k, v = c.Seek(next)
				continue
			}
			r := &record{}
			if err := t.decode(objectTable, k, v, r); err != nil {
				return err
			}
			p.page.Objects = append(p.page.Objects, r.model(b, key, true))
			p.page.NextKey = key
			k, v = c.Next()
		}
		p.page.NextKey = ""
		return nil
	})
	if err != nil {
		return s3model.ListPage{}, err
	}
	return p.page, nil
}

// versionCursor walks the versions of a bucket by key and, within a key, newest first,
// merging the two tables they are in.
type versionCursor struct {
	t                *txn
	space            []byte // what every key begins with
	objects, history *bbolt.Cursor
	ok, ov, hk, hv   []byte
}

func newVersionCursor(t *txn, bucket string) *versionCursor {
	return &versionCursor{
		t:       t,
		space:   join(bucket, ""),
		objects: t.Bucket(objectTable).Cursor(),
		history: t.Bucket(historyTable).Cursor(),
	}
}

// seek goes to the first version of the first key that is not below key.
func (c *versionCursor) seek(key []byte) {
	at := append(bytes.Clone(c.space), key...)
	c.ok, c.ov = c.objects.Seek(at)
	c.hk, c.hv = c.history.Seek(at)
}

// seekAfter goes to what follows a version of key: the next older one, or the next key.
func (c *versionCursor) seekAfter(key string, seq uint64) {
	at := append(bytes.Clone(c.space), key...)
	c.ok, c.ov = c.objects.Seek(append(bytes.Clone(at), 1)) // see pager.start
	c.hk, c.hv = c.history.Seek(binary.BigEndian.AppendUint64(append(at, 0), ^(seq - 1)))
}

// resume goes to what follows a version of key that was listed before, and reports whether one of key comes before
// that, so that it is not the latest. seq 0 is not known, and comes before all.
func (c *versionCursor) resume(key string, seq uint64) (newer bool, err error) {
	c.seek([]byte(key))
	found, current, more, err := c.peek()
	if err != nil || !more || found != key || seq == 0 {
		return false, err
	}
	first, err := c.next(current)
	if err != nil || first.Seq < seq { // what was listed is gone, and all that was newer
		c.seek([]byte(key))
		return false, err
	}
	c.seekAfter(key, seq)
	return true, nil
}

// peek returns the key at the cursor and whether its current object comes next.
func (c *versionCursor) peek() (key string, current, more bool, err error) {
	inObjects := c.ok != nil && bytes.HasPrefix(c.ok, c.space)
	inHistory := c.hk != nil && bytes.HasPrefix(c.hk, c.space)
	if !inObjects && !inHistory {
		return "", false, false, nil
	}
	if !inHistory {
		return string(c.ok[len(c.space):]), true, true, nil
	}
	old, _, ok := splitHistoryKey(c.hk[len(c.space):])
	if !ok {
		return "", false, false, damaged("key %q of table %s", c.hk, historyTable)
	}
	if inObjects && bytes.Compare(c.ok[len(c.space):], old) <= 0 {
		return string(c.ok[len(c.space):]), true, true, nil
	}
	return string(old), false, true, nil
}

// next returns the record that peek announced and goes on.
func (c *versionCursor) next(current bool) (*record, error) {
	r := &record{}
	if current {
		err := c.t.decode(objectTable, c.ok, c.ov, r)
		c.ok, c.ov = c.objects.Next()
		return r, err
	}
	err := c.t.decode(historyTable, c.hk, c.hv, r)
	c.hk, c.hv = c.history.Next()
	return r, err
}

// ListVersions implements s3model.Store. Null versions have the ID "null" here even in a
// bucket that never had versioning, as on S3.
func (s *Store) ListVersions(_ context.Context, req s3model.ListRequest) (s3model.ListPage, error) {
	p := &pager{req: req}
	err := s.view(func(t *txn) error {
		b, err := t.bucketOf(req.Bucket)
		if err != nil || req.Max <= 0 {
			return err
		}
		p.page = s3model.ListPage{}
		begin, ok := p.start(req.KeyMarker)
		if !ok {
			return nil
		}
		c, newer := newVersionCursor(t, req.Bucket), false
		c.seek(begin)
		if req.VersionIDMarker != "" && strings.HasPrefix(req.KeyMarker, req.Prefix) {
			if _, rolled := p.common(req.KeyMarker); !rolled {
				seq, err := t.markerSeq(req)
				if err != nil {
					return err
				}
				if newer, err = c.resume(req.KeyMarker, seq); err != nil {
					return err
				}
			}
		}
		return p.versions(b, c, newer)
	})
	if err != nil {
		return s3model.ListPage{}, err
	}
	return p.page, nil
}

// markerSeq is the sequence number of the version that a page ended with. It is in the
// ID, so that the version may be gone. A null version that is gone has none (0): its
// key is listed again, which repeats versions but misses none.
func (t *txn) markerSeq(req s3model.ListRequest) (uint64, error) {
	if req.VersionIDMarker != s3model.NullVersion {
		seq, ok := parseVersionID(req.VersionIDMarker)
		if !ok {
			return 0, errInvalidArgument.With("The version ID marker is not a version ID.", nil)
		}
		return seq, nil
	}
	cur, err := t.current(req.Bucket, req.KeyMarker)
	if err != nil {
		return 0, err
	}
	if cur != nil && cur.Null {
		return cur.Seq, nil
	}
	return t.nullSeq(req.Bucket, req.KeyMarker), nil
}

// versions fills the page from the cursor on. newer says that a version of the marker's key comes before that.
func (p *pager) versions(b *bucketRecord, c *versionCursor, newer bool) error {
	last, begun := p.req.KeyMarker, newer
	for {
		key, current, more, err := c.peek()
		if err != nil {
			return err
		}
		if !more || !strings.HasPrefix(key, p.req.Prefix) {
			p.page.NextKey, p.page.NextVersionID = "", ""
			return nil
		}
		if p.full() {
			p.page.Truncated = true
			return nil
		}
		if prefix, rolled := p.common(key); rolled {
			p.page.Prefixes = append(p.page.Prefixes, prefix)
			p.page.NextKey, p.page.NextVersionID = prefix, ""
			c.seek(after([]byte(prefix)))
			continue
		}
		r, err := c.next(current)
		if err != nil {
			return err
		}
		latest := !begun || key != last
		last, begun = key, true
		o := r.model(b, key, latest)
		o.VersionID = r.versionID()
		p.page.Objects = append(p.page.Objects, o)
		p.page.NextKey, p.page.NextVersionID = key, o.VersionID
	}
}
