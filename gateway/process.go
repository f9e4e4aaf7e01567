package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/state"
)

const (
	// maxProcesses is how many processes, one for each state that they use, are remembered.
	maxProcesses = 10_000
	// maxConns is how many connections of one are.
	maxConns = 64
	// maxEnded is how many locks that it has ended are.
	maxEnded = 16
	// readingTime is how long the ranges of a state that was read are served from what was read.
	readingTime = 2 * time.Minute
	// refusedTime is how long the holder is shown that a lock was refused for.
	refusedTime = time.Minute
)

// procKey is a process as far as it can be told from others, on one state.
type procKey struct{ principal, session, key string }

// processes is what is remembered of each. All of it can be forgotten.
type processes struct {
	mu    sync.Mutex
	known map[procKey]*process
}

// process is what a gateway remembers of a client's process and one state.
type process struct {
	turn chan struct{} // held for as long as something is done to the lock or the state
	used time.Time     // guarded by processes.mu

	held     *lock.Held // its lock, as it was last seen or written
	tenure   string     // the ID of the lock that doubt and leaving are about
	since    time.Time  // when it was won, by our clock
	conns    map[uint64]string
	ended    atomic.Pointer[[]ended] // the locks that it released, or ended by force, last
	free     bool                    // it has ended a lock, and was not seen to hold one since
	shown    string                  // the ETag of the lock object that it was shown last
	shownAt  time.Time
	refused  *statelatch.LockedError
	unlocked Caller         // the request that released its last lock
	asked    Caller         // the request that was refused
	askedFor string         // the ID of the lock that it asked for
	at       time.Time      // of the refusal
	told     bool           // refused was served
	base     *state.Version // what it read or wrote last
	session  *state.Session
	doubt    error // a write has an unknown outcome
	leaving  bool  // a delete of the lock may yet land
	lockLost error // why the lock that it held is not its own any more

	reading *Reading
}

// of returns the process that c is of, for one state.
func (ps *processes) of(c Caller, key string) *process {
	k := procKey{c.Principal.Name, c.ID, key}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p, ok := ps.known[k]
	if !ok {
		if len(ps.known) >= maxProcesses {
			ps.forgetOldest()
		}
		p = &process{turn: make(chan struct{}, 1), conns: map[uint64]string{}}
		ps.known[k] = p
	}
	p.used = time.Now()
	return p
}

// over reports whether a lock is of a process that has released it here: a late copy of its creation brought it back.
func (ps *processes) over(h lock.Held) bool {
	if h.Managed == nil || h.Managed.Through == nil {
		return false
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.known[procKey{h.Managed.Through.Principal, h.Managed.Through.Session, h.Ref.Key}]
	if p == nil {
		return false
	}
	_, over := p.hasEnded(h.Info.ID)
	return over
}

// forgetOldest makes room. One that is at work stays: what it does must not be done twice at a time.
func (ps *processes) forgetOldest() {
	var oldest procKey
	at := time.Now()
	for k, p := range ps.known {
		if len(p.turn) == 0 && p.used.Before(at) {
			oldest, at = k, p.used
		}
	}
	delete(ps.known, oldest)
}

// shows notes which lock object the process is shown.
func (p *process) shows(etag string) { p.shown, p.shownAt = etag, time.Now() }

// lockID is the ID of the lock that the process holds, as far as is known.
func (p *process) lockID() string {
	if p.held == nil {
		return ""
	}
	return p.held.Info.ID
}

// take waits for the turn to do something to the lock or the state: the SDKs repeat requests that go on still.
func (p *process) take(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		if ctx.Err() == nil {
			return nil
		}
		p.done()
	case <-ctx.Done():
	}
	return fmt.Errorf("wait for an earlier request of the same process: %w", ctx.Err())
}

func (p *process) done() { <-p.turn }

// ended is a lock that a process has ended.
type ended struct {
	id string
	by time.Time // when the request to end it was signed; zero: not known
}

// hasEnded reports whether the process has released a lock, or ended it by force, and when that was asked for.
func (p *process) hasEnded(id string) (by time.Time, ok bool) {
	if list := p.ended.Load(); list != nil {
		for _, e := range *list {
			if e.id == id {
				return e.by, true
			}
		}
	}
	return time.Time{}, false
}

// ends notes that the process has ended a lock.
func (p *process) ends(id string, c Caller) {
	p.begins(id)
	list := append(slices.Clone(*p.ended.Load()), ended{id, c.Signed})
	list = list[max(0, len(list)-maxEnded):]
	p.ended.Store(&list)
	p.free, p.shown = true, ""
}

// begins notes that a lock that was ended is asked for anew: engines keep its ID while they wait for an item in a table
// beside it.
func (p *process) begins(id string) {
	list := []ended{}
	if before := p.ended.Load(); before != nil {
		list = slices.DeleteFunc(slices.Clone(*before), func(e ended) bool { return e.id == id })
	}
	p.ended.Store(&list)
}

// holds notes that the lock is the process's. What is in doubt stays so for as long as its ID is the same.
func (p *process) holds(h lock.Held) {
	if p.tenure != h.Info.ID {
		p.session, p.doubt, p.leaving, p.since, p.tenure = nil, nil, false, time.Now(), h.Info.ID
	}
	p.held, p.refused, p.lockLost, p.free = &h, nil, nil, false
}

var errForgotten = errors.New("what this gateway has under way is not known any more")

// finds notes that the lock which was read is the process's. One that names this gateway, of which nothing is
// remembered, is in doubt.
func (g *Gateway) finds(p *process, h lock.Held) {
	forgotten := p.tenure != h.Info.ID && h.Managed.Through.Gateway == g.cfg.Name
	if p.holds(h); forgotten {
		p.doubt = errForgotten
	}
}

// knows notes which lock a connection has taken.
func (p *process) knows(conn uint64, id string) {
	if conn == 0 {
		return
	}
	if len(p.conns) >= maxConns {
		clear(p.conns)
	}
	p.conns[conn] = id
}

// loses notes that the lock is not the process's any more.
func (p *process) loses(why error) {
	p.held, p.session, p.lockLost = nil, nil, why
}

// tenure is a lock of a process, for package state.
type tenure struct {
	g *Gateway
	p *process
	h lock.Held
	// renewed says that its holder renews it: it is the same as long as its ID is.
	renewed bool
}

// Ref implements state.Tenure.
func (t *tenure) Ref() statelatch.Ref { return t.h.Ref }

// Check implements state.Tenure: there is no lease that could be over.
func (t *tenure) Check() error { return nil }

// Verify implements state.Tenure.
func (t *tenure) Verify(ctx context.Context) error {
	now, err := t.g.cfg.Locks.Status(ctx, t.h.Ref)
	switch {
	case isNotLocked(err):
		return fmt.Errorf("%w: %s: there is no lock any more", statelatch.ErrLockLost, t.h.Ref)
	case err != nil:
		return err
	case t.renewed && now.Leased() && now.Info.ID == t.h.Info.ID:
		return nil
	case now.ETag != t.h.ETag:
		return &movedError{now}
	}
	return nil
}

// Hold implements state.Tenure: until the outcome of the write is known, the lock is not released without a fence.
func (t *tenure) Hold(reason error) { t.p.doubt = reason }

// movedError says that a lock was written since it was read. It matches ErrLockLost.
type movedError struct{ now lock.Held }

func (e *movedError) Error() string {
	return fmt.Sprintf("%v: %v", statelatch.ErrLockLost, e.now.LockedError())
}

func (e *movedError) Unwrap() error { return statelatch.ErrLockLost }

// Reading is a state as one process read it: one version, for all the requests that the process reads it by. It must
// be closed.
type Reading struct {
	Version state.Version // what was read
	body    io.ReadSeekCloser
	at      time.Time
	signed  time.Time // when its client asked for it

	mu     sync.Mutex
	users  int
	served int64 // bytes, of all that was asked for
	gone   bool  // the body
}

// use counts one more user of r.
func (r *Reading) use() *Reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users++
	return r
}

// Close ends one use. With the last one the body is gone, and when all of it was served and only the gateway remembers
// it.
func (r *Reading) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.users--; r.gone || r.users > 1 || r.users == 1 && r.served < r.Version.Size {
		return nil
	}
	r.gone = true
	return r.body.Close()
}

// Body is a reader of its own of the whole body, until r is closed.
func (r *Reading) Body() io.ReadSeeker {
	at, ok := r.body.(io.ReaderAt)
	if !ok {
		return r.body // state.Store.Open promises that it is one
	}
	return &counted{io.NewSectionReader(at, 0, r.Version.Size), r}
}

// counted counts what is read.
type counted struct {
	*io.SectionReader
	r *Reading
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.SectionReader.Read(p)
	c.r.mu.Lock()
	c.r.served += int64(n)
	c.r.mu.Unlock()
	return n, err
}

// fresh reports whether more ranges may be served to c from r: it is young, and not all of it has been asked for. The
// first must be asked for right after r was: else r may be what an earlier request, which went to another gateway then,
// has left behind.
func (r *Reading) fresh(c Caller) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	follows := r.served > 0 || r.signed.IsZero() || c.Signed.Sub(r.signed).Abs() < clocks
	return !r.gone && time.Since(r.at) < readingTime && follows && (r.served < r.Version.Size || r.served == 0)
}
