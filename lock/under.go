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

// Working under a lock that a person keeps. Only a tenure with a lease may write a state, because only such a one is
// fenced when its lock is taken over. So the lock is swapped for one with a lease, of the same holder and ID, and
// back again at the end. It is never absent, and says all the while that it stays: if the command dies, nobody takes
// the lock over when its lease is out, but whoever removes it, or works under it next, fences that command out (R6).

// workUnder swaps the caller's lock h for one with a lease. LockedError: a command works under it already.
func (a *attempt) workUnder(ctx context.Context, h Held) (Held, error) {
	if h.Leased() && (!h.Stays() || a.wait.watch.still(h, a.boot()) > 0 && (a.req.Gone == nil || !a.req.Gone(h))) {
		return Held{}, h.LockedError()
	}
	a.last.under = &h
	won, err := a.takeOver(ctx, h)
	if errors.Is(err, statelatch.ErrPreconditionFailed) {
		a.last.under = nil
		err = a.conflict("the lock changed hands while it was being entered")
	}
	return won, err
}

// expiresLeft is what is left of the Expires that h promised, so long after it was seen: at least a second, if it
// promised any.
func (h Held) expiresLeft(after time.Duration) time.Duration {
	left, promised := h.ExpiresIn()
	switch {
	case promised:
		return max((left - after).Truncate(time.Second), time.Second)
	case h.Managed != nil:
		return h.Managed.Expires // its age is not known
	}
	return 0
}

// endUnder ends the tenure and turns its lock into the one without lease that it was, at most until ctx ends. An item
// that came with the tenure goes first, as it does in a release. One that stays is from now on the lock's.
func (t *Tenure) endUnder(ctx context.Context) (objectErr, itemErr error) {
	m := *t.under.Managed
	if held := t.Held(); m.Table == "" && held.Item != nil {
		if itemErr = t.m.removeItemFirst(ctx, held); itemErr != nil && !errors.Is(itemErr, statelatch.ErrLockLost) {
			m.Table = held.Item.Table
		}
	}
	return t.endUnderObject(ctx, m), itemErr
}

// endUnderObject is endUnder of the lock object, which is to say m beyond a new nonce.
func (t *Tenure) endUnderObject(ctx context.Context, m statelatch.Managed) error {
	ours := t.abandoned()
	now := t.Held()
	m.TTL, m.Stays, m.Expires = 0, false, t.under.expiresLeft(t.boot()-t.began)
	if t.under.Stays() {
		m.Client = "" // that of a command which is gone; the lock is not
	}
	m.Nonce, m.Seq = pace.HexNonce(), now.Managed.Seq+uint64(len(ours)) // one renewal may be under way
	body := now.Info.MarshalManaged(m)
	for failures := 0; ; failures++ {
		_, err := t.m.put(ctx, t.ref, body, bucket.IfMatch(now.ETag))
		if err == nil {
			return nil
		}
		refused := refusedOrGone(err)
		if refused || errors.Is(err, statelatch.ErrAmbiguous) { // read back: that alone proves nothing (R2)
			seen, lookErr := t.m.read(ctx, t.ref)
			switch {
			case lookErr == nil && seen.isAny(body):
				return nil
			case lookErr == nil && seen.isAny(ours...):
				now.ETag = seen.ETag
			case lookErr == nil, errors.Is(lookErr, statelatch.ErrNotLocked):
				return vanished(t.ref, false)
			}
		}
		if hopeless(err) && !refused || pace.Sleep(ctx, retryPace.Pause(failures)) != nil {
			return fmt.Errorf("the lock of %s stands, with a lease that runs out: %w", t.ref, err)
		}
	}
}
