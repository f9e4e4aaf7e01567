package unlock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/term"
	"github.com/statelatch/statelatch/lock"
)

// watchers is how many leases are watched at once: that is mere waiting.
const watchers = 256

// errUnwatched is of a lock that was not looked at again in time.
var errUnwatched = errors.New("interrupted before the lock was proven to be over")

// Hooks are what a program does its own way. Nil functions do nothing.
type Hooks struct {
	// Prove finds out how well the stores of locks with a lease lock, and tells their Managers; required.
	Prove func(ctx context.Context, leased []Step) error
	// OnWatch is told for how long several leases are watched at most.
	OnWatch func(longest time.Duration)
	// OnWait is told how the watch of one lease goes on, and OnWatched when it has ended.
	OnWait    func(lock.Waiting)
	OnWatched func() // see OnWait
	// Done is told of each step that did not fail, one at a time: what was released, if it had an action, weakly or not,
	// and why that could not be forgotten.
	Done func(s Step, was lock.Held, weak bool, forgetErr error) error
}

// Do does what was planned, of so many locks at a time; 0: of many. What fails is put into its step. The error is that
// of ctx.
func (p *Plan) Do(ctx context.Context, workers int, hooks Hooks) error {
	p.prove(ctx, hooks)
	var watched []int
	all := make([]int, len(p.Steps))
	for i, s := range p.Steps {
		all[i] = i
		if s.Action == Expired && !leftBehind(s.Held) {
			watched = append(watched, i)
		}
	}
	p.watch(ctx, watched, hooks)
	var telling sync.Mutex
	return fleet.Each(ctx, workers, all, func(ctx context.Context, i int) error {
		s := &p.Steps[i]
		if s.Err != nil {
			return nil
		}
		var was lock.Held
		var weak bool
		var forgetErr error
		if s.Action != None {
			if was, weak, s.Err = p.release(ctx, *s); s.Err != nil {
				return nil // the others are done, whatever becomes of this one
			}
			forgetErr = p.opts.Owner.Forget(s.Ref, was.Info.ID)
		}
		if hooks.Done == nil {
			s.Err = forgetErr
			return nil
		}
		telling.Lock()
		defer telling.Unlock()
		s.Err = hooks.Done(*s, was, weak, forgetErr)
		return nil
	})
}

// prove refuses to remove locks on a store that cannot lock, because nothing there can be made conditional. For a lock
// with a lease the state is fenced, which rests on conditions, so for one the store is probed first if need be.
func (p *Plan) prove(ctx context.Context, hooks Hooks) {
	var leased []Step
	for _, s := range p.Steps {
		if s.Action != None && s.Held.Guarded() {
			leased = append(leased, s)
		}
	}
	var unproven error
	if len(leased) > 0 {
		unproven = hooks.Prove(ctx, leased)
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		switch {
		case s.Action == None:
		case s.Held.Guarded() && unproven != nil && !errors.Is(unproven, statelatch.ErrUnsafeStore):
			s.Err = unproven
		case s.Manager.Tier == lock.TierNone:
			s.Err = fmt.Errorf("%w (see %s); nothing was removed. If nobody uses that state, 'terraform force-unlock %s' "+
				"removes its lock, or delete s3://%s/%s", statelatch.ErrUnsafeStore, p.opts.command(s.Ref, "probe"),
				term.ShellQuote(s.Held.Info.ID), s.Ref.Bucket, s.Ref.LockKey())
		case s.Action == Expired && s.Held.Leased() && s.Manager.Tier != lock.TierFull:
			s.Err = fmt.Errorf("%w: without an atomic conditional delete nobody can prove that a lease is over for good; "+
				"if its holder is certainly gone: %s", statelatch.ErrUnsafeStore, p.opts.command(s.Ref, "unlock"))
		}
		if s.Err != nil {
			s.Action = None
		}
	}
}

// watch waits until each of the locks that are said to be over is proven to be, all at the same time.
func (p *Plan) watch(ctx context.Context, which []int, hooks Hooks) {
	tell := hooks.OnWait
	if len(which) > 1 {
		longest := time.Duration(0)
		for _, i := range which {
			if m := p.Steps[i].Held.Managed; m != nil {
				longest = max(longest, m.TTL)
			}
		}
		if longest > 0 && hooks.OnWatch != nil {
			hooks.OnWatch(longest)
		}
		tell = nil
	}
	for _, i := range which {
		p.Steps[i].Err = errUnwatched
	}
	_ = fleet.Each(ctx, watchers, which, func(ctx context.Context, i int) error {
		s := &p.Steps[i]
		held, err := s.Manager.WaitExpired(ctx, s.Ref, tell)
		switch {
		case err == nil && held.ETag == s.Held.ETag:
			s.Held = held
		case err == nil:
			err = held.LockedError()
		}
		if locked, ok := errors.AsType[*statelatch.LockedError](err); ok {
			if locked.ETag == s.Held.ETag {
				err = p.notOver(*s)
			} else {
				err = fmt.Errorf("it is not over: it was renewed, or taken by another, after it was shown: %w", err)
			}
		}
		s.Err = err
		return nil
	})
	if hooks.OnWatched != nil {
		hooks.OnWatched()
	}
}

// release ends one lock, as it was seen or not at all. One with a lease is fenced, because a state write of its holder
// may still be under way.
func (p *Plan) release(ctx context.Context, s Step) (was lock.Held, weak bool, err error) {
	action := audit.ForceUnlock
	if s.Action == Release {
		action = audit.Unlock
	}
	return audit.Release(ctx, action, s.Ref, func() (was lock.Held, weak bool, err error) {
		o, was := p.opts, s.Held
		switch {
		case o.Remove && o.Approved:
			return s.Manager.ForceUnlock(ctx, s.Ref, o.ID, o.By)
		case o.Remove && !was.Named(o.ID): // only the item in the table
			was = lock.Held{Ref: was.Ref, Info: was.Item.Info, Item: was.Item}
			weak, err = s.Manager.ForceRelease(ctx, was, o.By)
		case s.Action == Force, was.Guarded():
			weak, err = s.Manager.ForceRelease(ctx, was, o.By)
		default:
			weak, err = s.Manager.Release(ctx, was)
		}
		return was, weak, err
	})
}

// Planned is a lock of a rehearsal, as docs/JSON.md has it.
type Planned struct {
	Ref          string          `json:"ref"`               // of the state
	WouldRelease bool            `json:"would_release"`     // it would be
	Asks         bool            `json:"asks,omitempty"`    // somebody, first
	Verdict      evidence.State  `json:"verdict,omitempty"` // on its holder
	Proof        string          `json:"proof,omitempty"`   // of the verdict
	Lock         json.RawMessage `json:"lock,omitempty"`    // as it is stored
}

// Planned tells what would be done in a step.
func (p *Plan) Planned(s Step) Planned {
	j := Planned{
		Ref: s.Ref.String(), WouldRelease: s.Action != None, Asks: s.Action == Force && !p.opts.Approved,
		Verdict: s.Verdict.State, Proof: s.Verdict.Proof,
	}
	if s.Held.Err == nil && s.Verdict.State != "" {
		j.Lock = s.Held.Info.Marshal()
	}
	return j
}

// Released is a lock that is gone, or was left alone as it should be, as docs/JSON.md has it.
type Released struct {
	Ref      string          `json:"ref"`            // of the state
	Released bool            `json:"released"`       // false: there was nothing to release
	Weak     bool            `json:"weak"`           // see lock.Manager.Release
	Lock     json.RawMessage `json:"lock,omitempty"` // as it was stored
}

// Released tells what was done in a step, as Hooks.Done is told.
func (s Step) Released(was lock.Held, weak bool) Released {
	r := Released{Ref: s.Ref.String(), Released: s.Action != None, Weak: weak}
	if r.Released && was.Err == nil {
		r.Lock = was.Info.Marshal()
	}
	return r
}
