package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/pace"
)

const (
	// minTTL is the shortest lease: a store answers slower than this often enough.
	minTTL = time.Second
	// maxBody leaves room in a lock object that everybody reads for what renewals add.
	maxBody = statelatch.MaxLockInfo - 1<<10
)

// Acquire takes the lock of ref, waiting up to req.Wait for another holder to release it.
//
//	nil                the lock is held, with Info.Created the time it was won
//	*LockedError       somebody else holds it; nothing of ours is left, unless the error says so
//	ErrUnsafeStore     the store has no create-if-absent or compare-and-swap, or no conditional delete and
//	                   req asks for what needs it; nothing is locked
//	ErrAmbiguous       it could not be found out within the budget whether the
//	                   lock is ours; the error names the ID to look for
//	other              nothing is locked; or, if the error says so, a lock that was taken over
//	                   could not be fenced, and is left to its lease
//
// It waits through every transient answer (B2, B3), keeps one ID for all attempts, and ends with ctx: at once if
// nothing of it may be left behind, else after Manager.TakeBackTimeout at the latest. The error then matches that of
// ctx, and tells who was waited for, as a *LockedError.
func (m *Manager) Acquire(ctx context.Context, ref statelatch.Ref, req Request) (*Tenure, error) {
	if err := m.check(ref, req); err != nil {
		return nil, err
	}
	if req.ID == "" {
		req.ID = m.newID()
	}
	a, cancel := m.newAttempt(ctx, ref, req)
	defer cancel()
	return a.run(ctx)
}

// newAttempt begins one. The caller must cancel it.
func (m *Manager) newAttempt(ctx context.Context, ref statelatch.Ref, req Request) (*attempt, context.CancelFunc) {
	after, cancel := outlast(ctx, m.takeBackTimeout())
	end := time.Now().Add(req.Wait)
	a := &attempt{
		m: m, boot: m.clock(), caller: ctx, after: after, ref: ref, req: req, wait: wait{end: end, deadline: end},
	}
	return a, func() {
		a.line.leave()
		cancel()
	}
}

// outlast is a context with the values of ctx that ends so much later.
func outlast(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	after, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if pace.Sleep(after, d) == nil {
			cancel()
		}
	})
	return after, func() {
		stop()
		cancel()
	}
}

// attempt is one Acquire in progress.
type attempt struct {
	m      *Manager
	boot   func() time.Duration
	caller context.Context
	after  context.Context // of what must still be done when the caller's has ended
	ref    statelatch.Ref
	req    Request

	wait  wait
	line  waiter
	sent  writes
	items items
	last  lastHolder
	left  bool // something of ours stays as it is: the error says why
}

func (a *attempt) run(ctx context.Context) (*Tenure, error) {
	for {
		lastTry := a.wait.over()
		t, err := a.try(ctx, lastTry)
		if err == nil {
			return t, nil
		}
		if a.final(err, lastTry) {
			return nil, a.leave(ctx, err)
		}
		if err := a.pause(ctx, errors.Is(err, statelatch.ErrLocked)); err != nil {
			return nil, a.leave(ctx, err)
		}
	}
}

// try makes one attempt at the whole lock: the object, the fence, the table.
func (a *attempt) try(ctx context.Context, lastTry bool) (*Tenure, error) {
	won, err := a.lockObject(ctx, lastTry)
	if err != nil {
		return nil, err
	}
	t, err := a.enter(ctx, won)
	if err == nil && t.ttl > 0 && t.inTime() != nil {
		// Somebody may have taken it over while the last answer was under way.
		return nil, a.giveUp(t, a.conflict("its lease was over when the last answer came")) //nolint:contextcheck // it goes on when ctx has ended
	}
	return t, err
}

// lockObject makes one attempt at the lock object. While somebody is known to hold the lock it only looks, which
// costs a twelfth of a refused write; the last try always writes.
func (a *attempt) lockObject(ctx context.Context, lastTry bool) (Held, error) {
	for handovers := 0; ; handovers++ {
		refused := statelatch.ErrPreconditionFailed
		if (a.wait.holder == nil || lastTry) && a.last.under == nil {
			var won Held
			if won, refused = a.create(ctx); refused == nil {
				return won, nil
			}
		}
		if !errors.Is(refused, statelatch.ErrPreconditionFailed) && !a.sent.unknown {
			return Held{}, refused
		}
		h, mine, err := a.look(ctx)
		switch {
		case mine:
			return a.rekey(ctx, h)
		case err == nil:
			return a.occupied(ctx, h)
		case errors.Is(err, statelatch.ErrDenied) && a.wait.holder != nil && !lastTry:
			a.wait.holder = nil // what could be read may not be any more, so ask the only way that is left
			continue
		case errors.Is(err, statelatch.ErrDenied) && errors.Is(refused, statelatch.ErrPreconditionFailed):
			a.announce(Held{Ref: a.ref, Err: err}, 0)
			return Held{}, &statelatch.LockedError{Ref: a.ref, Err: err}
		case !errors.Is(err, statelatch.ErrNotLocked):
			return Held{}, err
		}
		if a.wait.holder != nil && a.wait.holder.Item != nil && !lastTry {
			if err := a.stillInTable(ctx); err != nil {
				return Held{}, err
			}
		}
		a.wait.holder = nil
		if a.last.under != nil { // it is gone, so it is taken like any other
			a.last.under, a.sent.create = nil, nil
		}
		if !errors.Is(refused, statelatch.ErrPreconditionFailed) {
			return Held{}, refused
		}
		if handovers == transientTries {
			return Held{}, a.conflict("the lock was refused as taken and absent when read, again and again: " +
				"either it changes hands very fast, or the store counts a deleted object as an existing one")
		}
		// It was held and is free now, the hand-over window of B2: go at once.
	}
}

// occupied deals with somebody else's lock object: it is over and taken over, or waited for.
func (a *attempt) occupied(ctx context.Context, h Held) (Held, error) {
	left, provable := a.wait.watch.see(h, a.boot())
	if a.sent.swap == "" {
		a.last.under = nil // of a lock that is not there any more: no swap of it can land
	}
	if a.req.TTL > 0 && a.req.Under != nil && h.Managed != nil && h.Err == nil && a.req.Under(h) {
		if won, err := a.workUnder(ctx, h); !errors.Is(err, statelatch.ErrLocked) {
			return won, err
		}
	}
	if a.req.TakeOver && h.Leased() && !h.Stays() && left > 0 && a.req.Gone != nil && a.req.Gone(h) {
		left = 0
	}
	switch {
	case !provable || !a.req.TakeOver:
		left = 0
	case left == 0:
		return a.takeExpired(ctx, h)
	}
	a.wait.watchLease(h, left)
	a.wait.seen(h)
	a.announce(h, left)
	return Held{}, h.LockedError()
}

// takeExpired takes over a lock that is over.
func (a *attempt) takeExpired(ctx context.Context, h Held) (Held, error) {
	if h.Leased() && a.req.TTL == 0 {
		return Held{}, a.removeExpired(ctx, h)
	}
	won, err := a.takeOver(ctx, h)
	if errors.Is(err, statelatch.ErrPreconditionFailed) {
		err = a.conflict("the lock changed hands while it was being taken over")
	}
	return won, err
}

// removeExpired removes a lock with a lease that is over, for one without: that could not be left to its lease if the
// fence failed. ErrConflict: it is removed, or changed hands; try again.
func (a *attempt) removeExpired(ctx context.Context, h Held) error {
	by := a.req
	by.ID = ""
	h, err := a.m.withItem(ctx, h)
	if err != nil {
		return err
	}
	_, err = a.m.ForceRelease(ctx, h, by)
	if err == nil {
		a.tellTakeOver(h)
	}
	if err == nil || errors.Is(err, statelatch.ErrLocked) || errors.Is(err, statelatch.ErrNotLocked) {
		return a.conflict("a lock that was over was removed or changed hands")
	}
	a.left = true
	return err
}

// final decides whether err ends the attempt. The end of ctx is for pause to see.
func (a *attempt) final(err error, lastTry bool) bool {
	switch {
	case a.left, hopeless(err):
		return true
	case errors.Is(err, statelatch.ErrLocked):
		a.wait.failures = 0
		return lastTry && a.wait.over() // watching a lease may have moved the deadline
	}
	a.wait.failures++
	return (lastTry || statelatch.Expired(err)) && a.wait.failures >= transientTries
}

// hopeless reports whether waiting cannot mend err.
func hopeless(err error) bool {
	for _, kind := range []error{
		statelatch.ErrUnsupported, statelatch.ErrUnsafeStore, statelatch.ErrDenied, statelatch.ErrNotFound,
		statelatch.ErrInvalid,
	} {
		if errors.Is(err, kind) && !errors.Is(err, statelatch.ErrLocked) {
			return !statelatch.Expired(err)
		}
	}
	return false
}

// create sends the lock once. A create whose outcome is unknown is re-sent with the same body (R1).
func (a *attempt) create(ctx context.Context) (Held, error) {
	if a.sent.create == nil || !a.sent.unknown {
		a.sent.create = a.fresh(nil)
	}
	won, err := a.send(ctx, a.sent.create, bucket.IfAbsent)
	if err == nil && a.sent.unknown {
		return a.rekey(ctx, won)
	}
	return won, err
}

// send writes the lock object, and returns it as it is then.
func (a *attempt) send(ctx context.Context, body []byte, cond bucket.Condition) (Held, error) {
	if len(body) > maxBody {
		return Held{}, fmt.Errorf("%w lock request: the lock object would have %d bytes, more than %d: shorten "+
			"Info, Reason or Run",
			statelatch.ErrInvalid, len(body), maxBody)
	}
	a.sent.at = a.boot()
	obj, err := a.m.put(ctx, a.ref, body, cond)
	if a.sent.answered(cond, err); err != nil {
		return Held{}, err
	}
	info, err := statelatch.ParseLockInfo(body)
	return Held{
		Ref: a.ref, Info: info, Managed: statelatch.ParseManaged(body), ETag: obj.ETag, Err: err,
		VersionID: obj.VersionID, body: body,
	}, nil
}

// look reads the lock and reports whether it is exactly something this attempt wrote. That can be so after a 412 too:
// somebody on the way may have sent our request twice.
func (a *attempt) look(ctx context.Context) (h Held, mine bool, err error) {
	h, err = a.m.read(ctx, a.ref)
	mine, refused := a.sent.read(h, err)
	if refused {
		a.last.lock = nil
	}
	return h, mine, err
}

// rekey rewrites a lock of ours whose create had an unknown outcome, so that a copy of the
// create that is still under way can be told apart from it (R3). ErrConflict: it is not ours any more.
func (a *attempt) rekey(ctx context.Context, h Held) (Held, error) {
	won, err := a.send(ctx, a.fresh(a.last.lock), bucket.IfMatch(h.ETag))
	if refusedOrGone(err) {
		err = a.conflict("the lock was taken away while it was being confirmed")
	}
	return won, err
}

// refusedOrGone reports whether a compare-and-swap was refused because the object is another or none.
func refusedOrGone(err error) bool {
	return errors.Is(err, statelatch.ErrPreconditionFailed) ||
		errors.Is(err, statelatch.ErrNotFound) && !errors.Is(err, statelatch.ErrNoBucket)
}

func (a *attempt) conflict(message string) error {
	return &statelatch.StoreError{
		Kind: statelatch.ErrConflict, Op: "put", Bucket: a.ref.Bucket, Key: a.ref.LockKey(), Message: message,
	}
}

func (a *attempt) info() statelatch.LockInfo {
	if a.items.landed > 0 {
		return a.items.info // so that the item is recognised when it appears
	}
	if a.last.under != nil {
		return a.last.under.Info // for all who look, also in the table, it is the same lock
	}
	return statelatch.LockInfo{
		ID: a.req.ID, Operation: a.req.Operation, Info: a.req.Info, Who: a.req.Who,
		Version: a.req.Version, Created: a.m.now().UTC(), Path: a.ref.Path(),
	}
}

// fresh makes a body that was never sent before: every one has its own nonce (R1). prev is the lock that it replaces.
func (a *attempt) fresh(prev *Held) []byte {
	m := statelatch.Managed{
		Nonce: pace.HexNonce(), Seq: uint64(len(a.sent.bodies) + 1), TTL: a.req.TTL, Expires: a.req.Expires,
		Reason: a.req.Reason, Client: a.req.Client, Run: a.req.Run, Through: a.req.Through,
	}
	if a.m.Table != nil {
		m.Table = a.m.Table.Name()
	}
	if under := a.last.under; under != nil {
		m.Stays, m.Reason, m.Run = true, under.Managed.Reason, under.Managed.Run
		m.Expires = under.expiresLeft(0)
	} else if prev != nil {
		m.PrevID, m.PrevETag = prev.Info.ID, prev.ETag
	}
	body := a.info().MarshalManaged(m)
	a.sent.bodies = append(a.sent.bodies, body)
	return body
}

func (a *attempt) announce(h Held, takeOver time.Duration) {
	if left := time.Until(a.wait.deadline); left > 0 && a.req.OnWait != nil {
		a.req.OnWait(Waiting{Held: h, Changed: a.wait.changed(h), Left: left, TakeOver: takeOver})
	}
}

// pause sleeps before the next try. Others of the process look for those behind them in the line, but a lease must be
// watched by each.
func (a *attempt) pause(ctx context.Context, held bool) error {
	d := a.wait.pause(held)
	if !held || a.wait.failures > 0 {
		return pace.Sleep(ctx, d)
	}
	if a.line.enter(place{a.m.Bucket, a.ref.LockKey()}); !a.req.TakeOver && a.line.behind() {
		d = a.wait.cut(pace.Jitter(pollBehind))
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	case released := <-a.line.woken:
		if released && a.wait.holder != nil && a.wait.holder.Item == nil {
			a.wait.holder = nil // so it is not looked at first
		}
	}
	return nil
}
