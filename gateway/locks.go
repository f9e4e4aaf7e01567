package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/lock"
)

func isNotLocked(err error) bool { return errors.Is(err, statelatch.ErrNotLocked) }

// Lock takes the lock of the state at key, for an engine that asks with want. It does not wait. A process that has the
// lock already, by the same ID, has it: its first answer was lost.
//
//	nil           the lock is the process's
//	*LockedError  somebody else holds it; the next ReadLock of the process shows who, also if that one has gone by then
//	*DeniedError  the rules do not allow it
//	ErrInvalid    want has no ID, or key is of no state
//	other         as of lock.Manager.Acquire
func (g *Gateway) Lock(ctx context.Context, c Caller, key string, want statelatch.LockInfo) (lock.Held, error) {
	ref, err := g.ref(key)
	switch {
	case err != nil:
		return lock.Held{}, err
	case want.ID == "":
		return lock.Held{}, fmt.Errorf("%w lock of %s: it has no ID", statelatch.ErrInvalid, ref)
	}
	if err := g.allow(c, key, access.Lock); err != nil {
		return lock.Held{}, err
	}
	p := g.procs.of(c, key)
	if err := p.take(ctx); err != nil {
		return lock.Held{}, err
	}
	defer p.done()
	if by, over := p.hasEnded(want.ID); over {
		switch {
		case c.Signed.IsZero() || by.IsZero():
			return lock.Held{}, refused(nil, "the lock %s of %s was not taken: this process has released it, so the request "+
				"came late", want.ID, ref)
		case !c.Signed.After(by):
			return lock.Held{}, c.cameLate(ref)
		}
		p.begins(want.ID)
	}
	if p.refused != nil && p.askedFor == want.ID && p.repeats(c) {
		return lock.Held{}, p.refused // it came late, or twice: its client was told so, and waits or has gone
	}
	p.refused = nil
	h, won, err := g.acquire(ctx, c, p, ref, want)
	if locked, ok := errors.AsType[*statelatch.LockedError](err); ok {
		p.refused, p.asked, p.askedFor, p.at, p.told = locked, c, want.ID, time.Now(), false
		if p.held != nil && p.held.ETag != locked.ETag {
			p.held = nil // it is not there any more
		}
	}
	if err != nil {
		return lock.Held{}, err
	}
	if won {
		p.holds(h)
		p.forget()
	}
	p.knows(c.Conn, h.Info.ID)
	if ctx.Err() != nil && won {
		return lock.Held{}, g.abandon(ctx, c, p)
	}
	g.record(c, audit.Event{
		Action: audit.Lock, Outcome: audit.OK, Ref: ref.String(), LockID: h.Info.ID, Operation: h.Info.Operation,
		ETagAfter: h.ETag,
	})
	return h, nil
}

// repeats reports whether a request for the lock is a try before the one that p was refused last, or that one again.
// Engines look who has the lock before they ask once more.
func (p *process) repeats(c Caller) bool {
	if c.Signed.Equal(p.asked.Signed) && c.Attempt == p.asked.Attempt && c.Call == p.asked.Call {
		return c.Engine && !p.told
	}
	return !c.after(p.asked)
}

// acquire takes the lock, which won reports, or finds that the process has it. What it finds is marked: whoever took it
// for the process may be about to remove it, having lost the client, and a delete of it may be under way.
func (g *Gateway) acquire(
	ctx context.Context, c Caller, p *process, ref statelatch.Ref, want statelatch.LockInfo,
) (h lock.Held, won bool, err error) {
	for {
		t, err := g.cfg.Locks.Acquire(ctx, ref, lock.Request{
			ID: want.ID, Operation: want.Operation, Info: want.Info, Who: want.Who, Version: want.Version,
			Run: c.Run, Through: g.through(c),
		})
		if err == nil {
			return t.Held(), true, nil
		}
		locked, ok := errors.AsType[*statelatch.LockedError](err)
		if !ok || locked.Err != nil || locked.Managed == nil {
			return lock.Held{}, false, err
		}
		h := lock.Held{Ref: ref, Info: locked.Holder, Managed: locked.Managed, ETag: locked.ETag}
		switch {
		case owns(c, h.Managed) && h.Info.ID == want.ID:
			known := p.held != nil && p.held.ETag == h.ETag
			if g.finds(p, h); known && !p.leaving && h.Managed.Through.Gateway == g.cfg.Name {
				return h, false, nil
			}
			if h, err = g.mark(ctx, p, h); err != nil {
				p.held = nil
				return lock.Held{}, false, err
			}
			p.held, p.leaving = &h, false
			return h, false, nil
		case g.procs.over(h):
			if _, err := g.cfg.Locks.Release(ctx, h); err != nil && !errors.Is(err, statelatch.ErrLockLost) {
				return lock.Held{}, false, err
			}
			continue
		}
		return lock.Held{}, false, err
	}
}

// abandon releases a lock that was won for a client which has gone and cannot have heard of it.
func (g *Gateway) abandon(ctx context.Context, c Caller, p *process) error {
	settling, cancel := outlast(ctx)
	defer cancel()
	h := *p.held
	if _, err := g.cfg.Locks.Release(settling, h); err != nil && !errors.Is(err, statelatch.ErrLockLost) {
		g.cfg.Logger.Warn("a lock was won for a client that has gone, and could not be released", "ref", h.Ref,
			"id", h.Info.ID, "principal", c.Principal.Name, "err", err)
		p.leaving = true
	}
	p.loses(nil)
	return ctx.Err()
}

// LockObject is a lock object as a client is shown it.
type LockObject struct {
	Body     []byte    // as it is stored
	ETag     string    // of it
	Modified time.Time // by the store's clock, or ours where that was not asked
}

// ReadLock returns the lock object of the state at key. To a process whose lock was just refused it shows the holder
// that it was refused for, and to the holder its own lock, without asking: its release carries a condition.
//
//	nil           there it is
//	ErrNotLocked  there is none
//	*DeniedError  the rules do not allow it
//	other         of the store
func (g *Gateway) ReadLock(ctx context.Context, c Caller, key string) (LockObject, error) {
	ref, err := g.ref(key)
	if err != nil {
		return LockObject{}, err
	}
	if err := g.allow(c, key, access.Read, access.Lock, access.ForceUnlock); err != nil {
		return LockObject{}, err
	}
	p := g.procs.of(c, key)
	if err := p.take(ctx); err != nil {
		return LockObject{}, err
	}
	defer p.done()
	switch {
	case p.refused != nil && p.refused.Err == nil && time.Since(p.at) < refusedTime && p.tells(c):
		p.told = true // which is not shown in order to be ended
		return LockObject{Body: marshal(p.refused.Holder, p.refused.Managed), ETag: p.refused.ETag, Modified: p.at}, nil
	case p.held != nil && p.held.Err == nil && (c.ID != "" || p.conns[c.Conn] == p.held.Info.ID):
		p.shows(p.held.ETag)
		return LockObject{Body: marshal(p.held.Info, p.held.Managed), ETag: p.held.ETag, Modified: p.since}, nil
	}
	obj, body, err := bucket.ReadAll(ctx, g.cfg.Locks.Bucket, ref.LockKey(), statelatch.MaxLockInfo)
	if refused := p.refused; err == nil && refused != nil && p.held == nil && owns(c, statelatch.ParseManaged(body)) {
		// a late copy of the request that was refused has taken the lock, which the client will ask for again
		return LockObject{Body: marshal(refused.Holder, refused.Managed), ETag: refused.ETag, Modified: p.at}, nil
	}
	if errors.Is(err, statelatch.ErrNotFound) && !errors.Is(err, statelatch.ErrNoBucket) {
		return LockObject{}, fmt.Errorf("%w: %s", statelatch.ErrNotLocked, ref)
	}
	if err != nil {
		return LockObject{}, err
	}
	p.shows(obj.ETag)
	return LockObject{Body: body, ETag: obj.ETag, Modified: obj.LastModified}, nil
}

// tells reports whether the holder is to be shown that p was refused for: once, and to whatever the session asks right
// after it was, since a request that came late may have been told already. With a static key that may be another
// process.
func (p *process) tells(c Caller) bool {
	return !p.told || c.again() ||
		c.ID != "" && !c.Signed.IsZero() && c.Signed.Sub(p.asked.Signed).Abs() <= time.Second
}

// marshal is the lock object that info and m were read from, or written to.
func marshal(info statelatch.LockInfo, m *statelatch.Managed) []byte {
	if m == nil {
		return info.Marshal()
	}
	return info.MarshalManaged(*m)
}

// Unlock ends the lock of the state at key: the process's own, or, with the right to, that of somebody else, which it
// was shown, and whose holder can write no more then.
//
//	nil           there is no lock, or none that the process holds: what it has released before is released
//	ErrConflict   the request came late, and may be about an earlier lock: who still waits sends it again
//	*RefusedError the lock is not what the process was shown; nothing was removed
//	*DeniedError  it is somebody else's, and the rules do not allow to end that
//	other         as of lock.Manager.Release and ForceRelease
func (g *Gateway) Unlock(ctx context.Context, c Caller, key string) error {
	ref, err := g.ref(key)
	if err != nil {
		return err
	}
	if err := g.allow(c, key, access.Lock, access.ForceUnlock); err != nil {
		return err
	}
	p := g.procs.of(c, key)
	if err := p.take(ctx); err != nil {
		return err
	}
	defer p.done()
	ctx, cancel := outlast(ctx)
	defer cancel()
	had := p.tenure
	if p.held != nil {
		err := g.release(ctx, c, p, *p.held)
		if !errors.Is(err, statelatch.ErrLockLost) {
			return err
		}
		p.loses(err)
	}
	now, err := g.cfg.Locks.Status(ctx, ref)
	switch {
	case isNotLocked(err) && p.lockLost != nil && !c.again():
		lost := p.lockLost
		p.lockLost = nil
		return refused(lost, "nothing to release: the lock that this process held on %s was taken from it", ref)
	case isNotLocked(err):
		if had != "" {
			p.ends(had, c)
		}
		return nil
	case err != nil:
		return err
	case owns(c, now.Managed):
		g.finds(p, now)
		return g.release(ctx, c, p, now)
	case p.shown == now.ETag && p.meansShown(c):
		return g.force(ctx, c, p, now)
	case p.lockLost != nil && !c.again():
		return refused(now.LockedError(), "nothing was released: the lock that this process held on %s was taken from it",
			ref)
	case p.free && (c.ID != "" || c.again()):
		return nil // it was released before, and this is the request again
	case meant(c, now):
		return g.force(ctx, c, p, now)
	case c.again():
		return nil // the first try, whose answer was lost, may have been a release
	}
	if err := g.allow(c, key, access.ForceUnlock); err != nil {
		return err
	}
	return refused(now.LockedError(), "nothing was removed: the lock of %s is another than the one that was last shown "+
		"here, so read it first", ref)
}

// meant reports whether the session began after the lock was taken, for certain: who asks to end it saw it before.
func meant(c Caller, h lock.Held) bool {
	taken := h.Since
	if h.Managed != nil && h.Managed.Through != nil && !h.Managed.Through.Taken.IsZero() {
		taken = h.Managed.Through.Taken
	}
	return !c.Began.IsZero() && !taken.IsZero() && c.Began.After(taken.Add(clocks))
}

// meansShown reports whether a request to end a lock can be about the one that was shown last. A session that has had a
// lock is an engine at work, which ends no other; and what was signed before is late.
func (p *process) meansShown(c Caller) bool {
	return (c.ID == "" || !p.free) && (c.Signed.IsZero() || !c.Signed.Before(p.shownAt.Add(-clocks)))
}

var errMarked = errors.New("another gateway may have a write under way")

// mark writes the name of this gateway into a lock: from now on no other begins a write of the state, and no delete of
// the lock that is under way can land. A write that is under way can, until one of this gateway's own, or a fence.
func (g *Gateway) mark(ctx context.Context, p *process, h lock.Held) (lock.Held, error) {
	p.doubt = errMarked
	return g.cfg.Locks.Rewrite(ctx, h, func(m *statelatch.Managed) {
		own := *m.Through
		own.Gateway = g.cfg.Name
		m.Through = &own
	})
}

// release ends a lock that is the process's own. A write that may yet land, by this gateway or by the one that the lock
// names, must not land under the next holder: then the state is fenced first. The gateway that the lock names must mark
// it anew before it writes again, so it is marked before that: else such a write could begin behind the fence.
func (g *Gateway) release(ctx context.Context, c Caller, p *process, h lock.Held) error {
	if c.ID != "" && !p.unlocked.Signed.IsZero() && !c.after(p.unlocked) { // a later try has released what was meant
		return c.cameLate(h.Ref)
	}
	if err := c.stale(h); err != nil {
		return err
	}
	if h.Managed.Through.Gateway != g.cfg.Name {
		marked, err := g.mark(ctx, p, h)
		if err != nil {
			return err
		}
		h, p.held = marked, &marked
	}
	if p.doubt != nil {
		if err := g.cfg.Locks.Fence(ctx, h.Ref); err != nil {
			return fmt.Errorf("release lock of %s: a write of its holder may yet land, and could not be fenced out: %w", h.Ref,
				err)
		}
		p.doubt = nil
	}
	if _, err := g.cfg.Locks.Release(ctx, h); err != nil {
		p.leaving = true
		return err
	}
	p.loses(nil)
	p.ends(h.Info.ID, c)
	p.unlocked = c
	g.record(c, audit.Event{
		Action: audit.Unlock, Outcome: audit.OK, Ref: h.Ref.String(), LockID: h.Info.ID, Operation: h.Info.Operation,
		ETagBefore: h.ETag,
	})
	return nil
}

// force ends somebody else's lock.
func (g *Gateway) force(ctx context.Context, c Caller, p *process, h lock.Held) error {
	if err := g.allow(c, h.Ref.Key, access.ForceUnlock); err != nil {
		return err
	}
	if err := g.intend(ctx, c, audit.ForceUnlock, h.Ref); err != nil {
		return err
	}
	_, err := g.cfg.Locks.ForceRelease(ctx, h, lock.Request{
		Operation: "force-unlock", Who: c.Principal.Name, Run: c.Run, Reason: "forced through a gateway",
	})
	e := audit.Event{
		Action: audit.ForceUnlock, Outcome: audit.OK, Ref: h.Ref.String(), LockID: h.Info.ID, Holder: h.Holder(),
		ETagBefore: h.ETag,
	}
	switch {
	case err == nil:
		p.ends(h.Info.ID, c)
		p.lockLost = nil
	case errors.Is(err, statelatch.ErrAmbiguous):
		e.Outcome = audit.Unknown
	default:
		return err
	}
	g.record(c, e)
	return err
}
