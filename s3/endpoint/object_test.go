package endpoint

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestPutObject_SDKRoundTrip(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB, ...option) *fixture{"http": newFixture, "https with trailers": newTLSFixture} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t)
			for _, algorithm := range []types.ChecksumAlgorithm{"", "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"} {
				for _, size := range []int{0, 1, 100, 70 << 10, 3 << 20} {
					key := fmt.Sprintf("dir/%s ü+=&?#%%/%d", algorithm, size)
					body := bytes.Repeat([]byte("0123456789abcdef!"), size/17+1)[:size]
					put, err := f.PutObject(t.Context(), &s3.PutObjectInput{
						Bucket: aws.String(testBucket), Key: &key, Body: bytes.NewReader(body), ChecksumAlgorithm: algorithm,
						ContentType: aws.String("application/json"), Metadata: map[string]string{"owner": "me", "a-b": "c"},
					})
					if err != nil {
						t.Fatalf("%s %d: put: %v", algorithm, size, err)
					}
					got, err := f.GetObject(t.Context(), &s3.GetObjectInput{
						Bucket: aws.String(testBucket), Key: &key, ChecksumMode: types.ChecksumModeEnabled,
					})
					if err != nil {
						t.Fatalf("%s %d: get: %v", algorithm, size, err)
					}
					if data := readAll(t, got.Body); data != string(body) {
						t.Errorf("%s %d: got %d bytes, want the %d that were put", algorithm, size, len(data), size)
					}
					if want := quoted(fmt.Sprintf("%x", md5.Sum(body))); aws.ToString(got.ETag) != want || aws.ToString(put.ETag) != want {
						t.Errorf("%s %d: got ETags %s and %s, want %s", algorithm, size, *put.ETag, *got.ETag, want)
					}
					if aws.ToString(got.ContentType) != "application/json" || got.Metadata["owner"] != "me" || got.Metadata["a-b"] != "c" || got.ContentEncoding != nil {
						t.Errorf("%s %d: got type %q, encoding %v, metadata %v", algorithm, size, *got.ContentType, got.ContentEncoding, got.Metadata)
					}
					sums := map[types.ChecksumAlgorithm]*string{
						"": got.ChecksumCRC32, "CRC32": got.ChecksumCRC32, "CRC32C": got.ChecksumCRC32C,
						"CRC64NVME": got.ChecksumCRC64NVME, "SHA1": got.ChecksumSHA1, "SHA256": got.ChecksumSHA256,
					}
					if sums[algorithm] == nil || got.ChecksumType != types.ChecksumTypeFullObject {
						t.Errorf("%s %d: got no checksum of the whole object", algorithm, size)
					}
				}
			}
		})
	}
}

func TestGetObject_Headers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, "k", "hello")
	a := f.send(t, request{method: "GET", target: "/" + testBucket + "/k?response-content-type=text%2Fcsv&response-cache-control=no-store&response-content-disposition=attachment&response-expires=x&response-content-language=de&response-content-encoding=y&x-id=GetObject"})
	a.want(t, 200, "")
	for name, want := range map[string]string{
		"Server": "Statelatch", "Accept-Ranges": "bytes", "Etag": `"5d41402abc4b2a76b9719d911017c592"`,
		"Content-Type": "text/csv", "Cache-Control": "no-store", "Content-Disposition": "attachment",
		"Expires": "x", "Content-Language": "de", "Content-Encoding": "y", "Content-Length": "5",
		"X-Amz-Version-Id": "", "X-Amz-Checksum-Crc32": "",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("got %s %q, want %q", name, got, want)
		}
	}
	if len(a.header.Get("X-Amz-Request-Id")) != 16 {
		t.Errorf("got request ID %q, want 16 digits", a.header.Get("X-Amz-Request-Id"))
	}
	for _, name := range []string{"Date", "Last-Modified"} {
		if _, err := http.ParseTime(a.header.Get(name)); err != nil {
			t.Errorf("got %s %q, want an HTTP date", name, a.header.Get(name))
		}
	}
}

func TestGetObject_Range(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, "ten", "0123456789")
	f.put(t, "empty", "")
	tests := []struct {
		key, header, body, contentRange, code string
		status                                int
	}{
		{"ten", "bytes=0-3", "0123", "bytes 0-3/10", "", 206},
		{"ten", "bytes=3-3", "3", "bytes 3-3/10", "", 206},
		{"ten", "bytes=8-", "89", "bytes 8-9/10", "", 206},
		{"ten", "bytes=8-99999999999999999999", "89", "bytes 8-9/10", "", 206},
		{"ten", "bytes=-3", "789", "bytes 7-9/10", "", 206},
		{"ten", "bytes=-30", "0123456789", "bytes 0-9/10", "", 206},
		{"ten", "bytes=10-", "", "", "InvalidRange", 416},
		{"ten", "bytes=-0", "", "", "InvalidRange", 416},
		{"ten", "bytes=5-4", "0123456789", "", "", 200},
		{"ten", "bytes=0-1,3-4", "0123456789", "", "", 200},
		{"ten", "bytes=a-b", "0123456789", "", "", 200},
		{"ten", "bytes=+1-2", "0123456789", "", "", 200},
		{"ten", "lines=1-2", "0123456789", "", "", 200},
		{"empty", "", "", "", "", 200},
		{"empty", "bytes=0-0", "", "", "InvalidRange", 416},
		{"empty", "bytes=-1", "", "", "InvalidRange", 416},
	}
	for _, tt := range tests {
		t.Run(tt.key+" "+tt.header, func(t *testing.T) {
			t.Parallel()
			header := map[string]string{"X-Amz-Checksum-Mode": "ENABLED"}
			if tt.header != "" {
				header["Range"] = tt.header
			}
			a := f.send(t, request{method: "GET", target: "/" + testBucket + "/" + tt.key, header: header})
			a.want(t, tt.status, tt.code)
			if tt.code == "" && a.body != tt.body {
				t.Errorf("got body %q, want %q", a.body, tt.body)
			}
			if got := a.header.Get("Content-Range"); got != tt.contentRange {
				t.Errorf("got Content-Range %q, want %q", got, tt.contentRange)
			}
			if whole := len(tt.body) == 10 || (tt.key == "empty" && tt.code == ""); (a.header.Get("X-Amz-Checksum-Crc32") != "") != whole {
				t.Errorf("got checksum %q, want one only for the whole object", a.header.Get("X-Amz-Checksum-Crc32"))
			}
			head := f.send(t, request{method: "HEAD", target: "/" + testBucket + "/" + tt.key, header: header})
			if head.status != tt.status || head.body != "" || head.header.Get("Content-Range") != tt.contentRange {
				t.Errorf("got HEAD %d with %q, want the same as GET", head.status, head.body)
			}
			if tt.code == "" && head.header.Get("Content-Length") != fmt.Sprint(len(tt.body)) {
				t.Errorf("got HEAD Content-Length %q, want %d", head.header.Get("Content-Length"), len(tt.body))
			}
		})
	}
}

func TestGetObject_IfRange(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	etag := aws.ToString(f.put(t, "k", "0123456789").ETag)
	modified := f.send(t, request{method: "HEAD", target: "/" + testBucket + "/k"}).header.Get("Last-Modified")
	for validator, want := range map[string]int{
		etag: 206, modified: 206, `"other"`: 200, "W/" + etag: 200, "Fri, 24 May 2013 00:00:00 GMT": 200,
	} {
		a := f.send(t, request{method: "GET", target: "/" + testBucket + "/k", header: map[string]string{"Range": "bytes=1-2", "If-Range": validator}})
		if a.status != want {
			t.Errorf("%s: got status %d, want %d", validator, a.status, want)
		}
	}
}

func TestGetObject_Conditions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	etag := aws.ToString(f.put(t, "k", "hello").ETag)
	head, err := f.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(testBucket), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	at := func(d time.Duration) string { return head.LastModified.Add(d).UTC().Format(http.TimeFormat) }
	tests := []struct {
		name   string
		header map[string]string
		status int
	}{
		{"match", map[string]string{"If-Match": etag}, 200},
		{"match unquoted", map[string]string{"If-Match": strings.Trim(etag, `"`)}, 200},
		{"match any", map[string]string{"If-Match": "*"}, 200},
		{"match in list", map[string]string{"If-Match": `"x", ` + etag}, 200},
		{"match other", map[string]string{"If-Match": `"x"`}, 412},
		{"none match", map[string]string{"If-None-Match": etag}, 304},
		{"none match any", map[string]string{"If-None-Match": "*"}, 304},
		{"none match other", map[string]string{"If-None-Match": `"x"`}, 200},
		{"modified", map[string]string{"If-Modified-Since": at(-time.Hour)}, 200},
		{"not modified", map[string]string{"If-Modified-Since": at(0)}, 304},
		{"unmodified", map[string]string{"If-Unmodified-Since": at(0)}, 200},
		{"not unmodified", map[string]string{"If-Unmodified-Since": at(-time.Hour)}, 412},
		{"match wins over date", map[string]string{"If-Match": etag, "If-Unmodified-Since": at(-time.Hour)}, 200},
		{"none match wins over date", map[string]string{"If-None-Match": etag, "If-Modified-Since": at(-time.Hour)}, 304},
		{"broken date", map[string]string{"If-Modified-Since": "yesterday"}, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, method := range []string{"GET", "HEAD"} {
				a := f.send(t, request{method: method, target: "/" + testBucket + "/k", header: tt.header})
				if a.status != tt.status {
					t.Errorf("%s: got status %d, want %d", method, a.status, tt.status)
				}
				if tt.status == 304 && (a.body != "" || a.header.Get("Etag") != etag) {
					t.Errorf("%s: got body %q and ETag %q, want none and %s", method, a.body, a.header.Get("Etag"), etag)
				}
				if tt.status == 412 && method == "GET" && (a.err.Code != "PreconditionFailed" || a.err.Condition == "") {
					t.Errorf("got %+v, want PreconditionFailed with its condition", a.err)
				}
			}
		})
	}
}

func TestPutObject_Conditional(t *testing.T) {
	t.Parallel()
	for name, versioned := range map[string]bool{"unversioned": false, "versioned": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			if versioned {
				f.enableVersioning(t)
			}
			put := func(match, none *string) (string, error) {
				out, err := f.PutObject(t.Context(), &s3.PutObjectInput{
					Bucket: aws.String(testBucket), Key: aws.String("lock"),
					Body: strings.NewReader("x"), IfMatch: match, IfNoneMatch: none,
				})
				if err != nil {
					return "", err
				}
				return aws.ToString(out.ETag), nil
			}
			_, err := put(aws.String(`"abc"`), nil)
			wantCode(t, err, "NoSuchKey", 404)
			etag, err := put(nil, aws.String("*"))
			wantCode(t, err, "", 0)
			_, err = put(nil, aws.String("*"))
			wantCode(t, err, "PreconditionFailed", 412)
			_, err = put(aws.String(`"abc"`), nil)
			wantCode(t, err, "PreconditionFailed", 412)
			_, err = put(&etag, nil)
			wantCode(t, err, "", 0)
			_, err = put(nil, aws.String(`"abc"`))
			wantCode(t, err, "NotImplemented", 501)
			_, err = put(&etag, aws.String("*"))
			wantCode(t, err, "NotImplemented", 501)

			del := func(match string) error {
				_, err := f.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(testBucket), Key: aws.String("lock"), IfMatch: &match})
				return err
			}
			wantCode(t, del(`"abc"`), "PreconditionFailed", 412)
			wantCode(t, del(etag), "", 0)
			wantCode(t, del(etag), "NoSuchKey", 404)
			// Q3: a delete marker counts as absent.
			_, err = put(&etag, nil)
			wantCode(t, err, "NoSuchKey", 404)
			_, err = put(nil, aws.String("*"))
			wantCode(t, err, "", 0)
			wantCode(t, del("*"), "", 0)
		})
	}
}

func TestGetObject_DeleteMarker(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.enableVersioning(t)
	put := f.put(t, "k", "v1")
	del, err := f.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(testBucket), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	if !aws.ToBool(del.DeleteMarker) || aws.ToString(del.VersionId) == "" {
		t.Errorf("got %+v, want a delete marker with a version", del)
	}
	a := f.send(t, request{method: "GET", target: "/" + testBucket + "/k"})
	a.want(t, 404, "NoSuchKey")
	if a.header.Get("X-Amz-Delete-Marker") != "true" || a.header.Get("X-Amz-Version-Id") != *del.VersionId || a.err.Key != "k" {
		t.Errorf("got %v and %+v, want the marker described", a.header, a.err)
	}
	a = f.send(t, request{method: "HEAD", target: "/" + testBucket + "/k?versionId=" + *del.VersionId})
	if a.status != 405 || a.header.Get("X-Amz-Delete-Marker") != "true" || a.header.Get("Allow") != "DELETE" || a.body != "" {
		t.Errorf("got %d %v, want 405 with the marker described and Allow: DELETE", a.status, a.header)
	}
	a = f.send(t, request{method: "GET", target: "/" + testBucket + "/k?versionId=" + *put.VersionId})
	a.want(t, 200, "")
	if a.body != "v1" || a.header.Get("X-Amz-Version-Id") != *put.VersionId {
		t.Errorf("got %q of version %s, want v1 of %s", a.body, a.header.Get("X-Amz-Version-Id"), *put.VersionId)
	}
	f.send(t, request{method: "GET", target: "/" + testBucket + "/k?versionId="}).want(t, 400, "InvalidArgument")
	f.send(t, request{method: "DELETE", target: "/" + testBucket + "/k?versionId="}).want(t, 400, "InvalidArgument")
}

func TestPutObject_ChecksumsVerified(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const path = "/" + testBucket + "/sum"
	sum := func(b string) string { s := md5.Sum([]byte(b)); return base64.StdEncoding.EncodeToString(s[:]) }
	tests := []struct {
		name   string
		header map[string]string
		status int
		code   string
	}{
		{"md5", map[string]string{"Content-Md5": sum("hello")}, 200, ""},
		{"md5 other", map[string]string{"Content-Md5": sum("other")}, 400, "BadDigest"},
		{"md5 nonsense", map[string]string{"Content-Md5": "abc"}, 400, "InvalidDigest"},
		{"crc32", map[string]string{"x-amz-checksum-crc32": "NhCmhg=="}, 200, ""},
		{"crc32c", map[string]string{"x-amz-checksum-crc32c": "mnG7TA=="}, 200, ""},
		{"sha1", map[string]string{"x-amz-checksum-sha1": "qvTGHdzF6KLavt4PO0gs2a6pQ00="}, 200, ""},
		{"sha256", map[string]string{"x-amz-checksum-sha256": "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="}, 200, ""},
		{"crc32 other", map[string]string{"x-amz-checksum-crc32": "NhCmhw=="}, 400, "BadDigest"},
		{"crc64nvme other", map[string]string{"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}, 400, "BadDigest"},
		{"crc32 nonsense", map[string]string{"x-amz-checksum-crc32": "abc"}, 400, "InvalidRequest"},
		{"crc32 too long", map[string]string{"x-amz-checksum-crc32": "AAAAAAAAAAA="}, 400, "InvalidRequest"},
		{"two", map[string]string{"x-amz-checksum-crc32": "NhCmhg==", "x-amz-checksum-crc32c": "mnG7TA=="}, 400, "InvalidRequest"},
		{"unknown", map[string]string{"x-amz-checksum-xxhash64": "AAAAAAAAAAA="}, 501, "NotImplemented"},
		{"named other", map[string]string{"x-amz-checksum-crc32": "NhCmhg==", "x-amz-sdk-checksum-algorithm": "SHA256"}, 400, "InvalidRequest"},
		{"named only", map[string]string{"x-amz-sdk-checksum-algorithm": "SHA256"}, 400, "InvalidRequest"},
		{"payload hash", map[string]string{"X-Amz-Content-Sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}, 200, ""},
		{"payload hash other", map[string]string{"X-Amz-Content-Sha256": strings.Repeat("0", 64)}, 400, "XAmzContentSHA256Mismatch"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := f.send(t, request{method: "PUT", target: path, header: tt.header, body: "hello"})
			a.want(t, tt.status, tt.code)
			got := f.send(t, request{method: "GET", target: path, header: map[string]string{"X-Amz-Checksum-Mode": "ENABLED"}})
			if tt.code != "" {
				got.want(t, 404, "NoSuchKey")
				return
			}
			got.want(t, 200, "")
			for name, value := range tt.header {
				if strings.HasPrefix(name, "x-amz-checksum-") && (a.header.Get(name) != value || got.header.Get(name) != value) {
					t.Errorf("got %s %q on PUT and %q on GET, want %q", name, a.header.Get(name), got.header.Get(name), value)
				}
			}
			f.send(t, request{method: "DELETE", target: path}).want(t, 204, "")
		})
	}
}

func TestChecksum_CheckValues(t *testing.T) {
	t.Parallel()
	// The check values of the catalogues: the checksums of "123456789".
	for name, want := range map[string]string{
		"CRC32": "cbf43926", "CRC32C": "e3069283", "CRC64NVME": "ae8b14860a799888",
		"SHA1":   "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
		"SHA256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
	} {
		h := checksumByName(name).new()
		_, _ = io.WriteString(h, "123456789")
		if got := fmt.Sprintf("%x", h.Sum(nil)); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestDeleteObjects(t *testing.T) {
	t.Parallel()
	f := newTLSFixture(t)
	f.enableVersioning(t)
	first := f.put(t, "a", "1")
	second := f.put(t, "b <&> ü", "2")
	out, err := f.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: aws.String(testBucket), Delete: &types.Delete{Objects: []types.ObjectIdentifier{
		{Key: aws.String("a"), ETag: second.ETag},
		{Key: aws.String("b <&> ü"), ETag: second.ETag},
		{Key: aws.String("none")},
		{Key: aws.String("absent"), ETag: aws.String("*")},
		{Key: aws.String("a"), VersionId: aws.String("none")},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	failed := map[string]string{}
	for _, e := range out.Errors {
		failed[*e.Key+aws.ToString(e.VersionId)] = *e.Code
	}
	if failed["a"] != "PreconditionFailed" || failed["absent"] != "NoSuchKey" || len(failed) != 2 {
		t.Errorf("got errors %v, want the failed conditions", failed)
	}
	if len(out.Deleted) != 3 || *out.Deleted[0].Key != "b <&> ü" || !aws.ToBool(out.Deleted[0].DeleteMarker) || aws.ToString(out.Deleted[0].DeleteMarkerVersionId) == "" {
		t.Errorf("got %+v, want three deletions, the first with a marker", out.Deleted)
	}
	out, err = f.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: aws.String(testBucket), Delete: &types.Delete{
		Quiet: aws.Bool(true), Objects: []types.ObjectIdentifier{{Key: aws.String("a"), VersionId: first.VersionId}},
	}})
	if err != nil || len(out.Deleted) != 0 || len(out.Errors) != 0 {
		t.Errorf("got %+v, %v, want a quiet success", out, err)
	}
	_, err = f.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(testBucket), Key: aws.String("a")})
	wantCode(t, err, "NotFound", 404)
}

func TestObjectTagging(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, "k", "x")
	in := &s3.GetObjectTaggingInput{Bucket: aws.String(testBucket), Key: aws.String("k")}
	got, err := f.GetObjectTagging(t.Context(), in)
	if err != nil || len(got.TagSet) != 0 {
		t.Fatalf("got %v, %v, want no tags", got, err)
	}
	_, err = f.PutObjectTagging(t.Context(), &s3.PutObjectTaggingInput{Bucket: in.Bucket, Key: in.Key, Tagging: &types.Tagging{
		TagSet: []types.Tag{{Key: aws.String("b"), Value: aws.String("<2> ")}, {Key: aws.String("a"), Value: aws.String("")}},
	}})
	wantCode(t, err, "", 0)
	got, err = f.GetObjectTagging(t.Context(), in)
	if err != nil || len(got.TagSet) != 2 || *got.TagSet[0].Key != "a" || *got.TagSet[1].Value != "<2> " {
		t.Fatalf("got %+v, %v, want the two tags", got, err)
	}
	if _, err := f.DeleteObjectTagging(t.Context(), &s3.DeleteObjectTaggingInput{Bucket: in.Bucket, Key: in.Key}); err != nil {
		t.Fatal(err)
	}
	got, err = f.GetObjectTagging(t.Context(), in)
	if err != nil || len(got.TagSet) != 0 {
		t.Fatalf("got %v, %v, want no tags", got, err)
	}
}

func TestPresigned(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	presign := s3.NewPresignClient(f.Client)
	put, err := presign.PresignPutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(testBucket), Key: aws.String("p q/ü"), ServerSideEncryption: "AES256", Metadata: map[string]string{"m": "1"}, Tagging: aws.String("a=b"),
	})
	if err != nil {
		t.Fatal(err)
	}
	do := func(method, url string, header http.Header, body string) answer {
		r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range header {
			r.Header[name] = values
		}
		return f.do(t, r)
	}
	do("PUT", put.URL, put.SignedHeader, "hello").want(t, 200, "")
	get, err := presign.PresignGetObject(t.Context(), &s3.GetObjectInput{
		Bucket: aws.String(testBucket), Key: aws.String("p q/ü"), ResponseContentType: aws.String("text/z"),
	}, s3.WithPresignExpires(7*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	a := do("GET", get.URL, nil, "")
	a.want(t, 200, "")
	if a.body != "hello" || a.header.Get("Content-Type") != "text/z" || a.header.Get("X-Amz-Server-Side-Encryption") != "AES256" ||
		a.header.Get("X-Amz-Meta-M") != "1" || a.header.Get("X-Amz-Tagging-Count") != "1" {
		t.Errorf("got %q %v, want the object with its type, encryption, metadata and tag", a.body, a.header)
	}
	for _, parameter := range []string{"x-amz-meta-a=b%0D%0Ac", "x-amz-meta-a=%00", "x-amz-meta-a%0D%0Ab=c", "x-amz-meta-%C3%BC=c"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, f.srv.URL+"/"+testBucket+"/odd?X-Amz-Expires=60&"+parameter, nil)
		if err != nil {
			t.Fatal(err)
		}
		url, header, err := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).PresignHTTP(t.Context(),
			aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}, r, "UNSIGNED-PAYLOAD", "s3", "us-east-1", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		do("PUT", url, header, "x").want(t, 400, "InvalidArgument")
	}
	do("GET", get.URL+"&versionId=null", nil, "").want(t, 403, "SignatureDoesNotMatch")
	do("DELETE", get.URL, nil, "").want(t, 403, "SignatureDoesNotMatch")
	if log := f.log.String(); strings.Contains(log, "X-Amz-Signature") || strings.Contains(log, "hello") {
		t.Error("the log shows a signature or a body")
	}
}

func TestVirtualHostStyle(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) { c.Domain = "s3.example.test" })
	f.put(t, "the/key", "x")
	for host, path := range map[string]string{
		testBucket + ".s3.example.test":      "/the/key",
		testBucket + ".S3.Example.Test:9000": "/the/key",
		"s3.example.test":                    "/" + testBucket + "/the/key",
		"s3.example.test.":                   "/" + testBucket + "/the/key",
	} {
		a := f.send(t, request{method: "GET", target: path, header: map[string]string{"Host": host}})
		if a.status != 200 || a.body != "x" {
			t.Errorf("%s%s: got %d %q, want the object", host, path, a.status, a.body)
		}
	}
	a := f.send(t, request{method: "GET", target: "/?list-type=2", header: map[string]string{"Host": testBucket + ".s3.example.test"}})
	if a.status != 200 || !strings.Contains(a.body, "<Key>the/key</Key>") {
		t.Errorf("got %d %q, want a listing of the bucket", a.status, a.body)
	}
	f.send(t, request{method: "GET", target: "/k", header: map[string]string{"Host": "Bad_Name.s3.example.test"}}).want(t, 400, "InvalidBucketName")
}
