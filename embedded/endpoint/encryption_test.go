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
			f := newFixture(t, func(c *Config) { c.AllowPlainSSEC = tt.allow })
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
