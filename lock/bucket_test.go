package lock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/lock"
)

// calls are everything that a Manager does with a ref.
func calls(m *lock.Manager, at statelatch.Ref) map[string]func(context.Context) error {
	leased := lock.Held{Ref: at, ETag: `"e"`, Managed: &statelatch.Managed{TTL: time.Minute}}
	return map[string]func(context.Context) error{
		"Acquire": func(ctx context.Context) error { _, err := m.Acquire(ctx, at, request()); return err },
		"AcquireAll": func(ctx context.Context) error {
			_, err := lock.AcquireAll(ctx, []lock.Target{{Manager: m, Ref: at}}, request())
			return err
		},
		"Release":      func(ctx context.Context) error { _, err := m.Release(ctx, lock.Held{Ref: at, ETag: `"e"`}); return err },
		"ForceRelease": func(ctx context.Context) error { _, err := m.ForceRelease(ctx, leased, request()); return err },
		"ForceUnlock":  func(ctx context.Context) error { _, _, err := m.ForceUnlock(ctx, at, engineID, request()); return err },
		"Status":       func(ctx context.Context) error { _, err := m.Status(ctx, at); return err },
		"WaitExpired":  func(ctx context.Context) error { _, err := m.WaitExpired(ctx, at, nil); return err },
		"Release plain": func(ctx context.Context) error {
			_, err := m.Release(ctx, lock.Held{Ref: at, Item: &lock.Item{Table: "t"}})
			return err
		},
	}
}

// What is locked in one bucket must not be believed of another.
func TestManager_AnotherBucket(t *testing.T) {
	t.Parallel()
	m, store := setup()
	for name, call := range calls(m, statelatch.Ref{Bucket: "other", Key: ref.Key}) {
		if err := call(t.Context()); !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), `"other"`) {
			t.Errorf("%s: got %v, want ErrInvalid that names the bucket", name, err)
		}
	}
	for name, call := range calls(&lock.Manager{Tier: lock.TierFull}, ref) {
		if err := call(t.Context()); !errors.Is(err, statelatch.ErrInvalid) {
			t.Errorf("%s without a bucket: got %v, want ErrInvalid", name, err)
		}
	}
	if n := store.Count("", ""); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// The zero Tier is nobody's word for the store: nothing is locked or removed on it. Looking is free.
func TestManager_TierUnknown(t *testing.T) {
	t.Parallel()
	m, store := setup()
	put(t, store, engineLock)
	m.Tier = lock.TierUnknown
	for name, call := range calls(m, ref) {
		err := call(t.Context())
		switch name {
		case "Status":
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case "WaitExpired":
			if !errors.Is(err, statelatch.ErrLocked) {
				t.Errorf("%s: got %v, want the holder", name, err)
			}
		default:
			if !errors.Is(err, statelatch.ErrUnsafeStore) || !errors.Is(err, statelatch.ErrInvalid) {
				t.Errorf("%s: got %v, want ErrUnsafeStore and ErrInvalid", name, err)
			}
		}
	}
	if n := store.Count(faultbucket.OpPut, "") + store.Count(faultbucket.OpDelete, ""); n != 1 {
		t.Errorf("%d writes, want none but the test's own", n)
	}
	for tier, want := range map[lock.Tier]string{lock.TierUnknown: "unknown", lock.TierFull: "full", lock.TierCAS: "cas", lock.TierNone: "none"} {
		if got := fmt.Sprint(tier); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
