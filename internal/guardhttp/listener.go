package guardhttp

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// Listener serves a handler to those who ask for it by its own name.
type Listener struct {
	// Addr is where it listens.
	Addr net.Addr
	// Names are the host names that it answers to, beside those of where it listens: of a loopback address those of
	// this machine alone; of any other every IP address and the machine's own name.
	Names   []string
	Handler http.Handler
}

// Server is an HTTP server with bounds on every time, whose handler answers 421 to whom names another host: a page in a
// browser whose own name leads here, for one. Requests with Sec-Fetch-Site of another site are refused alike.
func (l Listener) Server() *http.Server {
	return &http.Server{
		Handler: l, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 64 << 10,
	}
}

// ServeHTTP implements [http.Handler].
func (l Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch host, err := hostOf(r.Host); {
	case err != nil, !l.answers(host):
		http.Error(w, "this is not the host that the request names; see the option -allow-host",
			http.StatusMisdirectedRequest)
	case r.Header.Get("Sec-Fetch-Site") == "cross-site":
		http.Error(w, "not for other sites", http.StatusForbidden)
	default:
		w.Header().Set("X-Content-Type-Options", "nosniff")
		l.Handler.ServeHTTP(w, r)
	}
}

// hostOf is the host of a Host header, without port and brackets.
func hostOf(header string) (string, error) {
	if header == "" {
		return "", errors.New("no host")
	}
	host := header
	if h, _, err := net.SplitHostPort(header); err == nil {
		host = h
	} else if strings.Contains(strings.Trim(header, "[]"), ":") != strings.HasPrefix(header, "[") {
		return "", fmt.Errorf("host %q", header)
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), ".")), nil
}

func (l Listener) answers(host string) bool {
	if slices.ContainsFunc(l.Names, func(name string) bool {
		own,
			err := hostOf(name)
		return err == nil && own == host
	}) {
		return true
	}
	if isLoopback(host) {
		return true
	}
	at, _, err := net.SplitHostPort(l.Addr.String())
	if err != nil || isLoopback(at) {
		return false
	}
	if net.ParseIP(host) != nil { // no name leads astray whoever asks by an address
		return true
	}
	own, err := os.Hostname()
	own = strings.ToLower(own)
	short, _, _ := strings.Cut(own, ".")
	return err == nil && (host == own || host == short)
}
