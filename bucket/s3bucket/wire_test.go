package s3bucket

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/bucket"
)

const (
	testKey  = "team/app/terraform.tfstate"
	testLock = testKey + ".tflock"
	testBody = `{"version":4}`
)

func put(t *testing.T, b *Bucket, key string, cond bucket.Condition) bucket.Object {
	t.Helper()
	obj, err := b.Put(t.Context(), key, strings.NewReader(testBody), bucket.PutOptions{If: cond})
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	return obj
}

// checkHeaders compares the headers named in want; an empty value means absent.
func checkHeaders(t *testing.T, got http.Header, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if g := got.Get(name); g != value {
			t.Errorf("%s: got %q, want %q", name, g, value)
		}
	}
}

// No trailing checksum, no chunked framing, whole hash in both headers: over http and https.
func TestBucket_Put_B24_PlainSignedBody(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte(testBody))
	for _, tc := range []struct {
		name  string
		start func(*testing.T, http.HandlerFunc) *store
	}{{"http", newStore}, {"https", newTLSStore}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := tc.start(t, stored)
			cfg := s.config()
			if s.TLS != nil {
				cfg.CustomCABundle = s.caFile(t)
			}
			obj, err := open(t, cfg).Put(t.Context(), testKey, strings.NewReader(testBody), bucket.PutOptions{
				Metadata: map[string]string{"a-b": "a  (b), c"},
			})
			want := bucket.Object{Key: testKey, ETag: `"e1"`, VersionID: "v1", Date: storedAt}
			if err != nil || !reflect.DeepEqual(obj, want) {
				t.Errorf("object: got %+v, %v, want %+v", obj, err, want)
			}
			r := s.only(t)
			if got, want := r.method+" "+r.path+"?"+r.query, "PUT /bkt/"+testKey+"?x-id=PutObject"; got != want {
				t.Errorf("request line: got %q, want %q", got, want)
			}
			if string(r.body) != testBody || r.length != int64(len(testBody)) || len(r.transfer) != 0 {
				t.Errorf("body: got %q, length %d, transfer encoding %q", r.body, r.length, r.transfer)
			}
			checkHeaders(t, r.header, map[string]string{
				"Content-Type":                 "application/json",
				"X-Amz-Meta-A-B":               "a  (b), c",
				"X-Amz-Content-Sha256":         hex.EncodeToString(sum[:]),
				"X-Amz-Checksum-Sha256":        base64.StdEncoding.EncodeToString(sum[:]),
				"Content-Encoding":             "",
				"X-Amz-Trailer":                "",
				"X-Amz-Decoded-Content-Length": "",
				"X-Amz-Checksum-Crc32":         "",
				"Content-Md5":                  "",
				"If-Match":                     "",
				"If-None-Match":                "",
				"X-Amz-Server-Side-Encryption": "",
				"X-Amz-Acl":                    "",
				"X-Amz-Tagging":                "",
				"X-Amz-Sdk-Checksum-Algorithm": "",
			})
			auth := r.header.Get("Authorization")
			for _, signed := range []string{"content-length", "x-amz-checksum-sha256", "x-amz-content-sha256", "x-amz-meta-a-b"} {
				if !strings.Contains(auth, signed+";") && !strings.Contains(auth, signed+",") {
					t.Errorf("Authorization does not sign %s: %s", signed, auth)
				}
			}
			if !strings.Contains(r.header.Get("User-Agent"), "statelatch") {
				t.Errorf("User-Agent: got %q, want statelatch in it", r.header.Get("User-Agent"))
			}
		})
	}
}

// An Object Lock bucket refuses a PUT without checksum or Content-MD5.
func TestBucket_Put_B23_ChecksumAlways(t *testing.T) {
	t.Parallel()
	sum := md5.Sum([]byte(testBody))
	for _, key := range []string{testKey, testLock} {
		s := newStore(t, stored)
		cfg := s.config()
		cfg.SkipS3Checksum = true
		put(t, open(t, cfg), key, bucket.IfAbsent)
		checkHeaders(t, s.only(t).header, map[string]string{
			"X-Amz-Checksum-Sha256": "",
			"X-Amz-Checksum-Crc32":  "",
			"Content-Md5":           base64.StdEncoding.EncodeToString(sum[:]),
		})
	}
}

func TestBucket_Conditions_OnTheWire(t *testing.T) {
	t.Parallel()
	s := newStore(t, stored)
	b := open(t, s.config())
	put(t, b, testKey, bucket.IfAbsent)
	put(t, b, testKey, bucket.IfMatch(`"a-2"`))
	if _, err := b.Delete(t.Context(), testKey, bucket.DeleteOptions{If: bucket.IfMatch(`"a-2"`)}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Delete(t.Context(), testKey, bucket.DeleteOptions{VersionID: "v 1"}); err != nil {
		t.Fatal(err)
	}
	seen := s.requests()
	if len(seen) != 4 {
		t.Fatalf("requests: got %d, want 4", len(seen))
	}
	checkHeaders(t, seen[0].header, map[string]string{"If-None-Match": "*", "If-Match": ""})
	checkHeaders(t, seen[1].header, map[string]string{"If-None-Match": "", "If-Match": `"a-2"`})
	checkHeaders(t, seen[2].header, map[string]string{"If-None-Match": "", "If-Match": `"a-2"`})
	checkHeaders(t, seen[3].header, map[string]string{"If-None-Match": "", "If-Match": ""})
	if got, want := seen[3].query, "versionId=v%201&x-id=DeleteObject"; got != want {
		t.Errorf("query: got %q, want %q", got, want)
	}
}

const customerKey = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// One set of options for every request on both objects, the state and its lock.
func TestBucket_AllCalls_B21_B22_SameOptions(t *testing.T) {
	t.Parallel()
	const (
		sse      = "X-Amz-Server-Side-Encryption"
		kms      = "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"
		custAlgo = "X-Amz-Server-Side-Encryption-Customer-Algorithm"
		custKey  = "X-Amz-Server-Side-Encryption-Customer-Key"
		custMD5  = "X-Amz-Server-Side-Encryption-Customer-Key-Md5"
	)
	none := map[string]string{sse: "", kms: "", custAlgo: "", custKey: "", custMD5: ""}
	customer := map[string]string{sse: "", kms: "", custAlgo: "AES256", custKey: customerKey, custMD5: "KYvwGXoFFJ42a2u2GDWhwQ=="}
	for _, tc := range []struct {
		name        string
		opts        ObjectOptions
		write, read map[string]string
	}{
		{"off", ObjectOptions{}, none, none},
		{"off with KMS key", ObjectOptions{KMSKeyID: "alias/a"}, none, none},
		{"off with customer key", ObjectOptions{SSECustomerKey: customerKey}, none, none},
		{"AES256", ObjectOptions{Encrypt: true}, map[string]string{sse: "AES256", kms: "", custKey: ""}, none},
		{"KMS", ObjectOptions{Encrypt: true, KMSKeyID: "alias/a"}, map[string]string{sse: "aws:kms", kms: "alias/a", custKey: ""}, none},
		{"customer key", ObjectOptions{Encrypt: true, SSECustomerKey: customerKey}, customer, customer},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.opts.ACL = "bucket-owner-full-control"
			tc.opts.StateTags = map[string]string{"kind": "state", "a b": "c&d"}
			tc.opts.LockTags = map[string]string{"kind": "lock"}
			for key, tags := range map[string]string{testKey: "a+b=c%26d&kind=state", testLock: "kind=lock"} {
				s := newStore(t, stored)
				cfg := s.config()
				cfg.ObjectOptions = tc.opts
				b := open(t, cfg)
				put(t, b, key, bucket.IfAbsent)
				if _, err := b.Head(t.Context(), key, bucket.ReadOptions{}); err != nil {
					t.Fatal(err)
				}
				_, body, err := b.Get(t.Context(), key, bucket.ReadOptions{})
				if err != nil {
					t.Fatal(err)
				}
				_ = body.Close()
				seen := s.requests()
				checkHeaders(t, seen[0].header, tc.write)
				checkHeaders(t, seen[0].header, map[string]string{"X-Amz-Acl": "bucket-owner-full-control", "X-Amz-Tagging": tags})
				for _, r := range seen[1:] {
					checkHeaders(t, r.header, tc.read)
					checkHeaders(t, r.header, map[string]string{"X-Amz-Acl": "", "X-Amz-Tagging": ""})
				}
			}
		})
	}
}

func TestBucket_Get_Object(t *testing.T) {
	t.Parallel()
	s := newStore(t, answer(http.StatusOK, map[string]string{
		"ETag": `"e1"`, "X-Amz-Version-Id": "v1", "Content-Type": "text/x",
		"Last-Modified": "Sat, 21 Nov 2026 08:00:00 GMT", "Date": "Sat, 21 Nov 2026 08:07:03 GMT",
		"X-Amz-Server-Side-Encryption-Customer-Algorithm": "AES256",
		"X-Amz-Meta-A": " 1", "x-amz-meta-CamelCase": "=?UTF-8?Q?=C3=BC?=", "X-Amz-Missing-Meta": "1",
	}, testBody))
	b := open(t, s.config())
	obj, body, err := b.Get(t.Context(), testKey, bucket.ReadOptions{VersionID: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(body)
	if err != nil || string(data) != testBody {
		t.Errorf("body: got %q, %v, want %q", data, err, testBody)
	}
	if err := body.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	want := bucket.Object{
		Key: testKey, ETag: `"e1"`, VersionID: "v1", Size: int64(len(testBody)), ContentType: "text/x",
		LastModified: storedAt.Truncate(3600e9), Date: storedAt, Encryption: "SSE-C",
		Metadata: map[string]string{"a": "1", "camelcase": "=?UTF-8?Q?=C3=BC?="},
	}
	if !reflect.DeepEqual(obj, want) {
		t.Errorf("object: got %+v, want %+v", obj, want)
	}
	head, err := b.Head(t.Context(), testKey, bucket.ReadOptions{VersionID: "v1"})
	if err != nil || !reflect.DeepEqual(head, want) {
		t.Errorf("Head: got %+v, %v, want %+v", head, err, want)
	}
	for _, r := range s.requests() {
		if !strings.Contains(r.query, "versionId=v1") {
			t.Errorf("%s: query %q has no versionId", r.method, r.query)
		}
	}
}

func TestBucket_Put_ReadsBodyFromItsStart(t *testing.T) {
	t.Parallel()
	s := newStore(t, stored)
	body := strings.NewReader(testBody)
	if _, err := body.Seek(5, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, s.config()).Put(t.Context(), testKey, body, bucket.PutOptions{ContentType: "text/plain"}); err != nil {
		t.Fatal(err)
	}
	r := s.only(t)
	if string(r.body) != testBody {
		t.Errorf("body: got %q, want %q", r.body, testBody)
	}
	checkHeaders(t, r.header, map[string]string{"Content-Type": "text/plain"})
}

func TestBucket_Delete_Results(t *testing.T) {
	t.Parallel()
	s := newStore(t, answer(http.StatusNoContent, map[string]string{
		"X-Amz-Version-Id": "m1", "X-Amz-Delete-Marker": "true", "Date": "Sat, 21 Nov 2026 08:07:03 GMT",
	}, ""))
	got, err := open(t, s.config()).Delete(t.Context(), testKey, bucket.DeleteOptions{})
	want := bucket.Deleted{VersionID: "m1", DeleteMarker: true, Date: storedAt}
	if err != nil || got != want {
		t.Errorf("Delete: got %+v, %v, want %+v", got, err, want)
	}
}
