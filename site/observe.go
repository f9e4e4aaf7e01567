package site

import (
	"context"
	"log/slog"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/lock"
)

// Step is one thing that a Site does. Steps lie within each other as their contexts do.
type Step struct {
	Name  string         // one of the Step constants
	Ref   statelatch.Ref // of the state
	Attrs []slog.Attr    // what else there is to say, as a logger is told
}

// The names of steps. Of a wait there is one for each holder in turn.
const (
	StepAcquire  = "acquire"   // all that is done to get the lock, waits and a takeover with it
	StepWait     = "wait"      // for one holder: holder, operation, id
	StepTakeOver = "take over" // of a lock that was over; it is told when it is done: holder, operation, id
	StepWork     = "work"      // what was passed to Do
	StepUpdate   = "update"    // reading, editing and writing the state
	StepRenew    = "renew"     // a renewal that failed, until one works again or the lock is released or lost
	StepRelease  = "release"   // of the lock
)

// Observer is told of each step, and its end of how it ended. What is done in the step has the context that it returns.
// It must not block: locks are held, and leases run.
type Observer func(ctx context.Context, s Step) (within context.Context, end func(error))

// step begins one.
func (s *Site) step(
	ctx context.Context, name string, ref statelatch.Ref, attrs ...slog.Attr,
) (within context.Context, end func(error)) {
	if s.observe == nil {
		return ctx, func(error) {}
	}
	return s.observe(ctx, Step{Name: name, Ref: ref, Attrs: attrs})
}

// during is step around do.
func (s *Site) during(
	ctx context.Context, name string, ref statelatch.Ref, do func(context.Context) error,
) (err error) {
	ctx, end := s.step(ctx, name, ref)
	defer func() { end(err) }()
	return do(ctx)
}

func holderOf(h lock.Held) []slog.Attr {
	return []slog.Attr{
		slog.String("holder", h.Info.Who), slog.String("operation", h.Info.Operation),
		slog.String("id", h.Info.ID),
	}
}

// course is what goes on beside Acquire and the work, step by step.
type course struct {
	s        *Site
	ctx      context.Context
	ref      statelatch.Ref
	log      *slog.Logger
	endWait  func(error) // nil: nobody is waited for
	endRenew func(error) // nil: no renewal has failed since one worked
}

// over ends the step that *end is of, if there is one.
func over(end *func(error), err error) {
	if *end != nil {
		(*end)(err)
		*end = nil
	}
}

func (c *course) onWait(w lock.Waiting) {
	if !w.Changed {
		return
	}
	holder := holderOf(w.Held)
	c.log.LogAttrs(c.ctx, slog.LevelInfo, "waiting for a lock", holder...)
	over(&c.endWait, nil)
	_, c.endWait = c.s.step(c.ctx, StepWait, c.ref, holder...)
}

func (c *course) onRenewal(_ statelatch.Ref, failure error) {
	if failure == nil {
		c.log.Info("the lock is renewed again")
		over(&c.endRenew, nil)
		return
	}
	c.log.Warn("the lock cannot be renewed, trying on", slog.Any("error", failure))
	_, c.endRenew = c.s.step(c.ctx, StepRenew, c.ref, slog.Any("error", failure))
}

func (c *course) onTakeOver(was lock.Held, by string) {
	holder := holderOf(was)
	c.log.LogAttrs(c.ctx, slog.LevelWarn, "a lock was taken over", append(holder, slog.String("by", by))...)
	_, end := c.s.step(c.ctx, StepTakeOver, c.ref, holder...)
	end(nil)
}
