package main

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/probe/verdict"
)

// probing lets the shell's commands probe stores.
func (s *shell) probing() *shell {
	delete(s.env, "STATELATCH_PROBE")
	return s
}

// at gives the shell the flags to reach a store.
func (s *shell) at(url string) *shell {
	s.url = url
	s.flags = []string{
		"-backend-config", `endpoints={s3="` + url + `"}`, "-backend-config", "region=us-east-1",
		"-backend-config", "access_key=key", "-backend-config", "secret_key=secret-key",
	}
	return s
}

// carelessStore keeps objects and knows no conditions.
type carelessStore struct {
	mu      sync.Mutex
	objects map[string]string
	written []string
}

func newCarelessStore(t *testing.T) (*carelessStore, string) {
	t.Helper()
	c := &carelessStore{objects: make(map[string]string)}
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	return c, srv.URL
}

func (c *carelessStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	content, found := c.objects[r.URL.Path]
	w.Header().Set("Server", "careless")
	switch {
	case r.Method == http.MethodPut:
		content = string(body)
		c.objects[r.URL.Path] = content
		c.written = append(c.written, r.URL.Path)
		w.Header().Set("ETag", fmt.Sprintf("%q", fmt.Sprintf("%x", md5.Sum(body))))
	case r.Method == http.MethodDelete:
		delete(c.objects, r.URL.Path)
		w.WriteHeader(http.StatusNoContent)
	case r.URL.Query().Has("list-type"):
		fmt.Fprint(w, `<ListBucketResult>`)
		for path := range c.objects {
			fmt.Fprintf(w, `<Contents><Key>%s</Key><ETag>"x"</ETag></Contents>`, strings.TrimPrefix(path, "/demo/"))
		}
		fmt.Fprint(w, `</ListBucketResult>`)
	case !found:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `<Error><Code>NoSuchKey</Code></Error>`)
	default:
		w.Header().Set("ETag", fmt.Sprintf("%q", fmt.Sprintf("%x", md5.Sum([]byte(content)))))
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		fmt.Fprint(w, content)
	}
}

func TestProbe_Usage(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, tc := range []struct {
		args  []string
		code  int
		texts []string
	}{
		{[]string{"-h"}, 0, []string{"-endpoint URL", "-clients N", "(default 32)", "-rounds N", "STATELATCH_PROBE", "Examples:"}},
		{[]string{"-clients", "1", "s3://demo"}, 2, []string{"-clients 1"}},
		{[]string{"-rounds", "0", "s3://demo"}, 2, []string{"-rounds 0"}},
		{[]string{"-endpoint", "", "s3://demo"}, 2, []string{"-endpoint", "empty"}},
		{[]string{"demo"}, 2, []string{"s3://BUCKET"}},
		{[]string{"s3://demo", "s3://demo2"}, 2, []string{"one s3://BUCKET[/PREFIX] at most"}},
		{[]string{"-clients", "3", "-endpoint", "http://127.0.0.1:1", "-endpoint", "http://127.0.0.1:2", "s3://demo"}, 2, []string{"2 endpoints need at least 4"}},
	} {
		args := append(append([]string{"probe"}, tc.args...), "-backend-config", "access_key=key", "-backend-config", "secret_key=secret-key", "-backend-config", "region=us-east-1")
		s.want(s.runContext(t.Context(), args...), tc.code, tc.texts...)
	}
}

func TestProbe_GoodStore(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	again := strings.Replace(s.url, "127.0.0.1", "localhost", 1)
	o := s.run("probe", "-rounds", "3", "-clients", "8", "s3://demo/some/prefix")
	s.want(o, 0, "s3://demo at "+s.url+" locks safely: tier full.", "race/replace-against-delete  ok", "requests in")
	if o.err != "" {
		t.Errorf("got %q on stderr, want nothing without a terminal", o.err)
	}
	o = s.run("probe", "-rounds", "3", "-clients", "8", "-json", "-endpoint", again, "-endpoint", s.url, "s3://demo")
	s.want(o, 0)
	var v verdict.Verdict
	if err := json.Unmarshal([]byte(o.out), &v); err != nil || strings.Count(o.out, "\n") != 1 {
		t.Fatalf("got %q, %v, want one line of JSON", o.out, err)
	}
	if v.Tier != lock.TierFull || v.Store.Bucket != "demo" || v.Store.Endpoint != s.url || len(v.Store.MoreEndpoints) != 1 || v.Store.MoreEndpoints[0] != again ||
		v.Store.Server != "Statelatch" || v.Clients != 8 || v.Rounds != 3 || v.Requests < 100 || time.Since(v.At) > time.Hour || len(v.Checks) != 15 {
		t.Errorf("got %+v", v)
	}
}

func TestProbe_UnsafeStore(t *testing.T) {
	t.Parallel()
	careless, url := newCarelessStore(t)
	s := newShell(t).probing().at(url)
	s.want(s.run("probe", "s3://demo"), 13, "cannot lock safely: tier none", "create                       FAILED  a create over an object was accepted",
		"Two clients can hold one lock", "server careless")
	o := s.run("probe", "-json", "s3://demo")
	s.want(o, 13, `"tier":"none"`, `"advice":"Two clients`)
	if o.err != "" || strings.Count(o.out, "\n") != 1 {
		t.Errorf("got %q and %q, want one line of JSON alone", o.out, o.err)
	}
	for round := range 2 { // with the verdict that is kept, and with one of its own
		for _, args := range [][2][]string{ // before the flags and behind
			{{"lock"}, {demoRef}}, {{"run"}, {demoRef, "--", "true"}}, {{"push"}, {"cmd_probe_test.go", demoRef}}, {{"workspace", "delete"}, {"staging", demoRef}},
		} {
			s.want(s.runContext(t.Context(), slices.Concat(args[0], s.flags, args[1])...), 13, "store cannot lock safely", `"create"`, "statelatch probe -backend-config", demoRef)
			if round == 1 {
				s.env["HOME"] = t.TempDir()
			}
		}
		s.env["HOME"] = t.TempDir()
	}
	careless.mu.Lock()
	defer careless.mu.Unlock()
	for _, path := range careless.written {
		if !strings.HasPrefix(path, "/demo/"+statelatch.ProbePrefix) {
			t.Errorf("got %s written, want nothing but the probes' own", path)
		}
	}
	for path := range careless.objects {
		if !strings.HasPrefix(path, "/demo/"+statelatch.ProbePrefix+"verdict-") {
			t.Errorf("got %s left behind, want nothing but the verdict", path)
		}
	}
}
