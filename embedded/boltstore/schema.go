package boltstore

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"time"

	"github.com/statelatch/statelatch/s3/s3model"
)

// formatVersion is stored in the database. A store refuses a higher one.
// 1 did not seal its records.
const formatVersion = 2

// The bbolt buckets. A NUL separates the fields of a composed key; bucket names
// and keys cannot contain it, so that the order of composed keys is the order of keys.
var (
	metaTable    = []byte("meta")    // metaFormat, metaKeyCheck
	bucketTable  = []byte("buckets") // name -> bucketRecord
	configTable  = []byte("configs") // name NUL subresource -> document
	objectTable  = []byte("objects") // name NUL key -> record of the current version, if that is no delete marker
	historyTable = []byte("history") // name NUL key NUL ^seq -> record of every other version and marker, newest first
	nullTable    = []byte("nulls")   // name NUL key -> seq of the null version, if that is in history
	uploadTable  = []byte("uploads") // name NUL key NUL upload ID -> uploadRecord
	partTable    = []byte("parts")   // upload ID NUL number -> partRecord
	bodyTable    = []byte("bodies")  // number -> small body
	fileTable    = []byte("files")   // file name -> name NUL key, for messages

	metaFormat   = []byte("format")
	metaKeyCheck = []byte("key-check")

	allTables = [][]byte{
		metaTable, bucketTable, configTable, objectTable, historyTable,
		nullTable, uploadTable, partTable, bodyTable, fileTable,
	}
)

// bucketRecord is the stored form of s3model.Bucket.
type bucketRecord struct {
	Location string           `json:"location,omitempty"`
	Created  int64            `json:"created"` // Unix nanoseconds, like every time in a record
	Settings s3model.Settings `json:"settings"`
}

// record is a version of an object, or a delete marker.
type record struct {
	Seq       uint64            `json:"seq"` // grows with every version of the store
	ID        []byte            `json:"id"`  // random; known before the body is written, which is bound to it
	Null      bool              `json:"null,omitempty"`
	Marker    bool              `json:"marker,omitempty"`
	ETag      string            `json:"etag,omitempty"`
	Size      int64             `json:"size,omitempty"`
	Modified  int64             `json:"modified"`
	Retired   int64             `json:"retired,omitempty"` // when a successor was written; 0 while latest
	Metadata  map[string]string `json:"metadata,omitempty"`
	Tags      map[string]string `json:"tags,omitempty"`
	Checksum  *checksumRecord   `json:"checksum,omitempty"`
	Seal      *seal             `json:"seal,omitempty"`
	Multipart bool              `json:"multipart,omitempty"`
	Bodies    []body            `json:"bodies,omitempty"`
}

// checksumRecord is the stored form of s3model.Checksum.
type checksumRecord struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"value"`
	Type      string `json:"type,omitempty"`
}

// seal says whose key bodies are encrypted with.
type seal struct {
	Customer bool   `json:"customer,omitempty"` // SSE-C; else the store's key
	Salt     []byte `json:"salt,omitempty"`     // of Verifier
	Verifier []byte `json:"verifier,omitempty"` // tells the customer's key from others without storing it
}

// body is where the bytes of an object, or of one part of it, are.
type body struct {
	Size   int64  `json:"size"`             // of the plaintext
	Inline uint64 `json:"inline,omitempty"` // number in bodyTable
	File   string `json:"file,omitempty"`   // name of a body file
	Salt   []byte `json:"salt,omitempty"`   // of the encryption key, if encrypted
	Part   int    `json:"part,omitempty"`   // number of the part it was uploaded as, 0 if in one piece
}

// uploadRecord is a multipart upload in progress.
type uploadRecord struct {
	Started           int64             `json:"started"`
	Metadata          map[string]string `json:"metadata,omitempty"`
	Tags              map[string]string `json:"tags,omitempty"`
	Seal              *seal             `json:"seal,omitempty"`
	ChecksumAlgorithm string            `json:"checksumAlgorithm,omitempty"`
	ChecksumType      string            `json:"checksumType,omitempty"`
}

// partRecord is an uploaded part.
type partRecord struct {
	ETag     string          `json:"etag"`
	Modified int64           `json:"modified"`
	Checksum *checksumRecord `json:"checksum,omitempty"`
	Body     body            `json:"body"`
}

func newChecksumRecord(c s3model.Checksum) *checksumRecord {
	if c.Algorithm == "" {
		return nil
	}
	return &checksumRecord{Algorithm: c.Algorithm, Value: c.Value, Type: c.Type}
}

func (c *checksumRecord) model() s3model.Checksum {
	if c == nil {
		return s3model.Checksum{}
	}
	return s3model.Checksum{Algorithm: c.Algorithm, Value: c.Value, Type: c.Type}
}

func (r *bucketRecord) model(name string) s3model.Bucket {
	return s3model.Bucket{Name: name, Location: r.Location, Created: fromNano(r.Created), Settings: r.Settings}
}

// allows refuses what the bucket blocks in writes.
func (r *bucketRecord) allows(e s3model.Encryption) error {
	if len(e.CustomerKey) > 0 && slices.Contains(r.Settings.BlockedEncryption, s3model.BlockSSEC) {
		return s3model.ErrSSECBlocked
	}
	return nil
}

func (t *txn) allows(bucket string, e s3model.Encryption) error {
	b, err := t.bucketOf(bucket)
	if err != nil {
		return err
	}
	return b.allows(e)
}

// versionID is opaque to clients: the sequence number, which finds the record, and the
// random ID, which no other version ever has. "null" for a null version.
func (r *record) versionID() string {
	if r.Null {
		return s3model.NullVersion
	}
	raw := binary.BigEndian.AppendUint64(nil, r.Seq)
	return base64.RawURLEncoding.EncodeToString(append(raw, r.ID...))
}

// parseVersionID takes the sequence number out of a version ID other than "null". Whether
// the record found by it has that ID remains to be compared.
func parseVersionID(s string) (seq uint64, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) != 8+idSize {
		return 0, false
	}
	return binary.BigEndian.Uint64(raw), true
}

// model describes the version to a client. Encryption.CustomerMD5 is left to those who
// were given the key.
func (r *record) model(b *bucketRecord, key string, latest bool) s3model.Object {
	o := s3model.Object{
		Key:          key,
		VersionID:    r.versionID(),
		ETag:         r.ETag,
		Size:         r.Size,
		LastModified: fromNano(r.Modified),
		Metadata:     r.Metadata,
		TagCount:     len(r.Tags),
		Checksum:     r.Checksum.model(),
		DeleteMarker: r.Marker,
		IsLatest:     latest,
	}
	if b.Settings.Versioning == s3model.Unversioned {
		o.VersionID = ""
	}
	if r.Seal != nil {
		o.Encryption.SSES3 = !r.Seal.Customer
	}
	if r.Multipart {
		o.Parts = make([]int64, len(r.Bodies))
		for i, p := range r.Bodies {
			o.Parts[i] = p.Size
		}
	}
	return o
}

func fromNano(n int64) time.Time { return time.Unix(0, n).UTC() }

// join composes a key of a table.
func join(fields ...string) []byte {
	var b []byte
	for i, f := range fields {
		if i > 0 {
			b = append(b, 0)
		}
		b = append(b, f...)
	}
	return b
}

// historyKey sorts the versions of a key newest first.
func historyKey(bucket, key string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(join(bucket, key, ""), ^seq)
}

// splitHistoryKey takes the key and seq out of what follows the bucket's name.
func splitHistoryKey(rest []byte) (key []byte, seq uint64, ok bool) {
	n := len(rest) - 9
	if n < 0 || rest[n] != 0 {
		return nil, 0, false
	}
	return rest[:n], ^binary.BigEndian.Uint64(rest[n+1:]), true
}

func partKey(uploadID string, number int) []byte {
	return binary.BigEndian.AppendUint16(join(uploadID, ""), uint16(number))
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// after is the least key above all that begin with prefix, nil if there is none.
func after(prefix []byte) []byte {
	b := bytes.Clone(prefix)
	for len(b) > 0 {
		if b[len(b)-1]++; b[len(b)-1] != 0 {
			return b
		}
		b = b[:len(b)-1]
	}
	return nil
}
