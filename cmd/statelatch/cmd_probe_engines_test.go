package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/probe"
	"github.com/statelatch/statelatch/probe/verdict"
)

// overTLS puts a proxy with TLS in front of the shell's store, which refuses what refuse says.
func (s *shell) overTLS(refuse func(*http.Request) (status int, code string)) {
	s.t.Helper()
	target, err := url.Parse(s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status, code := refuse(r); status != 0 {
			w.WriteHeader(status)
			_, _ = w.Write([]byte("<Error><Code>" + code + "</Code></Error>"))
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	s.t.Cleanup(srv.Close)
	for i := range s.flags {
		s.flags[i] = strings.ReplaceAll(s.flags[i], s.url, srv.URL)
	}
	s.url = srv.URL
	s.flags = append(s.flags, "-backend-config", "insecure=true")
}

func noChunks(r *http.Request) (int, string) {
	if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return http.StatusNotImplemented, "NotImplemented"
	}
	return 0, ""
}

// A store that takes our writes and not those of the engines does not "lock safely" for them; what cures it is told,
// and is a cure.
func TestProbe_EnginesCannotWrite(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore().probing()
	s.overTLS(noChunks)
	o := s.run("probe", "-clients", "4", "-rounds", "2", "s3://demo")
	s.want(o, 0, "locks for Statelatch alone: tier full", "engine-writes", "FAILED", "terraform can neither lock nor write here",
		"skip_s3_checksum = true", "AWS_REQUEST_CHECKSUM_CALCULATION=when_required")
	if strings.Contains(o.out, "locks safely") || strings.Contains(o.out, "tofu can neither") {
		t.Errorf("got %s", o.out)
	}
	s.want(s.run("lock", demoRef), 0) // known, and ours work
}

func TestProbe_EnginesCanWrite(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore().probing()
	s.overTLS(func(*http.Request) (int, string) { return 0, "" })
	s.want(s.run("probe", "-clients", "4", "-rounds", "2", "s3://demo"), 0, "locks safely: tier full", "terraform and tofu can lock and write")
	o := s.run("probe", "-clients", "4", "-rounds", "2", "-json", "s3://demo")
	var v verdict.Verdict
	if err := json.Unmarshal([]byte(o.out), &v); err != nil || len(v.Checks) == 0 || v.Checks[len(v.Checks)-1].Name != probe.NameEngines {
		t.Errorf("got %v, %s, want the check last", err, o.out)
	}
}

// The first lock warns, too.
func TestLock_EnginesCannotWrite(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore().probing()
	s.overTLS(noChunks)
	s.want(s.run("lock", demoRef), 0, "Warning: terraform can neither lock nor write here")
}

// A store that cannot encrypt says nothing about its locks.
func TestProbe_StoreThatCannotEncrypt(t *testing.T) {
	t.Parallel()
	for status, code := range map[int]string{http.StatusNotImplemented: "NotImplemented", http.StatusBadRequest: "InvalidArgument"} {
		s := newShell(t).withStore().probing()
		s.overTLS(func(r *http.Request) (int, string) {
			if r.Header.Get("X-Amz-Server-Side-Encryption") != "" {
				return status, code
			}
			return 0, ""
		})
		s.flags = append(s.flags, "-backend-config", "encrypt=true")
		for _, args := range [][]string{{"probe", "s3://demo"}, {"lock", demoRef}, {"run", demoRef, "--", "true"}} {
			o := s.runContext(t.Context(), append(append([]string{args[0]}, s.flags...), args[1:]...)...)
			s.want(o, exitError, "the store cannot encrypt that way", "encrypt")
			if strings.Contains(o.err+o.out, "cannot lock safely") {
				t.Errorf("%v: got %s%s", args, o.out, o.err)
			}
		}
		s.env["STATELATCH_PROBE"] = "off"
		if o := s.run("lock", demoRef); o.code != exitError || strings.Contains(o.err, "cannot lock safely") || status == http.StatusNotImplemented && !strings.Contains(o.err, "encrypt") {
			t.Errorf("without a probe: got exit %d: %s", o.code, o.err)
		}
	}
}
