package lock_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/lock"
)

func TestManager_Release_SurvivesFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]faultbucket.Fault{
		"B13 request lost":    faultbucket.LoseRequest(),
		"B6 reply lost":       faultbucket.LoseReply(),
		"B6 503 after":        faultbucket.AnswerAfter(503),
		"B6 503":              faultbucket.Answer(503),
		"B6 409":              faultbucket.Answer(409),
		"R2 412, still ours":  faultbucket.Answer(412),
		"delivered twice":     faultbucket.Duplicate(0),
		"resent on the way":   faultbucket.LoseReply(),
		"late, after our own": faultbucket.Late(2),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, store := setup(faultbucket.Rule{Op: faultbucket.OpDelete, Nth: 1, Fault: fault})
				h, err := acquire(t.Context(), m, request())
				wantHeld(t, store, h, err)
				ctx, cancel := context.WithCancel(t.Context())
				cancel() // B13: a release goes on when the caller was interrupted
				if weak, err := m.Release(ctx, h); weak || err != nil {
					t.Fatalf("Release: %v, %v", weak, err)
				}
				if got := stored(t, store); got != nil {
					t.Errorf("left behind: %s", got)
				}
				for _, r := range store.Requests() {
					if r.Op == faultbucket.OpDelete && r.If.ETag() != h.ETag {
						t.Errorf("a delete was sent %v", r.If)
					}
				}
			})
		})
	}
}

// B13: an outage of some seconds is what the 30 s are for.
func TestManager_Release_B13_OutlastsAnOutage(t *testing.T) {
	t.Parallel()
	for name, rules := range map[string][]faultbucket.Rule{
		"conditional": {{Op: faultbucket.OpDelete, Fault: faultbucket.Answer(409)}},
		"weak":        {noConditionalDelete, {Op: faultbucket.OpGet, Fault: faultbucket.Answer(503)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, store := setup()
				h, err := acquire(t.Context(), m, request())
				wantHeld(t, store, h, err)
				store.Add(rules...)
				time.AfterFunc(20*time.Second, func() {
					store.Heal()
					store.Add(rules[:len(rules)-1]...)
				})
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

// The removal ends, also under a context that does not, and says what is known.
func TestManager_Remove_EndsWithTheRightKind(t *testing.T) {
	t.Parallel()
	del := func(nth int, f faultbucket.Fault) faultbucket.Rule {
		return faultbucket.Rule{Op: faultbucket.OpDelete, Nth: nth, Fault: f}
	}
	for name, tc := range map[string]struct {
		rules     []faultbucket.Rule
		kinds     []error
		ambiguous bool
		within    time.Duration
	}{
		"500 for ever":                   {[]faultbucket.Rule{del(0, faultbucket.Answer(500))}, nil, true, 30 * time.Second},
		"409 for ever":                   {[]faultbucket.Rule{del(0, faultbucket.Answer(409))}, []error{statelatch.ErrConflict}, false, 30 * time.Second},
		"lost, then 409 for ever":        {[]faultbucket.Rule{del(1, faultbucket.LoseRequest()), del(0, faultbucket.Answer(409))}, []error{statelatch.ErrConflict}, true, 30 * time.Second},
		"lost, then denied":              {[]faultbucket.Rule{del(1, faultbucket.LoseRequest()), del(0, faultbucket.Answer(403))}, []error{statelatch.ErrDenied}, true, time.Second},
		"denied":                         {[]faultbucket.Rule{del(0, faultbucket.Answer(403))}, []error{statelatch.ErrDenied}, false, 0},
		"weak, denied":                   {[]faultbucket.Rule{noConditionalDelete, del(0, faultbucket.Answer(403))}, []error{statelatch.ErrDenied}, false, 0},
		"weak, may not look":             {[]faultbucket.Rule{noConditionalDelete, {Op: faultbucket.OpGet, Fault: faultbucket.Answer(403)}}, []error{statelatch.ErrDenied}, false, 0},
		"weak, lost, for ever unchanged": {[]faultbucket.Rule{noConditionalDelete, del(0, faultbucket.LoseRequest())}, nil, true, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, store := setup()
				h, err := acquire(t.Context(), m, request())
				wantHeld(t, store, h, err)
				store.Add(tc.rules...)
				start := time.Now()
				_, err = m.ForceRelease(context.Background(), h, request()) // one without an end
				if err == nil || errors.Is(err, statelatch.ErrAmbiguous) != tc.ambiguous {
					t.Errorf("got %v, want an error that is ambiguous: %v", err, tc.ambiguous)
				}
				for _, kind := range tc.kinds {
					if !errors.Is(err, kind) {
						t.Errorf("got %v, want also %v", err, kind)
					}
				}
				if took := time.Since(start); took > tc.within {
					t.Errorf("it took %v, want at most %v", took, tc.within)
				}
				if n := store.Count(faultbucket.OpDelete, ""); name == "409 for ever" && (n < 15 || n > 40) {
					t.Errorf("%d deletes in 30 s, want pauses that grow to 2 s", n)
				}
				if weak := plainDeletes(store); len(weak) > 3 {
					t.Errorf("%d plain deletes in 30 s, want one in 10", len(weak))
				}
			})
		})
	}
}

// A zero Held, as a failed Acquire returns it, names no lock object.
func TestManager_Remove_RefusesZeroHeld(t *testing.T) {
	t.Parallel()
	m, store := setup()
	put(t, store, engineLock)
	_, err1 := m.Release(t.Context(), lock.Held{Ref: ref})
	_, err2 := m.ForceRelease(t.Context(), lock.Held{Ref: ref}, request())
	if !errors.Is(err1, statelatch.ErrInvalid) || !errors.Is(err2, statelatch.ErrInvalid) || stored(t, store) == nil {
		t.Errorf("got %v and %v, want ErrInvalid and the lock untouched", err1, err2)
	}
}

// W3 and B5: the delete is executed, its reply is lost, somebody else acquires, the delete is sent again.
func TestManager_Release_B5_SuccessorIsSafe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup()
		h, err := acquire(t.Context(), m, request())
		wantHeld(t, store, h, err)
		store.Add(faultbucket.Rule{Op: faultbucket.OpDelete, Nth: 1, Fault: faultbucket.DelayReplyWith(func(context.Context) error {
			put(t, store, engineLock)
			return errors.New("reply lost")
		})})
		if _, err := m.Release(t.Context(), h); err != nil {
			t.Errorf("Release: %v", err)
		}
		if got := stored(t, store); !bytes.Equal(got, engineLock) {
			t.Errorf("the successor's lock is now %q", got)
		}
		if n := store.Count(faultbucket.OpDelete, ""); n != 2 {
			t.Errorf("%d deletes, want the first and the one sent again", n)
		}
	})
}

func TestManager_Release_LockLost(t *testing.T) {
	t.Parallel()
	for name, steal := range map[string]func(*testing.T, bucket.Bucket){
		"replaced": func(t *testing.T, b bucket.Bucket) { t.Helper(); put(t, b, engineLock) },
		"gone": func(t *testing.T, b bucket.Bucket) {
			t.Helper()
			if _, err := b.Delete(t.Context(), ref.LockKey(), bucket.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		m, store := setup()
		h, err := acquire(t.Context(), m, request())
		wantHeld(t, store, h, err)
		steal(t, store)
		before := stored(t, store)
		if _, err := m.Release(t.Context(), h); !errors.Is(err, statelatch.ErrLockLost) {
			t.Errorf("%s: got %v, want ErrLockLost", name, err)
		}
		if got := stored(t, store); !bytes.Equal(got, before) {
			t.Errorf("%s: Release changed the lock to %q", name, got)
		}
	}
}

var noConditionalDelete = faultbucket.Rule{
	Op:    faultbucket.OpDelete,
	Match: func(r faultbucket.Request) bool { return !r.If.IsZero() },
	Fault: faultbucket.Answer(501),
}

// plainDeletes are the deletes without a condition, in the order in which they were sent.
func plainDeletes(store *faultbucket.Bucket) []faultbucket.Request {
	return slices.DeleteFunc(store.Requests(), func(r faultbucket.Request) bool {
		return r.Op != faultbucket.OpDelete || !r.If.IsZero() || r.Late
	})
}

// A refusal is no doubt, and after a doubt our own lock, seen again, is reason to delete again: at once where the store
// itself has answered, else when the first delete had its time to arrive.
func TestManager_Release_WeakStore_DeletesAgain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault   faultbucket.Fault
		times   int
		within  time.Duration
		deletes int
	}{
		"503":               {faultbucket.Answer(503), 1, 2 * time.Second, 2},
		"503 again":         {faultbucket.Answer(503), 4, 5 * time.Second, 5},
		"503 after":         {faultbucket.AnswerAfter(503), 1, 2 * time.Second, 1},
		"500":               {faultbucket.Answer(500), 1, 2 * time.Second, 2},
		"500 after":         {faultbucket.AnswerAfter(500), 1, 2 * time.Second, 1},
		"507":               {faultbucket.Answer(507), 1, 2 * time.Second, 2},
		"429":               {faultbucket.Answer(429), 2, 2 * time.Second, 3},
		"409":               {faultbucket.Answer(409), 1, 2 * time.Second, 2},
		"request lost":      {faultbucket.LoseRequest(), 1, 15 * time.Second, 2},
		"reply lost":        {faultbucket.LoseReply(), 1, 2 * time.Second, 1},
		"late by two looks": {faultbucket.Late(2), 1, 5 * time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, store := setup(faultbucket.Rule{Op: faultbucket.OpDelete, Limit: tc.times, Fault: tc.fault})
				m.Tier = lock.TierCAS
				h, err := acquire(t.Context(), m, request())
				wantHeld(t, store, h, err)
				start := time.Now()
				weak, err := m.Release(t.Context(), h)
				if !weak || err != nil || stored(t, store) != nil {
					t.Errorf("got weak %v, %v, lock %q; want a weak release", weak, err, stored(t, store))
				}
				if took := time.Since(start); took > tc.within {
					t.Errorf("it took %v, want at most %v", took, tc.within)
				}
				if n := len(plainDeletes(store)); n != tc.deletes {
					t.Errorf("%d deletes, want %d", n, tc.deletes)
				}
			})
		})
	}
}

// A delete without an answer may arrive for a while, and must find nobody else's lock: ours stands that long.
func TestManager_Release_WeakStore_LateDeleteHitsNobodyElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup(faultbucket.Rule{Op: faultbucket.OpDelete, Nth: 1, Fault: faultbucket.Late(faultbucket.Held)})
		m.Tier = lock.TierCAS
		h, err := acquire(t.Context(), m, request())
		wantHeld(t, store, h, err)
		time.AfterFunc(9*time.Second, func() {
			store.Deliver()
			put(t, store, engineLock) // who waited
		})
		if _, err := m.Release(t.Context(), h); err != nil {
			t.Errorf("Release: %v", err)
		}
		time.Sleep(time.Minute)
		if got := stored(t, store); !bytes.Equal(got, engineLock) {
			t.Errorf("the successor's lock is now %q", got)
		}
		if n := len(plainDeletes(store)); n != 1 {
			t.Errorf("%d deletes, want one", n)
		}
	})
}

// Q7: without conditional delete one plain delete is sent, once, after a look.
func TestManager_Release_WeakStore(t *testing.T) {
	t.Parallel()
	plainDeleteLost := faultbucket.Rule{
		Op:    faultbucket.OpDelete,
		Match: func(r faultbucket.Request) bool { return r.If.IsZero() },
		Fault: faultbucket.LoseReply(),
	}
	for name, rules := range map[string][]faultbucket.Rule{
		"undisturbed": {noConditionalDelete},
		"reply lost":  {noConditionalDelete, plainDeleteLost},
	} {
		synctest.Test(t, func(t *testing.T) {
			m, store := setup(rules...)
			h, err := acquire(t.Context(), m, request())
			wantHeld(t, store, h, err)
			weak, err := m.Release(t.Context(), h)
			if !weak || err != nil || stored(t, store) != nil {
				t.Errorf("%s: got weak %v, %v, lock %q; want a weak release", name, weak, err, stored(t, store))
			}
			if n := store.Count(faultbucket.OpDelete, ""); n != 2 {
				t.Errorf("%s: %d deletes, want the refused one and one plain one", name, n)
			}
			put(t, store, engineLock)
			if _, err := m.Release(t.Context(), h); !errors.Is(err, statelatch.ErrLockLost) || stored(t, store) == nil {
				t.Errorf("%s: a weak release removed another's lock, or said %v", name, err)
			}
		})
	}
}

func TestManager_ForceUnlock(t *testing.T) {
	t.Parallel()
	m, store := setup()
	if _, _, err := m.ForceUnlock(t.Context(), ref, engineID, request()); !errors.Is(err, statelatch.ErrNotLocked) {
		t.Errorf("B16: nothing to unlock: got %v, want ErrNotLocked", err)
	}
	put(t, store, engineLock)
	var locked *statelatch.LockedError
	if _, _, err := m.ForceUnlock(t.Context(), ref, "other", request()); !errors.As(err, &locked) || locked.Holder.ID != engineID {
		t.Errorf("B16: wrong ID: got %v, want the holder", err)
	}
	if stored(t, store) == nil {
		t.Fatal("the wrong ID removed the lock")
	}
	h, weak, err := m.ForceUnlock(t.Context(), ref, engineID, request())
	if err != nil || weak || h.Info.Who != "root@ci" || stored(t, store) != nil {
		t.Errorf("got %+v, %v, %v; want the lock gone", h, weak, err)
	}
}

// tofu#2132: an empty or broken lock object has no ID; its ETag names it.
func TestManager_ForceUnlock_UnreadableByETag(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "{", "{}", strings.Repeat("x", statelatch.MaxLockInfo+1)} {
		m, store := setup()
		put(t, store, []byte(body))
		var locked *statelatch.LockedError
		if _, _, err := m.ForceUnlock(t.Context(), ref, "", request()); !errors.As(err, &locked) || locked.ETag == "" {
			t.Fatalf("%.10q: got %v, want a LockedError with the ETag", body, err)
		}
		if _, _, err := m.ForceUnlock(t.Context(), ref, locked.ETag, request()); err != nil || stored(t, store) != nil {
			t.Errorf("%.10q: got %v, want the lock gone", body, err)
		}
	}
}

// B5: the lock changes hands between the look and the delete.
func TestManager_ForceUnlock_B5_ChangedMeanwhile(t *testing.T) {
	t.Parallel()
	m, store := setup()
	put(t, store, engineLock)
	h, err := m.Status(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	successor := bytes.ReplaceAll(engineLock, []byte(engineID), []byte("successor"))
	put(t, store, successor)
	var locked *statelatch.LockedError
	if _, err := m.ForceRelease(t.Context(), h, request()); !errors.As(err, &locked) || locked.Holder.ID != "successor" {
		t.Errorf("got %v, want the successor shown", err)
	}
	if got := stored(t, store); !bytes.Equal(got, successor) {
		t.Errorf("the successor's lock is now %q", got)
	}
}

// expiring refuses requests with expired credentials, as long as there are refusals left.
type expiring struct {
	bucket.Bucket
	left int
}

func (e *expiring) refuse(op string) error {
	if e.left == 0 {
		return nil
	}
	e.left--
	return &statelatch.StoreError{Kind: statelatch.ErrDenied, Op: op, Status: 400, Code: "ExpiredToken"}
}

func (e *expiring) Put(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
	if err := e.refuse("put"); err != nil {
		return bucket.Object{}, err
	}
	return e.Bucket.Put(ctx, key, body, opts)
}

func (e *expiring) Delete(ctx context.Context, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
	if err := e.refuse("delete"); err != nil {
		return bucket.Deleted{}, err
	}
	return e.Bucket.Delete(ctx, key, opts)
}

// B14: credentials that expired while the lock was held are not the end of its release: new ones are loaded meanwhile.
func TestManager_Release_B14_ExpiredCredentials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup()
		h, err := acquire(t.Context(), m, request())
		wantHeld(t, store, h, err)
		m.Bucket = &expiring{store, 3}
		if _, err := m.Release(t.Context(), h); err != nil {
			t.Errorf("Release: %v", err)
		}
		if got := stored(t, store); got != nil {
			t.Errorf("left behind: %s", got)
		}
	})
}

// B14: who asks for a lock with expired credentials does not wait for other ones as long as for a holder.
func TestManager_Acquire_B14_ExpiredCredentials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, store := setup()
		m.Bucket = &expiring{store, 1 << 30}
		start := time.Now()
		req := request()
		req.Wait = time.Hour
		if _, err := m.Acquire(t.Context(), ref, req); !statelatch.Expired(err) || time.Since(start) > 10*time.Second {
			t.Errorf("got %v after %v, want the refusal soon", err, time.Since(start))
		}
		m.Bucket = &expiring{store, 2}
		h, err := acquire(t.Context(), m, request())
		wantHeld(t, store, h, err)
	})
}
