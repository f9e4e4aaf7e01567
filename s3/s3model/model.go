// Package s3model is the vocabulary between the S3 endpoint and the store behind
// it: what S3 objects, conditions and failures are, without HTTP and without a disk.
// The endpoint translates requests into calls of [Store]; a store decides and keeps.
package s3model

import (
	"context"
	"io"
	"time"
)

// Store keeps buckets and objects. Every method is safe for concurrent use. A write
// that returned nil is durable: it survives the death of the process and of the
// machine. A write that failed changed nothing. Every condition is decided in the
// same transaction as the change it guards. Errors are *Error where S3 has a code for them.
type Store interface {
	CreateBucket(ctx context.Context, name, location string) error // BucketAlreadyOwnedByYou if it exists
	// BucketNotEmpty while any version or marker is left; aborts uploads
	DeleteBucket(ctx context.Context, name string) error
	ListBuckets(ctx context.Context) ([]Bucket, error)          // by name
	GetBucket(ctx context.Context, name string) (Bucket, error) // NoSuchBucket

	// BucketConfig returns the document stored for a subresource ("policy", "lifecycle", ...),
	// nil if none.
	BucketConfig(ctx context.Context, bucket, subresource string) ([]byte, error)
	// SetBucketConfig replaces it; nil removes it. The endpoint validates documents before; the store acts on what it
	// applies (see Settings).
	SetBucketConfig(ctx context.Context, bucket, subresource string, doc []byte) error
	// UpdateSettings changes the settings the store acts on, atomically.
	UpdateSettings(ctx context.Context, bucket string, change func(*Settings)) error

	// Put stores an object whose body streams from r. It reads r to its end before
	// it decides the condition; an error of r (a short body, a wrong checksum) aborts and
	// is returned as it is.
	Put(ctx context.Context, req PutRequest, r io.Reader) (Object, error)
	// Head describes a version. NoSuchKey, NoSuchVersion, or for a delete marker a
	// *Error with DeleteMarker set (404 NoSuchKey for the current version, 405 MethodNotAllowed for an explicit one).
	// With SSE-C: InvalidRequest without the key, AccessDenied for another key.
	Head(ctx context.Context, req ReadRequest) (Object, error)
	// Get opens a version. The reader can be positioned, so that ranges cost what they read. It
	// stays valid, with the bytes of that version, even if the version is
	// deleted or overwritten before it is closed.
	Get(ctx context.Context, req ReadRequest) (Object, io.ReadSeekCloser, error)
	// Delete removes the current version (or writes a marker), or exactly one version.
	Delete(ctx context.Context, req DeleteRequest) (DeleteResult, error)
	// Copy makes a new object of a version of another, inside the store.
	Copy(ctx context.Context, src ReadRequest, dst PutRequest, replaceMetadata, replaceTags bool) (Object, error)

	// Tags returns the tags of a version, and the version. Errors are those of Head.
	Tags(ctx context.Context, req ReadRequest) (map[string]string, Object, error)
	// SetTags replaces all tags of a version, in place. Errors are those of Head.
	SetTags(ctx context.Context, req ReadRequest, tags map[string]string) (Object, error)

	// List returns a page of the current versions, without delete markers. NoSuchBucket.
	List(ctx context.Context, req ListRequest) (ListPage, error)
	// ListVersions returns a page of all versions and delete markers. NoSuchBucket.
	ListVersions(ctx context.Context, req ListRequest) (ListPage, error)

	// CreateUpload begins a multipart upload of what req describes; obj tells how it will be encrypted.
	CreateUpload(ctx context.Context, req PutRequest) (uploadID string, obj Object, err error)
	// PutPart stores a part, in place of one with its number. NoSuchUpload. For r see Put.
	PutPart(ctx context.Context, req PartRequest, r io.Reader) (Part, error)
	ListParts(ctx context.Context, bucket, key, uploadID string) (Upload, []Part, error) // NoSuchUpload; parts by number
	ListUploads(ctx context.Context, bucket, prefix string) ([]Upload, error)            // by key, then start
	AbortUpload(ctx context.Context, bucket, key, uploadID string) error                 // NoSuchUpload
	// CompleteUpload makes an object of parts: InvalidPart, InvalidPartOrder, EntityTooSmall. As long as that
	// version exists, the same request returns it again, whatever its condition: it is a retry.
	CompleteUpload(ctx context.Context, req CompleteRequest) (Object, error)
}

// Selective is a [Store] that serves part of S3 only.
type Selective interface {
	// Serves is nil if the operation, as S3 calls it, is served; else the refusal.
	Serves(operation string) error
}

// Bucket describes a bucket.
type Bucket struct {
	Name     string    // unique in the store
	Location string    // the LocationConstraint it was created with; empty means us-east-1
	Created  time.Time // by the store's clock
	Settings Settings  // what the store acts on
}

// Versioning is the versioning state of a bucket.
type Versioning string

// The states S3 knows. A bucket that was Enabled once can only be Suspended.
const (
	Unversioned Versioning = ""          // the zero value: one object a key
	Enabled     Versioning = "Enabled"   // every write adds a version
	Suspended   Versioning = "Suspended" // writes replace the version NullVersion; the others stay
)

// NullVersion is the version ID of objects written while versioning was not enabled.
const NullVersion = "null"

// Settings are the bucket settings that a store acts on.
type Settings struct {
	Versioning Versioning // whether versions are kept
	// EncryptByDefault stores objects as SSE-S3 (AES256) when the request says nothing.
	EncryptByDefault bool
	// BucketKey is kept for who set it: there is no KMS that it could make cheaper.
	BucketKey bool `json:",omitempty"`
	// BlockedEncryption are the kinds of encryption that writes may not ask for: BlockSSEC, or BlockNone
	// for who says that nothing is blocked.
	BlockedEncryption []string        `json:",omitempty"`
	Lifecycle         []LifecycleRule // all of them apply; none: nothing expires
}

// What BlockedEncryption may hold.
const (
	BlockSSEC = "SSE-C" // encryption with customer keys
	BlockNone = "NONE"  // nothing is blocked
)

// LifecycleRule is one rule that is really applied. Zero numbers mean "not set".
type LifecycleRule struct {
	ID                      string            // unique among the bucket's rules
	Enabled                 bool              // false: it does nothing
	Prefix                  string            // of the keys it is for; empty: any
	Tags                    map[string]string // that an object must all have; empty: any
	SizeAbove               int64             // ObjectSizeGreaterThan, bytes; -1 means not set
	SizeBelow               int64             // ObjectSizeLessThan, bytes; -1 means not set
	ExpireDays              int               // current versions; on a versioned bucket writes a delete marker
	ExpireDate              time.Time         // instead of ExpireDays: a midnight, UTC
	ExpireLoneDeleteMarkers bool              // ExpiredObjectDeleteMarker
	NoncurrentDays          int               // days after which a noncurrent version goes
	NewerNoncurrentVersions int               // keep this many noncurrent versions whatever their age
	AbortUploadsAfterDays   int               // days after which an unfinished upload goes
}

// Condition is what If-Match and If-None-Match of a write asked for. Zero is none.
type Condition struct {
	IfAbsent bool   // If-None-Match: *
	IfMatch  string // an ETag without quotes, or "*": any current object
}

// Encryption says how a body is kept. Zero is not encrypted.
type Encryption struct {
	SSES3       bool   // AES256 with the store's key
	CustomerKey []byte // SSE-C: 32 bytes, only in requests, never stored or logged
	CustomerMD5 string // SSE-C: base64 MD5 of the key, as S3 reports it
}

// Checksum is an additional checksum that the client sent and the endpoint verified.
type Checksum struct {
	Algorithm string // "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"; empty if none
	Value     string // base64
	Type      string // "FULL_OBJECT" or "COMPOSITE"
}

// PutRequest describes an object to be written.
type PutRequest struct {
	Bucket, Key string    // where to; both are required
	If          Condition // the condition; zero: none
	// Metadata: system headers kept with an object (Content-Type, Cache-Control, ...) and x-amz-meta-*, lower case
	Metadata   map[string]string
	Tags       map[string]string // of the object; nil: none
	Encryption Encryption        // nothing set: the bucket's default applies
	// Finish is called after the body was read, before the commit; it returns the checksum to
	// keep, or an error that aborts the write. Nil means none.
	Finish func() (Checksum, error)
	// ChecksumAlgorithm and ChecksumType are kept with an upload for its completion.
	ChecksumAlgorithm, ChecksumType string
}

// ReadRequest names a version to be read; an empty VersionID is the current one.
type ReadRequest struct {
	Bucket, Key, VersionID string     // of the version
	Encryption             Encryption // the customer key, for SSE-C objects
	// SourceETag, in the source of a Copy, is the ETag (without quotes) that the version must still
	// have, else PreconditionFailed; empty means any. Other calls ignore it.
	SourceETag string
}

// DeleteRequest names what to delete.
type DeleteRequest struct {
	Bucket, Key, VersionID string    // of the version; an empty VersionID is the current one
	If                     Condition // the condition; zero: none
}

// DeleteResult says what a delete did.
type DeleteResult struct {
	VersionID    string // of the marker written, or of the version removed
	DeleteMarker bool   // a marker was written, or the removed version was one
}

// Object describes a version of an object, or a delete marker.
type Object struct {
	Key string // without the bucket
	// VersionID: empty in a bucket that never had versioning (but ListVersions says NullVersion); else an ID or
	// NullVersion
	VersionID    string
	ETag         string            // without quotes: hex MD5, "...-N" after a multipart upload, opaque with SSE-C
	Size         int64             // bytes, as they were before encryption
	LastModified time.Time         // by the store's clock
	Metadata     map[string]string // as in PutRequest
	TagCount     int               // how many tags it has
	Encryption   Encryption        // as done; CustomerKey is never filled
	Checksum     Checksum          // of the body; zero: none was kept
	Parts        []int64           // sizes of the parts of a multipart object
	DeleteMarker bool              // it is one, without a body
	IsLatest     bool              // it is the current version
}

// ListRequest selects a page. Keys are in byte order.
type ListRequest struct {
	Bucket, Prefix, Delimiter string // what to list; an empty Prefix or Delimiter means none
	After                     string // List: keys and prefixes up to and including this one are skipped
	KeyMarker                 string // ListVersions
	VersionIDMarker           string // ListVersions: continue inside KeyMarker after this version
	Max                       int    // entries and prefixes together
}

// ListPage is one page of a listing.
type ListPage struct {
	Objects  []Object // ListVersions: versions and markers, newest first within a key
	Prefixes []string // common ones, up to the delimiter and with it, in byte order
	// Truncated says that more follows; NextKey and NextVersionID continue it
	// (NextKey is the last key or prefix returned).
	Truncated              bool
	NextKey, NextVersionID string // see Truncated
}

// Upload describes a multipart upload in progress.
type Upload struct {
	Bucket, Key, ID                 string     // what it is an upload of, and its name
	Started                         time.Time  // by the store's clock
	Encryption                      Encryption // that the object will have
	ChecksumAlgorithm, ChecksumType string     // as in PutRequest
}

// PartRequest describes a part to be written.
type PartRequest struct {
	Bucket, Key, UploadID string                   // the upload that it is for
	Number                int                      // 1..10000
	Encryption            Encryption               // the customer key, for SSE-C uploads
	Finish                func() (Checksum, error) // as in PutRequest
}

// Part describes an uploaded part.
type Part struct {
	Number       int        // 1..10000
	Encryption   Encryption // as done
	ETag         string     // without quotes
	Size         int64      // bytes
	LastModified time.Time  // by the store's clock
	Checksum     Checksum   // of the part; zero: none was kept
}

// CompleteRequest finishes a multipart upload.
type CompleteRequest struct {
	Bucket, Key, UploadID string     // the upload that is finished
	If                    Condition  // the condition of the object; zero: none
	Parts                 []Part     // number, ETag and, if the client sent one, checksum
	Encryption            Encryption // the customer key, for SSE-C uploads
	Checksum              Checksum   // of the whole object, if the client sent one
	Size                  int64      // MpuObjectSize the client claimed; -1 if it did not
}
