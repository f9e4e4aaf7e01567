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

// forceTTL is the lease of the lock that stands while a live holder is fenced out.
const forceTTL = time.Minute

// Release is for a lock that was taken by an Acquire of another process and read by Status; otherwise it is
// as [Tenure.Release].
func (m *Manager) Release(ctx context.Context, h Held) (weak bool, err error) {
	if err := m.removable(h); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.releaseTimeout())
	defer cancel()
	return m.removeBoth(ctx, h, false, func() (bool, error) { return m.removeObject(ctx, h, nil) })
}

// ForceUnlock removes the lock of ref if id is its ID, or, for a lock object that cannot
// be understood, its ETag. It acts only on what it compared: every write carries its
// ETag. It needs neither the state nor the workspace to exist (B17).
//
//	nil            that lock is gone; Held says what it was
//	ErrNotLocked   there is no lock (B16)
//	*LockedError   the lock has another ID, or changed hands meanwhile; nothing was removed
//	ErrAmbiguous   it could not be found out within ReleaseTimeout, or before the end of ctx
//
// by says who does it. See ForceRelease for what happens to a holder that is still alive.
func (m *Manager) ForceUnlock(
	ctx context.Context, ref statelatch.Ref, id string, by Request,
) (removed Held, weak bool, err error) {
	if err := m.admit(ref); err != nil {
		return Held{}, false, err
	}
	h, err := m.Status(ctx, ref)
	if err != nil {
		return Held{}, false, err
	}
	if !h.Named(id) {
		if h.Item == nil || h.Item.Err != nil || h.Item.Info.ID != id {
			return Held{}, false, h.LockedError()
		}
		h = Held{Ref: ref, Info: h.Item.Info, Item: h.Item} // only the item in the table is meant
	}
	weak, err = m.ForceRelease(ctx, h, by)
	return h, weak, err
}

// ForceRelease removes exactly the lock h, which Status returned and somebody was shown, and the item in the table if
// it is of the same holder or of one that it took over. Errors as for [Manager.ForceUnlock].
//
// Without the right to remove it, the lock stays as it is: ErrDenied.
//
// A guarded lock is taken over, the state fenced, and the lock released then: a holder that is still alive can
// write no more. A plain lock is only deleted: an engine writes unconditionally, nothing can stop it.
func (m *Manager) ForceRelease(ctx context.Context, h Held, by Request) (weak bool, err error) {
	if err := m.removable(h); err != nil {
		return false, err
	}
	remove := func() (bool, error) { return m.removeObject(ctx, h, nil) }
	var t *Tenure
	if h.Guarded() {
		if t, err = m.seize(ctx, h, by); err == nil {
			ctx = context.WithoutCancel(ctx) // what is left now is ours
			remove = func() (bool, error) { return t.removeObject(ctx) }
		}
	}
	if err == nil {
		weak, err = m.removeBoth(ctx, h, true, remove)
		if t != nil && deniedOutright(err) && !m.putBack(ctx, h, t.abandoned()...) {
			err = fmt.Errorf("it was taken over, with ID %s, and could not be put back as it was: %w", t.Held().Info.ID, err)
		}
	}
	if !errors.Is(err, statelatch.ErrLockLost) {
		return weak, err
	}
	now, err := m.Status(ctx, h.Ref)
	if err == nil {
		err = now.LockedError()
	}
	return weak, err
}

// removable refuses what does not name a lock, and one of which only the lock object could be removed.
func (m *Manager) removable(h Held) error {
	if h.ETag == "" && h.Item == nil {
		return fmt.Errorf("%w lock of %s: it has no ETag; give what Acquire or Status returned", statelatch.ErrInvalid, h.Ref)
	}
	if err := m.serves(h.Ref); err != nil {
		return err
	}
	if err := m.proven(); err != nil {
		return err
	}
	return m.sameTable(h)
}

// seize takes over h whether or not it is over, and fences its holder out.
func (m *Manager) seize(ctx context.Context, h Held, by Request) (*Tenure, error) {
	if m.Fence == nil {
		return nil, fmt.Errorf("%w lock manager: removing the lock of a holder that may write needs a Fence",
			statelatch.ErrInvalid)
	}
	if m.Tier == TierNone { // the fence could overwrite a state that it did not see
		return nil, fmt.Errorf("%w: its state cannot be fenced there; when its holder is certainly gone, delete s3://%s/%s",
			statelatch.ErrUnsafeStore, h.Ref.Bucket, h.Ref.LockKey())
	}
	if err := m.mayDelete(ctx, h); err != nil {
		return nil, err
	}
	if by.ID == "" {
		by.ID = m.newID()
	}
	by.TTL, by.Expires = forceTTL, 0
	a, cancel := m.newAttempt(ctx, h.Ref, by)
	defer cancel()
	t, err := a.takeByForce(ctx, h)
	if err != nil {
		return nil, a.leave(ctx, err)
	}
	return t, nil
}

// takeByForce is try with a lock to take over, whatever it takes. ErrLockLost if that lock is not there any more.
func (a *attempt) takeByForce(ctx context.Context, h Held) (*Tenure, error) {
	for {
		won, err := a.takeOver(ctx, h)
		switch {
		case err == nil:
			return a.startTenure(ctx, won)
		case errors.Is(err, statelatch.ErrPreconditionFailed):
			return nil, fmt.Errorf("%w: %s", statelatch.ErrLockLost, a.ref)
		case a.final(err, true):
			return nil, err
		}
		if err := pace.Sleep(ctx, retryPace.Pause(a.wait.failures)); err != nil {
			return nil, err
		}
	}
}

// removeObject deletes exactly the lock object h, if it has one, trying until the end of ReleaseTimeout or ctx. pending
// is a body of ours that may have taken h's place unseen.
func (m *Manager) removeObject(ctx context.Context, h Held, pending []byte) (weak bool, err error) {
	if h.ETag == "" {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, m.releaseTimeout())
	defer cancel()
	defer func() {
		if err == nil {
			released(place{m.Bucket, h.Ref.LockKey()})
		}
	}()
	if m.Tier != TierFull {
		return true, m.removeWeakly(ctx, h, pending)
	}
	var unknown error // of a delete that may have been executed, or may be yet
	for failures := 0; ; failures++ {
		_, err = m.Bucket.Delete(ctx, h.Ref.LockKey(), bucket.DeleteOptions{If: bucket.IfMatch(h.ETag)})
		switch {
		case err == nil:
			return false, nil
		case errors.Is(err, statelatch.ErrUnsupported):
			return true, m.removeWeakly(ctx, h, pending)
		case errors.Is(err, statelatch.ErrNotFound):
			return false, vanished(h.Ref, unknown != nil)
		case errors.Is(err, statelatch.ErrPreconditionFailed): // read back: that alone proves nothing (R2)
			now, lookErr := m.read(ctx, h.Ref)
			switch {
			case lookErr == nil && now.isAny(pending):
				h, pending, unknown = now, nil, nil // what was on the way before cannot hit it
				continue
			case lookErr == nil && now.ETag != h.ETag && h.rewritable() && now.Info.ID == h.Info.ID:
				return false, vanished(h.Ref, false) // it stands, rewritten by another gateway
			case lookErr == nil && now.ETag != h.ETag, errors.Is(lookErr, statelatch.ErrNotLocked):
				return false, vanished(h.Ref, unknown != nil)
			case lookErr != nil:
				err = lookErr
			}
		case errors.Is(err, statelatch.ErrAmbiguous):
			unknown = err
		}
		if hopeless(err) || pace.Sleep(ctx, retryPace.Pause(failures)) != nil {
			return false, releaseError(h.Ref, err, unknown)
		}
	}
}

// vanished judges a lock that is not there any more: if a delete of ours may have been executed, it was that one, and
// whatever is there now came later.
func vanished(ref statelatch.Ref, perhapsByUs bool) error {
	if perhapsByUs {
		return nil
	}
	return fmt.Errorf("%w: %s", statelatch.ErrLockLost, ref)
}

// late is how long a delete that was never answered is given to arrive, before another one is sent on a store without
// conditional delete. Meanwhile our lock stands, so that it cannot hit anybody else's.
const late = 10 * time.Second

// removeWeakly releases on a store without conditional delete: a look, and a delete only while the lock is ours
// (docs/PROTOCOL.md, weak release). Seen again after a delete of unknown outcome, our own lock is reason to
// delete again, but not as long as the first one may still arrive: it would remove the lock of whoever came next. One
// that the store itself has answered is over.
func (m *Manager) removeWeakly(ctx context.Context, h Held, pending []byte) error {
	var unknown error      // of the last delete
	var patience time.Time // when another one may be sent
	for failures := 0; ; failures++ {
		patient := time.Now().Before(patience) // before the look: what arrives after it must not be followed by another
		now, err := m.read(ctx, h.Ref)
		other := err == nil && now.ETag != h.ETag && !now.isAny(pending)
		switch {
		case errors.Is(err, statelatch.ErrNotLocked), other:
			return vanished(h.Ref, unknown != nil)
		case err == nil && !patient:
			_, err = m.Bucket.Delete(ctx, h.Ref.LockKey(), bucket.DeleteOptions{})
			if err == nil {
				return nil
			}
			if errors.Is(err, statelatch.ErrAmbiguous) {
				if unknown = err; !isOver(err) {
					patience = time.Now().Add(late)
				}
			}
		}
		if hopeless(err) || pace.Sleep(ctx, retryPace.Pause(failures)) != nil {
			return releaseError(h.Ref, err, unknown)
		}
	}
}

// isOver reports whether a request of unknown outcome can have no effect any more.
func isOver(err error) bool {
	se, ok := errors.AsType[*statelatch.StoreError](err)
	return ok && se.Over
}

// releaseError words the end of a release that err stopped. unknown is of a delete whose outcome never became known.
func releaseError(ref statelatch.Ref, err, unknown error) error {
	switch {
	case err == nil:
		err = unknown
	case unknown != nil && !errors.Is(err, statelatch.ErrAmbiguous):
		err = fmt.Errorf("%w; before that: %w", err, unknown)
	}
	return fmt.Errorf("release lock %s: %w", ref, err)
}

// bothOutcomes words what became of the lock object and the item of h (B20).
func bothOutcomes(h Held, objectErr, itemErr error) error {
	switch {
	case itemErr == nil:
		return objectErr
	case h.ETag == "":
		return itemErr
	case objectErr == nil:
		return fmt.Errorf("the lock object is released; the item in the DynamoDB table %q: %w", h.Item.Table, itemErr)
	}
	return fmt.Errorf("neither is released: the lock object: %w; the item in the DynamoDB table %q: %w", objectErr,
		h.Item.Table, itemErr)
}
