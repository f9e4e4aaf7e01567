package boltstore

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/statelatch/statelatch/s3/s3model"
)

const maxKeyLength = 1024 // bytes; S3's limit

// checkName refuses keys that the tables cannot hold.
func checkName(bucket, key string) error {
	switch {
	case bucket == "" || strings.ContainsRune(bucket, 0):
		return s3model.ErrNoSuchBucket
	case key == "":
		return s3model.ErrInvalidRequest.With("The key is empty.", nil)
	case len(key) > maxKeyLength:
		return errKeyTooLong
	case strings.ContainsRune(key, 0):
		return s3model.ErrInvalidRequest.With("The key contains a NUL character.", nil)
	}
	return nil
}

// checkPut refuses what cannot be stored, before any of the body is read.
func checkPut(req s3model.PutRequest) error {
	if err := checkName(req.Bucket, req.Key); err != nil {
		return err
	}
	if err := checkText("metadata", req.Metadata); err != nil {
		return err
	}
	return checkText("tag", req.Tags)
}

// checkText refuses what the records cannot hold unchanged.
func checkText(kind string, m map[string]string) error {
	for k, v := range m {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return s3model.ErrInvalidRequest.With(fmt.Sprintf("The %s %q is not valid UTF-8.", kind, k), nil)
		}
	}
	return nil
}

// bucket reads the record of a bucket, which nobody changes.
func (s *Store) bucket(name string) (*bucketRecord, error) {
	b, err := s.row(bucketTable, []byte(name), func(t *txn) (any, error) { return t.bucketOf(name) })
	if err != nil {
		return nil, err
	}
	return b.(*bucketRecord), nil
}

// Put implements s3model.Store.
func (s *Store) Put(ctx context.Context, req s3model.PutRequest, r io.Reader) (s3model.Object, error) {
	if err := checkPut(req); err != nil {
		return s3model.Object{}, err
	}
	b, err := s.bucket(req.Bucket)
	if err != nil {
		return s3model.Object{}, err
	}
	if err := b.allows(req.Encryption); err != nil { // before the body, to spare the client sending it
		return s3model.Object{}, err
	}
	l, secret, err := s.newSeal(req.Encryption, b.Settings.EncryptByDefault)
	if err != nil {
		return s3model.Object{}, failure(err)
	}
	id := randomBytes(idSize)
	g, sum, err := s.writeBody(ctx, r, secret, binding{bucket: req.Bucket, key: req.Key, id: id}, req.Finish)
	if err != nil {
		return s3model.Object{}, err
	}
	template := record{
		ID:       id,
		ETag:     g.etag(l),
		Size:     g.body.Size,
		Metadata: req.Metadata,
		Tags:     req.Tags,
		Checksum: newChecksumRecord(sum),
		Seal:     l,
	}
	var done s3model.Object
	err = s.update(ctx, func(t *txn) error {
		b, err := t.bucketOf(req.Bucket)
		if err != nil {
			return err
		}
		if err := b.allows(req.Encryption); err != nil {
			return err
		}
		cur, err := t.current(req.Bucket, req.Key)
		if err != nil {
			return err
		}
		if err := checkWrite(req.If, cur); err != nil {
			return err
		}
		now := s.now()
		v := template
		v.Modified = now.UnixNano()
		stored, err := g.attach(t, req.Bucket, req.Key)
		if err != nil {
			return err
		}
		v.Bodies = []body{stored}
		if err := t.insert(b, req.Bucket, req.Key, &v, cur, now); err != nil {
			return err
		}
		done = v.model(b, req.Key, true)
		return nil
	})
	if err != nil {
		s.abandon(g, err)
		return s3model.Object{}, err
	}
	g.committed()
	done.Encryption = describeSeal(l, req.Encryption)
	return done, nil
}

// etag is the MD5 of the body or, with a customer key, random like S3's: an MD5 of the
// plaintext would be stored in the clear.
func (g *stage) etag(l *seal) string {
	if l != nil && l.Customer {
		return hex.EncodeToString(randomBytes(len(g.md5)))
	}
	return hex.EncodeToString(g.md5[:])
}

// version reads the version that req names, with S3's refusals.
func (t *txn) version(req s3model.ReadRequest) (*record, s3model.Object, error) {
	if err := checkName(req.Bucket, req.Key); err != nil {
		return nil, s3model.Object{}, err
	}
	b, err := t.bucketOf(req.Bucket)
	if err != nil {
		return nil, s3model.Object{}, err
	}
	r, latest, err := t.find(req.Bucket, req.Key, req.VersionID)
	switch {
	case err != nil:
		return nil, s3model.Object{}, err
	case r == nil && req.VersionID != "":
		return nil, s3model.Object{}, s3model.ErrNoSuchVersion
	case r == nil:
		return nil, s3model.Object{}, s3model.ErrNoSuchKey
	case r.Marker:
		refusal := s3model.ErrMethodNotAllowed
		if req.VersionID == "" {
			refusal = s3model.ErrNoSuchKey
		}
		refusal = refusal.With("", nil)
		refusal.DeleteMarker = true
		refusal.VersionID = r.versionID()
		return nil, s3model.Object{}, refusal
	}
	o := r.model(b, req.Key, latest)
	o.Encryption = describeSeal(r.Seal, req.Encryption)
	return r, o, nil
}

// Head implements s3model.Store.
func (s *Store) Head(_ context.Context, req s3model.ReadRequest) (s3model.Object, error) {
	var o s3model.Object
	err := s.view(func(t *txn) error {
		r, found, err := t.version(req)
		if err != nil {
			return err
		}
		o = found
		_, err = s.unseal(r.Seal, req.Encryption)
		return err
	})
	if err != nil {
		return s3model.Object{}, err
	}
	return o, nil
}

// Get implements s3model.Store.
func (s *Store) Get(_ context.Context, req s3model.ReadRequest) (s3model.Object, io.ReadSeekCloser, error) {
	_, o, r, err := s.openVersion(req)
	if err != nil {
		return s3model.Object{}, nil, err
	}
	return o, r, nil
}

func (s *Store) openVersion(req s3model.ReadRequest) (*record, s3model.Object, *reader, error) {
	var (
		rec    *record
		o      s3model.Object
		secret []byte
		small  [][]byte
	)
	s.files.gate.RLock()
	err := s.view(func(t *txn) (err error) {
		if rec, o, err = t.version(req); err != nil {
			return err
		}
		if secret, err = s.unseal(rec.Seal, req.Encryption); err != nil {
			return err
		}
		small, err = t.smallBodies(rec.Bodies)
		return err
	})
	if err == nil {
		s.files.pin(rec.Bodies)
	}
	s.files.gate.RUnlock()
	if err != nil {
		return nil, s3model.Object{}, nil, err
	}
	bind := binding{bucket: req.Bucket, key: req.Key, id: rec.ID}
	r, err := s.newBodyReader(rec.Bodies, small, secret, bind)
	if err == nil && r.size != rec.Size {
		_ = r.Close()
		err = failure(damaged("bodies have %d bytes, the object %d", r.size, rec.Size))
	}
	if err != nil {
		return nil, s3model.Object{}, nil, err
	}
	return rec, o, r, nil
}

// Delete implements s3model.Store. As on S3, deleting what is not there succeeds; a
// versioned bucket gets a delete marker even then.
func (s *Store) Delete(ctx context.Context, req s3model.DeleteRequest) (s3model.DeleteResult, error) {
	if err := checkName(req.Bucket, req.Key); err != nil {
		return s3model.DeleteResult{}, err
	}
	id := randomBytes(idSize)
	var done s3model.DeleteResult
	err := s.update(ctx, func(t *txn) error {
		b, err := t.bucketOf(req.Bucket)
		if err != nil {
			return err
		}
		done = s3model.DeleteResult{}
		r, latest, err := t.find(req.Bucket, req.Key, req.VersionID)
		if err != nil {
			return err
		}
		if err := checkDelete(req.If, r); err != nil {
			return err
		}
		if req.VersionID != "" {
			done.VersionID = req.VersionID
			if r == nil {
				return nil
			}
			done.DeleteMarker = r.Marker
			return t.removeVersion(req.Bucket, req.Key, r, latest)
		}
		if b.Settings.Versioning == s3model.Unversioned {
			if r == nil {
				return nil
			}
			return t.removeVersion(req.Bucket, req.Key, r, true)
		}
		marker, err := t.insertMarker(b, req.Bucket, req.Key, r, id, s.now().UnixNano())
		if err != nil {
			return err
		}
		done = s3model.DeleteResult{VersionID: marker.versionID(), DeleteMarker: true}
		return nil
	})
	if err != nil {
		return s3model.DeleteResult{}, err
	}
	return done, nil
}

// insertMarker makes a delete marker the latest version, after latest.
func (t *txn) insertMarker(b *bucketRecord, bucket, key string, latest *record, id []byte, now int64) (*record, error) {
	if latest != nil && latest.Marker {
		latest = nil // it is in the history
	}
	marker := &record{ID: id, Marker: true, Modified: now}
	return marker, t.insert(b, bucket, key, marker, latest, fromNano(now))
}

// Copy implements s3model.Store. The body is streamed, decrypted and encrypted anew. A
// checksum of the whole object is kept, or computed if dst names an algorithm;
// one that is composed of parts is not, because the copy has none.
func (s *Store) Copy(
	ctx context.Context, src s3model.ReadRequest, dst s3model.PutRequest, replaceMetadata, replaceTags bool,
) (s3model.Object, error) {
	rec, _, r, err := s.openVersion(src)
	if err != nil {
		return s3model.Object{}, err
	}
	defer func() { _ = r.Close() }() // only read
	if src.SourceETag != "" && src.SourceETag != rec.ETag {
		return s3model.Object{}, s3model.ErrPreconditionFailed
	}
	if !replaceMetadata {
		dst.Metadata = rec.Metadata
	}
	if !replaceTags {
		dst.Tags = rec.Tags
	}
	var from io.Reader = r
	switch {
	case dst.Finish != nil:
	case dst.ChecksumAlgorithm != "" && !strings.EqualFold(dst.ChecksumAlgorithm, rec.Checksum.model().Algorithm),
		dst.ChecksumAlgorithm != "" && rec.Checksum.Type == composite:
		algorithm, err := findAlgorithm(dst.ChecksumAlgorithm)
		if err != nil {
			return s3model.Object{}, err
		}
		h := algorithm.new()
		from = io.TeeReader(r, h)
		dst.Finish = func() (s3model.Checksum, error) {
			return s3model.Checksum{Algorithm: algorithm.name, Value: encodeSum(h.Sum(nil)), Type: fullObject}, nil
		}
	case rec.Checksum != nil && rec.Checksum.Type != composite:
		dst.Finish = func() (s3model.Checksum, error) { return rec.Checksum.model(), nil }
	}
	return s.Put(ctx, dst, from)
}

// Tags implements s3model.Store. It needs no customer key.
func (s *Store) Tags(_ context.Context, req s3model.ReadRequest) (map[string]string, s3model.Object, error) {
	var (
		tags map[string]string
		o    s3model.Object
	)
	err := s.view(func(t *txn) error {
		r, found, err := t.version(req)
		if err != nil {
			return err
		}
		tags, o = r.Tags, found
		return nil
	})
	if err != nil {
		return nil, s3model.Object{}, err
	}
	return tags, o, nil
}

// SetTags implements s3model.Store. It replaces the tags of the version in place.
func (s *Store) SetTags(ctx context.Context, req s3model.ReadRequest, tags map[string]string) (s3model.Object, error) {
	if err := checkText("tag", tags); err != nil {
		return s3model.Object{}, err
	}
	var o s3model.Object
	err := s.update(ctx, func(t *txn) error {
		r, found, err := t.version(req)
		if err != nil {
			return err
		}
		r.Tags = tags
		o = found
		o.TagCount = len(tags)
		if found.IsLatest {
			return t.put(objectTable, join(req.Bucket, req.Key), r)
		}
		return t.putHistory(req.Bucket, req.Key, r)
	})
	if err != nil {
		return s3model.Object{}, err
	}
	return o, nil
}
