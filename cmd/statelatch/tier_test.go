package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/probe"
	"github.com/statelatch/statelatch/probe/verdict"
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

// terminal has the shell's environment, and nobody at it.
func (s *shell) terminal() terminal {
	return terminal{Getenv: func(k string) string { return s.env[k] }, Err: io.Discard}
}

// keep puts a verdict on the shell's store into the cache.
func (s *shell) keep(tier lock.Tier, age time.Duration) {
	s.t.Helper()
	b := s.open(s.url)
	if s.url != "" { // it learns the server's name
		_, _ = b.Head(s.t.Context(), "none", bucket.ReadOptions{})
	}
	need := map[lock.Tier]probe.Need{lock.TierNone: probe.NeedCAS, lock.TierCAS: probe.NeedFull}[tier]
	if err := keeper(s.terminal()).Keep(b, verdict.Verdict{
		Tier: tier, Store: verdict.Store{Endpoint: s.url, Bucket: "demo", Server: b.Server()}, At: time.Now().Add(-age),
		Checks: []verdict.Check{{Name: "some-check", RequiredFor: need, Outcome: probe.Failed, Evidence: "two of two won"}},
	}); err != nil {
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
	s.keep(lock.TierFull, 25*time.Hour)
	s.unshare()
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
	s.keep(lock.TierNone, time.Hour)
	s.want(s.run("lock", demoRef), 13, "some-check", "two of two won", "statelatch probe -backend-config", demoRef, time.Now().Add(-time.Hour).UTC().Format("2006-01-02"))
	s.want(s.run("status", demoRef), 0, "is not locked")
	s.env["STATELATCH_PROBE"] = "maybe"
	s.keep(lock.TierFull, 25*time.Hour)
	s.want(s.run("lock", demoRef), 2, "STATELATCH_PROBE", "maybe")
}

// A weak verdict that ran out between lock and unlock still makes the release careful, and one that nothing can be
// locked stands until somebody probes.
func TestVerdicts_ThatRanOut(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore().probing()
	s.keep(lock.TierCAS, 25*time.Hour)
	if tier := keeper(s.terminal()).ReleaseTier(s.open(s.url)); tier != lock.TierCAS {
		t.Errorf("got tier %v, want releases to be weak", tier)
	}
	s.keep(lock.TierNone, 25*time.Hour)
	s.want(s.run("lock", demoRef), 13, "some-check", "Probe again")
	s.want(s.run("probe", "-rounds", "2", "-clients", "4", demoRef), 0, "tier full")
	s.want(s.run("lock", demoRef), 0)
}

func TestLock_WeakStore(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.keep(lock.TierCAS, time.Hour)
	s.want(s.run("lock", demoRef), 0)
	s.want(s.run("unlock", demoRef), 0, "weak release")
	s.want(s.run("lock", "-takeover", "expired", demoRef), 13, "cannot be taken over")
	if tier := keeper(s.terminal()).ReleaseTier(s.open(s.url)); tier != lock.TierCAS {
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
		s.keep(lock.TierNone, 25*time.Hour)
		for _, args := range [][]string{{"force-unlock", "-force", id, demoRef}, {"unlock", "-id", id, demoRef}, {"unlock", demoRef + "2"}} {
			s.want(s.run(args...), 13, "nothing was removed", "terraform force-unlock", ".tflock")
			s.want(s.run("status", args[len(args)-1]), 11)
		}
		s.keep(lock.TierFull, 0)
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
