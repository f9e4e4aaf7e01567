package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/faultproxy"
	"github.com/statelatch/statelatch/probe"
)

// fresh is the same shell on a machine that knows nothing.
func (s *shell) fresh() {
	s.t.Helper()
	s.env["HOME"] = s.t.TempDir()
}

// share puts a verdict into the bucket.
func (s *shell) share(change func(*sharedJSON)) {
	s.t.Helper()
	b := s.open(s.url)
	_, _ = b.Head(s.t.Context(), "none", bucket.ReadOptions{}) // it learns the server's name
	v := sharedJSON{probeJSON{Tier: "full", Store: storeJSON{Endpoint: s.url, Bucket: "demo", Server: b.Server()}, At: time.Now()}, "test"}
	change(&v)
	content, err := json.Marshal(v)
	if err == nil {
		_, err = b.Put(s.t.Context(), sharedKey(b), strings.NewReader(string(content)), bucket.PutOptions{})
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

const probingNow = "Probing whether "

// A fresh machine reads what another one's probe found, and keeps it.
func TestLock_VerdictOfAnotherMachine(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore().probing()
	s.want(s.run("lock", demoRef), 0, probingNow)
	s.want(s.run("unlock", demoRef), 0)
	s.fresh()
	for range 2 {
		o := s.run("lock", demoRef)
		s.want(o, 0)
		if strings.Contains(o.err, probingNow) {
			t.Errorf("got %q, want no second probe", o.err)
		}
		s.want(s.run("unlock", demoRef), 0)
	}
	s.want(s.run("states", "s3://demo"), 0)
	if o := s.run("states", "s3://demo"); strings.Contains(o.out, "verdict-") {
		t.Errorf("the verdict is taken for a state: %s", o.out)
	}
}

// What the bucket says is believed only about this endpoint and store, and never against what this user's own probe
// found.
func TestLock_VerdictThatDoesNotCount(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*sharedJSON){
		"of another endpoint": func(v *sharedJSON) { v.Store.Endpoint = "http://elsewhere" },
		"of another bucket":   func(v *sharedJSON) { v.Store.Bucket = "other" },
		"of another server":   func(v *sharedJSON) { v.Store.Server = "Other" },
		"of an unknown tier":  func(v *sharedJSON) { v.Tier = "perfect" },
		"copied since":        func(v *sharedJSON) { v.At = v.At.Add(-time.Hour) },
	} {
		s := newShell(t).withStore().probing()
		s.share(change)
		if o := s.run("lock", demoRef); o.code != 0 || !strings.Contains(o.err, probingNow) {
			t.Errorf("%s: got exit %d, %q, want a probe", name, o.code, o.err)
		}
	}
	s := newShell(t).withStore().probing()
	s.keep("none", time.Hour)
	s.share(func(*sharedJSON) {})
	s.want(s.run("lock", demoRef), exitUnsafe, "some-check")
}

// That a store cannot lock is believed, and a probe by hand mends it for everybody.
func TestLock_VerdictNoneOfAnotherMachine(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore().probing()
	s.share(func(v *sharedJSON) {
		v.Tier, v.At = "none", time.Now().Add(-48*time.Hour)
		v.Checks = []checkJSON{{Name: "race/create", RequiredFor: probe.NeedCAS, Outcome: probe.Failed, Evidence: "two of two won"}}
	})
	s.want(s.run("lock", demoRef), exitUnsafe, "race/create", "two of two won")
	home := s.env["HOME"]
	s.fresh()
	s.want(s.run("probe", "-clients", "4", "-rounds", "1", "s3://demo"), 0)
	s.env["HOME"] = home
	s.want(s.run("lock", demoRef), 0)
}

// Who may not read it probes.
func TestLock_VerdictThatMayNotBeRead(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore().probing()
	s.behindProxy().Add(faultproxy.Rule{Fault: faultproxy.Answer(http.StatusForbidden, "AccessDenied"), Match: func(r *http.Request) bool {
		return strings.Contains(r.URL.Path, "/verdict-")
	}})
	o := s.run("lock", demoRef)
	s.want(o, 0, probingNow)
	if strings.Contains(o.err, "Warning") || strings.Contains(o.err, "denied") {
		t.Errorf("got %q, want nothing about it", o.err)
	}
}
