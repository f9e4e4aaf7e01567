package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/identity"
)

// Whoever meets a lock of their own is told so, and how to release it; nobody is told that somebody must be dead.
func TestLocked_Mine(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("lock", "-reason", "freeze", demoRef), 0)
	state := s.file(plainState(1, "a", oneResource))
	runArgs := append(append([]string{"run"}, s.flags...), demoRef, "--", "true")
	for name, o := range map[string]outcome{
		"lock": s.run("lock", demoRef), "push": s.run("push", state, demoRef), "run": s.runContext(t.Context(), runArgs...),
	} {
		s.want(o, 11, "It is yours, since 20", "'statelatch lock' here", "Release it:           statelatch unlock", demoRef, "-under-lock")
		if strings.Contains(o.err, "force-unlock") || strings.Contains(o.err, "dead") {
			t.Errorf("%s: got %s", name, o.err)
		}
	}
	s.env["HOME"] = t.TempDir() // somebody else
	s.want(s.run("push", state, demoRef), 11, "If that run is dead:", "force-unlock")
	s.want(s.run("push", "-under-lock", state, demoRef), 11, "If that run is dead:")
}

// The owner of a lock works under it: it is the same lock before, meanwhile and afterwards, to whoever looks.
func TestUnderLock(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("push", s.file(plainState(1, "a", oneResource)), demoRef), 0)
	id := strings.TrimSpace(s.run("lock", "-reason", "freeze", demoRef).out)
	steady := func(what string, o outcome) {
		t.Helper()
		s.want(o, 0)
		var now struct {
			Mine    bool
			Lock    struct{ ID, Operation string }
			Managed struct {
				Lease  int64 `json:"lease_seconds"`
				Reason string
			}
		}
		if o := s.run("status", "-json", demoRef); json.Unmarshal([]byte(o.out), &now) != nil || !now.Mine ||
			now.Lock.ID != id || now.Lock.Operation != "lock" || now.Managed.Lease != 0 || now.Managed.Reason != "freeze" {
			t.Errorf("after %s: the lock is %+v", what, o)
		}
	}
	steady("push", s.run("push", "-under-lock", s.file(plainState(2, "a", oneResource)), demoRef))
	steady("rollback", s.run("rollback", "-under-lock", "-auto-approve", "1", demoRef))
	run := append(append([]string{"run", "-under-lock"}, s.flags...), demoRef, "--", "true")
	steady("run", s.runContext(t.Context(), run...))
	s.want(s.run("push", "-under-lock", s.file(plainState(2, "a", oneResource)), demoRef), 2, "step back") // refused, and steady all the same
	steady("nothing", outcome{})
	s.want(s.run("lock", "-under-lock", demoRef), 2, "-under-lock")
	s.want(s.run("unlock", demoRef), 0, "Released")
	s.want(s.run("push", "-under-lock", s.file(plainState(5, "a", oneResource)), demoRef), 0) // there is none to be under
	s.want(s.run("status", demoRef), 0, "not locked")
}

// A command that was killed under a lock leaves it, and its owner releases it or works on.
func TestUnderLock_Killed(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("push", s.file(plainState(1, "a", oneResource)), demoRef), 0)
	mine, err := openClaims(func(k string) string { return s.env[k] })
	if err != nil {
		t.Fatal(err)
	}
	ref := statelatch.Ref{Bucket: "demo", Key: "app/terraform.tfstate"}
	if err := mine.remember(ref, "an-id", time.Now()); err != nil {
		t.Fatal(err)
	}
	killed := statelatch.Managed{TTL: time.Hour, Stays: true, Client: deadClient(t)}
	s.managedLock(ref.Key, "an-id", killed)
	s.want(s.run("status", demoRef), 11, "locked by you", "Verdict: unknown: the command that worked under it", "Release it with")
	s.want(s.run("unlock", "-expired", demoRef), 11, "not over")
	s.want(s.run("push", "-takeover", "expired", s.file(plainState(2, "a", oneResource)), demoRef), 11, "worked under it", "statelatch unlock")
	s.want(s.run("push", "-under-lock", s.file(plainState(2, "a", oneResource)), demoRef), 0)
	s.want(s.run("status", demoRef), 11, "\n\nVerdict: unknown: a command worked under it until")
	s.managedLock(ref.Key, "an-id", killed)
	s.want(s.run("unlock", demoRef), 0, "Released")

	if err := mine.remember(ref, "an-id", time.Now()); err != nil {
		t.Fatal(err)
	}
	s.managedLock(ref.Key, "an-id", statelatch.Managed{TTL: time.Hour, Stays: true, Client: identity.Client()})
	s.want(s.run("push", "-under-lock", s.file(plainState(3, "a", oneResource)), demoRef), 11, "a command of yours works under it")
	s.want(s.run("unlock", demoRef), 11, "still runs")
}
