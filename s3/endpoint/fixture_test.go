package endpoint

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/statelatch/statelatch/embedded/boltstore"
	"github.com/statelatch/statelatch/s3/s3model"
	"github.com/statelatch/statelatch/s3/sigv4"
)

const (
	testKey    = "AKIATESTTESTTESTTEST"
	testSecret = "a/secret+for/the+tests"
	testBucket = "the-bucket"
)

// fixture is an endpoint over a real store, with an SDK client.
type fixture struct {
	*s3.Client
	srv   *httptest.Server
	store s3model.Store
	log   *lockedBuffer
}

type option func(*Config)

// newFixture starts an endpoint on plain HTTP with one bucket.
func newFixture(tb testing.TB, options ...option) *fixture {
	tb.Helper()
	return startFixture(tb, false, options...)
}

// newTLSFixture is a fixture on HTTPS, where the SDK sends checksums in trailers.
func newTLSFixture(tb testing.TB, options ...option) *fixture {
	tb.Helper()
	return startFixture(tb, true, options...)
}

func startFixture(tb testing.TB, useTLS bool, options ...option) *fixture {
	tb.Helper()
	store, err := boltstore.Open(boltstore.Config{Dir: tb.TempDir(), LifecycleInterval: -1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	f := &fixture{store: store, log: &lockedBuffer{}}
	cfg := Config{
		Store:    store,
		Verifier: &sigv4.Verifier{Lookup: sigv4.OneKey(testKey, testSecret)},
		Logger:   slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, o := range options {
		o(&cfg)
	}
	f.store = cfg.Store
	handler := New(cfg)
	if useTLS {
		f.srv = httptest.NewTLSServer(handler)
	} else {
		f.srv = httptest.NewServer(handler)
	}
	tb.Cleanup(f.srv.Close)
	f.Client = f.newClient()
	if err := store.CreateBucket(tb.Context(), testBucket, ""); err != nil {
		tb.Fatal(err)
	}
	return f
}

func (f *fixture) newClient(options ...func(*s3.Options)) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint:     aws.String(f.srv.URL),
		Region:           "eu-central-1",
		Credentials:      credentials.NewStaticCredentialsProvider(testKey, testSecret, ""),
		HTTPClient:       f.srv.Client(),
		UsePathStyle:     true,
		RetryMaxAttempts: 1,
		// What config.LoadDefaultConfig sets.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
	}, options...)
}

func (f *fixture) enableVersioning(tb testing.TB) {
	tb.Helper()
	if err := f.store.UpdateSettings(tb.Context(), testBucket, func(s *s3model.Settings) { s.Versioning = s3model.Enabled }); err != nil {
		tb.Fatal(err)
	}
}

func (f *fixture) put(tb testing.TB, key, body string) *s3.PutObjectOutput {
	tb.Helper()
	out, err := f.PutObject(tb.Context(), &s3.PutObjectInput{Bucket: aws.String(testBucket), Key: &key, Body: strings.NewReader(body)})
	if err != nil {
		tb.Fatalf("put %s: %v", key, err)
	}
	return out
}

func (f *fixture) get(tb testing.TB, key string) string {
	tb.Helper()
	out, err := f.GetObject(tb.Context(), &s3.GetObjectInput{Bucket: aws.String(testBucket), Key: &key})
	if err != nil {
		tb.Fatalf("get %s: %v", key, err)
	}
	return readAll(tb, out.Body)
}

func readAll(tb testing.TB, r io.ReadCloser) string {
	tb.Helper()
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// wantCode checks the code and the status of an SDK error; empty means success.
func wantCode(tb testing.TB, err error, code string, status int) {
	tb.Helper()
	if code == "" {
		if err != nil {
			tb.Fatalf("got error %v, want none", err)
		}
		return
	}
	var api smithy.APIError
	var response interface{ HTTPStatusCode() int }
	if !errors.As(err, &api) || !errors.As(err, &response) {
		tb.Fatalf("got error %v, want code %s", err, code)
	}
	if api.ErrorCode() != code || response.HTTPStatusCode() != status {
		tb.Fatalf("got code %s with status %d (%v), want %s with %d", api.ErrorCode(), response.HTTPStatusCode(), err, code, status)
	}
}

// request is one raw request.
type request struct {
	method string
	target string // path and query, as on the wire
	header map[string]string
	body   string
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	err    errorDocument
	close  bool // the server said that it closes the connection
}

// send signs the request as it is and sends it.
func (f *fixture) send(tb testing.TB, q request) answer {
	tb.Helper()
	r := f.signed(tb, q)
	return f.do(tb, r)
}

func (f *fixture) signed(tb testing.TB, q request) *http.Request {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), q.method, f.srv.URL+q.target, strings.NewReader(q.body))
	if err != nil {
		tb.Fatal(err)
	}
	if q.body == "" {
		r.Body, r.GetBody = nil, nil
	}
	for name, value := range q.header {
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Set(name, value)
	}
	payload := r.Header.Get("X-Amz-Content-Sha256")
	if payload == "" {
		payload = "UNSIGNED-PAYLOAD"
		r.Header.Set("X-Amz-Content-Sha256", payload)
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	err = signer.SignHTTP(tb.Context(), aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}, r, payload, "s3", "us-east-1", time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func (f *fixture) do(tb testing.TB, r *http.Request) answer {
	tb.Helper()
	resp, err := f.srv.Client().Transport.RoundTrip(r)
	if err != nil {
		tb.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: readAll(tb, resp.Body)}
	if a.status >= 300 && strings.HasPrefix(a.body, "<?xml") {
		if err := xml.Unmarshal([]byte(a.body), &a.err); err != nil {
			tb.Fatal(err)
		}
	}
	return a
}

func (a answer) want(tb testing.TB, status int, code string) {
	tb.Helper()
	if a.status != status || a.err.Code != code {
		tb.Fatalf("got status %d with code %q, want %d with %q; body %q", a.status, a.err.Code, status, code, a.body)
	}
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
