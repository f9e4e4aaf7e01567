// Package sdkcall is one call of the AWS SDK: its deadline, how far its requests got, and what became of it as a
// [statelatch.StoreError]. The drivers of S3 and DynamoDB and the setup of buckets make their calls with it, so that
// the same answer is of the same kind to each.
package sdkcall

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/statelatch/statelatch"
)

// Op is an operation of a service, for errors.
type Op struct {
	Name   string
	Action string // the IAM action that it needs
	Write  bool   // its outcome may be unknown, and it is never re-sent: its condition would meet what it did itself
	Mute   bool   // its answers have no body, so that the SDK makes up codes from statuses
}

// Call is one call, with the retries of a read.
type Call struct {
	Op Op

	parent, ctx context.Context
	cancel      context.CancelCauseFunc
	timer       *time.Timer
	limit       time.Duration

	attempts  atomic.Int64 // requests that the SDK handed to the HTTP client
	dialling  atomic.Bool  // which asked for a connection
	connected atomic.Bool  // and got one, so that something may have been sent
}

// Begin starts the clock of a call, whose requests are made under the context returned. The caller must end it.
func Begin(parent context.Context, limit time.Duration, op Op) (context.Context, *Call) {
	ctx, cancel := context.WithCancelCause(parent)
	c := &Call{Op: op, parent: parent, ctx: ctx, cancel: cancel, limit: limit}
	c.timer = time.AfterFunc(limit, func() { cancel(timeoutError(limit)) })
	return ctx, c
}

// Pause stops the clock.
func (c *Call) Pause() { c.timer.Stop() }

// Resume starts it anew.
func (c *Call) Resume() { c.timer.Reset(c.limit) }

// End ends the call, and what still goes on under its context.
func (c *Call) End() {
	c.timer.Stop()
	c.cancel(nil)
}

// unsent reports whether certainly nothing of a request reached a server.
func (c *Call) unsent() bool {
	return c.attempts.Load() == 0 || c.dialling.Load() && !c.connected.Load()
}

// timeoutError is a deadline of ours. It does not match context.DeadlineExceeded, which would say that the caller's
// context ended.
type timeoutError time.Duration

func (e timeoutError) Error() string {
	return fmt.Sprintf("no complete answer within %v", time.Duration(e))
}

// Timeout marks the error as a timeout for net.Error's users.
func (timeoutError) Timeout() bool { return true }

// HTTPClient is that of every client of the SDK.
type HTTPClient interface {
	Do(req *http.Request) (*http.Response, error)
}

// Track returns a client that tells c how far its requests got, and shows each answer to look, which may replace its
// body. An error of look is the call's.
func (c *Call) Track(inner HTTPClient, look func(*http.Response) error) HTTPClient {
	return tracked{inner, c, look}
}

type tracked struct {
	inner HTTPClient
	call  *Call
	look  func(*http.Response) error
}

// Do sends one attempt.
func (t tracked) Do(req *http.Request) (*http.Response, error) {
	c := t.call
	c.attempts.Add(1)
	resp, err := t.inner.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GetConn: func(string) { c.dialling.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { c.connected.Store(true) },
	})))
	if err == nil {
		err = t.look(resp)
	}
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// Fail makes an error of exactly one kind of whatever the SDK reported. The caller adds whom it was about.
func (c *Call) Fail(service Service, err error) *statelatch.StoreError {
	se := &statelatch.StoreError{Op: c.Op.Name}
	re, answered := errors.AsType[*smithyhttp.ResponseError](err)
	if !answered || re.HTTPStatusCode() == 0 || c.interrupted(re, err) {
		c.unanswered(se, err)
		return se
	}
	se.Status = re.HTTPStatusCode()
	if api, ok := errors.AsType[smithy.APIError](err); ok && !c.Op.Mute {
		se.Code, se.Message = api.ErrorCode(), statelatch.Printable(api.ErrorMessage())
	}
	se.Kind = service.Kind(c.Op.Write, se.Status, se.Code)
	switch se.Code {
	case "AccessDenied", "AccessDeniedException", "KMS.AccessDeniedException":
		se.Action = c.Op.Action
	case "":
		if se.Message == "" && se.Status/100 == 2 {
			se.Err = cause(err) // an answer that cannot be understood
		}
	}
	return se
}

// interrupted reports whether the call ended in the middle of an answer that refused nothing so far.
func (c *Call) interrupted(re *smithyhttp.ResponseError, err error) bool {
	_, refusal := errors.AsType[smithy.APIError](err)
	return c.ctx.Err() != nil && re.HTTPStatusCode()/100 == 2 && !refusal
}

// unanswered describes a call that ended without an answer.
func (c *Call) unanswered(se *statelatch.StoreError, err error) {
	se.Kind = statelatch.ErrBroken
	if c.Op.Write && !c.unsent() {
		se.Kind = statelatch.ErrAmbiguous
	}
	switch {
	case c.parent.Err() != nil:
		se.Err = c.parent.Err()
		if cause := context.Cause(c.parent); !errors.Is(cause, se.Err) {
			se.Err = fmt.Errorf("%w: %w", se.Err, cause)
		}
	case c.ctx.Err() != nil:
		se.Err = context.Cause(c.ctx)
	default:
		if errors.Is(err, statelatch.ErrDenied) { // no credentials
			se.Kind = statelatch.ErrDenied
		}
		se.Err = cause(err)
	}
}

// cause strips what the SDK and net/http wrap around an error and say about the request, and what would look like the
// end of the caller's context or of a body.
func cause(err error) error {
	if oe, ok := errors.AsType[*smithy.OperationError](err); ok {
		err = oe.Err
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return errors.New(err.Error())
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the connection ended before the answer: %w", io.ErrUnexpectedEOF)
	}
	return err
}
