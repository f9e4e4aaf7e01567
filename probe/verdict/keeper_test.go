package verdict_test

import (
	"context"
	"encoding/json"
	"errors"
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
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/embedded"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/probe"
	"github.com/statelatch/statelatch/probe/verdict"
)

// newStore starts a store with a bucket "demo".
func newStore(t *testing.T) (url string) {
	t.Helper()
	store, err := embedded.Open(embedded.Config{Dir: t.TempDir(), AccessKeyID: "key", SecretAccessKey: "secret-key"})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.EnsureBucket(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(store.Handler())
	t.Cleanup(func() {
		srv.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return srv.URL
}

// open is the bucket "demo" behind an endpoint.
func open(t *testing.T, url string) *s3bucket.Bucket {
	t.Helper()
	b, err := s3bucket.Open(t.Context(), "demo", s3bucket.Config{
		Endpoints: s3bucket.Endpoints{S3: url}, Region: "us-east-1", AccessKey: "key", SecretKey: "secret-key",
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// askedServer lets a bucket learn the server's name.
func askedServer(t *testing.T, b *s3bucket.Bucket) {
	t.Helper()
	if _, err := b.Head(t.Context(), "absent", bucket.ReadOptions{}); !errors.Is(err, statelatch.ErrNotFound) {
		t.Fatalf("got %v, want no such object", err)
	}
}

// verdictFile is the only file of a directory of verdicts.
func verdictFile(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got %q, %v, want one file", files, err)
	}
	return files[0]
}

func TestKeeper_Known(t *testing.T) {
	t.Parallel()
	b := open(t, newStore(t))
	k := verdict.Keeper{Dir: t.TempDir()}
	now := time.Now()
	good := verdict.Verdict{Tier: lock.TierCAS, Store: verdict.Store{Bucket: "demo", Server: "Statelatch"}, At: now.Add(-23 * time.Hour)}
	for name, tc := range map[string]struct {
		change func(*verdict.Verdict)
		want   bool
	}{
		"good":          {func(*verdict.Verdict) {}, true},
		"old":           {func(v *verdict.Verdict) { v.At = now.Add(-24 * time.Hour) }, false},
		"none, and old": {func(v *verdict.Verdict) { v.At, v.Tier = now.Add(-24*time.Hour), lock.TierNone }, true},
		"of tomorrow":   {func(v *verdict.Verdict) { v.At = now.Add(time.Hour) }, false},
		"no tier":       {func(v *verdict.Verdict) { v.Tier = lock.TierUnknown }, false},
		"other bucket":  {func(v *verdict.Verdict) { v.Store.Bucket = "other" }, false},
	} {
		v := good
		tc.change(&v)
		if err := k.Keep(b, v); err != nil {
			t.Fatal(err)
		}
		if got, ok := k.Known(b, now); ok != tc.want || ok && got.Tier != v.Tier {
			t.Errorf("%s: got %v, %+v, want %v", name, ok, got, tc.want)
		}
	}
	good.Store.Server = "another"
	if err := k.Keep(b, good); err != nil {
		t.Fatal(err)
	}
	if _, ok := k.Known(b, now); !ok {
		t.Error("got no verdict before the store was asked for anything, want it")
	}
	askedServer(t, b)
	if _, ok := k.Known(b, now); ok {
		t.Error("got a verdict on a store that calls itself otherwise, want none")
	}
	for _, broken := range []string{"{", `{"tier":"perfect","store":{"bucket":"demo"}}`} {
		if err := os.WriteFile(verdictFile(t, k.Dir), []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, ok := k.Known(b, now); ok {
			t.Errorf("got a verdict from %s, want none", broken)
		}
	}
	for range 2 {
		if err := k.Forget(b); err != nil {
			t.Errorf("got %v, want it forgotten, also twice", err)
		}
	}
	if _, err := os.Stat(filepath.Join(k.Dir, "demo")); err == nil || k.ReleaseTier(b) != lock.TierFull {
		t.Error("got a verdict that was forgotten")
	}
}

// A weak verdict that ran out between a lock and its release still makes the release careful.
func TestKeeper_ReleaseTier(t *testing.T) {
	t.Parallel()
	b := open(t, newStore(t))
	k := verdict.Keeper{Dir: t.TempDir()}
	old := verdict.Verdict{Tier: lock.TierCAS, Store: verdict.Store{Bucket: "demo", Server: "Statelatch"}, At: time.Now().Add(-48 * time.Hour)}
	if err := k.Keep(b, old); err != nil {
		t.Fatal(err)
	}
	if tier := k.ReleaseTier(b); tier != lock.TierCAS {
		t.Errorf("got tier %v, want %v", tier, lock.TierCAS)
	}
}

// Processes that need a verdict at once probe once, also where an earlier one was killed while it did.
func TestKeeper_Prove_OnceForAll(t *testing.T) {
	t.Parallel()
	url, dir := newStore(t), t.TempDir()
	var probes, waits atomic.Int32
	keeper := verdict.Keeper{
		Dir: dir, OnProbe: func(string) { probes.Add(1) }, OnWait: func(string) { waits.Add(1) },
	}
	prove := func() {
		t.Helper()
		if v, err := keeper.Prove(t.Context(), open(t, url)); err != nil || v.Tier != lock.TierFull || v.Err() != nil {
			t.Errorf("got %v, %v, want full", v.Tier, err)
		}
	}
	var all sync.WaitGroup
	for range 6 {
		all.Go(prove)
	}
	all.Wait()
	if probes.Load() != 1 {
		t.Errorf("got %d probes, want one", probes.Load())
	}
	file := verdictFile(t, dir) // no claim is left behind
	claim := strings.TrimSuffix(file, ".json") + ".probing"
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want a private file", info.Mode(), err)
	}

	forget := func(claimed time.Time) {
		t.Helper()
		if err := errors.Join(keeper.Forget(open(t, url)), os.WriteFile(claim, nil, 0o600), os.Chtimes(claim, claimed, claimed)); err != nil {
			t.Fatal(err)
		}
	}
	forget(time.Now().Add(-time.Hour))
	prove()
	if _, err := os.Stat(claim); err == nil {
		t.Error("got the claim of a process that was killed, want it gone")
	}
	forget(time.Now())
	ctx, cancel := context.WithCancel(t.Context())
	waits.Store(0)
	keeper.OnWait = func(string) { waits.Add(1); cancel() }
	if _, err := keeper.Prove(ctx, open(t, url)); !errors.Is(err, context.Canceled) || waits.Load() != 1 {
		t.Errorf("got %v beside a living claim, and was told %d times, want the wait to be interrupted", err, waits.Load())
	}
}

// AWS's own stores are never probed unasked, but a verdict counts. Nor is a store that the caller vouches for.
func TestKeeper_Prove_NotUnasked(t *testing.T) { // not parallel: it sets the environment
	for _, name := range []string{"AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT", "AWS_ENDPOINT_URL"} {
		t.Setenv(name, "")
	}
	k := verdict.Keeper{Dir: t.TempDir(), OnProbe: func(endpoint string) { t.Errorf("%q is probed", endpoint) }}
	b := open(t, "")
	if b.Endpoint() != "" {
		t.Fatalf("got the endpoint %s, want AWS's own", b.Endpoint())
	}
	if v, err := k.Prove(t.Context(), b); err != nil || v.Tier != lock.TierFull {
		t.Errorf("got %v, %v, want full without a probe", v.Tier, err)
	}
	if err := k.Keep(b, verdict.Verdict{Tier: lock.TierNone, Store: verdict.Store{Bucket: "demo"}}); err != nil {
		t.Fatal(err)
	}
	if v, err := k.Prove(t.Context(), b); err != nil || !errors.Is(v.Err(), statelatch.ErrUnsafeStore) {
		t.Errorf("got %v, %v, want the verdict that is kept", v.Tier, err)
	}
	k.Trust = true
	if v, err := k.Prove(t.Context(), open(t, "http://127.0.0.1:1")); err != nil || v.Tier != lock.TierFull {
		t.Errorf("got %v, %v, want full without a request", v.Tier, err)
	}
}

// share puts a verdict into the bucket, as a probe at url would, but for change.
func share(t *testing.T, url string, change func(*verdict.Verdict) any) {
	t.Helper()
	b := open(t, url)
	if _, err := (verdict.Keeper{}).Probe(t.Context(), []*s3bucket.Bucket{b}, probe.Short()); err != nil {
		t.Fatal(err)
	}
	for o, err := range b.List(t.Context(), bucket.ListOptions{Prefix: statelatch.ProbePrefix}) {
		if err != nil {
			t.Fatal(err)
		}
		v := verdict.Verdict{Tier: lock.TierFull, Store: verdict.Store{Endpoint: url, Bucket: "demo", Server: b.Server()}, At: time.Now()}
		content, err := json.Marshal(change(&v))
		if err == nil {
			_, err = b.Put(t.Context(), o.Key, strings.NewReader(string(content)), bucket.PutOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// What the bucket says is believed only about this endpoint and store, and never against what this user's own probe
// found.
func TestKeeper_Prove_Shared(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*verdict.Verdict) any
		tier   lock.Tier
		probed bool
	}{
		"good":                {func(v *verdict.Verdict) any { return v }, lock.TierFull, false},
		"of another endpoint": {func(v *verdict.Verdict) any { v.Store.Endpoint = "http://elsewhere"; return v }, lock.TierFull, true},
		"of another bucket":   {func(v *verdict.Verdict) any { v.Store.Bucket = "other"; return v }, lock.TierFull, true},
		"of another server":   {func(v *verdict.Verdict) any { v.Store.Server = "Other"; return v }, lock.TierFull, true},
		"of no tier":          {func(v *verdict.Verdict) any { v.Tier = lock.TierUnknown; return v }, lock.TierFull, true},
		"no verdict":          {func(*verdict.Verdict) any { return "perfect" }, lock.TierFull, true},
		"copied since":        {func(v *verdict.Verdict) any { v.At = v.At.Add(-time.Hour); return v }, lock.TierFull, true},
		"none, and old": {func(v *verdict.Verdict) any {
			v.Tier, v.At = lock.TierNone, v.At.Add(-48*time.Hour)
			return v
		}, lock.TierNone, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newStore(t)
			share(t, url, tc.change)
			probed, learned := false, false
			k := verdict.Keeper{
				Dir: t.TempDir(), OnProbe: func(string) { probed = true }, OnLearn: func(verdict.Verdict) { learned = true },
			}
			v, err := k.Prove(t.Context(), open(t, url))
			if err != nil || v.Tier != tc.tier || probed != tc.probed || !learned {
				t.Errorf("got %v, %v, probed: %v, learned: %v", v.Tier, err, probed, learned)
			}
			// A tier that may be mended by somebody else's probe is asked for again, any other is known now.
			learned = false
			if v, err := k.Prove(t.Context(), open(t, url)); err != nil || v.Tier != tc.tier || learned != (tc.tier == lock.TierNone) {
				t.Errorf("the second time: got %v, %v, learned: %v", v.Tier, err, learned)
			}
		})
	}
	url := newStore(t)
	share(t, url, func(v *verdict.Verdict) any { return v })
	k := verdict.Keeper{Dir: t.TempDir()}
	own := verdict.Verdict{
		Tier: lock.TierNone, Store: verdict.Store{Endpoint: url, Bucket: "demo", Server: "Statelatch"}, At: time.Now(),
		Checks: []verdict.Check{{Name: "some-check", RequiredFor: probe.NeedCAS, Outcome: probe.Failed, Evidence: "two of two won"}},
	}
	if err := k.Keep(open(t, url), own); err != nil {
		t.Fatal(err)
	}
	v, err := k.Prove(t.Context(), open(t, url))
	if err != nil || v.Err() == nil || !strings.Contains(v.Err().Error(), `s3://demo failed the check "some-check"`) {
		t.Errorf("got %v, %v, want this user's own", err, v.Err())
	}
}

func TestKeeper_Probe_NoDoor(t *testing.T) {
	t.Parallel()
	if _, err := (verdict.Keeper{}).Probe(t.Context(), nil, probe.Options{}); !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("got %v, want %v", err, statelatch.ErrInvalid)
	}
}
