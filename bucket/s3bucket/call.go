package s3bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// The limits that [Timeouts] leaves at zero get.
const (
	// DefaultDialTimeout limits connecting, DNS included.
	DefaultDialTimeout = 10 * time.Second
	// DefaultTLSHandshakeTimeout limits the TLS handshake.
	DefaultTLSHandshakeTimeout = 10 * time.Second
	// DefaultResponseHeaderTimeout limits the wait for an answer to begin after a
	// request was sent. S3 answers in well under a second; a large body may take the store a while to commit.
	DefaultResponseHeaderTimeout = 30 * time.Second
	// DefaultRequestTimeout limits a whole call on a small object, the retries of a read included.
	DefaultRequestTimeout = 60 * time.Second

	// minThroughput, in bytes a second, is what a large upload is expected to make at
	// least: it extends the limit of a call by the size of its body.
	minThroughput = 64 << 10
)

// Timeouts limit the calls of a [Bucket]. Zero fields get the defaults above. New applies
// Request only; the others need the connection, which is the client's.
type Timeouts struct {
	Dial           time.Duration
	TLSHandshake   time.Duration
	ResponseHeader time.Duration // for each attempt
	Request        time.Duration // for a call; grows with the size of an upload; for a download, of each wait for data
}

func (t Timeouts) orDefaults() Timeouts {
	for _, f := range [...]struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.Dial, DefaultDialTimeout},
		{&t.TLSHandshake, DefaultTLSHandshakeTimeout},
		{&t.ResponseHeader, DefaultResponseHeaderTimeout},
		{&t.Request, DefaultRequestTimeout},
	} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	return t
}

// operation is one method of the port, for errors.
type operation struct {
	name          string
	which         string // bytes of its body, to people
	write         bool
	action        string // the IAM action that it needs
	versionAction string // the same for one named version, if it differs
}

var (
	opHead         = operation{name: "head", action: "s3:GetObject", versionAction: "s3:GetObjectVersion"}
	opGet          = operation{name: "get", which: "that arrived", action: "s3:GetObject", versionAction: "s3:GetObjectVersion"}
	opPut          = operation{name: "put", which: "that were sent", action: "s3:PutObject", write: true}
	opDelete       = operation{name: "delete", action: "s3:DeleteObject", versionAction: "s3:DeleteObjectVersion", write: true}
	opList         = operation{name: "list", action: "s3:ListBucket"}
	opListVersions = operation{name: "list versions", action: "s3:ListBucketVersions"}
)

// under is the operation as a write with a condition: to compare an ETag, S3 demands the right to read.
func (o operation) under(cond bucket.Condition) operation {
	if cond.ETag() != "" {
		o.action += " and s3:GetObject"
	}
	return o
}

// call is one request and what became of it: its deadline, how far it got, and
// those parts of the answer that the SDK does not pass on.
type call struct {
	bucket  *Bucket
	op      operation
	key     string
	version string

	parent context.Context
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration

	handed    atomic.Bool // the SDK handed a signed request to the HTTP client
	dialling  atomic.Bool // which asked for a connection
	connected atomic.Bool // and got one, so that something may have been sent

	header     http.Header   // the answer's
	date       time.Time     // the same, of its Date
	endUnknown bool          // nothing but the closed connection marks the body's end
	spoke      bool          // it is an error in S3's own words, not those of something in between
	hasBody    bool          // the answer came with a body (as far as the length told, except for deletes)
	answer     *bytes.Buffer // if set, collects the answer's body
}

// begin starts the clock of a call, whose requests are made under the context
// returned. The caller must end it.
func (b *Bucket) begin(parent context.Context, op operation, key, version string) (context.Context, *call) {
	return b.beginUpload(parent, op, key, version, 0)
}

// beginUpload is begin for a request with a body of size bytes.
func (b *Bucket) beginUpload(parent context.Context, op operation, key, version string, size int64) (context.Context, *call) {
	ctx, cancel := context.WithCancelCause(parent)
	limit := b.limits.Request + time.Duration(size/minThroughput)*time.Second
	c := &call{bucket: b, op: op, key: key, version: version, parent: parent, ctx: ctx, cancel: cancel, limit: limit}
	c.timer = time.AfterFunc(limit, func() { cancel(timeoutError(limit)) })
	return ctx, c
}

func (c *call) pause()  { c.timer.Stop() }
func (c *call) resume() { c.timer.Reset(c.limit) }

func (c *call) end() {
	c.timer.Stop()
	c.cancel(nil)
}

// unsent reports whether certainly nothing of a request reached a server.
func (c *call) unsent() bool {
	return !c.handed.Load() || c.dialling.Load() && !c.connected.Load()
}

// timeoutError is a deadline of ours. It does not match context.DeadlineExceeded,
// which would say that the caller's context ended.
type timeoutError time.Duration

func (e timeoutError) Error() string {
	return fmt.Sprintf("no complete answer within %v", time.Duration(e))
}

// Timeout marks the error as a timeout for net.Error's users.
func (timeoutError) Timeout() bool { return true }

// tracked is an HTTP client that tells a call how far its request got.
type tracked struct {
	inner s3.HTTPClient
	call  *call
}

// Do sends one attempt.
func (t tracked) Do(req *http.Request) (*http.Response, error) {
	c := t.call
	c.handed.Store(true)
	resp, err := t.inner.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GetConn: func(string) { c.dialling.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { c.connected.Store(true) },
	})))
	if err != nil {
		return resp, err
	}
	c.header = resp.Header
	c.date, _ = http.ParseTime(resp.Header.Get("Date"))
	if server := statelatch.Printable(resp.Header.Get("Server")); server != c.bucket.Server() {
		c.bucket.server.Store(&server)
	}
	if c.op.write && resp.StatusCode >= http.StatusInternalServerError {
		start := peek(resp, codeWithin)
		c.spoke = bytes.Contains(start, []byte("<Error"))
	}
	c.hasBody = resp.ContentLength > 0
	if c.op.name == opDelete.name && resp.ContentLength < 0 { // only reading can tell
		var first [1]byte
		n, err := io.ReadFull(resp.Body, first[:])
		c.hasBody = !errors.Is(err, io.EOF)
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(first[:n]), resp.Body), resp.Body}
	}
	c.endUnknown = resp.ProtoMajor == 1 && resp.ContentLength < 0 && len(resp.TransferEncoding) == 0
	if c.answer != nil {
		c.answer.Reset()
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(resp.Body, c.answer), resp.Body}
	}
	return resp, nil
}
