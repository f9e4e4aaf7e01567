// Package faultbucket makes a working bucket misbehave on purpose, as networks and
// stores do: it loses requests and replies, delivers them twice or late, delays
// them, answers for the store, and ignores conditions. It is for tests of what must survive that.
//
// Which requests suffer is told by [Rule]s, what they suffer by [Fault]s. Every call is logged
// for assertions on the number and the terms of requests. The package starts no goroutine and holds
// no lock while it waits or calls the inner bucket, so it works in a testing/synctest bubble. It adds no
// failure of its own: without a matching rule a call goes to the inner bucket as it is.
package faultbucket

import (
	"context"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"sync"

	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/fault"
)

// The operations of the port, spelled as in statelatch.StoreError.
const (
	OpHead         = "head"          // [bucket.Bucket.Head]
	OpGet          = "get"           // [bucket.Bucket.Get]
	OpPut          = "put"           // [bucket.Bucket.Put]
	OpDelete       = "delete"        // [bucket.Bucket.Delete]
	OpList         = "list"          // [bucket.Bucket.List]
	OpListVersions = "list versions" // [bucket.Bucket.ListVersions]
)

// Rule selects requests for a fault. Empty fields select everything. Of several
// rules the first that fires decides; each counts for itself.
type Rule struct {
	Op    string             // one of the Op constants
	Key   string             // the exact key; for listings the prefix
	Match func(Request) bool // anything else; called while the bucket is locked, must not call it

	Nth    int     // only the n-th request selected by the fields above, from 1
	Chance float64 // with this probability, decided by Options.Rand; 0 means always
	Limit  int     // at most this often; 0 means no limit

	Fault Fault // the zero Fault shields a request from the rules behind
}

// Request is one line of the log.
type Request struct {
	Op        string           // one of the Op constants
	Key       string           // for listings the prefix
	VersionID string           // of the version that was asked for; empty: none in particular
	If        bucket.Condition // as the caller gave it, even if a fault dropped it
	Fault     string           // the name of the fault it met, empty if none
	// Late marks a copy that the network delivered behind the caller's back. It is not a call.
	Late bool
	// Done tells that the request was answered, Err what: to the caller, or if Late to nobody.
	Done bool
	Err  error // nil: success
}

// Options configure a [Bucket]; the zero value is a bucket without faults until [Bucket.Add].
type Options struct {
	Rules []Rule // as for [Bucket.Add], in their order
	// Rand decides Rule.Chance. Nil means a generator with a fixed seed, so that runs repeat.
	// The bucket uses it under its own lock.
	Rand *rand.Rand
}

// Bucket passes calls to an inner bucket, with faults. Create it with [New].
type Bucket struct {
	inner bucket.Bucket

	mu      sync.Mutex
	network fault.Network[Request, Fault, *lateCopy]
}

var _ bucket.Bucket = (*Bucket)(nil)

// lateCopy is a request that the network still holds.
type lateCopy struct {
	after   int
	request *Request
	run     func() error
}

// New returns inner with the faults of opts.
func New(inner bucket.Bucket, opts Options) *Bucket {
	b := &Bucket{inner: inner}
	b.network.Rand = opts.Rand
	b.Add(opts.Rules...)
	return b
}

// Add appends rules. They count from now on.
func (b *Bucket) Add(rules ...Rule) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range rules {
		b.network.Add(r.selects, fault.When{Nth: r.Nth, Chance: r.Chance, Limit: r.Limit}, r.Fault)
	}
}

// Heal removes all rules. What the network still holds stays there.
func (b *Bucket) Heal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.network.Heal()
}

// Requests returns the log in the order in which requests were made or delivered.
func (b *Bucket) Requests() []Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.network.Requests()
}

// Count returns how many calls of op were made on key; empty means any. Late copies are not calls.
func (b *Bucket) Count(op, key string) int {
	n := 0
	for _, r := range b.Requests() {
		if !r.Late && (op == "" || r.Op == op) && (key == "" || r.Key == key) {
			n++
		}
	}
	return n
}

// Deliver lets every request that the network still holds reach the store, in the order
// in which they were sent, and returns how many there were.
func (b *Bucket) Deliver() int {
	b.mu.Lock()
	due := b.network.TakeLate()
	b.mu.Unlock()
	b.deliver(due)
	return len(due)
}

// Name implements [bucket.Bucket].
func (b *Bucket) Name() string { return b.inner.Name() }

// Head implements [bucket.Bucket].
func (b *Bucket) Head(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, error) {
	return call(ctx, b, Request{Op: OpHead, Key: key, VersionID: opts.VersionID},
		func(ctx context.Context, _ bucket.Condition) (bucket.Object, error) {
			return b.inner.Head(ctx, key, opts)
		})
}

// Get implements [bucket.Bucket].
func (b *Bucket) Get(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
	got, err := call(ctx, b, Request{Op: OpGet, Key: key, VersionID: opts.VersionID},
		func(ctx context.Context, _ bucket.Condition) (opened, error) {
			obj, body, err := b.inner.Get(ctx, key, opts)
			return opened{obj, body}, err
		})
	if err != nil {
		return bucket.Object{}, nil, err
	}
	return got.object, got.body, nil
}

// Put implements [bucket.Bucket].
func (b *Bucket) Put(
	ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions,
) (bucket.Object, error) {
	copies := &copies{original: body}
	opts.Metadata = maps.Clone(opts.Metadata) // a late copy has its own, as of the body
	return call(ctx, b, Request{Op: OpPut, Key: key, If: opts.If},
		func(ctx context.Context, cond bucket.Condition) (bucket.Object, error) {
			sent := opts
			sent.If = cond
			return b.inner.Put(ctx, key, copies.next(), sent)
		}, copies.keep)
}

// Delete implements [bucket.Bucket].
func (b *Bucket) Delete(ctx context.Context, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
	return call(ctx, b, Request{Op: OpDelete, Key: key, VersionID: opts.VersionID, If: opts.If},
		func(ctx context.Context, cond bucket.Condition) (bucket.Deleted, error) {
			sent := opts
			sent.If = cond
			return b.inner.Delete(ctx, key, sent)
		})
}

// List implements [bucket.Bucket]. One iteration is one request in rules and log, however many pages it takes.
func (b *Bucket) List(ctx context.Context, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
	return b.list(ctx, OpList, opts, b.inner.List)
}

// ListVersions implements [bucket.Bucket]. One iteration is one request in rules and log, however many pages it takes.
func (b *Bucket) ListVersions(ctx context.Context, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
	return b.list(ctx, OpListVersions, opts, b.inner.ListVersions)
}

type lister func(context.Context, bucket.ListOptions) iter.Seq2[bucket.Object, error]

func (b *Bucket) list(
	ctx context.Context, op string, opts bucket.ListOptions, inner lister,
) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) {
		entries, err := call(ctx, b, Request{Op: op, Key: opts.Prefix},
			func(ctx context.Context, _ bucket.Condition) (iter.Seq2[bucket.Object, error], error) {
				return inner(ctx, opts), nil
			})
		if err != nil {
			yield(bucket.Object{}, err)
			return
		}
		entries(yield)
	}
}

// opened is what Get returns, in one value.
type opened struct {
	object bucket.Object
	body   io.ReadCloser
}

// call logs a request, lets it meet its fault, and delivers what becomes due by its answer.
// prepare runs before a request that meets a fault; it keeps a body that may be needed again.
func call[T any](
	ctx context.Context, b *Bucket, r Request, send func(context.Context, bucket.Condition) (T, error),
	prepare ...func() error,
) (T, error) {
	if ctx.Err() != nil {
		// Nothing is sent once ctx is done, so there is nothing to log and nothing to go wrong.
		return send(ctx, r.If)
	}
	request, met := b.admit(r)
	s := &sending[T]{bucket: b, request: request, send: send}
	var result T
	var err error
	if met.play == nil {
		result, err = send(ctx, r.If)
	} else {
		for _, p := range prepare {
			err = p()
		}
		if err != nil {
			err = s.broken(err)
		} else {
			result, err = s.meet(ctx, met)
		}
	}
	b.deliver(b.answered(request, err))
	b.mu.Lock()
	for _, l := range s.late {
		b.network.Keep(l.after, l)
	}
	b.mu.Unlock()
	return result, err
}

// admit logs a request and finds its fault.
func (b *Bucket) admit(r Request) (*Request, Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	request, met := b.network.Admit(r)
	request.Fault = met.name
	return request, met
}

func (r Rule) selects(q Request) bool {
	return (r.Op == "" || r.Op == q.Op) && (r.Key == "" || r.Key == q.Key) && (r.Match == nil || r.Match(q))
}

// answered closes a request's line of the log and returns the late copies that become due by it.
func (b *Bucket) answered(request *Request, err error) []*lateCopy {
	b.mu.Lock()
	defer b.mu.Unlock()
	request.Done, request.Err = true, err
	return b.network.Answered()
}

// deliver runs late copies. What the store answers reaches only the log.
func (b *Bucket) deliver(due []*lateCopy) {
	for _, c := range due {
		b.mu.Lock()
		copied := *c.request
		copied.Late, copied.Done, copied.Err = true, false, nil
		line := b.network.Log(copied)
		b.mu.Unlock()
		err := c.run()
		b.mu.Lock()
		line.Done, line.Err = true, err
		b.mu.Unlock()
	}
}
