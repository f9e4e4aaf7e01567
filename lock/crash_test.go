package lock_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/lock"
)

// accident is what happens to one client at its n-th request, to whatever it goes: bucket, table or fence.
type accident struct {
	name     string
	executed bool  // the request reaches the store
	dies     bool  // the process ends with it: nothing it sends later reaches anything
	cancels  bool  // Ctrl-C at that moment
	answer   error // what the client is told, if the request did not pass unharmed
	late     bool  // the store gets it only when the next holder has the lock
}

var accidents = []accident{
	{name: "request lost", answer: statelatch.ErrAmbiguous},
	{name: "reply lost", executed: true, answer: statelatch.ErrAmbiguous},
	{name: "conflict", answer: statelatch.ErrConflict},
	{name: "Ctrl-C before", cancels: true, answer: statelatch.ErrAmbiguous},
	{name: "Ctrl-C after", executed: true, cancels: true, answer: statelatch.ErrAmbiguous},
	{name: "Ctrl-C, answered", executed: true, cancels: true},
	{name: "killed before", dies: true, answer: statelatch.ErrAmbiguous},
	{name: "killed after", executed: true, dies: true, answer: statelatch.ErrAmbiguous},
	{name: "killed, arrives late", dies: true, late: true, answer: statelatch.ErrAmbiguous},
}

// road is a client's way to everything outside, with one accident on it.
type road struct {
	accident
	at     int
	cancel context.CancelFunc

	mu      sync.Mutex
	n       int
	dead    bool
	pending []func()
}

// travel carries one request. late sends it again after everything, if that can be.
func (r *road) travel(read bool, send func() error, late func()) error {
	r.mu.Lock()
	r.n++
	hit, dead := r.n == r.at, r.dead
	if hit {
		r.dead = r.dies
		if r.late && late != nil {
			r.pending = append(r.pending, late)
		}
	}
	r.mu.Unlock()
	lost := &statelatch.StoreError{Kind: statelatch.ErrAmbiguous, Op: "any", Err: errTest}
	if read {
		lost.Kind = statelatch.ErrBroken
	}
	if dead {
		return lost
	}
	if !hit {
		return send()
	}
	var err error
	if r.executed {
		err = send()
	}
	if r.cancels {
		r.cancel()
	}
	if r.answer == nil {
		return err
	}
	if !read {
		lost.Kind = r.answer
	}
	return lost
}

// arrived tells whether the accident happened.
func (r *road) happened() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n >= r.at
}

func (r *road) deliver() {
	for _, late := range r.pending {
		late()
	}
}

// onRoad is a bucket behind a road; only what package lock uses passes.
type onRoad struct {
	bucket.Bucket
	*road
}

func (b onRoad) Get(ctx context.Context, key string, opts bucket.ReadOptions) (obj bucket.Object, body io.ReadCloser, err error) {
	err = b.travel(true, func() error {
		obj, body, err = b.Bucket.Get(ctx, key, opts)
		return err
	}, nil)
	return obj, body, err
}

func (b onRoad) Put(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (obj bucket.Object, err error) {
	send := func(ctx context.Context) error {
		obj, err = b.Bucket.Put(ctx, key, body, opts)
		return err
	}
	err = b.travel(false, func() error { return send(ctx) }, func() { _ = send(context.Background()) })
	if err != nil {
		obj = bucket.Object{}
	}
	return obj, err
}

func (b onRoad) Delete(ctx context.Context, key string, opts bucket.DeleteOptions) (deleted bucket.Deleted, err error) {
	send := func(ctx context.Context) error {
		deleted, err = b.Bucket.Delete(ctx, key, opts)
		return err
	}
	err = b.travel(false, func() error { return send(ctx) }, func() { _ = send(context.Background()) })
	return deleted, err
}

// tableOnRoad is a table behind a road.
type tableOnRoad struct {
	lock.Table
	*road
}

func (t tableOnRoad) write(ctx context.Context, send func(context.Context) error) error {
	return t.travel(false, func() error { return send(ctx) }, func() { _ = send(context.Background()) })
}

func (t tableOnRoad) Lock(ctx context.Context, ref statelatch.Ref, info statelatch.LockInfo) error {
	return t.write(ctx, func(ctx context.Context) error { return t.Table.Lock(ctx, ref, info) })
}

func (t tableOnRoad) Read(ctx context.Context, ref statelatch.Ref) (raw string, err error) {
	err = t.travel(true, func() error { raw, err = t.Table.Read(ctx, ref); return err }, nil)
	return raw, err
}

func (t tableOnRoad) Replace(ctx context.Context, ref statelatch.Ref, raw string, info statelatch.LockInfo) error {
	return t.write(ctx, func(ctx context.Context) error { return t.Table.Replace(ctx, ref, raw, info) })
}

func (t tableOnRoad) Unlock(ctx context.Context, ref statelatch.Ref, raw string) error {
	return t.write(ctx, func(ctx context.Context) error { return t.Table.Unlock(ctx, ref, raw) })
}

// crashTTL is short, so that the waits of the next client do not make up most of the requests.
const crashTTL = 4 * time.Second

// operation is what is interrupted. It returns the tenure it ends with, if any.
type operation struct {
	name   string
	before func(*testing.T, *world) lock.Held // what there is when it starts; nil: nothing
	do     func(context.Context, *client, lock.Held) (*lock.Tenure, error)
	dual   bool
	lossy  bool // every first put loses its reply as well
}

func operations() []operation {
	deadHolder := func(t *testing.T, w *world) lock.Held { t.Helper(); return w.client().dead(t, leased(crashTTL)) }
	deadDual := func(t *testing.T, w *world) lock.Held {
		t.Helper()
		w.dual().dead(t, leased(crashTTL))
		h, err := w.dual().Status(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	acquire := func(ctx context.Context, c *client, _ lock.Held) (*lock.Tenure, error) {
		req := taking(crashTTL, 2*minute)
		req.ID = "interrupted"
		return c.Acquire(ctx, ref, req)
	}
	force := func(ctx context.Context, c *client, h lock.Held) (*lock.Tenure, error) {
		_, err := c.ForceRelease(ctx, h, request())
		return nil, err
	}
	renew := func(ctx context.Context, c *client, h lock.Held) (*lock.Tenure, error) {
		tenure, err := acquire(ctx, c, h)
		if err == nil {
			time.Sleep(crashTTL)
		}
		return tenure, err
	}
	release := func(ctx context.Context, c *client, h lock.Held) (*lock.Tenure, error) {
		tenure, err := acquire(ctx, c, h)
		if err == nil {
			_, err = tenure.Release(ctx)
		}
		return nil, err
	}
	return []operation{
		{name: "acquire", do: acquire},
		{name: "acquire, reply lost", do: acquire, lossy: true},
		{name: "take over", before: deadHolder, do: acquire},
		{name: "take over, reply lost", before: deadHolder, do: acquire, lossy: true},
		{name: "force-unlock", before: deadHolder, do: force},
		{name: "renew", do: renew},
		{name: "release", do: release},
		{name: "dual acquire", do: acquire, dual: true},
		{name: "dual acquire, reply lost", do: acquire, dual: true, lossy: true},
		{name: "dual take over", before: deadDual, do: acquire, dual: true},
		{name: "dual force-unlock", before: deadDual, do: force, dual: true},
		{name: "dual release", do: release, dual: true},
	}
}

// Whatever happens at whichever request of an operation, what is left is what its error says, nobody who could
// still write loses its lock without a fence, and a client that may take over always gets in.
func TestManager_CrashAtEveryRequest(t *testing.T) {
	t.Parallel()
	for _, op := range operations() {
		for _, what := range accidents {
			t.Run(op.name+", "+what.name, func(t *testing.T) {
				t.Parallel()
				for n, happened := 1, true; happened; n++ {
					if n > 200 {
						t.Fatal("it does not end")
					}
					synctest.Test(t, func(t *testing.T) { happened = crash(t, op, what, n) })
				}
			})
		}
	}
}

// crash lets the accident happen at the n-th request, and looks what is left. It reports whether there were as many.
func crash(t *testing.T, op operation, what accident, n int) bool {
	t.Helper()
	where := fmt.Sprintf("at request %d", n)
	w := newWorld(t)
	var was lock.Held
	if op.before != nil {
		was = op.before(t, w)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := &road{accident: what, at: n, cancel: cancel}
	c := w.client()
	if op.lossy {
		c.store.Add(faultbucket.Rule{Op: faultbucket.OpPut, Nth: 1, Fault: faultbucket.LoseReply()})
	}
	c.Bucket = onRoad{c.store, r}
	fence := c.fence.touch
	fenced := 0 // that reached the state
	c.Fence = func(ctx context.Context, ref statelatch.Ref) error {
		return r.travel(false, func() error { fenced++; return fence(ctx, ref) }, nil)
	}
	if op.dual {
		c.Table = tableOnRoad{w.table, r}
	}
	tenure, err := op.do(ctx, c, was)
	if !what.dies && tenure != nil && err == nil {
		if lost := tenure.Err(); lost != nil {
			t.Errorf("%s: lost: %v", where, lost)
		}
		wantReleased(t, w, tenure)
	}
	if tenure != nil {
		tenure.Abandon()
	}
	left := stored(t, w.objects)
	takenOver := was.ETag != "" && (left == nil || string(left) != string(body(was)))
	m := statelatch.ParseManaged(left)
	switch {
	case left == nil && takenOver && fenced == 0:
		t.Errorf("%s: its last holder is not fenced out, and nobody will do it (%v)", where, err)
	case left != nil && (m == nil || m.TTL == 0):
		t.Errorf("%s: left a lock without lease: %s", where, left)
	case left == nil && w.item() != "":
		t.Errorf("%s: left an item that no lease leads to: %s (%v)", where, w.item(), err)
	case left != nil && !what.dies && takenOver && err == nil:
		t.Errorf("%s: no error, and left %s", where, left)
	case left != nil && !what.dies && was.ETag == "" && !errors.Is(err, statelatch.ErrAmbiguous):
		t.Errorf("%s: the error is %v, and left %s", where, err, left)
	}

	next := w.client()
	if op.dual {
		next = w.dual()
	}
	won, nextErr := next.Acquire(t.Context(), ref, taking(crashTTL, 10*minute))
	if nextErr != nil {
		t.Fatalf("%s: the next client: %v", where, nextErr)
	}
	if left != nil && next.fence.count() == 0 {
		t.Errorf("%s: the next client took over %s without a fence", where, left)
	}
	r.deliver()
	c.store.Deliver()
	time.Sleep(minute)
	if op.dual && w.item() != string(won.Held().Info.Marshal()) {
		t.Errorf("%s: the item is %q", where, w.item())
	}
	wantOurs(t, w.objects, won, nil)
	wantReleased(t, w, won)
	for _, requests := range [][]faultbucket.Request{c.store.Requests(), next.store.Requests()} {
		wantConditions(t, requests)
	}
	return r.happened()
}
