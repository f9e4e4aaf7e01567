// Package membucket keeps a bucket in memory. It is the reference for every other
// driver: small enough to be read in one go, and as strict as AWS S3 where S3 is strict.
//
// Every operation is one step under one mutex, so a condition and the write it guards
// cannot be separated. Fields that S3 does not tell over HTTP stay zero here too, and
// times have HTTP's resolution of one second, so that nothing built on this
// package relies on more than a real store gives. What it does not do: durability, encryption,
// multipart uploads, and the null versions of a bucket whose versioning was switched on later.
package membucket

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// S3's limits.
const (
	maxKeyBytes    = 1024
	maxPageSize    = 1000
	defaultContent = "application/json"
)

// Options are the properties of a bucket; the zero value is an unversioned bucket on the wall clock.
type Options struct {
	// Versioned keeps every version, and a delete without a version ID writes a delete marker.
	Versioned bool
	// Clock is the store's clock; nil means time.Now. It is called under the bucket's
	// lock and must not call the bucket.
	Clock func() time.Time
}

// Bucket is a bucket in memory. Create it with [New].
type Bucket struct {
	name      string
	versioned bool
	clock     func() time.Time

	mu       sync.Mutex
	objects  map[string][]version // oldest first, never empty; at most one where not versioned
	lastMade int                  // number of the newest version of the bucket
}

var _ bucket.Bucket = (*Bucket)(nil)

// version is one version or delete marker. Its data is never changed once stored, so readers need no lock.
type version struct {
	made         int // position in the order of all writes; names the version
	etag         string
	data         []byte
	modified     time.Time
	contentType  string
	metadata     map[string]string
	deleteMarker bool
}

// New makes an empty bucket. The name is only reported, never checked.
func New(name string, opts Options) *Bucket {
	clock := opts.Clock
	if clock == nil {
		clock = time.Now
	}
	return &Bucket{name: name, versioned: opts.Versioned, clock: clock, objects: make(map[string][]version)}
}

// Name implements [bucket.Bucket].
func (b *Bucket) Name() string { return b.name }

// Head implements [bucket.Bucket].
func (b *Bucket) Head(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, error) {
	obj, _, err := b.read(ctx, "head", key, opts)
	return obj, err
}

// Get implements [bucket.Bucket]. The body fails once ctx is done, as a network connection would.
func (b *Bucket) Get(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
	obj, data, err := b.read(ctx, "get", key, opts)
	if err != nil {
		return bucket.Object{}, nil, err
	}
	if opts.First > 0 {
		data = data[:min(opts.First, int64(len(data)))]
	}
	return obj, &body{ctx: ctx, data: bytes.NewReader(data)}, nil
}

func (b *Bucket) read(ctx context.Context, op, key string, opts bucket.ReadOptions) (bucket.Object, []byte, error) {
	if err := b.admit(ctx, op, key); err != nil {
		return bucket.Object{}, nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var v version
	var found bool
	if opts.VersionID == "" {
		v, found = b.current(key)
	} else {
		v, found = b.exact(key, opts.VersionID)
	}
	switch {
	case !found && opts.VersionID != "":
		return bucket.Object{}, nil, b.refuse(statelatch.ErrNotFound, op, key, http.StatusNotFound, "NoSuchVersion")
	case !found:
		return bucket.Object{}, nil, b.refuse(statelatch.ErrNotFound, op, key, http.StatusNotFound, "NoSuchKey")
	case v.deleteMarker:
		// S3 answers 405 when a marker is asked for by its version ID.
		return bucket.Object{}, nil, b.refuse(statelatch.ErrNotFound, op, key, http.StatusMethodNotAllowed,
			"MethodNotAllowed")
	}
	return bucket.Object{
		Key:          key,
		ETag:         v.etag,
		VersionID:    b.versionID(v),
		Size:         int64(len(v.data)),
		LastModified: v.modified,
		Date:         b.now(),
		ContentType:  v.contentType,
		Metadata:     maps.Clone(v.metadata),
	}, v.data, nil
}

// Put implements [bucket.Bucket].
func (b *Bucket) Put(
	ctx context.Context, key string, content io.ReadSeeker, opts bucket.PutOptions,
) (bucket.Object, error) {
	const op = "put"
	if err := b.admit(ctx, op, key); err != nil {
		return bucket.Object{}, err
	}
	if why := bucket.CheckMetadata(opts.Metadata); why != nil {
		err := b.refuse(statelatch.ErrUnsupported, op, key, http.StatusBadRequest, "InvalidArgument")
		err.Message = why.Error()
		return bucket.Object{}, err
	}
	data, err := readAll(content)
	if err != nil {
		return bucket.Object{}, &statelatch.StoreError{
			Kind: statelatch.ErrBroken, Op: op, Bucket: b.name, Key: key,
			Err: fmt.Errorf("read the body: %w", err),
		}
	}
	sum := md5.Sum(data)
	v := version{
		etag: `"` + hex.EncodeToString(sum[:]) + `"`, data: data, contentType: opts.ContentType,
		metadata: maps.Clone(opts.Metadata),
	}
	if v.contentType == "" {
		v.contentType = defaultContent
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.check(op, key, opts.If); err != nil {
		return bucket.Object{}, err
	}
	v = b.push(key, v)
	return bucket.Object{Key: key, ETag: v.etag, VersionID: b.versionID(v), Date: v.modified, Confirmed: true}, nil
}

// Delete implements [bucket.Bucket]. Like S3 it writes a delete marker over nothing and
// over another marker, and removing a version that does not exist succeeds.
func (b *Bucket) Delete(ctx context.Context, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
	const op = "delete"
	if err := b.admit(ctx, op, key); err != nil {
		return bucket.Deleted{}, err
	}
	if opts.If.Absent() || opts.VersionID != "" && !opts.If.IsZero() {
		return bucket.Deleted{}, b.refuse(statelatch.ErrUnsupported, op, key, http.StatusNotImplemented, "NotImplemented")
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	if opts.VersionID != "" {
		v, _ := b.exact(key, opts.VersionID)
		b.remove(key, opts.VersionID)
		return bucket.Deleted{VersionID: opts.VersionID, DeleteMarker: v.deleteMarker, Date: b.now()}, nil
	}
	if err := b.check(op, key, opts.If); err != nil {
		return bucket.Deleted{}, err
	}
	if !b.versioned {
		delete(b.objects, key)
		return bucket.Deleted{Date: b.now()}, nil
	}
	v := b.push(key, version{deleteMarker: true})
	return bucket.Deleted{VersionID: b.versionID(v), DeleteMarker: true, Date: v.modified}, nil
}

// readAll reads r from its start to its end, into memory of the right size.
func readAll(r io.ReadSeeker) ([]byte, error) {
	size, err := r.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	data := make([]byte, size)
	_, err = io.ReadFull(r, data)
	return data, err
}

// admit refuses what must not reach the store: a call after the end of ctx, a key that S3 cannot hold.
func (b *Bucket) admit(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return &statelatch.StoreError{Kind: statelatch.ErrBroken, Op: op, Bucket: b.name, Key: key, Err: err}
	}
	if key == "" || len(key) > maxKeyBytes {
		err := b.refuse(statelatch.ErrUnsupported, op, key, http.StatusBadRequest, "KeyTooLongError")
		if key == "" {
			err.Code = "InvalidArgument"
		}
		err.Message = fmt.Sprintf("a key has 1 to %d bytes, this one has %d", maxKeyBytes, len(key))
		return err
	}
	return nil
}

// check decides a condition against the current version. The caller holds b.mu until it has acted.
func (b *Bucket) check(op, key string, c bucket.Condition) error {
	v, exists := b.current(key)
	err := c.Check(exists, v.etag)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, statelatch.ErrNotFound):
		return b.refuse(err, op, key, http.StatusNotFound, "NoSuchKey")
	default:
		return b.refuse(err, op, key, http.StatusPreconditionFailed, "PreconditionFailed")
	}
}

// current returns the version that reads and conditions look at; a delete marker counts as absent.
func (b *Bucket) current(key string) (version, bool) {
	versions := b.objects[key]
	if len(versions) == 0 {
		return version{}, false
	}
	v := versions[len(versions)-1]
	if v.deleteMarker {
		return version{}, false
	}
	return v, true
}

func (b *Bucket) exact(key, id string) (version, bool) {
	for _, v := range b.objects[key] {
		if b.versionID(v) == id {
			return v, true
		}
	}
	return version{}, false
}

// push makes v the current version, in place of the old one where none are kept.
func (b *Bucket) push(key string, v version) version {
	b.lastMade++
	v.made = b.lastMade
	v.modified = b.now()
	if !b.versioned {
		b.objects[key] = nil
	}
	b.objects[key] = append(b.objects[key], v)
	return v
}

func (b *Bucket) remove(key, id string) {
	var kept []version
	for _, v := range b.objects[key] {
		if b.versionID(v) != id {
			kept = append(kept, v)
		}
	}
	b.objects[key] = kept
	if len(kept) == 0 {
		delete(b.objects, key)
	}
}

// versionID is what callers see; empty where no versions are kept, so it never equals one they ask for.
func (b *Bucket) versionID(v version) string {
	if !b.versioned {
		return ""
	}
	return fmt.Sprintf("v%06d", v.made)
}

func (b *Bucket) now() time.Time { return b.clock().UTC().Truncate(time.Second) }

// refuse is the store's answer to a request. A HEAD has no body and so no code.
func (b *Bucket) refuse(kind error, op, key string, status int, code string) *statelatch.StoreError {
	if op == "head" {
		code = ""
	}
	return &statelatch.StoreError{Kind: kind, Op: op, Bucket: b.name, Key: key, Status: status, Code: code}
}

// body is what Get returns. It ends with its context and with Close, as a response body does.
type body struct {
	ctx    context.Context // of the request: a response body lives no longer
	data   *bytes.Reader
	closed bool
}

func (r *body) Read(p []byte) (int, error) {
	switch {
	case r.closed:
		return 0, http.ErrBodyReadAfterClose
	case r.ctx.Err() != nil:
		return 0, r.ctx.Err()
	}
	return r.data.Read(p)
}

func (r *body) Close() error {
	r.closed = true
	return nil
}
