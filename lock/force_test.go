package lock_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/lock"
)

// Force-unlock of a lock with a lease: swap, fence, delete. A holder that is alive notices within one renewal.
func TestManager_ForceRelease_Leased(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		alive := w.client().mustAcquire(t, leased(minute))
		c := w.client()
		removed, weak, err := c.ForceUnlock(t.Context(), ref, alive.Held().Info.ID, request())
		if err != nil || weak || removed.Info != alive.Held().Info {
			t.Errorf("got %+v, %v, %v", removed, weak, err)
		}
		wantOps(t, "force-unlock", c.store.Requests(), "get", "put if match", "delete if match")
		if c.fence.count() != 1 || c.fence.calls[0] != 2 {
			t.Errorf("fenced after requests %v, want once after the swap", c.fence.calls)
		}
		if got := stored(t, w.objects); got != nil {
			t.Errorf("left behind: %s", got)
		}
		forced := time.Now()
		<-alive.Lost()
		if d := time.Since(forced); d > 17*time.Second {
			t.Errorf("noticed after %v", d)
		}
		if _, err := alive.Release(t.Context()); !errors.Is(err, statelatch.ErrLockLost) {
			t.Errorf("Release: %v, want ErrLockLost", err)
		}
	})
}

// On a store without conditional delete the lock is swapped and the state fenced all the same; only the last step is weak.
func TestManager_ForceRelease_LeasedOnAWeakStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		was := w.client().dead(t, leased(minute))
		c := w.client()
		c.Tier = lock.TierCAS
		if _, weak, err := c.ForceUnlock(t.Context(), ref, was.Info.ID, request()); err != nil || !weak {
			t.Errorf("got weak %v, %v, want a weak release", weak, err)
		}
		wantOps(t, "force-unlock", c.store.Requests(), "get", "put if match", "get", "delete")
		if c.fence.count() != 1 || c.fence.calls[0] != 2 {
			t.Errorf("fenced after requests %v, want once after the swap", c.fence.calls)
		}
		if got := stored(t, w.objects); got != nil {
			t.Errorf("left behind: %s", got)
		}
	})
}

// A plain lock is deleted, on condition, and that is all.
func TestManager_ForceRelease_B5_Plain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	put(t, w.objects, engineLock)
	c := w.client()
	if _, _, err := c.ForceUnlock(t.Context(), ref, engineID, request()); err != nil {
		t.Error(err)
	}
	wantOps(t, "force-unlock", c.store.Requests(), "get", "delete if match")
	if c.fence.count() != 0 {
		t.Error("an engine cannot be fenced")
	}
}

func TestManager_ForceRelease_LeasedSurvivesFaults(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]faultbucket.Rule{
		"swap, reply lost":        {Op: faultbucket.OpPut, Nth: 1, Fault: faultbucket.LoseReply()},
		"swap, request lost":      {Op: faultbucket.OpPut, Nth: 1, Fault: faultbucket.LoseRequest()},
		"swap, late":              {Op: faultbucket.OpPut, Nth: 1, Fault: faultbucket.Late(2)},
		"swap, twice":             {Op: faultbucket.OpPut, Nth: 1, Fault: faultbucket.Duplicate(1)},
		"swap, re-sent":           {Op: faultbucket.OpPut, Nth: 1, Fault: faultbucket.Resend()},
		"swap, 412 after":         {Op: faultbucket.OpPut, Nth: 1, Fault: faultbucket.AnswerAfter(412)},
		"swap, 409":               {Op: faultbucket.OpPut, Nth: 1, Fault: faultbucket.Answer(409)},
		"B6 delete, reply lost":   {Op: faultbucket.OpDelete, Nth: 1, Fault: faultbucket.LoseReply()},
		"B6 delete, 503":          {Op: faultbucket.OpDelete, Nth: 1, Fault: faultbucket.AnswerAfter(503)},
		"delete, delivered twice": {Op: faultbucket.OpDelete, Nth: 1, Fault: faultbucket.Duplicate(0)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				was := w.client().dead(t, leased(minute))
				c := w.client(rule)
				_, _, err := c.ForceUnlock(t.Context(), ref, was.Info.ID, request())
				left := stored(t, w.objects)
				if c.fence.count() == 0 && !bytes.Equal(left, body(was)) {
					t.Error("the holder was robbed and not fenced out")
				}
				if left != nil || err != nil {
					t.Errorf("got %v, left %q; want it removed", err, left)
				}
				c.store.Deliver()
				wantConditions(t, c.store.Requests())
			})
		})
	}
}

// The lock changes hands before the swap, or its holder renews: nothing is removed, and who holds it is shown.
func TestManager_ForceRelease_B5_LeasedChangedMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		alive := w.client().mustAcquire(t, leased(minute))
		shown := alive.Held()
		time.Sleep(20 * time.Second)
		c := w.client()
		var locked *statelatch.LockedError
		if _, err := c.ForceRelease(t.Context(), shown, request()); !errors.As(err, &locked) || locked.Holder.ID != shown.Info.ID {
			t.Errorf("got %v, want a LockedError that shows the holder", err)
		}
		wantOurs(t, w.objects, alive, nil)
		wantReleased(t, w, alive)
		if _, err := c.ForceRelease(t.Context(), shown, request()); !errors.Is(err, statelatch.ErrNotLocked) {
			t.Errorf("got %v, want ErrNotLocked", err)
		}
		if c.fence.count() != 0 {
			t.Error("fenced a holder that was not robbed")
		}
	})
}

func TestManager_ForceRelease_R6_FenceFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		was := w.client().dead(t, leased(minute))
		c := w.client()
		c.fence.do = func(context.Context) error { return errTest }
		if _, err := c.ForceRelease(t.Context(), was, request()); !errors.Is(err, errTest) || !strings.Contains(err.Error(), "lease") {
			t.Errorf("got %v, want that the lock is left to its lease", err)
		}
		m := statelatch.ParseManaged(stored(t, w.objects))
		if c.store.Count(faultbucket.OpDelete, "") != 0 || m == nil || m.TTL == 0 || m.PrevID != was.Info.ID {
			t.Errorf("left %+v, want a lock with a lease", m)
		}
	})
}

func TestManager_WaitExpired(t *testing.T) {
	t.Parallel()
	manual := request()
	manual.Expires = time.Hour
	for name, tc := range map[string]struct {
		before func(*testing.T, *world)
		rules  []faultbucket.Rule
		want   error
		took   time.Duration
	}{
		"dead holder": {before: func(t *testing.T, w *world) { t.Helper(); w.client().dead(t, leased(minute)) }, took: minute},
		"dead holder, bad network": {
			before: func(t *testing.T, w *world) { t.Helper(); w.client().dead(t, leased(minute)) },
			rules:  []faultbucket.Rule{{Op: faultbucket.OpGet, Chance: 0.3, Fault: faultbucket.Answer(503)}}, took: minute,
		},
		"out of reach": {
			before: func(t *testing.T, w *world) { t.Helper(); w.client().dead(t, leased(minute)) },
			rules:  []faultbucket.Rule{{Op: faultbucket.OpGet, Fault: faultbucket.Answer(503)}}, want: statelatch.ErrThrottled, took: time.Second,
		},
		"denied": {
			before: func(t *testing.T, w *world) { t.Helper(); w.client().dead(t, leased(minute)) },
			rules:  []faultbucket.Rule{{Op: faultbucket.OpGet, Fault: faultbucket.Answer(403)}}, want: statelatch.ErrDenied,
		},
		"alive": {before: func(t *testing.T, w *world) {
			t.Helper()
			held := w.client().mustAcquire(t, leased(minute))
			time.AfterFunc(10*minute, held.Abandon)
		}, want: statelatch.ErrLocked, took: 15 * time.Second},
		"free":     {before: func(t *testing.T, _ *world) { t.Helper() }, want: statelatch.ErrNotLocked},
		"plain":    {before: func(t *testing.T, w *world) { t.Helper(); put(t, w.objects, engineLock) }, want: statelatch.ErrLocked},
		"not over": {before: func(t *testing.T, w *world) { t.Helper(); w.client().dead(t, manual) }, want: statelatch.ErrLocked},
		"over": {before: func(t *testing.T, w *world) {
			t.Helper()
			w.client().dead(t, manual)
			time.Sleep(2 * time.Hour)
		}},
		"only in the table": {before: func(t *testing.T, w *world) { t.Helper(); w.setItem(string(engineLock)) }, want: statelatch.ErrLocked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				tc.before(t, w)
				c := w.dual(tc.rules...)
				before, began := stored(t, w.objects), time.Now()
				h, err := c.WaitExpired(t.Context(), ref, func(lock.Waiting) {})
				if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
					t.Errorf("got %v, want %v", err, tc.want)
				}
				if took := time.Since(began); took < tc.took || took > tc.took+5*time.Second {
					t.Errorf("it took %v, want %v", took, tc.took)
				}
				if err == nil && !bytes.Equal(body(h), stored(t, w.objects)) {
					t.Errorf("got %+v", h)
				}
				if !errors.Is(tc.want, statelatch.ErrLocked) && !bytes.Equal(stored(t, w.objects), before) {
					t.Error("it changed something")
				}
				time.Sleep(20 * minute)
			})
		})
	}
}
