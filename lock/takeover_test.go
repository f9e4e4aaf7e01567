package lock_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/lock"
)

// R6, R7: the dead holder's ETag is swapped, the state fenced, the lock read again; nothing else comes in between.
// However old the lock is, its whole lease is watched: only our own clock counts.
func TestManager_TakeOver_R6_R7_Order(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		was := w.client().dead(t, leased(minute))
		time.Sleep(time.Hour)
		c := w.client()
		began := time.Now()
		var told []lock.Waiting
		req := taking(20*time.Second, 0)
		req.OnWait = func(now lock.Waiting) { told = append(told, now) }
		var over []string
		req.OnTakeOver = func(h lock.Held, by string) { over = append(over, h.Info.ID+" by "+by) }
		tenure, err := c.Acquire(t.Context(), ref, req)
		wantOurs(t, w.objects, tenure, err)
		if want := was.Info.ID + " by " + tenure.Held().Info.ID; len(over) != 1 || over[0] != want {
			t.Errorf("OnTakeOver was told %q, want %q", over, want)
		}
		if d := time.Since(began); d < minute || d > minute+time.Second {
			t.Errorf("taken over after %v, want a minute", d)
		}
		if m := tenure.Held().Managed; m.PrevID != was.Info.ID || m.PrevETag != was.ETag || m.TTL != 20*time.Second {
			t.Errorf("it tells %+v, want what it took over", m)
		}
		if len(told) == 0 || !told[0].Changed || told[1].Changed || told[0].TakeOver != minute || told[0].Held.Info.ID != was.Info.ID {
			t.Errorf("OnWait was told %+v", told)
		}
		requests := c.store.Requests()
		swap := len(requests) - 3 // then come the look after the fence, and the test's own
		if requests[swap].Op != faultbucket.OpPut || requests[swap].If.ETag() != was.ETag {
			t.Errorf("requests %q, want a swap of the dead holder's ETag", ops(requests))
		}
		wantOps(t, "after the swap", requests[swap+1:], "get", "get")
		if c.fence.count() != 1 || c.fence.calls[0] != swap+1 {
			t.Errorf("fenced after requests %v, want once, right after the swap, which is number %d", c.fence.calls, swap+1)
		}
		wantReleased(t, w, tenure)
	})
}

// R11: whoever promised nothing is never taken over, however old its lock is.
func TestManager_TakeOver_R11_NeverAPlainLock(t *testing.T) {
	t.Parallel()
	managed := func(ext string) []byte { return append(engineLock[:len(engineLock)-1:len(engineLock)-1], ext+"}"...) }
	for name, body := range map[string][]byte{
		"engine":         engineLock,
		"no promise":     managed(`,"Statelatch":{"v":1,"nonce":"n","seq":1}`),
		"malformed":      managed(`,"Statelatch":{"v":1,"nonce":"n","seq":1,"ttl_s":"1"}`),
		"later version":  managed(`,"Statelatch":{"v":2,"nonce":"n","seq":1,"ttl_s":1}`),
		"other spelling": managed(`,"statelatch":{"v":1,"nonce":"n","seq":1,"ttl_s":1}`),
		"no ID":          []byte(`{"Statelatch":{"v":1,"nonce":"n","seq":1,"ttl_s":1}}`),
		"unreadable":     []byte("oops"),
		"empty":          {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				put(t, w.objects, body)
				time.Sleep(1000 * time.Hour)
				c := w.client()
				began := time.Now()
				if _, err := c.Acquire(t.Context(), ref, taking(minute, 10*minute)); !errors.Is(err, statelatch.ErrLocked) {
					t.Errorf("got %v, want ErrLocked", err)
				}
				if time.Since(began) != 10*minute || c.fence.count() != 0 || !bytes.Equal(stored(t, w.objects), body) {
					t.Errorf("after %v, %d fences, the lock is %q", time.Since(began), c.fence.count(), stored(t, w.objects))
				}
				if _, err := c.WaitExpired(t.Context(), ref, nil); !errors.Is(err, statelatch.ErrLocked) {
					t.Errorf("WaitExpired: %v, want ErrLocked", err)
				}
			})
		})
	}
}

// A store whose clocks lie by years decides nothing about a lease, nor does Created.
func TestManager_TakeOver_StoreClockDecidesNoLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.objects = membucket.New("b", membucket.Options{Clock: func() time.Time { return time.Now().Add(1000 * time.Since(w.start)) }})
		holder := w.client()
		holder.Now = func() time.Time { return time.Unix(0, 0) }
		held := holder.mustAcquire(t, leased(minute))
		c := w.client()
		if _, err := c.Acquire(t.Context(), ref, taking(minute, 10*minute)); !errors.Is(err, statelatch.ErrLocked) {
			t.Errorf("got %v, want ErrLocked: its holder is alive", err)
		}
		wantOurs(t, w.objects, held, nil)
		wantReleased(t, w, held)
	})
}

// A holder that renews once more starts the watch again. Without time to wait, its sign of life ends the wait.
func TestManager_TakeOver_RenewalResetsTheWatch(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		wait time.Duration
		won  bool
	}{"time to wait": {10 * minute, true}, "none": {0, false}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			held := w.client().mustAcquire(t, leased(minute))
			began := time.Now()
			time.AfterFunc(50*time.Second, held.Abandon) // after the renewal of the 48th second or so
			tenure, err := w.client().Acquire(t.Context(), ref, taking(minute, tc.wait))
			took := time.Since(began)
			if !tc.won {
				if !errors.Is(err, statelatch.ErrLocked) || took > 20*time.Second {
					t.Errorf("%s: got %v after %v, want ErrLocked after the first renewal", name, err, took)
				}
				time.Sleep(minute)
				return
			}
			wantOurs(t, w.objects, tenure, err)
			if took < 45*time.Second+minute || took > 52*time.Second+minute {
				t.Errorf("%s: taken over after %v, want a minute after the last renewal", name, took)
			}
			wantReleased(t, w, tenure)
		})
	}
}

// The wait is prolonged for one lease only: who comes after that is not watched beyond the time there is.
func TestManager_TakeOver_WatchesOneLeaseBeyondTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first := w.client().dead(t, leased(minute))
		time.AfterFunc(30*time.Second, func() {
			if _, err := w.client().Release(context.WithoutCancel(t.Context()), first); err != nil {
				t.Error(err)
			}
			second := w.client()
			if tenure, err := second.Acquire(context.WithoutCancel(t.Context()), ref, leased(minute)); err != nil {
				t.Error(err)
			} else {
				tenure.Abandon()
			}
		})
		began := time.Now()
		_, err := w.client().Acquire(t.Context(), ref, taking(minute, 0))
		if d := time.Since(began); !errors.Is(err, statelatch.ErrLocked) || d > 33*time.Second {
			t.Errorf("got %v after %v, want ErrLocked when the first holder was gone", err, d)
		}
	})
}

// A lock without lease that promised to be over is over by the store's clock. Its holder may not write, so nobody is
// fenced.
func TestManager_TakeOver_Expires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		manual := request()
		manual.Expires = 2 * time.Hour
		w.client().dead(t, manual)
		c := w.client()
		time.Sleep(2*time.Hour - time.Second)
		began := time.Now()
		if _, err := c.Acquire(t.Context(), ref, taking(minute, 0)); !errors.Is(err, statelatch.ErrLocked) || time.Since(began) != 0 {
			t.Errorf("before its time: %v after %v, want ErrLocked at once", err, time.Since(began))
		}
		time.Sleep(time.Second) // all who judge it agree on this instant
		if h, err := c.Status(t.Context(), ref); err != nil {
			t.Error(err)
		} else if left, promised := h.ExpiresIn(); left != 0 || !promised {
			t.Errorf("got %v left, promised %v, want that it is over", left, promised)
		}
		tenure, err := c.Acquire(t.Context(), ref, taking(minute, 0))
		wantOurs(t, w.objects, tenure, err)
		if time.Since(began) != time.Second || c.fence.count() != 0 {
			t.Errorf("after %v and %d fences, want at once and none", time.Since(began), c.fence.count())
		}
		wantReleased(t, w, tenure)
	})
}

// Where the holder is proven to be gone, its lease needs not be watched. It is fenced all the same, and a lock that
// promises nothing stays.
func TestManager_TakeOver_Gone(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		lock   func(*testing.T, *world)
		gone   bool
		after  time.Duration
		fences int
		want   error
	}{
		"gone":      {func(t *testing.T, w *world) { t.Helper(); w.client().dead(t, leased(minute)) }, true, 0, 1, nil},
		"not known": {func(t *testing.T, w *world) { t.Helper(); w.client().dead(t, leased(minute)) }, false, minute, 1, nil},
		"no lease":  {func(t *testing.T, w *world) { t.Helper(); w.client().dead(t, request()) }, true, 0, 0, statelatch.ErrLocked},
		"plain":     {func(t *testing.T, w *world) { t.Helper(); put(t, w.objects, engineLock) }, true, 0, 0, statelatch.ErrLocked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				tc.lock(t, w)
				c := w.client()
				req := taking(minute, 0)
				req.Gone = func(lock.Held) bool { return tc.gone }
				began := time.Now()
				tenure, err := c.Acquire(t.Context(), ref, req)
				if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
					t.Fatalf("got %v, want %v", err, tc.want)
				}
				if d := time.Since(began); d < tc.after || d > tc.after+2*time.Second {
					t.Errorf("after %v, want %v", d, tc.after)
				}
				if c.fence.count() != tc.fences {
					t.Errorf("fenced %d times, want %d", c.fence.count(), tc.fences)
				}
				if err == nil {
					wantReleased(t, w, tenure)
				}
			})
		})
	}
}

func TestManager_TakeOver_TwoAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.client().dead(t, leased(minute))
		var all sync.WaitGroup
		var mu sync.Mutex
		var winners []*lock.Tenure
		for range 5 {
			all.Go(func() {
				tenure, err := w.client().Acquire(t.Context(), ref, taking(minute, 0))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					winners = append(winners, tenure)
				} else if !errors.Is(err, statelatch.ErrLocked) {
					t.Errorf("a loser got %v, want ErrLocked", err)
				}
			})
		}
		all.Wait()
		if len(winners) != 1 {
			t.Fatalf("%d winners", len(winners))
		}
		wantOurs(t, w.objects, winners[0], nil)
		wantReleased(t, w, winners[0])
	})
}

// Who may not write the state cannot fence: the lock stays as it was found.
func TestManager_TakeOver_R6_FenceDenied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.client().dead(t, leased(minute))
		before := stored(t, w.objects)
		c := w.client()
		c.fence.do = func(context.Context) error { return statelatch.ErrDenied }
		_, err := c.Acquire(t.Context(), ref, taking(minute, time.Hour))
		if !errors.Is(err, statelatch.ErrDenied) || errors.Is(err, statelatch.ErrLocked) || !strings.Contains(err.Error(), "as it was") {
			t.Errorf("got %v, want ErrDenied, and that the lock is as it was", err)
		}
		if got := stored(t, w.objects); !bytes.Equal(got, before) {
			t.Errorf("the lock was\n%s\nand is\n%s", before, got)
		}
	})
}

// R6: what could not be fenced is not entered and not released. The next who comes fences.
func TestManager_TakeOver_R6_FenceFails(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]error{"broken": errTest, "unknown": statelatch.ErrAmbiguous} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.client().dead(t, leased(minute))
			c := w.client()
			c.fence.do = func(context.Context) error { return kind }
			req := taking(minute, time.Hour)
			req.ID = "taker"
			_, err := c.Acquire(t.Context(), ref, req)
			if !errors.Is(err, kind) || errors.Is(err, statelatch.ErrLocked) || !strings.Contains(err.Error(), "taker") || !strings.Contains(err.Error(), "lease") {
				t.Errorf("%s: got %v, want that it is left to its lease", name, err)
			}
			if c.store.Count(faultbucket.OpDelete, "") != 0 || !bytes.Contains(stored(t, w.objects), []byte(`"ID":"taker"`)) {
				t.Errorf("%s: the lock is %q, want it kept", name, stored(t, w.objects))
			}
			next := w.client()
			tenure, err := next.Acquire(t.Context(), ref, taking(minute, 0))
			wantOurs(t, w.objects, tenure, err)
			if next.fence.count() != 1 {
				t.Errorf("%s: the next holder fenced %d times", name, next.fence.count())
			}
			wantReleased(t, w, tenure)
		})
	}
}

// A fence that takes longer than the lease does not lose it.
func TestManager_TakeOver_LeaseIsKeptDuringASlowFence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.client().dead(t, leased(minute))
		c := w.client()
		c.fence.do = func(context.Context) error { time.Sleep(10 * minute); return nil }
		tenure, err := c.Acquire(t.Context(), ref, taking(minute, 0))
		wantOurs(t, w.objects, tenure, err)
		wantReleased(t, w, tenure)
	})
}

// R7: whose lock was taken over while it fenced does not enter.
func TestManager_TakeOver_R7_TakenOverDuringTheFence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.client().dead(t, leased(minute))
		c := w.client()
		c.fence.do = func(context.Context) error { put(t, w.objects, engineLock); return nil }
		if _, err := c.Acquire(t.Context(), ref, taking(minute, 0)); !errors.Is(err, statelatch.ErrLocked) {
			t.Errorf("got %v, want ErrLocked", err)
		}
		if got := stored(t, w.objects); !bytes.Equal(got, engineLock) {
			t.Errorf("the new holder's lock is now %q", got)
		}
	})
}

// Whatever becomes of the swap, it ends with the lock held once and its last holder fenced out.
func TestManager_TakeOver_SurvivesFaults(t *testing.T) {
	t.Parallel()
	swap := func(nth int, f faultbucket.Fault) faultbucket.Rule {
		return faultbucket.Rule{Op: faultbucket.OpPut, Match: renewal, Nth: nth, Fault: f}
	}
	for name, rules := range map[string][]faultbucket.Rule{
		"reply lost":                  {swap(1, faultbucket.LoseReply())},
		"reply lost, also of rekey":   {swap(1, faultbucket.LoseReply()), swap(2, faultbucket.LoseReply())},
		"request lost":                {swap(1, faultbucket.LoseRequest())},
		"late":                        {swap(1, faultbucket.Late(2))},
		"never":                       {swap(1, faultbucket.Late(faultbucket.Held))},
		"twice":                       {swap(1, faultbucket.Duplicate(0))},
		"twice, much later":           {swap(1, faultbucket.Duplicate(faultbucket.Held))},
		"re-sent on the way (R2)":     {swap(1, faultbucket.Resend())},
		"412 after the write (R2)":    {swap(1, faultbucket.AnswerAfter(412))},
		"500 after the write":         {swap(1, faultbucket.AnswerAfter(500))},
		"503":                         {swap(1, faultbucket.Answer(503)), swap(2, faultbucket.Answer(503))},
		"409 after the write":         {swap(1, faultbucket.AnswerAfter(409))},
		"409":                         {swap(1, faultbucket.Answer(409))},
		"reply lost, then reads":      {swap(1, faultbucket.LoseReply()), readAfterSwap(3, faultbucket.LoseReply())},
		"reads after it out of reach": {readAfterSwap(3, faultbucket.Answer(503))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.client().dead(t, leased(minute))
				c := w.client(rules...)
				tenure, err := c.Acquire(t.Context(), ref, taking(minute, 10*minute))
				wantOurs(t, w.objects, tenure, err)
				if c.fence.count() == 0 {
					t.Error("entered without a fence")
				}
				c.store.Deliver()
				time.Sleep(minute)
				wantOurs(t, w.objects, tenure, nil)
				wantReleased(t, w, tenure)
				c.store.Deliver()
				if got := stored(t, w.objects); got != nil {
					t.Errorf("a late request made %s", got)
				}
				wantConditions(t, c.store.Requests())
			})
		})
	}
}

// A swap that was not answered cannot land any more once its ETag is gone: there is nothing to warn of.
func TestManager_TakeOver_UnknownSwapIsSettledByTheNextHolder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.client().dead(t, leased(minute))
		c := w.client(faultbucket.Rule{Op: faultbucket.OpPut, Match: renewal, Fault: faultbucket.DelayWith(func(context.Context) error {
			put(t, w.objects, engineLock)
			return errTest
		})})
		_, err := c.Acquire(t.Context(), ref, taking(minute, 0))
		if !errors.Is(err, statelatch.ErrLocked) || errors.Is(err, statelatch.ErrAmbiguous) {
			t.Errorf("got %v, want only ErrLocked", err)
		}
		if d := time.Since(w.start); d > minute+3*time.Second {
			t.Errorf("it took %v: it looks for what cannot come", d)
		}
	})
}

// readAfterSwap makes the first reads after the first swap of a lock fail.
func readAfterSwap(times int, f faultbucket.Fault) faultbucket.Rule {
	swapped := false
	return faultbucket.Rule{Limit: times, Fault: f, Match: func(r faultbucket.Request) bool {
		swapped = swapped || r.Op == faultbucket.OpPut && renewal(r)
		return swapped && r.Op == faultbucket.OpGet
	}}
}

// Ctrl-C in the middle of a takeover: the dead holder's lock stands, or ours was fenced before it was removed, or the
// error says more.
func TestManager_TakeOver_R6_CancelledInFlight(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(context.CancelFunc) faultbucket.Fault{
		"executed, no reply": func(cancel context.CancelFunc) faultbucket.Fault {
			return faultbucket.DelayReplyWith(func(context.Context) error { cancel(); return context.Canceled })
		},
		"not executed": func(cancel context.CancelFunc) faultbucket.Fault {
			return faultbucket.DelayWith(func(context.Context) error { cancel(); return context.Canceled })
		},
	} {
		for _, fenceWorks := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				was := w.client().dead(t, leased(minute))
				ctx, cancel := context.WithCancel(t.Context())
				c := w.client(faultbucket.Rule{Op: faultbucket.OpPut, Match: renewal, Nth: 1, Fault: fault(cancel)})
				if !fenceWorks {
					c.fence.do = func(context.Context) error { return errTest }
				}
				_, err := c.Acquire(ctx, ref, taking(minute, 0))
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%s: got %v, want the context's error", name, err)
				}
				left := stored(t, w.objects)
				switch {
				case bytes.Equal(left, body(was)):
					if !errors.Is(err, statelatch.ErrAmbiguous) {
						t.Errorf("%s: the swap may yet land, but the error is %v", name, err)
					}
				case left == nil:
					if c.fence.count() == 0 || !fenceWorks {
						t.Errorf("%s: removed without a fence", name)
					}
				case fenceWorks || !errors.Is(err, statelatch.ErrAmbiguous):
					t.Errorf("%s: left %s, and the error is %v", name, left, err)
				}
			})
		}
	}
}

// What cannot be done safely is refused before anything is done.
func TestManager_TakeOver_Refused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*client)
		want   error
	}{
		"no fence":   {func(c *client) { c.Fence = nil }, statelatch.ErrInvalid},
		"no delete":  {func(c *client) { c.Tier = lock.TierCAS }, statelatch.ErrUnsafeStore},
		"no nothing": {func(c *client) { c.Tier = lock.TierNone }, statelatch.ErrUnsafeStore},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			was := w.client().dead(t, leased(minute))
			c := w.client()
			tc.change(c)
			_, err1 := c.Acquire(t.Context(), ref, taking(minute, 0))
			if !errors.Is(err1, tc.want) {
				t.Errorf("%s: got %v, want %v", name, err1, tc.want)
			}
			if c.Tier == lock.TierCAS {
				return // a person may
			}
			if _, err := c.ForceRelease(t.Context(), was, request()); !errors.Is(err, tc.want) {
				t.Errorf("%s: forced: got %v, want %v", name, err, tc.want)
			}
			if len(c.store.Requests()) != 0 || !bytes.Equal(stored(t, w.objects), body(was)) {
				t.Errorf("%s: requests %q", name, ops(c.store.Requests()))
			}
		})
	}
}

// A lock without lease could not be left to it if the fence failed. So the dead lock is removed by one that has a
// lease.
func TestManager_TakeOver_R6_ForALockWithoutLease(t *testing.T) {
	t.Parallel()
	for name, fenceWorks := range map[string]bool{"fenced": true, "not fenced": false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.dual().dead(t, leased(minute))
			c := w.dual()
			if !fenceWorks {
				c.fence.do = func(context.Context) error { return errTest }
			}
			req, told := taking(0, 0), 0
			req.OnTakeOver = func(lock.Held, string) { told++ }
			tenure, err := c.Acquire(t.Context(), ref, req)
			if fenceWorks != (told == 1) {
				t.Errorf("%s: OnTakeOver was called %d times", name, told)
			}
			if c.fence.count() != 1 {
				t.Errorf("%s: %d fences, want one", name, c.fence.count())
			}
			if fenceWorks {
				wantOurs(t, w.objects, tenure, err)
				wantReleased(t, w, tenure)
				return
			}
			if m := statelatch.ParseManaged(stored(t, w.objects)); !errors.Is(err, errTest) || m == nil || m.TTL == 0 {
				t.Errorf("%s: got %v, left %+v; want a lock with a lease left", name, err, m)
			}
		})
	}
}

// R10: with FenceAlways every acquisition fences, and looks after it.
func TestManager_Acquire_R10_FenceAlways(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.client()
		req := leased(minute)
		req.FenceAlways = true
		tenure := c.mustAcquire(t, req)
		wantOps(t, "FenceAlways", c.store.Requests(), "put if absent", "get")
		if c.fence.count() != 1 || c.fence.calls[0] != 1 {
			t.Errorf("fenced after requests %v, want once after the create", c.fence.calls)
		}
		wantReleased(t, w, tenure)
		c.fence.do = func(context.Context) error { return statelatch.ErrDenied }
		if _, err := c.Acquire(t.Context(), ref, req); !errors.Is(err, statelatch.ErrDenied) || stored(t, w.objects) != nil {
			t.Errorf("got %v, left %q; want nothing locked, for nothing was taken over", err, stored(t, w.objects))
		}
	})
}
