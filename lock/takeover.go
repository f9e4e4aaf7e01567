package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/pace"
)

// watch judges whether a lock is over: by evidence, never by age alone (R11).
type watch struct {
	etag  string
	since time.Duration // when it was first seen, on our own clock
}

// see returns how long the lock must still stand as it is to be provably over, 0 if it is now. Not provable is a lock
// that promised nothing: a plain one, or one without lease and expiry.
//
// A lease is over when the object did not change for its whole time on our own clock: no other clock is
// involved, and a holder that keeps to its deadline stopped before. An expiry is counted by the store's clock.
func (w *watch) see(h Held, now time.Duration) (left time.Duration, provable bool) {
	if w.etag != h.ETag {
		w.etag, w.since = h.ETag, now
	}
	switch m := h.Managed; {
	case m == nil || h.Err != nil || h.ETag == "":
		return 0, false
	case m.TTL > 0 && !m.Stays:
		return w.still(h, now), true
	}
	left, provable = h.ExpiresIn()
	return max(left, 0), provable
}

// still is how much of the lease of h, which was seen last, is left.
func (w *watch) still(h Held, now time.Duration) time.Duration {
	return max(w.since+h.Managed.TTL-now, 0)
}

// takeOver swaps a lock that is over for ours. It must be fenced before anything else is done with it.
// ErrPreconditionFailed if that lock is not there any more. A refusal proves nothing by itself: the request may have
// been sent twice on the way (R2).
func (a *attempt) takeOver(ctx context.Context, h Held) (Held, error) {
	if err := a.m.sameTable(h); err != nil {
		return Held{}, err
	}
	body := a.fresh(a.info(), &h)
	obj, err := a.send(ctx, body, bucket.IfMatch(h.ETag))
	if err != nil && !errors.Is(err, statelatch.ErrAmbiguous) && !errors.Is(err, statelatch.ErrConflict) &&
		!refusedOrGone(err) {
		return Held{}, err
	}
	a.takenOver, a.fenced = &h, false
	if a.taking != h.ETag { // else an earlier try was counted, and only one of them can land
		a.taking = h.ETag
		a.landed++
	}
	if err == nil {
		a.taking = ""
		won := a.held(body, obj.ETag)
		if a.unknown {
			return a.rekey(ctx, won)
		}
		return won, nil
	}
	now, mine, lookErr := a.look(ctx)
	switch {
	case mine:
		return a.rekey(ctx, now)
	case errors.Is(lookErr, statelatch.ErrNotLocked), lookErr == nil && now.ETag != h.ETag:
		return Held{}, statelatch.ErrPreconditionFailed
	case lookErr != nil:
		return Held{}, lookErr
	}
	return Held{}, a.conflict("the lock could not be taken over")
}

// unfenced reports whether a holder whose lock was taken over may still write: then our lock must stay until it
// cannot (R6).
func (a *attempt) unfenced() bool { return a.takenOver != nil && a.takenOver.Leased() && !a.fenced }

// sameTable refuses to act on a lock whose holder keeps items in a table that m does not know: fencing
// without it would leave a stale digest, and every engine that uses the table would refuse the state.
func (m *Manager) sameTable(h Held) error {
	if h.Managed == nil || h.Managed.Table == "" || m.Table != nil && m.Table.Name() == h.Managed.Table {
		return nil
	}
	return fmt.Errorf("%w lock table: the lock of %s was taken together with the DynamoDB table %q; "+
		"name it with -backend-config dynamodb_table=%s", statelatch.ErrInvalid, h.Ref, h.Managed.Table, h.Managed.Table)
}

// enter turns the lock object that was won into a tenure, with the item in the table. If the lock was taken over the
// state is fenced (R6), and the lock verified after that (R7).
func (a *attempt) enter(ctx context.Context, won Held) (*Tenure, error) {
	if a.takenOver != nil && a.under == nil && won.Managed.PrevETag == a.takenOver.ETag {
		a.tellTakeOver(*a.takenOver)
	}
	fenced := a.unfenced() || a.req.FenceAlways
	t, err := a.begin(ctx, won)
	if err != nil {
		return nil, err
	}
	if fenced {
		err = t.Verify(ctx)
		if errors.Is(err, statelatch.ErrLockLost) {
			err = a.conflict("the lock was taken away before it was entered")
		}
		if err != nil {
			return nil, a.giveUp(t, err) //nolint:contextcheck // it goes on when ctx has ended
		}
	}
	if a.m.Table == nil {
		return t, nil
	}
	if err = a.lockItem(ctx, t); err != nil {
		return nil, a.giveUp(t, err) //nolint:contextcheck // it goes on when ctx has ended
	}
	return t, nil
}

func (a *attempt) tellTakeOver(was Held) {
	if a.req.OnTakeOver != nil {
		a.req.OnTakeOver(was, a.req.ID)
	}
}

// begin starts the tenure of the lock object that was won, and fences the state where that must be. A lock that was
// taken over is not released until its last holder is fenced out.
func (a *attempt) begin(ctx context.Context, won Held) (*Tenure, error) {
	t := newTenure(a.m, a.boot, won, a.sentAt)
	t.told = a.req.OnRenewal
	t.under, t.began = a.under, a.sentAt
	t.keep(ctx)
	if !a.unfenced() && !a.req.FenceAlways {
		return t, nil
	}
	err := a.m.Fence(ctx, a.ref)
	switch {
	case err == nil:
		a.fenced = true
		return t, nil
	case a.unfenced() && deniedOutright(err) && a.m.putBack(a.after, *a.takenOver, t.abandoned()...): //nolint:contextcheck // it goes on when ctx has ended
		a.over = true // nothing of ours is left
		return nil, asFound(a.ref, err)
	case a.unfenced():
		return nil, a.leaveToLease(t, "its last holder could not be fenced out", err)
	}
	return nil, a.giveUp(t, err) //nolint:contextcheck // it goes on when ctx has ended
}

// WaitExpired watches the lock of ref until it is provably over, at most for as long as it promised, and returns it as
// Status does. onWait may be nil. It changes nothing.
//
//	ErrNotLocked   there is none
//	*LockedError   it promised nothing, or its holder renewed it: it is not over
func (m *Manager) WaitExpired(ctx context.Context, ref statelatch.Ref, onWait func(Waiting)) (Held, error) {
	if err := m.admit(ref); err != nil {
		return Held{}, err
	}
	var w watch
	boot := m.clock()
	first, failures := "", 0
	for {
		h, err := m.Status(ctx, ref)
		if err != nil {
			failures++
			if hopeless(err) || errors.Is(err, statelatch.ErrNotLocked) || failures == transientTries {
				return Held{}, err
			}
			if err := pace.Sleep(ctx, retryPace.Pause(failures)); err != nil {
				return Held{}, fmt.Errorf("watch lock %s: %w", ref, err)
			}
			continue
		}
		failures = 0
		left, provable := w.see(h, boot())
		switch {
		case !provable, first != "" && first != h.ETag, left > 0 && !h.Leased():
			return Held{}, h.LockedError()
		case left == 0:
			return h, nil
		}
		if onWait != nil {
			onWait(Waiting{Held: h, Changed: first == "", Left: left, TakeOver: left})
		}
		first = h.ETag
		if err := pace.Sleep(ctx, min(left, pollMax)); err != nil {
			return Held{}, fmt.Errorf("watch lock %s: %w", ref, err)
		}
	}
}
