package simulation

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

var errKilled = errors.New("killed")

// process is one process of a client on a machine of its own. It can be stopped, as by SIGSTOP or by its machine's
// sleep, and killed.
//
// While it is stopped nothing of it reaches the network, no answer reaches it, and it cannot look at its clock: a
// reading shows when it was stopped, so that whatever its goroutines still compute is as if they had done it before.
// When it goes on, the clock has gone on too (CLOCK_BOOTTIME), and what it does next it does without having noticed.
// What it had sent before is executed meanwhile. After it was killed it can only compute, to no effect.
type process struct {
	w       *world
	name    string
	plain   bool          // an engine or a person: what it sends has no condition
	remote  bool          // an engine whose messages suffer
	gate    bool          // a gateway: what it does to a lock, it does for others
	loss    float64       // the share of its messages that something happens to
	timeout time.Duration // of one request
	bias    time.Duration // of its clock: machines were started at different times

	mu                  sync.Mutex // guards what follows; never held while waiting
	rng                 *rand.Rand
	stopFrom, stopUntil time.Time
	cutFrom, cutUntil   time.Time // when nothing passes in time between it and the store
	killAt              time.Time // zero: never
	ids                 int
}

// newProcess makes a process that repeats its decisions if it makes them in the same order.
func (w *world) newProcess(name string, stream uint64, loss float64) *process {
	p := &process{w: w, name: name, loss: loss, rng: rand.New(rand.NewPCG(w.seed, stream))}
	p.timeout = p.between(2*time.Second, 30*time.Second)
	p.bias = p.between(0, 1000*time.Hour)
	return p
}

// boot is the clock that the process reads. It runs while the process is stopped.
func (p *process) boot() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.stopped(now) {
		now = p.stopFrom
	}
	return p.bias + now.Sub(p.w.start)
}

func (p *process) stopped(now time.Time) bool {
	return !now.Before(p.stopFrom) && now.Before(p.stopUntil)
}

// stop lets the process be stopped after a while, for some time.
func (p *process) stop(after, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Before(p.stopUntil) {
		return
	}
	p.stopFrom = now.Add(after)
	p.stopUntil = p.stopFrom.Add(d)
	p.w.plan(p, p.stopFrom, "STOPPED for "+d.Round(time.Millisecond).String())
	p.w.plan(p, p.stopUntil, "GOES ON")
}

// cut lets the network of the process fail after a while, for some time.
func (p *process) cut(after, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutFrom = time.Now().Add(after)
	p.cutUntil = p.cutFrom.Add(d)
	p.w.plan(p, p.cutFrom, "CUT OFF for "+d.Round(time.Millisecond).String())
}

func (p *process) isCut() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	return !now.Before(p.cutFrom) && now.Before(p.cutUntil)
}

// kill lets the process die after a while.
func (p *process) kill(after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killAt = time.Now().Add(after)
	p.w.plan(p, p.killAt, "KILLED")
}

func (p *process) dead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.killAt.IsZero() && !time.Now().Before(p.killAt)
}

// death is when the process dies; zero: never.
func (p *process) death() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.killAt
}

// sleep passes time in the process: it does not return while the process is stopped.
func (p *process) sleep(d time.Duration) {
	if d > 0 {
		time.Sleep(d)
	}
	for {
		p.mu.Lock()
		now := time.Now()
		left := time.Duration(0)
		if p.stopped(now) {
			left = p.stopUntil.Sub(now) + rand20ms(p.rng)
		}
		p.mu.Unlock()
		if left == 0 || p.dead() {
			return
		}
		time.Sleep(left)
	}
}

// rand20ms is how long it takes until a goroutine of a process that goes on gets its turn. No two get it at once.
func rand20ms(r *rand.Rand) time.Duration { return time.Duration(1 + r.Int64N(20e6)) }

// between is a random time; its nanoseconds keep two events from falling together.
func (p *process) between(low, high time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return low + time.Duration(p.rng.Int64N(int64(high-low)))
}

// turn is how long it takes until m is on the wire. It depends on what m is, because two goroutines that want to send at the same
// moment come in any order.
func (p *process) turn(m message) time.Duration {
	h := fnv.New64a()
	fmt.Fprint(h, p.name, m.op, m.key)
	r := rand.New(rand.NewPCG(p.w.seed^h.Sum64(), uint64(time.Since(p.w.start))))
	return time.Duration(1 + r.Int64N(int64(2*time.Millisecond)))
}

func (p *process) chance(share float64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return share > 0 && p.rng.Float64() < share
}

func (p *process) pick(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rng.IntN(n)
}
