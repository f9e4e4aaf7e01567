package main

import (
	"context"
	"errors"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/lock"
)

// watchers is how many leases are watched at once: that is mere waiting.
const watchers = 256

// errUnwatched is of a lock that was not looked at again in time.
var errUnwatched = errors.New("interrupted before the lock was proven to be over")

// plannedJSON describes a lock that would be released.
type plannedJSON struct {
	Ref          string         `json:"ref"`
	WouldRelease bool           `json:"would_release"`
	Verdict      evidence.State `json:"verdict"`
	Proof        string         `json:"proof"`
	Lock         any            `json:"lock,omitempty"`
}

// planScope lists the locks of a bucket or prefix, and shows those that the flags select.
func (u *unlocking) planScope(ctx context.Context) ([]unlockStep, error) {
	scope, backend, err := u.scope(u.term)
	if err != nil {
		return nil, err
	}
	all, err := connect(ctx, u.term, statelatch.Ref{Bucket: scope.Bucket}, backend) // its manager is for every state of the bucket
	if err != nil {
		return nil, err
	}
	v := &lockView{
		locksOptions: locksOptions{targetOptions: u.targetOptions}, term: u.term, scope: scope, backend: backend,
		owner: u.owner, locks: all.locks, sources: u.sources,
	}
	locks, err := v.list(ctx)
	if err != nil {
		return nil, err
	}
	var steps []unlockStep
	var planned []fleet.Lock
	for _, l := range locks {
		s := unlockStep{target: all, held: l.Held, verdict: l.Verdict, err: l.Unread}
		s.ref, s.again = l.Ref, u.againFor(backend, l.Ref, u.term)
		if l.Unread == nil {
			if !u.selects(l) {
				continue
			}
			u.decide(&s)
		}
		steps = append(steps, s)
		if s.deed != deedNone {
			planned = append(planned, l)
		}
	}
	switch {
	case u.json:
	case len(planned) == 0:
		u.term.say("There is no such lock to release in %s, of %s.\n", scope, count(len(locks), "lock"))
	case !u.dryRun:
		u.term.say("To be released:\n\n%s\n", v.table(planned))
	}
	return steps, nil
}

// selects reports whether the flags mean l, where they mean many.
func (u *unlocking) selects(l fleet.Lock) bool {
	switch {
	case u.mine && !u.owner.owns(l.Held),
		u.olderThan > 0 && (l.Since.IsZero() || l.Age < u.olderThan),
		u.expired && !over(l.Held):
		return false
	}
	return true
}

// over reports whether a lock is over by the store's clock, which is worth a closer look.
func over(h lock.Held) bool {
	m := h.Managed
	return m != nil && h.Err == nil && !h.Since.IsZero() && (m.TTL > 0 && h.Age > m.TTL || m.TTL == 0 && m.Expires > 0 && h.Age > m.Expires)
}

// rehearse tells what would be done.
func (u *unlocking) rehearse(steps []unlockStep) error {
	for i := range steps {
		s := &steps[i]
		if s.deed == deedExpired && !over(s.held) {
			s.deed, s.err = deedNone, s.held.LockedError()
		}
		switch {
		case s.deed == deedNone:
			if s.note != "" && !u.json {
				u.term.say("%s\n", s.note)
			}
		case u.json:
			p := plannedJSON{Ref: s.ref.String(), WouldRelease: true, Verdict: s.verdict.State, Proof: s.verdict.Proof}
			if s.held.Err == nil {
				p.Lock = lockInfoJSON(s.held.Info)
			}
			if err := u.term.printJSON(p); err != nil {
				return err
			}
		default:
			u.term.print("Would release the lock of %s, held by %s.\n%s", s.ref, holderName(s.held), verdictLine(s.verdict))
		}
	}
	return u.leftAlone(steps)
}

// execute does what was planned. Of several states that were named one comes after the other, of a whole bucket many at a time.
func (u *unlocking) execute(ctx context.Context, steps []unlockStep) error {
	var watched []int
	all := make([]int, len(steps))
	for i, s := range steps {
		all[i] = i
		if s.deed == deedExpired {
			watched = append(watched, i)
		}
	}
	u.watch(ctx, steps, watched)
	workers := 1
	if u.many {
		workers = 0
	}
	stopped := fleet.Each(ctx, workers, all, func(ctx context.Context, i int) error {
		if steps[i].err == nil {
			steps[i].err = u.do(ctx, steps[i])
		}
		return nil // the others are done, whatever becomes of this one
	})
	return errors.Join(stopped, u.leftAlone(steps))
}

// leftAlone are the failures of steps. Of many each is told in a line, because only one could be told at length.
func (u *unlocking) leftAlone(steps []unlockStep) error {
	var errs []error
	for _, s := range steps {
		if s.err != nil {
			errs = append(errs, s.err)
		}
	}
	err := errors.Join(errs...)
	if !u.many || u.json || err == nil {
		return err
	}
	for _, err := range errs {
		u.term.say("Left alone: %s\n", oneLine(err))
	}
	return reportedError{err}
}

// do does one step.
func (u *unlocking) do(ctx context.Context, s unlockStep) error {
	if s.deed != deedNone {
		return u.remove(ctx, s)
	}
	return u.tell(func() error {
		if u.json {
			return u.term.printJSON(releasedJSON{Ref: s.ref.String()})
		}
		u.term.say("%s\n", s.note)
		return nil
	})
}

// tell lets one say its piece at a time.
func (u *unlocking) tell(piece func() error) error {
	u.telling.Lock()
	defer u.telling.Unlock()
	return piece()
}

// watch waits until each of the locks that are said to be over is proven to be, all at the same time.
func (u *unlocking) watch(ctx context.Context, steps []unlockStep, which []int) {
	w := &waitTeller{term: u.term}
	tell := w.tell
	if len(which) > 1 {
		longest := time.Duration(0)
		for _, i := range which {
			if m := steps[i].held.Managed; m != nil {
				longest = max(longest, m.TTL)
			}
		}
		if longest > 0 && !u.json {
			u.term.say("Watching for up to %s whether a lease is renewed after all.\n", evidence.Span(longest))
		}
		tell = nil
	}
	for _, i := range which {
		steps[i].err = errUnwatched
	}
	_ = fleet.Each(ctx, watchers, which, func(ctx context.Context, i int) error {
		s := &steps[i]
		held, err := s.locks.WaitExpired(ctx, s.ref, tell)
		switch {
		case err == nil && held.ETag != s.held.ETag:
			err = held.LockedError() // renewed, or another's, after it was shown
		case err == nil:
			s.held = held
		}
		s.err = err
		return nil
	})
	w.clear()
}

// remove releases one lock, as it was seen or not at all.
func (u *unlocking) remove(ctx context.Context, s unlockStep) error {
	by := requestOptions{}.request(u.term, "unlock")
	release := s.giveBack
	if s.deed == deedForce {
		release = s.locks.ForceRelease
	}
	weak, err := release(ctx, s.held, by)
	if err != nil {
		return err
	}
	forgetErr := u.owner.claims.forget(s.ref, s.held.Info.ID)
	return u.tell(func() error {
		if forgetErr != nil {
			u.term.say("Warning: %v\n", forgetErr)
		}
		if u.json {
			return u.term.printJSON(releasedOf(s.held, weak))
		}
		u.term.say("Released the lock of %s.\n", s.ref)
		warnWeak(u.term, weak)
		return nil
	})
}
