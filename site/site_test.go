package site_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/history"
	"github.com/statelatch/statelatch/internal/faultproxy"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/probe/verdict"
	"github.com/statelatch/statelatch/site"
	"github.com/statelatch/statelatch/state"
)

// store is a store with a bucket "acme-state", behind a proxy.
type store struct {
	*faultproxy.Proxy

	log *logBuffer
}

// logBuffer keeps what is logged.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newStore(t *testing.T) *store {
	t.Helper()
	srv, err := embedded.Open(embedded.Config{Dir: t.TempDir(), AccessKeyID: "key", SecretAccessKey: "secret-key"})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.EnsureBucket(t.Context(), "acme-state"); err != nil {
		t.Fatal(err)
	}
	behind := httptest.NewServer(srv.Handler())
	proxy, err := faultproxy.Start(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		proxy.Close()
		behind.Close()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	return &store{proxy, &logBuffer{}}
}

func (s *store) options() site.Options {
	return site.Options{
		BackendConfig: []string{"access_key=key", "secret_key=secret-key", "region=us-east-1"}, Endpoint: s.URL,
		Getenv: func(string) string { return "" }, Verdicts: verdict.Keeper{Trust: true},
		Logger: slog.New(slog.NewTextHandler(s.log, nil)),
	}
}

func (s *store) open(t *testing.T) *site.Site {
	t.Helper()
	opened, err := site.Open(t.Context(), "s3://acme-state", s.options())
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

var ref = statelatch.Ref{Bucket: "acme-state", Key: "app/terraform.tfstate"}

var errWork = errors.New("the work failed")

// The lock is there while the work is done, says what it is told to, and is released however the work ends.
func TestSite_Do(t *testing.T) {
	t.Parallel()
	s := newStore(t).open(t)
	for _, want := range []error{nil, errWork} {
		err := s.Do(t.Context(), ref, site.Lock{Operation: "deploy", Reason: "friday", Who: "ann", Version: "1.2"}, func(ctx context.Context) error {
			held, err := s.Manager.Status(ctx, ref)
			if err != nil || held.Info.Operation != "deploy" || held.Info.Who != "ann" || held.Managed.Reason != "friday" || !held.Leased() {
				t.Errorf("got %v, %v, want it as it was asked for", held, err)
			}
			if ctx.Err() != nil {
				t.Error("the context has ended")
			}
			return want
		})
		if !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("got %v, want %v", err, want)
		}
		if _, err := s.Manager.Status(t.Context(), ref); !errors.Is(err, statelatch.ErrNotLocked) {
			t.Errorf("got %v, want it released", err)
		}
	}
}

// A panic of the work does not leave the lock.
func TestSite_Do_Panic(t *testing.T) {
	t.Parallel()
	s := newStore(t).open(t)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		_ = s.Do(t.Context(), ref, site.Lock{}, func(context.Context) error { panic("no") })
	}()
	if _, err := s.Manager.Status(t.Context(), ref); !errors.Is(err, statelatch.ErrNotLocked) {
		t.Errorf("got %v, want it released", err)
	}
}

// Who waits is let in at the release, and otherwise learns who holds the lock, also where their own context ends.
func TestSite_Do_Waits(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	s := st.open(t)
	inside, release := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		if err := s.Do(t.Context(), ref, site.Lock{Who: "ann"}, func(context.Context) error { close(inside); <-release; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-inside
	called := func(context.Context) error { t.Error("two are inside"); return nil }
	var locked *statelatch.LockedError
	if err := s.Do(t.Context(), ref, site.Lock{}, called); !errors.As(err, &locked) || locked.Holder.Who != "ann" {
		t.Errorf("got %v, want who holds it", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := s.Do(ctx, ref, site.Lock{Wait: -1}, called); !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &locked) {
		t.Errorf("got %v, want the deadline, and who holds it", err)
	}
	all.Go(func() {
		if err := s.Do(t.Context(), ref, site.Lock{Wait: time.Minute}, func(context.Context) error { return nil }); err != nil {
			t.Error(err)
		}
	})
	close(release)
	all.Wait()
	if !strings.Contains(st.log.String(), "waiting for a lock") || !strings.Contains(st.log.String(), "holder=ann") {
		t.Errorf("got %q, want the wait told", st.log)
	}
}

// When the lock is lost the work is told to end, and why; what it writes to the state then is refused.
func TestSite_Do_LockLost(t *testing.T) {
	t.Parallel()
	s := newStore(t).open(t)
	err := s.Do(t.Context(), ref, site.Lock{Lease: time.Second}, func(ctx context.Context) error {
		held, err := s.Manager.Status(ctx, ref)
		if err != nil {
			t.Error(err)
		}
		for { // it may be renewed in between
			m := *s.Manager
			m.Tier = lock.TierFull
			if _, err = m.ForceRelease(ctx, held, lock.Request{Operation: "unlock", Who: "ben"}); !errors.As(err, new(*statelatch.LockedError)) {
				break
			}
			if held, err = s.Manager.Status(ctx, ref); err != nil {
				break
			}
		}
		if err != nil {
			t.Error(err)
		}
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, statelatch.ErrLockLost) {
				t.Errorf("the context ended with %v, want why the lock is lost", cause)
			}
		case <-time.After(time.Minute):
			t.Error("the work goes on without its lock")
		}
		return context.Cause(ctx)
	})
	if !errors.Is(err, statelatch.ErrLockLost) || strings.Count(err.Error(), "\n") != 0 {
		t.Errorf("got %v, want the loss, told once", err)
	}
}

// The engines that work on the state later see one consistent document.
func TestSite_Update(t *testing.T) {
	t.Parallel()
	s := newStore(t).open(t)
	type output struct {
		Value string `json:"value"`
		Type  string `json:"type"`
	}
	add := func(name string) (state.Version, error) {
		return s.Update(t.Context(), ref, site.Lock{Wait: time.Minute}, func(d *state.Doc) error {
			outputs := map[string]output{}
			if err := d.Get("outputs", &outputs); err != nil {
				return err
			}
			outputs[name] = output{"x", "string"}
			return d.Set("outputs", outputs)
		})
	}
	first, err := add("first")
	if err != nil || first.Header.Serial != 1 || first.Header.Lineage == "" {
		t.Fatalf("got %+v, %v, want a new state", first.Header, err)
	}
	const writers = 8
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			if _, err := add(fmt.Sprintf("w%d", i)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	outputs := map[string]output{}
	v, err := s.Update(t.Context(), ref, site.Lock{}, func(d *state.Doc) error { return d.Get("outputs", &outputs) })
	if err != nil || len(outputs) != writers+1 || v.Header.Serial != writers+1 || v.Header.Lineage != first.Header.Lineage {
		t.Errorf("got %v, %+v, %v, want every update once, and nothing written for a look", outputs, v.Header, err)
	}
	if _, err := s.Update(t.Context(), ref, site.Lock{}, func(*state.Doc) error { return errWork }); !errors.Is(err, errWork) {
		t.Errorf("got %v, want what the edit said", err)
	}
}

// An engine's write without the lock, between our look and our write, is not overwritten: the edit is made again.
func TestSite_Update_SomebodyWrites(t *testing.T) {
	t.Parallel()
	s := newStore(t).open(t)
	if _, err := s.Update(t.Context(), ref, site.Lock{}, func(d *state.Doc) error { return d.Set("check_results", []any{}) }); err != nil {
		t.Fatal(err)
	}
	edits := 0
	v, err := s.Update(t.Context(), ref, site.Lock{}, func(d *state.Doc) error {
		if edits++; edits == 1 {
			serial, lineage := 0, ""
			if err := errors.Join(d.Get("serial", &serial), d.Get("lineage", &lineage)); err != nil {
				return err
			}
			foreign := fmt.Sprintf(`{"version":4,"terraform_version":"1.11.4","serial":%d,"lineage":%q,"outputs":{"theirs":{"value":1,"type":"number"}},"resources":[]}`, serial+1, lineage)
			if _, err := s.Bucket.Put(t.Context(), ref.Key, strings.NewReader(foreign), bucket.PutOptions{}); err != nil {
				return err
			}
		}
		outputs := map[string]any{}
		if err := d.Get("outputs", &outputs); err != nil {
			return err
		}
		outputs["ours"] = map[string]any{"value": 1, "type": "number"}
		return d.Set("outputs", outputs)
	})
	if err != nil || edits != 2 || v.Header.Serial != 3 {
		t.Errorf("got %v after %d edits, serial %d", err, edits, v.Header.Serial)
	}
	read, err := s.Store.Read(t.Context(), ref)
	if by := read.Provenance; err != nil || by != v.Provenance || by.LockID == "" || !strings.Contains(by.Principal, "@") {
		t.Errorf("recorded: got %+v, %v, want the lock and its holder", by, err)
	}
}

// A store that was not proven is proven before the first lock, once, and refused if it cannot lock.
func TestSite_Prove(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	var probes atomic.Int32
	opts := st.options()
	opts.Verdicts = verdict.Keeper{OnProbe: func(string) { probes.Add(1) }}
	s, err := site.Open(t.Context(), "s3://acme-state/app", opts)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Do(t.Context(), ref, site.Lock{}, func(context.Context) error { return nil }); err != nil {
			t.Error(err)
		}
	}
	if probes.Load() != 1 {
		t.Errorf("got %d probes, want one", probes.Load())
	}
	careless := newStore(t)
	careless.Add(faultproxy.Rule{Fault: faultproxy.IgnoreCondition("key", "secret-key")})
	opts.Endpoint = careless.URL
	if s, err = site.Open(t.Context(), "s3://acme-state", opts); err != nil {
		t.Fatal(err)
	}
	err = s.Do(t.Context(), ref, site.Lock{}, func(context.Context) error { t.Error("it is locked there"); return nil })
	if !errors.Is(err, statelatch.ErrUnsafeStore) {
		t.Errorf("got %v, want %v", err, statelatch.ErrUnsafeStore)
	}
}

// A directory is opened as the engines see it.
func TestDir(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	dir := t.TempDir()
	block := `terraform {
  backend "s3" {
    bucket = "acme-state"
    key    = "app/terraform.tfstate"
    region = "us-east-1"
  }
}`
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(block), 0o600); err != nil {
		t.Fatal(err)
	}
	opts := st.options()
	opts.Getenv = func(name string) string { return map[string]string{"TF_WORKSPACE": "prod"}[name] }
	s, ref, err := site.Dir(t.Context(), dir, opts)
	if err != nil || ref.String() != "s3://acme-state/env:/prod/app/terraform.tfstate" {
		t.Fatalf("got %v, %v", ref, err)
	}
	if err := s.Do(t.Context(), ref, site.Lock{}, func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
	if _, _, err := site.Dir(t.Context(), t.TempDir(), opts); !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("got %v for an empty directory, want %v", err, statelatch.ErrInvalid)
	}
	if _, err := site.Open(t.Context(), "acme-state", opts); !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("got %v for no address, want %v", err, statelatch.ErrInvalid)
	}
}

// A store that ignores the expected owner is not trusted to have looked.
func TestOpen_ExpectedBucketOwner(t *testing.T) {
	t.Parallel()
	ignoring := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `<ListBucketResult><Name>acme-state</Name></ListBucketResult>`)
	}))
	t.Cleanup(ignoring.Close)
	opts := newStore(t).options()
	opts.ExpectedBucketOwner = "123456789012"
	opts.Endpoint = ignoring.URL
	if _, err := site.Open(t.Context(), "s3://acme-state", opts); !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("got %v, want %v", err, statelatch.ErrInvalid)
	}
}

// What there is comes as it is found, and marshals as the commands tell it.
func TestSite_Looks(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	s := st.open(t)
	for i := range 3 {
		for _, key := range []string{"prod/a.tfstate", "prod/b.tfstate"} {
			body := fmt.Sprintf(`{"version":4,"serial":%d,"lineage":%q,"outputs":{},"resources":[]}`, i+1, key)
			if _, err := s.Bucket.Put(t.Context(), key, strings.NewReader(body), bucket.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	info := statelatch.LockInfo{ID: "id", Who: "alice", Operation: "OperationTypeApply", Created: time.Unix(0, 0)}.Marshal()
	if _, err := s.Bucket.Put(t.Context(), "prod/a.tfstate.tflock", bytes.NewReader(info), bucket.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	told := func(v any, err error) string {
		t.Helper()
		text, marshalErr := json.Marshal(v)
		if err = errors.Join(err, marshalErr); err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	want := func(got []string, parts ...string) {
		t.Helper()
		if len(got) != len(parts) {
			t.Fatalf("got %q, want %d", got, len(parts))
		}
		for i, part := range parts {
			if !strings.Contains(got[i], part) {
				t.Errorf("got %s, want %s in it", got[i], part)
			}
		}
	}
	var locks, states, versions []string
	for l, err := range s.Locks(t.Context(), statelatch.Scope{}, fleet.LockOptions{}) {
		locks = append(locks, told(l, err))
	}
	want(locks, `"ref":"s3://acme-state/prod/a.tfstate","locked":true`)
	for v, err := range s.States(t.Context(), statelatch.Scope{Prefix: "prod"}, fleet.StatesOptions{Headers: true}) {
		states = append(states, told(v, err))
	}
	want(states, `"key":"prod/a.tfstate"`, `"serial":3`)
	ref := statelatch.Ref{Bucket: "acme-state", Key: "prod/b.tfstate"}
	for e, err := range s.History(t.Context(), ref, history.Options{}) {
		versions = append(versions, told(e, err))
	}
	want(versions, `"current":true,"deleted":false,"serial":3`, `"serial":2`, `"serial":1`)
}
