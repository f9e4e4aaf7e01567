package server

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/gateway/session"
)

func registry(t *testing.T, master string) *session.Registry {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("master", master)
	write("rules.hcl", "master_key_file = \"master\"\nkey \"a\" { file = \"a\" }\nallow \"x\" {\n  keys = [\"a\"]\n  states = [\"*\"]\n  may = [\"read\"]\n}\n")
	write("a", "aws_access_key_id = AAAAAAAAAAAAAAAAAAAA\naws_secret_access_key = 0123456789012345678901234567890123456789\n")
	cfg, err := access.Load(filepath.Join(dir, "rules.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := session.Open(cfg, session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Requests about an upload go to the gateway where it waits, as they came, once, and only if its ID was made by a
// gateway that has the master key.
func TestUploads_PassedOn(t *testing.T) {
	t.Parallel()
	key, other := session.NewMasterKey()+"\n", session.NewMasterKey()+"\n"
	asked := make(chan *http.Request, 10)
	a := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r }))
	t.Cleanup(a.Close)
	at := func(self, master string) *uploads {
		return &uploads{self: self, registry: registry(t, master), logger: slog.New(slog.DiscardHandler)}
	}
	id := at(a.URL, key).newID()
	if id == at(a.URL, key).newID() || len(id) < 64 {
		t.Errorf("got the ID %q, want one that nobody guesses", id)
	}
	b := at("http://b.example", key)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to, ok := b.elsewhere(r); ok {
			b.passOn(w, r, to)
			return
		}
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(front.Close)
	ask := func(id string, header ...string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, front.URL+"/b/k//x%2Fy?partNumber=1&uploadId="+url.QueryEscape(id), strings.NewReader("part"))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "signed.example"
		for _, name := range header {
			r.Header.Set(name, "1")
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if got := ask(id, "X-Amz-Date"); got != http.StatusOK {
		t.Fatalf("got %d, want the other gateway's answer", got)
	}
	r := <-asked
	if r.Host != "signed.example" || r.RequestURI != "/b/k//x%2Fy?partNumber=1&uploadId="+url.QueryEscape(id) || r.Header.Get("X-Amz-Date") != "1" {
		t.Errorf("the other gateway got %s %s %v, want what came", r.Host, r.RequestURI, r.Header)
	}
	random, rest, _ := strings.Cut(id, ".")
	_, seal, _ := strings.Cut(rest, ".")
	for name, id := range map[string]string{
		"its own": b.newID(), "of another master key": at(a.URL, other).newID(), "no seal": "abc", "changed": random[1:] + "." + rest,
		"another address": fmt.Sprintf("%s.aHR0cDovL2V2aWwuZXhhbXBsZQ.%s", random, seal), "empty": "",
	} {
		if got := ask(id); got != http.StatusTeapot {
			t.Errorf("%s: got %d, want it answered here", name, got)
		}
	}
	if got := ask(id, passedOn); got != http.StatusTeapot {
		t.Errorf("passed on before: got %d, want it answered here", got)
	}
	a.Close()
	if got := ask(id); got != http.StatusServiceUnavailable {
		t.Errorf("the other is gone: got %d, want 503", got)
	}
}
