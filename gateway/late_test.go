package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/gateway"
)

// A request that was signed in an earlier tenure of the same process, and comes when it has the lock anew, changes
// nothing.
func TestGateway_LateOfAnEarlierTenure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.gateway()
	at := func(ago time.Duration) gateway.Caller {
		c := pipeline("s1")
		c.Signed = time.Now().Add(-ago)
		return c
	}
	n.lock(t, at(time.Minute), "one")
	n.mustWrite(t, at(0), body(1, "a"))
	n.unlock(t, at(30*time.Second))
	n.lock(t, at(20*time.Second), "two")
	late := at(40 * time.Second)
	if err := n.Unlock(t.Context(), late, key); !errors.Is(err, statelatch.ErrConflict) {
		t.Errorf("a late release: %v, want ErrConflict", err)
	}
	w.wantLock("two")
	if err := n.write(t, late, body(2, "a late")); !errors.Is(err, statelatch.ErrConflict) {
		t.Errorf("a late write: %v, want ErrConflict", err)
	}
	w.wantState(body(1, "a"))
	n.mustWrite(t, at(0), body(2, "a b"))
	n.unlock(t, at(0))
	w.wantLock("")
}

// Whatever a client says of itself, its lock and what it stores say who it was.
func TestGateway_NamesThePrincipal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, c := w.gateway(), pipeline("s1")
	claims := info("one")
	claims.Who = "root@elsewhere"
	if _, err := n.Lock(t.Context(), c, key, claims); err != nil {
		t.Fatal(err)
	}
	_, content, err := bucket.ReadAll(t.Context(), w.store, ref.LockKey(), statelatch.MaxLockInfo)
	if err != nil {
		t.Fatal(err)
	}
	if m := statelatch.ParseManaged(content); m == nil || m.Through == nil || m.Through.Principal != c.Principal.Name {
		t.Errorf("got the lock %s, want %s in it", content, c.Principal.Name)
	}
	n.mustWrite(t, c, body(1, "a"))
	stored, err := w.store.Head(t.Context(), key, bucket.ReadOptions{})
	if err != nil || stored.Metadata["statelatch-principal"] != c.Principal.Name {
		t.Errorf("got %v, %v, want %s", stored.Metadata, err, c.Principal.Name)
	}
}

// A gateway that recognises a lock of another marks it before it says so: the other may find that its client has gone,
// and take back what it created.
func TestGateway_RecognisedIsMarked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c := w.gateway(), w.gateway(), pipeline("s1")
	a.lock(t, c, "one")
	created, err := w.store.Head(t.Context(), ref.LockKey(), bucket.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b.lock(t, c, "one")
	_, err = w.store.Delete(t.Context(), ref.LockKey(), bucket.DeleteOptions{If: bucket.IfMatch(created.ETag)})
	if !errors.Is(err, statelatch.ErrPreconditionFailed) {
		t.Errorf("what the first takes back: %v, want ErrPreconditionFailed", err)
	}
	w.wantLock("one")
}

// A gateway that has forgotten a process fences when the process releases a lock that names the gateway itself.
func TestGateway_ForgottenIsInDoubt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, c := w.gateway(), pipeline("s1")
	n.lock(t, c, "one")
	n.mustWrite(t, c, body(1, "a"))
	for i := range 10_001 { // as many as are remembered
		if _, err := n.ReadLock(t.Context(), pipeline(fmt.Sprint("other", i)), "none"); !errors.Is(err, statelatch.ErrNotLocked) {
			t.Fatal(err)
		}
	}
	before, err := w.store.Head(t.Context(), key, bucket.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n.unlock(t, c)
	after, err := w.store.Head(t.Context(), key, bucket.ReadOptions{})
	if err != nil || after.ETag == before.ETag {
		t.Errorf("got ETag %s, %v: it was not fenced", after.ETag, err)
	}
	w.wantLock("")
}

// A lock that was taken back for a client that had gone, without an answer, is marked when it is recognised: the delete
// may land yet.
func TestGateway_RecognisedAfterItWasTakenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n, c := w.gateway(), pipeline("s1")
		ctx, cancel := context.WithCancel(t.Context())
		gone := faultbucket.DelayReplyWith(func(context.Context) error { cancel(); return nil })
		n.bucket.Add(
			faultbucket.Rule{Op: faultbucket.OpPut, Nth: 1, Fault: gone},
			faultbucket.Rule{Op: faultbucket.OpDelete, Fault: faultbucket.Late(faultbucket.Held)})
		if _, err := n.Lock(ctx, c, key, info("one")); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want what its client's end is", err)
		}
		c.Attempt = 2
		n.lock(t, c, "one")
		n.bucket.Heal()
		if n.bucket.Deliver() == 0 {
			t.Error("no delete was on its way")
		}
		w.wantLock("one")
		n.mustWrite(t, c, body(1, "a"))
		n.unlock(t, c)
		w.wantLock("")
	})
}

// With a static key the engine that was refused and the force-unlock right after it are two processes: the second ends
// the lock that it was shown.
func TestGateway_ForceUnlock_RightAfterARefusal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.gateway()
	at := func(conn uint64) gateway.Caller {
		c := person("op", conn)
		c.Signed = time.Now()
		return c
	}
	n.lock(t, at(1), "earlier")
	n.unlock(t, at(1))
	n.lock(t, pipeline("s1"), "one")
	if _, err := n.Lock(t.Context(), at(2), key, info("two")); !errors.Is(err, statelatch.ErrLocked) {
		t.Fatal(err)
	}
	for _, conn := range []uint64{2, 3} { // who was refused, and force-unlock
		if _, err := n.ReadLock(t.Context(), at(conn), key); err != nil {
			t.Fatal(err)
		}
	}
	n.unlock(t, at(3))
	w.wantLock("")
}

// Two tenures within one second are two: another call of the SDK is no copy of the first.
func TestGateway_TwiceInASecond(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, second := w.gateway(), time.Now().Truncate(time.Second)
	for i := range 4 {
		c := pipeline("s1")
		c.Signed = second
		for _, do := range []func(gateway.Caller) error{
			func(c gateway.Caller) error {
				_, err := n.Lock(t.Context(), c, key, info(fmt.Sprint("id", i)))
				return err
			},
			func(c gateway.Caller) error { return n.Unlock(t.Context(), c, key) },
		} {
			c.Call += "x"
			c.Call = fmt.Sprint(i, c.Call)
			if err := do(c); err != nil {
				t.Fatalf("tenure %d: %v", i, err)
			}
		}
		if err := n.Unlock(t.Context(), c, key); err != nil { // the same again
			t.Errorf("again: %v", err)
		}
	}
	w.wantLock("")
}
