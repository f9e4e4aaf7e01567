package lock_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/state"
)

// A lock is held, refused to somebody else, and released.
func ExampleManager_Acquire() {
	ctx := context.Background()
	bucket := membucket.New("acme-state", membucket.Options{}) // s3bucket.Open for a real one
	m := &lock.Manager{Bucket: bucket, Tier: lock.TierFull}    // as package probe has proven
	ref := statelatch.Ref{Bucket: "acme-state", Key: "prod/network.tfstate"}

	held, err := m.Acquire(ctx, ref, lock.Request{Operation: "deploy", Who: "ann@laptop"})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = m.Acquire(ctx, ref, lock.Request{Operation: "deploy", Who: "bob@desk"}) // with Wait it would wait
	if locked, ok := errors.AsType[*statelatch.LockedError](err); ok {
		fmt.Println("held by", locked.Holder.Who)
	}
	if _, err := held.Release(ctx); err != nil {
		fmt.Println(err)
	}
	_, err = m.Status(ctx, ref)
	fmt.Println("free:", errors.Is(err, statelatch.ErrNotLocked))
	// Output:
	// held by ann@laptop
	// free: true
}

// Work under a lease stops as soon as the lock may be somebody else's.
func ExampleTenure_Lost() {
	ctx := context.Background()
	bucket := membucket.New("acme-state", membucket.Options{})
	m := &lock.Manager{Bucket: bucket, Tier: lock.TierFull, Fence: (&state.Store{Bucket: bucket}).Touch}
	ref := statelatch.Ref{Bucket: "acme-state", Key: "prod/network.tfstate"}

	held, err := m.Acquire(ctx, ref, lock.Request{Who: "ann@laptop", TTL: time.Minute, TakeOver: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan struct{})
	go func() { defer close(done) /* the work */ }()
	select {
	case <-done:
		fmt.Println("done")
	case <-held.Lost():
		fmt.Println("stop:", held.Err())
	}
	if _, err := held.Release(ctx); err != nil {
		fmt.Println(err)
	}
	// Output: done
}

// Somebody else's lock is forced away by the ID that was looked at, and by no other.
func ExampleManager_ForceUnlock() {
	ctx := context.Background()
	bucket := membucket.New("acme-state", membucket.Options{})
	m := &lock.Manager{Bucket: bucket, Tier: lock.TierFull, Fence: (&state.Store{Bucket: bucket}).Touch}
	ref := statelatch.Ref{Bucket: "acme-state", Key: "prod/network.tfstate"}
	if _, err := m.Acquire(ctx, ref, lock.Request{Who: "ci"}); err != nil {
		fmt.Println(err)
		return
	}

	shown, err := m.Status(ctx, ref)
	if err != nil {
		fmt.Println(err)
		return
	}
	removed, _, err := m.ForceUnlock(ctx, ref, shown.Info.ID, lock.Request{Who: "ann@laptop"})
	fmt.Println("removed the lock of", removed.Info.Who, err)
	// Output: removed the lock of ci <nil>
}
