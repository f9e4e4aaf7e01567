package boltstore

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/minio/sio"

	"github.com/statelatch/statelatch/s3/s3model"
)

var (
	customerKey = bytes.Repeat([]byte{7}, 32)
	otherKey    = bytes.Repeat([]byte{8}, 32)
)

var bodySizes = []int{0, 1, 100, packageSize - 1, packageSize, packageSize + 1, 2 * packageSize, 5*packageSize + 77}

func TestStore_PutGet_SizesAndEncryptions(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Unversioned)
	for name, e := range map[string]s3model.Encryption{
		"plain":  {},
		"SSE-S3": {SSES3: true},
		"SSE-C":  {CustomerKey: customerKey},
	} {
		for _, size := range bodySizes {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				t.Parallel()
				content := pattern(size, uint64(size))
				key := fmt.Sprintf("%s/%d", name, size)
				// One byte at a time at first, so that no read fills a buffer.
				body := io.MultiReader(iotest.OneByteReader(bytes.NewReader(content[:size/2])), bytes.NewReader(content[size/2:]))
				o, err := s.Put(t.Context(), s3model.PutRequest{Bucket: "b", Key: key, Encryption: e}, body)
				if err != nil {
					t.Fatalf("Put: %v", err)
				}
				if isMD5 := o.ETag == md5Hex(content); isMD5 == (e.CustomerKey != nil) || len(o.ETag) != 32 {
					t.Errorf("ETag: got %s, MD5 is %s", o.ETag, md5Hex(content))
				}
				req := s3model.ReadRequest{Bucket: "b", Key: key, Encryption: s3model.Encryption{CustomerKey: e.CustomerKey}}
				got, r, err := s.Get(t.Context(), req)
				if err != nil {
					t.Fatalf("Get: %v", err)
				}
				defer func() { _ = r.Close() }()
				if got.Size != int64(size) || got.ETag != o.ETag || got.Encryption.SSES3 != e.SSES3 || got.Encryption.CustomerKey != nil {
					t.Errorf("Get: got %+v", got)
				}
				if e.CustomerKey != nil {
					sum := md5.Sum(customerKey)
					if want := base64.StdEncoding.EncodeToString(sum[:]); got.Encryption.CustomerMD5 != want || o.Encryption.CustomerMD5 != want {
						t.Errorf("CustomerMD5: got %q and %q, want %q", got.Encryption.CustomerMD5, o.Encryption.CustomerMD5, want)
					}
				}
				if err := iotest.TestReader(r, content); err != nil {
					t.Errorf("reader: %v", err)
				}
				rnd := rand.New(rand.NewPCG(uint64(size), 2))
				for range 20 {
					if size == 0 {
						break
					}
					from := rnd.IntN(size)
					n := 1 + rnd.IntN(size-from)
					if _, err := r.Seek(int64(from), io.SeekStart); err != nil {
						t.Fatalf("Seek: %v", err)
					}
					part := make([]byte, n)
					if _, err := io.ReadFull(r, part); err != nil || !bytes.Equal(part, content[from:from+n]) {
						t.Fatalf("range %d+%d: wrong bytes or %v", from, n, err)
					}
				}
			})
		}
	}
}

func TestStore_Get_SeekBeyondAndBefore(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Unversioned)
	put(t, s, "k", "0123456789")
	_, r, err := s.Get(t.Context(), s3model.ReadRequest{Bucket: "b", Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Seek(-1, io.SeekStart); err == nil {
		t.Error("Seek to -1: got nil, want an error")
	}
	if n, err := r.Seek(-3, io.SeekEnd); n != 7 || err != nil {
		t.Errorf("Seek: got %d, %v, want 7", n, err)
	}
	if rest, err := io.ReadAll(r); string(rest) != "789" || err != nil {
		t.Errorf("got %q, %v, want 789", rest, err)
	}
	if _, err := r.Seek(100, io.SeekStart); err != nil {
		t.Error(err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("Read beyond the end: got %d, %v, want EOF", n, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read after Close: got %v, want os.ErrClosed", err)
	}
}

// Nothing of an encrypted body, of its MD5 with SSE-C, or of a key may be in a file.
func TestStore_Encryption_NothingInTheClear(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Unversioned)
	err := s.UpdateSettings(t.Context(), "b", func(x *s3model.Settings) { x.EncryptByDefault = true })
	if err != nil {
		t.Fatal(err)
	}
	const secret = "correct horse battery staple"
	for i, n := range []int{1, 10000} {
		content := strings.Repeat(secret, n)
		o := put(t, s, fmt.Sprintf("default%d", i), content)
		if !o.Encryption.SSES3 {
			t.Errorf("default encryption was not applied: %+v", o.Encryption)
		}
		_, err := s.Put(t.Context(), s3model.PutRequest{
			Bucket: "b", Key: fmt.Sprintf("customer%d", i), Encryption: s3model.Encryption{CustomerKey: customerKey},
		}, strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
	}
	id, o, err := s.CreateUpload(t.Context(), s3model.PutRequest{Bucket: "b", Key: "mp"})
	if err != nil || !o.Encryption.SSES3 {
		t.Fatalf("CreateUpload: %+v, %v", o, err)
	}
	if _, err := s.PutPart(t.Context(), s3model.PartRequest{Bucket: "b", Key: "mp", UploadID: id, Number: 1}, strings.NewReader(strings.Repeat(secret, 5000))); err != nil {
		t.Fatal(err)
	}
	forbidden := map[string][]byte{
		"plaintext":           []byte(secret),
		"customer key":        customerKey,
		"customer key in hex": []byte(fmt.Sprintf("%x", customerKey)),
		"customer key b64":    []byte(base64.StdEncoding.EncodeToString(customerKey)),
		"master key":          s.masterKey,
	}
	err = filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == keyFile {
			return err
		}
		data, err := os.ReadFile(path)
		for what, needle := range forbidden {
			if bytes.Contains(data, needle) {
				t.Errorf("%s is in %s", what, path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestStore_CustomerKey_Checked(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Unversioned)
	ctx := t.Context()
	put(t, s, "plain", "x")
	if _, err := s.Put(ctx, s3model.PutRequest{Bucket: "b", Key: "sealed", Encryption: s3model.Encryption{CustomerKey: customerKey}}, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, key string
		customer  []byte
		want      string
	}{
		{"right key", "sealed", customerKey, "OK"},
		{"no key", "sealed", nil, "InvalidRequest"},
		{"another key", "sealed", otherKey, "AccessDenied"},
		{"short key", "sealed", []byte("x"), "InvalidArgument"},
		{"key for a plain object", "plain", customerKey, "InvalidRequest"},
	} {
		req := s3model.ReadRequest{Bucket: "b", Key: tt.key, Encryption: s3model.Encryption{CustomerKey: tt.customer}}
		if _, err := s.Head(ctx, req); code(err) != tt.want {
			t.Errorf("%s: Head: got %v, want %s", tt.name, err, tt.want)
		}
		_, r, err := s.Get(ctx, req)
		if code(err) != tt.want {
			t.Errorf("%s: Get: got %v, want %s", tt.name, err, tt.want)
		}
		if err == nil {
			_ = r.Close()
		} else if r != nil {
			t.Errorf("%s: Get returned a reader with an error", tt.name)
		}
	}
	_, err := s.Put(ctx, s3model.PutRequest{Bucket: "b", Key: "k", Encryption: s3model.Encryption{CustomerKey: customerKey, SSES3: true}}, strings.NewReader("x"))
	if code(err) != "InvalidRequest" {
		t.Errorf("both encryptions: got %v, want InvalidRequest", err)
	}
	_, err = s.Put(ctx, s3model.PutRequest{Bucket: "b", Key: "k", Encryption: s3model.Encryption{CustomerKey: []byte("short")}}, strings.NewReader("x"))
	if code(err) != "InvalidArgument" || strings.Contains(err.Error(), "short") {
		t.Errorf("bad key: got %v, want InvalidArgument without the key", err)
	}
}

func TestStore_Put_BodyFails_NothingChanges(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Unversioned)
	before := put(t, s, "k", "before")
	broke := errors.New("broke")
	for name, fail := range map[string]struct {
		body   io.Reader
		finish func() (s3model.Checksum, error)
		want   error
	}{
		"short small body": {body: io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF)), want: io.ErrUnexpectedEOF},
		"short large body": {body: io.MultiReader(bytes.NewReader(pattern(200000, 1)), iotest.ErrReader(io.ErrUnexpectedEOF)), want: io.ErrUnexpectedEOF},
		"wrapped EOF":      {body: io.MultiReader(strings.NewReader("half"), iotest.ErrReader(fmt.Errorf("x: %w", io.EOF))), want: io.EOF},
		"error with data":  {body: iotest.DataErrReader(io.MultiReader(bytes.NewReader(pattern(maxInline+1, 1)), iotest.ErrReader(broke))), want: broke},
		"checksum small":   {body: strings.NewReader("x"), finish: func() (s3model.Checksum, error) { return s3model.Checksum{}, broke }, want: broke},
		"checksum large":   {body: bytes.NewReader(pattern(200000, 1)), finish: func() (s3model.Checksum, error) { return s3model.Checksum{}, broke }, want: broke},
	} {
		_, err := s.Put(t.Context(), s3model.PutRequest{Bucket: "b", Key: "k", Finish: fail.finish}, fail.body)
		if !errors.Is(err, fail.want) {
			t.Errorf("%s: got %v, want %v as it is", name, err, fail.want)
		}
		var asS3 *s3model.Error
		if errors.As(err, &asS3) {
			t.Errorf("%s: the reader's error was dressed as %v", name, asS3)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	body := io.MultiReader(bytes.NewReader(pattern(100000, 1)), readerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil }))
	if _, err := s.Put(ctx, s3model.PutRequest{Bucket: "b", Key: "k"}, body); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v, want context.Canceled", err)
	}
	if o, _ := s.Head(t.Context(), s3model.ReadRequest{Bucket: "b", Key: "k"}); o.ETag != before.ETag {
		t.Errorf("the object changed: %+v", o)
	}
	if n := bodyFileCount(t, s); n != 0 {
		t.Errorf("%d body files were left behind", n)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A reader keeps the version it was opened on, over files and parts, while that is
// overwritten, deleted, and the space is used again.
func TestStore_Get_ReaderOutlivesVersion(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Unversioned)
	for _, size := range []int{10, 300000} {
		content := pattern(size, 3)
		put(t, s, "k", string(content))
		_, r, err := s.Get(t.Context(), s3model.ReadRequest{Bucket: "b", Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, size/2)
		if _, err := io.ReadFull(r, first); err != nil {
			t.Fatal(err)
		}
		put(t, s, "k", string(pattern(size, 4)))
		remove(t, s, "k", "")
		put(t, s, "k", string(pattern(size, 5)))
		if _, err := r.Seek(0, io.SeekStart); err != nil { // a file is opened anew by a seek
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
			t.Errorf("size %d: wrong bytes, or %v", size, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := bodyFileCount(t, s); n != 1 {
		t.Errorf("got %d body files after the reader was closed, want 1", n)
	}
	if len(s.files.pins) != 0 {
		t.Errorf("pins are left: %v", s.files.pins)
	}
}

func TestStore_Overwrite_ReleasesBodies(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Unversioned)
	put(t, s, "k", "small")
	put(t, s, "k", "small again")
	if n := smallBodyCount(t, s); n != 1 {
		t.Errorf("small bodies: got %d, want 1", n)
	}
	put(t, s, "k", string(pattern(100000, 1)))
	put(t, s, "k", string(pattern(100000, 2)))
	if n, m := smallBodyCount(t, s), bodyFileCount(t, s); n != 0 || m != 1 {
		t.Errorf("got %d small bodies and %d files, want 0 and 1", n, m)
	}
	remove(t, s, "k", "")
	if n := bodyFileCount(t, s); n != 0 {
		t.Errorf("body files after the delete: got %d, want 0", n)
	}
}

func TestStore_Copy(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Enabled)
	ctx := t.Context()
	content := pattern(200000, 9)
	_, err := s.Put(ctx, s3model.PutRequest{
		Bucket: "b", Key: "src", Metadata: map[string]string{"x-amz-meta-a": "1"}, Tags: map[string]string{"t": "1"},
		Encryption: s3model.Encryption{CustomerKey: customerKey},
		Finish: func() (s3model.Checksum, error) {
			return s3model.Checksum{Algorithm: "CRC32", Value: "AAAAAA==", Type: fullObject}, nil
		},
	}, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	src := s3model.ReadRequest{Bucket: "b", Key: "src", Encryption: s3model.Encryption{CustomerKey: customerKey}}
	o, err := s.Copy(ctx, src, s3model.PutRequest{Bucket: "b", Key: "dst", Encryption: s3model.Encryption{SSES3: true}}, false, false)
	if err != nil {
		t.Fatalf("Copy: %v", err)
	}
	if !o.Encryption.SSES3 || o.ETag != md5Hex(content) || o.Metadata["x-amz-meta-a"] != "1" || o.TagCount != 1 || o.Checksum.Value != "AAAAAA==" {
		t.Errorf("copy: got %+v", o)
	}
	if got := get(t, s, "dst", ""); got != string(content) {
		t.Errorf("copy holds %d wrong bytes", len(got))
	}
	o, err = s.Copy(ctx, s3model.ReadRequest{Bucket: "b", Key: "dst", SourceETag: o.ETag},
		s3model.PutRequest{Bucket: "b", Key: "dst", ChecksumAlgorithm: "SHA256", Metadata: map[string]string{"x-amz-meta-b": "2"}}, true, true)
	if err != nil || o.Metadata["x-amz-meta-a"] != "" || o.Metadata["x-amz-meta-b"] != "2" || o.TagCount != 0 || o.Encryption.SSES3 {
		t.Errorf("copy onto itself with new metadata: got %+v, %v", o, err)
	}
	if o.Checksum.Algorithm != "SHA256" || o.Checksum.Type != fullObject || len(o.Checksum.Value) != 44 {
		t.Errorf("checksum of the copy: got %+v", o.Checksum)
	}
	for name, tt := range map[string]struct {
		src  s3model.ReadRequest
		dst  s3model.PutRequest
		want string
	}{
		"no key":       {s3model.ReadRequest{Bucket: "b", Key: "src"}, s3model.PutRequest{Bucket: "b", Key: "x"}, "InvalidRequest"},
		"no source":    {s3model.ReadRequest{Bucket: "b", Key: "none"}, s3model.PutRequest{Bucket: "b", Key: "x"}, "NoSuchKey"},
		"source ETag":  {s3model.ReadRequest{Bucket: "b", Key: "dst", SourceETag: "other"}, s3model.PutRequest{Bucket: "b", Key: "x"}, "PreconditionFailed"},
		"dst exists":   {s3model.ReadRequest{Bucket: "b", Key: "dst"}, s3model.PutRequest{Bucket: "b", Key: "src", If: s3model.Condition{IfAbsent: true}}, "PreconditionFailed"},
		"no algorithm": {s3model.ReadRequest{Bucket: "b", Key: "dst"}, s3model.PutRequest{Bucket: "b", Key: "x", ChecksumAlgorithm: "MD2"}, "InvalidRequest"},
	} {
		if _, err := s.Copy(ctx, tt.src, tt.dst, false, false); code(err) != tt.want {
			t.Errorf("%s: got %v, want %s", name, err, tt.want)
		}
	}
	if _, err := s.Head(ctx, s3model.ReadRequest{Bucket: "b", Key: "x"}); code(err) != "NoSuchKey" {
		t.Errorf("a refused copy left an object: %v", err)
	}
}

func TestStore_Tags(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Enabled)
	old := put(t, s, "k", "1")
	cur := put(t, s, "k", "2")
	for _, version := range []string{"", old.VersionID} {
		o, err := s.SetTags(t.Context(), s3model.ReadRequest{Bucket: "b", Key: "k", VersionID: version}, map[string]string{"v": version})
		if err != nil || o.TagCount != 1 {
			t.Fatalf("SetTags: %+v, %v", o, err)
		}
	}
	tags, o, err := s.Tags(t.Context(), s3model.ReadRequest{Bucket: "b", Key: "k"})
	if err != nil || tags["v"] != "" || len(tags) != 1 || o.VersionID != cur.VersionID || !o.LastModified.Equal(cur.LastModified) {
		t.Errorf("Tags: got %v, %+v, %v", tags, o, err)
	}
	if tags, _, err := s.Tags(t.Context(), s3model.ReadRequest{Bucket: "b", Key: "k", VersionID: old.VersionID}); err != nil || tags["v"] != old.VersionID {
		t.Errorf("Tags of the old version: got %v, %v", tags, err)
	}
	if got := get(t, s, "k", "") + get(t, s, "k", old.VersionID); got != "21" {
		t.Errorf("contents after tagging: got %s, want 21", got)
	}
	if _, err := s.SetTags(t.Context(), s3model.ReadRequest{Bucket: "b", Key: "none"}, nil); code(err) != "NoSuchKey" {
		t.Errorf("SetTags of nothing: got %v", err)
	}
}

// A small body is encrypted and decrypted without the library, into what the library makes and reads.
func TestSealPackage_IsWhatTheLibraryMakes(t *testing.T) {
	t.Parallel()
	key := pattern(keySize, 1)
	for _, size := range []int{1, 4096, packageSize - 1, packageSize} {
		plain := pattern(size, 2)
		sealed, err := sealPackage(nil, plain, key)
		if err != nil || int64(len(sealed)) != sealedSize(int64(size)) {
			t.Fatalf("sealPackage of %d bytes: got %d, %v", size, len(sealed), err)
		}
		if again, _ := sealPackage(nil, plain, key); bytes.Equal(again, sealed) {
			t.Error("the same body is sealed alike twice")
		}
		if got, err := io.ReadAll(mustDecrypt(bytes.NewReader(sealed), key, 0)); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("the library reads %d bytes of %d: %v", len(got), size, err)
		}
		var theirs bytes.Buffer
		if _, err := sio.Encrypt(&theirs, bytes.NewReader(plain), cipherConfig(key, 0)); err != nil {
			t.Fatal(err)
		}
		if got, err := openPackage(theirs.Bytes(), key); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("openPackage: got %d bytes of %d: %v", len(got), size, err)
		}
		for at := range sealed {
			if at > 40 && at < len(sealed)-40 && at%997 != 0 {
				continue
			}
			sealed[at] ^= 1
			if _, err := openPackage(bytes.Clone(sealed), key); err == nil {
				t.Errorf("byte %d of %d was flipped unnoticed", at, len(sealed))
			}
			sealed[at] ^= 1
		}
		if size == packageSize {
			theirs.Reset()
			if _, err := sio.Encrypt(&theirs, bytes.NewReader(append(plain, 'x')), cipherConfig(key, 0)); err != nil {
				t.Fatal(err)
			}
			if _, err := openPackage(theirs.Bytes()[:sealedPackage], key); err == nil {
				t.Error("the first package of two was taken for a body")
			}
		}
		for _, n := range []int{0, 1, packageHeader, packageHeader + packageTag, len(sealed) - 1} {
			if _, err := openPackage(bytes.Clone(sealed[:min(n, len(sealed)-1)]), key); err == nil {
				t.Errorf("%d of %d bytes were taken", n, len(sealed))
			}
		}
	}
}
