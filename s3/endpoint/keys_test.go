package endpoint

import (
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/statelatch/statelatch/s3/s3model"
)

// TestKeys_RoundTrip: a key is served under the very bytes it was stored with, and no other is touched.
func TestKeys_RoundTrip(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	keys := []string{
		"/", "//", "a", "a/", "a//", "a//b", "/a", ".", "..", "./a", "../a", "a/..", "a/./b", "a/../b", "%2F", "a%2Fb", "a+b", "a b", "a%20b",
		"?", "#", "a?versionId=x", "a&b=c", ";", "\\", "\x01", "\n", "\t", "\x7f", "ü", "u\u0308", "\U0001F512", "~-_.!*'()", strings.Repeat("k", 1024),
	}
	for _, key := range keys {
		f.put(t, key, key)
	}
	listed := map[string]bool{}
	pages := s3.NewListObjectsV2Paginator(f.Client, &s3.ListObjectsV2Input{Bucket: aws.String(testBucket), MaxKeys: aws.Int32(5), EncodingType: types.EncodingTypeUrl})
	for pages.HasMorePages() && len(listed) <= len(keys) {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			key, err := url.PathUnescape(*o.Key)
			if err != nil {
				t.Fatal(err)
			}
			listed[key] = true
		}
	}
	for _, key := range keys {
		if got := f.get(t, key); got != key || !listed[key] {
			t.Errorf("key %q: got body %q, listed %v", key, got, listed[key])
		}
		if out, err := f.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String(testBucket), Key: aws.String("copy"), CopySource: aws.String(testBucket + "/" + urlEncode(key))}); err != nil || f.get(t, "copy") != key {
			t.Errorf("key %q: got copy %+v, %v", key, out, err)
		}
		if _, err := f.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(testBucket), Key: aws.String("copy")}); err != nil {
			t.Fatal(err)
		}
	}
	for i, key := range keys {
		if _, err := f.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(testBucket), Key: &key}); err != nil {
			t.Fatal(err)
		}
		page, err := f.store.List(t.Context(), s3model.ListRequest{Bucket: testBucket, Max: 1000})
		if err != nil || len(page.Objects) != len(keys)-i-1 {
			t.Fatalf("deleting %q: got %d objects left, %v, want %d", key, len(page.Objects), err, len(keys)-i-1)
		}
	}
	f.send(t, request{method: "PUT", target: "/" + testBucket + "/a%00b", body: "x"}).want(t, 400, "InvalidRequest")
}
