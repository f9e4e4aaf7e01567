package s3bucket

import (
	"bytes"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain keeps the machine's own AWS settings and metadata service out of the tests.
func TestMain(m *testing.M) {
	if text := os.Getenv(reachVariable); text != "" {
		reach(text)
		return
	}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "AWS_") || strings.HasSuffix(strings.ToUpper(name), "_PROXY") {
			_ = os.Unsetenv(name)
		}
	}
	home, err := os.MkdirTemp("", "statelatch")
	if err != nil {
		panic(err)
	}
	_ = os.Setenv("HOME", home)
	_ = os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	code := m.Run()
	_ = os.RemoveAll(home)
	os.Exit(code)
}

// request is what a store saw.
type request struct {
	method, path, query, host string
	header                    http.Header
	length                    int64
	transfer                  []string
	body                      []byte
}

// store is an HTTP server that records every request before handler answers it.
type store struct {
	*httptest.Server
	mu   sync.Mutex
	seen []request
}

func newStore(t *testing.T, handler http.HandlerFunc) *store {
	t.Helper()
	s := unstarted(handler)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func newTLSStore(t *testing.T, handler http.HandlerFunc) *store {
	t.Helper()
	s := unstarted(handler)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func unstarted(handler http.HandlerFunc) *store {
	s := new(store)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.seen = append(s.seen, request{
			method: r.Method, path: r.URL.EscapedPath(), query: r.URL.RawQuery, host: r.Host,
			header: r.Header.Clone(), length: r.ContentLength, transfer: r.TransferEncoding, body: body,
		})
		s.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		handler(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	return s
}

func (s *store) requests() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.seen...)
}

// only returns the single request that was made.
func (s *store) only(t *testing.T) request {
	t.Helper()
	seen := s.requests()
	if len(seen) != 1 {
		t.Fatalf("requests: got %d, want 1: %v", len(seen), seen)
	}
	return seen[0]
}

// config reaches s with static credentials.
func (s *store) config() Config {
	return Config{
		Region: "eu-central-1", Endpoints: Endpoints{S3: s.URL},
		AccessKey: "AKIDEXAMPLE", SecretKey: "secretexample",
	}
}

func open(t *testing.T, cfg Config) *Bucket {
	t.Helper()
	b, err := Open(t.Context(), "bkt", cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return b
}

// caFile writes the certificate of a TLS store.
func (s *store) caFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func answer(status int, header map[string]string, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func s3Error(code, message string) string {
	return `<?xml version="1.0" encoding="UTF-8"?><Error><Code>` + code + `</Code><Message>` + message + `</Message></Error>`
}

// hangUp closes the connection without an answer.
func hangUp(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

var stored = answer(http.StatusOK, map[string]string{"ETag": `"e1"`, "X-Amz-Version-Id": "v1", "Date": "Sat, 21 Nov 2026 08:07:03 GMT"}, "")

var storedAt = time.Date(2026, 11, 21, 8, 7, 3, 0, time.UTC)
