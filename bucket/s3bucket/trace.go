package s3bucket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Attempt is one request as it went over the wire. Nothing in it is secret: no header, no body, and nothing that a
// query is signed with.
type Attempt struct {
	Method, Host, Path string        // the path as it was sent
	Query              string        // as it was sent, without its signature
	Operation          string        // of a service that has one path for all, such as "GetItem"
	Status             int           // 0: no answer
	RequestID          string        // that the store gave it; empty: none
	Took               time.Duration // until the answer began
	Err                error         // why there is no answer
}

// String is the request and its answer on one line.
func (a Attempt) String() string {
	what := a.Method + " " + a.Host + a.Path
	if a.Query != "" {
		what += "?" + a.Query
	}
	if a.Operation != "" {
		what += " " + a.Operation
	}
	result := strconv.Itoa(a.Status)
	if a.Err != nil {
		result = "no answer: " + a.Err.Error()
	}
	line := fmt.Sprintf("%s: %s, %v", what, result, a.Took.Round(100*time.Microsecond))
	if a.RequestID != "" {
		line += ", request " + a.RequestID
	}
	return line
}

// Unreachable tells why the host could not even be connected to; empty if it could.
func (a Attempt) Unreachable() string {
	if dns, ok := errors.AsType[*net.DNSError](a.Err); ok {
		return dns.Err
	}
	if op, ok := errors.AsType[*net.OpError](a.Err); ok && op.Op == "dial" {
		if sys, ok := errors.AsType[*os.SyscallError](op.Err); ok {
			return sys.Err.Error()
		}
		return op.Err.Error()
	}
	return ""
}

type traceKey struct{}

// WithTrace returns a context under which every request to a bucket or a table is told to f when its answer begins, or
// when there is none. f is called by many goroutines and must return soon. Requests for credentials are not told.
func WithTrace(ctx context.Context, f func(Attempt)) context.Context {
	return context.WithValue(ctx, traceKey{}, f)
}

// traced sends a request and tells about it.
func traced(to http.RoundTripper, req *http.Request) (*http.Response, error) {
	tell, ok := req.Context().Value(traceKey{}).(func(Attempt))
	if !ok {
		return to.RoundTrip(req)
	}
	started := time.Now()
	resp, err := to.RoundTrip(req)
	a := Attempt{
		Method: req.Method, Host: req.URL.Host, Path: req.URL.EscapedPath(), Query: harmlessQuery(req.URL.Query()),
		Took: time.Since(started), Err: err,
	}
	if target := req.Header.Get("X-Amz-Target"); target != "" {
		_, a.Operation, _ = strings.Cut(target, ".")
	}
	if resp != nil {
		a.Status = resp.StatusCode
		a.RequestID = resp.Header.Get("X-Amz-Request-Id")
		if a.RequestID == "" {
			a.RequestID = resp.Header.Get("X-Amzn-Requestid")
		}
	}
	tell(a)
	return resp, err
}

// harmlessQuery is the query without what signs it.
func harmlessQuery(q url.Values) string {
	for name := range q {
		if strings.HasPrefix(strings.ToLower(name), "x-amz-") || strings.EqualFold(name, "x-id") {
			delete(q, name)
		}
	}
	return q.Encode()
}
