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
	"github.com/statelatch/statelatch/internal/dynamotest"
	"github.com/statelatch/statelatch/lock"
)

// Lock object and item have one ID; the item is, to the byte, what tofu can release: the engines' seven fields and no more.
func TestManager_Acquire_Dual(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.dual()
		var order []string
		c.store.Add(faultbucket.Rule{Match: func(r faultbucket.Request) bool { order = append(order, "object "+r.Op); return false }})
		w.table.Add(dynamotest.Rule{Match: func(r dynamotest.Request) bool { order = append(order, r.Op); return false }})
		tenure := c.mustAcquire(t, leased(minute))
		held := tenure.Held()
		if got, want := w.item(), string(held.Info.Marshal()); got != want || held.Item == nil || held.Item.Raw != want || held.Item.Table != "locks" {
			t.Errorf("the item is %s, want %s; Held has %+v", got, want, held.Item)
		}
		if held.Managed.Table != "locks" {
			t.Errorf("the lock object names the table %q", held.Managed.Table)
		}
		time.Sleep(5 * minute)
		if got := w.item(); got != string(held.Info.Marshal()) {
			t.Errorf("after renewals the item is %s", got)
		}
		c.store.Heal()
		if want := []string{"object put", "PutItem"}; len(order) < 2 || order[0] != want[0] || order[1] != want[1] {
			t.Errorf("acquired in the order %q, want %q", order, want)
		}
		renewals := len(order)
		c.store.Add(faultbucket.Rule{Match: func(r faultbucket.Request) bool { order = append(order, "object "+r.Op); return false }})
		wantReleased(t, w, tenure)
		if got := order[renewals:]; len(got) != 2 || got[0] != "DeleteItem" || got[1] != "object delete" {
			t.Errorf("released in the order %q, want the item first: a crash in between leaves the lease", got)
		}
	})
}

// The table refuses: the lock object is taken back, on condition, and the holder is the one in the table.
func TestManager_Acquire_Dual_TableIsTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setItem(string(engineLock))
		c := w.dual()
		_, err := c.Acquire(t.Context(), ref, leased(minute))
		var locked *statelatch.LockedError
		if !errors.As(err, &locked) || locked.Holder.ID != engineID || locked.Table != "locks" || locked.ETag != "" {
			t.Errorf("got %v, want a LockedError with the holder in the table", err)
		}
		wantOps(t, "the lock object", c.store.Requests(), "put if absent", "delete if match")
		if w.item() != string(engineLock) {
			t.Errorf("the engine's item is now %s", w.item())
		}
		if n := w.table.Count(dynamotest.OpDeleteItem, ""); n != 0 {
			t.Errorf("%d deletes in the table", n)
		}
	})
}

// Waiting for a holder that has only the table does not take and drop the lock object again and again.
func TestManager_Acquire_Dual_WaitingDoesNotChurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setItem(string(engineLock))
		time.AfterFunc(10*minute, func() { w.table.SetItem(dynamotest.StringItem("other", "Info", "x")); free(w) })
		c := w.dual()
		var told []lock.Waiting
		req := leased(minute)
		req.Wait = time.Hour
		req.OnWait = func(now lock.Waiting) {
			if now.Changed {
				told = append(told, now)
			}
		}
		tenure, err := c.Acquire(t.Context(), ref, req)
		if d := time.Since(w.start); d > 10*minute+2*time.Second {
			t.Errorf("it took %v", d)
		}
		if n := c.store.Count(faultbucket.OpPut, ""); n != 2 {
			t.Errorf("%d puts, want the first and the last", n)
		}
		if len(told) != 1 || told[0].Held.Item == nil || told[0].Held.Info.ID != engineID {
			t.Errorf("OnWait was told %+v, want the holder once", told)
		}
		wantOurs(t, w.objects, tenure, err)
		wantReleased(t, w, tenure)
	})
}

// free removes the engine's item as terraform does.
func free(w *world) {
	info, _ := statelatch.ParseLockInfo([]byte(w.item()))
	_ = w.table.Unlock(context.Background(), ref, string(info.Marshal()))
}

// Whatever becomes of the requests to the table, it ends with lock object and item held, once, and both released.
func TestManager_Acquire_Dual_SurvivesFaults(t *testing.T) {
	t.Parallel()
	on := func(op string, nth int, f dynamotest.Fault) dynamotest.Rule {
		return dynamotest.Rule{Op: op, Nth: nth, Fault: f}
	}
	const put, get, del = dynamotest.OpPutItem, dynamotest.OpGetItem, dynamotest.OpDeleteItem
	for name, rules := range map[string][]dynamotest.Rule{
		"put, reply lost":           {on(put, 1, dynamotest.LoseReply())},
		"put, request lost":         {on(put, 1, dynamotest.LoseRequest())},
		"put, 500":                  {on(put, 1, dynamotest.Fail())},
		"put, 500 after the write":  {on(put, 1, dynamotest.FailAfter())},
		"put, throttled":            {on(put, 1, dynamotest.Throttle()), on(put, 2, dynamotest.Throttle())},
		"put, late":                 {on(put, 1, dynamotest.Late(2))},
		"put, reply and read lost":  {on(put, 1, dynamotest.LoseReply()), on(get, 1, dynamotest.LoseReply())},
		"put, six replies lost":     {{Op: put, Limit: 6, Fault: dynamotest.LoseRequest()}},
		"delete, reply lost":        {on(del, 1, dynamotest.LoseReply())},
		"delete, request lost":      {on(del, 1, dynamotest.LoseRequest())},
		"delete, 500":               {on(del, 1, dynamotest.Fail())},
		"delete, 500 after":         {on(del, 1, dynamotest.FailAfter())},
		"delete, throttled":         {on(del, 1, dynamotest.Throttle())},
		"delete, late, after a new": {on(del, 1, dynamotest.Late(1))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.table.Add(rules...)
				c := w.dual()
				req := leased(minute)
				req.Wait = minute
				tenure, err := c.Acquire(t.Context(), ref, req)
				wantOurs(t, w.objects, tenure, err)
				if got, want := w.item(), string(tenure.Held().Info.Marshal()); got != want {
					t.Errorf("the item is %q, want %q", got, want)
				}
				wantReleased(t, w, tenure)
				w.table.Deliver()
				if got := w.item(); got != "" {
					t.Errorf("a late request made %s", got)
				}
			})
		})
	}
}

// A put whose outcome stays unknown is looked for, while the lock object is still ours, and else reported.
func TestManager_Acquire_Dual_UnknownItemIsTakenBackOrReported(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault    dynamotest.Fault
		reported bool
	}{
		"it landed":        {dynamotest.LoseReply(), false},
		"it may yet land":  {dynamotest.Late(dynamotest.Held), true},
		"it lands shortly": {dynamotest.Late(3), false},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			ctx, cancel := context.WithCancel(t.Context())
			w.table.Add(
				dynamotest.Rule{Op: dynamotest.OpPutItem, Nth: 1, Fault: tc.fault},
				dynamotest.Rule{Op: dynamotest.OpGetItem, Fault: dynamotest.LoseReply(), Match: func(dynamotest.Request) bool { cancel(); return true }},
			)
			req := leased(minute)
			req.ID = "my-id"
			_, err := w.dual().Acquire(ctx, ref, req)
			if !errors.Is(err, context.Canceled) || errors.Is(err, statelatch.ErrAmbiguous) != tc.reported {
				t.Errorf("%s: got %v, want the context's error, and that more may come: %v", name, err, tc.reported)
			}
			if tc.reported && (!strings.Contains(err.Error(), "my-id") || !strings.Contains(err.Error(), `"locks"`)) {
				t.Errorf("%s: %v does not name the ID and the table", name, err)
			}
			if stored(t, w.objects) != nil || w.item() != "" {
				t.Errorf("%s: left %q and %q", name, stored(t, w.objects), w.item())
			}
		})
	}
}

// The lock object cannot be taken back either: that ends the wait, which would be for ourselves.
func TestManager_Acquire_Dual_DoesNotWaitForItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setItem(string(engineLock))
		c := w.dual(faultbucket.Rule{Op: faultbucket.OpDelete, Fault: faultbucket.LoseRequest()})
		req := leased(minute)
		req.Wait = time.Hour
		_, err := c.Acquire(t.Context(), ref, req)
		if !errors.Is(err, statelatch.ErrAmbiguous) || !strings.Contains(err.Error(), "release") || time.Since(w.start) > minute {
			t.Errorf("got %v after %v, want the failed release", err, time.Since(w.start))
		}
	})
}

// An item of ours that lands only in a later round is known as ours (B1, in the table).
func TestManager_Acquire_Dual_B1_OwnLateItem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setItem(string(engineLock))
		w.table.Add(dynamotest.Rule{Op: dynamotest.OpPutItem, Nth: 1, Fault: dynamotest.Late(dynamotest.Held)})
		time.AfterFunc(20*time.Second, func() { free(w); w.table.Deliver() })
		req := leased(minute)
		req.Wait = minute
		tenure, err := w.dual().Acquire(t.Context(), ref, req)
		wantOurs(t, w.objects, tenure, err)
		wantReleased(t, w, tenure)
	})
}

// The same, but the network sent the item twice, and the second copy comes when the first was removed again, because
// the lease was over before it was there.
func TestManager_Acquire_Dual_B1_SecondCopyOfOwnItem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.table.Add(dynamotest.Rule{Op: dynamotest.OpPutItem, Nth: 1, Fault: dynamotest.Delay(20 * time.Second)})
		created := func(r faultbucket.Request) bool { return r.If.Absent() }
		var first []byte
		c := w.dual(
			faultbucket.Rule{Op: faultbucket.OpPut, Match: created, Nth: 1, Fault: faultbucket.DelayReplyWith(func(context.Context) error {
				info, err := statelatch.ParseLockInfo(stored(t, w.objects))
				first = info.Marshal()
				return err
			})},
			faultbucket.Rule{Op: faultbucket.OpPut, Match: created, Nth: 2, Fault: faultbucket.DelayReplyWith(func(context.Context) error {
				w.setItem(string(first))
				return nil
			})},
		)
		renewals := faultbucket.Rule{Op: faultbucket.OpPut, Match: func(r faultbucket.Request) bool { return r.If.ETag() != "" }, Limit: 20, Fault: faultbucket.LoseRequest()}
		c.store.Add(renewals)
		req := leased(4 * time.Second)
		req.Wait = 2 * minute
		tenure, err := c.Acquire(t.Context(), ref, req)
		wantOurs(t, w.objects, tenure, err)
		wantReleased(t, w, tenure)
	})
}

// A takeover replaces the dead holder's item, and only that.
func TestManager_TakeOver_Dual(t *testing.T) {
	t.Parallel()
	on := func(op string, f dynamotest.Fault) dynamotest.Rule { return dynamotest.Rule{Op: op, Nth: 1, Fault: f} }
	for name, rules := range map[string][]dynamotest.Rule{
		"undisturbed":              nil,
		"replace, reply lost":      {{Op: dynamotest.OpPutItem, Nth: 2, Fault: dynamotest.LoseReply()}},
		"replace, request lost":    {{Op: dynamotest.OpPutItem, Nth: 2, Fault: dynamotest.LoseRequest()}},
		"replace, late":            {{Op: dynamotest.OpPutItem, Nth: 2, Fault: dynamotest.Late(1)}},
		"put, reply lost":          {on(dynamotest.OpPutItem, dynamotest.LoseReply())},
		"put, throttled":           {on(dynamotest.OpPutItem, dynamotest.Throttle())},
		"read lost":                {on(dynamotest.OpGetItem, dynamotest.LoseReply())},
		"replaced under our hands": {{Op: dynamotest.OpPutItem, Nth: 2, Fault: dynamotest.Answer(400, "ConditionalCheckFailedException")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				was := w.dual().dead(t, leased(minute))
				w.table.Add(rules...)
				c := w.dual()
				tenure, err := c.Acquire(t.Context(), ref, taking(minute, 0))
				wantOurs(t, w.objects, tenure, err)
				if got, want := w.item(), string(tenure.Held().Info.Marshal()); got != want || strings.Contains(got, was.Info.ID) {
					t.Errorf("the item is %s, want %s", got, want)
				}
				if n := c.store.Count(faultbucket.OpDelete, ""); n != 0 || w.table.Count(dynamotest.OpDeleteItem, "") != 0 || c.fence.count() != 1 {
					t.Errorf("%d fences, %d objects were deleted; want one fence, and lock object and item to change hands", c.fence.count(), n)
				}
				wantReleased(t, w, tenure)
				w.table.Deliver()
				if w.item() != "" {
					t.Errorf("a late request made %s", w.item())
				}
			})
		})
	}
}

// The lock object was a dead holder's, the item is somebody else's: that one is alive for all we know.
func TestManager_TakeOver_Dual_ItemOfSomebodyElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.dual().dead(t, leased(minute))
		w.setItem(string(engineLock))
		c := w.dual()
		_, err := c.Acquire(t.Context(), ref, taking(minute, 0))
		var locked *statelatch.LockedError
		if !errors.As(err, &locked) || locked.Holder.ID != engineID || w.item() != string(engineLock) {
			t.Errorf("got %v, the item is %s; want the engine's left alone", err, w.item())
		}
		if got := stored(t, w.objects); got != nil || c.fence.count() != 1 {
			t.Errorf("left %q, %d fences; want the dead lock object fenced and removed", got, c.fence.count())
		}
	})
}

// The dead holder's item cannot be replaced now. The lock object stays, so that somebody can later.
func TestManager_TakeOver_Dual_TableFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		was := w.dual().dead(t, leased(minute))
		w.table.Add(dynamotest.Rule{Fault: dynamotest.Fail()})
		_, err := w.dual().Acquire(t.Context(), ref, taking(minute, 0))
		if err == nil || !strings.Contains(err.Error(), "left") || stored(t, w.objects) == nil || !strings.Contains(w.item(), was.Info.ID) {
			t.Errorf("got %v, left %q and %q; want our lock object left to its lease", err, stored(t, w.objects), w.item())
		}
		w.table.Heal()
		tenure, err := w.dual().Acquire(t.Context(), ref, taking(minute, 0))
		wantOurs(t, w.objects, tenure, err)
		wantReleased(t, w, tenure)
	})
}

// Fencing without the table that the holder used would leave a digest behind that is wrong.
func TestManager_TakeOver_Dual_OtherTable(t *testing.T) {
	t.Parallel()
	for name, table := range map[string]lock.Table{"none": nil, "another": dynamotest.NewTable("other")} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			was := w.dual().dead(t, leased(minute))
			c := w.client()
			c.Table = table
			_, err1 := c.Acquire(t.Context(), ref, taking(minute, 0))
			_, err2 := c.ForceRelease(t.Context(), was, request())
			_, err3 := c.Release(t.Context(), was)
			for _, err := range []error{err1, err2, err3} {
				if !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), `"locks"`) {
					t.Errorf("%s: got %v, want ErrInvalid that names the table", name, err)
				}
			}
			if !bytes.Equal(stored(t, w.objects), body(was)) || w.item() == "" || c.fence.count() != 0 {
				t.Errorf("%s: something was done", name)
			}
		})
	}
}

// B20: lock object or item is missing, or somebody else's. Release does what it can, and says what it could not.
func TestTenure_Release_B20_HalfLocks(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		before func(*testing.T, *world, *client)
		want   error // nil: no error
		says   string
		object bool // that a lock object is left
		item   bool
	}{
		"item gone": {
			before: func(t *testing.T, w *world, _ *client) { t.Helper(); free(w) },
			want:   statelatch.ErrLockLost, says: "the lock object is released; the item in the DynamoDB table",
		},
		"item of somebody else": {
			before: func(t *testing.T, w *world, _ *client) { t.Helper(); w.setItem(string(engineLock)) },
			want:   statelatch.ErrLockLost, says: "the lock object is released; the item", item: true,
		},
		"object of somebody else": {
			before: func(t *testing.T, w *world, _ *client) { t.Helper(); put(t, w.objects, engineLock) },
			want:   statelatch.ErrLockLost, object: true,
		},
		"both of somebody else": {
			before: func(t *testing.T, w *world, _ *client) {
				t.Helper()
				put(t, w.objects, engineLock)
				w.setItem(string(engineLock))
			},
			want: statelatch.ErrLockLost, says: "neither is released", object: true, item: true,
		},
		"table denied": {
			before: func(t *testing.T, w *world, _ *client) {
				t.Helper()
				w.table.Add(dynamotest.Rule{Op: dynamotest.OpDeleteItem, Fault: dynamotest.Answer(400, "AccessDeniedException")})
			},
			want: statelatch.ErrDenied, says: "the lock object is released; the item", item: true,
		},
		"object denied": {
			before: func(t *testing.T, _ *world, c *client) {
				t.Helper()
				c.store.Add(faultbucket.Rule{Op: faultbucket.OpDelete, Fault: faultbucket.Answer(403)})
			},
			want: statelatch.ErrDenied, object: true, item: true,
		},
		"table out of reach": {
			before: func(t *testing.T, w *world, _ *client) {
				t.Helper()
				w.table.Add(dynamotest.Rule{Op: dynamotest.OpDeleteItem, Fault: dynamotest.LoseRequest()})
			},
			want: statelatch.ErrAmbiguous, says: "the lock object is released; the item", item: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.dual()
				tenure := c.mustAcquire(t, leased(10*time.Second))
				tc.before(t, w, c)
				_, err := tenure.Release(t.Context())
				if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("got %v, want %v and %q", err, tc.want, tc.says)
				}
				if (stored(t, w.objects) != nil) != tc.object || (w.item() != "") != tc.item {
					t.Errorf("left %q and %q", stored(t, w.objects), w.item())
				}
			})
		})
	}
}

// B20: what a crash of an engine leaves of a lock can be seen, named and removed.
func TestManager_ForceUnlock_B20_HalfLocks(t *testing.T) {
	t.Parallel()
	other := strings.ReplaceAll(string(engineLock), engineID, "other")
	for name, tc := range map[string]struct {
		object, item string
		id           string
		leftObject   bool
		leftItem     bool
	}{
		"both":                         {object: string(engineLock), item: string(engineLock), id: engineID},
		"only the object":              {object: string(engineLock), id: engineID},
		"only the item":                {item: string(engineLock), id: engineID},
		"object, item is another's":    {object: string(engineLock), item: other, id: engineID, leftItem: true},
		"item, object is another's":    {object: string(engineLock), item: other, id: "other", leftObject: true},
		"an item that cannot be read":  {item: "oops", id: "oops"},
		"object, item cannot be read":  {object: string(engineLock), item: "oops", id: engineID, leftItem: true},
		"item, object cannot be read":  {object: "oops", item: other, id: "other", leftObject: true},
		"object cannot be read, by it": {object: "oops", item: other, leftItem: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			if tc.object != "" {
				put(t, w.objects, []byte(tc.object))
			}
			if tc.item != "" {
				w.setItem(tc.item)
			}
			c := w.dual()
			h, err := c.Status(t.Context(), ref)
			if err != nil || (h.ETag != "") != (tc.object != "") || (h.Item != nil) != (tc.item != "") {
				t.Fatalf("%s: Status: %+v, %v", name, h, err)
			}
			if tc.id == "" {
				tc.id = h.ETag
			}
			var locked *statelatch.LockedError
			if _, _, err := c.ForceUnlock(t.Context(), ref, "wrong", request()); !errors.As(err, &locked) {
				t.Errorf("%s: with a wrong ID: %v", name, err)
			}
			if _, _, err := c.ForceUnlock(t.Context(), ref, tc.id, request()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if (stored(t, w.objects) != nil) != tc.leftObject || (w.item() != "") != tc.leftItem {
				t.Errorf("%s: left %q and %q", name, stored(t, w.objects), w.item())
			}
		})
	}
}

// The item of a lock with a lease goes with it; its holder is fenced out first. One that is gone already is no failure.
func TestManager_ForceRelease_Dual(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(*world){
		"both":      func(*world) {},
		"item gone": free,
	} {
		for _, req := range []lock.Request{leased(minute), request()} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				was := w.dual().dead(t, req)
				c := w.dual()
				h, err := c.Status(t.Context(), ref)
				if err != nil {
					t.Fatal(err)
				}
				before(w)
				if _, err := c.ForceRelease(t.Context(), h, request()); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if stored(t, w.objects) != nil || w.item() != "" || c.fence.count() == 1 != was.Leased() {
					t.Errorf("%s: left %q and %q after %d fences", name, stored(t, w.objects), w.item(), c.fence.count())
				}
			})
		}
	}
}
