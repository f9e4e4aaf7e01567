package server

import (
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/statelatch/statelatch/gateway/session"
	"github.com/statelatch/statelatch/internal/pace"
)

// A state that comes in parts waits in one gateway until it is complete, while a balancer may bring its parts to any.
// So the ID of an upload says where it waits, sealed, and the others pass its requests on as they came: the client's
// signature holds there, too.

// passedOn marks a request that another gateway has passed on: it is never passed on again.
const passedOn = "X-Statelatch-Passed-On"

// uploads names uploads, and leads their requests to where they wait.
type uploads struct {
	self     string // the URL of this gateway for the others; empty: uploads stay where they began
	registry *session.Registry
	logger   *slog.Logger
}

// newID is the ID of an upload that waits here.
func (u *uploads) newID() string {
	random := pace.HexNonce()
	seal, ok := u.registry.Sign(random + " " + u.self)
	if u.self == "" || !ok {
		return random
	}
	return random + "." + base64.RawURLEncoding.EncodeToString([]byte(u.self)) + "." + seal
}

// elsewhere is the gateway where the upload of r waits, if it is another.
func (u *uploads) elsewhere(r *http.Request) (*url.URL, bool) {
	if u.self == "" || r.Header.Get(passedOn) != "" || !strings.Contains(r.URL.RawQuery, "uploadId=") {
		return nil, false
	}
	random, rest, _ := strings.Cut(r.URL.Query().Get("uploadId"), ".")
	where, seal, _ := strings.Cut(rest, ".")
	address, err := base64.RawURLEncoding.DecodeString(where)
	if err != nil || len(address) == 0 || string(address) == u.self ||
		!u.registry.Signed(random+" "+string(address), seal) {
		return nil, false
	}
	to, err := url.Parse(string(address))
	return to, err == nil
}

// passOn lets another gateway answer.
func (u *uploads) passOn(w http.ResponseWriter, r *http.Request, to *url.URL) {
	proxy := httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = to.Scheme, to.Host
			p.Out.Host = p.In.Host // it is signed
			p.Out.Header.Set(passedOn, "1")
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			u.logger.Warn("the gateway where an upload waits cannot be reached", "gateway", to.String(), "err", err)
			w.WriteHeader(http.StatusServiceUnavailable) // SDKs try again
		},
	}
	proxy.ServeHTTP(w, r)
}
