package lock_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/internal/dynamotest"
	"github.com/statelatch/statelatch/lock"
)

const minute = time.Minute

// world is one bucket and one table that several clients use, in a synctest bubble.
type world struct {
	t       *testing.T
	start   time.Time
	objects *membucket.Bucket
	table   *dynamotest.Table
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{
		t: t, start: time.Now(), objects: membucket.New("b", membucket.Options{Versioned: true}),
		table: dynamotest.NewTable("locks"),
	}
}

// client is one process with its own network and its own clock for leases.
type client struct {
	*lock.Manager
	store *faultbucket.Bucket
	fence *fence
}

func (w *world) client(rules ...faultbucket.Rule) *client {
	c := &client{store: faultbucket.New(w.objects, faultbucket.Options{Rules: rules})}
	c.fence = &fence{store: c.store}
	c.Manager = &lock.Manager{
		Bucket: c.store, Tier: lock.TierFull, Fence: c.fence.touch,
		Boot: func() time.Duration { return time.Since(w.start) },
	}
	return c
}

// dual is a client that locks the table as well.
func (w *world) dual(rules ...faultbucket.Rule) *client {
	c := w.client(rules...)
	c.Table = w.table
	return c
}

// item is the lock item as it is stored, empty if there is none.
func (w *world) item() string {
	i, _ := w.table.Item(ref.DynamoDBLockID())
	info, _ := i["Info"]["S"].(string)
	return info
}

// setItem stores what an engine with a table alone would.
func (w *world) setItem(info string) {
	w.table.SetItem(dynamotest.StringItem(ref.DynamoDBLockID(), "Info", info))
}

// fence counts its calls.
type fence struct {
	store *faultbucket.Bucket
	do    func(context.Context) error // nil: it works

	mu    sync.Mutex
	calls []int // how many requests had been made by then
}

func (f *fence) touch(ctx context.Context, _ statelatch.Ref) error {
	f.mu.Lock()
	f.calls = append(f.calls, len(f.store.Requests()))
	f.mu.Unlock()
	if f.do != nil {
		return f.do(ctx)
	}
	return ctx.Err()
}

func (f *fence) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls)
}

// leased is a request for a lock with a lease.
func leased(ttl time.Duration) lock.Request {
	req := request()
	req.TTL = ttl
	return req
}

// taking is one that may take over.
func taking(ttl, wait time.Duration) lock.Request {
	req := leased(ttl)
	req.TakeOver, req.Wait = true, wait
	return req
}

// mustAcquire is Acquire where nothing is in the way.
func (c *client) mustAcquire(t *testing.T, req lock.Request) *lock.Tenure {
	t.Helper()
	tenure, err := c.Acquire(t.Context(), ref, req)
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	t.Cleanup(tenure.Abandon) // a bubble does not end while a lease is renewed
	return tenure
}

// dead leaves the lock of a client that died.
func (c *client) dead(t *testing.T, req lock.Request) lock.Held {
	t.Helper()
	tenure := c.mustAcquire(t, req)
	tenure.Abandon()
	return tenure.Held()
}

// wantOurs fails the test unless the stored lock object is exactly the tenure's.
func wantOurs(t *testing.T, b bucket.Bucket, tenure *lock.Tenure, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	t.Cleanup(tenure.Abandon)
	if err := tenure.Verify(context.WithoutCancel(t.Context())); err != nil {
		t.Fatalf("Verify: %v", err)
	}
	for range 3 { // a renewal may come in between
		if bytes.Equal(stored(t, b), body(tenure.Held())) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("the store holds %s, the tenure %s", stored(t, b), body(tenure.Held()))
}

// wantReleased releases and fails the test unless nothing is left.
func wantReleased(t *testing.T, w *world, tenure *lock.Tenure) {
	t.Helper()
	if _, err := tenure.Release(t.Context()); err != nil {
		t.Errorf("Release: %v", err)
	}
	if got := stored(t, w.objects); got != nil {
		t.Errorf("left behind: %s", got)
	}
	if got := w.item(); got != "" {
		t.Errorf("left in the table: %s", got)
	}
}

// renewal selects every write of a lock that exists.
func renewal(r faultbucket.Request) bool { return r.If.ETag() != "" }

func isLost(tenure *lock.Tenure) bool {
	select {
	case <-tenure.Lost():
		return true
	default:
		return false
	}
}

// ops are the requests on the lock object, in short.
func ops(requests []faultbucket.Request) []string {
	var all []string
	for _, r := range requests {
		op := r.Op
		switch {
		case r.If.Absent():
			op += " if absent"
		case r.If.ETag() != "":
			op += " if match"
		}
		all = append(all, op)
	}
	return all
}

func wantOps(t *testing.T, what string, got []faultbucket.Request, want ...string) {
	t.Helper()
	if !slices.Equal(ops(got), want) {
		t.Errorf("%s: requests %q, want %q", what, ops(got), want)
	}
}

// wantConditions fails the test if anything was written without a condition.
func wantConditions(t *testing.T, requests []faultbucket.Request) {
	t.Helper()
	for _, r := range requests {
		if (r.Op == faultbucket.OpPut || r.Op == faultbucket.OpDelete) && r.If.IsZero() {
			t.Errorf("an unconditional %s", r.Op)
		}
	}
}

// until waits, at most an hour, for something to be so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for range 360_000 {
		if so() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("it never came to this: %s", what)
}

var errTest = errors.New("as the test wants it")
