// Package faultproxy is an HTTP proxy that misbehaves on purpose between real processes and a real store:
// it drops requests and replies, delays them, delivers them late or twice, and answers for the store.
// It is for end-to-end tests; package faultbucket does the same inside of one process.
//
// A request that meets no fault reaches the store as the client sent it: the same method, request target, Host,
// headers and body, as it streams, so that its signature holds; and the answer comes back likewise. What
// differs is what HTTP calls framing: the order and case of headers and the borders of chunks. The
// proxy answers nothing of its own: where the store cannot be reached, the client's connection is cut.
//
// A request that meets a fault is read whole first. From then on it is the network's: it is delivered
// even if its client has gone.
package faultproxy

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/statelatch/statelatch/internal/fault"
)

// Rule selects requests for a fault. Of several rules the first that fires decides; each counts for itself.
type Rule struct {
	// Match selects by method, path and headers; nil selects everything. It must not read the body
	// or use the proxy. Calls never overlap.
	Match func(*http.Request) bool
	Nth   int   // only the n-th request that Match selects, from 1
	Limit int   // at most this often; 0 means no limit
	Fault Fault // the zero Fault shields a request from the rules behind
}

// Request is one line of the log: one request of a client.
type Request struct {
	Method, Path, Query  string // as sent
	IfMatch, IfNoneMatch string // as sent, even if a fault dropped them
	UserAgent            string
	Target               string // X-Amz-Target, such as DynamoDB_20120810.PutItem
	Fault                string // the name of the fault it met, empty if none
	Stored               int    // the status of the store's last answer to it, 0: it was not asked or did not answer
	Status               int    // the status that the client was answered with, 0: none
}

// Proxy is a running proxy.
type Proxy struct {
	// URL is where clients reach it, such as http://127.0.0.1:34567. Signatures name this host, which the
	// store behind must not mind.
	URL string

	upstream  *url.URL
	transport *http.Transport
	server    *http.Server
	served    chan struct{} // closed when the server has ended
	ctx       context.Context
	stop      context.CancelFunc

	mu       sync.Mutex
	closed   bool
	handlers sync.WaitGroup
	network  fault.Network[request, Fault, *exchange]
}

// request is a line of the log, and what it is about until its fault is found.
type request struct {
	Request
	r *http.Request
}

// Start starts a proxy in front of an upstream, such as http://127.0.0.1:9000, on a port of its own.
func Start(upstream string, rules ...Rule) (*Proxy, error) {
	u, err := url.Parse(upstream)
	if err != nil || u.Scheme != "http" || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return nil, fmt.Errorf("upstream %q: want http://HOST:PORT", upstream)
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		URL:      "http://" + listener.Addr().String(),
		upstream: u,
		transport: &http.Transport{
			DisableCompression:    true, // it would ask for gzip
			ExpectContinueTimeout: time.Second,
			MaxIdleConnsPerHost:   64,
		},
		served: make(chan struct{}),
	}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.server = &http.Server{
		Handler:                      http.HandlerFunc(p.serve),
		DisableGeneralOptionsHandler: true,
		BaseContext:                  func(net.Listener) context.Context { return p.ctx },
		ReadHeaderTimeout:            time.Minute,
		ErrorLog:                     log.New(io.Discard, "", 0),
	}
	p.Add(rules...)
	go func() {
		defer close(p.served)
		_ = p.server.Serve(listener)
	}()
	return p, nil
}

// Close cuts all connections and forgets what is held. It returns when nothing of the proxy runs any more.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.network.TakeLate()
	p.mu.Unlock()
	p.stop()
	err := p.server.Close()
	<-p.served
	p.handlers.Wait()
	p.transport.CloseIdleConnections()
	return err
}

// Add appends rules. They count from now on.
func (p *Proxy) Add(rules ...Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range rules {
		selects := func(q request) bool { return r.Match == nil || r.Match(q.r) }
		p.network.Add(selects, fault.When{Nth: r.Nth, Limit: r.Limit}, r.Fault)
	}
}

// Heal removes all rules. Requests that have met a fault go on suffering it.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.network.Heal()
}

// Requests returns the log, in the order in which requests came in.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	var requests []Request
	for _, line := range p.network.Requests() {
		requests = append(requests, line.Request)
	}
	return requests
}

// Count returns how many requests match; nil matches all.
func (p *Proxy) Count(match func(Request) bool) int {
	n := 0
	for _, r := range p.Requests() {
		if match == nil || match(r) {
			n++
		}
	}
	return n
}

// Deliver lets every request that [Late] holds back reach the store, one after the other in
// the order in which they came, and returns how many the store has answered.
func (p *Proxy) Deliver() int {
	p.mu.Lock()
	due := p.network.TakeLate()
	p.mu.Unlock()
	n := 0
	for _, x := range due {
		if x.send() == nil {
			n++
		}
	}
	return n
}

// serve handles one request of a client.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	line, met, ok := p.admit(r)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	defer p.handlers.Done()
	x := &exchange{proxy: p, w: w, r: r, line: line}
	if met.play == nil {
		x.pass(r.Context())
		return
	}
	// A store does nothing with a request of which the end is missing.
	if err := x.read(); err != nil {
		panic(http.ErrAbortHandler)
	}
	met.play(x)
}

// admit logs a request and finds its fault; false if the proxy is closed.
func (p *Proxy) admit(r *http.Request) (*Request, Fault, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, Fault{}, false
	}
	p.handlers.Add(1)
	line, met := p.network.Admit(request{r: r, Request: Request{
		Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery,
		IfMatch: r.Header.Get("If-Match"), IfNoneMatch: r.Header.Get("If-None-Match"),
		UserAgent: r.UserAgent(), Target: r.Header.Get("X-Amz-Target"),
	}})
	line.r, line.Fault = nil, met.name
	return &line.Request, met, true
}

// hold keeps a request for Deliver.
func (p *Proxy) hold(x *exchange) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.network.Keep(fault.Held, x)
	}
}
