package gateway_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/gateway"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/state"
)

// Requests that come late, twice, or to the other gateway. What they do was found by internal/simulation.

// signed is c with a request that was signed so long ago.
func signed(c gateway.Caller, ago time.Duration) gateway.Caller {
	c.Signed = time.Now().Add(-ago).Truncate(time.Second)
	return c
}

// A lock that was released is not taken again by a request that came late.
func TestGateway_LateLockRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, c := w.gateway(), pipeline("s1")
	for _, id := range []string{"one", "two"} {
		n.lock(t, c, id)
		n.unlock(t, c)
	}
	for _, id := range []string{"one", "two"} {
		_, err := n.Lock(t.Context(), c, key, info(id))
		wantRefused(t, err, "has released it")
	}
	w.wantLock("")
}

// An engine that has to wait for an item in a table releases the lock object, and asks for it again by the same ID. A
// copy of its first request, which comes late, takes nothing.
func TestGateway_SameLockAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, now := w.gateway(), time.Now()
	at := func(second int) gateway.Caller {
		c := pipeline("s1")
		c.Signed = now.Add(time.Duration(second) * time.Second)
		return c
	}
	for second := 0; second < 9; second += 3 {
		n.lock(t, at(second), "one")
		n.unlock(t, at(second+1))
		for _, late := range []int{second, second + 1} {
			if _, err := n.Lock(t.Context(), at(late), key, info("one")); !errors.Is(err, statelatch.ErrConflict) {
				t.Errorf("late: %v, want ErrConflict", err)
			}
		}
		w.wantLock("")
	}
	n.lock(t, at(9), "one")
	if _, err := w.gateway().Lock(t.Context(), pipeline("s2"), key, info("two")); !errors.Is(err, statelatch.ErrLocked) {
		t.Errorf("beside it: %v, want ErrLocked", err)
	}
	if _, err := n.Lock(t.Context(), pipeline("s2"), key, info("two")); !errors.Is(err, statelatch.ErrLocked) {
		t.Errorf("beside it, at the same gateway: %v, want ErrLocked", err)
	}
	w.wantLock("one")
}

// A late copy of a creation brings back a lock that was released. Whoever asks the gateway that released it gets the
// lock.
func TestGateway_ReleasedLockComesBack(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		w := newWorld(t)
		n, c := w.gateway(), pipeline("s1")
		n.lock(t, c, "one")
		copied := w.stored(ref.LockKey())
		if again { // the release is answered at the second try
			n.bucket.Add(faultbucket.Rule{Op: faultbucket.OpDelete, Nth: 1, Fault: faultbucket.LoseReply()})
			w.free()
			c.Attempt = 2
		}
		n.unlock(t, c)
		if _, err := w.store.Put(t.Context(), ref.LockKey(), strings.NewReader(copied), bucket.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		n.lock(t, pipeline("s2"), "two")
		w.wantLock("two")
	}
}

// A request for the lock that comes after a later one was refused, or comes twice, is refused like that one: its client
// waits, or has gone.
func TestGateway_LockRequestAfterItsRefusal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.gateway()
	n.lock(t, pipeline("s1"), "one")
	c := signed(pipeline("s2"), 0)
	c.Attempt, c.Engine = 2, true
	if _, err := n.Lock(t.Context(), c, key, info("two")); !errors.Is(err, statelatch.ErrLocked) {
		t.Fatal(err)
	}
	n.unlock(t, pipeline("s1"))
	first, twice := c, c
	first.Attempt = 1
	for _, late := range []gateway.Caller{first, twice, signed(pipeline("s2"), time.Minute)} {
		if _, err := n.Lock(t.Context(), late, key, info("two")); !errors.Is(err, statelatch.ErrLocked) {
			t.Errorf("attempt %d: got %v, want the refusal again", late.Attempt, err)
		}
	}
	w.wantLock("")
	if _, err := n.ReadLock(t.Context(), c, key); err != nil {
		t.Fatal(err)
	}
	n.lock(t, c, "two")
}

// A lock that a late copy took for a client which was refused is not shown to it as a holder that keeps it out.
func TestGateway_OwnLockIsNoHolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, c := w.gateway(), pipeline("s2")
	n.lock(t, pipeline("s1"), "one")
	if _, err := n.Lock(t.Context(), c, key, info("two")); !errors.Is(err, statelatch.ErrLocked) {
		t.Fatal(err)
	}
	n.unlock(t, pipeline("s1"))
	w.gateway().lock(t, c, "two")
	for range 2 {
		if seen, err := n.ReadLock(t.Context(), c, key); err != nil || !strings.Contains(string(seen.Body), `"ID":"one"`) {
			t.Errorf("got %s, %v, want the holder that it was refused for", seen.Body, err)
		}
	}
	n.lock(t, c, "two")
	if seen, err := n.ReadLock(t.Context(), c, key); err != nil || !strings.Contains(string(seen.Body), `"ID":"two"`) {
		t.Errorf("got %s, %v, want its own lock", seen.Body, err)
	}
}

// A request of an earlier tenure neither releases the lock nor writes, and its client is told to send it again.
func TestGateway_LateRequestsOfAnEarlierTenure(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"same gateway", "another gateway"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n := w.gateway()
			second := n
			if where != "same gateway" {
				second = w.gateway()
			}
			c := pipeline("s1")
			n.lock(t, signed(c, 20*time.Second), "one")
			late := signed(c, 10*time.Second)
			n.mustWrite(t, late, body(1, "a"))
			again := late
			again.Attempt = 2
			n.unlock(t, again)
			second.lock(t, signed(c, 9*time.Second), "two")
			if err := second.Unlock(t.Context(), late, key); !errors.Is(err, statelatch.ErrConflict) {
				t.Errorf("a late release: got %v, want ErrConflict", err)
			}
			w.wantLock("two")
			if err := second.write(t, late, body(2, "late")); !errors.Is(err, statelatch.ErrConflict) {
				t.Errorf("a late write: got %v, want ErrConflict", err)
			}
			w.wantState(body(1, "a"))
			second.mustWrite(t, signed(c, 0), body(2, "a b"))
			second.unlock(t, signed(c, 0))
			w.wantLock("")
		})
	}
}

// The try of a release that comes after a later one was executed does not release the next lock of the process, however
// soon that was taken.
func TestGateway_ReleaseComesTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, c := w.gateway(), signed(pipeline("s1"), 0)
	n.lock(t, c, "one")
	again := c
	again.Attempt = 2
	n.unlock(t, again)
	n.lock(t, c, "two")
	if err := n.Unlock(t.Context(), c, key); !errors.Is(err, statelatch.ErrConflict) {
		t.Errorf("got %v, want ErrConflict", err)
	}
	w.wantLock("two")
}

// A release that another gateway has executed is done, also for a gateway that remembers the lock.
func TestGateway_ReleasedElsewhere(t *testing.T) {
	t.Parallel()
	for _, next := range []bool{false, true} {
		w := newWorld(t)
		a, b, c := w.gateway(), w.gateway(), pipeline("s1")
		a.lock(t, c, "one")
		c.Attempt = 2
		b.unlock(t, c)
		if next {
			b.lock(t, pipeline("s2"), "two")
		}
		c.Attempt = 3
		a.unlock(t, c)
	}
}

// A lock that another gateway has written to meanwhile is released, also if a delete had no answer.
func TestGateway_ReleaseOfAMarkedLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c := w.gateway(), w.gateway(), pipeline("s1")
	a.lock(t, c, "one")
	b.mustWrite(t, c, body(1, "a"))
	a.bucket.Add(faultbucket.Rule{Op: faultbucket.OpDelete, Nth: 1, Fault: faultbucket.LoseRequest()})
	a.unlock(t, c)
	w.wantLock("")
}

// What a gateway finds locked by the process already, it marks: the gateway that took the lock may be about to remove
// it. And it removes nothing that it has not taken itself, when the client has gone.
func TestGateway_FoundLockIsMarkedAndStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, c := w.gateway(), pipeline("s1")
	a.lock(t, c, "one")
	before := w.stored(ref.LockKey())
	ctx, cancel := context.WithCancel(t.Context())
	b := &cancelling{Bucket: w.store, cancel: cancel}
	states := &state.Store{Bucket: b}
	second, err := gateway.New(gateway.Config{
		Locks:  &lock.Manager{Bucket: b, Tier: lock.TierFull, Fence: states.Touch},
		States: states, Rules: w.rules,
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = second.Lock(ctx, c, key, info("one")) // its client has gone
	w.wantLock("one")
	if w.stored(ref.LockKey()) == before {
		t.Error("the lock was not marked")
	}
	a.mustWrite(t, c, body(1, "a"))
}

// cancelling ends a context when a swap is done.
type cancelling struct {
	bucket.Bucket
	cancel func()
}

func (b *cancelling) Put(
	ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions,
) (bucket.Object, error) {
	obj, err := b.Bucket.Put(ctx, key, body, opts)
	if err == nil && !opts.If.Absent() {
		b.cancel()
	}
	return obj, err
}

// What a HEAD has read is served to the ranges that follow it, not to those of a later reading, whose HEAD went to
// another gateway.
func TestGateway_RangesFollowTheirHEAD(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c := w.gateway(), w.gateway(), pipeline("s1")
	c.Engine = true
	b.lock(t, c, "one")
	b.mustWrite(t, c, body(1, "a"))
	open := func(c gateway.Caller, again bool) string {
		t.Helper()
		r, err := a.OpenState(t.Context(), c, key, again)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close() // it only removes what was kept
		if !again {
			return ""
		}
		data, err := io.ReadAll(r.Body())
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	open(signed(c, 20*time.Second), false)
	b.mustWrite(t, c, body(2, "a b"))
	if got := open(signed(c, 18*time.Second), true); got != body(1, "a") {
		t.Errorf("right after the HEAD: got %s", got)
	}
	open(signed(c, 16*time.Second), false)
	b.mustWrite(t, c, body(3, "a b c"))
	if got := open(signed(c, 0), true); got != body(3, "a b c") {
		t.Errorf("long after the HEAD: got %s", got)
	}
}

// A process that was refused at one gateway and got the lock at another is shown its own lock at both.
func TestGateway_RefusedHereGrantedThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c := w.gateway(), w.gateway(), pipeline("s2")
	a.lock(t, c, "zero")
	b.unlock(t, c)
	a.lock(t, pipeline("s1"), "one")
	if _, err := a.Lock(t.Context(), c, key, info("two")); !errors.Is(err, statelatch.ErrLocked) {
		t.Fatal(err)
	}
	a.unlock(t, pipeline("s1"))
	b.lock(t, c, "two")
	a.mustWrite(t, c, body(1, "a"))
	if seen, err := a.ReadLock(t.Context(), c, key); err != nil || !strings.Contains(string(seen.Body), `"ID":"two"`) {
		t.Errorf("got %s, %v, want its own lock", seen.Body, err)
	}
}

// A look at the lock that comes late does not take away the answer from the one that follows the refusal.
func TestGateway_LateLookAtTheHolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, c := w.gateway(), pipeline("s2")
	n.lock(t, pipeline("s1"), "one")
	if _, err := n.Lock(t.Context(), signed(c, 0), key, info("two")); !errors.Is(err, statelatch.ErrLocked) {
		t.Fatal(err)
	}
	n.unlock(t, pipeline("s1"))
	for _, ago := range []time.Duration{time.Minute, 0} {
		seen, err := n.ReadLock(t.Context(), signed(c, ago), key)
		if err != nil || !strings.Contains(string(seen.Body), `"ID":"one"`) {
			t.Errorf("signed %v ago: got %s, %v, want the holder that it was refused for", ago, seen.Body, err)
		}
	}
}

// A release fences out a write of the same gateway that may yet land.
func TestGateway_ReleaseFencesOutAnUnknownWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n, c := w.gateway(), pipeline("s1")
		n.lock(t, c, "one")
		n.mustWrite(t, c, body(1, "a"))
		before, err := w.store.Head(t.Context(), key, bucket.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		n.bucket.Add(faultbucket.Rule{Op: faultbucket.OpPut, Key: key, Fault: faultbucket.LoseRequest()})
		if err := n.write(t, c, body(2, "a b")); !errors.Is(err, statelatch.ErrAmbiguous) {
			t.Fatalf("got %v, want ErrAmbiguous", err)
		}
		n.bucket.Heal()
		n.unlock(t, c)
		after, err := w.store.Head(t.Context(), key, bucket.ReadOptions{})
		if err != nil || after.ETag == before.ETag {
			t.Errorf("the write could still land on %s, %v", after.ETag, err)
		}
		w.wantState(body(1, "a"))
		w.wantLock("")
	})
}

// A gateway that remembers an earlier lock of the process releases the one that is held, also if an answer is lost.
func TestGateway_ReleaseOfALaterLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c := w.gateway(), w.gateway(), pipeline("s1")
	a.lock(t, c, "one")
	b.unlock(t, c)
	b.lock(t, c, "two")
	a.bucket.Add(faultbucket.Rule{Op: faultbucket.OpDelete, Nth: 1, Fault: faultbucket.LoseReply()})
	a.unlock(t, c)
	w.wantLock("")
}
