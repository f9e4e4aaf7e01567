package bootstrap

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/statelatch/statelatch/embedded"
)

const tlsEndpoint = "https://s3.example.com"

// wire carries requests to a store in this process, without a network, so that synctest can run the clock.
type wire struct {
	store http.Handler
	// answer, if not nil, may answer in the store's place, or change what it answered.
	answer func(req *http.Request, store func() *httptest.ResponseRecorder) *httptest.ResponseRecorder

	mu     sync.Mutex
	writes []string // "PUT ?policy", in their order
	sent   []*http.Request
}

func (w *wire) Do(req *http.Request) (*http.Response, error) {
	query, _, _ := strings.Cut(req.URL.RawQuery, "&")
	w.mu.Lock()
	w.sent = append(w.sent, req)
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.writes = append(w.writes, req.Method+" ?"+strings.TrimSuffix(query, "="))
	}
	w.mu.Unlock()
	store := func() *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		served := httptest.NewRequest(req.Method, req.URL.String(), req.Body)
		served.Header, served.Host, served.ContentLength = req.Header, req.URL.Host, req.ContentLength
		w.store.ServeHTTP(rec, served)
		return rec
	}
	if w.answer != nil {
		return w.answer(req, store).Result(), nil
	}
	return store().Result(), nil
}

func (w *wire) took() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.writes)
}

func refusal(status int, code string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	rec.WriteHeader(status)
	_, _ = rec.WriteString("<Error><Code>" + code + "</Code><Message>no</Message></Error>")
	return rec
}

// newClient is a client of an empty store of its own.
func newClient(t *testing.T) (*s3.Client, *wire) {
	t.Helper()
	store, err := embedded.Open(embedded.Config{Dir: t.TempDir(), AccessKeyID: "key", SecretAccessKey: "secret-key"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &wire{store: store.Handler()}
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(tlsEndpoint), Region: "eu-central-1", UsePathStyle: true, HTTPClient: w,
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret-key", ""),
	}), w
}

func desired() Desired {
	return Desired{Bucket: "acme-state", Region: "eu-central-1", Endpoint: tlsEndpoint, LitterDays: 30}
}

func ids(p Plan) (all []string) {
	for _, s := range p.Steps {
		all = append(all, s.ID)
	}
	return all
}

// plan inspects and compares.
func plan(t *testing.T, c *s3.Client, d Desired) (Plan, Actual) {
	t.Helper()
	a, err := Inspect(t.Context(), c, d.Bucket)
	if err != nil {
		t.Fatalf("inspect: %v", err)
	}
	p, err := NewPlan(d, a)
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	return p, a
}

// apply carries out what is to do, and returns what was skipped.
func apply(t *testing.T, c *s3.Client, d Desired) (skipped []string) {
	t.Helper()
	p, _ := plan(t, c, d)
	if _, err := Apply(t.Context(), c, d, p, func(o Outcome) {
		if o.Skipped != "" {
			skipped = append(skipped, o.ID)
		}
	}); err != nil {
		t.Fatalf("apply: %v", err)
	}
	return skipped
}
