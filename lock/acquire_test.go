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
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/lock"
)

func TestManager_AcquireRelease_OneRequestEach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup()
		h, err := acquire(t.Context(), m, request())
		if n := len(store.Requests()); n != 1 {
			t.Errorf("Acquire took %d requests, want 1", n)
		}
		wantHeld(t, store, h, err)
		if h.Info.Path != "b/app/terraform.tfstate" || h.Info.Who != "me@here" || h.Info.Operation != "test" || len(h.Info.ID) != 36 {
			t.Errorf("lock info is %+v", h.Info)
		}
		before := len(store.Requests())
		if weak, err := m.Release(t.Context(), h); weak || err != nil {
			t.Fatalf("Release: %v, %v", weak, err)
		}
		after := store.Requests()
		if len(after) != before+1 || after[before].If.ETag() != h.ETag {
			t.Errorf("Release sent %+v, want one delete on the ETag", after[before:])
		}
		if got := stored(t, store); got != nil {
			t.Errorf("left behind: %s", got)
		}
	})
}

// B35: who is told to whoever is refused is the holder, not the caller.
func TestManager_Acquire_B35_HeldByEngine(t *testing.T) {
	t.Parallel()
	m, store := setup()
	put(t, store, engineLock)
	req := request()
	req.OnWait = func(lock.Waiting) { t.Error("OnWait was called, but there is no wait") }
	_, err := acquire(t.Context(), m, req)
	var locked *statelatch.LockedError
	if !errors.As(err, &locked) || locked.Holder.ID != engineID || locked.Holder.Who != "root@ci" {
		t.Fatalf("got %v, want a LockedError with the engine's holder", err)
	}
	if got := stored(t, store); !bytes.Equal(got, engineLock) {
		t.Errorf("the engine's lock was changed to %s", got)
	}
}

// Whatever happens to the first requests of an acquisition, it ends with the lock held, once.
func TestManager_Acquire_SurvivesFaults(t *testing.T) {
	t.Parallel()
	on := func(op string, nth int, f faultbucket.Fault) faultbucket.Rule {
		return faultbucket.Rule{Op: op, Nth: nth, Fault: f}
	}
	const put, get = faultbucket.OpPut, faultbucket.OpGet
	for name, rules := range map[string][]faultbucket.Rule{
		"B1 reply lost":                {on(put, 1, faultbucket.LoseReply())},
		"B1 500 after the write":       {on(put, 1, faultbucket.AnswerAfter(500))},
		"B1 503 after the write":       {on(put, 1, faultbucket.AnswerAfter(503))},
		"B1 re-sent on the way":        {on(put, 1, faultbucket.Resend())},
		"B1 412 after the write":       {on(put, 1, faultbucket.AnswerAfter(412))},
		"B1 reply and read lost":       {on(put, 1, faultbucket.LoseReply()), on(get, 1, faultbucket.LoseReply())},
		"B1 reply lost, also of rekey": {on(put, 1, faultbucket.LoseReply()), on(put, 2, faultbucket.LoseReply())},
		"B1 three replies lost": {
			on(put, 1, faultbucket.LoseReply()), on(put, 2, faultbucket.LoseReply()), on(put, 3, faultbucket.LoseReply()),
		},
		"request lost":              {on(put, 1, faultbucket.LoseRequest())},
		"request late":              {on(put, 1, faultbucket.Late(2))},
		"request late, after rekey": {on(put, 1, faultbucket.Late(4))},
		"B2 412, then free":         {on(put, 1, faultbucket.Answer(412))},
		"B2 twice":                  {on(put, 1, faultbucket.Answer(412)), on(put, 2, faultbucket.Answer(412))},
		"B3 409":                    {on(put, 1, faultbucket.Answer(409))},
		"B3 409 after the write":    {on(put, 1, faultbucket.AnswerAfter(409))},
		"B3 409 three times": {
			on(put, 1, faultbucket.Answer(409)), on(put, 2, faultbucket.Answer(409)), on(put, 3, faultbucket.Answer(409)),
		},
		"503 burst": {
			on(put, 1, faultbucket.Answer(503)), on(put, 2, faultbucket.Answer(503)), on(get, 1, faultbucket.Answer(503)),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, store := setup(rules...)
				h, err := acquire(t.Context(), m, request())
				wantHeld(t, store, h, err)
				store.Heal()
				store.Deliver()
				wantHeld(t, store, h, nil)
				if _, err := m.Release(t.Context(), h); err != nil {
					t.Errorf("Release: %v", err)
				}
				if got := stored(t, store); got != nil {
					t.Errorf("left behind: %s", got)
				}
			})
		})
	}
}

// R3: a copy of the create that lands after the release, or is confused with the lock, changes nothing:
// the lock was rewritten, so the copy's body is not the lock's.
func TestManager_Acquire_R3_RewritesAfterUnknownOutcome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup(faultbucket.Rule{Op: faultbucket.OpPut, Nth: 1, Fault: faultbucket.LoseReply()})
		m.Now = func() time.Time { return time.Unix(1, 0) } // a clock that stands still
		h, err := acquire(t.Context(), m, request())
		wantHeld(t, store, h, err)
		puts := 0
		for _, r := range store.Requests() {
			if r.Op == faultbucket.OpPut {
				puts++
			}
		}
		if puts != 2 || h.Managed.Seq != 2 {
			t.Errorf("%d puts, seq %d; want the create and one rewrite with another body", puts, h.Managed.Seq)
		}
	})
}

// R1: a create that is sent again is the same create, and only the rewrite is another body.
func TestManager_Acquire_R1_SendsTheSameCreateAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup(faultbucket.Rule{Op: faultbucket.OpPut, Limit: 3, Fault: faultbucket.LoseRequest()})
		h, err := acquire(t.Context(), m, request())
		wantHeld(t, store, h, err)
		if n := store.Count(faultbucket.OpPut, ref.LockKey()); n != 5 || h.Managed.Seq != 2 {
			t.Errorf("%d puts, seq %d; want one create sent four times, and one rewrite", n, h.Managed.Seq)
		}
	})
}

// R3: the same, where the first create was only late and the second one won. What lands when the lock has been forced away is not
// mistaken for it.
func TestManager_Acquire_R3_LateCreateIsNotTheLock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup(faultbucket.Rule{Op: faultbucket.OpPut, Nth: 1, Fault: faultbucket.Late(faultbucket.Held)})
		tenure, err := m.Acquire(t.Context(), ref, request())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Delete(t.Context(), ref.LockKey(), bucket.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if store.Deliver() != 1 || stored(t, store) == nil {
			t.Fatal("the late create did not land")
		}
		if err := tenure.Verify(t.Context()); !errors.Is(err, statelatch.ErrLockLost) {
			t.Errorf("Verify: %v, want ErrLockLost", err)
		}
	})
}

// R2: an ID that a caller used twice proves nothing. Only the whole body does.
func TestManager_Acquire_R2_SameIDIsNotEnough(t *testing.T) {
	t.Parallel()
	for name, rules := range map[string][]faultbucket.Rule{
		"refused":    nil,
		"reply lost": {{Op: faultbucket.OpPut, Nth: 2, Fault: faultbucket.LoseReply()}},
	} {
		synctest.Test(t, func(t *testing.T) {
			m, store := setup(rules...)
			put(t, store, engineLock)
			req := request()
			req.ID = engineID
			if _, err := acquire(t.Context(), m, req); !errors.Is(err, statelatch.ErrLocked) {
				t.Errorf("%s: got %v, want ErrLocked", name, err)
			}
			if got := stored(t, store); !bytes.Equal(got, engineLock) {
				t.Errorf("%s: the other's lock is now %q", name, got)
			}
		})
	}
}

// Between the look and the rewrite the lock is forced away and somebody else takes it.
func TestManager_Acquire_R3_RewriteIsConditional(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup(faultbucket.Rule{Op: faultbucket.OpPut, Nth: 1, Fault: faultbucket.LoseReply()})
		store.Add(faultbucket.Rule{Op: faultbucket.OpGet, Nth: 1, Fault: faultbucket.DelayReplyWith(func(context.Context) error {
			put(t, store, engineLock)
			return nil
		})})
		_, err := acquire(t.Context(), m, request())
		if !errors.Is(err, statelatch.ErrLocked) {
			t.Errorf("got %v, want ErrLocked", err)
		}
		if got := stored(t, store); !bytes.Equal(got, engineLock) {
			t.Errorf("the other's lock is now %q", got)
		}
	})
}

// Between the look and the rewrite the lock is forced away and the state is free.
func TestManager_Acquire_R3_ForcedAwayBeforeTheRewrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup(faultbucket.Rule{Op: faultbucket.OpPut, Nth: 1, Fault: faultbucket.LoseReply()})
		store.Add(faultbucket.Rule{Op: faultbucket.OpGet, Nth: 1, Fault: faultbucket.DelayReplyWith(func(ctx context.Context) error {
			_, err := store.Delete(ctx, ref.LockKey(), bucket.DeleteOptions{})
			return err
		})})
		h, err := acquire(t.Context(), m, request())
		wantHeld(t, store, h, err)
	})
}

// What waiting cannot mend ends a wait at once, under its own name. B25: a refusal of the credentials is not a
// lock conflict.
func TestManager_Acquire_B25_FinalAnswers(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]error{
		403: statelatch.ErrDenied,
		404: statelatch.ErrNotFound, // no such bucket
		501: statelatch.ErrUnsafeStore,
	} {
		synctest.Test(t, func(t *testing.T) {
			m, store := setup(faultbucket.Rule{Op: faultbucket.OpPut, Fault: faultbucket.Answer(status)})
			start := time.Now()
			req := request()
			req.Wait = time.Hour
			_, err := acquire(t.Context(), m, req)
			if !errors.Is(err, want) || errors.Is(err, statelatch.ErrLocked) || errors.Is(err, statelatch.ErrAmbiguous) {
				t.Errorf("%d: got %v, want %v", status, err, want)
			}
			if n := len(store.Requests()); n != 1 || time.Since(start) != 0 {
				t.Errorf("%d: %d requests in %v, want one at once", status, n, time.Since(start))
			}
		})
	}
}

// The credentials may create but not rewrite: nothing stays behind unreported.
func TestManager_Acquire_RewriteDenied(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		first    faultbucket.Fault
		reported bool
	}{
		"re-sent on the way":             {faultbucket.Resend(), false},
		"reply lost":                     {faultbucket.LoseReply(), false},
		"the first create may yet come":  {faultbucket.Late(faultbucket.Held), true},
		"the first create came too late": {faultbucket.Late(2), true},
	} {
		synctest.Test(t, func(t *testing.T) {
			m, store := setup(
				faultbucket.Rule{Op: faultbucket.OpPut, Nth: 1, Fault: tc.first},
				faultbucket.Rule{
					Op:    faultbucket.OpPut,
					Match: func(r faultbucket.Request) bool { return r.If.ETag() != "" },
					Fault: faultbucket.Answer(403),
				},
			)
			_, err := acquire(t.Context(), m, request())
			if !errors.Is(err, statelatch.ErrDenied) || errors.Is(err, statelatch.ErrAmbiguous) != tc.reported {
				t.Errorf("%s: got %v, want ErrDenied, and that more may come: %v", name, err, tc.reported)
			}
			if got := stored(t, store); got != nil {
				t.Errorf("%s: left behind: %s", name, got)
			}
		})
	}
}

// Q3: a store that counts a delete marker as an object refuses for ever. We must not loop for ever.
func TestManager_Acquire_Q3_RefusedButAbsent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup(faultbucket.Rule{Op: faultbucket.OpPut, Fault: faultbucket.Answer(412)})
		for _, wait := range []time.Duration{0, time.Minute} {
			before := len(store.Requests())
			req := request()
			req.Wait = wait
			_, err := acquire(t.Context(), m, req)
			if !errors.Is(err, statelatch.ErrConflict) || !strings.Contains(err.Error(), "deleted object") {
				t.Errorf("wait %v: got %v, want ErrConflict that names the quirk", wait, err)
			}
			if n := len(store.Requests()) - before; n > 1500 {
				t.Errorf("wait %v: %d requests, it spins", wait, n)
			}
		}
	})
}

// Ctrl-C while the create is under way must not leave a lock behind (B15).
func TestManager_Acquire_CancelledInFlightLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]faultbucket.Fault{
		"executed, reply held": faultbucket.DelayReply(time.Hour),
		"lands a little later": faultbucket.Late(2),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, store := setup(faultbucket.Rule{Op: faultbucket.OpPut, Nth: 1, Fault: fault})
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				_, err := acquire(ctx, m, request())
				if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, statelatch.ErrAmbiguous) {
					t.Errorf("got %v, want only the context's error", err)
				}
				if got := stored(t, store); got != nil {
					t.Errorf("left behind: %s", got)
				}
			})
		})
	}
}

// Ctrl-C while the rewrite is under way, which lands between the look that takes back and its delete.
func TestManager_Acquire_CancelledInRekeyLeavesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		m, store := setup(
			faultbucket.Rule{Op: faultbucket.OpPut, Nth: 1, Fault: faultbucket.LoseReply()},
			faultbucket.Rule{
				Op: faultbucket.OpPut, Fault: faultbucket.Late(1),
				Match: func(r faultbucket.Request) bool {
					if r.If.ETag() != "" {
						cancel()
					}
					return r.If.ETag() != ""
				},
			},
		)
		_, err := acquire(ctx, m, request())
		if !errors.Is(err, context.Canceled) || errors.Is(err, statelatch.ErrAmbiguous) {
			t.Errorf("got %v, want only the context's error", err)
		}
		if got := stored(t, store); got != nil {
			t.Errorf("left behind: %s", got)
		}
	})
}

// Two creates are under way when Ctrl-C comes: taking back the one that landed says nothing about the other.
func TestManager_Acquire_EveryCreateIsTakenBackOrReported(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		first    faultbucket.Fault
		reported bool
	}{
		"the other lands soon":  {faultbucket.Late(4), false},
		"the other lands never": {faultbucket.LoseRequest(), true},
		"the other lands later": {faultbucket.Late(faultbucket.Held), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, store := setup(
					faultbucket.Rule{Op: faultbucket.OpPut, Nth: 1, Fault: tc.first},
					faultbucket.Rule{Op: faultbucket.OpPut, Nth: 2, Fault: faultbucket.DelayReply(time.Hour)},
				)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := acquire(ctx, m, request())
				if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, statelatch.ErrAmbiguous) != tc.reported {
					t.Errorf("got %v, want the context's error, and that more may come: %v", err, tc.reported)
				}
				if got := stored(t, store); got != nil {
					t.Errorf("left behind: %s", got)
				}
			})
		})
	}
}

// When it cannot be found out, the error says so and names the ID.
func TestManager_Acquire_UnknownIsReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, _ := setup(faultbucket.Rule{Fault: faultbucket.LoseReply()})
		req := request()
		req.ID = "my-id"
		_, err := acquire(t.Context(), m, req)
		if !errors.Is(err, statelatch.ErrAmbiguous) || !strings.Contains(err.Error(), "my-id") {
			t.Errorf("got %v, want ErrAmbiguous that names the ID", err)
		}
	})
}

// B2 under load: nobody fails before the deadline, and the lock is held by one at a time.
func TestManager_Acquire_B2_ReleaseStorm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, store := setup(
			faultbucket.Rule{Op: faultbucket.OpPut, Chance: 0.1, Fault: faultbucket.LoseReply()},
			faultbucket.Rule{Op: faultbucket.OpDelete, Chance: 0.1, Fault: faultbucket.LoseReply()},
			faultbucket.Rule{Op: faultbucket.OpPut, Chance: 0.1, Fault: faultbucket.Answer(409)},
			faultbucket.Rule{Op: faultbucket.OpGet, Chance: 0.1, Fault: faultbucket.LoseReply()},
		)
		var inside sync.Mutex
		var all sync.WaitGroup
		processes := make([]*lock.Manager, 7)
		for i := range processes {
			processes[i] = &lock.Manager{Bucket: &process{store}, Tier: lock.TierFull}
		}
		for i := range 20 {
			all.Go(func() {
				m := processes[i%len(processes)]
				req := request()
				req.Wait = time.Hour
				h, err := acquire(t.Context(), m, req)
				if err != nil {
					t.Errorf("Acquire: %v", err)
					return
				}
				if !inside.TryLock() {
					t.Error("two holders at once")
					return
				}
				time.Sleep(3 * time.Second)
				inside.Unlock()
				if _, err := m.Release(t.Context(), h); err != nil {
					t.Errorf("Release: %v", err)
				}
			})
		}
		all.Wait()
		store.Heal()
		if got := stored(t, store); got != nil {
			t.Errorf("left behind: %s", got)
		}
	})
}
