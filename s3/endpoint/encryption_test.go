package endpoint

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// customerKey returns the headers' values for a key.
func customerKey(fill string) (algorithm, key, sum *string) {
	raw := []byte(strings.Repeat(fill, 32))
	digest := md5.Sum(raw)
	return aws.String("AES256"), aws.String(base64.StdEncoding.EncodeToString(raw)), aws.String(base64.StdEncoding.EncodeToString(digest[:]))
}

func TestEncryption_SSEC(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx, bucket, key := t.Context(), aws.String(testBucket), aws.String("secret")
	algorithm, k, sum := customerKey("k")
	put, err := f.PutObject(ctx, &s3.PutObjectInput{
		Bucket: bucket, Key: key, Body: strings.NewReader("state"),
		SSECustomerAlgorithm: algorithm, SSECustomerKey: k, SSECustomerKeyMD5: sum,
	})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(put.SSECustomerKeyMD5) != *sum || aws.ToString(put.SSECustomerAlgorithm) != "AES256" {
		t.Errorf("got %+v, want the customer key reported", put)
	}
	get := func(algorithm, k, sum *string) error {
		out, err := f.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, SSECustomerAlgorithm: algorithm, SSECustomerKey: k, SSECustomerKeyMD5: sum})
		if err == nil {
			if body := readAll(t, out.Body); body != "state" || aws.ToString(out.SSECustomerKeyMD5) != *sum {
				t.Errorf("got %q, want the body and the key reported", body)
			}
		}
		return err
	}
	wantCode(t, get(algorithm, k, sum), "", 0)
	wantCode(t, get(nil, nil, nil), "InvalidRequest", 400)
	_, err = f.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: key})
	wantCode(t, err, "BadRequest", 400)
	otherAlgorithm, other, otherSum := customerKey("x")
	wantCode(t, get(otherAlgorithm, other, otherSum), "AccessDenied", 403)

	_, err = f.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: bucket, Key: aws.String("copy"), CopySource: aws.String(testBucket + "/secret"),
		CopySourceSSECustomerAlgorithm: algorithm, CopySourceSSECustomerKey: k, CopySourceSSECustomerKeyMD5: sum,
	})
	wantCode(t, err, "", 0)
	if got := f.get(t, "copy"); got != "state" {
		t.Errorf("got %q, want the copy readable without a key", got)
	}
	parts := [][]byte{bytes.Repeat([]byte("p"), partSize), []byte("end")}
	if _, err := upload(t, f, &s3.CreateMultipartUploadInput{
		Bucket: bucket, Key: aws.String("parts"), SSECustomerAlgorithm: algorithm, SSECustomerKey: k, SSECustomerKeyMD5: sum, ChecksumAlgorithm: "CRC32",
	}, parts); err != nil {
		t.Fatal(err)
	}
	out, err := f.GetObject(ctx, &s3.GetObjectInput{
		Bucket: bucket, Key: aws.String("parts"), SSECustomerAlgorithm: algorithm, SSECustomerKey: k, SSECustomerKeyMD5: sum, Range: aws.String("bytes=5242879-5242881"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, out.Body); got != "pen" {
		t.Errorf("got %q across the parts, want %q", got, "pen")
	}
	if log := f.log.String(); strings.Contains(log, *k) || strings.Contains(log, *sum) {
		t.Error("the log shows a customer key")
	}
}

func TestEncryption_SSECNeedsTransport(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		peer  string
		allow bool
		code  string
	}{
		{"127.0.0.1:5", false, ""},
		{"[::1]:5", false, ""},
		{"[::ffff:127.0.0.1]:5", false, ""},
		{"192.0.2.1:5", false, "InvalidRequest"},
		{"@", false, "InvalidRequest"},
		{"192.0.2.1:5", true, ""},
	} {
		t.Run(tt.peer, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, func(c *Config) { c.BehindTLS = tt.allow })
			algorithm, k, sum := customerKey("k")
			r := f.signed(t, request{method: "PUT", target: "/" + testBucket + "/k", body: "x", header: map[string]string{
				"x-amz-server-side-encryption-customer-algorithm": *algorithm,
				"x-amz-server-side-encryption-customer-key":       *k,
				"x-amz-server-side-encryption-customer-key-MD5":   *sum,
			}})
			r.RemoteAddr = tt.peer
			r.Host = strings.TrimPrefix(f.srv.URL, "http://")
			w := httptest.NewRecorder()
			f.srv.Config.Handler.ServeHTTP(w, r)
			if tt.code == "" && w.Code != http.StatusOK {
				t.Errorf("got %d %s, want 200", w.Code, w.Body)
			}
			if tt.code != "" && !strings.Contains(w.Body.String(), "<Code>"+tt.code+"</Code>") {
				t.Errorf("got %d %s, want %s", w.Code, w.Body, tt.code)
			}
		})
	}
}

// writes calls each write that can ask for encryption with a customer key, with one or without.
func (f *fixture) writes(t *testing.T, withKey bool) map[string]error {
	t.Helper()
	var algorithm, k, sum *string
	if withKey {
		algorithm, k, sum = customerKey("k")
	}
	ctx, bucket, key := t.Context(), aws.String(testBucket), aws.String("written")
	_, put := f.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, SSECustomerAlgorithm: algorithm, SSECustomerKey: k, SSECustomerKeyMD5: sum})
	_, cp := f.CopyObject(ctx, &s3.CopyObjectInput{Bucket: bucket, Key: key, CopySource: aws.String(testBucket + "/plain"), SSECustomerAlgorithm: algorithm, SSECustomerKey: k, SSECustomerKeyMD5: sum})
	_, create := f.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key, SSECustomerAlgorithm: algorithm, SSECustomerKey: k, SSECustomerKeyMD5: sum})
	return map[string]error{"PutObject": put, "CopyObject": cp, "CreateMultipartUpload": create}
}

// TestEncryption_Configuration covers what a bucket's configuration says, keeps and enforces.
func TestEncryption_Configuration(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx, bucket := t.Context(), aws.String(testBucket)
	f.put(t, "plain", "hello")
	algorithm, k, sum := customerKey("k")
	before := &s3.PutObjectInput{Bucket: bucket, Key: aws.String("before"), Body: strings.NewReader("old"), SSECustomerAlgorithm: algorithm, SSECustomerKey: k, SSECustomerKeyMD5: sum}
	if _, err := f.PutObject(ctx, before); err != nil {
		t.Fatal(err)
	}
	upload, err := f.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: aws.String("begun"), SSECustomerAlgorithm: algorithm, SSECustomerKey: k, SSECustomerKeyMD5: sum})
	if err != nil {
		t.Fatal(err)
	}
	target := "/" + testBucket + "?encryption"
	put := func(rule string) answer {
		return f.send(t, request{method: "PUT", target: target, body: "<ServerSideEncryptionConfiguration><Rule>" + rule + "</Rule></ServerSideEncryptionConfiguration>"})
	}
	const aes = "<ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault>"
	blocks := func(kinds ...string) string {
		return "<BlockedEncryptionTypes><EncryptionType>" + strings.Join(kinds, "</EncryptionType><EncryptionType>") + "</EncryptionType></BlockedEncryptionTypes>"
	}
	for _, tt := range []struct {
		rule, want string
		blocked    bool
	}{
		{aes, aes + "<BucketKeyEnabled>false</BucketKeyEnabled>", false},
		{aes + "<BucketKeyEnabled>true</BucketKeyEnabled>", aes + "<BucketKeyEnabled>true</BucketKeyEnabled>", false},
		{aes + blocks("NONE"), aes + "<BucketKeyEnabled>false</BucketKeyEnabled>" + blocks("NONE"), false},
		{aes + "<BucketKeyEnabled>true</BucketKeyEnabled>" + blocks("SSE-C"), aes + "<BucketKeyEnabled>true</BucketKeyEnabled>" + blocks("SSE-C"), true},
		{aes, aes + "<BucketKeyEnabled>false</BucketKeyEnabled>", false},
		{blocks("SSE-C"), aes + "<BucketKeyEnabled>false</BucketKeyEnabled>" + blocks("SSE-C"), true},
	} {
		put(tt.rule).want(t, 200, "")
		if a := f.send(t, request{method: "GET", target: target}); !strings.Contains(a.body, "<Rule>"+tt.want+"</Rule>") {
			t.Errorf("put %s, got %s", tt.rule, a.body)
		}
		for op, err := range f.writes(t, true) {
			if tt.blocked {
				wantCode(t, err, "AccessDenied", 403)
			} else if err != nil {
				t.Errorf("%s with a customer key under %s: %v", op, tt.rule, err)
			}
		}
		for op, err := range f.writes(t, false) {
			if err != nil {
				t.Errorf("%s without a key under %s: %v", op, tt.rule, err)
			}
		}
	}
	_, err = f.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: bucket, Key: aws.String("begun"), UploadId: upload.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("x"),
		SSECustomerAlgorithm: algorithm, SSECustomerKey: k, SSECustomerKeyMD5: sum,
	})
	wantCode(t, err, "AccessDenied", 403)
	if _, err := f.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: before.Key, SSECustomerAlgorithm: algorithm, SSECustomerKey: k, SSECustomerKeyMD5: sum}); err != nil {
		t.Errorf("what was there before the block cannot be read: %v", err)
	}

	put(aes+blocks("SSE-KMS")).want(t, 400, "MalformedXML")
	put(aes+blocks("NONE", "SSE-C")).want(t, 400, "MalformedXML")
	put(aes+"<BlockedEncryptionTypes></BlockedEncryptionTypes>").want(t, 400, "MalformedXML")
	put("<BucketKeyEnabled>true</BucketKeyEnabled>").want(t, 400, "MalformedXML")
	if a := f.send(t, request{method: "GET", target: target}); !strings.Contains(a.body, "SSE-C") {
		t.Errorf("got %s, want the block as it was before the refusals", a.body)
	}
	f.send(t, request{method: "DELETE", target: target}).want(t, 204, "")
	for op, err := range f.writes(t, true) {
		if err != nil {
			t.Errorf("%s after the configuration was deleted: %v", op, err)
		}
	}
}

// Every answer about a body says how it is kept.
func TestEncryption_ReportedByMultipart(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	algorithm, k, sum := customerKey("k")
	ssec := map[string]string{headerSSEC + "Algorithm": *algorithm, headerSSEC + "Key": *k, headerSSEC + "Key-Md5": *sum}
	f.put(t, "plain", "hello")
	for name, tt := range map[string]struct{ create, part map[string]string }{
		"none":     {nil, nil},
		"AES256":   {map[string]string{headerSSE: "AES256"}, nil},
		"customer": {ssec, ssec},
	} {
		with := func(extra map[string]string) map[string]string {
			h := map[string]string{}
			for _, m := range []map[string]string{tt.part, extra} {
				for name, value := range m {
					h[name] = value
				}
			}
			return h
		}
		reported := func(what string, a answer) {
			t.Helper()
			a.want(t, 200, "")
			sse, key := a.header.Get(headerSSE), a.header.Get(headerSSEC+"Key-Md5")
			if (sse == "AES256") != (name == "AES256") || (key == *sum) != (name == "customer") {
				t.Errorf("%s of %s: got %q and %q", what, name, sse, key)
			}
		}
		created := f.send(t, request{method: "POST", target: "/" + testBucket + "/k?uploads", header: tt.create})
		reported("CreateMultipartUpload", created)
		_, id, _ := strings.Cut(created.body, "<UploadId>")
		id, _, _ = strings.Cut(id, "</UploadId>")
		upload := "/" + testBucket + "/k?uploadId=" + id
		reported("UploadPartCopy", f.send(t, request{method: "PUT", target: upload + "&partNumber=1", header: with(map[string]string{"X-Amz-Copy-Source": testBucket + "/plain"})}))
		part := f.send(t, request{method: "PUT", target: upload + "&partNumber=1", header: tt.part, body: "hello"})
		reported("UploadPart", part)
		doc := "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>" + part.header.Get("Etag") + "</ETag></Part></CompleteMultipartUpload>"
		for _, what := range []string{"CompleteMultipartUpload", "CompleteMultipartUpload again"} {
			reported(what, f.send(t, request{method: "POST", target: upload, header: tt.part, body: doc}))
		}
	}
}

// A client that did not get its answer sends the same completion again.
func TestCompleteMultipartUpload_Again(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx, bucket, key := t.Context(), aws.String(testBucket), aws.String("k")
	up, err := f.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	part, err := f.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("hello")})
	if err != nil {
		t.Fatal(err)
	}
	complete := &s3.CompleteMultipartUploadInput{
		Bucket: bucket, Key: key, UploadId: up.UploadId, IfNoneMatch: aws.String("*"),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: part.ETag}}},
	}
	first, err := f.CompleteMultipartUpload(ctx, complete)
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.CompleteMultipartUpload(ctx, complete)
	if err != nil || *again.ETag != *first.ETag {
		t.Fatalf("got %+v, %v, want the first answer", again, err)
	}
	f.put(t, "k", "another")
	_, err = f.CompleteMultipartUpload(ctx, complete)
	wantCode(t, err, "NoSuchUpload", 404)
	if got := f.get(t, "k"); got != "another" {
		t.Errorf("got %q, want what was written later", got)
	}
}
