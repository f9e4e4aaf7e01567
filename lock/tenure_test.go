package lock_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/internal/dynamotest"
	"github.com/statelatch/statelatch/lock"
)

func TestTenure_Check(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.client()
		tenure := c.mustAcquire(t, request())
		if err := tenure.Check(); !errors.Is(err, statelatch.ErrInvalid) {
			t.Errorf("without a lease: %v, want ErrInvalid", err)
		}
		if tenure.Remaining() != math.MaxInt64 {
			t.Errorf("without a lease %v remain", tenure.Remaining())
		}
		wantReleased(t, w, tenure)

		tenure = c.mustAcquire(t, leased(minute))
		time.Sleep(5 * minute)
		if err := tenure.Check(); err != nil {
			t.Errorf("with a lease: %v", err)
		}
		wantReleased(t, w, tenure)
		if err := tenure.Check(); !errors.Is(err, statelatch.ErrLockLost) {
			t.Errorf("after Release: %v, want ErrLockLost", err)
		}
		if err := tenure.Verify(t.Context()); !errors.Is(err, statelatch.ErrLockLost) {
			t.Errorf("Verify after Release: %v, want ErrLockLost", err)
		}
		if isLost(tenure) {
			t.Error("a lock that was given up counts as lost")
		}
	})
}

// R7: nil only if the lock object is exactly ours, for one GET.
func TestTenure_Verify_R7(t *testing.T) {
	t.Parallel()
	sameID := func(h lock.Held) []byte {
		m := *h.Managed
		m.Nonce = "another"
		return h.Info.MarshalManaged(m)
	}
	for name, tc := range map[string]struct {
		steal func(*testing.T, bucket.Bucket, lock.Held)
		rule  faultbucket.Rule
		want  error
		lost  bool
	}{
		"ours":    {want: nil},
		"foreign": {steal: func(t *testing.T, b bucket.Bucket, _ lock.Held) { t.Helper(); put(t, b, engineLock) }, want: statelatch.ErrLockLost, lost: true},
		"same ID": {steal: func(t *testing.T, b bucket.Bucket, h lock.Held) { t.Helper(); put(t, b, sameID(h)) }, want: statelatch.ErrLockLost, lost: true},
		"gone": {steal: func(t *testing.T, b bucket.Bucket, _ lock.Held) {
			t.Helper()
			if _, err := b.Delete(t.Context(), ref.LockKey(), bucket.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		}, want: statelatch.ErrLockLost, lost: true},
		"out of reach": {rule: faultbucket.Rule{Op: faultbucket.OpGet, Fault: faultbucket.Answer(503)}, want: statelatch.ErrThrottled},
		"denied":       {rule: faultbucket.Rule{Op: faultbucket.OpGet, Fault: faultbucket.Answer(403)}, want: statelatch.ErrDenied},
	} {
		for _, req := range []lock.Request{request(), leased(minute)} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.client()
				tenure := c.mustAcquire(t, req)
				if tc.steal != nil {
					tc.steal(t, w.objects, tenure.Held())
				}
				if tc.rule.Op != "" {
					c.store.Add(tc.rule)
				}
				before := len(c.store.Requests())
				if err := tenure.Verify(t.Context()); !errors.Is(err, tc.want) || err != nil && tc.want == nil {
					t.Errorf("%s: got %v, want %v", name, err, tc.want)
				}
				wantOps(t, name, c.store.Requests()[before:], "get")
				if isLost(tenure) != tc.lost {
					t.Errorf("%s: lost is %v, want %v", name, isLost(tenure), tc.lost)
				}
				c.store.Heal()
				if err := tenure.Verify(t.Context()); tc.lost != errors.Is(err, statelatch.ErrLockLost) || !tc.lost && err != nil {
					t.Errorf("%s: then %v, want what was lost to stay lost", name, err)
				}
				_, _ = tenure.Release(t.Context())
			})
		}
	}
}

// B9: a renewal whose reply was lost is ours, also for whoever looks before it is cleared up.
func TestTenure_Verify_B9_AdoptsTheRenewalInDoubt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.client(
			faultbucket.Rule{Op: faultbucket.OpPut, Nth: 2, Fault: faultbucket.LoseReply()},
			faultbucket.Rule{Op: faultbucket.OpPut, Match: renewal, Fault: faultbucket.Answer(503)},
		)
		tenure := c.mustAcquire(t, leased(minute))
		until(t, "the renewal was sent", func() bool { return c.store.Count(faultbucket.OpPut, "") > 2 })
		sent := time.Now()
		if err := tenure.Verify(t.Context()); err != nil {
			t.Fatalf("Verify: %v", err)
		}
		if got, want := tenure.Held(), stored(t, w.objects); !bytes.Equal(body(got), want) || got.Managed.Seq != 2 {
			t.Errorf("it holds %s, the store %s", body(got), want)
		}
		if left := tenure.Remaining(); left > minute-time.Since(sent) {
			t.Errorf("%v remain, as if it had been sent just now", left)
		}
		if d := time.Since(sent); d > 3*time.Second {
			t.Errorf("Verify waited %v for the renewal", d)
		}
		c.store.Heal()
		time.Sleep(minute)
		wantOurs(t, w.objects, tenure, nil)
		wantReleased(t, w, tenure)
	})
}

// A read that hangs costs its caller an error, not the lease.
func TestTenure_Verify_HangingReadDoesNotStopRenewals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.client(faultbucket.Rule{Op: faultbucket.OpGet, Nth: 1, Fault: faultbucket.Hold(make(chan struct{}))})
		tenure := c.mustAcquire(t, leased(minute))
		time.Sleep(10 * time.Second)
		if err := tenure.Verify(t.Context()); err == nil || errors.Is(err, statelatch.ErrLockLost) {
			t.Errorf("Verify: %v, want that the lock could not be read", err)
		}
		time.Sleep(minute)
		wantOurs(t, w.objects, tenure, nil)
		wantReleased(t, w, tenure)
	})
}

func TestTenure_Verify_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.client(faultbucket.Rule{Op: faultbucket.OpPut, Nth: 2, Fault: faultbucket.Delay(10 * time.Second)})
		tenure := c.mustAcquire(t, leased(minute))
		until(t, "a renewal hangs", func() bool { return c.store.Count(faultbucket.OpPut, "") == 2 })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := tenure.Verify(ctx); !errors.Is(err, context.DeadlineExceeded) || isLost(tenure) {
			t.Errorf("got %v, lost %v; want the context's error", err, isLost(tenure))
		}
		wantReleased(t, w, tenure)
	})
}

// A renewal is under way when Release comes: whether it lands before the delete or after, nothing is left, and nothing rises again.
func TestTenure_Release_RenewalInFlight(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]faultbucket.Fault{
		"landed, no reply yet":   faultbucket.DelayReply(time.Hour),
		"landed, reply lost":     faultbucket.LoseReply(),
		"lost":                   faultbucket.LoseRequest(),
		"lands after the delete": faultbucket.Late(1),
		"lands much later":       faultbucket.Late(faultbucket.Held),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.client(faultbucket.Rule{Op: faultbucket.OpPut, Nth: 2, Fault: fault})
				tenure := c.mustAcquire(t, leased(minute))
				until(t, "a renewal is under way", func() bool { return c.store.Count(faultbucket.OpPut, "") == 2 })
				wantReleased(t, w, tenure)
				c.store.Deliver()
				time.Sleep(10 * minute)
				if got := stored(t, w.objects); got != nil {
					t.Errorf("a late renewal made %s", got)
				}
				wantConditions(t, c.store.Requests())
			})
		})
	}
}

// R4, B5, B6: the same, and somebody else has the lock when the late requests arrive.
func TestTenure_Release_R4_SuccessorIsSafeFromEverythingLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.client(
			faultbucket.Rule{Op: faultbucket.OpPut, Nth: 2, Fault: faultbucket.Late(faultbucket.Held)},
			faultbucket.Rule{Op: faultbucket.OpDelete, Nth: 1, Fault: faultbucket.Duplicate(faultbucket.Held)},
		)
		tenure := c.mustAcquire(t, leased(minute))
		until(t, "a renewal is under way", func() bool { return c.store.Count(faultbucket.OpPut, "") == 2 })
		wantReleased(t, w, tenure)
		put(t, w.objects, engineLock)
		if n := c.store.Deliver(); n != 2 {
			t.Fatalf("%d late requests, want the renewal and the delete", n)
		}
		if got := stored(t, w.objects); !bytes.Equal(got, engineLock) {
			t.Errorf("the successor's lock is now %q", got)
		}
	})
}

// R5: a state write with an unknown outcome keeps the lock, which is left to its lease.
func TestTenure_Hold_R5_ReleaseRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.dual()
		tenure := c.mustAcquire(t, leased(minute))
		tenure.Hold(errTest)
		if _, err := tenure.Release(t.Context()); !errors.Is(err, statelatch.ErrAmbiguous) || !errors.Is(err, errTest) {
			t.Errorf("Release: %v, want ErrAmbiguous with the reason", err)
		}
		if c.store.Count(faultbucket.OpDelete, "") != 0 || stored(t, w.objects) == nil || w.item() == "" {
			t.Error("the lock was released")
		}
		n := len(c.store.Requests())
		time.Sleep(10 * minute)
		if got := len(c.store.Requests()); got != n {
			t.Errorf("%d requests after it, want the lease to run out", got-n)
		}
		next := w.dual()
		won, err := next.Acquire(t.Context(), ref, taking(minute, 0))
		wantOurs(t, w.objects, won, err)
		if next.fence.count() != 1 {
			t.Errorf("the next holder fenced %d times, want once", next.fence.count())
		}
		wantReleased(t, w, won)
	})
}

// What a lock may promise, and how large it may be: more could not be read back.
func TestManager_Acquire_RefusesWhatItCouldNotKeep(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*lock.Request){
		"negative lease":    func(r *lock.Request) { r.TTL = -time.Second },
		"short lease":       func(r *lock.Request) { r.TTL = time.Millisecond },
		"lease too long":    func(r *lock.Request) { r.TTL = statelatch.MaxPromise + 1 },
		"negative expiry":   func(r *lock.Request) { r.Expires = -1 },
		"expiry too long":   func(r *lock.Request) { r.Expires = math.MaxInt64 },
		"lease and expiry":  func(r *lock.Request) { r.TTL, r.Expires = minute, minute },
		"too large to read": func(r *lock.Request) { r.Reason = strings.Repeat("x", statelatch.MaxLockInfo-1200) },
	} {
		w := newWorld(t)
		c := w.client()
		req := request()
		change(&req)
		if _, err := c.Acquire(t.Context(), ref, req); !errors.Is(err, statelatch.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
		if n := len(c.store.Requests()); n != 0 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
}

// Everything may be called at once.
func TestTenure_ConcurrentUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.dual()
		tenure := c.mustAcquire(t, leased(2*time.Second))
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 300 {
					if err := errors.Join(tenure.Verify(t.Context()), tenure.Check(), tenure.Err()); err != nil {
						t.Errorf("a lock that is ours: %v", err)
					}
					if tenure.Ref() != ref || tenure.Held().Item == nil || tenure.Remaining() <= 0 {
						t.Errorf("%v, %+v, %v", tenure.Ref(), tenure.Held(), tenure.Remaining())
					}
					time.Sleep(97 * time.Millisecond)
				}
			})
		}
		all.Wait()
		wantReleased(t, w, tenure)
	})
}

// A lease counts from before the create was sent. Where its reply, or the table's, takes longer than the lease, somebody may have
// taken the lock over by then: such a tenure is not handed out.
func TestManager_Acquire_LeaseOverBeforeItIsEntered(t *testing.T) {
	t.Parallel()
	for name, rig := range map[string]func(w *world) *client{
		"object": func(w *world) *client {
			return w.client(faultbucket.Rule{Op: faultbucket.OpPut, Nth: 1, Fault: faultbucket.DelayReply(20 * time.Second)})
		},
		"table": func(w *world) *client {
			w.table.Add(dynamotest.Rule{Op: dynamotest.OpPutItem, Nth: 1, Fault: dynamotest.Delay(20 * time.Second)})
			return w.dual(faultbucket.Rule{Op: faultbucket.OpPut, Nth: 2, Fault: faultbucket.DelayReply(time.Hour)})
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := rig(newWorld(t))
			req := request()
			req.TTL, req.Wait = 4*time.Second, 10*time.Minute
			tenure, err := c.Acquire(t.Context(), ref, req)
			if err != nil {
				t.Fatalf("%s: Acquire: %v", name, err)
			}
			if err := tenure.Check(); err != nil {
				t.Errorf("%s: the tenure was over when it was handed out: %v", name, err)
			}
			if _, err := tenure.Release(t.Context()); err != nil {
				t.Errorf("%s: Release: %v", name, err)
			}
		})
	}
}
