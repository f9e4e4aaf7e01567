package lock_test

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/internal/dynamotest"
	"github.com/statelatch/statelatch/lock"
)

// keeping leaves a lock that somebody took to keep it, and returns it as everybody sees it.
func (w *world) keeping(t *testing.T, expires time.Duration) lock.Held {
	t.Helper()
	req := request()
	req.Reason, req.Expires = "freeze", expires
	c := w.dual()
	c.dead(t, req)
	h, err := c.Status(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// under is a request of the owner of kept, who works under it.
func under(kept lock.Held) lock.Request {
	req := leased(minute)
	req.Operation, req.Client = "push", "host/1/1/scope"
	req.Under = func(h lock.Held) bool { return h.Info.ID == kept.Info.ID }
	return req
}

// wantKept fails the test unless the lock of kept stands as it did, without a lease, and its item too.
func (w *world) wantKept(t *testing.T, kept lock.Held) {
	t.Helper()
	h, err := w.dual().Status(t.Context(), ref)
	if err != nil || h.Info != kept.Info || h.Leased() || h.Stays() || h.Managed.Client != "" || h.Managed.Reason != kept.Managed.Reason ||
		h.Managed.Nonce == kept.Managed.Nonce || h.Item == nil || h.Item.Raw != kept.Item.Raw {
		t.Errorf("got %+v, %v; want %+v again", h, err, kept)
	}
}

func TestManager_Acquire_Under(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		kept := w.keeping(t, 0)
		c := w.dual()
		tenure := c.mustAcquire(t, under(kept))
		if err := tenure.Check(); err != nil {
			t.Errorf("Check: %v, want that it may write", err)
		}
		wantOps(t, "Acquire", c.store.Requests(), "put if absent", "get", "put if match")
		during, err := c.Status(t.Context(), ref)
		if err != nil || during.Info != kept.Info || !during.Leased() || !during.Stays() || during.Managed.Reason != "freeze" || w.item() != kept.Item.Raw {
			t.Errorf("while it works: got %+v, %v", during, err)
		}
		if _, err := w.dual().Acquire(t.Context(), ref, under(kept)); !errors.Is(err, statelatch.ErrLocked) {
			t.Errorf("a second command of the owner: %v, want ErrLocked", err)
		}
		time.Sleep(10 * minute) // renewed
		if err := tenure.Verify(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := tenure.Release(t.Context()); err != nil || tenure.Gone() {
			t.Errorf("Release: %v, gone %v", err, tenure.Gone())
		}
		w.wantKept(t, kept)
		if c.fence.count() != 0 || c.store.Count(faultbucket.OpDelete, "") != 0 {
			t.Error("nothing was taken over and nothing is to be deleted")
		}
		again := c.mustAcquire(t, under(kept))
		if _, err := again.Release(t.Context()); err != nil {
			t.Error(err)
		}
		w.wantKept(t, kept)
		wantConditions(t, c.store.Requests())
	})
}

// Whose lock it is decides who may: nobody else's, an engine's never, and no lease of anybody.
func TestManager_Acquire_UnderRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all := leased(minute)
		all.Under = func(lock.Held) bool { return true }
		none := leased(minute)
		none.Under = func(lock.Held) bool { return false }
		short := request()
		short.Under = all.Under
		for name, tc := range map[string]struct {
			lock func(*world)
			req  lock.Request
		}{
			"somebody else's":      {func(w *world) { w.client().dead(t, request()) }, none},
			"an engine's":          {func(w *world) { put(t, w.objects, engineLock) }, all},
			"a lease":              {func(w *world) { w.client().dead(t, leased(minute)) }, all},
			"work without a lease": {func(w *world) { w.client().dead(t, request()) }, short},
		} {
			w := newWorld(t)
			tc.lock(w)
			before := stored(t, w.objects)
			if _, err := w.client().Acquire(t.Context(), ref, tc.req); !errors.Is(err, statelatch.ErrLocked) {
				t.Errorf("%s: got %v, want ErrLocked", name, err)
			}
			if !bytes.Equal(stored(t, w.objects), before) {
				t.Errorf("%s: it was changed", name)
			}
		}
	})
}

// A command that dies under a lock that stays: nobody takes that over, and whoever comes next fences the dead one out.
func TestManager_Acquire_UnderCrash(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]bool{"proven gone": true, "watched": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				kept := w.keeping(t, 0)
				w.dual().dead(t, under(kept))
				if _, err := w.dual().Acquire(t.Context(), ref, taking(minute, time.Hour)); !errors.Is(err, statelatch.ErrLocked) {
					t.Errorf("somebody else: %v, want ErrLocked", err)
				}
				if _, err := w.dual().WaitExpired(t.Context(), ref, nil); !errors.Is(err, statelatch.ErrLocked) {
					t.Errorf("WaitExpired: %v, want ErrLocked", err)
				}
				c := w.dual()
				req := under(kept)
				req.Wait = 2 * minute
				req.Gone = func(lock.Held) bool { return gone }
				began := time.Now()
				tenure := c.mustAcquire(t, req)
				if d := time.Since(began); gone != (d == 0) || d > 2*minute {
					t.Errorf("entered after %v", d)
				}
				if c.fence.count() != 1 {
					t.Errorf("fenced %d times, want once", c.fence.count())
				}
				if _, err := tenure.Release(t.Context()); err != nil {
					t.Error(err)
				}
				w.wantKept(t, kept)

				w.dual().dead(t, under(kept))
				f := w.dual()
				if _, _, err := f.ForceUnlock(t.Context(), ref, kept.Info.ID, request()); err != nil || f.fence.count() != 1 {
					t.Errorf("ForceUnlock: %v, fenced %d times", err, f.fence.count())
				}
				if stored(t, w.objects) != nil || w.item() != "" {
					t.Errorf("left %s and %s", stored(t, w.objects), w.item())
				}
			})
		})
	}
}

// Whatever becomes of one request, the lock is the owner's again at the end.
func TestManager_Acquire_UnderSurvivesFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]faultbucket.Fault{
		"reply lost": faultbucket.LoseReply(), "request lost": faultbucket.LoseRequest(), "late": faultbucket.Late(2), "twice": faultbucket.Duplicate(1),
		"re-sent": faultbucket.Resend(), "412 after": faultbucket.AnswerAfter(412), "409": faultbucket.Answer(409), "503 after": faultbucket.AnswerAfter(503),
	} {
		for nth := 1; nth <= 6; nth++ {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					kept := w.keeping(t, 0)
					c := w.dual(faultbucket.Rule{Nth: nth, Fault: fault})
					req := under(kept)
					req.Wait = minute
					tenure, err := c.Acquire(t.Context(), ref, req)
					if err != nil {
						t.Fatalf("Acquire, request %d: %v", nth, err)
					}
					time.Sleep(minute / 2)
					if _, err := tenure.Release(t.Context()); err != nil {
						t.Errorf("Release, request %d: %v", nth, err)
					}
					c.store.Deliver()
					w.wantKept(t, kept)
					wantConditions(t, c.store.Requests())
				})
			})
		}
	}
}

func TestTenure_Release_Under(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		kept := w.keeping(t, time.Hour)
		time.Sleep(10 * minute)
		tenure := w.dual().mustAcquire(t, under(kept))
		time.Sleep(20 * minute)
		if _, err := tenure.Release(t.Context()); err != nil {
			t.Error(err)
		}
		h, err := w.dual().Status(t.Context(), ref)
		if left, promised := h.ExpiresIn(); err != nil || !promised || left < 29*minute || left > 31*minute {
			t.Errorf("it expires in %v, %v, %v; want as it promised, in half an hour", left, promised, err)
		}

		w = newWorld(t)
		kept = w.keeping(t, 0)
		tenure = w.dual().mustAcquire(t, under(kept))
		tenure.Hold(errTest) // R5: a write may still land
		if _, err := tenure.Release(t.Context()); !errors.Is(err, errTest) {
			t.Errorf("Release: %v, want that it is kept", err)
		}
		if m := statelatch.ParseManaged(stored(t, w.objects)); m == nil || m.TTL == 0 || !m.Stays {
			t.Errorf("left %+v, want a lease, so that who comes next fences", m)
		}

		w = newWorld(t)
		kept = w.keeping(t, 0)
		tenure = w.dual().mustAcquire(t, under(kept))
		if _, _, err := w.dual().ForceUnlock(t.Context(), ref, kept.Info.ID, request()); err != nil {
			t.Error(err)
		}
		if _, err := tenure.Release(t.Context()); !errors.Is(err, statelatch.ErrLockLost) {
			t.Errorf("Release: %v, want ErrLockLost", err)
		}
		if stored(t, w.objects) != nil {
			t.Error("a lock that was forced away came back")
		}
	})
}

// Whoever works under a lock may have to fence out a command that died under it.
func TestManager_Acquire_UnderNeedsAFence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		kept := w.keeping(t, 0)
		w.dual().dead(t, under(kept))
		c := w.dual()
		c.Fence = nil
		req := under(kept)
		req.Gone = func(lock.Held) bool { return true }
		if _, err := c.Acquire(t.Context(), ref, req); !errors.Is(err, statelatch.ErrInvalid) {
			t.Errorf("without a Fence: %v, want ErrInvalid", err)
		}
	})
}

// While the swap has no answer the lock is forced away, and somebody else dies with the next one: what is taken over
// then is nothing that its owner kept.
func TestManager_Acquire_UnderForcedMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		req := request()
		w.client().dead(t, req)
		kept, err := w.client().Status(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		c := w.client(faultbucket.Rule{Op: faultbucket.OpPut, Match: renewal, Fault: faultbucket.LoseRequest()})
		req = under(kept)
		req.TakeOver, req.Wait = true, 10*minute
		won := make(chan *lock.Tenure)
		go func() {
			tenure, err := c.Acquire(t.Context(), ref, req)
			if err != nil {
				t.Errorf("Acquire: %v", err)
			}
			won <- tenure
		}()
		time.Sleep(5 * time.Second)
		if _, _, err := w.client().ForceUnlock(t.Context(), ref, kept.Info.ID, request()); err != nil {
			t.Error(err)
		}
		w.client().dead(t, leased(minute))
		c.store.Heal()
		tenure := <-won
		if h := tenure.Held(); h.Stays() || h.Info.ID == kept.Info.ID {
			t.Errorf("got %+v, want a lock of its own", h.Managed)
		}
		if c.fence.count() != 1 {
			t.Errorf("fenced %d times, want once", c.fence.count())
		}
		wantReleased(t, w, tenure)
	})
}

// Who kept the lock did so without the table: no item stays in it.
func TestTenure_Release_UnderTakesItsItem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		kept := w.client().dead(t, request())
		tenure := w.dual().mustAcquire(t, under(kept))
		if w.item() == "" {
			t.Error("it works without its item")
		}
		if _, err := tenure.Release(t.Context()); err != nil {
			t.Error(err)
		}
		h, err := w.client().Status(t.Context(), ref)
		if err != nil || h.Info != kept.Info || h.Leased() || h.Managed.Table != "" || w.item() != "" {
			t.Errorf("left %+v, %v, and the item %s", h.Managed, err, w.item())
		}

		// Where it must stay, the lock says so, and whoever removes that has to name the table.
		tenure = w.dual().mustAcquire(t, under(kept))
		w.table.Add(dynamotest.Rule{Op: dynamotest.OpDeleteItem, Fault: dynamotest.Answer(400, "AccessDeniedException")})
		if _, err := tenure.Release(t.Context()); !errors.Is(err, statelatch.ErrDenied) || tenure.Gone() {
			t.Errorf("Release: %v, gone %v; want ErrDenied and that the lock is there", err, tenure.Gone())
		}
		if h, err := w.client().Status(t.Context(), ref); err != nil || h.Leased() || h.Managed.Table != w.table.Name() {
			t.Errorf("left %+v, %v; want the lock with its table", h.Managed, err)
		}
	})
}

// A release says what became of the lock, whether it was somebody's to keep or not.
func TestTenure_Release_UnderLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		kept := w.keeping(t, 0)
		tenure := w.dual().mustAcquire(t, under(kept))
		if _, _, err := w.dual().ForceUnlock(t.Context(), ref, kept.Info.ID, request()); err != nil {
			t.Error(err)
		}
		thief := w.dual().mustAcquire(t, leased(minute))
		<-tenure.Lost()
		_, err := tenure.Release(t.Context())
		if by, ok := errors.AsType[*statelatch.LockedError](err); !ok || by.Holder.ID != thief.Held().Info.ID || !errors.Is(err, statelatch.ErrLockLost) {
			t.Errorf("Release: %v, want ErrLockLost and who has it", err)
		}
		if !tenure.Gone() {
			t.Error("the lock is another's, but its ID is still to be remembered")
		}
	})
}

// A lock that promises to be over at a time is over then, however long a command that has died worked under it.
func TestManager_Acquire_UnderCrash_Expires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		kept := w.keeping(t, time.Hour)
		began := time.Now()
		time.Sleep(10 * minute)
		worker := w.dual().mustAcquire(t, under(kept))
		time.Sleep(30 * minute)
		worker.Abandon()
		w.dual().mustAcquire(t, taking(minute, 3*time.Hour))
		if waited := time.Since(began); waited < time.Hour || waited > time.Hour+2*minute {
			t.Errorf("taken over after %v, want when it had promised to be over, and the lease behind it", waited)
		}
	})
}
