package lock_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
)

// R1, B8, B10: a renewal at every quarter of the lease, each with a fresh nonce, the next number and the ETag before.
func TestTenure_Renew_R1_B8_B10_EveryQuarter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.client()
		tenure := c.mustAcquire(t, leased(minute))
		seen := map[string]bool{}
		last, lastAt := statelatch.ParseManaged(stored(t, w.objects)), time.Now()
		info := tenure.Held().Info
		for time.Since(w.start) < 10*minute {
			time.Sleep(time.Second)
			now := stored(t, w.objects)
			m := statelatch.ParseManaged(now)
			if m == nil {
				t.Fatalf("not a managed lock any more: %s", now)
			}
			if m.Nonce == last.Nonce {
				continue
			}
			if d := time.Since(lastAt); d < 14*time.Second || d > 17*time.Second {
				t.Errorf("renewed after %v, want a quarter of a minute", d)
			}
			if m.Seq != last.Seq+1 || seen[m.Nonce] || m.TTL != minute {
				t.Errorf("after %+v came %+v", last, m)
			}
			if got, err := statelatch.ParseLockInfo(now); err != nil || got != info {
				t.Errorf("the lock info became %+v, %v", got, err)
			}
			seen[m.Nonce], last, lastAt = true, m, time.Now()
		}
		if len(seen) < 35 || isLost(tenure) || tenure.Check() != nil {
			t.Errorf("%d renewals, lost: %v, %v", len(seen), isLost(tenure), tenure.Check())
		}
		wantConditions(t, c.store.Requests())
		if n := len(c.store.Requests()) - 1 - len(seen); n != 0 && n != 1 { // the last may have come after the last look
			t.Errorf("%d requests more than the create and %d renewals", n, len(seen))
		}
		wantReleased(t, w, tenure)
	})
}

// Who holds a lock hears that its renewals fail, and that they work again, once each and while there is time.
func TestTenure_Renew_OnRenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.client(faultbucket.Rule{Op: faultbucket.OpPut, Fault: faultbucket.Answer(503), Match: func(faultbucket.Request) bool {
			d := time.Since(w.start)
			return d > 10*time.Second && d < 30*time.Second
		}})
		told := make(chan error, 9)
		req := leased(minute)
		req.OnRenewal = func(_ statelatch.Ref, failure error) { told <- failure }
		tenure := c.mustAcquire(t, req)
		time.Sleep(25 * time.Second)
		synctest.Wait()
		if len(told) != 1 || <-told == nil {
			t.Errorf("after 25 s: want to be told once, why it fails; %d more", len(told))
		}
		time.Sleep(2 * minute)
		synctest.Wait()
		if len(told) != 1 || <-told != nil {
			t.Errorf("want to be told once more, that it works again; %d more", len(told))
		}
		wantReleased(t, w, tenure)
	})
}

// Whatever happens to renewals, for less than half of the lease, costs nothing.
func TestTenure_Renew_SurvivesFaults(t *testing.T) {
	t.Parallel()
	const ttl = 90 * time.Second
	put := func(nth int, f faultbucket.Fault) faultbucket.Rule {
		return faultbucket.Rule{Op: faultbucket.OpPut, Nth: nth, Fault: f}
	}
	// from the 20th to the 50th second
	during := func(w *world, f faultbucket.Fault) faultbucket.Rule {
		return faultbucket.Rule{Fault: f, Match: func(faultbucket.Request) bool {
			d := time.Since(w.start)
			return d > 20*time.Second && d < 50*time.Second
		}}
	}
	for name, rules := range map[string]func(*world) []faultbucket.Rule{
		"B9 reply lost":            func(*world) []faultbucket.Rule { return []faultbucket.Rule{put(2, faultbucket.LoseReply())} },
		"B9 412 after the write":   func(*world) []faultbucket.Rule { return []faultbucket.Rule{put(2, faultbucket.AnswerAfter(412))} },
		"B9 re-sent on the way":    func(*world) []faultbucket.Rule { return []faultbucket.Rule{put(2, faultbucket.Resend())} },
		"500 after the write":      func(*world) []faultbucket.Rule { return []faultbucket.Rule{put(2, faultbucket.AnswerAfter(500))} },
		"412 of a store that errs": func(*world) []faultbucket.Rule { return []faultbucket.Rule{put(2, faultbucket.Answer(412))} },
		"409":                      func(*world) []faultbucket.Rule { return []faultbucket.Rule{put(2, faultbucket.Answer(409))} },
		"request lost":             func(*world) []faultbucket.Rule { return []faultbucket.Rule{put(2, faultbucket.LoseRequest())} },
		"request late":             func(*world) []faultbucket.Rule { return []faultbucket.Rule{put(2, faultbucket.Late(1))} },
		"delivered twice":          func(*world) []faultbucket.Rule { return []faultbucket.Rule{put(2, faultbucket.Duplicate(3))} },
		"reply and read lost": func(*world) []faultbucket.Rule {
			return []faultbucket.Rule{put(2, faultbucket.LoseReply()), {Op: faultbucket.OpGet, Nth: 1, Fault: faultbucket.LoseReply()}}
		},
		"503 burst":       func(w *world) []faultbucket.Rule { return []faultbucket.Rule{during(w, faultbucket.Answer(503))} },
		"403 for a while": func(w *world) []faultbucket.Rule { return []faultbucket.Rule{during(w, faultbucket.Answer(403))} },
		"30 s freeze": func(w *world) []faultbucket.Rule {
			return []faultbucket.Rule{during(w, faultbucket.DelayWith(func(ctx context.Context) error {
				select {
				case <-time.After(50*time.Second - time.Since(w.start)):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.client(rules(w)...)
				tenure := c.mustAcquire(t, leased(ttl))
				for time.Since(w.start) < 3*minute {
					time.Sleep(time.Second)
					if err := tenure.Check(); err != nil || isLost(tenure) {
						t.Fatalf("after %v: %v", time.Since(w.start), err)
					}
				}
				wantOurs(t, w.objects, tenure, nil)
				wantConditions(t, c.store.Requests())
				if n := len(c.store.Requests()); n > 80 {
					t.Errorf("%d requests, it spins", n)
				}
				wantReleased(t, w, tenure)
				c.store.Deliver()
				if got := stored(t, w.objects); got != nil {
					t.Errorf("a late renewal made %s", got)
				}
			})
		})
	}
}

// The deadline rule: what counts is when the last successful write was sent, not when it was answered.
func TestTenure_Remaining_CountsFromBeforeTheRequestWasSent(t *testing.T) {
	t.Parallel()
	const ttl = 40 * time.Second
	for name, tc := range map[string]struct {
		rule faultbucket.Rule
		want time.Duration // at the end of the request
	}{
		"create":                  {faultbucket.Rule{Op: faultbucket.OpPut, Nth: 1, Fault: faultbucket.DelayReply(6 * time.Second)}, ttl - 6*time.Second},
		"renewal":                 {faultbucket.Rule{Op: faultbucket.OpPut, Nth: 2, Fault: faultbucket.DelayReply(6 * time.Second)}, ttl - 6*time.Second},
		"renewal, never answered": {faultbucket.Rule{Op: faultbucket.OpPut, Nth: 2, Fault: faultbucket.DelayReply(time.Hour)}, ttl - 10*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.client(tc.rule)
				tenure := c.mustAcquire(t, leased(ttl))
				if tc.rule.Nth > 1 {
					until(t, "a renewal is confirmed", func() bool { return tenure.Held().Managed.Seq == 2 })
				}
				if got := tenure.Remaining(); got > tc.want || got < tc.want-time.Second {
					t.Errorf("remaining %v, want %v", got, tc.want)
				}
				wantReleased(t, w, tenure)
			})
		})
	}
}

// A theft is noticed within one renewal, and the thief's lock stays what it is (B10).
func TestTenure_Lost_B10_Theft(t *testing.T) {
	t.Parallel()
	successor := bytes.ReplaceAll(engineLock, []byte(engineID), []byte("thief"))
	for name, tc := range map[string]struct {
		steal func(*testing.T, bucket.Bucket)
		says  string
	}{
		"replaced":   {func(t *testing.T, b bucket.Bucket) { t.Helper(); put(t, b, successor) }, "root@ci (ID thief)"},
		"unreadable": {func(t *testing.T, b bucket.Bucket) { t.Helper(); put(t, b, []byte("oops")) }, "cannot be read"},
		"gone": {func(t *testing.T, b bucket.Bucket) {
			t.Helper()
			if _, err := b.Delete(t.Context(), ref.LockKey(), bucket.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		}, "gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.client()
				tenure := c.mustAcquire(t, leased(minute))
				time.Sleep(5*minute + time.Second)
				tc.steal(t, w.objects)
				left, stolen := stored(t, w.objects), time.Now()
				if tenure.Err() != nil {
					t.Fatalf("Err before the loss: %v", tenure.Err())
				}
				<-tenure.Lost()
				if d := time.Since(stolen); d > 17*time.Second {
					t.Errorf("noticed after %v, want within one renewal", d)
				}
				if err := tenure.Err(); !errors.Is(err, statelatch.ErrLockLost) || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("Err is %v, want ErrLockLost with %q", err, tc.says)
				}
				if err := tenure.Check(); !errors.Is(err, statelatch.ErrLockLost) {
					t.Errorf("Check: %v, want ErrLockLost", err)
				}
				n := len(c.store.Requests())
				time.Sleep(10 * minute)
				if got := len(c.store.Requests()); got != n {
					t.Errorf("%d requests after the loss, want none", got-n)
				}
				if _, err := tenure.Release(t.Context()); !errors.Is(err, statelatch.ErrLockLost) {
					t.Errorf("Release: %v, want ErrLockLost", err)
				}
				if got := stored(t, w.objects); !bytes.Equal(got, left) {
					t.Errorf("the thief's lock is now %q", got)
				}
			})
		})
	}
}

// The deadline rule: after three quarters of the lease without a confirmed renewal it is over, also while a request hangs.
// The lock may be ours still, so that it is released all the same.
func TestTenure_Lost_RenewalsFail(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func() faultbucket.Fault{
		"lost":    faultbucket.LoseRequest,
		"denied":  func() faultbucket.Fault { return faultbucket.Answer(403) },
		"hanging": func() faultbucket.Fault { return faultbucket.Hold(make(chan struct{})) },
		"hanging at the end": func() faultbucket.Fault {
			start := time.Now()
			return faultbucket.DelayWith(func(ctx context.Context) error {
				if time.Since(start) > 40*time.Second {
					<-ctx.Done()
				}
				return errTest
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.client(faultbucket.Rule{Op: faultbucket.OpPut, Match: renewal, Fault: fault()})
				tenure := c.mustAcquire(t, leased(minute))
				<-tenure.Lost()
				if d := time.Since(w.start); d < 45*time.Second || d > 47*time.Second {
					t.Errorf("given up after %v, want three quarters of a minute", d)
				}
				if left := tenure.Remaining(); left < 10*time.Second {
					t.Errorf("%v are left for stopping, want a quarter of a minute", left)
				}
				if !errors.Is(tenure.Err(), statelatch.ErrLockLost) {
					t.Errorf("Err is %v", tenure.Err())
				}
				time.Sleep(20 * time.Second) // the last request, if it hangs, is over
				n := len(c.store.Requests())
				time.Sleep(10 * minute)
				if got := len(c.store.Requests()); got != n {
					t.Errorf("%d requests after the loss, want none", got-n)
				}
				c.store.Heal()
				wantReleased(t, w, tenure)
			})
		})
	}
}

// The machine sleeps, and the monotonic clock with it. What is held is lost at the first tick, before anything else is sent, and
// Check knows at once.
func TestTenure_Lost_Suspend(t *testing.T) {
	t.Parallel()
	for i := range 20 { // whoever wakes up first
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			c := w.client()
			var slept atomic.Int64
			c.Boot = func() time.Duration { return time.Since(w.start) + time.Duration(slept.Load()) }
			tenure := c.mustAcquire(t, leased(minute))
			time.Sleep(5*time.Second + time.Duration(i)*time.Millisecond)
			n, woken := len(c.store.Requests()), time.Now()
			slept.Store(int64(minute))
			if i%2 == 0 {
				if err := tenure.Check(); !errors.Is(err, statelatch.ErrLockLost) || !isLost(tenure) {
					t.Errorf("Check: %v, want ErrLockLost at once", err)
				}
			}
			time.Sleep(time.Second)
			if !isLost(tenure) {
				t.Errorf("not noticed %v after the sleep", time.Since(woken))
			}
			if got := len(c.store.Requests()); got != n {
				t.Errorf("%d requests after the sleep", got-n)
			}
			wantReleased(t, w, tenure)
		})
	}
}

// Only Release and Abandon end a tenure; then nothing is sent any more.
func TestTenure_Renew_StopsWithTheTenure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.client()
		ctx, cancel := context.WithCancel(t.Context())
		tenure, err := c.Acquire(ctx, ref, leased(minute))
		cancel()
		time.Sleep(10 * minute)
		wantOurs(t, w.objects, tenure, err)
		wantReleased(t, w, tenure)
		n := len(c.store.Requests())
		time.Sleep(10 * minute)
		if got := len(c.store.Requests()); got != n {
			t.Errorf("%d requests after Release", got-n)
		}
		tenure = c.mustAcquire(t, leased(minute))
		tenure.Abandon()
		tenure.Abandon()
		n, left := len(c.store.Requests()), stored(t, w.objects)
		time.Sleep(10 * minute)
		if got := len(c.store.Requests()); got != n || !bytes.Equal(stored(t, w.objects), left) || left == nil {
			t.Errorf("%d requests after Abandon, the lock is %q, was %q", got-n, stored(t, w.objects), left)
		}
	})
}
