package lock

import (
	"context"
	"errors"
	"fmt"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/pace"
)

// leave ends an attempt that did not win: it takes back what landed of ours unseen, and words the error.
func (a *attempt) leave(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, statelatch.ErrEncoding):
		err = fmt.Errorf("%w: %w (a store that knows no conditions answers alike; a probe tells which)",
			statelatch.ErrEncoding, err)
	case errors.Is(err, statelatch.ErrUnsupported):
		err = fmt.Errorf("%w: %w", statelatch.ErrUnsafeStore, err)
	}
	if !errors.Is(err, statelatch.ErrLocked) {
		err = fmt.Errorf("acquire lock %s: %w", a.ref, err)
		if ctx.Err() != nil && a.wait.holder != nil {
			err = fmt.Errorf("%w; %w", err, a.wait.holder.LockedError())
		}
	}
	if !a.left && a.sent.landed > 0 && !a.takeBack() { //nolint:contextcheck // it goes on when ctx has ended
		err = fmt.Errorf("%w; %w: a lock with ID %s may stand or yet appear at s3://%s/%s",
			err, statelatch.ErrAmbiguous, a.info().ID, a.ref.Bucket, a.ref.LockKey())
	}
	if a.items.landed > 0 {
		err = fmt.Errorf("%w; %w: a lock item with ID %s may stand or yet appear in the DynamoDB table %q",
			err, statelatch.ErrAmbiguous, a.req.ID, a.m.Table.Name())
	}
	return err
}

// takeBack removes what interrupted writes of ours left behind, so that Ctrl-C during a slow write
// does not jam the state. It reports whether as many were removed as may have landed, and no more is seen.
func (a *attempt) takeBack() bool {
	ctx, cancel := context.WithTimeout(a.after, a.m.takeBackTimeout())
	defer cancel()
	for {
		h, mine, err := a.look(ctx)
		switch {
		case mine && a.last.under != nil:
			if !a.m.putBack(ctx, *a.last.under, a.sent.bodies...) {
				return false
			}
			a.sent.landed = 0
			return true
		case mine:
			if a.last.unfenced() {
				if a.m.Fence(ctx, a.ref) != nil {
					return false
				}
				a.last.fenced = true
			}
			if a.removeItemTakenOver() != nil {
				return false
			}
			_, err := a.m.removeObject(ctx, h, nil)
			if err == nil {
				a.sent.removed()
			} else if !errors.Is(err, statelatch.ErrLockLost) { // lost: a late rekey may have changed it, so look again
				return false
			}
		case a.sent.landed == 0 && (err == nil || errors.Is(err, statelatch.ErrNotLocked)):
			return true
		}
		if pace.Sleep(ctx, pollMin) != nil {
			return false
		}
	}
}

// leaveToLease ends an attempt whose lock must stay until the next holder takes it over.
func (a *attempt) leaveToLease(t *Tenure, why string, err error) error {
	t.Abandon()
	a.left = true
	return fmt.Errorf("the lock was taken over, but %s, so it is left with ID %s to its lease of %v: %w", why,
		t.Held().Info.ID, t.ttl, err)
}

// giveUp releases what was won when err stops the rest: the item first, as Release does. It goes on when ctx ends.
func (a *attempt) giveUp(t *Tenure, err error) error {
	if a.last.under != nil {
		a.items.landed = 0 // what is there was there before
	}
	a.takeBackItem()
	if itemErr := a.removeItemTakenOver(); itemErr != nil {
		err = errors.Join(err, itemErr)
		if t.ttl > 0 {
			return a.leaveToLease(t, "the item of its last holder may still be in the DynamoDB table", err)
		}
	}
	releasing, cancel := context.WithTimeout(a.after, a.m.releaseTimeout())
	defer cancel()
	_, releaseErr := t.release(releasing)
	if releaseErr == nil || errors.Is(releaseErr, statelatch.ErrLockLost) {
		a.sent.removed()
		return err
	}
	a.left = true // the next look would take our own lock for somebody else's
	return fmt.Errorf("%w; and then: %w", err, releaseErr)
}

// forItem is the time for one step in the table. Once the caller has gone, what is left is shared: two items may have
// to go, and then the object.
func (a *attempt) forItem() (context.Context, context.CancelFunc) {
	d := a.m.takeBackTimeout()
	if a.caller.Err() != nil {
		d /= 3
	}
	return context.WithTimeout(a.after, d)
}

// removeItemTakenOver removes the item that went with a lock that was taken over, while our lock object still leads to
// it: without that nothing would tell any more that its holder is dead.
func (a *attempt) removeItemTakenOver() error {
	if a.last.lock == nil || a.last.under != nil || a.m.Table == nil {
		return nil
	}
	ctx, cancel := a.forItem()
	defer cancel()
	h, err := a.m.withItem(ctx, *a.last.lock)
	if err == nil {
		err = a.m.removeItem(ctx, h)
	}
	if errors.Is(err, statelatch.ErrLockLost) {
		return nil
	}
	return err
}

// takeBackItem is takeBack for the table: it removes the item that a put with an unknown outcome left behind.
func (a *attempt) takeBackItem() {
	ctx, cancel := a.forItem()
	defer cancel()
	raw := string(a.items.info.Marshal())
	for a.items.landed > 0 {
		err := a.m.Table.Unlock(ctx, a.ref, raw)
		if err == nil {
			a.items.landed--
			continue
		}
		if hopeless(err) || pace.Sleep(ctx, pollMin) != nil {
			return
		}
	}
}
