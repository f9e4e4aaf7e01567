package lock_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/lock"
)

// A lost lease says why: what the renewals met last, in a way that programs can ask for.
func TestTenure_Err_UnrenewedHasItsCause(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault  faultbucket.Fault
		is     error
		status int
	}{
		"denied":    {faultbucket.Answer(403), statelatch.ErrDenied, 403},
		"full":      {faultbucket.Answer(507), statelatch.ErrBroken, 507},
		"throttled": {faultbucket.Answer(503), nil, 503},
		"no answer": {faultbucket.LoseRequest(), nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.client()
				tenure := c.mustAcquire(t, leased(minute))
				c.store.Add(faultbucket.Rule{Op: faultbucket.OpPut, Fault: tc.fault})
				<-tenure.Lost()
				err := tenure.Err()
				if !errors.Is(err, statelatch.ErrLockLost) || tc.is != nil && !errors.Is(err, tc.is) {
					t.Errorf("got %v, want ErrLockLost and %v", err, tc.is)
				}
				if errors.Is(err, statelatch.ErrAmbiguous) || errors.Is(tenure.Check(), statelatch.ErrAmbiguous) {
					t.Errorf("got %v, which is taken for the outcome of a write", err)
				}
				if se, ok := errors.AsType[*statelatch.StoreError](err); !ok || se.Status != tc.status {
					t.Errorf("got %v, want the store's answer in it", err)
				}
				c.store.Heal()
				tenure.Abandon()
			})
		})
	}
}

// A theft says who has it now, also to who releases.
func TestTenure_Err_TheftHasItsThief(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		tenure := w.client().mustAcquire(t, leased(minute))
		put(t, w.objects, engineLock)
		<-tenure.Lost()
		_, releaseErr := tenure.Release(t.Context())
		for name, err := range map[string]error{"Err": tenure.Err(), "Check": tenure.Check(), "Release": releaseErr} {
			locked, ok := errors.AsType[*statelatch.LockedError](err)
			if !errors.Is(err, statelatch.ErrLockLost) || !ok || locked.Holder.ID != engineID {
				t.Errorf("%s: got %v, want ErrLockLost and the thief", name, err)
			}
		}
	})
}

// Release twice, as with a defer behind an early release, is no false alarm.
func TestTenure_Release_Twice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.client()
		c.Tier = lock.TierCAS
		tenure := c.mustAcquire(t, leased(minute))
		for range 2 {
			if weak, err := tenure.Release(t.Context()); !weak || err != nil {
				t.Errorf("got weak %v, %v, want a weak release", weak, err)
			}
		}
		other := w.client().mustAcquire(t, leased(minute))
		if _, err := tenure.Release(t.Context()); err != nil {
			t.Errorf("a third time: %v", err)
		}
		wantOurs(t, w.objects, other, nil)
		wantReleased(t, w, other)
		if _, err := other.Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// How long a call outlasts its context is the caller's to say.
func TestManager_Timeouts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		release, takeBack time.Duration
		wantRelease       time.Duration
		wantAcquire       time.Duration
	}{
		"default":    {0, 0, 30 * time.Second, 5 * time.Second},
		"short":      {2 * time.Second, time.Second, 2 * time.Second, 3 * time.Second},
		"not at all": {time.Second, -1, time.Second, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				for _, both := range []bool{false, true} {
					w := newWorld(t)
					c := w.client()
					if both {
						c = w.dual()
					}
					c.ReleaseTimeout, c.TakeBackTimeout = tc.release, tc.takeBack
					tenure := c.mustAcquire(t, leased(minute))
					c.store.Add(faultbucket.Rule{Fault: faultbucket.DelayWith(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })})

					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
					start := time.Now()
					_, err := c.Acquire(ctx, statelatch.Ref{Bucket: ref.Bucket, Key: "other"}, leased(minute))
					cancel()
					if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > tc.wantAcquire+time.Millisecond {
						t.Errorf("Acquire: %v after %v, want the end of its context within %v", err, took, tc.wantAcquire)
					}
					start = time.Now()
					if _, err := tenure.Release(ctx); err == nil || time.Since(start) > tc.wantRelease+time.Millisecond {
						t.Errorf("Release: %v after %v, want an error within %v", err, time.Since(start), tc.wantRelease)
					}
				}
			})
		})
	}
}

// Who stops waiting still learns for whom.
func TestManager_Acquire_ContextEndsWhileWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup()
		put(t, store, engineLock)
		for name, acquire := range map[string]func(context.Context, lock.Request) error{
			"Acquire": func(ctx context.Context, req lock.Request) error { _, err := m.Acquire(ctx, ref, req); return err },
			"AcquireAll": func(ctx context.Context, req lock.Request) error {
				_, err := lock.AcquireAll(ctx, []lock.Target{{Manager: m, Ref: ref}, {Manager: m, Ref: statelatch.Ref{Bucket: ref.Bucket, Key: "a"}}}, req)
				return err
			},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			req := request()
			req.Wait = time.Hour
			err := acquire(ctx, req)
			cancel()
			locked, ok := errors.AsType[*statelatch.LockedError](err)
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, statelatch.ErrLocked) || !ok || locked.Holder.ID != engineID {
				t.Errorf("%s: got %v, want the end of the context and the holder", name, err)
			}
		}
	})
}

// Under virtual time a lease is that long without a word about clocks: it is renewed, and taken over when its holder is
// dead.
func TestManager_SynctestNeedsNoBoot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := faultbucket.New(membucket.New(ref.Bucket, membucket.Options{}), faultbucket.Options{})
		m := &lock.Manager{Bucket: store, Tier: lock.TierFull, Fence: func(context.Context, statelatch.Ref) error { return nil }}
		tenure, err := m.Acquire(t.Context(), ref, leased(90*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if err := tenure.Check(); err != nil {
			t.Errorf("after an hour: %v", err)
		}
		if n := store.Count(faultbucket.OpPut, ""); n < 3600/30 || n > 3600/15 {
			t.Errorf("%d writes in an hour, want one in 22.5 s", n)
		}
		tenure.Abandon()
		start := time.Now()
		next, err := m.Acquire(t.Context(), ref, taking(90*time.Second, 0))
		if took := time.Since(start); err != nil || took < 85*time.Second || took > 95*time.Second {
			t.Fatalf("taken over after %v, %v; want it when the lease is over", took, err)
		}
		if _, err := next.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if s := next.Held().String(); !strings.Contains(s, "me") || strings.Contains(s, "[") {
			t.Errorf("got %q, want the holder and no bytes", s)
		}
	})
}
