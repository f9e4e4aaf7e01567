package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/state"
)

// ownLease is the lease of the lock under which a state is deleted or written for who took none.
const ownLease = time.Minute

// writeTries is how often a write follows a lock that another gateway has written meanwhile.
const writeTries = 3

// OpenState reads the state at key: one version, in one request. Engines ask for a state by a HEAD and one or more
// ranges; again is for the ranges, which are of the version that the HEAD was of.
//
//	nil           there it is, or Version.Exists is false: there is none
//	*DeniedError  the rules do not allow it
//	other         of the store
func (g *Gateway) OpenState(ctx context.Context, c Caller, key string, again bool) (*Reading, error) {
	ref, err := g.ref(key)
	if err != nil {
		return nil, err
	}
	if err := g.allow(c, key, access.Read); err != nil {
		return nil, err
	}
	p := g.procs.of(c, key)
	if err := p.take(ctx); err != nil {
		return nil, err
	}
	defer p.done()
	if r := p.reading; again && c.Engine && r != nil && r.fresh(c) {
		return r.use(), nil
	}
	v, body, err := g.cfg.States.Open(ctx, ref)
	if err != nil {
		return nil, err
	}
	r := &Reading{Version: v, body: body, at: time.Now(), signed: c.Signed}
	p.read(r)
	return r.use(), nil
}

// forget ends the use of what was read last.
func (p *process) forget() {
	if p.reading != nil {
		_ = p.reading.Close() // it only removes what was kept
		p.reading = nil
	}
}

// read remembers what the process has read, for a while.
func (p *process) read(r *Reading) {
	p.forget()
	p.base = &r.Version
	if !r.Version.Exists {
		return // nothing more will be asked for
	}
	p.reading = r.use()
	time.AfterFunc(readingTime, func() {
		p.turn <- struct{}{}
		defer p.done()
		if p.reading == r {
			p.forget()
		}
	})
}

// OpenVersion reads one version of the state at key that the bucket keeps. Errors as for OpenState; ErrNotFound: there
// is no such version. The caller closes the body.
func (g *Gateway) OpenVersion(
	ctx context.Context, c Caller, key, versionID string,
) (state.Version, io.ReadSeekCloser, error) {
	ref, err := g.ref(key)
	if err != nil {
		return state.Version{}, nil, err
	}
	if err := g.allow(c, key, access.Read); err != nil {
		return state.Version{}, nil, err
	}
	return g.cfg.States.OpenVersion(ctx, ref, versionID)
}

// WriteState stores body as the state at key, if the process holds the lock and body follows on what is stored, as
// state.Session.Write judges. It reads body several times.
//
//	nil            it is stored
//	*RefusedError  the process does not hold the lock, or what is stored is not what body was built on
//	*DeniedError   the rules do not allow it
//	ErrInvalid     body is no state
//	ErrConflict    the request came late, and may be of an earlier lock: who still waits sends it again
//	ErrAmbiguous   it may be stored or may be yet: the same request again finds out
//	other          of the store; it is not stored
func (g *Gateway) WriteState(ctx context.Context, c Caller, key string, body io.ReadSeeker) (state.Version, error) {
	ref, err := g.ref(key)
	if err != nil {
		return state.Version{}, err
	}
	if err := g.allow(c, key, access.Write); err != nil {
		return state.Version{}, err
	}
	p := g.procs.of(c, key)
	if err := p.take(ctx); err != nil {
		return state.Version{}, err
	}
	defer p.done()
	ctx, cancel := outlast(ctx)
	defer cancel()
	if err := g.intend(ctx, c, audit.Push, ref); err != nil {
		return state.Version{}, err
	}
	for try := 1; ; try++ {
		v, err := g.writeLocked(ctx, c, p, ref, body)
		lockID := p.lockID()
		if isNotLocked(err) && p.lockLost == nil {
			if v, lockID, err = g.writeUnlocked(ctx, c, ref, body); err != nil {
				return state.Version{}, err
			}
		}
		moved, ok := errors.AsType[*movedError](err)
		switch {
		case err == nil:
			p.base = &v
			p.forget()
			g.record(c, audit.Event{
				Action: audit.Push, Outcome: audit.OK, Ref: ref.String(), LockID: lockID,
				SerialAfter: v.Serial(), ETagAfter: v.ETag, VersionID: v.VersionID, Lineage: v.Header.Lineage,
			})
			return v, nil
		case ok && owns(c, moved.now.Managed) && try < writeTries: // another gateway wrote it for the same process
			g.finds(p, moved.now)
			p.session = nil
			continue
		case errors.Is(err, statelatch.ErrLockLost):
			return state.Version{}, g.lostWhileWriting(ctx, p, ref, err)
		case isNotLocked(err):
			return state.Version{}, g.lostWhileWriting(ctx, p, ref, p.lockLost)
		}
		p.session = nil
		return state.Version{}, err
	}
}

// lostWhileWriting words the refusal of a write of a process that held the lock.
func (g *Gateway) lostWhileWriting(ctx context.Context, p *process, ref statelatch.Ref, err error) error {
	p.loses(err)
	now, statusErr := g.cfg.Locks.Status(ctx, ref)
	if statusErr == nil {
		return refused(now.LockedError(), "the state %s was not written: the lock was taken from this process", ref)
	}
	return refused(nil, "the state %s was not written: the lock was taken from this process; "+
		"keep your state, lock again and compare before you store it", ref)
}

// writeLocked writes under the process's lock. ErrNotLocked: nobody has one. ErrLockLost: the process had one.
func (g *Gateway) writeLocked(
	ctx context.Context, c Caller, p *process, ref statelatch.Ref, body io.ReadSeeker,
) (state.Version, error) {
	if id := p.conns[c.Conn]; p.held != nil && c.ID == "" && id != "" && id != p.held.Info.ID {
		return state.Version{}, refused(p.held.LockedError(), "the state %s was not written: the lock that this "+
			"connection took, %s, is not held any more", ref, id)
	}
	if p.held == nil {
		under, err := g.findLock(ctx, c, p, ref)
		if err != nil {
			return state.Version{}, err
		}
		if under != nil {
			return g.writeUnder(ctx, c, p, *under, body)
		}
	}
	if err := g.enter(ctx, c, p); err != nil {
		return state.Version{}, err
	}
	opts := g.engineWrite(c, p.held.Info.ID)
	t := &tenure{g: g, p: p, h: *p.held}
	if p.session != nil || p.base != nil {
		v, err := g.writeOn(ctx, t, p, body, opts)
		if !errors.Is(err, statelatch.ErrPreconditionFailed) && !errors.Is(err, state.ErrGuarded) {
			return v, err
		}
	}
	x, err := g.cfg.States.Begin(ctx, t)
	if err != nil {
		return state.Version{}, err
	}
	defer x.Close()
	p.session = x
	v, err := p.write(ctx, x, body, opts)
	if errors.Is(err, state.ErrGuarded) || errors.Is(err, statelatch.ErrPreconditionFailed) {
		p.session = nil
		err = refused(err, "the state %s was not written: it does not follow on what is stored", ref)
	}
	return v, err
}

// enter makes the process's lock one under which the state may be changed here: it names this gateway, and no delete of
// it may land.
func (g *Gateway) enter(ctx context.Context, c Caller, p *process) error {
	if err := c.stale(*p.held); err != nil {
		return err
	}
	if p.leaving || p.held.Managed.Through.Gateway != g.cfg.Name {
		h, err := g.mark(ctx, p, *p.held)
		if err != nil {
			p.held, p.session = nil, nil
			return err
		}
		p.held, p.leaving = &h, false
	}
	return nil
}

// engineWrite are the terms of a write of an engine under a lock.
func (g *Gateway) engineWrite(c Caller, lockID string) state.WriteOptions {
	by := state.Provenance{LockID: lockID, Principal: c.Principal.Name}
	if c.Run != nil {
		by.Run = c.Run.URL
	}
	return state.WriteOptions{OfEngine: true, Provenance: by}
}

// writeOn writes on what the process has read or written last, which costs no reading again.
func (g *Gateway) writeOn(
	ctx context.Context, t *tenure, p *process, body io.ReadSeeker, opts state.WriteOptions,
) (v state.Version, err error) {
	x := p.session
	if x == nil {
		x, err = g.cfg.States.Resume(ctx, t, *p.base)
	} else {
		err = t.Verify(ctx)
	}
	if err != nil {
		return state.Version{}, err
	}
	p.session = x
	return p.write(ctx, x, body, opts)
}

// write writes under the process's lock. What was stored then proves that no write on what was there before can land;
// that there was nothing to write proves nothing.
func (p *process) write(
	ctx context.Context, x *state.Session, body io.ReadSeeker, opts state.WriteOptions,
) (state.Version, error) {
	before := x.Base()
	v, err := x.Write(ctx, body, opts)
	if err == nil && v.ETag != before.ETag {
		p.doubt = nil
	}
	return v, err
}

// findLock reads the lock, and remembers it if it is the process's. It returns a lock with a lease that a client of the
// same principal holds, such as 'statelatch run': its engine writes under it.
func (g *Gateway) findLock(
	ctx context.Context, c Caller, p *process, ref statelatch.Ref,
) (under *lock.Held, err error) {
	now, err := g.cfg.Locks.Status(ctx, ref)
	switch {
	case err != nil:
		return nil, err
	case !owns(c, now.Managed):
		if p.lockLost != nil {
			return nil, fmt.Errorf("%w: %w", p.lockLost, now.LockedError())
		}
		if now.Leased() {
			obj, err := g.cfg.Locks.Bucket.Head(ctx, ref.LockKey(), bucket.ReadOptions{})
			if err == nil && obj.ETag == now.ETag && obj.Metadata[metaPrincipal] == printable(c.Principal.Name) {
				return &now, nil
			}
		}
		return nil, refused(now.LockedError(), "the state %s was not written: this process does not hold its lock", ref)
	}
	if id := p.conns[c.Conn]; c.ID == "" && id != "" && id != now.Info.ID {
		return nil, refused(now.LockedError(), "the state %s was not written: the lock that this connection took, %s, is "+
			"not held any more", ref, id)
	}
	g.finds(p, now)
	return nil, nil
}

// writeUnder writes under the lock of a client of the same principal.
func (g *Gateway) writeUnder(
	ctx context.Context, c Caller, p *process, h lock.Held, body io.ReadSeeker,
) (state.Version, error) {
	x, err := g.cfg.States.Begin(ctx, &tenure{g: g, p: p, h: h, renewed: true})
	if err != nil {
		return state.Version{}, err
	}
	defer x.Close()
	v, err := x.Write(ctx, body, g.engineWrite(c, h.Info.ID))
	if errors.Is(err, state.ErrGuarded) || errors.Is(err, statelatch.ErrPreconditionFailed) {
		err = refused(err, "the state %s was not written: it does not follow on what is stored", h.Ref)
	}
	return v, err
}

// writeUnlocked writes for a process that took no lock, under one that is taken for it, and returns the ID of that.
func (g *Gateway) writeUnlocked(
	ctx context.Context, c Caller, ref statelatch.Ref, body io.ReadSeeker,
) (v state.Version, lockID string, err error) {
	if err := g.allow(c, ref.Key, access.WriteUnlocked); err != nil {
		return state.Version{}, "", refused(err, "the state %s was not written: nobody holds its lock", ref)
	}
	err = g.underOwnLock(ctx, c, ref, "write without a lock", func(t *lock.Tenure) error {
		x, err := g.cfg.States.Begin(ctx, t)
		if err != nil {
			return err
		}
		defer x.Close()
		lockID = t.Held().Info.ID
		v, err = x.Write(ctx, body, g.engineWrite(c, lockID))
		return err
	})
	if errors.Is(err, state.ErrGuarded) {
		err = refused(err, "the state %s was not written: it does not follow on what is stored", ref)
	}
	return v, lockID, err
}

// underOwnLock does something under a lock with a lease, which the gateway renews itself.
func (g *Gateway) underOwnLock(
	ctx context.Context, c Caller, ref statelatch.Ref, operation string, do func(*lock.Tenure) error,
) error {
	t, err := g.cfg.Locks.Acquire(ctx, ref, lock.Request{
		Operation: operation, Who: c.Principal.Name, Run: c.Run, Through: g.through(c), TTL: ownLease,
	})
	if err != nil {
		return err
	}
	err = do(t)
	_, releaseErr := t.Release(ctx)
	return errors.Join(err, releaseErr)
}

// DeleteState deletes the state at key, as engines delete that of a workspace: under its lock, which is taken for the
// process where it has none, and only if it is what the process read last.
//
//	nil            it is gone, or there was none
//	*RefusedError  somebody wrote it after the process had read it; nothing was deleted
//	*LockedError   somebody else holds the lock; nothing was deleted
//	*DeniedError   the rules do not allow it
//	ErrAmbiguous   it may be gone, or may be yet
//	other          of the store
func (g *Gateway) DeleteState(ctx context.Context, c Caller, key string) error {
	ref, err := g.ref(key)
	if err != nil {
		return err
	}
	if err := g.allow(c, key, access.Delete); err != nil {
		return err
	}
	p := g.procs.of(c, key)
	if err := p.take(ctx); err != nil {
		return err
	}
	defer p.done()
	ctx, cancel := outlast(ctx)
	defer cancel()
	if err := g.intend(ctx, c, audit.WorkspaceDelete, ref); err != nil {
		return err
	}
	read := p.base
	var was state.Version
	remove := func(t state.Tenure) error {
		x, err := g.cfg.States.Begin(ctx, t)
		if err != nil {
			return err
		}
		defer x.Close()
		if was = x.Base(); read != nil && was.Exists && !was.SameContent(*read) {
			return refused(nil, "the state %s was not deleted: it was written after this process had read it", ref)
		}
		return x.Delete(ctx)
	}
	if p.held != nil {
		if err = g.enter(ctx, c, p); err == nil {
			err = remove(&tenure{g: g, p: p, h: *p.held})
		}
	} else {
		err = g.underOwnLock(ctx, c, ref, "delete", func(t *lock.Tenure) error { return remove(t) })
	}
	if err == nil || errors.Is(err, statelatch.ErrAmbiguous) {
		e := audit.Event{
			Action: audit.WorkspaceDelete, Outcome: audit.OK, Ref: ref.String(), ETagBefore: was.ETag,
			SerialBefore: was.Serial(), Lineage: was.Header.Lineage,
		}
		if err != nil {
			e.Outcome = audit.Unknown
		}
		g.record(c, e)
		p.session, p.base = nil, nil
	}
	return err
}
