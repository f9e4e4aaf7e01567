package lock

import (
	"context"
	"errors"
	"fmt"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/pace"
)

// Rewrite stores h, a lock of ours that Acquire or Status returned, with what change makes of its Managed, a fresh
// nonce and the next Seq, if it is still exactly h. The holder and the ID stay. It tries until ReleaseTimeout or ctx
// ends, and returns the lock as it is then.
//
//	nil           it is h, rewritten
//	ErrLockLost   it is not there any more, or not h; nothing was changed
//	ErrInvalid    h is no managed lock
//	ErrAmbiguous  it may be rewritten, or may be yet
//	other         it is as it was
func (m *Manager) Rewrite(ctx context.Context, h Held, change func(*statelatch.Managed)) (Held, error) {
	if h.Managed == nil || h.Err != nil || h.ETag == "" {
		return Held{}, fmt.Errorf("%w lock of %s: only a lock of ours can be rewritten", statelatch.ErrInvalid, h.Ref)
	}
	if err := m.proven(); err != nil {
		return Held{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, m.releaseTimeout())
	defer cancel()
	managed := *h.Managed
	change(&managed)
	managed.Nonce, managed.Seq = pace.HexNonce(), h.Managed.Seq+1
	next := Held{Ref: h.Ref, Info: h.Info, Managed: &managed, Item: h.Item, body: h.Info.MarshalManaged(managed)}
	var unknown error
	for failures := 0; ; failures++ {
		obj, err := m.put(ctx, h.Ref, next.body, bucket.IfMatch(h.ETag))
		if err == nil {
			next.ETag, next.VersionID = obj.ETag, obj.VersionID
			return next, nil
		}
		if errors.Is(err, statelatch.ErrAmbiguous) {
			unknown = err
		}
		if refusedOrGone(err) { // read back: that alone proves nothing (R2)
			now, lookErr := m.read(ctx, h.Ref)
			switch {
			case lookErr == nil && now.isAny(next.body):
				now.Item = h.Item
				return now, nil
			case errors.Is(lookErr, statelatch.ErrNotLocked), lookErr == nil && now.ETag != h.ETag:
				return Held{}, fmt.Errorf("%w: %s", statelatch.ErrLockLost, h.Ref)
			case lookErr != nil:
				err = lookErr
			}
		}
		if hopeless(err) || pace.Sleep(ctx, retryPace.Pause(failures)) != nil {
			return Held{}, fmt.Errorf("rewrite lock %s: %w", h.Ref, errors.Join(err, unknown))
		}
	}
}
