package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/statelatch/statelatch/s3/s3model"
)

const (
	maxPartNumber = 10000
	minPartSize   = 5 << 20 // bytes, of every part but the last
)

// An upload's ID is the write ID of the object it will become, in hexadecimal, so that
// the parts can be bound to the object before it exists.

func (t *txn) upload(bucket, key, uploadID string) (*uploadRecord, []byte, error) {
	if _, err := t.bucketOf(bucket); err != nil {
		return nil, nil, err
	}
	u := &uploadRecord{}
	id, err := hex.DecodeString(uploadID)
	if err != nil || len(id) != idSize || checkName(bucket, key) != nil {
		return nil, nil, s3model.ErrNoSuchUpload
	}
	ok, err := t.get(uploadTable, join(bucket, key, uploadID), u)
	if err != nil {
		return nil, nil, err
	}
	if !ok {
		return nil, nil, s3model.ErrNoSuchUpload
	}
	return u, id, nil
}

func (u *uploadRecord) model(bucket, key, id string) s3model.Upload {
	return s3model.Upload{
		Bucket: bucket, Key: key, ID: id,
		Started:           fromNano(u.Started),
		Encryption:        describeSeal(u.Seal, s3model.Encryption{}),
		ChecksumAlgorithm: u.ChecksumAlgorithm,
		ChecksumType:      u.ChecksumType,
	}
}

// numberedPart is a partRecord with its number.
type numberedPart struct {
	partRecord
	number int
}

func (t *txn) parts(uploadID string) ([]numberedPart, error) {
	var all []numberedPart
	prefix := join(uploadID, "")
	err := scan(t.Tx, partTable, prefix, func(k, v []byte) (bool, error) {
		var p numberedPart
		if len(k) != len(prefix)+2 {
			return false, damaged("key %q of table %s", k, partTable)
		}
		p.number = int(binary.BigEndian.Uint16(k[len(prefix):]))
		all = append(all, p)
		return true, t.decode(partTable, k, v, &all[len(all)-1].partRecord)
	})
	return all, err
}

func (p *numberedPart) model() s3model.Part {
	return s3model.Part{
		Number: p.number, ETag: p.ETag, Size: p.Body.Size,
		LastModified: fromNano(p.Modified), Checksum: p.Checksum.model(),
	}
}

// CreateUpload implements s3model.Store.
func (s *Store) CreateUpload(ctx context.Context, req s3model.PutRequest) (string, s3model.Object, error) {
	if err := checkPut(req); err != nil {
		return "", s3model.Object{}, err
	}
	if req.ChecksumAlgorithm != "" {
		a, err := findAlgorithm(req.ChecksumAlgorithm)
		if err != nil {
			return "", s3model.Object{}, err
		}
		req.ChecksumType = a.kind(req.ChecksumType)
	}
	id := hex.EncodeToString(randomBytes(idSize))
	var done s3model.Object
	err := s.update(ctx, func(t *txn) error {
		b, err := t.bucketOf(req.Bucket)
		if err != nil {
			return err
		}
		l, _, err := s.newSeal(req.Encryption, b.Settings.EncryptByDefault)
		if err != nil {
			return err
		}
		if err := b.allows(req.Encryption); err != nil {
			return err
		}
		done = s3model.Object{Key: req.Key, Encryption: describeSeal(l, req.Encryption)}
		return t.put(uploadTable, join(req.Bucket, req.Key, id), &uploadRecord{
			Started:           s.now().UnixNano(),
			Metadata:          req.Metadata,
			Tags:              req.Tags,
			Seal:              l,
			ChecksumAlgorithm: req.ChecksumAlgorithm,
			ChecksumType:      req.ChecksumType,
		})
	})
	if err != nil {
		return "", s3model.Object{}, err
	}
	return id, done, nil
}

// PutPart implements s3model.Store. A part that was uploaded before is replaced.
func (s *Store) PutPart(ctx context.Context, req s3model.PartRequest, r io.Reader) (s3model.Part, error) {
	if req.Number < 1 || req.Number > maxPartNumber {
		return s3model.Part{}, errInvalidArgument.With(fmt.Sprintf("The part number %d is not between 1 and %d.", req.Number,
			maxPartNumber), nil)
	}
	var (
		secret []byte
		l      *seal
		bind   binding
	)
	err := s.view(func(t *txn) error {
		u, id, err := t.upload(req.Bucket, req.Key, req.UploadID)
		if err != nil {
			return err
		}
		if err := t.allows(req.Bucket, req.Encryption); err != nil {
			return err
		}
		l = u.Seal
		bind = binding{bucket: req.Bucket, key: req.Key, id: id, part: req.Number}
		secret, err = s.unseal(l, req.Encryption)
		return err
	})
	if err != nil {
		return s3model.Part{}, err
	}
	g, sum, err := s.writeBody(ctx, r, secret, bind, req.Finish)
	if err != nil {
		return s3model.Part{}, err
	}
	etag := g.etag(l)
	p := numberedPart{number: req.Number}
	err = s.update(ctx, func(t *txn) error {
		if _, _, err := t.upload(req.Bucket, req.Key, req.UploadID); err != nil {
			return err
		}
		if err := t.allows(req.Bucket, req.Encryption); err != nil {
			return err
		}
		var old partRecord
		at := partKey(req.UploadID, req.Number)
		replaces, err := t.get(partTable, at, &old)
		if err != nil {
			return err
		}
		if replaces {
			if err := t.release([]body{old.Body}); err != nil {
				return err
			}
		}
		stored, err := g.attach(t, req.Bucket, req.Key)
		if err != nil {
			return err
		}
		p.partRecord = partRecord{ETag: etag, Modified: s.now().UnixNano(), Checksum: newChecksumRecord(sum), Body: stored}
		return t.put(partTable, at, &p.partRecord)
	})
	if err != nil {
		s.abandon(g, err)
		return s3model.Part{}, err
	}
	g.committed()
	part := p.model()
	part.Encryption = describeSeal(l, req.Encryption)
	return part, nil
}

// ListParts implements s3model.Store.
func (s *Store) ListParts(_ context.Context, bucket, key, uploadID string) (s3model.Upload, []s3model.Part, error) {
	var (
		up    s3model.Upload
		parts []s3model.Part
	)
	err := s.view(func(t *txn) error {
		u, _, err := t.upload(bucket, key, uploadID)
		if err != nil {
			return err
		}
		up = u.model(bucket, key, uploadID)
		all, err := t.parts(uploadID)
		for i := range all {
			parts = append(parts, all[i].model())
		}
		return err
	})
	if err != nil {
		return s3model.Upload{}, nil, err
	}
	return up, parts, nil
}

// ListUploads implements s3model.Store.
func (s *Store) ListUploads(_ context.Context, bucket, prefix string) ([]s3model.Upload, error) {
	var all []s3model.Upload
	err := s.view(func(t *txn) error {
		if _, err := t.bucketOf(bucket); err != nil {
			return err
		}
		return t.eachUpload(bucket, prefix, func(key, id string, u *uploadRecord) {
			all = append(all, u.model(bucket, key, id))
		})
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b s3model.Upload) int {
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return a.Started.Compare(b.Started)
	})
	return all, nil
}

func (t *txn) eachUpload(bucket, prefix string, fn func(key, id string, u *uploadRecord)) error {
	space := join(bucket, "")
	return scan(t.Tx, uploadTable, join(bucket, prefix), func(k, v []byte) (bool, error) {
		rest := k[len(space):]
		cut := bytes.IndexByte(rest, 0)
		if cut < 0 {
			return false, damaged("key %q of table %s", k, uploadTable)
		}
		u := &uploadRecord{}
		if err := t.decode(uploadTable, k, v, u); err != nil {
			return false, err
		}
		fn(string(rest[:cut]), string(rest[cut+1:]), u)
		return true, nil
	})
}

// abortUploads ends all uploads of a bucket.
func (t *txn) abortUploads(bucket string) error {
	type upload struct{ key, id string }
	var all []upload
	if err := t.eachUpload(bucket, "", func(key, id string, _ *uploadRecord) {
		all = append(all, upload{key, id})
	}); err != nil {
		return err
	}
	for _, u := range all {
		if err := t.abortUpload(bucket, u.key, u.id); err != nil {
			return err
		}
	}
	return nil
}

// AbortUpload implements s3model.Store.
func (s *Store) AbortUpload(ctx context.Context, bucket, key, uploadID string) error {
	return s.update(ctx, func(t *txn) error {
		if _, _, err := t.upload(bucket, key, uploadID); err != nil {
			return err
		}
		return t.abortUpload(bucket, key, uploadID)
	})
}

func (t *txn) abortUpload(bucket, key, uploadID string) error {
	parts, err := t.parts(uploadID)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := t.release([]body{p.Body}); err != nil {
			return err
		}
	}
	return t.removeUpload(bucket, key, uploadID, parts)
}

// removeUpload removes the records of an upload, but none of its bodies.
func (t *txn) removeUpload(bucket, key, uploadID string, parts []numberedPart) error {
	for _, p := range parts {
		if err := t.remove(partTable, partKey(uploadID, p.number)); err != nil {
			return err
		}
	}
	return t.remove(uploadTable, join(bucket, key, uploadID))
}
