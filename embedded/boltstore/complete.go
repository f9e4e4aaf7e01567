package boltstore

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/statelatch/statelatch/s3/s3model"
)

// completeAttempts bounds how often a completion looks at its parts again.
const completeAttempts = 10

// errPartsChanged means that a part was uploaded again between the look at the parts
// and the commit.
var errPartsChanged = s3model.ErrInvalidPart.With("A part was uploaded again while the upload was being completed.",
	nil)

// assembly is an upload that could be completed, as a view saw it.
type assembly struct {
	upload *uploadRecord
	id     []byte
	parts  []numberedPart // those the request names
	bodies []body         // theirs
	small  [][]byte       // the bodies that are in the database
	secret []byte         // nil without encryption, and with SSE-C if the request has no key
	etag   string
	size   int64
}

// CompleteUpload implements s3model.Store. The parts become the object where they are;
// nothing is copied. As on S3, the object's LastModified is the start of the upload, and the same request again,
// from a client that never got the answer, finds the object that the first one made.
func (s *Store) CompleteUpload(ctx context.Context, req s3model.CompleteRequest) (s3model.Object, error) {
	var (
		o       s3model.Object
		err     error
		refusal *s3model.Error
	)
	for range completeAttempts {
		o, err = s.tryComplete(ctx, req)
		if errors.Is(err, s3model.ErrNoSuchUpload) {
			return s.completed(req)
		}
		// A part may be sent twice, and arrive again after the completion was asked
		// for. What it is now decides.
		if !errors.As(err, &refusal) || refusal != errPartsChanged {
			break
		}
	}
	return o, err
}

// completed finds the object that an earlier CompleteUpload of the same parts made, else NoSuchUpload. An upload's ID
// is the write ID of its object.
func (s *Store) completed(req s3model.CompleteRequest) (s3model.Object, error) {
	o, err := s3model.Object{}, error(s3model.ErrNoSuchUpload)
	id, bad := hex.DecodeString(req.UploadID)
	if bad != nil || len(id) != idSize || checkName(req.Bucket, req.Key) != nil {
		return o, err
	}
	hash := md5.New()
	for _, p := range req.Parts {
		sum, bad := hex.DecodeString(p.ETag)
		if bad != nil {
			return o, err
		}
		hash.Write(sum)
	}
	etag := multipartETag(hash, len(req.Parts))
	err = s.view(func(t *txn) error {
		b, err := t.bucketOf(req.Bucket)
		if err != nil {
			return err
		}
		refusal := error(s3model.ErrNoSuchUpload)
		found := func(r *record, latest bool) bool {
			if !r.Multipart || !bytes.Equal(r.ID, id) || r.ETag != etag {
				return false
			}
			o, refusal = r.model(b, req.Key, latest), nil
			o.Encryption = describeSeal(r.Seal, req.Encryption)
			return true
		}
		cur, err := t.current(req.Bucket, req.Key)
		if err != nil || cur != nil && found(cur, true) {
			return err
		}
		if err := scan(t.Tx, historyTable, join(req.Bucket, req.Key, ""), func(k, v []byte) (bool, error) {
			r := &record{}
			err := t.decode(historyTable, k, v, r)
			return err == nil && !found(r, false), err
		}); err != nil {
			return err
		}
		return refusal
	})
	return o, err
}

func multipartETag(sums hash.Hash, parts int) string {
	return fmt.Sprintf("%s-%d", hex.EncodeToString(sums.Sum(nil)), parts)
}

func (s *Store) tryComplete(ctx context.Context, req s3model.CompleteRequest) (s3model.Object, error) {
	var a *assembly
	s.files.gate.RLock()
	err := s.view(func(t *txn) (err error) {
		a, err = s.assemble(t, req)
		return err
	})
	if err == nil {
		s.files.pin(a.bodies)
	}
	s.files.gate.RUnlock()
	if err != nil {
		return s3model.Object{}, err
	}
	defer s.files.unpin(a.bodies)
	sum, err := s.wholeChecksum(ctx, a, req)
	if err != nil {
		return s3model.Object{}, err
	}
	var done s3model.Object
	err = s.update(ctx, func(t *txn) error {
		b, err := t.bucketOf(req.Bucket)
		if err != nil {
			return err
		}
		u, _, err := t.upload(req.Bucket, req.Key, req.UploadID)
		if err != nil {
			return err
		}
		cur, err := t.current(req.Bucket, req.Key)
		if err != nil {
			return err
		}
		if err := checkWrite(req.If, cur); err != nil {
			return err
		}
		unused, all, err := a.unused(t, req.UploadID)
		if err != nil {
			return err
		}
		if err := t.release(unused); err != nil {
			return err
		}
		if err := t.removeUpload(req.Bucket, req.Key, req.UploadID, all); err != nil {
			return err
		}
		v := record{
			ID:        a.id,
			ETag:      a.etag,
			Size:      a.size,
			Modified:  u.Started,
			Metadata:  u.Metadata,
			Tags:      u.Tags,
			Checksum:  newChecksumRecord(sum),
			Seal:      u.Seal,
			Multipart: true,
			Bodies:    a.bodies,
		}
		if err := t.insert(b, req.Bucket, req.Key, &v, cur, s.now()); err != nil {
			return err
		}
		done = v.model(b, req.Key, true)
		return nil
	})
	if err != nil {
		return s3model.Object{}, err
	}
	done.Encryption = describeSeal(a.upload.Seal, req.Encryption)
	return done, nil
}

// assemble checks the request's parts against those that were uploaded.
func (s *Store) assemble(t *txn, req s3model.CompleteRequest) (*assembly, error) {
	u, id, err := t.upload(req.Bucket, req.Key, req.UploadID)
	if err != nil {
		return nil, err
	}
	a := &assembly{upload: u, id: id}
	// As on S3, completing needs no customer key, but a wrong one is refused.
	if u.Seal == nil || !u.Seal.Customer || len(req.Encryption.CustomerKey) > 0 {
		if a.secret, err = s.unseal(u.Seal, req.Encryption); err != nil {
			return nil, err
		}
	}
	if len(req.Parts) == 0 {
		return nil, s3model.ErrInvalidRequest.With("The request names no part.", nil)
	}
	for i := range req.Parts[1:] {
		if req.Parts[i].Number >= req.Parts[i+1].Number {
			return nil, s3model.ErrInvalidPartOrder
		}
	}
	all, err := t.parts(req.UploadID)
	if err != nil {
		return nil, err
	}
	uploaded := make(map[int]numberedPart, len(all))
	for _, p := range all {
		uploaded[p.number] = p
	}
	hash := md5.New()
	for i, want := range req.Parts {
		p, ok := uploaded[want.Number]
		if !ok || p.ETag != want.ETag {
			return nil, s3model.ErrInvalidPart.With(fmt.Sprintf("Part %d was not uploaded, or its ETag differs.", want.Number),
				nil)
		}
		if want.Checksum.Value != "" && want.Checksum != p.Checksum.model() && !p.sameSum(want.Checksum) {
			return nil, s3model.ErrInvalidPart.With(fmt.Sprintf("The checksum of part %d differs from the one it was "+
				"uploaded with.", want.Number), nil)
		}
		if i < len(req.Parts)-1 && p.Body.Size < minPartSize {
			return nil, s3model.ErrEntityTooSmall.With(fmt.Sprintf("Part %d has %d bytes; every part but the last must "+
				"have at least %d.", want.Number, p.Body.Size, minPartSize), nil)
		}
		raw, err := hex.DecodeString(p.ETag)
		if err != nil {
			return nil, damaged("ETag %q of part %d", p.ETag, p.number)
		}
		hash.Write(raw)
		a.size += p.Body.Size
		a.parts = append(a.parts, p)
		a.bodies = append(a.bodies, p.Body)
	}
	if req.Size >= 0 && req.Size != a.size {
		return nil, s3model.ErrInvalidRequest.With(fmt.Sprintf("The parts have %d bytes together, not the %d of the request.",
			a.size, req.Size), nil)
	}
	a.etag = multipartETag(hash, len(a.parts))
	a.small, err = t.smallBodies(a.bodies)
	return a, err
}

// sameSum compares what a client repeats of a part's checksum: it does not say the type.
func (p *numberedPart) sameSum(c s3model.Checksum) bool {
	return p.Checksum != nil && p.Checksum.Value == c.Value &&
		(c.Algorithm == "" || strings.EqualFold(c.Algorithm, p.Checksum.Algorithm))
}

// unused returns the bodies of the parts that do not become part of the object, and all
// parts of the upload.
func (a *assembly) unused(t *txn, uploadID string) (bodies []body, all []numberedPart, err error) {
	all, err = t.parts(uploadID)
	if err != nil {
		return nil, nil, err
	}
	chosen := a.parts
	for _, p := range all {
		if len(chosen) > 0 && chosen[0].number == p.number {
			if chosen[0].Body.File != p.Body.File || chosen[0].Body.Inline != p.Body.Inline || chosen[0].ETag != p.ETag {
				return nil, nil, errPartsChanged
			}
			chosen = chosen[1:]
			continue
		}
		bodies = append(bodies, p.Body)
	}
	if len(chosen) > 0 {
		return nil, nil, errPartsChanged
	}
	return bodies, all, nil
}

// wholeChecksum is the checksum to keep with the object, after comparing it with the one
// the client may have sent. It follows from the checksums of the parts, except for parts
// that were sent without one and digests of the whole, which are read again.
func (s *Store) wholeChecksum(ctx context.Context, a *assembly, req s3model.CompleteRequest) (s3model.Checksum, error) {
	var none s3model.Checksum
	name, kind := a.upload.ChecksumAlgorithm, a.upload.ChecksumType
	if name == "" {
		name, kind = req.Checksum.Algorithm, req.Checksum.Type
	}
	if name == "" {
		return none, nil
	}
	alg, err := findAlgorithm(name)
	if err != nil {
		return none, err
	}
	kind = alg.kind(kind)
	if c := req.Checksum; c.Algorithm != "" && !strings.EqualFold(c.Algorithm, alg.name) ||
		c.Type != "" && c.Type != kind {
		return none, s3model.ErrInvalidRequest.With(fmt.Sprintf("The upload was begun with a %s checksum of type %s.",
			alg.name, kind), nil)
	}
	var value string
	if kind == fullObject && alg.width == 0 {
		h := alg.new()
		for i := range a.parts {
			if err := s.hashPart(ctx, a, i, req, h); err != nil {
				return none, err
			}
		}
		value = encodeSum(h.Sum(nil))
	} else {
		sums := make([][]byte, len(a.parts))
		sizes := make([]int64, len(a.parts))
		for i, p := range a.parts {
			sizes[i] = p.Body.Size
			if c := p.Checksum; c != nil && strings.EqualFold(c.Algorithm, alg.name) {
				if sums[i], err = alg.decodeSum(c.Value); err != nil {
					return none, failure(err)
				}
				continue
			}
			h := alg.new()
			if err := s.hashPart(ctx, a, i, req, h); err != nil {
				return none, err
			}
			sums[i] = h.Sum(nil)
		}
		if kind == fullObject {
			value = encodeSum(alg.combine(sums, sizes))
		} else {
			value = alg.compose(sums)
		}
	}
	sent, _, _ := strings.Cut(req.Checksum.Value, "-")
	have, _, _ := strings.Cut(value, "-")
	if sent != "" && sent != have {
		return none, errBadDigest
	}
	return s3model.Checksum{Algorithm: alg.name, Value: value, Type: kind}, nil
}

// hashPart streams the plaintext of a part into w.
func (s *Store) hashPart(ctx context.Context, a *assembly, i int, req s3model.CompleteRequest, w io.Writer) error {
	secret := a.secret
	if l := a.upload.Seal; l != nil && secret == nil {
		var err error
		if secret, err = s.unseal(l, req.Encryption); err != nil {
			return err
		}
	}
	one := a.bodies[i : i+1]
	s.files.pin(one) // the reader lets go of it; the caller keeps its own
	r, err := s.newBodyReader(one, a.small[i:i+1], secret, binding{bucket: req.Bucket, key: req.Key, id: a.id})
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // only read
	_, err = io.Copy(w, &contextReader{ctx: ctx, r: r})
	return err
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context //nolint:containedctx // lives for one call
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
