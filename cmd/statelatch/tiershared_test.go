package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/faultproxy"
)

// fresh is the same shell on a machine that knows nothing.
func (s *shell) fresh() {
	s.t.Helper()
	s.env["HOME"] = s.t.TempDir()
}

// unshare removes the verdicts in the bucket.
func (s *shell) unshare() {
	s.t.Helper()
	b := s.open(s.url)
	for o, err := range b.List(s.t.Context(), bucket.ListOptions{Prefix: statelatch.ProbePrefix + "verdict-"}) {
		if err == nil {
			_, err = b.Delete(s.t.Context(), o.Key, bucket.DeleteOptions{})
		}
		if err != nil {
			s.t.Fatal(err)
		}
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
