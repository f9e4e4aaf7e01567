package lock

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/pace"
)

// A lease is renewed at every quarter of its TTL (B8). After three quarters without a confirmed renewal it is given up,
// so that the last quarter is left for stopping what runs under it.
const (
	renewals = 4
	bearable = renewals - 1
	maxTick  = time.Second // how late the end of a sleep of the machine may be noticed
)

// Tenure is one holder's time: from Acquire to Release or Abandon. A tenure with a lease renews it in the
// background. Its methods are safe for concurrent use.
type Tenure struct {
	m    *Manager
	boot func() time.Duration
	ref  statelatch.Ref
	ttl  time.Duration
	told func(statelatch.Ref, error) // of renewals that fail; nil: nobody
	turn chan struct{}               // held for as long as a request about the lock object is under way

	mu        sync.Mutex // guards what follows; never held during a request
	held      Held
	pending   *renewal      // whose outcome is not known
	confirmed time.Duration // when the last write that is known to have landed was sent, on the boot clock
	lostErr   error
	failure   error // of the last renewal, if none has succeeded since
	reason    error // of Hold
	ended     bool
	released  bool // by us, for certain
	weak      bool // and how
	gone      bool
	under     *Held // the lock without lease that it is to be again
	began     time.Duration

	lost    chan struct{}
	stop    context.CancelFunc
	running sync.WaitGroup
}

// renewal is one rewrite of the lock object, however often it is sent (R1).
type renewal struct {
	from    string // the ETag that it replaces
	body    []byte
	managed statelatch.Managed
	first   time.Duration // when it was first sent
}

func newTenure(m *Manager, boot func() time.Duration, won Held, sentAt time.Duration) *Tenure {
	t := &Tenure{
		m: m, boot: boot, ref: won.Ref, held: won, confirmed: sentAt, turn: make(chan struct{}, 1), lost: make(chan struct{}),
		stop: func() {},
	}
	if won.Managed != nil {
		t.ttl = won.Managed.TTL
	}
	return t
}

// Ref is the state that is locked.
func (t *Tenure) Ref() statelatch.Ref { return t.ref }

// String names the lock, not its bytes.
func (t *Tenure) String() string { return t.Held().String() }

// Held is the lock as it was last written.
func (t *Tenure) Held() Held {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.held
}

// Lost is closed when the lock is known to be lost, or its lease was not renewed for three quarters of its TTL. What
// runs under the lock must end then, before Remaining is over. Without a lease it is closed only by Verify.
func (t *Tenure) Lost() <-chan struct{} { return t.lost }

// Err says why Lost is closed; it matches ErrLockLost. It is nil before. Where renewals failed until it was too late,
// errors.Is and errors.As find the last failure, such as ErrDenied or a *statelatch.StoreError; where somebody else has
// the lock, a *statelatch.LockedError that tells who.
func (t *Tenure) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lostErr
}

// Remaining is how long nobody else can have the lock, on a clock that runs while the machine sleeps. Zero
// or less: somebody may. Very long without a lease.
func (t *Tenure) Remaining() time.Duration {
	if t.ttl == 0 {
		return math.MaxInt64
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.confirmed + t.ttl - t.boot()
}

// Check reports whether the state may be written now, without asking the store: nil, or ErrLockLost once the lock is
// lost or given up or its lease is over, or ErrInvalid for a tenure without a lease, which nobody could fence.
func (t *Tenure) Check() error {
	if t.ttl == 0 {
		return fmt.Errorf("%w lock of %s: it has no lease, so the state must not be written under it", statelatch.ErrInvalid,
			t.ref)
	}
	if err := t.whyEnded(); err != nil {
		return err
	}
	if t.Remaining() <= 0 {
		return t.loseUnrenewed("its lease ran out unrenewed")
	}
	return nil
}

// whyEnded is why nothing may be done in the tenure any more, nil if it may.
func (t *Tenure) whyEnded() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lostErr == nil && t.ended {
		return fmt.Errorf("%w: %s: it was given up", statelatch.ErrLockLost, t.ref)
	}
	return t.lostErr
}

// Hold keeps the lock from being released: a state write has an unknown outcome and may still land (R5). Release
// will report reason instead.
func (t *Tenure) Hold(reason error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reason = reason
}

// Verify reads the lock once and reports whether it is still exactly what this tenure wrote last (R7).
// ErrLockLost if it is not, and then for good; any other error means that it could not be read.
func (t *Tenure) Verify(ctx context.Context) error {
	if err := t.takeTurn(ctx); err != nil {
		return err
	}
	defer t.endTurn()
	if err := t.whyEnded(); err != nil {
		return err
	}
	return t.recheck(ctx)
}

// recheck reads the lock object and accepts it, or declares the lock lost. The caller has the turn.
func (t *Tenure) recheck(ctx context.Context) error {
	ctx, cancel := t.limit(ctx)
	defer cancel()
	h, err := t.m.read(ctx, t.ref)
	switch {
	case errors.Is(err, statelatch.ErrNotLocked):
		return t.lose("its lock object is gone", nil)
	case err != nil:
		return err
	case t.adopt(h):
		return nil
	}
	return t.lose("somebody else has it", h.LockedError())
}

// adopt accepts h as ours if it is exactly the last body, or the renewal whose outcome was not known.
func (t *Tenure) adopt(h Held) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.pending; p != nil && h.isAny(p.body) {
		t.confirm(p, h.ETag, p.first) // it landed when it was first sent, or later
		return true
	}
	return h.isAny(t.held.body)
}

// confirm notes that p landed, by a request sent not before the given time. The caller holds t.mu.
func (t *Tenure) confirm(p *renewal, etag string, sent time.Duration) {
	t.held.body, t.held.Managed, t.held.ETag = p.body, &p.managed, etag
	t.pending, t.failure = nil, nil
	t.confirmed = max(t.confirmed, sent)
}

// lose ends the tenure's right to act; the first reason counts. cause may be nil.
func (t *Tenure) lose(why string, cause error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lostErr == nil {
		t.lostErr = fmt.Errorf("%w: %s: %s", statelatch.ErrLockLost, t.ref, why)
		if cause != nil {
			t.lostErr = fmt.Errorf("%w: %w", t.lostErr, lossCause{cause})
		}
		close(t.lost)
	}
	return t.lostErr
}

// loseUnrenewed is lose with the last renewal's failure for its cause.
func (t *Tenure) loseUnrenewed(why string) error {
	t.mu.Lock()
	cause := t.failure
	t.mu.Unlock()
	return t.lose(why, cause)
}

// lossCause is what a lock was lost by. It tells all that it is but what would be taken for the outcome of the call
// that reports it: an unknown one, or the end of the caller's context.
type lossCause struct{ err error }

func (c lossCause) Error() string { return c.err.Error() }

// Is reports what the cause is.
func (c lossCause) Is(target error) bool {
	return target != statelatch.ErrAmbiguous && target != context.Canceled && target != context.DeadlineExceeded &&
		errors.Is(c.err, target)
}

// As finds the cause's own type.
func (c lossCause) As(target any) bool { return errors.As(c.err, target) }

// takeTurn waits for the turn to ask the store about the lock object: an answer that another request has made out of
// date would look like a theft.
func (t *Tenure) takeTurn(ctx context.Context) error {
	select {
	case t.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("lock of %s: %w", t.ref, ctx.Err())
	}
}

func (t *Tenure) endTurn() { <-t.turn }

// limit bounds one request under a lease by the time until the next renewal would be due: one that hangs must not use
// up the lease.
func (t *Tenure) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if t.ttl == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, t.ttl/renewals)
}

// keep starts to renew the lease, if there is one, until stop. It goes on when ctx ends: only Release and Abandon end a
// tenure.
func (t *Tenure) keep(ctx context.Context) {
	if t.ttl == 0 {
		return
	}
	ctx, t.stop = context.WithCancel(context.WithoutCancel(ctx))
	t.running.Go(func() { t.renewAlways(ctx) })
	t.running.Go(func() { t.guard(ctx) })
}

// guard declares the lease lost when renewals fail for too long, also while one of them hangs.
func (t *Tenure) guard(ctx context.Context) {
	for pace.Sleep(ctx, t.tick()) == nil {
		if t.inTime() != nil {
			return
		}
	}
}

// inTime reports whether the lease may still be renewed, and declares it lost if not: after a sleep of the machine the
// first to look finds out, before anything is sent.
func (t *Tenure) inTime() error {
	if err := t.Err(); err != nil {
		return err
	}
	if t.Remaining() <= t.ttl-t.ttl*bearable/renewals {
		return t.loseUnrenewed("its lease could not be renewed in time")
	}
	return nil
}

// renewAlways renews at every quarter of the TTL until ctx ends or the lock is lost.
func (t *Tenure) renewAlways(ctx context.Context) {
	for pace.Sleep(ctx, t.tick()) == nil {
		if t.Remaining() > t.ttl-t.ttl/renewals {
			continue
		}
		if t.renew(ctx) != nil {
			return
		}
	}
}

func (t *Tenure) tick() time.Duration { return min(maxTick, t.ttl/20) }

// renew rewrites the lock once, however many requests that takes. The error is ErrLockLost, or of ctx.
func (t *Tenure) renew(ctx context.Context) error {
	h := t.Held()
	p := &renewal{from: h.ETag, managed: *h.Managed, first: t.boot()}
	p.managed.Nonce = pace.HexNonce()
	p.managed.Seq++
	if t.under != nil {
		p.managed.Expires = t.under.expiresLeft(t.boot() - t.began) // counted from this write
	}
	p.body = h.Info.MarshalManaged(p.managed)
	t.mu.Lock()
	t.pending = p
	t.mu.Unlock()
	for failures := 0; ; failures++ {
		err := t.sendRenewal(ctx, p)
		if errors.Is(err, statelatch.ErrLockLost) || ctx.Err() != nil {
			return err
		}
		if t.told != nil && (err == nil) != (failures == 0) {
			t.told(t.ref, err)
		}
		if err == nil {
			return nil
		}
		t.failed(err)
		if err := pace.Sleep(ctx, min(retryPace.Pause(failures), t.ttl/renewals)); err != nil {
			return err
		}
	}
}

// failed notes why a renewal did not succeed. The end of its own time says less than what was answered before.
func (t *Tenure) failed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failure == nil || !errors.Is(err, context.DeadlineExceeded) {
		t.failure = err
	}
}

// sendRenewal sends p, and reads the lock back if it is refused: it may have landed before, or Verify may have seen it
// (R2, B9).
func (t *Tenure) sendRenewal(ctx context.Context, p *renewal) error {
	if err := t.takeTurn(ctx); err != nil {
		return err
	}
	defer t.endTurn()
	if err := t.inTime(); err != nil {
		return err
	}
	sent := t.boot()
	limited, cancel := t.limit(ctx)
	defer cancel()
	obj, err := t.m.put(limited, t.ref, p.body, bucket.IfMatch(p.from))
	switch {
	case err == nil:
		t.mu.Lock()
		defer t.mu.Unlock()
		t.confirm(p, obj.ETag, sent)
		return nil
	case refusedOrGone(err):
		if lookErr := t.recheck(ctx); lookErr != nil {
			return lookErr
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.pending == nil {
			return nil
		}
	}
	return err
}

// Release ends the tenure and removes its lock. It tries on even when ctx ends (B13), for Manager.ReleaseTimeout in
// all, and never drops the condition (R4, B6). The item in the table goes first, while the lease is still renewed, so
// that a crash in between leaves what can be taken over. Both are always tried, and the error names the one that
// failed.
//
// Of a lock that the caller had before, with Request.Under, it ends the lease alone.
//
//	nil            the lock is gone and it was ours until then, or until a delete of ours whose reply was lost; also
//	               after a Release that said so
//	ErrLockLost    it was already gone or somebody else's: work done under it may have overlapped with theirs. Of a
//	               tenure that was lost it says what Err does
//	ErrAmbiguous   it could not be found out within the budget; or Hold forbids it, and the lock is left to its lease
//	other          it is still there
//
// Weak reports that the store has no conditional delete, so that a lock taken by
// somebody else in between could have been removed.
func (t *Tenure) Release(ctx context.Context) (weak bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.m.releaseTimeout())
	defer cancel()
	return t.release(ctx)
}

// release is Release, at most until ctx ends.
func (t *Tenure) release(ctx context.Context) (weak bool, err error) {
	t.mu.Lock()
	t.ended = true
	held, reason, released, weak := t.held, t.reason, t.released, t.weak
	t.mu.Unlock()
	if released {
		return weak, nil
	}
	if reason != nil {
		t.Abandon()
		return false, fmt.Errorf("%w: the lock of %s is kept, because a write of the state may still land: %w",
			statelatch.ErrAmbiguous, t.ref, reason)
	}
	var objectErr, itemErr error
	if t.under != nil {
		objectErr, itemErr = t.endUnder(ctx)
	} else {
		itemErr = t.m.removeItemFirst(ctx, held)
		weak, objectErr = t.removeObject(ctx)
		if deniedOutright(objectErr) && itemErr == nil {
			// it is locked still, for those who know only the table, too
			objectErr = errors.Join(objectErr, t.m.putItemBack(ctx, held))
		}
	}
	err = bothOutcomes(held, objectErr, itemErr)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.under != nil { // a lock that is put back is there, whatever became of an item
		t.gone = errors.Is(objectErr, statelatch.ErrLockLost)
	} else {
		t.gone = err == nil || errors.Is(err, statelatch.ErrLockLost) && !errors.Is(err, statelatch.ErrAmbiguous)
	}
	if err == nil {
		t.released, t.weak = true, weak
	}
	if errors.Is(err, statelatch.ErrLockLost) && t.lostErr != nil {
		err = fmt.Errorf("%w; when it was released: %w", t.lostErr, err)
	}
	return weak, err
}

// Gone reports whether Release found that the lock is not there any more, or not this tenure's: then nobody needs its
// ID again.
func (t *Tenure) Gone() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.gone
}

// removeObject ends the tenure and removes the lock object alone.
func (t *Tenure) removeObject(ctx context.Context) (weak bool, err error) {
	t.Abandon()
	t.mu.Lock()
	held, pending := t.held, []byte(nil)
	if t.pending != nil {
		pending = t.pending.body
	}
	t.mu.Unlock()
	return t.m.removeObject(ctx, held, pending)
}

// Abandon ends the tenure without releasing its lock: the lease runs out, and whoever takes the lock over fences the
// state.
func (t *Tenure) Abandon() {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	t.stop()
	t.running.Wait()
}
