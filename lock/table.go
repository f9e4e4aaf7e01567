package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/pace"
)

// readItem reads the item of ref; ErrNotFound if there is none.
func (m *Manager) readItem(ctx context.Context, ref statelatch.Ref) (Item, error) {
	raw, err := m.Table.Read(ctx, ref)
	if err != nil {
		return Item{}, err
	}
	item := Item{Table: m.Table.Name(), Raw: raw}
	item.Info, item.Err = statelatch.ParseLockInfo([]byte(raw))
	return item, nil
}

// lockItem puts the item into the table for t. That of a holder whose lock object was taken over is
// replaced; any other is somebody's.
func (a *attempt) lockItem(ctx context.Context, t *Tenure) error {
	info := t.Held().Info
	raw := a.items.sending(info)
	for tries := 0; ; tries++ {
		err := a.m.Table.Lock(ctx, a.ref, info)
		if errors.Is(err, statelatch.ErrPreconditionFailed) || errors.Is(err, statelatch.ErrAmbiguous) {
			err = a.refusedItem(ctx, raw, a.items.answered(err))
		}
		if err == nil {
			t.mu.Lock()
			t.held.Item = &Item{Table: a.m.Table.Name(), Raw: raw, Info: info}
			t.mu.Unlock()
			return nil
		}
		if tries == transientTries || hopeless(err) || errors.Is(err, statelatch.ErrLocked) {
			return err
		}
		if err := pace.Sleep(ctx, retryPace.Pause(tries)); err != nil {
			return err
		}
	}
}

// refusedItem finds out why the item was not put, or that it was. ErrConflict: try again.
func (a *attempt) refusedItem(ctx context.Context, raw string, putErr error) error {
	item, err := a.m.readItem(ctx, a.ref)
	switch {
	case errors.Is(err, statelatch.ErrNotFound) && errors.Is(putErr, statelatch.ErrPreconditionFailed):
		return fmt.Errorf("%w: the lock item of %s was refused as taken and absent when read", statelatch.ErrConflict, a.ref)
	case errors.Is(err, statelatch.ErrNotFound):
		return putErr
	case err != nil:
		return err
	case item.Raw == raw:
		return nil
	case a.last.lock != nil && a.last.lock.owns(item), a.items.has(item):
		err := a.items.answered(a.m.Table.Replace(ctx, a.ref, item.Raw, a.items.info))
		if errors.Is(err, statelatch.ErrPreconditionFailed) {
			return fmt.Errorf("%w: the lock item of %s changed while it was being taken over", statelatch.ErrConflict, a.ref)
		}
		return err
	}
	return a.blockedBy(item)
}

// stillInTable looks at the item of a holder who has no lock object, so that waiting for it does not take and drop
// the lock object again and again. An error is a LockedError, or that it could not be read.
func (a *attempt) stillInTable(ctx context.Context) error {
	item, err := a.m.readItem(ctx, a.ref)
	switch {
	case errors.Is(err, statelatch.ErrNotFound):
		return nil
	case err != nil:
		return err
	case a.items.has(item):
		return nil // a late copy of our own, of an earlier try (B1)
	}
	return a.blockedBy(item)
}

// blockedBy is the refusal that somebody else's item causes.
func (a *attempt) blockedBy(item Item) error {
	h := Held{Ref: a.ref, Info: item.Info, Err: item.Err, Item: &item}
	a.wait.seen(h)
	a.announce(h, 0)
	return h.LockedError()
}

// removeItemFirst is removeItem where the lock object is still to be removed before ctx ends: it gets half of the time.
func (m *Manager) removeItemFirst(ctx context.Context, h Held) error {
	if end, limited := ctx.Deadline(); limited && h.ETag != "" {
		half, cancel := context.WithDeadline(ctx, end.Add(-time.Until(end)/2))
		defer cancel()
		ctx = half
	}
	return m.removeItem(ctx, h)
}

// removeItem deletes exactly h's item, if it has one of its own, trying until the end of ReleaseTimeout or ctx.
// ErrLockLost if it is another's by now, or gone.
func (m *Manager) removeItem(ctx context.Context, h Held) error {
	if h.Item == nil || h.ETag != "" && !h.owns(*h.Item) {
		return nil
	}
	if m.Table == nil || m.Table.Name() != h.Item.Table {
		return fmt.Errorf("%w lock table: the item is in %q", statelatch.ErrInvalid, h.Item.Table)
	}
	ctx, cancel := context.WithTimeout(ctx, m.releaseTimeout())
	defer cancel()
	var unknown error
	for failures := 0; ; failures++ {
		err := m.Table.Unlock(ctx, h.Ref, h.Item.Raw)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, statelatch.ErrPreconditionFailed):
			return vanished(h.Ref, unknown != nil)
		case errors.Is(err, statelatch.ErrAmbiguous):
			unknown = err
		}
		if hopeless(err) || pace.Sleep(ctx, retryPace.Pause(failures)) != nil {
			return releaseError(h.Ref, err, unknown)
		}
	}
}
