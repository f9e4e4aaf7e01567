package faultproxy_test

import (
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/buckettest"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/embedded"
	"github.com/statelatch/statelatch/internal/faultproxy"
)

const (
	accessKey = "AKIDEXAMPLE"
	secretKey = "secretexample"
	key       = "env/prod é/terraform.tfstate.tflock"
)

// setup is our driver in front of a real store, once through a proxy and once past it.
func setup(t *testing.T) (p *faultproxy.Proxy, through, direct bucket.Bucket) {
	t.Helper()
	store, err := embedded.Open(embedded.Config{Dir: filepath.Join(t.TempDir(), "data"), AccessKeyID: accessKey, SecretAccessKey: secretKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := store.EnsureBucket(t.Context(), "states"); err != nil {
		t.Fatal(err)
	}
	url := upstream(t, store.Handler().ServeHTTP)
	p = start(t, url)
	return p, open(t, p.URL), open(t, url)
}

func open(t *testing.T, url string) bucket.Bucket {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	b, err := s3bucket.New(s3.New(s3.Options{
		BaseEndpoint: aws.String(url), Region: "eu-central-1", UsePathStyle: true, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
		HTTPClient:  &http.Client{Transport: transport},
	}), "states", s3bucket.ObjectOptions{}, s3bucket.Timeouts{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t *testing.T, b bucket.Bucket, body string, cond bucket.Condition) (bucket.Object, error) {
	t.Helper()
	return b.Put(t.Context(), key, strings.NewReader(body), bucket.PutOptions{If: cond})
}

// content is what the store has, empty if nothing.
func content(t *testing.T, b bucket.Bucket) string {
	t.Helper()
	_, data, err := bucket.ReadAll(t.Context(), b, key, 1<<10)
	if err != nil && !errors.Is(err, statelatch.ErrNotFound) {
		t.Fatal(err)
	}
	return string(data)
}

// TestProxy_Conformance: through a proxy without rules a store is as good as without it.
func TestProxy_Conformance(t *testing.T) {
	t.Parallel()
	buckettest.Run(t, func(t *testing.T, versioned bool) bucket.Bucket {
		t.Helper()
		if !versioned {
			t.Skip("what differs without versions is the store's affair")
		}
		_, through, _ := setup(t)
		return through
	}, buckettest.Contention(2, 2))
}

// TestFault_Put tells for each fault what the client is told and what the store has after it.
func TestFault_Put(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		fault   faultproxy.Fault
		want    error // nil for success
		content string
		log     faultproxy.Request // its statuses
	}{
		{faultproxy.LoseRequest(), statelatch.ErrAmbiguous, "", faultproxy.Request{}},
		{faultproxy.LoseReply(), statelatch.ErrAmbiguous, "new", faultproxy.Request{Stored: 200}},
		{faultproxy.AnswerAfter(500, "InternalError"), statelatch.ErrAmbiguous, "new", faultproxy.Request{Stored: 200, Status: 500}},
		{faultproxy.Answer(409, "ConditionalRequestConflict"), statelatch.ErrConflict, "", faultproxy.Request{Status: 409}},
		{faultproxy.Answer(412, "PreconditionFailed"), statelatch.ErrPreconditionFailed, "", faultproxy.Request{Status: 412}},
		{faultproxy.Answer(503, "SlowDown"), statelatch.ErrAmbiguous, "", faultproxy.Request{Status: 503}},
		{faultproxy.Answer(403, "AccessDenied"), statelatch.ErrDenied, "", faultproxy.Request{Status: 403}},
		{faultproxy.Delay(1), nil, "new", faultproxy.Request{Stored: 200, Status: 200}},
		{faultproxy.DelayReply(1), nil, "new", faultproxy.Request{Stored: 200, Status: 200}},
		{faultproxy.Duplicate(), nil, "new", faultproxy.Request{Stored: 412, Status: 200}}, // the second meets the first
		{faultproxy.Late(), statelatch.ErrAmbiguous, "", faultproxy.Request{}},
	} {
		t.Run(tc.fault.String(), func(t *testing.T) {
			t.Parallel()
			p, through, direct := setup(t)
			p.Add(faultproxy.Rule{Limit: 1, Match: func(r *http.Request) bool { return r.Method == http.MethodPut }, Fault: tc.fault})
			if _, err := put(t, through, "new", bucket.IfAbsent); !errors.Is(err, tc.want) {
				t.Errorf("Put: got %v, want %v", err, tc.want)
			}
			if got := content(t, direct); got != tc.content {
				t.Errorf("content: got %q, want %q", got, tc.content)
			}
			log := p.Requests()
			if len(log) != 1 || log[0].Fault != tc.fault.String() || log[0].Stored != tc.log.Stored || log[0].Status != tc.log.Status {
				t.Fatalf("log: got %+v, want one request with %d from the store and %d to the client", log, tc.log.Stored, tc.log.Status)
			}
			if log[0].IfNoneMatch != "*" || !strings.Contains(log[0].UserAgent, "statelatch") || log[0].Path != "/states/env/prod%20%C3%A9/terraform.tfstate.tflock" {
				t.Errorf("log: got %+v, want the condition, the agent and the path", log[0])
			}
		})
	}
}

func TestLate(t *testing.T) {
	t.Parallel()
	p, through, direct := setup(t)
	p.Add(faultproxy.Rule{Limit: 2, Fault: faultproxy.Late()})
	for _, body := range []string{"first", "second"} {
		if _, err := put(t, through, body, bucket.Condition{}); !errors.Is(err, statelatch.ErrAmbiguous) {
			t.Errorf("Put: got %v, want ErrAmbiguous", err)
		}
	}
	if _, err := put(t, through, "third", bucket.Condition{}); err != nil {
		t.Fatal(err)
	}
	if n := p.Deliver(); n != 2 {
		t.Errorf("Deliver: got %d, want 2", n)
	}
	if got := content(t, direct); got != "second" {
		t.Errorf("content: got %q, want the late second", got)
	}
	if n := p.Deliver(); n != 0 {
		t.Errorf("second Deliver: got %d, want 0", n)
	}
	if got := p.Requests()[0]; got.Stored != 200 || got.Status != 0 {
		t.Errorf("log: got %+v, want 200 from the store and nothing to the client", got)
	}
}

// TestIgnoreCondition: a store that looks at no condition, or at none of a DELETE (Q1, Q5), though requests are signed.
func TestIgnoreCondition(t *testing.T) {
	t.Parallel()
	p, through, direct := setup(t)
	mine, err := put(t, direct, "mine", bucket.IfAbsent)
	if err != nil {
		t.Fatal(err)
	}
	weak := faultproxy.IgnoreCondition(accessKey, secretKey)
	p.Add(faultproxy.Rule{Match: func(r *http.Request) bool { return r.Method == http.MethodDelete }, Fault: weak})
	if _, err := put(t, through, "theirs", bucket.IfAbsent); !errors.Is(err, statelatch.ErrPreconditionFailed) {
		t.Errorf("Put with conditions ignored in deletes: got %v, want ErrPreconditionFailed", err)
	}
	p.Heal()
	p.Add(faultproxy.Rule{Fault: weak})
	if _, err := put(t, through, "theirs", bucket.IfAbsent); err != nil {
		t.Errorf("Put with all conditions ignored: got %v, want success", err)
	}
	if got := content(t, direct); got != "theirs" {
		t.Errorf("content: got %q, want theirs", got)
	}
	if _, err := through.Delete(t.Context(), key, bucket.DeleteOptions{If: bucket.IfMatch(mine.ETag)}); err != nil {
		t.Errorf("Delete with a stale ETag: got %v, want success", err)
	}
	if got := content(t, direct); got != "" {
		t.Errorf("content: got %q, want nothing", got)
	}
	log := p.Requests()
	if last := log[len(log)-1]; last.IfMatch != mine.ETag {
		t.Errorf("log: got If-Match %q, want what the client sent: %q", last.IfMatch, mine.ETag)
	}
}

func TestIgnoreCondition_SignedChunks(t *testing.T) {
	t.Parallel()
	p := start(t, "http://127.0.0.1:9", faultproxy.Rule{Fault: faultproxy.IgnoreCondition(accessKey, secretKey)})
	resp, err := request(t, p, "PUT", http.Header{
		"Authorization":        {"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00"},
		"X-Amz-Content-Sha256": {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}, "X-Amz-Date": {"20261121T080703Z"},
	})
	if err != nil || resp.StatusCode != http.StatusNotImplemented {
		t.Errorf("got %v, %v, want 501: the chunks' signatures would not hold", resp, err)
	}
}
