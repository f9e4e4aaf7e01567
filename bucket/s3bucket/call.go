package s3bucket

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/sdkcall"
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
	Dial           time.Duration // to connect, once
	TLSHandshake   time.Duration // to agree on TLS, once
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
	sdkcall.Op
	which         string // bytes of its body, to people
	versionAction string // Action for one named version, if it differs
}

var (
	opHead = operation{
		Op:            sdkcall.Op{Name: "head", Action: "s3:GetObject", Mute: true},
		versionAction: "s3:GetObjectVersion",
	}
	opGet = operation{
		Op: sdkcall.Op{Name: "get", Action: "s3:GetObject"}, which: "that arrived",
		versionAction: "s3:GetObjectVersion",
	}
	opPut = operation{Op: sdkcall.Op{Name: "put", Action: "s3:PutObject", Write: true}, which: "that were sent"}

	opDelete = operation{
		Op:            sdkcall.Op{Name: "delete", Action: "s3:DeleteObject", Write: true},
		versionAction: "s3:DeleteObjectVersion",
	}
	opList         = operation{Op: sdkcall.Op{Name: "list", Action: "s3:ListBucket"}}
	opListVersions = operation{Op: sdkcall.Op{Name: "list versions", Action: "s3:ListBucketVersions"}}
)

// under is the operation as a write with a condition: to compare an ETag, S3 demands the right to read.
func (o operation) under(cond bucket.Condition) operation {
	if cond.ETag() != "" {
		o.Action += " and s3:GetObject"
	}
	return o
}

// call is a call on an object or a listing, with those parts of the answer that the SDK does not pass on.
type call struct {
	*sdkcall.Call
	bucket *Bucket
	which  string // operation's
	key    string

	header     http.Header // the answer's
	date       time.Time   // the same, of its Date
	endUnknown bool        // nothing but the closed connection marks the body's end
	spoke      bool        // it is an error in S3's own words, not those of something in between
	hasBody    bool        // the answer came with a body (as far as the length told, except for deletes)
	lists      bool        // its answer is a listing, which look reads
	listing    *listed     // the answer's
	listErr    error       // why it is none
}

// begin starts the clock of a call, whose requests are made under the context
// returned. The caller must end it.
func (b *Bucket) begin(parent context.Context, op operation, key, version string) (context.Context, *call) {
	return b.beginUpload(parent, op, key, version, 0)
}

// beginUpload is begin for a request with a body of size bytes.
func (b *Bucket) beginUpload(
	parent context.Context, op operation, key, version string, size int64,
) (context.Context, *call) {
	if version != "" && op.versionAction != "" {
		op.Action = op.versionAction
	}
	ctx, c := sdkcall.Begin(parent, b.limits.Request+time.Duration(size/minThroughput)*time.Second, op.Op)
	return ctx, &call{Call: c, bucket: b, which: op.which, key: key}
}

// look keeps what the SDK does not pass on of an answer.
func (c *call) look(resp *http.Response) error {
	c.header = resp.Header
	c.date, _ = http.ParseTime(resp.Header.Get("Date"))
	if server := statelatch.Printable(resp.Header.Get("Server")); server != c.bucket.Server() {
		c.bucket.server.Store(&server)
	}
	if c.Op.Write && resp.StatusCode >= http.StatusInternalServerError {
		start := peek(resp, codeWithin)
		c.spoke = bytes.Contains(start, []byte("<Error"))
	}
	c.hasBody = resp.ContentLength > 0
	if c.Op.Name == opDelete.Name && resp.ContentLength < 0 { // only reading can tell
		c.hasBody = len(peek(resp, 1)) > 0
	}
	c.endUnknown = resp.ProtoMajor == 1 && resp.ContentLength < 0 && len(resp.TransferEncoding) == 0
	if c.lists && resp.StatusCode/100 == 2 {
		return c.readListing(resp)
	}
	return nil
}

// maxPage is more than a thousand keys of the longest, with all that stands beside them.
const maxPage = 32 << 20

// pages are the buffers of listings.
var pages = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// readListing reads the answer's body, and leaves the SDK an empty one.
func (c *call) readListing(resp *http.Response) error {
	page := pages.Get().(*bytes.Buffer) //nolint:forcetypeassert // nothing else is put there
	page.Reset()
	defer pages.Put(page)
	_, err := page.ReadFrom(io.LimitReader(resp.Body, maxPage))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	c.listing, c.listErr = parseListing(page.Bytes())
	resp.Body = io.NopCloser(strings.NewReader("<ListBucketResult/>"))
	return nil
}
