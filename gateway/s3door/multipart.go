package s3door

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/spool"
	"github.com/statelatch/statelatch/s3/s3model"
)

const (
	// maxUploads is how many may be under way.
	maxUploads = 1000
	// uploadTime is how long one may stand still.
	uploadTime = time.Hour
	// minPart is S3's smallest part but the last, in bytes.
	minPart = 5 << 20
)

// uploads are the multipart uploads that are under way. Terraform sends states above 5 MiB so. Their parts wait here,
// and are judged and written as one state when they are complete: so an upload whose gateway goes away is over.
type uploads struct {
	mu   sync.Mutex
	open map[string]*upload
}

type upload struct {
	by   string // principal and session
	key  string
	used time.Time // guarded by uploads.mu

	mu    sync.Mutex
	parts map[int]*part
	done  *s3model.Object // what it has become
}

type part struct {
	s3model.Part
	body *spool.Spool
}

func (u *upload) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range u.parts {
		_ = p.body.Close() // it only removes what was kept
	}
	u.parts = nil
}

// CreateUpload implements s3model.Store.
func (s *Store) CreateUpload(ctx context.Context, req s3model.PutRequest) (string, s3model.Object, error) {
	c, err := s.enter(ctx, req.Bucket)
	if err == nil {
		err = s.wants(req)
	}
	if kind, _ := statelatch.ClassifyKey(req.Key); err == nil && kind != statelatch.KeyOther {
		err = s3model.ErrInvalidRequest.With("Only states are uploaded in parts.", nil)
	}
	if err != nil {
		return "", s3model.Object{}, err
	}
	s.uploads.mu.Lock()
	defer s.uploads.mu.Unlock()
	for id, u := range s.uploads.open {
		if time.Since(u.used) > uploadTime {
			u.close()
			delete(s.uploads.open, id)
		}
	}
	if len(s.uploads.open) >= maxUploads {
		return "", s3model.Object{}, s3model.ErrUnavailable.With("Too many multipart uploads are under way.", nil)
	}
	id := s.NewUploadID()
	s.uploads.open[id] = &upload{
		by: c.Principal.Name + "\n" + c.ID, key: req.Key, used: time.Now(), parts: map[int]*part{},
	}
	return id, s3model.Object{Key: req.Key}, nil
}

// find returns an upload of the caller's own.
func (s *Store) find(ctx context.Context, bucket, key, id string) (*upload, error) {
	c, err := s.enter(ctx, bucket)
	if err != nil {
		return nil, err
	}
	s.uploads.mu.Lock()
	defer s.uploads.mu.Unlock()
	u := s.uploads.open[id]
	if u == nil || u.key != key || u.by != c.Principal.Name+"\n"+c.ID {
		return nil, s3model.ErrNoSuchUpload
	}
	u.used = time.Now()
	return u, nil
}

// PutPart implements s3model.Store.
func (s *Store) PutPart(ctx context.Context, req s3model.PartRequest, r io.Reader) (s3model.Part, error) {
	u, err := s.find(ctx, req.Bucket, req.Key, req.UploadID)
	if err != nil {
		return s3model.Part{}, err
	}
	body, err := s.receive(r, req.Finish, MaxState)
	if err != nil {
		return s3model.Part{}, err
	}
	sum, err := hexMD5(body)
	size := int64(0)
	if err == nil {
		size, err = body.Seek(0, io.SeekEnd)
	}
	if err != nil {
		return s3model.Part{}, errors.Join(s.refusal(err), body.Close())
	}
	p := &part{Part: s3model.Part{Number: req.Number, ETag: sum, Size: size, LastModified: time.Now()}, body: body}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.parts == nil {
		return s3model.Part{}, errors.Join(s3model.ErrNoSuchUpload, body.Close())
	}
	if old := u.parts[req.Number]; old != nil {
		_ = old.body.Close() // it only removes what was kept
	}
	u.parts[req.Number] = p
	return p.Part, nil
}

// CompleteUpload implements s3model.Store: the state is written. The same request again gets the same answer.
func (s *Store) CompleteUpload(ctx context.Context, req s3model.CompleteRequest) (s3model.Object, error) {
	u, err := s.find(ctx, req.Bucket, req.Key, req.UploadID)
	if err != nil {
		return s3model.Object{}, err
	}
	if (req.If != s3model.Condition{}) {
		return s3model.Object{}, s3model.ErrNotServed.With("A gateway puts the condition on a state in parts itself.", nil)
	}
	c, err := s.enter(ctx, req.Bucket)
	if err != nil {
		return s3model.Object{}, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.done != nil {
		return *u.done, nil
	}
	whole, err := u.assemble(req)
	if err != nil {
		return s3model.Object{}, err
	}
	v, err := s.Gateway.WriteState(ctx, c, req.Key, whole)
	if err != nil {
		return s3model.Object{}, s.refusal(err)
	}
	obj := objectOf(v)
	u.done = &obj
	for _, p := range u.parts {
		_ = p.body.Close() // it only removes what was kept
	}
	u.parts = nil
	return obj, nil
}

// assemble is the body that the parts of req make. The caller holds u.mu.
func (u *upload) assemble(req s3model.CompleteRequest) (io.ReadSeeker, error) {
	var pieces []spool.Piece
	total := int64(0)
	for i, want := range req.Parts {
		p := u.parts[want.Number]
		switch {
		case i > 0 && want.Number <= req.Parts[i-1].Number:
			return nil, s3model.ErrInvalidPartOrder
		case p == nil, unquote(want.ETag) != p.ETag:
			return nil, s3model.ErrInvalidPart
		case i < len(req.Parts)-1 && p.Size < minPart:
			return nil, s3model.ErrEntityTooSmall
		}
		pieces = append(pieces, spool.Piece{From: p.body, Len: p.Size})
		if total += p.Size; total > MaxState {
			return nil, s3model.ErrTooLarge
		}
	}
	if req.Size >= 0 && req.Size != total {
		return nil, s3model.ErrInvalidRequest.With("The parts together have another size than x-amz-mp-object-size says.",
			nil)
	}
	return spool.Join(pieces...), nil
}

// AbortUpload implements s3model.Store.
func (s *Store) AbortUpload(ctx context.Context, bucket, key, uploadID string) error {
	u, err := s.find(ctx, bucket, key, uploadID)
	if err != nil {
		return err
	}
	s.uploads.mu.Lock()
	delete(s.uploads.open, uploadID)
	s.uploads.mu.Unlock()
	u.close()
	return nil
}

// ListParts implements s3model.Store. It is not served.
func (s *Store) ListParts(context.Context, string, string, string) (s3model.Upload, []s3model.Part, error) {
	return s3model.Upload{}, nil, s.Serves("ListParts")
}

// ListUploads implements s3model.Store. It is not served.
func (s *Store) ListUploads(context.Context, string, string) ([]s3model.Upload, error) {
	return nil, s.Serves("ListMultipartUploads")
}
