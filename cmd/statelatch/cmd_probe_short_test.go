package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/probe/verdict"
)

// Somebody waits for the probe before a first lock, and may pay for each request.
func TestLock_ShortProbeIsCheap(t *testing.T) {
	t.Parallel()
	for _, overTLS := range []bool{false, true} {
		s := newShell(t).withStore().probing()
		if overTLS {
			s.overTLS(noChunks) // its cures are tried, too
		}
		proxied := s.behindProxyCount(overTLS)
		s.want(s.run("lock", demoRef), 0, probingNow)
		files, _ := filepath.Glob(filepath.Join(s.env["HOME"], ".local/state/statelatch/probes/*.json"))
		var v verdict.Verdict
		if len(files) != 1 {
			t.Fatalf("got %q, want one verdict", files)
		}
		content, err := os.ReadFile(files[0])
		if err == nil {
			err = json.Unmarshal(content, &v)
		}
		if err != nil || v.Tier != lock.TierFull || v.Requests > 150 || proxied() > 160 {
			t.Errorf("got tier %q, %d requests reported, %d seen, %v, want at most 150 for the probe", v.Tier, v.Requests, proxied(), err)
		}
		t.Logf("%d requests, %d with the lock's own", v.Requests, proxied())
	}
}

// behindProxyCount counts requests, where the proxy speaks the store's scheme.
func (s *shell) behindProxyCount(tls bool) func() int {
	if tls {
		return func() int { return 0 }
	}
	proxy := s.behindProxy()
	return func() int { return len(proxy.Requests()) }
}
