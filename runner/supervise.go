package runner

import (
	"context"
	"os"
	"time"
)

const (
	// calm is how often the lease is looked at. Timers stand still while the machine sleeps, so this bounds how late
	// after it a lease that ran out is noticed.
	calm = time.Second
	// busy is how often, once something is to end.
	busy = 50 * time.Millisecond
	// maxMargin is how long before the end of the lease a group is killed, if a quarter of what was left is not less.
	maxMargin = 2 * time.Second
)

// exit is how the command itself ended.
type exit struct {
	code   int
	killed bool // by SIGKILL or a crash: it cannot have looked after its own children
}

// group is the command and what it started, as far as the system keeps them together.
type group interface {
	interrupt() error
	terminate() error
	kill() error
	alive() bool // asked once the command itself is gone: does anything else run?
}

// supervisor follows one command to its end.
type supervisor struct {
	cmd      Command
	group    group
	exited   <-chan exit // gets one value
	terminal *terminal   // that the group has; nil: none
	lease    Lease       // nil: none
	signals  <-chan os.Signal
	// unwatched gets a value if nobody interrupts the group any more when we die. Nil: never.
	unwatched <-chan error

	result      Result
	cause       Cause // of what is under way
	gone        bool  // the command itself
	interrupted bool
	margin      time.Duration
	// When to take the next step; zero: not planned.
	interruptAt, terminateAt, killAt, giveUpAt time.Time
}

// run returns when the group is gone, or could not be killed.
func (s *supervisor) run(ctx context.Context) Result {
	done := ctx.Done()
	signals := s.signals
	var lost <-chan struct{}
	if s.lease != nil {
		lost = s.lease.Lost()
	}
	look := time.NewTimer(calm)
	defer look.Stop()
	for {
		select {
		case e := <-s.exited:
			s.gone = true
			s.result.ExitCode = e.code
			s.terminal.takeBack() // so that Ctrl-C is ours again if anything is left
			if s.group.alive() {
				s.leftBehind(e)
			}
		case _, ok := <-signals:
			if !ok {
				signals = nil
				break
			}
			s.signalled()
		case <-done:
			done = nil
			s.stop(Cancelled)
		case <-lost:
			lost = nil
			s.leaseLost()
		case err := <-s.unwatched:
			if !s.gone && !s.result.Killed { // else it got what was meant for the group
				s.notify(Event{Step: Unwatched, Err: err})
			}
		case <-look.C:
		}
		if s.gone && !s.group.alive() {
			return s.result
		}
		if s.lease != nil && !s.result.Lost && s.lease.Remaining() <= 0 {
			lost = nil
			s.leaseLost()
		}
		s.step()
		if due(s.giveUpAt) {
			if !s.gone {
				s.result.ExitCode = exitSignal + 9
			}
			s.result.Leftover = true
			return s.result
		}
		if s.gone || s.interrupted {
			look.Reset(busy)
		} else {
			look.Reset(calm)
		}
	}
}

// signalled is called for every signal that we got.
func (s *supervisor) signalled() {
	switch {
	case !s.interrupted:
		s.interrupt(Signal, 0)
	case s.terminateAt.IsZero():
		s.limit(s.cmd.Grace)
		s.notify(Event{Step: Limit, Cause: Signal, Wait: s.cmd.Grace})
	}
}

// stop interrupts the group, if that was not done before, and limits its time.
func (s *supervisor) stop(cause Cause) {
	wait := s.cmd.Grace
	if s.result.Lost {
		wait = min(wait, s.lease.Remaining()-s.margin)
	}
	if s.interrupted {
		s.cause = cause
		s.notify(Event{Step: Limit, Cause: cause, Wait: wait})
	} else {
		s.interrupt(cause, wait)
	}
	s.limit(s.cmd.Grace)
}

// leaseLost stops the group in what is left of the lease. If nothing is left, somebody else may be writing already.
func (s *supervisor) leaseLost() {
	s.result.Lost = true
	left := s.lease.Remaining()
	s.margin = min(maxMargin, left/4)
	if left <= 0 {
		s.kill(LeaseLost)
		return
	}
	s.stop(LeaseLost)
}

// leftBehind decides what becomes of the processes that outlive the command.
func (s *supervisor) leftBehind(e exit) {
	switch {
	case e.killed:
		// Nobody is left to end them: the plugins of a killed terraform, the terraform of a killed shell.
		s.stop(Leftover)
	case s.interrupted || s.terminal.given():
		// They were told to stop, by us or maybe from the terminal. A second interrupt would do harm, and can still be
		// asked for.
		s.notify(Event{Step: Linger, Cause: Leftover})
	default:
		s.interruptAt = time.Now().Add(s.cmd.Grace)
		s.notify(Event{Step: Linger, Cause: Leftover, Wait: s.cmd.Grace})
	}
}

// step does what is due.
func (s *supervisor) step() {
	if due(s.interruptAt) {
		s.interruptAt = time.Time{}
		if !s.interrupted {
			s.stop(Leftover)
		}
	}
	if due(s.terminateAt) && s.killAt.IsZero() {
		s.killAt = time.Now().Add(killDelay)
		s.notify(Event{Step: Terminate, Cause: s.cause, Wait: killDelay, Err: s.group.terminate()})
	}
	if due(s.killAt) {
		s.kill(s.cause)
	}
	if s.result.Lost && s.lease.Remaining() <= s.margin {
		s.kill(LeaseLost)
	}
}

func (s *supervisor) interrupt(cause Cause, wait time.Duration) {
	s.interrupted, s.cause = true, cause
	s.notify(Event{Step: Interrupt, Cause: cause, Wait: wait, Err: s.group.interrupt()})
}

// limit brings the time to terminate forward to d from now.
func (s *supervisor) limit(d time.Duration) {
	if at := time.Now().Add(d); s.terminateAt.IsZero() || at.Before(s.terminateAt) {
		s.terminateAt = at
	}
}

// kill kills the group, once.
func (s *supervisor) kill(cause Cause) {
	if s.result.Killed {
		return
	}
	s.result.Killed, s.interrupted = true, true
	s.giveUpAt = time.Now().Add(goneDelay)
	s.notify(Event{Step: Kill, Cause: cause, Err: s.group.kill()})
}

func (s *supervisor) notify(e Event) {
	if s.cmd.Notify != nil {
		s.cmd.Notify(e)
	}
}

func isLost(lease Lease) bool {
	select {
	case <-lease.Lost():
		return true
	default:
		return lease.Remaining() <= 0
	}
}

func due(at time.Time) bool { return !at.IsZero() && !time.Now().Before(at) }
