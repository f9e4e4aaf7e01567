package lock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/statelatch/statelatch"
)

// Target is one lock of several.
type Target struct {
	Manager *Manager       // of the state's bucket; required
	Ref     statelatch.Ref // of the state
	ID      string         // empty: a fresh one
}

// acquire is Manager.Acquire under the target's ID.
func (t Target) acquire(ctx context.Context, req Request) (*Tenure, error) {
	req.ID = cmp.Or(t.ID, req.ID)
	return t.Manager.Acquire(ctx, t.Ref, req)
}

// Set is several tenures that were acquired together.
type Set []*Tenure

// AcquireAll takes the locks of all targets or none, in the order of bucket and key whatever order they are given in,
// so that two sets never wait for each other. While one is held by somebody else none is kept: nobody
// else is blocked by a set that waits. Every lock has an ID of its own, the target's; req.ID is for one target alone.
// Errors as for Acquire, about the first target that could not be had.
func AcquireAll(ctx context.Context, targets []Target, req Request) (Set, error) {
	if req.ID != "" && len(targets) > 1 {
		return nil, fmt.Errorf("%w lock request: one ID for several locks", statelatch.ErrInvalid)
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("%w lock request: no refs to lock", statelatch.ErrInvalid)
	}
	targets = slices.Clone(targets)
	slices.SortFunc(targets, func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.Ref.Bucket, b.Ref.Bucket), cmp.Compare(a.Ref.Key, b.Ref.Key))
	})
	for i := 1; i < len(targets); i++ {
		if targets[i].Ref == targets[i-1].Ref {
			return nil, fmt.Errorf("%w refs: %s is given twice", statelatch.ErrInvalid, targets[i].Ref)
		}
	}
	if len(targets) == 1 {
		t, err := targets[0].acquire(ctx, req)
		if err != nil {
			return nil, err
		}
		return Set{t}, nil
	}
	deadline := time.Now().Add(req.Wait)
	for late := 0; ; {
		set, blocked, err := acquireOnce(ctx, targets, req)
		if err == nil || blocked < 0 || ctx.Err() != nil {
			return set, err
		}
		if !time.Now().Before(deadline) {
			if !req.TakeOver || late == len(targets) {
				return nil, err
			}
			late++ // what is over may be taken over now as well, but nothing is waited for again and again
		}
		// Wait for the one that is held without keeping any, then start over.
		waiting := req
		waiting.Wait = max(time.Until(deadline), 0)
		waiting.FenceAlways = false // nothing is written under this one
		t, err := targets[blocked].acquire(ctx, waiting)
		if err != nil {
			return nil, err
		}
		if _, err := t.Release(ctx); err != nil {
			return nil, err
		}
	}
}

// acquireOnce tries each lock once, and releases what it has when one is refused. blocked is which one somebody else
// holds; it is -1 if that is not what went wrong, or not all. Nothing is taken over here: that takes time, and locks
// are held.
func acquireOnce(ctx context.Context, targets []Target, req Request) (set Set, blocked int, err error) {
	req.Wait, req.TakeOver = 0, false
	for i, target := range targets {
		t, err := target.acquire(ctx, req)
		if err == nil {
			set = append(set, t)
			continue
		}
		if !errors.Is(err, statelatch.ErrLocked) || errors.Is(err, statelatch.ErrAmbiguous) {
			i = -1
		}
		if _, releaseErr := set.Release(ctx); releaseErr != nil {
			return nil, -1, errors.Join(err, releaseErr)
		}
		return nil, i, err
	}
	return set, -1, nil
}

// Release releases all, the last acquired first, each tried whatever becomes of the others, and each for as long as its
// Manager's ReleaseTimeout. Weak if any was.
func (s Set) Release(ctx context.Context) (weak bool, err error) {
	var errs []error
	for _, t := range slices.Backward(s) {
		w, err := t.Release(ctx)
		weak = weak || w
		errs = append(errs, err)
	}
	return weak, errors.Join(errs...)
}
