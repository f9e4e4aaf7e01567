package faultbucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/fault"
)

// Held is the delay of a [Duplicate] or [Late] copy that the network keeps until [Bucket.Deliver].
const Held = fault.Held

// errLost is the cause of the errors for lost requests and replies. The caller cannot
// tell the two apart, so it is one for both.
var errLost = errors.New("connection lost")

// Fault is what happens to a request. The zero Fault is none.
type Fault struct {
	name string
	play func(passage) error
}

// String is the name of the fault in the log.
func (f Fault) String() string { return f.name }

// passage is the fault's view of a request: what it may do to it.
type passage interface {
	isWrite() bool
	wait(func(context.Context) error) error // until the function returns; an error if ctx ended first
	execute(ignoreCondition bool) error     // reach the store; the last execution's result is the reply
	again(after int)                        // reach the store once more, later
	lost() error                            // the error of a request without a reply
	answer(status int) error                // the error for an HTTP status
	cut(n int64)                            // end the body of the reply after n bytes
}

// LoseRequest drops the request before the store sees it. A write is ErrAmbiguous, a read ErrBroken.
func LoseRequest() Fault {
	return Fault{fault.LoseRequest, func(p passage) error { return p.lost() }}
}

// LoseReply executes the request and drops the reply. A write is ErrAmbiguous, a read ErrBroken.
func LoseReply() Fault {
	return Fault{fault.LoseReply, func(p passage) error {
		_ = p.execute(false)
		return p.lost()
	}}
}

// Late fails a write with ErrAmbiguous like [LoseRequest], but the store gets it later: when so
// many further requests have been answered, or [Held]. Reads are only lost. With 0 it is [LoseReply].
func Late(after int) Fault {
	return Fault{fault.Late, func(p passage) error {
		if p.isWrite() {
			p.again(after)
		}
		return p.lost()
	}}
}

// Duplicate executes a write twice and returns the first reply. The second execution follows
// at once (0), when so many further requests have been answered, or [Held]. Reads pass unharmed.
func Duplicate(after int) Fault {
	return Fault{fault.Duplicate, func(p passage) error {
		err := p.execute(false)
		if p.isWrite() {
			p.again(after)
		}
		return err
	}}
}

// Resend executes a write twice and returns the second reply, as a client
// library that repeats a request by itself does (B1). Reads pass unharmed.
func Resend() Fault {
	return Fault{fault.Resend, func(p passage) error {
		if p.isWrite() {
			_ = p.execute(false)
		}
		return p.execute(false)
	}}
}

// Delay holds a request back for d before the store sees it. If ctx ends first it is lost
// ([LoseRequest]); for one that arrives nevertheless use [Late].
func Delay(d time.Duration) Fault { return DelayWith(fault.Sleep(d)) }

// Hold holds a request back until release is closed or sends. Otherwise like [Delay].
func Hold(release <-chan struct{}) Fault { return DelayWith(fault.Receive(release)) }

// DelayWith holds a request back until wait returns. wait must return an error once ctx is done.
func DelayWith(wait func(ctx context.Context) error) Fault {
	return Fault{fault.Delay, func(p passage) error {
		if err := p.wait(wait); err != nil {
			return err
		}
		return p.execute(false)
	}}
}

// DelayReply executes a request at once and holds its reply back for d. If ctx ends first the reply is lost.
func DelayReply(d time.Duration) Fault { return DelayReplyWith(fault.Sleep(d)) }

// HoldReply executes a request at once and holds its reply back until release is closed or sends.
func HoldReply(release <-chan struct{}) Fault { return DelayReplyWith(fault.Receive(release)) }

// DelayReplyWith executes a request at once and holds its reply back until wait returns.
func DelayReplyWith(wait func(ctx context.Context) error) Fault {
	return Fault{fault.DelayReply, func(p passage) error {
		result := p.execute(false)
		if err := p.wait(wait); err != nil {
			return err
		}
		return result
	}}
}

// Answer answers with an HTTP status without executing the request: 403, 404, 409, 412, 429, 501, 503, 507, or any
// other as a failure of the server. The kinds of error follow package statelatch:
// a 500 or 503 leaves a write ErrAmbiguous, and Over.
func Answer(status int) Fault {
	return Fault{fault.Answer(status), func(p passage) error { return p.answer(status) }}
}

// AnswerAfter executes the request, then answers as [Answer] does. With a status
// that promises that nothing was changed, such as 409, this is a store that lies.
func AnswerAfter(status int) Fault {
	return Fault{fault.AnswerAfter(status), func(p passage) error {
		_ = p.execute(false)
		return p.answer(status)
	}}
}

// IgnoreCondition executes a write without its condition (Q1, Q5).
func IgnoreCondition() Fault {
	return Fault{fault.IgnoreCondition, func(p passage) error { return p.execute(true) }}
}

// CutBody ends the body of a Get with io.ErrUnexpectedEOF after n bytes, as a broken connection does.
func CutBody(n int64) Fault {
	return Fault{fault.CutBody, func(p passage) error {
		err := p.execute(false)
		p.cut(n)
		return err
	}}
}

// sending is one request on its way; it implements passage.
type sending[T any] struct {
	bucket  *Bucket
	request *Request
	send    func(context.Context, bucket.Condition) (T, error)
	ctx     context.Context // of the call; it ends with it
	result  T
	late    []*lateCopy // handed to the network when the call has been answered
}

func (s *sending[T]) meet(ctx context.Context, f Fault) (T, error) {
	s.ctx = ctx
	err := f.play(s)
	if err != nil {
		s.discard()
		var zero T
		return zero, err
	}
	return s.result, nil
}

func (s *sending[T]) isWrite() bool { return s.request.Op == OpPut || s.request.Op == OpDelete }

func (s *sending[T]) wait(until func(context.Context) error) error {
	if err := until(s.ctx); err != nil {
		return s.failed(fmt.Errorf("%w: %w", errLost, err))
	}
	return nil
}

func (s *sending[T]) execute(ignoreCondition bool) error {
	cond := s.request.If
	if ignoreCondition {
		cond = bucket.Condition{}
	}
	s.discard()
	var err error
	s.result, err = s.send(s.ctx, cond)
	return err
}

// discard closes the body of a reply that the caller will not see.
func (s *sending[T]) discard() {
	if got, ok := any(s.result).(opened); ok && got.body != nil {
		_ = got.body.Close()
	}
}

func (s *sending[T]) again(after int) {
	// The network does not know that the caller gave up.
	ctx := context.WithoutCancel(s.ctx)
	late := &lateCopy{after: after, request: s.request, run: func() error {
		_, err := s.send(ctx, s.request.If)
		return err
	}}
	if after == 0 {
		s.bucket.deliver([]*lateCopy{late})
		return
	}
	s.late = append(s.late, late)
}

func (s *sending[T]) cut(n int64) {
	if got, ok := any(&s.result).(*opened); ok && got.body != nil {
		got.body = &cutBody{ReadCloser: got.body, left: n}
	}
}

func (s *sending[T]) lost() error {
	if err := s.ctx.Err(); err != nil {
		return s.failed(fmt.Errorf("%w: %w", errLost, err))
	}
	return s.failed(errLost)
}

// failed is a request that got no reply.
func (s *sending[T]) failed(cause error) error {
	if s.isWrite() {
		return s.error(statelatch.ErrAmbiguous, cause)
	}
	return s.error(statelatch.ErrBroken, cause)
}

// broken is a request that could not be sent.
func (s *sending[T]) broken(cause error) error { return s.error(statelatch.ErrBroken, cause) }

func (s *sending[T]) answer(status int) error {
	code, kind := s.meaning(status)
	err := s.error(kind, nil)
	err.Status, err.Code = status, code
	err.Over = errors.Is(kind, statelatch.ErrAmbiguous)
	return err
}

// meaning is the code that S3 sends with a status and the kind that a driver of the port makes of it.
func (s *sending[T]) meaning(status int) (code string, kind error) {
	switch status {
	case http.StatusForbidden:
		return "AccessDenied", statelatch.ErrDenied
	case http.StatusNotFound:
		return "NoSuchKey", statelatch.ErrNotFound
	case http.StatusConflict:
		return "ConditionalRequestConflict", statelatch.ErrConflict
	case http.StatusPreconditionFailed:
		return "PreconditionFailed", statelatch.ErrPreconditionFailed
	case http.StatusNotImplemented:
		return "NotImplemented", statelatch.ErrUnsupported
	case http.StatusTooManyRequests:
		return "TooManyRequests", statelatch.ErrThrottled
	case http.StatusInsufficientStorage:
		return "InsufficientStorage", statelatch.ErrBroken
	case http.StatusServiceUnavailable:
		if s.isWrite() {
			return "SlowDown", statelatch.ErrAmbiguous
		}
		return "SlowDown", statelatch.ErrThrottled
	}
	if s.isWrite() {
		return "InternalError", statelatch.ErrAmbiguous
	}
	return "InternalError", statelatch.ErrBroken
}

func (s *sending[T]) error(kind, cause error) *statelatch.StoreError {
	key := s.request.Key
	if strings.HasPrefix(s.request.Op, OpList) {
		key = ""
	}
	return &statelatch.StoreError{Kind: kind, Op: s.request.Op, Bucket: s.bucket.Name(), Key: key, Err: cause}
}

// copies hands out a body as often as a fault needs it. Unless kept, there is only the original.
type copies struct {
	original io.ReadSeeker
	data     []byte
	kept     bool
}

func (c *copies) keep() error {
	if _, err := c.original.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("rewind the body: %w", err)
	}
	data, err := io.ReadAll(c.original)
	if err != nil {
		return fmt.Errorf("read the body: %w", err)
	}
	c.data, c.kept = data, true
	return nil
}

func (c *copies) next() io.ReadSeeker {
	if !c.kept {
		return c.original
	}
	return bytes.NewReader(c.data)
}

type cutBody struct {
	io.ReadCloser
	left int64
}

func (c *cutBody) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}
