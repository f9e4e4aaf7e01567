package lock_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/lock"
)

// Held by somebody whose lock object may not be read: still held, still waited for.
func TestManager_Acquire_UnreadableHolder(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		body []byte
		rule []faultbucket.Rule
	}{
		"not JSON":       {[]byte("oops"), nil},
		"empty":          {[]byte{}, nil},
		"too large":      {bytes.Repeat([]byte(" "), statelatch.MaxLockInfo+1), nil},
		"read is denied": {engineLock, []faultbucket.Rule{{Op: faultbucket.OpGet, Fault: faultbucket.Answer(403)}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, store := setup(tc.rule...)
				put(t, store, tc.body)
				_, err := acquire(t.Context(), m, request())
				var locked *statelatch.LockedError
				if !errors.As(err, &locked) || locked.Err == nil {
					t.Fatalf("got %v, want a LockedError that says why the holder is not known", err)
				}
				go func() {
					time.Sleep(20 * time.Second)
					_, err := store.Delete(context.WithoutCancel(t.Context()), ref.LockKey(), bucket.DeleteOptions{})
					if err != nil {
						t.Error(err)
					}
				}()
				req := request()
				req.Wait = time.Minute
				if _, err := acquire(t.Context(), m, req); err != nil {
					t.Errorf("after the release: %v", err)
				}
			})
		})
	}
}

func TestManager_Acquire_WaitsAndTakesOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup()
		put(t, store, engineLock)
		const releasedAfter = 47 * time.Second
		start := time.Now()
		go func() {
			time.Sleep(releasedAfter)
			if _, err := store.Delete(context.WithoutCancel(t.Context()), ref.LockKey(), bucket.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		}()
		var seen []string
		req := request()
		req.Wait = 10 * time.Minute
		req.OnWait = func(w lock.Waiting) {
			if w.Changed {
				seen = append(seen, w.Held.Info.ID)
			}
		}
		h, err := acquire(t.Context(), m, req)
		wantHeld(t, store, h, err)
		if late := time.Since(start) - releasedAfter; late < 0 || late > time.Second {
			t.Errorf("taken %v after the release, want within a second (virtual time)", late)
		}
		if len(seen) != 1 || seen[0] != engineID {
			t.Errorf("OnWait was told %q, want the one holder once", seen)
		}
		// B7: Created is when the lock was won, not when the wait began.
		if h.Info.Created.Before(start.Add(releasedAfter)) {
			t.Errorf("Created %v is before the release at %v", h.Info.Created, start.Add(releasedAfter))
		}
		if n := store.Count(faultbucket.OpPut, ref.LockKey()); n != 3 {
			t.Errorf("%d puts, want the engine's, the refused one and the one that won: waiting only reads", n)
		}
	})
}

// W9: the last try is at the deadline, not up to 16 s before.
func TestManager_Acquire_W9_TriesAtTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup()
		put(t, store, engineLock)
		start := time.Now()
		req := request()
		req.Wait = 30 * time.Second
		_, err := acquire(t.Context(), m, req)
		if !errors.Is(err, statelatch.ErrLocked) || time.Since(start) != req.Wait {
			t.Errorf("got %v after %v, want ErrLocked after %v", err, time.Since(start), req.Wait)
		}
		requests := store.Requests()
		if last := requests[len(requests)-2]; last.Op != faultbucket.OpPut || !last.If.Absent() {
			t.Errorf("the last try was a %s, want a create", last.Op)
		}
	})
}

func TestManager_Acquire_CancelledWhileWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup()
		put(t, store, engineLock)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		req := request()
		req.Wait = time.Hour
		_, err := acquire(ctx, m, req)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second {
			t.Errorf("got %v after %v, want the context's error at once", err, time.Since(start))
		}
	})
}

// B14, B25: what could be read may not be read any more. Whether that means denied or held, only a create tells.
func TestManager_Acquire_DeniedWhileWaiting(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		op   string // what is denied, after 10 s; empty: everything
		want error
	}{
		"credentials expired": {"", statelatch.ErrDenied},
		"only reading":        {faultbucket.OpGet, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, store := setup()
				put(t, store, engineLock)
				time.AfterFunc(10*time.Second, func() {
					store.Add(faultbucket.Rule{Op: tc.op, Match: func(r faultbucket.Request) bool { return r.Op != faultbucket.OpDelete }, Fault: faultbucket.Answer(403)})
				})
				time.AfterFunc(20*time.Second, func() {
					if _, err := store.Delete(context.WithoutCancel(t.Context()), ref.LockKey(), bucket.DeleteOptions{}); err != nil {
						t.Error(err)
					}
				})
				start := time.Now()
				var told []lock.Held
				req := request()
				req.Wait = time.Hour
				req.OnWait = func(w lock.Waiting) {
					if w.Changed {
						told = append(told, w.Held)
					}
				}
				_, err := acquire(t.Context(), m, req)
				if !errors.Is(err, tc.want) || errors.Is(err, statelatch.ErrLocked) {
					t.Errorf("got %v, want %v", err, tc.want)
				}
				if waited := time.Since(start); waited > 22*time.Second {
					t.Errorf("it took %v", waited)
				}
				if tc.want == nil && (len(told) != 2 || !errors.Is(told[1].Err, statelatch.ErrDenied)) {
					t.Errorf("OnWait was told %+v, want the holder and then why it is not known", told)
				}
			})
		})
	}
}

func TestManager_Acquire_OnWait_ToldOfEveryHolderOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup()
		put(t, store, engineLock)
		time.AfterFunc(10*time.Second, func() {
			put(t, store, bytes.ReplaceAll(engineLock, []byte(engineID), []byte("successor")))
		})
		var told []string
		req := request()
		req.Wait = 20 * time.Second
		req.OnWait = func(w lock.Waiting) {
			if w.Changed {
				told = append(told, w.Held.Info.ID)
			}
		}
		if _, err := acquire(t.Context(), m, req); !errors.Is(err, statelatch.ErrLocked) {
			t.Errorf("got %v, want ErrLocked", err)
		}
		if len(told) != 2 || told[0] != engineID || told[1] != "successor" {
			t.Errorf("OnWait was told %q, want both holders once", told)
		}
	})
}

// Ctrl-C at the very moment of a refusal is still Ctrl-C.
func TestManager_Acquire_CancelledByOnWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup()
		put(t, store, engineLock)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		start := time.Now()
		req := request()
		req.Wait = time.Hour
		req.OnWait = func(lock.Waiting) { cancel() }
		if _, err := acquire(ctx, m, req); !errors.Is(err, context.Canceled) || time.Since(start) != 0 {
			t.Errorf("got %v after %v, want the context's error at once", err, time.Since(start))
		}
	})
}

// A lock that has just been taken may soon be free again; one that is held for long is looked at about once a second,
// spread: neither in step, nor a burden, nor late.
func TestManager_Acquire_LooksByTheAgeOfTheHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		m, store := setup(faultbucket.Rule{Op: faultbucket.OpGet, Match: func(faultbucket.Request) bool {
			at = append(at, time.Now())
			return false
		}})
		put(t, store, engineLock)
		start := time.Now()
		req := request()
		req.Wait = 5 * time.Minute
		if _, err := acquire(t.Context(), m, req); !errors.Is(err, statelatch.ErrLocked) {
			t.Fatalf("got %v, want ErrLocked", err)
		}
		if first := at[1].Sub(at[0]); first < 125*time.Millisecond || first > 250*time.Millisecond {
			t.Errorf("the first pause is %v, want 0.125 to 0.25 s", first)
		}
		shortest, longest := time.Hour, time.Duration(0)
		for i := range len(at) - 2 { // the last pause is cut by the deadline
			if d := at[i+1].Sub(at[i]); at[i].Sub(start) > 4*time.Second {
				shortest, longest = min(shortest, d), max(longest, d)
			}
		}
		if shortest < 500*time.Millisecond || longest > time.Second || longest-shortest < 100*time.Millisecond {
			t.Errorf("later pauses of %v to %v, want a spread within 0.5 to 1 s", shortest, longest)
		}
	})
}

// A store that is out of order for longer than some tries is waited for like a holder.
func TestManager_Acquire_OutlastsAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup(faultbucket.Rule{Op: faultbucket.OpPut, Fault: faultbucket.Answer(409)})
		time.AfterFunc(40*time.Second, store.Heal)
		req := request()
		req.Wait = time.Minute
		h, err := acquire(t.Context(), m, req)
		wantHeld(t, store, h, err)
	})
}

// A holder that cannot be read just now: the error is the store's, not that of the refused create.
func TestManager_Acquire_HolderOutOfReach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup(faultbucket.Rule{Op: faultbucket.OpGet, Fault: faultbucket.Answer(503)})
		put(t, store, engineLock)
		_, err := acquire(t.Context(), m, request())
		if !errors.Is(err, statelatch.ErrThrottled) || errors.Is(err, statelatch.ErrPreconditionFailed) {
			t.Errorf("got %v, want ErrThrottled", err)
		}
	})
}

// B7: the same if an early create had an unknown outcome, and one and the same is sent ever after.
func TestManager_Acquire_B7_CreatedAfterAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup(faultbucket.Rule{Op: faultbucket.OpPut, Nth: 2, Fault: faultbucket.LoseRequest()})
		put(t, store, engineLock)
		time.AfterFunc(time.Minute, func() {
			if _, err := store.Delete(context.WithoutCancel(t.Context()), ref.LockKey(), bucket.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
		start := time.Now()
		req := request()
		req.Wait = time.Hour
		h, err := acquire(t.Context(), m, req)
		wantHeld(t, store, h, err)
		if h.Info.Created.Before(start.Add(time.Minute)) {
			t.Errorf("Created is %v after the wait began, before the lock was free", h.Info.Created.Sub(start))
		}
	})
}
