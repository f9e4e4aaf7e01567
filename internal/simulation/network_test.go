package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

var errNoReply = errors.New("no reply")

// message is one request on its way to the bucket or the table.
type message struct {
	op    string
	key   string
	cond  bucket.Condition
	write bool
}

// delivery is what the network and the store do to one message. All times are counted from its sending.
type delivery struct {
	name   string
	arrive []time.Duration // when the store executes it; none: it is lost
	reply  time.Duration   // when the sender is answered; 0: never
	of     int             // which execution is answered
	status int             // answered instead of the result: 409, 500, 503; 0: the result
	broken bool            // answered by the end of the connection
}

// deliver decides what happens to the next message of p.
func (p *process) deliver() delivery {
	there, back := p.between(5*time.Millisecond, 40*time.Millisecond), p.between(time.Millisecond, 40*time.Millisecond)
	f := delivery{arrive: []time.Duration{there}, reply: there + back}
	kinds := 11
	switch {
	case p.isCut():
		kinds = 5 // only the first: what gets no answer in time
	case !p.chance(p.loss):
		return f
	}
	long := p.between(2*time.Second, 40*time.Second)
	if p.chance(0.2) {
		long = p.between(40*time.Second, 100*time.Second) // longer than anybody looks for what became of it
	}
	switch p.pick(kinds) {
	case 0:
		return delivery{name: "request lost", reply: p.orNever(f.reply), broken: true}
	case 1:
		f.name, f.reply, f.broken = "reply lost", p.orNever(f.reply), true
	case 2:
		f.name, f.arrive[0], f.reply = "request late", long, long+back
	case 3:
		f.name, f.arrive[0], f.broken = "request late, connection broken", long, true
	case 4:
		f.name, f.reply = "reply late", long
	case 5:
		f.name, f.arrive = "sent twice, second late", append(f.arrive, f.reply+long)
	case 6: // somebody on the way repeats what was executed, and passes on the second answer
		again := there + p.between(time.Millisecond, 5*time.Second)
		f = delivery{name: "sent twice, second answered", arrive: []time.Duration{there, again}, reply: again + back, of: 1}
	case 7:
		return delivery{name: "refused for now", reply: f.reply, status: 409}
	case 8:
		return delivery{name: "failed", reply: f.reply, status: 500 + 3*p.pick(2)}
	default:
		f.name, f.status = "failed after executing", 500+3*p.pick(2)
	}
	return f
}

// soonOrNever is f for a delete without condition: once, and not later than somebody waits before another one is sent.
func (f delivery) soonOrNever() delivery {
	if len(f.arrive) == 0 {
		return f
	}
	first := min(f.arrive[0], maxLate)
	f.arrive, f.of = []time.Duration{first}, 0
	f.reply = min(f.reply, first+time.Second)
	return f
}

// orNever is t, or never: a connection that breaks tells its user, or nothing is heard any more.
func (p *process) orNever(t time.Duration) time.Duration {
	if p.chance(0.5) {
		return 0
	}
	return t
}

// answer is what comes back.
type answer[T any] struct {
	value T
	err   error
}

// send passes a message of p to run, which must execute it at once, and waits as a driver of the port does.
// What is under way goes on when p gives up, is stopped or killed.
func send[T any](ctx context.Context, p *process, m message, run func() (T, error)) (T, error) {
	var none T
	p.sleep(p.turn(m))
	if err := p.sendable(ctx, m); err != nil {
		return none, err
	}
	f := p.deliver()
	if p.w.weak && m.op == "delete" && m.cond.IsZero() {
		f = f.soonOrNever()
	}
	p.w.logSent(p, m, f.name)
	results := make([]answer[T], len(f.arrive)) // guarded by world.mu
	for i, at := range f.arrive {
		time.AfterFunc(at, func() {
			p.w.mu.Lock()
			defer p.w.mu.Unlock()
			value, err := run()
			results[i] = answer[T]{value, err}
			p.w.note(p, "    executed %v: %v", m, outcome{err})
		})
	}
	replies := make(chan answer[T], 1)
	if f.reply > 0 {
		time.AfterFunc(f.reply, func() {
			p.w.mu.Lock()
			defer p.w.mu.Unlock()
			switch {
			case f.broken:
				replies <- answer[T]{err: p.failed(m, errNoReply)}
			case f.status != 0:
				replies <- answer[T]{err: p.answered(m, f.status)}
			default:
				replies <- results[f.of]
			}
		})
	}
	value, err := wait(ctx, p, m, replies)
	p.w.logAnswered(p, m, err)
	return value, err
}

func wait[T any](ctx context.Context, p *process, m message, replies <-chan answer[T]) (T, error) {
	timeout := time.NewTimer(p.timeout)
	defer timeout.Stop()
	var r answer[T]
	select {
	case r = <-replies:
	case <-timeout.C:
		r.err = p.failed(m, errNoReply)
	case <-ctx.Done():
		r.err = p.failed(m, ctx.Err())
	}
	p.sleep(0) // a process that was stopped meanwhile knows nothing before it goes on
	if p.dead() {
		return r.value, p.failed(m, errKilled)
	}
	select { // what came while it was stopped may be seen first
	case late := <-replies:
		if p.chance(0.5) {
			r = late
		}
	default:
	}
	return r.value, r.err
}

// sendable reports why m cannot be sent. Sometimes it cannot be told whether it was.
func (p *process) sendable(ctx context.Context, m message) error {
	switch {
	case p.dead():
		time.Sleep(p.between(500*time.Millisecond, time.Second)) // so that what it still computes cannot spin
		return p.failed(m, errKilled)
	case ctx.Err() == nil:
		return nil
	case m.write && p.chance(0.3):
		return p.failed(m, ctx.Err())
	}
	return p.refused(m, statelatch.ErrBroken, 0, ctx.Err())
}

// failed is the error of a message without an answer.
func (p *process) failed(m message, cause error) error {
	if m.write {
		return p.refused(m, statelatch.ErrAmbiguous, 0, cause)
	}
	return p.refused(m, statelatch.ErrBroken, 0, cause)
}

// answered is what a driver makes of a status.
func (p *process) answered(m message, status int) error {
	switch {
	case status == 409 && m.write:
		return p.refused(m, statelatch.ErrConflict, status, nil)
	case m.write:
		err := p.refused(m, statelatch.ErrAmbiguous, status, nil)
		err.Over = true // what it does, it has done
		return err
	case status == 503:
		return p.refused(m, statelatch.ErrThrottled, status, nil)
	}
	return p.refused(m, statelatch.ErrBroken, status, nil)
}

func (p *process) refused(m message, kind error, status int, cause error) *statelatch.StoreError {
	return &statelatch.StoreError{Kind: kind, Op: m.op, Bucket: ref.Bucket, Key: m.key, Status: status, Err: cause}
}

func (m message) String() string {
	if m.cond.IsZero() {
		return fmt.Sprintf("%s %s", m.op, m.key)
	}
	return fmt.Sprintf("%s %s (%v)", m.op, m.key, m.cond)
}
