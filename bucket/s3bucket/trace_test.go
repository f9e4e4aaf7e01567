package s3bucket

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/statelatch/statelatch/bucket"
)

// Every attempt is told, and nothing of it is secret.
func TestWithTrace_TellsNothingSecret(t *testing.T) {
	t.Parallel()
	tries := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		tries++
		w.Header().Set("X-Amz-Request-Id", "R"+strings.Repeat("1", tries))
		if tries == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("ETag", `"x"`)
		_, _ = w.Write([]byte("body-of-the-state"))
	}))
	defer srv.Close()
	b := open(t, Config{Endpoints: Endpoints{S3: srv.URL}, Region: "us-east-1", AccessKey: "AKIDEXAMPLE", SecretKey: "very-secret", Token: "session-token"})
	var mu sync.Mutex
	var got []Attempt
	ctx := WithTrace(t.Context(), func(a Attempt) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, a)
	})
	_, body, err := b.Get(ctx, "a key/with?signs", bucket.ReadOptions{VersionID: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	_ = body.Close()
	if len(got) != 2 || got[0].Status != http.StatusServiceUnavailable || got[1].Status != http.StatusOK || got[1].RequestID != "R11" || got[1].Query != "versionId=v1" {
		t.Fatalf("got %+v", got)
	}
	if a := got[1]; a.Method != http.MethodGet || "http://"+a.Host != srv.URL || !strings.HasSuffix(a.Path, "/a%20key/with%3Fsigns") || a.Err != nil || a.Unreachable() != "" {
		t.Errorf("got %+v", a)
	}
	for _, a := range got {
		for _, secret := range []string{"AKIDEXAMPLE", "very-secret", "session-token", "body-of-the-state", "Signature"} {
			if text := a.Host + a.Path + a.Query + a.Operation + a.RequestID; strings.Contains(text, secret) {
				t.Errorf("it tells %s: %+v", secret, a)
			}
		}
	}
	if q := harmlessQuery(map[string][]string{"X-Amz-Signature": {"s"}, "x-amz-security-token": {"t"}, "x-id": {"GetObject"}, "prefix": {"a/"}}); q != "prefix=a%2F" {
		t.Errorf("query: %q", q)
	}
}

func TestAttempt_Unreachable(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + l.Addr().String()
	_ = l.Close()
	for url, want := range map[string]string{nobody: "connection refused", "http://no-such-host.invalid": "no such host"} {
		ctx, cancel := context.WithCancel(t.Context())
		var told []string
		b := open(t, Config{Endpoints: Endpoints{S3: url}, Region: "us-east-1", AccessKey: "key", SecretKey: "secret"})
		_, err := b.Head(WithTrace(ctx, func(a Attempt) {
			told = append(told, a.Unreachable())
			cancel() // it would be tried again
		}), "k", bucket.ReadOptions{})
		if err == nil || len(told) != 1 || told[0] != want && !strings.Contains(told[0], "server misbehaving") {
			t.Errorf("%s: got %q, %v, want %q", url, told, err, want)
		}
		cancel()
	}
}
