package lock_test

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/internal/dynamotest"
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
		wantOps(t, "force-unlock", c.store.Requests(), "get", "delete if match", "put if match", "delete if match") // the first only asks for the right
		if c.fence.count() != 1 || c.fence.calls[0] != 3 {
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

// On a store without conditional delete the lock is swapped and the state fenced all the same; only the last step is
// weak.
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
					t.Error("the lock was taken over and its holder not fenced out")
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
			t.Error("fenced a holder whose lock was not taken over")
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
		if m == nil || m.TTL == 0 || m.PrevID != was.Info.ID {
			t.Errorf("left %+v, want a lock with a lease", m)
		}
	})
}

// Without the right to delete a lock it stays as it was found, to the byte, and so does its item: by whatever way
// somebody tries.
func TestManager_ForceRelease_Denied(t *testing.T) {
	t.Parallel()
	noDelete := faultbucket.Rule{Op: faultbucket.OpDelete, Fault: faultbucket.Answer(403)}
	last := faultbucket.Rule{Op: faultbucket.OpDelete, Nth: 2, Fault: faultbucket.Answer(403)} // the right is taken away in between
	plain := leased(0)
	for name, tc := range map[string]struct {
		was       lock.Request
		tier      lock.Tier
		rule      faultbucket.Rule
		tableOnly bool // it is the item that may not be deleted
		untouched bool // nothing is even written
	}{
		"leased":                           {was: leased(minute), rule: noDelete, untouched: true},
		"leased, too late to ask":          {was: leased(minute), rule: last},
		"leased, on a weak store":          {was: leased(minute), tier: lock.TierCAS, rule: noDelete},
		"leased, the item denied":          {was: leased(minute), tableOnly: true},
		"without a lease":                  {was: plain, rule: noDelete, untouched: true},
		"without a lease, on a weak store": {was: plain, tier: lock.TierCAS, rule: noDelete, untouched: true},
		"without a lease, the item denied": {was: plain, tableOnly: true, untouched: true},
	} {
		for _, how := range []string{"ForceRelease", "ForceUnlock", "Release", "Acquire"} {
			if leased := tc.was.TTL > 0; leased == (how == "Release") || how == "Acquire" && (!leased || tc.tier == lock.TierCAS) {
				continue // that is not how such a lock is removed
			}
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.dual().dead(t, tc.was)
					before, item := stored(t, w.objects), w.item()
					c := w.dual()
					if tc.tableOnly {
						w.table.Add(dynamotest.Rule{Op: dynamotest.OpDeleteItem, Fault: dynamotest.Answer(400, "AccessDeniedException")})
					} else {
						c.store.Add(tc.rule)
					}
					if tc.tier != 0 {
						c.Tier = tc.tier
					}
					found, err := c.Status(t.Context(), ref)
					if err != nil {
						t.Fatal(err)
					}
					switch how {
					case "ForceRelease":
						_, err = c.ForceRelease(t.Context(), found, request())
					case "ForceUnlock":
						_, _, err = c.ForceUnlock(t.Context(), ref, found.Info.ID, request())
					case "Release":
						_, err = c.Release(t.Context(), found)
					case "Acquire": // of a lock without a lease
						_, err = c.Acquire(t.Context(), ref, taking(0, 0))
					}
					if !errors.Is(err, statelatch.ErrDenied) || !strings.Contains(err.Error(), "as it was") {
						t.Errorf("got %v, want ErrDenied, and that the lock is as it was", err)
					}
					if got := stored(t, w.objects); !bytes.Equal(got, before) {
						t.Errorf("the lock object was\n%s\nand is\n%s", before, got)
					}
					if w.item() != item {
						t.Errorf("the item was\n%s\nand is\n%s", item, w.item())
					}
					if puts := c.store.Count(faultbucket.OpPut, ""); tc.untouched && (puts != 0 && how != "Acquire" || c.fence.count() != 0) {
						t.Errorf("%d writes, fenced %d times; want none", puts, c.fence.count())
					}
				})
			})
		}
	}
}

// A holder that is alive goes on with a lock that could not be removed.
func TestManager_ForceRelease_DeniedHolderGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		alive := w.client().mustAcquire(t, leased(minute))
		c := w.client(faultbucket.Rule{Op: faultbucket.OpDelete, Nth: 2, Fault: faultbucket.Answer(403)})
		if _, _, err := c.ForceUnlock(t.Context(), ref, alive.Held().Info.ID, request()); !errors.Is(err, statelatch.ErrDenied) {
			t.Errorf("got %v, want ErrDenied", err)
		}
		time.Sleep(10 * minute)
		wantReleased(t, w, alive)
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

// Whether a lock may be removed is asked with an ETag such as a probe has tried: a store that passes over what it takes
// for none would remove the lock.
func TestManager_ForceUnlock_AsksWithAnETag(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		held := w.client().dead(t, leased(minute))
		c := w.client()
		if _, _, err := c.ForceUnlock(t.Context(), ref, held.Info.ID, request()); err != nil {
			t.Fatal(err)
		}
		for _, r := range c.store.Requests() {
			if etag := r.If.ETag(); etag != "" && !regexp.MustCompile(`^"[0-9a-f]{32}"$`).MatchString(etag) {
				t.Errorf("a %s on the ETag %s", r.Op, etag)
			}
		}
	})
}
