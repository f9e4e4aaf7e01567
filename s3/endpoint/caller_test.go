package endpoint

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/statelatch/statelatch/s3/s3model"
	"github.com/statelatch/statelatch/s3/sigv4"
)

// callers is a store that remembers whom it was called for.
type callers struct {
	s3model.Store
	mu   sync.Mutex
	seen []s3model.Caller
}

func (c *callers) Head(ctx context.Context, req s3model.ReadRequest) (s3model.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, s3model.CallerOf(ctx))
	if len(c.seen) == 1 {
		return s3model.Object{}, s3model.ErrInternal // which SDKs try again
	}
	return c.Store.Head(ctx, req)
}

func TestEndpoint_Caller(t *testing.T) {
	t.Parallel()
	store := &callers{}
	f := newFixture(t, func(cfg *Config) {
		store.Store = cfg.Store
		cfg.Store = store
		cfg.Verifier = &sigv4.Verifier{Lookup: func(_ context.Context, id, token string) (sigv4.Key, error) {
			if id != testKey || token != "of a session" {
				return sigv4.Key{}, sigv4.ErrInvalidToken
			}
			return sigv4.Key{Secret: testSecret, Who: "ana"}, nil
		}}
	})
	// The fixture's server does not number connections.
	server := httptest.NewUnstartedServer(f.srv.Config.Handler)
	server.Config.ConnContext = ConnContext
	server.Start()
	t.Cleanup(server.Close)
	session := func(o *s3.Options) {
		o.BaseEndpoint = aws.String(server.URL)
		o.RetryMaxAttempts = 2
		o.Credentials = credentials.NewStaticCredentialsProvider(testKey, testSecret, "of a session")
	}
	head := &s3.HeadObjectInput{Bucket: aws.String(testBucket), Key: aws.String("k")}
	_, err := f.newClient(session).HeadObject(t.Context(), head)
	wantCode(t, err, "NotFound", 404)
	link, err := s3.NewPresignClient(f.newClient(session)).PresignHeadObject(t.Context(), head)
	if err != nil || !strings.Contains(link.URL, "X-Amz-Security-Token=") {
		t.Fatalf("got %v, %v, want a URL with a token", link, err)
	}
	r, err := http.NewRequestWithContext(t.Context(), link.Method, link.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	other := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // on a connection of its own
	resp, err := other.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Fatalf("got status %d, %v, want 404", resp.StatusCode, err)
	}
	if len(store.seen) != 3 {
		t.Fatalf("got %d calls, want 3", len(store.seen))
	}
	ids := map[string]bool{}
	for i, got := range store.seen {
		ids[got.RequestID] = true
		if want := []int{1, 2, 0}[i]; got.Who != "ana" || got.Attempt != want || got.Connection == 0 {
			t.Errorf("call %d: got %+v, want who asks, attempt %d and a connection", i, got, want)
		}
	}
	if len(ids) != 3 || ids[""] {
		t.Errorf("got request IDs %v, want three", ids)
	}
	if store.seen[0].Connection != store.seen[1].Connection || store.seen[1].Connection == store.seen[2].Connection {
		t.Errorf("got connections %+v, want one, the same, and another", store.seen)
	}
	wantCode(t, func() error {
		_, err := f.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String(testBucket)})
		return err
	}(),
		"BadRequest", 400)
}

func TestAttempt(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]int{
		"": 0, "attempt=1; max=5": 1, "ttl=20260101T000000Z;attempt=3;max=5": 3, "attempt=0": 0, "attempt=-1": 0,
		"max=5": 0, "attempt=x": 0, "attempt=99999999999999999999": 0,
	} {
		r := &http.Request{Header: http.Header{"Amz-Sdk-Request": {header}}}
		if got := attempt(r); got != want {
			t.Errorf("%q: got %d, want %d", header, got, want)
		}
	}
}
