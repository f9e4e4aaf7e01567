package lock

import (
	"context"
	"errors"
	"fmt"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// lastHolder is whose lock an attempt took over.
type lastHolder struct {
	lock   *Held // perhaps; nil: nobody's
	under  *Held // the lock that is the caller's own and is to stay; nil: none
	fenced bool  // the last holder can write no more
}

// unfenced reports whether a holder whose lock was taken over may still write: then our lock must stay until it
// cannot (R6).
func (l lastHolder) unfenced() bool { return l.lock != nil && l.lock.Guarded() && !l.fenced }

// takeOver swaps a lock that is over for ours. It must be fenced before anything else is done with it.
// ErrPreconditionFailed if that lock is not there any more. A refusal proves nothing by itself: the request may have
// been sent twice on the way (R2).
func (a *attempt) takeOver(ctx context.Context, h Held) (Held, error) {
	if err := a.m.sameTable(h); err != nil {
		return Held{}, err
	}
	won, err := a.send(ctx, a.fresh(&h), bucket.IfMatch(h.ETag))
	if err != nil && !errors.Is(err, statelatch.ErrAmbiguous) && !errors.Is(err, statelatch.ErrConflict) &&
		!refusedOrGone(err) {
		return Held{}, err
	}
	a.last.lock, a.last.fenced = &h, false
	a.sent.replacing(h.ETag)
	if err == nil {
		a.sent.swap = ""
		if a.sent.unknown {
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
	if was := a.last.lock; was != nil && a.last.under == nil && won.Managed.PrevETag == was.ETag {
		a.tellTakeOver(*was)
	}
	fenced := a.last.unfenced() || a.req.FenceAlways
	t, err := a.startTenure(ctx, won)
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

// startTenure starts the tenure of the lock object that was won, and fences the state where that must be. A lock that
// was taken over is not released until its last holder is fenced out.
func (a *attempt) startTenure(ctx context.Context, won Held) (*Tenure, error) {
	t := newTenure(a.m, a.boot, won, a.sent.at)
	t.told = a.req.OnRenewal
	t.under, t.began = a.last.under, a.sent.at
	t.keep(ctx)
	if !a.last.unfenced() && !a.req.FenceAlways {
		return t, nil
	}
	err := a.m.Fence(ctx, a.ref)
	switch {
	case err == nil:
		a.last.fenced = true
		return t, nil
	case a.last.unfenced() && deniedOutright(err) && a.m.putBack(a.after, *a.last.lock, t.abandoned()...): //nolint:contextcheck // it goes on when ctx has ended
		a.left = true // nothing of ours is left
		return nil, asFound(a.ref, err)
	case a.last.unfenced():
		return nil, a.leaveToLease(t, "its last holder could not be fenced out", err)
	}
	return nil, a.giveUp(t, err) //nolint:contextcheck // it goes on when ctx has ended
}
