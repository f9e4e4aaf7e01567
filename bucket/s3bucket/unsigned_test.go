package s3bucket

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/buckettest"
	"github.com/statelatch/statelatch/embedded"
)

// Headers that proxies rewrite are sent, and not signed, in retries neither.
func TestBucket_AllCalls_UnsignedHeaders(t *testing.T) {
	t.Parallel()
	failures := 0
	s := newStore(t, func(w http.ResponseWriter, r *http.Request) {
		if failures++; failures == 1 {
			answer(http.StatusServiceUnavailable, nil, s3Error("SlowDown", ""))(w, r) // to the HEAD
			return
		}
		stored(w, r)
	})
	b := open(t, s.config())
	for _, c := range calls {
		_ = c.do(t.Context(), b)
	}
	client, err := OpenClient(t.Context(), s.config())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = client.GetBucketVersioning(t.Context(), &s3.GetBucketVersioningInput{Bucket: &b.name})
	if n := len(s.requests()); n < len(calls)+2 {
		t.Fatalf("%d requests, want one of each call and a retry", n)
	}
	for _, r := range s.requests() {
		_, signed, _ := strings.Cut(r.header.Get("Authorization"), "SignedHeaders=")
		signed, _, _ = strings.Cut(signed, ",")
		for _, name := range unsignedHeaders {
			if r.header.Get(name) == "" {
				t.Errorf("%s %s: %s is not sent", r.method, r.path, name)
			}
			if strings.Contains(";"+signed+";", ";"+strings.ToLower(name)+";") {
				t.Errorf("%s %s: %s is signed: %s", r.method, r.path, name, signed)
			}
		}
		if !strings.Contains(signed, "host") || !strings.Contains(signed, "x-amz-date") {
			t.Errorf("%s %s: signed are %q", r.method, r.path, signed)
		}
	}
}

// A store behind a proxy that rewrites what proxies rewrite is a store like any other.
func TestBucket_BehindARewritingProxy(t *testing.T) {
	t.Parallel()
	store, err := embedded.Open(embedded.Config{Dir: t.TempDir(), AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secretexample"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	behind := httptest.NewServer(store.Handler())
	t.Cleanup(behind.Close)
	target, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		r.Out.Header.Set("Accept-Encoding", "gzip, br")
		r.Out.Header.Set("Amz-Sdk-Invocation-Id", "rewritten")
		r.Out.Header.Del("Amz-Sdk-Request")
		r.Out.Header.Set("User-Agent", "proxy")
	}}
	front := httptest.NewServer(proxy)
	t.Cleanup(front.Close)
	buckettest.Run(t, func(t *testing.T, versioned bool) bucket.Bucket {
		t.Helper()
		name := map[bool]string{true: "versioned", false: "plain"}[versioned]
		cfg := Config{Region: "us-east-1", Endpoints: Endpoints{S3: front.URL}, AccessKey: "AKIDEXAMPLE", SecretKey: "secretexample"}
		client, err := OpenClient(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
			t.Fatal(err)
		}
		b, err := Open(t.Context(), name, cfg)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}, buckettest.WithoutVersioning(), buckettest.Contention(2, 2))
}
