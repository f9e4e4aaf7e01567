package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/identity"
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
	Asks         bool           `json:"asks,omitempty"` // first
	Verdict      evidence.State `json:"verdict,omitempty"`
	Proof        string         `json:"proof,omitempty"`
	Lock         any            `json:"lock,omitempty"`
}

// planScope lists the locks of a bucket or prefix, and shows those that the flags select.
func (u *unlocking) planScope(ctx context.Context) ([]unlockStep, error) {
	scope, backend, err := u.scope(ctx, u.term)
	if err != nil {
		return nil, err
	}
	// its manager is for every state of the bucket
	all, err := connect(ctx, u.term, statelatch.Ref{Bucket: scope.Bucket}, backend)
	if err != nil {
		return nil, err
	}
	v := &lockView{
		locksOptions: locksOptions{targetOptions: u.targetOptions}, term: u.term, scope: scope, backend: backend,
		owner: u.owner, locks: all.Manager, sources: u.sources,
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
		if s.action != actNone {
			planned = append(planned, l)
		}
	}
	switch {
	case u.json:
	case len(planned) == 0:
		u.term.Say("There is no such lock to release in %s, of %s.\n", scope, count(len(locks), "lock"))
	case !u.dryRun:
		u.term.Say("To be released:\n\n")
		u.term.SayTable(v.table(planned))
		u.term.Say("\n%s\n\n", v.summary(planned))
	}
	return steps, nil
}

// selects reports whether the flags mean l, where they mean many.
func (u *unlocking) selects(l fleet.Lock) bool {
	switch {
	case u.mine && !u.owner.owns(l.Held),
		u.olderThan > 0 && (l.Since.IsZero() || l.Age < u.olderThan),
		u.expired && !over(l.Held) && !leftBehind(l.Held):
		return false
	}
	return true
}

// over reports whether a lock is over by the store's clock; of a lease that is only worth a closer look.
func over(h lock.Held) bool {
	if h.Leased() && !h.Stays() {
		return h.Err == nil && !h.Since.IsZero() && h.Age > h.Managed.TTL
	}
	left, promised := h.ExpiresIn()
	return promised && left <= 0
}

// leftBehind reports whether nothing is left of the command that took h for its own time: then its lease needs not be
// watched.
func leftBehind(h lock.Held) bool { return !h.Stays() && holderGone(h) }

// rehearse tells what would be done.
func (u *unlocking) rehearse(steps []unlockStep) error {
	for i := range steps {
		s := &steps[i]
		if s.action == actExpired && !over(s.held) && !leftBehind(s.held) {
			s.action, s.err = actNone, u.notOver(*s)
		}
		switch {
		case s.err != nil: // told below
		case u.json:
			p := plannedJSON{
				Ref: s.ref.String(), WouldRelease: s.action != actNone, Asks: s.action == actForce && !u.approved,
				Verdict: s.verdict.State, Proof: s.verdict.Proof,
			}
			if s.held.Err == nil && s.verdict.State != "" {
				p.Lock = lockInfoJSON(s.held.Info)
			}
			if err := u.term.PrintJSON(p); err != nil {
				return err
			}
		case s.action == actNone:
			u.term.Say("%s\n", s.note)
		default:
			asks := ""
			if s.action == actForce && !u.approved {
				asks = ", once that is confirmed with yes"
			}
			u.term.PrintProse("Would release the lock of %s, held by %s%s.\n%s", statelatch.Printable(s.ref.String()),
				s.held.Holder(), asks, verdictLine(s.verdict, verdictIn(u.term.Paint)))
		}
	}
	return u.leftAlone(steps)
}

// notOver is why -expired leaves a lock alone, and what to do instead.
func (u *unlocking) notOver(s unlockStep) error {
	h, m, next := s.held, s.held.Managed, ""
	switch {
	case s.verdict.State == evidence.Stale: // by something else than its promise
		next = "; without -expired it is released at once: " + s.again.command("unlock")
	case h.Err != nil || h.ETag == "" || m == nil || m.TTL == 0 && m.Expires == 0:
		next = "; -expired is for a lease, or an -expires; without -expired it is shown and asked about: " +
			s.again.command("unlock")
	case aliveHere(m) == identity.Alive:
		next = "; stop that, and it releases the lock"
	case h.Leased() && u.dryRun:
		next = fmt.Sprintf("; without -dry-run it is watched for up to %s, and released if it is not renewed meanwhile",
			evidence.Span(m.TTL))
	}
	return fmt.Errorf("it is not over: %s: %w%s", s.verdict.Proof, h.LockedError(), next)
}

// execute does what was planned. Of several states that were named one comes after the other, of a whole bucket many at
// a time.
func (u *unlocking) execute(ctx context.Context, steps []unlockStep) error {
	proveRemovals(ctx, u.term, steps)
	var watched []int
	all := make([]int, len(steps))
	for i, s := range steps {
		all[i] = i
		if s.action == actExpired && !leftBehind(s.held) {
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

// leftAlone are the failures of steps. Of many each is told in a line, because only one could be told at length; and so
// is what is not over, because the advice at length is to try -expired.
func (u *unlocking) leftAlone(steps []unlockStep) error {
	var errs []error
	for _, s := range steps {
		if s.err != nil {
			errs = append(errs, s.err)
		}
	}
	err := errors.Join(errs...)
	eachInALine := u.many || u.expired && errors.Is(err, statelatch.ErrLocked)
	if err == nil || u.json || !eachInALine {
		return err
	}
	for _, s := range steps {
		if s.err != nil {
			if !u.many && s.held.Ref != (statelatch.Ref{}) {
				u.term.Say("%s\n", describe(s.held, false))
			}
			u.term.Say("Left alone: %s\n", leftAlone(s.err))
		}
	}
	return reportedError{err}
}

// do does one step.
func (u *unlocking) do(ctx context.Context, s unlockStep) error {
	if s.action != actNone {
		return u.remove(ctx, s)
	}
	return u.tell(func() error {
		if u.json {
			return u.term.PrintJSON(releasedJSON{Ref: s.ref.String()})
		}
		u.term.Say("%s\n", s.note)
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
			u.term.Say("Watching for up to %s whether a lease is renewed after all.\n", evidence.Span(longest))
		}
		tell = nil
	}
	for _, i := range which {
		steps[i].err = errUnwatched
	}
	_ = fleet.Each(ctx, watchers, which, func(ctx context.Context, i int) error {
		s := &steps[i]
		held, err := s.Manager.WaitExpired(ctx, s.ref, tell)
		switch {
		case err == nil && held.ETag == s.held.ETag:
			s.held = held
		case err == nil:
			err = held.LockedError()
		}
		if locked, ok := errors.AsType[*statelatch.LockedError](err); ok {
			if locked.ETag == s.held.ETag {
				err = u.notOver(*s)
			} else {
				err = fmt.Errorf("it is not over: it was renewed, or taken by another, after it was shown: %w", err)
			}
		}
		s.err = err
		return nil
	})
	w.clear()
}

// remove releases one lock, as it was seen or not at all.
func (u *unlocking) remove(ctx context.Context, s unlockStep) error {
	by := requestOptions{}.request(u.term, "unlock")
	release := s.release
	if s.action == actForce {
		release = s.Manager.ForceRelease
	}
	action := audit.ForceUnlock
	if s.action == actRelease {
		action = audit.Unlock
	}
	_, weak, err := audit.Release(ctx, action, s.ref, func() (lock.Held, bool, error) {
		weak, err := release(ctx, s.held, by)
		return s.held, weak, err
	})
	if err != nil {
		return err
	}
	forgetErr := u.owner.claims.Forget(s.ref, s.held.Info.ID)
	return u.tell(func() error {
		if forgetErr != nil {
			u.term.Say("Warning: %v\n", forgetErr)
		}
		if u.json {
			return u.term.PrintJSON(releasedOf(s.held, weak))
		}
		u.term.Say("Released the lock of %s.\n", statelatch.Printable(s.ref.String()))
		warnWeak(u.term, weak)
		return nil
	})
}

// leftAlone is why a lock stays, of several: which one it is comes before the cause.
func leftAlone(err error) string {
	locked, ok := errors.AsType[*statelatch.LockedError](err)
	if !ok {
		return oneLine(err)
	}
	why := strings.Replace(oneLine(err), ": "+oneLine(locked), "", 1)
	return fmt.Sprintf("%v: %s: %s", statelatch.ErrLocked, statelatch.Printable(locked.Ref.String()),
		strings.TrimPrefix(why, fmt.Sprintf("%v: %s: ", statelatch.ErrLocked, locked.Ref)))
}

// proveRemovals refuses to remove locks on a store that cannot lock, because nothing there can be made conditional: it
// puts the refusal into the steps. For a lock with a lease the state is fenced, which rests on conditions, so for one
// the store is probed first if need be.
func proveRemovals(ctx context.Context, term terminal, steps []unlockStep) {
	var leased []target
	for _, s := range steps {
		if s.action != actNone && s.held.Leased() {
			leased = append(leased, s.target)
		}
	}
	err := proveTiers(ctx, term, leased)
	for i := range steps {
		s := &steps[i]
		switch {
		case s.action == actNone:
		case s.held.Leased() && err != nil && !errors.Is(err, statelatch.ErrUnsafeStore):
			s.err = err
		case s.Manager.Tier == lock.TierNone:
			s.err = fmt.Errorf("%w (see %s); nothing was removed. If nobody uses that state, 'terraform force-unlock %s' "+
				"removes its lock, or delete s3://%s/%s",
				statelatch.ErrUnsafeStore, s.again.command("probe"), shellQuote(s.held.Info.ID), s.ref.Bucket, s.ref.LockKey())
		case s.action == actExpired && s.held.Leased() && s.Manager.Tier != lock.TierFull:
			s.err = fmt.Errorf("%w: without an atomic conditional delete nobody can prove that a lease is over for good; "+
				"if its holder is certainly gone: %s", statelatch.ErrUnsafeStore, s.again.command("unlock"))
		}
		if s.err != nil {
			s.action = actNone
		}
	}
}
