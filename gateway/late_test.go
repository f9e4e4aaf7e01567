package gateway_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// A request that was signed in an earlier tenure of the same process, and comes when it has the lock anew, changes
// nothing.
func TestGateway_LateOfAnEarlierTenure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.gateway()
	c := pipeline("s1")
	c.Signed = time.Now().Add(-time.Minute)
	n.lock(t, c, "one")
	n.mustWrite(t, c, body(1, "a"))
	n.unlock(t, c)
	late := c
	c.Signed = time.Now().Add(-30 * time.Second)
	n.lock(t, c, "two")
	n.unlock(t, late)
	w.wantLock("two")
	wantRefused(t, n.write(t, late, body(2, "a late")), "from before this process took the lock")
	w.wantState(body(1, "a"))
	n.mustWrite(t, c, body(2, "a b"))
	n.unlock(t, c)
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
