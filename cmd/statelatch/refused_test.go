package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch/internal/faultproxy"
	"github.com/statelatch/statelatch/lock"
)

// One refusal, or one doubt, of the release leaves no lock, on a store without conditional delete neither.
func TestUnlock_RefusedOnce(t *testing.T) {
	t.Parallel()
	for _, tier := range []lock.Tier{lock.TierFull, lock.TierCAS} {
		for name, fault := range map[string]faultproxy.Fault{
			"503":             faultproxy.Answer(503, "SlowDown"),
			"500":             faultproxy.Answer(500, "InternalError"),
			"507":             faultproxy.Answer(507, "InsufficientStorage"),
			"429":             faultproxy.Answer(429, "TooManyRequests"),
			"500 after":       faultproxy.AnswerAfter(500, "InternalError"),
			"reply dropped":   faultproxy.LoseReply(),
			"request dropped": faultproxy.LoseRequest(),
		} {
			t.Run(tier.String()+", "+name, func(t *testing.T) {
				t.Parallel()
				s := newShell(t).withStore()
				proxy := s.behindProxy()
				s.at(proxy.URL).keep(tier, 0)
				s.want(s.run("lock", demoRef), 0)
				proxy.Add(faultproxy.Rule{
					Match: func(r *http.Request) bool { return r.Method == http.MethodDelete }, Limit: 1, Fault: fault,
				})
				o := s.run("unlock", demoRef)
				s.want(o, 0)
				if weak := strings.Contains(o.out+o.err, "no conditional delete"); weak != (tier == lock.TierCAS) {
					t.Errorf("got %+v, want it to be a release of tier %s", o, tier)
				}
				s.want(s.run("status", demoRef), 0, "not locked")
				if n := proxy.Count(func(r faultproxy.Request) bool { return r.Fault != "" }); n != 1 {
					t.Errorf("%d faults, want one", n)
				}
			})
		}
	}
}

// A store that is full did nothing, and says so: push ends soon, and its lock is released.
func TestPush_StoreIsFull(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	proxy := s.behindProxy()
	full := faultproxy.Rule{
		Match: func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".tfstate")
		},
		Fault: faultproxy.Answer(507, "InsufficientStorage"),
	}
	proxy.Add(full)
	start := time.Now()
	o := s.run("push", s.file(plainState(1, "a", "")), demoRef)
	s.want(o, 1, "InsufficientStorage")
	if strings.Contains(o.err, "unknown") {
		t.Errorf("got %q, want no doubt about what became of it (%v)", o.err, time.Since(start))
	}
	if n := proxy.Count(func(r faultproxy.Request) bool { return r.Fault != "" }); n > 7 {
		t.Errorf("it was tried %d times", n)
	}
	s.want(s.run("status", demoRef), 0, "not locked")
	proxy.Heal()
	full.Limit = 1
	proxy.Add(full)
	s.want(s.run("push", s.file(plainState(1, "a", "")), demoRef), 0, "Wrote")
}
