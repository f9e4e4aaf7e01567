// Package s3door is the gateway's door for backend "s3": an s3model.Store, for the S3 endpoint to stand in front of,
// that knows no rule and keeps no object, but translates requests into calls of package gateway.
//
// It is a gateway for states and locks, not a proxy of S3: what it does not serve it refuses by name. Bodies are
// spooled and verified before anything is sent on.
package s3door

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/gateway"
	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/internal/pace"
	"github.com/statelatch/statelatch/internal/spool"
	"github.com/statelatch/statelatch/s3/s3model"
	"github.com/statelatch/statelatch/state"
)

// spoolAbove is how many bytes of a body are kept in memory.
const spoolAbove = 1 << 20

// Config says what a door leads to. Gateway is required.
type Config struct {
	Gateway *gateway.Gateway // that is asked
	Region  string           // of the bucket; empty: us-east-1
	// Encrypts says that the bucket's driver has every object encrypted with keys of the store (SSE-S3), so that a client
	// which asks for that gets it.
	Encrypts bool
	SpoolDir string // where bodies wait; empty: os.TempDir
	// NewUploadID names a multipart upload, which waits here; nil: at random. An ID must be unique, and not to be guessed.
	NewUploadID func() string
	Logger      *slog.Logger // of failures that a client is told only the code of; nil: nothing is told
}

// Store is the door. Create it with New.
type Store struct {
	Config
	started time.Time
	uploads uploads
}

var _ s3model.Store = (*Store)(nil)

// New returns a door.
func New(cfg Config) *Store {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.NewUploadID == nil {
		cfg.NewUploadID = pace.HexNonce
	}
	return &Store{Config: cfg, started: time.Now(), uploads: uploads{open: map[string]*upload{}}}
}

// served are the operations that make sense of states and locks.
var served = []string{
	"ListBuckets", "HeadBucket", "GetBucketLocation", "ListObjects", "ListObjectsV2", "ListObjectVersions", "PutObject",
	"GetObject", "HeadObject", "DeleteObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload",
	"AbortMultipartUpload",
}

// Serves implements s3model.Selective.
func (s *Store) Serves(operation string) error {
	if slices.Contains(served, operation) {
		return nil
	}
	return s3model.ErrNotServed.With("This is a gateway for states and their locks. It does not serve "+operation+
		": ask the bucket itself.", nil)
}

// caller is who the request came from.
func caller(ctx context.Context) (gateway.Caller, error) {
	from := s3model.CallerOf(ctx)
	session, ok := from.Who.(access.Session)
	if !ok {
		return gateway.Caller{}, s3model.ErrAccessDenied
	}
	return gateway.Caller{
		Session: session, Conn: from.Connection, Attempt: from.Attempt, Signed: from.Signed, Call: from.Call,
		Engine: strings.Contains(from.Agent, "HashiCorp") || strings.Contains(from.Agent, "OpenTofu"),
	}, nil
}

// enter is caller for a request about a bucket.
func (s *Store) enter(ctx context.Context, name string) (gateway.Caller, error) {
	if name != s.Gateway.Bucket() {
		return gateway.Caller{}, s3model.ErrNoSuchBucket.With("This gateway serves the bucket "+s.Gateway.Bucket()+" alone.",
			nil)
	}
	return caller(ctx)
}

// refusal is err in S3's terms.
func (s *Store) refusal(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*s3model.Error](err); ok {
		return err
	}
	denied, isDenied := errors.AsType[*gateway.DeniedError](err)
	store, isStore := errors.AsType[*statelatch.StoreError](err)
	refused, isRefused := errors.AsType[*gateway.RefusedError](err)
	switch {
	case isRefused:
		return s3model.ErrPreconditionFailed.With(oneLine(refused), err)
	case isDenied:
		s.Logger.Info("denied", "why", denied)
		return s3model.ErrAccessDenied.With(oneLine(denied), err)
	case errors.Is(err, statelatch.ErrLocked):
		return s3model.ErrPreconditionFailed.With(oneLine(err), err)
	case errors.Is(err, statelatch.ErrNotLocked):
		return s3model.ErrNoSuchKey
	case errors.Is(err, statelatch.ErrInvalid):
		return s3model.ErrInvalidRequest.With(oneLine(err), err)
	case errors.Is(err, statelatch.ErrNoBucket):
		return s3model.ErrNoSuchBucket.With("The bucket behind the gateway does not exist.", err)
	case errors.Is(err, statelatch.ErrPreconditionFailed):
		return s3model.ErrPreconditionFailed
	case errors.Is(err, statelatch.ErrNotFound):
		return s3model.ErrNoSuchKey
	case errors.Is(err, statelatch.ErrDenied) && isStore:
		return s3model.ErrAccessDenied.With("The gateway itself may not "+store.Op+" this object in the bucket: its rights "+
			"there are too few, see 'statelatch policy -role gateway'.", err)
	case errors.Is(err, statelatch.ErrUnsupported):
		return s3model.ErrInvalidRequest.With("The store behind the gateway cannot do this.", err)
	}
	s.Logger.Warn("the store did not do what was asked", "err", err)
	return s3model.ErrUnavailable.With("", err)
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", " ") }

// CreateBucket implements s3model.Store. It is not served.
func (s *Store) CreateBucket(context.Context, string, string) error { return s.Serves("CreateBucket") }

// DeleteBucket implements s3model.Store. It is not served.
func (s *Store) DeleteBucket(context.Context, string) error { return s.Serves("DeleteBucket") }

// ListBuckets implements s3model.Store: there is one.
func (s *Store) ListBuckets(context.Context) ([]s3model.Bucket, error) {
	return []s3model.Bucket{s.bucket()}, nil
}

func (s *Store) bucket() s3model.Bucket {
	return s3model.Bucket{Name: s.Gateway.Bucket(), Location: s.Region, Created: s.started}
}

// GetBucket implements s3model.Store.
func (s *Store) GetBucket(ctx context.Context, name string) (s3model.Bucket, error) {
	if _, err := s.enter(ctx, name); err != nil {
		return s3model.Bucket{}, err
	}
	return s.bucket(), nil
}

// BucketConfig implements s3model.Store: the bucket's own configuration is the bucket's affair.
func (s *Store) BucketConfig(context.Context, string, string) ([]byte, error) { return nil, nil }

// SetBucketConfig implements s3model.Store. It is not served.
func (s *Store) SetBucketConfig(_ context.Context, _, subresource string, _ []byte) error {
	return s.Serves("PutBucket" + subresource)
}

// UpdateSettings implements s3model.Store. It is not served.
func (s *Store) UpdateSettings(context.Context, string, func(*s3model.Settings)) error {
	return s.Serves("PutBucketVersioning")
}

// Copy implements s3model.Store. It is not served.
func (s *Store) Copy(
	context.Context, s3model.ReadRequest, s3model.PutRequest, bool, bool,
) (s3model.Object, error) {
	return s3model.Object{}, s.Serves("CopyObject")
}

// Tags implements s3model.Store. It is not served.
func (s *Store) Tags(context.Context, s3model.ReadRequest) (map[string]string, s3model.Object, error) {
	return nil, s3model.Object{}, s.Serves("GetObjectTagging")
}

// SetTags implements s3model.Store. It is not served.
func (s *Store) SetTags(context.Context, s3model.ReadRequest, map[string]string) (s3model.Object, error) {
	return s3model.Object{}, s.Serves("PutObjectTagging")
}

// wants refuses what a client asks of an object that the gateway's own configuration decides.
func (s *Store) wants(req s3model.PutRequest) error {
	switch {
	case len(req.Encryption.CustomerKey) > 0:
		return s3model.ErrInvalidRequest.With("Customer keys (SSE-C) do not work through a gateway: remove sse_customer_key "+
			"from the backend, and let the gateway's own -backend-config say how objects are encrypted.", nil)
	case req.Encryption.SSES3 && !s.Encrypts:
		return s3model.ErrInvalidRequest.With("The gateway decides how objects are encrypted, and was not told to: start it "+
			"with -backend-config encrypt=true, or remove encrypt from the backend.", nil)
	case len(req.Tags) > 0:
		return s3model.ErrInvalidRequest.With("The gateway decides on tags: remove state_tags and lock_tags from the "+
			"backend.", nil)
	}
	return nil
}

// receive spools a body until it is known to be what the client signed. The caller closes the spool.
func (s *Store) receive(r io.Reader, finish func() (s3model.Checksum, error), limit int64) (*spool.Spool, error) {
	body := spool.New(s.SpoolDir, min(limit, spoolAbove))
	n, err := io.Copy(body, io.LimitReader(r, limit+1))
	switch {
	case err == nil && n > limit:
		err = s3model.ErrTooLarge
	case err == nil && finish != nil:
		_, err = finish()
	}
	if err == nil {
		err = body.Rewind()
	}
	if err != nil {
		return nil, errors.Join(err, body.Close())
	}
	return body, nil
}

// Put implements s3model.Store: a lock is taken, a state written.
func (s *Store) Put(ctx context.Context, req s3model.PutRequest, r io.Reader) (s3model.Object, error) {
	c, err := s.enter(ctx, req.Bucket)
	if err == nil {
		err = s.wants(req)
	}
	if err != nil {
		return s3model.Object{}, err
	}
	kind, of := statelatch.ClassifyKey(req.Key)
	limit := int64(MaxState)
	switch kind {
	case statelatch.KeyLock:
		limit = statelatch.MaxLockInfo
	case statelatch.KeyProbe:
		limit = maxProbe
	case statelatch.KeyOther, statelatch.KeyRescue, statelatch.KeySnapshot:
	}
	body, err := s.receive(r, req.Finish, limit)
	if err != nil {
		return s3model.Object{}, err
	}
	defer body.Close()
	plain := kind == statelatch.KeyOther && req.If == s3model.Condition{}
	if kind == statelatch.KeyLock && (req.If == s3model.Condition{} || req.If.IfAbsent) {
		data, err := io.ReadAll(body)
		if err != nil {
			return s3model.Object{}, err
		}
		if statelatch.ParseManaged(data) == nil {
			return s.lock(ctx, c, of, req, data)
		}
		if err := body.Rewind(); err != nil {
			return s3model.Object{}, err
		}
	}
	if plain {
		v, err := s.Gateway.WriteState(ctx, c, req.Key, body)
		if err != nil {
			return s3model.Object{}, s.refusal(err)
		}
		return objectOf(v), nil
	}
	cond := bucket.IfAbsent
	switch {
	case req.If.IfMatch == "*":
		return s3model.Object{}, s3model.ErrNotServed.With("If-Match: * is not served by a gateway: name the ETag.", nil)
	case req.If.IfMatch != "":
		cond = bucket.IfMatch(quote(req.If.IfMatch))
	case !req.If.IfAbsent:
		cond = bucket.Condition{}
	}
	obj, err := s.Gateway.PutObject(ctx, c, req.Key, body, bucket.PutOptions{
		If: cond, ContentType: req.Metadata["content-type"], Metadata: userMetadata(req.Metadata),
	})
	if err != nil {
		return s3model.Object{}, s.refusal(err)
	}
	return object(obj), nil
}

// lock takes a lock for an engine.
func (s *Store) lock(
	ctx context.Context, c gateway.Caller, key string, req s3model.PutRequest, data []byte,
) (s3model.Object, error) {
	if !req.If.IfAbsent {
		return s3model.Object{}, s3model.ErrInvalidRequest.With("A lock is taken with If-None-Match: * alone, as engines do "+
			"with use_lockfile since Terraform 1.11 and OpenTofu 1.10.", nil)
	}
	info, err := statelatch.ParseLockInfo(data)
	if err != nil {
		return s3model.Object{}, s.refusal(err)
	}
	h, err := s.Gateway.Lock(ctx, c, key, info)
	if err != nil {
		return s3model.Object{}, s.refusal(err)
	}
	return s3model.Object{Key: req.Key, ETag: unquote(h.ETag), VersionID: h.VersionID, LastModified: time.Now()}, nil
}

// Head implements s3model.Store.
func (s *Store) Head(ctx context.Context, req s3model.ReadRequest) (s3model.Object, error) {
	obj, body, err := s.open(ctx, req, false)
	if err != nil {
		return s3model.Object{}, err
	}
	return obj, body.Close()
}

// Get implements s3model.Store.
func (s *Store) Get(ctx context.Context, req s3model.ReadRequest) (s3model.Object, io.ReadSeekCloser, error) {
	return s.open(ctx, req, true)
}

func (s *Store) open(
	ctx context.Context, req s3model.ReadRequest, get bool,
) (s3model.Object, io.ReadSeekCloser, error) {
	c, err := s.enter(ctx, req.Bucket)
	if err == nil && len(req.Encryption.CustomerKey) > 0 {
		err = s.wants(s3model.PutRequest{Encryption: req.Encryption})
	}
	if err != nil {
		return s3model.Object{}, nil, err
	}
	kind, of := statelatch.ClassifyKey(req.Key)
	switch {
	case req.VersionID != "" || kind != statelatch.KeyLock && kind != statelatch.KeyOther:
		return s.openStored(ctx, c, req, kind, get)
	case kind == statelatch.KeyLock:
		h, err := s.Gateway.ReadLock(ctx, c, of)
		if err != nil {
			return s3model.Object{}, nil, s.refusal(err)
		}
		return s3model.Object{
			Key: req.Key, ETag: unquote(h.ETag), Size: int64(len(h.Body)), LastModified: h.Modified, Metadata: jsonType,
		}, nopCloser{strings.NewReader(string(h.Body))}, nil
	}
	reading, err := s.Gateway.OpenState(ctx, c, req.Key, get)
	if err != nil {
		return s3model.Object{}, nil, s.refusal(err)
	}
	if !reading.Version.Exists {
		return s3model.Object{}, nil, errors.Join(s3model.ErrNoSuchKey, reading.Close())
	}
	return objectOf(reading.Version), readCloser{reading.Body(), reading}, nil
}

// openStored opens what is no lock and no current state.
func (s *Store) openStored(
	ctx context.Context, c gateway.Caller, req s3model.ReadRequest, kind statelatch.KeyKind, get bool,
) (s3model.Object, io.ReadSeekCloser, error) {
	opts := bucket.ReadOptions{VersionID: req.VersionID}
	if !get {
		obj, err := s.Gateway.HeadObject(ctx, c, req.Key, opts)
		return object(obj), nopCloser{strings.NewReader("")}, s.versionRefusal(err, req.VersionID)
	}
	if kind == statelatch.KeyOther {
		v, body, err := s.Gateway.OpenVersion(ctx, c, req.Key, req.VersionID)
		return objectOf(v), body, s.versionRefusal(err, req.VersionID)
	}
	obj, stored, err := s.Gateway.GetObject(ctx, c, req.Key, opts)
	if err != nil {
		return s3model.Object{}, nil, s.versionRefusal(err, req.VersionID)
	}
	body, err := s.receive(stored, nil, MaxState)
	if err = errors.Join(err, stored.Close()); err != nil {
		return s3model.Object{}, nil, s.refusal(err)
	}
	return object(obj), body, nil
}

func (s *Store) versionRefusal(err error, versionID string) error {
	if versionID != "" && errors.Is(err, statelatch.ErrNotFound) && !errors.Is(err, statelatch.ErrNoBucket) {
		return s3model.ErrNoSuchVersion
	}
	return s.refusal(err)
}

// Delete implements s3model.Store: a lock is ended, a state deleted.
func (s *Store) Delete(ctx context.Context, req s3model.DeleteRequest) (s3model.DeleteResult, error) {
	c, err := s.enter(ctx, req.Bucket)
	if err != nil {
		return s3model.DeleteResult{}, err
	}
	kind, of := statelatch.ClassifyKey(req.Key)
	plain := req.VersionID == "" && req.If == s3model.Condition{}
	switch {
	case plain && kind == statelatch.KeyLock:
		return s3model.DeleteResult{}, s.refusal(s.Gateway.Unlock(ctx, c, of))
	case plain && kind == statelatch.KeyOther:
		return s3model.DeleteResult{}, s.refusal(s.Gateway.DeleteState(ctx, c, req.Key))
	case req.If.IfAbsent || req.If.IfMatch == "*":
		return s3model.DeleteResult{}, s3model.ErrNotServed.With("A delete is conditional on an ETag, or not at all.", nil)
	}
	opts := bucket.DeleteOptions{VersionID: req.VersionID}
	if req.If.IfMatch != "" {
		opts.If = bucket.IfMatch(quote(req.If.IfMatch))
	}
	gone, err := s.Gateway.DeleteObject(ctx, c, req.Key, opts)
	return s3model.DeleteResult{VersionID: gone.VersionID, DeleteMarker: gone.DeleteMarker}, s.refusal(err)
}

// hexMD5 is what S3 calls a part by.
func hexMD5(r io.Reader) (string, error) {
	h := md5.New()
	_, err := io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), err
}

var jsonType = map[string]string{"content-type": "application/json"}

// objectOf describes a version of a state.
func objectOf(v state.Version) s3model.Object {
	meta := maps.Clone(jsonType)
	for name, value := range v.Provenance.Metadata() {
		meta[metaPrefix+name] = value
	}
	return s3model.Object{
		Key: v.Ref.Key, VersionID: v.VersionID, ETag: unquote(v.ETag), Size: v.Size, LastModified: v.LastModified,
		Metadata: meta,
	}
}

// object describes what a bucket says of one.
func object(obj bucket.Object) s3model.Object {
	o := s3model.Object{
		Key: obj.Key, VersionID: obj.VersionID, ETag: unquote(obj.ETag), Size: obj.Size, LastModified: obj.LastModified,
		DeleteMarker: obj.DeleteMarker, IsLatest: obj.IsLatest, Metadata: map[string]string{},
	}
	if obj.ContentType != "" {
		o.Metadata["content-type"] = obj.ContentType
	}
	for name, value := range obj.Metadata {
		o.Metadata[metaPrefix+name] = value
	}
	o.Encryption.SSES3 = obj.Encryption == "AES256"
	return o
}

const metaPrefix = "x-amz-meta-"

// userMetadata is what of a request's metadata is its user's own.
func userMetadata(all map[string]string) map[string]string {
	m := map[string]string{}
	for name, value := range all {
		if own, ok := strings.CutPrefix(strings.ToLower(name), metaPrefix); ok {
			m[own] = value
		}
	}
	return m
}

func quote(etag string) string   { return `"` + etag + `"` }
func unquote(etag string) string { return strings.Trim(etag, `"`) }

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

type readCloser struct {
	io.ReadSeeker
	io.Closer
}

// maxProbe is the largest object of a probe, in bytes.
const maxProbe = 1 << 20

// MaxState is the largest state, in bytes: what S3 takes in one request.
const MaxState = 5 << 30
