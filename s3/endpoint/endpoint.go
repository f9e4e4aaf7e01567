// Package endpoint speaks the S3 protocol over an s3model.Store: it authenticates
// requests, translates them into calls of the store, and answers as AWS documents it.
//
// Every request must be signed. What is not supported is refused with 501
// NotImplemented or a more specific code; an operation, a query parameter, a
// condition or a protective header is never ignored in a way that does less than the
// client asked for. A body reaches the store as it streams, and the store commits it
// only after its length, signature and checksums were right.
//
// There is one account, whose root everybody with a key pair is: it may do everything that the policy of a bucket does
// not deny. A policy is enforced, or refused when it is put. Kept but not enforced: public access blocks and tags. ACLs
// other than the owner's own are refused. A body that does not come and an answer that is not
// taken end their connection. Not here: TLS, the time for headers, and the number of
// connections, which belong to the http.Server around it.
package endpoint

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/statelatch/statelatch/s3/s3model"
	"github.com/statelatch/statelatch/s3/sigv4"
)

// Config says what an endpoint serves. Store and Verifier are required.
type Config struct {
	Store    s3model.Store   // what is served; required
	Verifier *sigv4.Verifier // who may ask; required
	// Logger receives failures of the store at Error and every request at Debug, never
	// queries, headers or bodies. Nil discards everything.
	Logger *slog.Logger
	// Domain enables virtual-host style: a request for BUCKET.DOMAIN is for that bucket.
	// Empty: only path style.
	Domain string
	// Regional refuses requests that are signed for another region than their bucket is in, as AWS does, and buckets
	// that are made in another region than the request is signed for, unless that is us-east-1. Otherwise any will do.
	Regional bool
	// Clock is the time of the Date header, and of policies; nil means time.Now.
	Clock func() time.Time
	// Verified, if not nil, is called with the context of each request whose signature is right.
	Verified func(context.Context)
	// Patience is how long a body may bring no byte, and an answer may wait to be taken. Zero means one minute.
	Patience time.Duration
	// BehindTLS says that a proxy in front ends TLS: plain HTTP is taken for encrypted, by policies and with
	// customer keys.
	BehindTLS bool
}

type server struct {
	Config
	policies sync.Map // *cachedPolicy by bucket
}

// New returns a handler for an S3 endpoint. It must not be wrapped in anything that
// cleans paths, as http.ServeMux does. It panics if a required field is missing.
func New(cfg Config) http.Handler {
	if cfg.Store == nil || cfg.Verifier == nil {
		panic("endpoint: Config needs a Store and a Verifier")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Patience == 0 {
		cfg.Patience = time.Minute
	}
	cfg.Domain = strings.ToLower(strings.Trim(cfg.Domain, "."))
	return &server{Config: cfg}
}

// call is one request on its way through the endpoint.
type call struct {
	*server
	w     *recorder
	r     *http.Request
	ctx   context.Context
	id    string
	op    string // name of the operation, for the log
	query url.Values
	sig   *sigv4.Signature

	bucket, key string
	// condition is the header that a 412 is about, for the error document.
	condition string
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sendContinue(w, r)
	progress := &progress{ResponseController: http.NewResponseController(w), patience: s.Patience}
	r = progress.watchBody(r)
	c := &call{server: s, w: &recorder{ResponseWriter: w, progress: progress}, r: r, ctx: r.Context(), id: newRequestID()}
	start := time.Now()
	h := w.Header()
	h.Set("Server", "Statelatch")
	h.Set("X-Amz-Request-Id", c.id)
	h.Set("Date", s.Clock().UTC().Format(http.TimeFormat))
	defer func() {
		if v := recover(); v != nil {
			if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(v)
			}
			s.Logger.LogAttrs(c.ctx, slog.LevelError, "request panicked",
				slog.String("request", c.id), slog.String("op", c.op), slog.Any("panic", v),
				slog.String("stack", string(debug.Stack())))
			c.fail(s3model.ErrInternal)
		}
		s.Logger.LogAttrs(c.ctx, slog.LevelDebug, "request",
			slog.String("request", c.id), slog.String("method", r.Method), slog.String("op", c.op),
			slog.String("bucket", c.bucket), slog.String("key", c.key),
			slog.Int("status", c.w.status), slog.Duration("took", time.Since(start)))
	}()
	if err := c.serve(); err != nil {
		c.fail(err)
	}
}

func (c *call) serve() error {
	if err := c.authenticate(); err != nil {
		return err
	}
	if err := c.address(); err != nil {
		return err
	}
	return c.dispatch()
}

func (c *call) authenticate() error {
	if c.r.Method == http.MethodPost && c.r.Header.Get("Authorization") == "" &&
		strings.HasPrefix(c.r.Header.Get("Content-Type"), "multipart/form-data") {
		return notImplemented("Uploads by HTML form are not supported.")
	}
	var err error
	if c.sig, err = c.Verifier.Verify(c.r); err != nil {
		return err
	}
	if c.Verified != nil {
		c.Verified(c.ctx)
	}
	c.ctx = s3model.WithCaller(c.ctx, s3model.Caller{
		Who: c.sig.Who, Attempt: attempt(c.r), Connection: connection(c.ctx), RequestID: c.id,
		Signed: c.sig.Date, Agent: c.r.UserAgent(), Call: c.r.Header.Get("Amz-Sdk-Invocation-Id"),
	})
	if c.query, err = sigv4.ParseQuery(c.r.URL.RawQuery); err != nil {
		return err
	}
	if c.sig.Presigned {
		return c.hoist()
	}
	return nil
}

// hoist turns the x-amz-* parameters of a presigned URL into the headers they
// stand for. They were signed as parameters, so they are as good as signed headers.
func (c *call) hoist() error {
	for name, values := range c.query {
		lower := strings.ToLower(name)
		if !strings.HasPrefix(lower, "x-amz-") {
			continue
		}
		delete(c.query, name)
		switch lower {
		case "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires",
			"x-amz-signedheaders", "x-amz-signature", "x-amz-content-sha256", "x-amz-security-token":
			continue
		}
		if len(values) != 1 || (c.r.Header.Get(lower) != "" && c.r.Header.Get(lower) != values[0]) {
			return invalidArgument("The parameter " + lower + " of the presigned URL contradicts another one or a header.")
		}
		if strings.Trim(lower, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || !validHeaderValue(values[0]) {
			return invalidArgument("The parameter " + strconv.Quote(name) +
				" of the presigned URL stands for a header, which may not have such characters.")
		}
		c.r.Header.Set(lower, values[0])
	}
	return nil
}

// overTrustedTransport says whether a customer's key may be sent on this connection.
func (c *call) overTrustedTransport() bool {
	if c.r.TLS != nil || c.BehindTLS {
		return true
	}
	addr, err := netip.ParseAddrPort(c.r.RemoteAddr)
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

// recorder remembers whether the answer has begun.
type recorder struct {
	http.ResponseWriter
	progress *progress
	status   int
}

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		spellHeaders(w.Header())
		w.progress.answer()
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.progress.write()
	return w.ResponseWriter.Write(p)
}

// Unwrap serves http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// spellHeaders writes names as S3 does: there are clients that tell cases apart, and names of user metadata
// are given to users as they come.
func spellHeaders(h http.Header) {
	for name, values := range h {
		spelled := name
		switch {
		case name == "Etag":
			spelled = "ETag"
		case strings.HasPrefix(name, "X-Amz-"):
			spelled = strings.ToLower(name)
		}
		if spelled != name {
			delete(h, name)
			h[spelled] = values
		}
	}
}

func newRequestID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, by its documentation
	return strings.ToUpper(hex.EncodeToString(b[:]))
}

// hostOnly is the Host header without a port, in lower case.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
