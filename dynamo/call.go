package dynamo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

const (
	contentType = "application/x-amz-json-1.0"
	// maxAnswer is far above what an item of DynamoDB's largest size, 400 KB, takes in JSON.
	maxAnswer = 4 << 20
)

// operation is one of DynamoDB's, for errors.
type operation struct {
	name   string
	action string // the IAM action that it needs
	write  bool   // never re-sent: its condition would meet its own deed
}

var (
	opGet    = operation{name: "get item", action: "dynamodb:GetItem"}
	opPut    = operation{name: "put item", action: "dynamodb:PutItem", write: true}
	opScan   = operation{name: "scan", action: "dynamodb:Scan"}
	opDelete = operation{name: "delete item", action: "dynamodb:DeleteItem", write: true}
)

// call is one call and what became of its requests: its deadline, and how far they got.
type call struct {
	table *Table
	op    operation
	id    string // the item's LockID

	parent context.Context
	ctx    context.Context
	end    context.CancelFunc

	attempts  int         // requests that the SDK handed to the HTTP client
	dialling  atomic.Bool // which asked for a connection
	connected atomic.Bool // and got one, so that something may have been sent
	foreign   error       // why the last answer, though a success, is not DynamoDB's
}

// begin starts the clock of a call, whose requests are made under the context
// returned. The caller must end it.
func (t *Table) begin(parent context.Context, op operation, id string) (context.Context, *call) {
	ctx, end := context.WithTimeoutCause(parent, t.limit, timeoutError(t.limit))
	return ctx, &call{table: t, op: op, id: id, parent: parent, ctx: ctx, end: end}
}

// unsent reports whether certainly nothing of a request reached a server.
func (c *call) unsent() bool {
	return c.attempts == 0 || c.dialling.Load() && !c.connected.Load()
}

// timeoutError is a deadline of ours. It does not match context.DeadlineExceeded,
// which would say that the caller's context ended.
type timeoutError time.Duration

func (e timeoutError) Error() string {
	return fmt.Sprintf("no complete answer within %v", time.Duration(e))
}

// options are the terms on which every request of c is made.
func (c *call) options(o *dynamodb.Options) {
	if c.op.write {
		o.Retryer = aws.NopRetryer{} // B1
	}
	o.HTTPClient = tracked{inner: o.HTTPClient, call: c}
	o.APIOptions = append(o.APIOptions, awsmiddleware.AddUserAgentKey("statelatch"))
}

// tracked is an HTTP client that tells a call how far its requests got, and reads answers whole.
type tracked struct {
	inner dynamodb.HTTPClient
	call  *call
}

// Do sends one attempt.
func (t tracked) Do(req *http.Request) (*http.Response, error) {
	c := t.call
	c.attempts++
	c.foreign = nil
	resp, err := t.inner.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GetConn: func(string) { c.dialling.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { c.connected.Store(true) },
	})))
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	_ = resp.Body.Close() // read as far as it will be
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode/100 == 2 {
		c.foreign = checkAnswer(resp.Header.Get("Content-Type"), body)
	}
	if c.foreign != nil || len(body) > maxAnswer {
		body = nil // nothing in it counts
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// checkAnswer tells the answer of a proxy or of another service from DynamoDB's. The SDK would take
// an empty one for a missing item, which is a free lock.
func checkAnswer(ct string, body []byte) error {
	const next = "; is the DynamoDB endpoint right, and is there a proxy?"
	switch media, _, err := mime.ParseMediaType(ct); {
	case err != nil || media != contentType:
		return fmt.Errorf("the answer is not DynamoDB's: its Content-Type is %q%s", ct, next)
	case len(body) == 0:
		return errors.New("the answer is not DynamoDB's: it is empty" + next)
	case len(body) > maxAnswer:
		return fmt.Errorf("the answer is not DynamoDB's: it is larger than %d bytes%s", maxAnswer, next)
	}
	return nil
}
