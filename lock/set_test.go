package lock_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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

func refOf(name string) statelatch.Ref {
	return statelatch.Ref{Bucket: "b", Key: name + "/terraform.tfstate"}
}

// targets are refs of one client.
func (c *client) targets(names ...string) []lock.Target {
	var all []lock.Target
	for _, name := range names {
		all = append(all, lock.Target{Manager: c.Manager, Ref: refOf(name)})
	}
	return all
}

// left is which lock objects there are.
func (w *world) left() []string {
	var keys []string
	for obj, err := range w.objects.List(context.Background(), bucket.ListOptions{}) {
		if err != nil {
			w.t.Error(err)
		}
		keys = append(keys, strings.TrimSuffix(obj.Key, "/terraform.tfstate.tflock"))
	}
	return keys
}

func TestAcquireAll_SortedOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.client()
		set, err := lock.AcquireAll(t.Context(), c.targets("b", "a", "c"), leased(minute))
		if err != nil {
			t.Fatal(err)
		}
		ids := map[string]bool{}
		var order []string
		for _, tenure := range set {
			ids[tenure.Held().Info.ID] = true
			order = append(order, tenure.Ref().Key)
		}
		if want := []string{refOf("a").Key, refOf("b").Key, refOf("c").Key}; !slices.Equal(order, want) || len(ids) != 3 {
			t.Errorf("got %q with %d IDs, want %q", order, len(ids), want)
		}
		wantOps(t, "three locks", c.store.Requests(), "put if absent", "put if absent", "put if absent")
		if weak, err := set.Release(t.Context()); weak || err != nil {
			t.Errorf("Release: %v, %v", weak, err)
		}
		requests := c.store.Requests()[3:]
		if len(requests) != 3 || requests[0].Key != refOf("c").LockKey() || requests[2].Key != refOf("a").LockKey() {
			t.Errorf("released by %+v, want the last acquired first", requests)
		}
	})
}

func TestAcquireAll_Refuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.client()
	withID := request()
	withID.ID = "one"
	for name, tc := range map[string]struct {
		targets []lock.Target
		req     lock.Request
	}{
		"one twice":          {c.targets("a", "b", "a"), request()},
		"one ID for two":     {c.targets("a", "b"), withID},
		"nothing":            {nil, request()},
		"a ref that is none": {append(c.targets("a"), lock.Target{Manager: c.Manager, Ref: statelatch.Ref{Bucket: "b", Key: "../x"}}), request()},
	} {
		if set, err := lock.AcquireAll(t.Context(), tc.targets, tc.req); !errors.Is(err, statelatch.ErrInvalid) || set != nil {
			t.Errorf("%s: got %v, %v, want ErrInvalid", name, set, err)
		}
		if left := w.left(); left != nil {
			t.Errorf("%s: left %q", name, left)
		}
	}
	set, err := lock.AcquireAll(t.Context(), c.targets("a"), withID)
	if err != nil || set[0].Held().Info.ID != "one" {
		t.Errorf("one lock with an ID: %v", err)
	}
}

// All or nothing, and nothing is held during the wait.
func TestAcquireAll_HoldsNothingWhileItWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		alive, err := w.client().Acquire(t.Context(), refOf("b"), leased(minute))
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(10*minute, func() {
			if _, err := alive.Release(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
		c := w.client()
		req := leased(minute)
		_, err = lock.AcquireAll(t.Context(), c.targets("a", "b", "c"), req)
		if !errors.Is(err, statelatch.ErrLocked) || !slices.Equal(w.left(), []string{"b"}) {
			t.Errorf("without time to wait: %v, left %q", err, w.left())
		}
		// Even a takeover, which takes time, is prepared without holding anything.
		req.Wait, req.TakeOver = time.Hour, true
		asked := 0
		req.OnWait = func(now lock.Waiting) {
			asked++
			if left := w.left(); !slices.Equal(left, []string{"b"}) || now.Held.Ref != refOf("b") {
				t.Errorf("while it waits for %v there are %q", now.Held.Ref, left)
			}
		}
		set, err := lock.AcquireAll(t.Context(), c.targets("c", "b", "a"), req)
		if err != nil || len(set) != 3 || asked == 0 {
			t.Fatalf("got %d locks, %v after %d looks", len(set), err, asked)
		}
		if d := time.Since(w.start); d > 10*minute+3*time.Second {
			t.Errorf("it took %v", d)
		}
		if _, err := set.Release(t.Context()); err != nil || w.left() != nil {
			t.Errorf("Release: %v, left %q", err, w.left())
		}
	})
}

// Dead holders are taken over one after the other, also without time to wait for live ones.
func TestAcquireAll_TakesOver(t *testing.T) {
	t.Parallel()
	for _, wait := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			dead, err := lock.AcquireAll(t.Context(), w.client().targets("a", "c"), leased(minute))
			if err != nil {
				t.Fatal(err)
			}
			for _, tenure := range dead {
				tenure.Abandon()
			}
			c := w.client()
			req, told := taking(minute, wait), map[string]string{}
			req.OnTakeOver = func(was lock.Held, by string) { told[was.Info.ID] = by }
			set, err := lock.AcquireAll(t.Context(), c.targets("a", "b", "c"), req)
			if err != nil || c.fence.count() != 2 {
				t.Fatalf("wait %v: %v, %d fences", wait, err, c.fence.count())
			}
			if len(told) != 2 || told[dead[0].Held().Info.ID] == "" || told[dead[1].Held().Info.ID] == "" {
				t.Errorf("wait %v: OnTakeOver was told %v, want the two dead locks", wait, told)
			}
			if _, err := set.Release(t.Context()); err != nil || w.left() != nil {
				t.Errorf("Release: %v, left %q", err, w.left())
			}
		})
	}
}

// However the sets overlap and in whatever order they are named: nobody waits for ever, and each lock is held once.
func TestAcquireAll_NoDeadlock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		names := []string{"a", "b", "c", "d"}
		var inside [4]sync.Mutex
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(i)))
				order := random.Perm(len(names))[:2+i%3]
				var mine []string
				for _, n := range order {
					mine = append(mine, names[n])
				}
				req := leased(minute)
				req.Wait = 10 * time.Hour
				set, err := lock.AcquireAll(t.Context(), w.client().targets(mine...), req)
				if err != nil {
					t.Errorf("%q: %v", mine, err)
					return
				}
				for _, n := range order {
					if !inside[n].TryLock() {
						t.Errorf("two holders of %s", names[n])
					}
				}
				time.Sleep(time.Duration(1+random.IntN(20)) * time.Second)
				for _, n := range order {
					inside[n].Unlock()
				}
				if _, err := set.Release(t.Context()); err != nil {
					t.Errorf("Release: %v", err)
				}
			})
		}
		all.Wait()
		if left := w.left(); left != nil {
			t.Errorf("left %q", left)
		}
		if d := time.Since(w.start); d > time.Hour {
			t.Errorf("it took %v", d)
		}
	})
}

func TestSet_Release_ReportsEveryFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.client()
		set, err := lock.AcquireAll(t.Context(), c.targets("a", "b", "c"), request())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "c"} {
			c.store.Add(faultbucket.Rule{Op: faultbucket.OpDelete, Key: refOf(name).LockKey(), Fault: faultbucket.Answer(403)})
		}
		_, err = set.Release(t.Context())
		for _, name := range []string{"a", "c"} {
			if !errors.Is(err, statelatch.ErrDenied) || !strings.Contains(fmt.Sprint(err), refOf(name).Key) {
				t.Errorf("%v does not tell about %s", err, name)
			}
		}
		if left := w.left(); !slices.Equal(left, []string{"a", "c"}) {
			t.Errorf("left %q, want b released all the same", left)
		}
	})
}

// One of several cannot be had: what was taken before is released, and if that fails both are told.
func TestAcquireAll_RollsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.client(faultbucket.Rule{Op: faultbucket.OpPut, Key: refOf("b").LockKey(), Fault: faultbucket.Answer(403)})
		if _, err := lock.AcquireAll(t.Context(), c.targets("a", "b"), leased(minute)); !errors.Is(err, statelatch.ErrDenied) || w.left() != nil {
			t.Errorf("got %v, left %q", err, w.left())
		}
		c.store.Add(faultbucket.Rule{Op: faultbucket.OpDelete, Fault: faultbucket.LoseRequest()})
		_, err := lock.AcquireAll(t.Context(), c.targets("a", "b"), leased(minute))
		if !errors.Is(err, statelatch.ErrDenied) || !errors.Is(err, statelatch.ErrAmbiguous) {
			t.Errorf("got %v, want both failures", err)
		}
	})
}
