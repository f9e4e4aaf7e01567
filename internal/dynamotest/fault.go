package dynamotest

import (
	"context"
	"net/http"
	"time"

	"github.com/statelatch/statelatch/internal/fault"
)

// Held is the delay of a [Late] request that the network keeps until [Control.Deliver].
const Held = fault.Held

// Fault is what happens to a request. The zero Fault is none.
type Fault struct {
	name string
	play func(*sending) reply
}

// String is the name of the fault in the log.
func (f Fault) String() string { return f.name }

// sending is one request on its way.
type sending struct {
	control *Control
	ctx     context.Context // of the call; it ends with it
	command command
	late    []*lateCopy // handed to the network when the call has been answered
}

// execute reaches the table.
func (s *sending) execute() reply {
	s.control.mu.Lock()
	defer s.control.mu.Unlock()
	return s.control.apply(s.command)
}

func (s *sending) lost() reply { return reply{lost: true, err: s.ctx.Err()} }

// LoseRequest drops the request before the table sees it.
func LoseRequest() Fault {
	return Fault{fault.LoseRequest, func(s *sending) reply { return s.lost() }}
}

// LoseReply executes the request and drops the reply.
func LoseReply() Fault {
	return Fault{fault.LoseReply, func(s *sending) reply {
		s.execute()
		return s.lost()
	}}
}

// Late drops the reply at once, but the table gets the request later: when so many further requests have been
// answered, or [Held]. With 0 it is [LoseReply]. Reads are only lost.
func Late(after int) Fault {
	if after == 0 {
		return LoseReply()
	}
	return Fault{fault.Late, func(s *sending) reply {
		if s.command.op != OpGetItem {
			s.late = append(s.late, &lateCopy{after: after, command: s.command})
		}
		return s.lost()
	}}
}

// Delay holds a request back for d before the table sees it. If the caller's context ends first it is lost.
func Delay(d time.Duration) Fault {
	return wait(fault.Delay, fault.Sleep(d), false)
}

// Hold holds a request back until release is closed or sends. Otherwise like [Delay].
func Hold(release <-chan struct{}) Fault { return wait(fault.Delay, fault.Receive(release), false) }

// HoldReply executes a request at once and holds its reply back until release is closed or sends. If the
// caller's context ends first the reply is lost.
func HoldReply(release <-chan struct{}) Fault {
	return wait(fault.DelayReply, fault.Receive(release), true)
}

func wait(name string, until func(context.Context) error, executeFirst bool) Fault {
	return Fault{name, func(s *sending) reply {
		var r reply
		if executeFirst {
			r = s.execute()
		}
		if until(s.ctx) != nil {
			return s.lost()
		}
		if !executeFirst {
			r = s.execute()
		}
		return r
	}}
}

// Answer answers with an HTTP status and an error code without executing the request.
func Answer(status int, code string) Fault { return Refuse(status, code, "injected by dynamotest") }

// Refuse is [Answer] with a message.
func Refuse(status int, code, message string) Fault {
	return Fault{fault.Answer(status), func(*sending) reply {
		return reply{status: status, code: code, message: message}
	}}
}

// AnswerAfter executes the request, then answers as [Answer] does. With a status below 500, which
// promises that nothing was changed, this is a table that lies.
func AnswerAfter(status int, code string) Fault {
	return Fault{fault.AnswerAfter(status), func(s *sending) reply {
		s.execute()
		return reply{status: status, code: code, message: "injected by dynamotest"}
	}}
}

// Throttle answers as a table does whose throughput is exceeded: the request is refused, nothing is executed.
func Throttle() Fault {
	return Answer(http.StatusBadRequest, "ProvisionedThroughputExceededException")
}

// Fail answers with a failure of the server, 500, without executing the request.
func Fail() Fault { return Answer(http.StatusInternalServerError, "InternalServerError") }

// FailAfter executes the request, then answers as [Fail] does.
func FailAfter() Fault { return AnswerAfter(http.StatusInternalServerError, "InternalServerError") }
