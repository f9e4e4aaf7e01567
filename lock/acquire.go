package lock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

const (
	// pollMin and pollMax bound the pause between two looks at a held lock. The engines' grows to 16 s (W8).
	pollMin = 250 * time.Millisecond
	pollMax = time.Second
	// takeBackBudget bounds the search for a lock that an interrupted create left behind.
	takeBackBudget = 3 * time.Second
)

// Request says what to put into the lock object.
type Request struct {
	// ID, empty: a fresh one. One that is given must not be in use by another Acquire: attempts
	// are told apart by their whole lock info, and apart from the ID only by its time (R1).
	ID        string
	Operation string
	Info      string
	Who       string
	Version   string
	// Wait is how long to wait for another holder; 0 means a single attempt.
	Wait time.Duration
	// OnWait, if not nil, is called when waiting begins and whenever the holder changes. Of a holder
	// that may not be read it tells only why, in Err.
	OnWait func(Held)
}

// Acquire takes the lock of ref, waiting up to req.Wait for another holder to release it.
//
//	nil                the lock is held, with Info.Created the time it was won
//	*LockedError       somebody else holds it; nothing of ours is left
//	ErrUnsafeStore     the store has no create-if-absent or compare-and-swap; nothing is locked
//	ErrAmbiguous       it could not be found out within the budget whether the
//	                   lock is ours; the error names the ID to look for
//	other              nothing was locked
//
// It waits through every transient answer (B2, B3), keeps one ID for all attempts, and ends at once with ctx.
func (m *Manager) Acquire(ctx context.Context, ref statelatch.Ref, req Request) (Held, error) {
	if err := ref.Validate(); err != nil {
		return Held{}, err
	}
	if req.ID == "" {
		req.ID = m.newID()
	}
	a := &attempt{m: m, ref: ref, req: req, deadline: time.Now().Add(req.Wait)}
	return a.run(ctx)
}

// attempt is one Acquire in progress.
type attempt struct {
	m        *Manager
	ref      statelatch.Ref
	req      Request
	deadline time.Time

	holder   *Held    // who was last seen holding it; nil: as far as is known, nobody
	shown    *string  // the ETag that OnWait was last told; nil: it was not called
	body     []byte   // of the create last sent
	sent     [][]byte // every body sent: what was refused may land too, if it was copied on the way
	unknown  bool     // the outcome of a create was unknown at least once (R3)
	landed   int      // creates that may have been executed or may be yet
	failures int      // transient failures in a row
}

func (a *attempt) run(ctx context.Context) (Held, error) {
	for {
		lastTry := !time.Now().Before(a.deadline)
		won, err := a.try(ctx, lastTry)
		if err == nil {
			return won, nil
		}
		if a.final(err, lastTry) {
			return Held{}, a.leave(ctx, err)
		}
		if err := a.pause(ctx, errors.Is(err, statelatch.ErrLocked)); err != nil {
			return Held{}, a.leave(ctx, err)
		}
	}
}

// try makes one attempt. While somebody is known to hold the lock it only looks, which
// costs a twelfth of a refused write; the last try always writes.
func (a *attempt) try(ctx context.Context, lastTry bool) (Held, error) {
	for handovers := 0; ; handovers++ {
		refused := statelatch.ErrPreconditionFailed
		if a.holder == nil || lastTry {
			var won Held
			if won, refused = a.create(ctx); refused == nil {
				return won, nil
			}
		}
		if !errors.Is(refused, statelatch.ErrPreconditionFailed) && !a.unknown {
			return Held{}, refused
		}
		h, mine, err := a.look(ctx)
		switch {
		case mine:
			return a.rekey(ctx, h)
		case err == nil:
			a.holder = &h
			a.announce(h)
			return Held{}, h.LockedError()
		case errors.Is(err, statelatch.ErrDenied) && a.holder != nil && !lastTry:
			a.holder = nil // what could be read may not be any more, so ask the only way that is left
			continue
		case errors.Is(err, statelatch.ErrDenied) && errors.Is(refused, statelatch.ErrPreconditionFailed):
			a.announce(Held{Ref: a.ref, Err: err})
			return Held{}, &statelatch.LockedError{Ref: a.ref, Err: err}
		case !errors.Is(err, statelatch.ErrNotLocked):
			return Held{}, err
		}
		a.holder = nil
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

// final decides whether err ends the attempt. The end of ctx is for pause to see.
func (a *attempt) final(err error, lastTry bool) bool {
	switch {
	case errors.Is(err, statelatch.ErrLocked):
		a.failures = 0
		return lastTry
	case errors.Is(err, statelatch.ErrUnsupported), errors.Is(err, statelatch.ErrDenied),
		errors.Is(err, statelatch.ErrNotFound), errors.Is(err, statelatch.ErrInvalid):
		return true
	}
	a.failures++
	return lastTry && a.failures >= transientTries
}

// leave ends an attempt that did not win: it takes back a lock of ours that landed unseen,
// and words the error.
func (a *attempt) leave(ctx context.Context, err error) error {
	if errors.Is(err, statelatch.ErrUnsupported) {
		err = fmt.Errorf("%w: %w", statelatch.ErrUnsafeStore, err)
	}
	if !errors.Is(err, statelatch.ErrLocked) {
		err = fmt.Errorf("acquire lock %s: %w", a.ref, err)
	}
	if a.landed == 0 || a.takeBack(ctx) {
		return err
	}
	return fmt.Errorf("%w; %w: a lock with ID %s may still appear at s3://%s/%s",
		err, statelatch.ErrAmbiguous, a.req.ID, a.ref.Bucket, a.ref.LockKey())
}

// takeBack removes what interrupted creates of ours left behind, so that Ctrl-C during a slow write
// does not jam the state. It reports whether as many were removed as may have landed, and no more is seen.
func (a *attempt) takeBack(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBackBudget)
	defer cancel()
	for {
		h, mine, err := a.look(ctx)
		switch {
		case mine:
			_, err := a.m.remove(ctx, h)
			if err == nil {
				a.landed--
			} else if !errors.Is(err, statelatch.ErrLockLost) { // lost: a late rekey may have changed it, so look again
				return false
			}
		case a.landed == 0 && (err == nil || errors.Is(err, statelatch.ErrNotLocked)):
			return true
		}
		if sleep(ctx, pollMin) != nil {
			return false
		}
	}
}

// create sends the lock once. A create whose outcome is unknown is re-sent with the same body (R1).
func (a *attempt) create(ctx context.Context) (Held, error) {
	if a.body == nil || !a.unknown {
		a.body = a.info().Marshal()
		a.sent = append(a.sent, a.body)
	}
	obj, err := a.m.put(ctx, a.ref, a.body, bucket.IfAbsent)
	if errors.Is(err, statelatch.ErrAmbiguous) {
		a.unknown = true
		a.landed++
	}
	if err != nil {
		return Held{}, err
	}
	a.landed++
	won := a.held(a.body, obj.ETag)
	if a.unknown {
		return a.rekey(ctx, won)
	}
	return won, nil
}

// look reads the lock and reports whether it is exactly something this attempt wrote (R2: the whole
// body, not just the ID). That can be so after a 412 too: somebody on the way may have sent our request twice.
func (a *attempt) look(ctx context.Context) (h Held, mine bool, err error) {
	h, body, err := a.m.read(ctx, a.ref)
	if err != nil {
		return Held{}, false, err
	}
	mine = slices.ContainsFunc(a.sent, func(sent []byte) bool { return bytes.Equal(sent, body) })
	if mine {
		a.unknown = true
		a.landed = max(a.landed, 1)
	}
	return h, mine, nil
}

// rekey rewrites a lock of ours whose create had an unknown outcome, so that a copy of the
// create that is still under way can be told apart from it (R3). ErrConflict: it is not ours any more.
func (a *attempt) rekey(ctx context.Context, h Held) (Held, error) {
	info := a.info()
	if !info.Created.After(h.Info.Created) { // a clock that does not move would write the same body again
		info.Created = h.Info.Created.Add(time.Nanosecond)
	}
	fresh := info.Marshal()
	a.sent = append(a.sent, fresh)
	obj, err := a.m.put(ctx, a.ref, fresh, bucket.IfMatch(h.ETag))
	switch {
	case err == nil:
		return a.held(fresh, obj.ETag), nil
	case errors.Is(err, statelatch.ErrPreconditionFailed), errors.Is(err, statelatch.ErrNotFound):
		err = a.conflict("the lock was taken away while it was being confirmed")
	}
	return Held{}, err
}

func (a *attempt) conflict(message string) error {
	return &statelatch.StoreError{
		Kind: statelatch.ErrConflict, Op: "put", Bucket: a.ref.Bucket, Key: a.ref.LockKey(), Message: message,
	}
}

func (a *attempt) info() statelatch.LockInfo {
	return statelatch.LockInfo{
		ID: a.req.ID, Operation: a.req.Operation, Info: a.req.Info, Who: a.req.Who,
		Version: a.req.Version, Created: a.m.now().UTC(), Path: a.ref.Path(),
	}
}

func (a *attempt) held(body []byte, etag string) Held {
	info, err := statelatch.ParseLockInfo(body)
	return Held{Ref: a.ref, Info: info, ETag: etag, Err: err}
}

func (a *attempt) announce(h Held) {
	if a.req.OnWait != nil && (a.shown == nil || *a.shown != h.ETag) && time.Now().Before(a.deadline) {
		a.shown = &h.ETag
		a.req.OnWait(h)
	}
}

// pause sleeps before the next look, not beyond the deadline unless it has passed.
func (a *attempt) pause(ctx context.Context, held bool) error {
	d := backoff(a.failures)
	if held && a.failures == 0 {
		d = pollMin + jitter(pollMax-pollMin)
	}
	if left := time.Until(a.deadline); left > 0 {
		d = min(d, left)
	}
	return sleep(ctx, d)
}

func (m *Manager) put(ctx context.Context, ref statelatch.Ref, body []byte, cond bucket.Condition) (bucket.Object, error) {
	return m.Bucket.Put(ctx, ref.LockKey(), bytes.NewReader(body), bucket.PutOptions{If: cond})
}
