package rig

import (
	"net/http"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/internal/faultproxy"
)

// Faulty is a store behind a proxy that misbehaves for the clients that go through it.
type Faulty struct {
	*World
	Server *Server
	Proxy  *faultproxy.Proxy
	Ref    string
}

// NewFaulty starts the store and the proxy, and points the world's clients at the proxy.
func NewFaulty(t *testing.T, rules ...faultproxy.Rule) *Faulty {
	t.Helper()
	f := &Faulty{World: NewWorld(t), Ref: "s3://terraform-state/" + StateKey}
	f.Server = f.Serve()
	f.Proxy = StartProxy(t, f.Server.URL, rules...)
	f.Env["AWS_ENDPOINT_URL_S3"] = f.Proxy.URL
	return f
}

// StartProxy starts a proxy that ends with the test.
func StartProxy(tb testing.TB, upstream string, rules ...faultproxy.Rule) *faultproxy.Proxy {
	tb.Helper()
	proxy, err := faultproxy.Start(upstream, rules...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			tb.Error(err)
		}
	})
	return proxy
}

// On matches requests with a method for a key that ends like that.
func On(method, suffix string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == method && strings.HasSuffix(r.URL.Path, suffix) }
}

// ByEngine matches requests of terraform and tofu.
func ByEngine(r *http.Request) bool {
	return strings.Contains(r.UserAgent(), "HashiCorp") || strings.Contains(r.UserAgent(), "OpenTofu")
}

// WantState checks the output "value" of the state.
func (f *Faulty) WantState(value string) {
	f.T.Helper()
	if r := f.Statelatch("pull", f.Ref); r.Code != 0 || !strings.Contains(r.Stdout, `"`+value+`"`) {
		f.T.Errorf("want the state %q: %v", value, r)
	}
}
