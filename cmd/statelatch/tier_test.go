package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/probe"
)

// open is the bucket "demo" of the shell's store.
func (s *shell) open(url string) *s3bucket.Bucket {
	s.t.Helper()
	b, err := s3bucket.Open(s.t.Context(), "demo", s3bucket.Config{
		Endpoints: s3bucket.Endpoints{S3: url}, Region: "us-east-1", AccessKey: "key", SecretKey: "secret-key",
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// keep puts a verdict on the shell's store into the cache.
func (s *shell) keep(tier string, age time.Duration) {
	s.t.Helper()
	kept, err := openVerdicts(func(k string) string { return s.env[k] })
	if err != nil {
		s.t.Fatal(err)
	}
	b := s.open(s.url)
	if s.url != "" { // it learns the server's name
		_, _ = b.Head(s.t.Context(), "none", bucket.ReadOptions{})
	}
	need := map[string]probe.Need{"none": probe.NeedCAS, "cas": probe.NeedFull}[tier]
	v := probeJSON{
		Tier: tier, Store: storeJSON{Endpoint: s.url, Bucket: "demo", Server: b.Server()}, At: time.Now().Add(-age),
		Checks: []checkJSON{{Name: "some-check", RequiredFor: need, Outcome: probe.Failed, Evidence: "two of two won"}},
	}
	if err := kept.save(b, v); err != nil {
		s.t.Fatal(err)
	}
}

func TestLock_ProbesOnceADay(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore().probing()
	const probing = "Probing whether "
	s.want(s.run("lock", demoRef), 0, probing+s.url, "STATELATCH_PROBE=off")
	s.want(s.run("unlock", demoRef), 0)
	files, err := filepath.Glob(filepath.Join(s.env["HOME"], ".local/state/statelatch/probes/*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got %q, %v, want one verdict", files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want a private file", info.Mode(), err)
	}
	o := s.run("lock", demoRef, demoRef+"2")
	s.want(o, 0)
	if strings.Contains(o.err, probing) {
		t.Errorf("got %q, want no second probe", o.err)
	}
	s.want(s.run("unlock", demoRef, demoRef+"2"), 0)
	s.keep("full", 25*time.Hour)
	s.share(func(v *sharedJSON) { v.Store.Server = "Another" })
	o = s.run("lock", demoRef, demoRef+"2")
	s.want(o, 0, probing)
	if strings.Count(o.err, probing) != 1 {
		t.Errorf("got %q, want one probe for two states", o.err)
	}
}

func TestLock_ProbeSwitchedOff(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	o := s.run("lock", demoRef)
	s.want(o, 0)
	if strings.Contains(o.err, "Probing") {
		t.Errorf("got %q, want no probe", o.err)
	}
	s.want(s.run("unlock", demoRef), 0)
	s.keep("none", time.Hour)
	s.want(s.run("lock", demoRef), 13, "some-check", "two of two won", "statelatch probe -backend-config", demoRef, time.Now().Add(-time.Hour).UTC().Format("2006-01-02"))
	s.want(s.run("status", demoRef), 0, "is not locked")
	s.env["STATELATCH_PROBE"] = "maybe"
	s.keep("full", 25*time.Hour)
	s.want(s.run("lock", demoRef), 2, "STATELATCH_PROBE", "maybe")
}

// Runs that start together on a fresh machine probe once, also where an earlier process was killed while it did.
func TestLock_OneProbeForAll(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore().probing()
	kept := verdicts{filepath.Join(s.env["HOME"], ".local/state/statelatch/probes")}
	killed := strings.TrimSuffix(kept.file(s.open(s.url)), ".json") + ".probing"
	term := func(said *strings.Builder) terminal {
		return terminal{getenv: func(k string) string { return s.env[k] }, err: said}
	}
	var said [6]strings.Builder
	var all sync.WaitGroup
	for i := range said {
		all.Go(func() {
			if v, err := proveStore(t.Context(), term(&said[i]), s.open(s.url)); err != nil || v.Tier != "full" {
				t.Errorf("got %q, %v, want full", v.Tier, err)
			}
		})
	}
	all.Wait()
	probes := 0
	for i := range said {
		probes += strings.Count(said[i].String(), "Probing whether ")
	}
	if probes != 1 {
		t.Errorf("got %d probes, want one", probes)
	}
	if _, err := os.Stat(killed); err == nil {
		t.Error("got a claim that is left behind")
	}
	s.keep("full", 25*time.Hour)
	old := time.Now().Add(-time.Hour)
	if err := errors.Join(os.WriteFile(killed, nil, 0o600), os.Chtimes(killed, old, old)); err != nil {
		t.Fatal(err)
	}
	if v, err := proveStore(t.Context(), term(new(strings.Builder)), s.open(s.url)); err != nil || v.Tier != "full" {
		t.Errorf("got %q, %v beside a dead claim, want full", v.Tier, err)
	}
	s.keep("full", 25*time.Hour)
	if err := os.WriteFile(killed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := proveStore(ctx, term(new(strings.Builder)), s.open(s.url)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v beside a living claim, want the wait to be interrupted", err)
	}
}

// A weak verdict that ran out between lock and unlock still makes the release careful, and one that nothing can be
// locked stands until somebody probes.
func TestVerdicts_ThatRanOut(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore().probing()
	s.keep("cas", 25*time.Hour)
	if tier := releaseTier(terminal{getenv: func(k string) string { return s.env[k] }}, s.open(s.url)); tier != lock.TierCAS {
		t.Errorf("got tier %v, want releases to be weak", tier)
	}
	s.keep("none", 25*time.Hour)
	s.want(s.run("lock", demoRef), 13, "some-check", "Probe again")
	s.want(s.run("probe", "-rounds", "2", "-clients", "4", demoRef), 0, "tier full")
	s.want(s.run("lock", demoRef), 0)
}

func TestLock_WeakStore(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.keep("cas", time.Hour)
	s.want(s.run("lock", demoRef), 0)
	s.want(s.run("unlock", demoRef), 0, "weak release")
	s.want(s.run("lock", "-takeover", "expired", demoRef), 13, "cannot be taken over")
	if tier := releaseTier(terminal{getenv: func(k string) string { return s.env[k] }}, s.open(s.url)); tier != lock.TierCAS {
		t.Errorf("got tier %v, want releases to be weak", tier)
	}
}

func TestLock_ProbeDenied(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
	}))
	t.Cleanup(srv.Close)
	s := newShell(t).probing().at(srv.URL)
	s.want(s.run("lock", demoRef), 14, "s3:PutObject", "statelatch policy", "STATELATCH_PROBE=off")
}

// AWS's own endpoints are never probed unasked, but a verdict counts.
func TestProveStore_AWS(t *testing.T) { // not parallel: it sets the environment
	for _, name := range []string{"AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT", "AWS_ENDPOINT_URL"} {
		t.Setenv(name, "")
	}
	s := newShell(t).probing()
	var said strings.Builder
	term := terminal{getenv: func(k string) string { return s.env[k] }, err: &said}
	b := s.open("")
	if b.Endpoint() != "" {
		t.Fatalf("got the endpoint %s, want AWS's own", b.Endpoint())
	}
	v, err := proveStore(t.Context(), term, b)
	if err != nil || v.Tier != "full" || said.Len() > 0 {
		t.Errorf("got %q, %v and %q, want full without a probe", v.Tier, err, said.String())
	}
	s.keep("none", time.Hour)
	if v, err := proveStore(t.Context(), term, b); err != nil || v.Tier != "none" {
		t.Errorf("got %q, %v, want the verdict that is kept", v.Tier, err)
	}
}

func TestVerdicts_Load(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	b := s.open(s.url)
	kept := verdicts{t.TempDir()}
	now := time.Now()
	good := probeJSON{Tier: "cas", Store: storeJSON{Bucket: "demo", Server: "Statelatch"}, At: now.Add(-23 * time.Hour)}
	for name, tc := range map[string]struct {
		change func(*probeJSON)
		want   bool
	}{
		"good":         {func(*probeJSON) {}, true},
		"old":          {func(v *probeJSON) { v.At = now.Add(-24 * time.Hour) }, false},
		"of tomorrow":  {func(v *probeJSON) { v.At = now.Add(time.Hour) }, false},
		"no tier":      {func(v *probeJSON) { v.Tier = "" }, false},
		"other bucket": {func(v *probeJSON) { v.Store.Bucket = "other" }, false},
	} {
		v := good
		tc.change(&v)
		if err := kept.save(b, v); err != nil {
			t.Fatal(err)
		}
		if got, ok := kept.load(b, now); ok != tc.want || ok && got.Tier != v.Tier {
			t.Errorf("%s: got %v, %+v, want %v", name, ok, got, tc.want)
		}
	}
	good.Store.Server = "another"
	if err := kept.save(b, good); err != nil {
		t.Fatal(err)
	}
	if _, ok := kept.load(b, now); !ok {
		t.Error("got no verdict before the store was asked for anything, want it")
	}
	if _, err := b.Head(t.Context(), "absent", bucket.ReadOptions{}); err == nil {
		t.Fatal("got an object in an empty bucket")
	}
	if _, ok := kept.load(b, now); ok {
		t.Error("got a verdict on a store that calls itself otherwise, want none")
	}
	if err := os.WriteFile(kept.file(b), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := kept.load(b, now); ok {
		t.Error("got a verdict from a broken file, want none")
	}
}

// Locks are not removed where nothing can be made conditional, and what to do instead is said.
func TestUnlock_TierNone(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	const id = "76025bcd-9147-b147-6c59-bc2127ef8c03"
	s.want(s.run("lock", demoRef+"2"), 0)
	for _, put := range []func(){
		func() { s.plainLock("app/terraform.tfstate", id) },
		func() { s.managedLock("app/terraform.tfstate", id, statelatch.Managed{Seq: 1, TTL: time.Minute}) },
	} {
		put()
		s.keep("none", 25*time.Hour)
		for _, args := range [][]string{{"force-unlock", "-force", id, demoRef}, {"unlock", "-id", id, demoRef}, {"unlock", demoRef + "2"}} {
			s.want(s.run(args...), 13, "nothing was removed", "terraform force-unlock", ".tflock")
			s.want(s.run("status", args[len(args)-1]), 11)
		}
		s.keep("full", 0)
		s.want(s.run("force-unlock", "-force", id, demoRef), 0)
	}
}

// Where a lease is removed on a store of which nothing is known, it is probed first: the state is fenced on conditions.
func TestUnlock_LeasedIsProbedFirst(t *testing.T) {
	t.Parallel()
	const id = "76025bcd-9147-b147-6c59-bc2127ef8c03"
	for _, args := range [][]string{{"force-unlock", "-force", id, demoRef}, {"unlock", "-auto-approve", demoRef}} {
		s := newShell(t).withStore().probing() // nothing is known of it, neither here nor in the bucket
		s.managedLock("app/terraform.tfstate", id, statelatch.Managed{Seq: 1, TTL: time.Minute, Client: deadClient(t)})
		s.want(s.run(args...), 0, "Probing whether ")
	}
}

// A store that looks at no expected owner is refused, because the expectation would be worth nothing.
func TestExpectedBucketOwner_Ignored(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("lock", "-expected-bucket-owner", "123456789012", demoRef), 14) // it refuses any
	deaf := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			t.Errorf("%s %s: got a request that may change something", r.Method, r.URL)
		}
		_, _ = w.Write([]byte(`<ListBucketResult><Name>demo</Name><IsTruncated>false</IsTruncated></ListBucketResult>`))
	}))
	t.Cleanup(deaf.Close)
	s.at(deaf.URL)
	s.want(s.run("lock", "-expected-bucket-owner", "123456789012", demoRef), 2, "ignores it")
}
