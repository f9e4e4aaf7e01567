package session

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch/gateway/access"
)

func serve(tb testing.TB, h http.Handler) string {
	tb.Helper()
	server := httptest.NewServer(h)
	tb.Cleanup(server.Close)
	return server.URL
}

// FuzzOpen feeds session tokens. None but the one that was sealed opens.
func FuzzOpen(f *testing.F) {
	w := newWorld(f)
	s, c, err := w.Begin(access.Session{Principal: access.KeyPrincipal("ana")}, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.AccessKeyID, c.SessionToken)
	f.Add(c.AccessKeyID, c.SessionToken[:40])
	f.Add("", "AQ")
	f.Fuzz(func(t *testing.T, id, token string) {
		got, secret, err := w.master.Open(id, token, s.Expires.Add(-time.Second))
		if err == nil && (id != c.AccessKeyID || secret != c.SecretAccessKey || got.Principal.Name != "key:ana") {
			t.Fatalf("got %+v opened, which nobody sealed", got)
		}
	})
}

// What every request with a session costs.
func BenchmarkRegistry_Lookup(b *testing.B) {
	w := newWorld(b)
	_, c := w.begin(b, map[string]any{"repository": "acme/infra", "ref": "refs/heads/main", "workflow": strings.Repeat("x", 1500)})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Lookup(b.Context(), c.AccessKeyID, c.SessionToken); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzIdentify feeds tokens of issuers. None is taken that was not signed.
func FuzzIdentify(f *testing.F) {
	w := newWorld(f)
	good := w.issuer.Token(nil)
	f.Add(good[:len(good)-2])
	f.Add(w.issuer.Unsigned(nil))
	f.Add(w.issuer.Confused(nil))
	f.Add("e30.e30.e30")
	f.Fuzz(func(t *testing.T, token string) {
		signed := good[:strings.LastIndexByte(good, '.')]
		if s, err := w.Identify(t.Context(), token); err == nil && !strings.HasPrefix(token, signed+".") {
			t.Fatalf("got %+v of a token that nobody signed", s)
		}
	})
}
