package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/state"
)

// RollbackOptions are the terms of a rollback.
type RollbackOptions struct {
	Selector   string // of the version to go back to, as for Find
	Force      bool   // skips the guards of package state
	KeepSerial bool   // an encrypted version, which cannot be edited, keeps its serial
}

// Rollback is what a rollback will do.
type Rollback struct {
	Ref  statelatch.Ref // of the state
	Now  state.Version  // what is stored
	From Entry          // the same as it was listed; zero if there is none
	To   Entry          // read whole
	// Newest is the highest serial of the entries that the plan was made of, Serial the one that the state will have.
	Newest, Serial uint64
	Unchanged      bool // the content is that of To already

	opts RollbackOptions
}

// PlanRollback finds the version among the entries of ref, which List returned with their headers, reads it, and
// refuses what must not be done. If all versions are not among them, Serial is a guess: it must be above every other's
// (B29). The caller closes the body.
//
//	ErrNotFound  there is no such version
//	ErrConflict  the state was written since it was listed
//	ErrInvalid   it is no state, or must not be written
func PlanRollback(
	ctx context.Context, s *state.Store, ref statelatch.Ref, entries []Entry, all bool, opts RollbackOptions,
) (p Rollback, body io.ReadSeekCloser, err error) {
	p.Ref, p.opts = ref, opts
	p.To, err = Find(entries, opts.Selector)
	if errors.Is(err, statelatch.ErrNotFound) && !all {
		p.To, err = Resolve(ctx, s, ref, opts.Selector)
	}
	if err != nil {
		return p, nil, err
	}
	p.From, _ = Find(entries, Current)
	if p.Now = p.From.Version; p.Now.MD5 == "" { // it was not read whole
		if p.Now, err = s.Mark(ctx, ref); err != nil {
			return p, nil, err
		}
	}
	p.Newest = p.Now.Header.Serial
	for _, e := range entries {
		p.Newest = max(p.Newest, e.Header.Serial)
	}
	if p.Now.Exists != p.From.Exists || p.Now.ETag != p.From.ETag { // 'previous' would be another one
		return p, nil, fmt.Errorf("%w: %s was written while its versions were listed; nothing was changed: repeat",
			statelatch.ErrConflict, ref)
	}
	v, body, err := Open(ctx, s, p.To)
	if err != nil {
		return p, nil, err
	}
	if p.To, err = Place(ctx, s, p.To, v); err == nil {
		shown := []Entry{p.From, p.To}
		err = Attribute(ctx, s, ref, shown)
		p.From, p.To = shown[0], shown[1]
	}
	if err == nil {
		err = p.judge()
	}
	if err != nil {
		return p, nil, errors.Join(err, body.Close())
	}
	return p, body, nil
}

// judge refuses what must not be done, and decides on the serial.
func (p *Rollback) judge() error {
	header := p.To.Header
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w version %q of %s: %s; nothing was changed", statelatch.ErrInvalid, p.To.Name(), p.Ref,
			fmt.Sprintf(format, args...))
	}
	switch p.Unchanged = p.To.SameContent(p.Now); {
	case p.Unchanged:
		return nil
	case p.To.Unfit() != nil:
		return refuse("it is no state: %v", p.To.Unfit())
	case header.Empty:
		return refuse("it has zero bytes")
	case header.Encrypted() && !p.opts.KeepSerial:
		return refuse("it is encrypted, so its serial, %d, cannot be raised above %d, the highest of any version: add "+
			"-keep-serial to write it with its old serial", header.Serial, p.Newest)
	case !header.Encrypted() && p.opts.KeepSerial:
		return refuse("-keep-serial is for encrypted versions alone: this one's serial is raised")
	case p.Newest == math.MaxUint64:
		return refuse("a version has the highest serial there is, %d", p.Newest)
	}
	if !p.opts.Force {
		if err := state.Guard(p.Now, p.To.Version, p.WriteOptions()); err != nil {
			return fmt.Errorf("%w; nothing was changed; -force if it is meant all the same", err)
		}
	}
	p.Serial = p.Newest + 1
	if header.Encrypted() {
		p.Serial = header.Serial
	}
	return nil
}

// WriteOptions are those with which the session of Begin writes the body.
func (p *Rollback) WriteOptions() state.WriteOptions {
	return state.WriteOptions{Restore: p.Newest + 1, Force: p.opts.Force}
}

// Begin begins the write under t, if the state is still the one that the plan is about.
//
//	ErrConflict  it is not
//	other        as [state.Store.BeginRestore]
func (p *Rollback) Begin(ctx context.Context, s *state.Store, t state.Tenure) (*state.Session, error) {
	session, err := s.BeginRestore(ctx, t, p.Now)
	if err != nil {
		return nil, err
	}
	if base := session.Base(); !base.SameContent(p.Now) {
		return nil, fmt.Errorf("%w: %s was written since the plan was shown; nothing was changed: look again and repeat",
			statelatch.ErrConflict, p.Ref)
	}
	return session, nil
}
