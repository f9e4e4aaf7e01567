package lock

import (
	"context"
	"errors"
	"fmt"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/pace"
)

// Whoever may not remove a lock must not change it either: its ID, the holder's name and the link to the CI job are all
// that anybody has to find out whose it is.

// noETag is the ETag of no object. It is the one that a probe asks with: what a store does with one that looks like no
// ETag at all, nobody has tried, and to pass over it would be to delete the lock.
const noETag = `"0123456789abcdef0123456789abcdef"`

// mayDelete asks whether the lock object may be deleted, by a delete whose condition never holds: access is decided
// before conditions are. It asks nothing of a store that is not proven to honour them.
func (m *Manager) mayDelete(ctx context.Context, h Held) error {
	if h.ETag == "" || m.Tier != TierFull {
		return nil
	}
	_, err := m.Bucket.Delete(ctx, h.Ref.LockKey(), bucket.DeleteOptions{If: bucket.IfMatch(noETag)})
	if errors.Is(err, statelatch.ErrDenied) {
		return asFound(h.Ref, err)
	}
	return nil // refused by its condition, or nothing that tells
}

// asFound is the error of a removal that changed nothing in the end.
func asFound(ref statelatch.Ref, err error) error {
	return fmt.Errorf("the lock of %s is as it was: %w", ref, err)
}

// deniedOutright reports whether err says that something was not done, for want of a right.
func deniedOutright(err error) bool {
	return errors.Is(err, statelatch.ErrDenied) && !errors.Is(err, statelatch.ErrAmbiguous)
}

// putBack gives a lock that was taken over back to its holder, byte for byte, if one of ours is still there: to ask for
// more than one has got must not cost a holder its lock. The holder may go on with it as if nothing had been: nobody
// else was inside meanwhile. Our own swap, if the network delivers it again, hits this body once more; what it leaves
// has a lease, and whoever takes that over fences (R6). It reports whether the lock is h again.
func (m *Manager) putBack(ctx context.Context, h Held, ours ...[]byte) bool {
	ctx, cancel := context.WithTimeout(ctx, m.takeBackTimeout())
	defer cancel()
	for failures := 0; h.body != nil; failures++ {
		now, err := m.read(ctx, h.Ref)
		switch {
		case err == nil && now.isAny(h.body):
			return true
		case err == nil && now.isAny(ours...):
			if _, err = m.put(ctx, h.Ref, h.body, bucket.IfMatch(now.ETag)); err == nil {
				return true
			}
		case err == nil, errors.Is(err, statelatch.ErrNotLocked):
			return false // it changed hands
		}
		if hopeless(err) || pace.Sleep(ctx, retryPace.Pause(failures)) != nil {
			return false
		}
	}
	return false
}

// abandoned ends the tenure, and returns what may stand of it.
func (t *Tenure) abandoned() [][]byte {
	t.Abandon()
	t.mu.Lock()
	defer t.mu.Unlock()
	bodies := [][]byte{t.held.body}
	if t.pending != nil {
		bodies = append(bodies, t.pending.body)
	}
	return bodies
}

// putItemBack stores an item that was removed once more, if nobody has taken its place.
func (m *Manager) putItemBack(ctx context.Context, h Held) error {
	if h.Item == nil || m.Table == nil || h.Item.Err != nil || string(h.Item.Info.Marshal()) != h.Item.Raw {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, m.takeBackTimeout())
	defer cancel()
	for failures := 0; ; failures++ {
		err := m.Table.Lock(ctx, h.Ref, h.Item.Info)
		if err == nil || errors.Is(err, statelatch.ErrPreconditionFailed) {
			return nil
		}
		if hopeless(err) || pace.Sleep(ctx, retryPace.Pause(failures)) != nil {
			return fmt.Errorf("and its item could not be put back into the DynamoDB table %q: %w", h.Item.Table, err)
		}
	}
}

// removeBoth removes the item of h and then its lock object, by remove, or leaves both as they were where one may not
// be removed. ItemGone says that an item that is not there any more is what was wanted.
func (m *Manager) removeBoth(
	ctx context.Context, h Held, itemGone bool, remove func() (weak bool, err error),
) (weak bool, err error) {
	itemErr := m.removeItemFirst(ctx, h)
	if h.ETag != "" && itemGone && errors.Is(itemErr, statelatch.ErrLockLost) {
		itemErr = nil
	}
	if h.ETag != "" && deniedOutright(itemErr) {
		return false, asFound(h.Ref, itemErr)
	}
	weak, err = remove()
	if deniedOutright(err) && itemErr == nil {
		err = asFound(h.Ref, err)
		if backErr := m.putItemBack(ctx, h); backErr != nil {
			err = fmt.Errorf("%w; %w", err, backErr)
		}
	}
	return weak, bothOutcomes(h, err, itemErr)
}
