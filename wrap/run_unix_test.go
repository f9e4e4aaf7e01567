//go:build unix

package wrap_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/embedded"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/probe/verdict"
	"github.com/statelatch/statelatch/shim"
	"github.com/statelatch/statelatch/site"
	"github.com/statelatch/statelatch/wrap"
)

// TestMain lets this program be a shim, as a program that uses the package must.
func TestMain(m *testing.M) {
	if code, ok := shim.Main(os.Args); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// safe is a buffer for several writers.
type safe struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	first func() // called when there is something; nil: nobody
}

func (s *safe) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first != nil {
		s.first()
	}
	return s.buf.Write(p)
}

func (s *safe) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// counted counts the bytes of bodies.
type counted struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	c.sent.Add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

// newState is a state in a store of the test.
func newState(t *testing.T) wrap.State {
	t.Helper()
	s, _ := newCounted(t)
	return s
}

// newCounted counts what the store sends too.
func newCounted(t *testing.T) (wrap.State, *atomic.Int64) {
	t.Helper()
	store, err := embedded.Open(embedded.Config{Dir: t.TempDir(), AccessKeyID: "key", SecretAccessKey: "secret-key"})
	if err == nil {
		err = store.EnsureBucket(t.Context(), "acme-state")
	}
	if err != nil {
		t.Fatal(err)
	}
	sent := &atomic.Int64{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		store.Handler().ServeHTTP(counted{w, sent}, r)
	}))
	t.Cleanup(func() {
		srv.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	s, err := site.Open(t.Context(), "s3://acme-state", site.Options{
		BackendConfig: []string{"access_key=key", "secret_key=secret-key", "region=us-east-1"}, Endpoint: srv.URL,
		Getenv: func(string) string { return "" }, Verdicts: verdict.Keeper{Trust: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	return wrap.State{Site: s, Ref: statelatch.Ref{Bucket: "acme-state", Key: "app/terraform.tfstate"}}, sent
}

func options(state wrap.State, command ...string) (wrap.Options, *safe) {
	out := &safe{}
	return wrap.Options{
		States: []wrap.State{state}, Command: command, Stdout: out, Stderr: out, Grace: 10 * time.Second,
		Request: lock.Request{Operation: "deploy", Who: "ann", TTL: 30 * time.Second},
		Hooks:   wrap.Hooks{Say: func(line string) { fmt.Fprint(out, line) }},
	}, out
}

// A command runs under the lock, its exit code is told, and the lock is released.
func TestRun_HoldsTheLock(t *testing.T) {
	t.Parallel()
	s := newState(t)
	o, out := options(s, "sh", "-c", "echo began; read -r line; echo $line; exit 3")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	began := make(chan struct{})
	o.Stdin, out.first = read, sync.OnceFunc(func() { close(began) })
	var held []string
	o.Hooks.Held = func(set lock.Set) {
		for _, tenure := range set {
			held = append(held, tenure.Held().Info.ID)
		}
	}
	type outcome struct {
		result wrap.Result
		err    error
	}
	ended := make(chan outcome)
	go func() {
		result, err := wrap.Run(t.Context(), o)
		ended <- outcome{result, err}
	}()
	<-began
	now, err := s.Manager.Status(t.Context(), s.Ref)
	if err != nil || now.Info.Operation != "deploy" || now.Info.Who != "ann" || !now.Leased() {
		t.Errorf("got %v, %v while it runs", now, err)
	}
	second, _ := options(s, "false")
	if _, err := wrap.Run(t.Context(), second); !errors.Is(err, statelatch.ErrLocked) {
		t.Errorf("a second run: got %v, want %v", err, statelatch.ErrLocked)
	}
	if _, err := write.WriteString("done\n"); err != nil {
		t.Fatal(err)
	}
	got := <-ended
	if err := errors.Join(read.Close(), write.Close()); err != nil {
		t.Error(err)
	}
	if got.err != nil || got.result.ExitCode != 3 || got.result.Nothing || !strings.Contains(out.String(), "done\n") {
		t.Errorf("got %+v, %v, %q", got.result, got.err, out)
	}
	if len(held) != 1 || held[0] != now.Info.ID {
		t.Errorf("told of %q, want %s", held, now.Info.ID)
	}
	if _, err := s.Manager.Status(t.Context(), s.Ref); !errors.Is(err, statelatch.ErrNotLocked) {
		t.Errorf("got %v, want it released", err)
	}
}

// However large a state is and however often it was written, a command that leaves it alone costs a few KiB.
func TestRun_ReadsLittle(t *testing.T) {
	t.Parallel()
	s, sent := newCounted(t)
	for i := range 200 {
		size := 1
		if i >= 190 {
			size = 1 << 20
		}
		body := fmt.Sprintf(`{"version":4,"serial":%d,"lineage":"l","outputs":{},"resources":[],"check_results":%q}`, i, strings.Repeat("x", size))
		if _, err := s.Bucket.Put(t.Context(), s.Ref.Key, strings.NewReader(body), bucket.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, read := range []bool{false, true} {
		o, out := options(s, "true")
		o.Read = read
		before := sent.Load()
		if result, err := wrap.Run(t.Context(), o); err != nil || result.ExitCode != 0 || len(result.Moved) != 0 {
			t.Fatalf("got %+v, %v, %q", result, err, out)
		}
		if got := sent.Load() - before; got > 32<<10 {
			t.Errorf("read %v: %d bytes came from the store, of a state of 1 MiB that nothing happened to", read, got)
		}
	}
}

// A command that cannot be started leaves no lock, and one that starts no engine holds none that it was not told to.
func TestRun_WithoutACommand(t *testing.T) {
	t.Parallel()
	s := newState(t)
	o, _ := options(s, filepath.Join(t.TempDir(), "no-such-program"))
	var start *wrap.StartError
	if _, err := wrap.Run(t.Context(), o); !errors.As(err, &start) || start.ExitCode != 127 {
		t.Errorf("got %v, want that it cannot be started", err)
	}
	if _, err := s.Manager.Status(t.Context(), s.Ref); !errors.Is(err, statelatch.ErrNotLocked) {
		t.Errorf("got %v, want no lock", err)
	}
	o, _ = options(s, "true")
	o.States = nil
	if result, err := wrap.Run(t.Context(), o); err != nil || !result.Nothing {
		t.Errorf("got %+v, %v, want that nothing was locked", result, err)
	}
}

// With Read nothing is locked, and what changed meanwhile is told.
func TestRun_Read(t *testing.T) {
	t.Parallel()
	s := newState(t)
	o, _ := options(s, "true")
	o.Read = true
	result, err := wrap.Run(t.Context(), o)
	if err != nil || result.ExitCode != 0 || len(result.Moved) != 0 {
		t.Errorf("got %+v, %v", result, err)
	}
}
