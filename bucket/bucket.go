// Package bucket is the port to object storage: a small conditional object store.
// Everything above it speaks to S3 through [Bucket] alone.
//
// What every driver guarantees: one key's reads and writes are linearizable, a
// condition is decided by the store in the same step as the write it guards, and
// a condition that cannot be honoured is refused, never dropped. What it does not:
// anything across two keys. The conformance suite is package buckettest.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
)

// Bucket is one bucket of a conditional object store.
//
// Every method is safe for concurrent use, sends nothing once ctx is done, and
// returns errors that are a *statelatch.StoreError of exactly one kind. A driver
// never re-sends a conditional request by itself: a 412 after a hidden retry proves
// nothing (R9).
//
// An error caused by ctx also matches ctx.Err(). It is ErrAmbiguous for a write that was
// under way, and ErrBroken for a read or where nothing was sent; a driver that
// cannot tell whether a write was sent says ErrAmbiguous.
type Bucket interface {
	// Name is the bucket's name, as in s3://NAME/key.
	Name() string

	// Head describes the current version of key, or the version of opts. ErrNotFound
	// also for a delete marker. It is a read: safe to repeat.
	Head(ctx context.Context, key string, opts ReadOptions) (Object, error)

	// Get opens the current version of key, or the version of opts, in one request: the bytes are of one version, never
	// a mixture (W14). The caller closes the body. A body that ends early, or is not what the store says
	// of it (statelatch.ErrAltered), fails with an error (of any type), never with io.EOF, and before its last byte is
	// handed out; so nothing of it is good until its end was read. It may fail once ctx is done. ErrNotFound also for a
	// delete marker. It is a read: safe to repeat.
	Get(ctx context.Context, key string, opts ReadOptions) (Object, io.ReadCloser, error)

	// Put stores body under key, all or nothing, in one request. It reads body
	// from its start to its end, possibly twice (to hash and to send), and leaves its
	// offset undefined.
	// An error of body itself is ErrBroken, with that error as its cause.
	//   nil                    it is stored and durable; Object tells its ETag and version, and whether the
	//                          store's answer confirms the bytes
	//   ErrPreconditionFailed  refused by opts.If, nothing changed
	//   ErrNotFound            IfMatch on an absent key (or no such bucket), nothing changed
	//   ErrConflict            a concurrent request, nothing changed
	//   ErrAmbiguous           may or may not have happened, or may still happen; or, with
	//                          statelatch.ErrAltered, other bytes were stored
	// Repeating after ErrAmbiguous is safe only if the caller can tell its own write apart.
	Put(ctx context.Context, key string, body io.ReadSeeker, opts PutOptions) (Object, error)

	// Delete removes key, or exactly opts.VersionID. Without a version on a
	// versioned bucket it writes a delete marker, whose version ID is returned.
	// Deleting an absent key without condition succeeds. Removing the newest version
	// makes the one below it current. Errors as for Put; a condition on an absent key is
	// ErrNotFound. IfAbsent, and a condition together with a version, are refused with
	// ErrUnsupported: stores disagree on which version such a condition looks at.
	Delete(ctx context.Context, key string, opts DeleteOptions) (Deleted, error)

	// List yields the current objects in byte order of their keys, as many requests
	// as it takes. It ends with the first error. Not a snapshot: what is written meanwhile may or may not be seen.
	List(ctx context.Context, opts ListOptions) iter.Seq2[Object, error]

	// ListVersions yields versions and delete markers, by key in byte order, newest
	// first. ErrUnsupported where the store keeps none. Otherwise like List.
	ListVersions(ctx context.Context, opts ListOptions) iter.Seq2[Object, error]
}

// Object describes one version of one object. Fields that an operation does not
// learn are zero: List knows no version ID, Put no size.
type Object struct {
	Key          string    // of the object, without the bucket
	ETag         string    // opaque, with its quotes, exactly as received; compare with ==
	VersionID    string    // empty where the bucket has no versions
	Size         int64     // bytes
	LastModified time.Time // the store's clock, 1 s resolution over HTTP
	Date         time.Time // the store's clock when it answered; zero in listings
	ContentType  string    // Head and Get: as it was stored
	Encryption   string    // "AES256", "aws:kms", "SSE-C" or empty: what the store says it did
	// Metadata, of Head and Get, whatever part is read: what its writer had the store keep beside the bytes, as the
	// store tells it, names in lower case; nil: nothing. Nobody checks it: a text that a stranger may have written, of a
	// size that only the store limits. A value that is an encoded word (RFC 2047) may be told in another spelling.
	Metadata map[string]string

	Confirmed    bool // Put: the answer proves that the store has the bytes that were sent, by a checksum or an MD5
	IsLatest     bool // ListVersions: the current version
	DeleteMarker bool // ListVersions: a delete marker, not an object
	IsPrefix     bool // List with a delimiter: Key is a common prefix, not an object
}

// KeptVersion reports whether a version ID names one version for good, which stays when it is replaced. A bucket
// without versions has no IDs, or calls all "null"; one whose versioning is suspended gives "null" to every new
// version, in place of the last one.
func KeptVersion(id string) bool { return id != "" && id != "null" }

// Condition guards a write. The zero Condition is none.
type Condition struct {
	absent bool
	etag   string
}

// IfAbsent lets a write pass only if the key has no current version (If-None-Match: *).
// A delete marker counts as absent.
var IfAbsent = Condition{absent: true}

// IfMatch lets a write pass only if the current version has exactly this ETag
// (If-Match). It panics on an empty ETag: that would drop the condition.
func IfMatch(etag string) Condition {
	if etag == "" {
		panic("bucket: IfMatch with an empty ETag")
	}
	return Condition{etag: etag}
}

// IsZero reports whether there is no condition.
func (c Condition) IsZero() bool { return c == Condition{} }

// Absent reports whether the condition is IfAbsent.
func (c Condition) Absent() bool { return c.absent }

// ETag is the ETag of an IfMatch condition, else empty.
func (c Condition) ETag() string { return c.etag }

// String formats c as the header that carries it.
func (c Condition) String() string {
	switch {
	case c.absent:
		return "If-None-Match: *"
	case c.etag != "":
		return "If-Match: " + c.etag
	}
	return "unconditional"
}

// Check decides c against the current version: exists and its ETag. It is the
// rule that every store follows: nil, ErrPreconditionFailed, or ErrNotFound for
// IfMatch on an absent key.
func (c Condition) Check(exists bool, etag string) error {
	switch {
	case c.absent && exists:
		return statelatch.ErrPreconditionFailed
	case c.etag != "" && !exists:
		return statelatch.ErrNotFound
	case c.etag != "" && c.etag != etag:
		return statelatch.ErrPreconditionFailed
	}
	return nil
}

// ReadOptions selects what Head and Get read; zero means the current version.
type ReadOptions struct {
	VersionID string // of the version to read; empty: the current one
	// First: Get hands out no more than so many bytes from the start; 0: all. Object.Size is that of the whole. A part
	// cannot be compared with what the store says of the whole: nothing proves that it is what was stored.
	First int64
}

// PutOptions are the terms of one Put. Encryption, ACL and tags are not among them:
// they belong to the driver, the same for every object (B21, B22).
type PutOptions struct {
	If          Condition // the condition; zero: none, the write overwrites
	ContentType string    // empty: application/json, what the engines send for states and locks
	// Metadata is kept beside the bytes, in the same step; nil: none, also where the last version had some. What
	// [CheckMetadata] refuses is refused with ErrUnsupported before anything is sent.
	Metadata map[string]string
}

// MaxMetadata is S3's limit on metadata: bytes of all names and values together.
const MaxMetadata = 2 << 10

// CheckMetadata says why a store would not keep metadata, or would not give it back as it is; nil: it will. Names are
// of a-z, 0-9 and single hyphens between them. Values are printable ASCII without spaces at their ends, and not empty:
// what other text becomes differs from store to store, so callers encode it. All is within [MaxMetadata].
func CheckMetadata(m map[string]string) error {
	size := 0
	for name, value := range m {
		size += len(name) + len(value)
		for part := range strings.SplitSeq(name, "-") {
			if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
				return fmt.Errorf("the metadata's name %q: want a-z, 0-9 and single hyphens between them", name)
			}
		}
		if value == "" || strings.TrimSpace(value) != value ||
			strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fmt.Errorf("the metadata's value of %s, %q: want printable ASCII, without spaces at its ends", name, value)
		}
	}
	if size > MaxMetadata {
		return fmt.Errorf("the metadata has %d bytes, a store keeps %d", size, MaxMetadata)
	}
	return nil
}

// DeleteOptions are the terms of one Delete.
type DeleteOptions struct {
	If        Condition // the condition; zero: none
	VersionID string    // remove exactly this version
}

// Deleted says what a Delete did.
type Deleted struct {
	VersionID    string    // of the delete marker written, or of the version removed
	DeleteMarker bool      // a marker was written, or the removed version was one
	Date         time.Time // the store's clock when it answered
}

// ListOptions select what List and ListVersions yield; zero means everything.
type ListOptions struct {
	Prefix     string // only keys that begin with it
	StartAfter string // only keys behind this one in byte order, which need not exist; not together with Delimiter
	Delimiter  string // roll up keys that share a prefix up to it, as IsPrefix entries (List only)
	PageSize   int    // keys a request, 0 means the store's maximum
}

// ReadAll returns the body of a small object, at most limit bytes; a larger one is
// refused with ErrInvalid.
func ReadAll(ctx context.Context, b Bucket, key string, limit int64) (Object, []byte, error) {
	obj, body, err := b.Get(ctx, key, ReadOptions{})
	if err != nil {
		return Object{}, nil, err
	}
	// One byte more than the limit tells a larger object; the largest limit has none to spare.
	data, err := io.ReadAll(io.LimitReader(body, max(limit, limit+1)))
	err = errors.Join(err, body.Close())
	switch {
	case err != nil:
		return Object{}, nil, &statelatch.StoreError{
			Kind: statelatch.ErrBroken, Op: "get", Bucket: b.Name(), Key: key,
			Err: err,
		}
	case int64(len(data)) > limit:
		return obj, nil, fmt.Errorf("%w object s3://%s/%s: larger than %d bytes", statelatch.ErrInvalid, b.Name(), key, limit)
	}
	return obj, data, nil
}
