// Package unlock ends locks from outside of what took them: a user's own lock, one that is over, or somebody else's. A
// [Plan] says of every lock that is meant what is to be done with it, or why it is left alone; [Plan.Do] does that.
//
// What it guarantees: a lock is removed as it was shown, or not at all; Mine and Expired touch nothing that is not
// provably this user's or over; no lock of a holder that is provably alive is removed unasked; and where a lease ends
// the state is fenced first. What it does not: nothing stops an engine whose lock was removed. It may still write its
// state.
package unlock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/identity"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/runner"
)

// Options say which locks are meant, and what may be done with them.
type Options struct {
	// ID is the lock's that may be released without more; empty: any.
	ID string
	// Remove: the lock with that ID is removed as somebody else's, whoever took it. An object that cannot be understood
	// is named by its ETag. With Approved it is removed whatever its holder has made of it since it was shown.
	Remove bool
	// Expired: only locks that are proven to be over. A lease is watched for its whole time.
	Expired bool
	// Mine: only locks that Owner owns. Nobody is asked, and that there is none is no error.
	Mine bool
	// OlderThan leaves younger locks alone; 0: none.
	OlderThan time.Duration
	// Approved: somebody agreed beforehand to the removal of locks whose holder is not provably alive.
	Approved bool
	// Ask: somebody is asked before anything of others is removed, or nothing is going to be removed.
	Ask bool
	// DryRun changes nothing.
	DryRun bool

	// Owner knows whose the locks are; required.
	Owner Owner
	// Sources are what verdicts rest on.
	Sources evidence.Sources
	// By is who ends the locks.
	By lock.Request
	// Command is how a person names a state in a command of theirs, of which verb is the first word or more; nil:
	// "statelatch VERB REF".
	Command func(ref statelatch.Ref, verb string) string
}

// Owner tells which locks are a user's.
type Owner interface {
	// Took reports whether this user took h on this machine.
	Took(h lock.Held) bool
	// Owns reports whether this user took h on this machine, or the CI run around this process did.
	Owns(h lock.Held) bool
	// Unknown is why it is not known what this user took; nil if it is.
	Unknown() error
	// Forget is told of a lock that is gone, ForgetAll of a state that has none.
	Forget(ref statelatch.Ref, id string) error
	ForgetAll(ref statelatch.Ref) error // see Forget
}

// Action is what is to be done with a lock.
type Action int

// The actions.
const (
	None    Action = iota // leave it alone; the step's Err says why, nil if that is as it should be
	Release               // as its owner
	Expired               // once it is proven to be over
	Force                 // as somebody who was shown the evidence
)

// Step is the plan for one lock.
type Step struct {
	Manager *lock.Manager    // of its state
	Ref     statelatch.Ref   // of its state
	Held    lock.Held        // the lock; zero if it could not be read, or there is none
	Verdict evidence.Verdict // on its holder
	Action  Action           // what is to be done
	Err     error            // why it is left alone, or why that failed
	Note    string           // why nothing is to be done, where that is no error
	Found   fleet.Lock       // as it was listed; zero if its state was named
}

// Plan is what is to be done with some locks, in the order in which they were named or found.
type Plan struct {
	Steps []Step // see Step

	opts Options
}

// Of reads the locks of states and plans what to do with each, whatever becomes of the others.
func Of(ctx context.Context, targets []lock.Target, opts Options) *Plan {
	p := &Plan{opts: opts}
	for _, t := range targets {
		s := Step{Manager: t.Manager, Ref: t.Ref}
		s.Held, s.Err = t.Manager.Status(ctx, t.Ref)
		switch {
		case errors.Is(s.Err, statelatch.ErrNotLocked) && !opts.Remove:
			var forgetErr error
			if !opts.DryRun {
				forgetErr = opts.Owner.ForgetAll(t.Ref)
			}
			if opts.Mine {
				s.Err, s.Note = nil, fmt.Sprintf("%s is not locked.", t.Ref)
			}
			s.Err = errors.Join(s.Err, forgetErr)
		case s.Err == nil:
			s.Verdict = evidence.Judge(ctx, s.Held, opts.Sources)
			p.decide(&s)
		}
		p.Steps = append(p.Steps, s)
	}
	return p
}

// Among plans what to do with those of many locks that the options mean. Locks that could not be read are among them.
func Among(locks []fleet.Lock, manager *lock.Manager, opts Options) *Plan {
	p := &Plan{opts: opts}
	for _, l := range locks {
		s := Step{Manager: manager, Ref: l.Ref, Held: l.Held, Verdict: l.Verdict, Err: l.Unread, Found: l}
		if l.Unread == nil {
			if !opts.selects(l.Held) {
				continue
			}
			p.decide(&s)
		}
		p.Steps = append(p.Steps, s)
	}
	return p
}

// selects reports whether the options mean h, where they mean many.
func (o Options) selects(h lock.Held) bool {
	switch {
	case o.Mine && !o.Owner.Owns(h),
		o.OlderThan > 0 && (h.Since.IsZero() || h.Age < o.OlderThan),
		o.Expired && !over(h) && !leftBehind(h):
		return false
	}
	return true
}

// command names a state in a command.
func (o Options) command(ref statelatch.Ref, verb string) string {
	if o.Command != nil {
		return o.Command(ref, verb)
	}
	return "statelatch " + verb + " " + ref.String()
}

// mayForce reports whether somebody else's lock may be planned to be removed.
func (o Options) mayForce() bool { return o.Approved || o.Ask }

// decide says what is to be done with the lock of s.
func (p *Plan) decide(s *Step) {
	o, h, own := p.opts, s.Held, p.opts.Owner.Took(s.Held)
	refuse := func(format string, args ...any) {
		s.Err = fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), h.LockedError())
	}
	switch {
	case o.Remove && !h.Named(o.ID) && (h.Item == nil || h.Item.Info.ID != o.ID):
		s.Err = anotherID(h, o.ID)
	case o.Remove:
		s.Action = Force
	case o.Mine && !o.Owner.Owns(h):
		s.Note = fmt.Sprintf("The lock of %s is not yours: it is held by %s.", h.Ref, h.Holder())
	case o.OlderThan > 0 && h.Since.IsZero():
		refuse("its age is not known, so it is left alone: the store tells none, or it is an item in a DynamoDB table")
	case o.OlderThan > 0 && h.Age < o.OlderThan:
		refuse("it is younger than %s, so it is left alone: it was written %s ago", evidence.Span(o.OlderThan),
			evidence.Span(h.Age))
	case o.Expired:
		s.Action = Expired
	case o.ID != "" && h.Err == nil && h.Info.ID != o.ID:
		s.Err = anotherID(h, o.ID)
	case h.Err != nil && (o.ID != "" || !o.mayForce()):
		s.Err = h.LockedError()
	case o.ID != "", own && evidence.HolderHere(h.Managed) == identity.Alive,
		(own || o.Mine) && Releasable(h, s.Verdict):
		s.Action, s.Err = Release, notAlive(h)
	case o.Mine:
		refuse("it is held by another job of this CI run, or out of sight of this process, and nothing proves that "+
			"it is over: %s", s.Verdict.Proof)
	case !o.mayForce() && o.Owner.Unknown() != nil:
		s.Err = fmt.Errorf("which locks are yours is not known: %w: %w", o.Owner.Unknown(), h.LockedError())
	case !o.mayForce():
		s.Err = h.LockedError()
	case o.Approved && s.Verdict.State == evidence.Live:
		refuse("it is left alone, because its holder is alive: %s", s.Verdict.Proof)
	default:
		s.Action = Force
	}
	if s.Err != nil {
		s.Action = None
	}
}

// anotherID refuses a lock that has another ID than was given. A cause comes before what it is about.
func anotherID(held lock.Held, id string) error {
	if id != "" && held.Err == nil && strings.HasPrefix(held.Info.ID, strings.TrimSuffix(id, "…")) {
		return fmt.Errorf("%s is only the beginning of the lock's ID; all of it is wanted: %w", statelatch.Printable(id),
			held.LockedError())
	}
	return fmt.Errorf("the lock has another ID than %s: %w", statelatch.Printable(id), held.LockedError())
}

// Releasable reports whether its owner may release h at once: no command goes on under it, as far as is known.
func Releasable(h lock.Held, v evidence.Verdict) bool {
	return !h.Guarded() || v.State == evidence.Stale || h.Stays() && v.State != evidence.Live
}

// notAlive refuses to pull the lock from under a run of this user that is still going.
func notAlive(h lock.Held) error {
	if h.Leased() && evidence.HolderHere(h.Managed) == identity.Alive {
		return fmt.Errorf("it is held by a process of this machine that still runs (%s): stop it, and it "+
			"releases the lock: %w", statelatch.Printable(h.Managed.Client), h.LockedError())
	}
	return nil
}

// HolderGone reports whether the process that took a lock with a lease was one of this machine and is gone, and so is
// all that runs under it: an engine whose run was killed may write its state yet.
func HolderGone(h lock.Held) bool {
	return h.Err == nil && h.Leased() && evidence.HolderHere(h.Managed) == identity.Dead &&
		len(runner.Survivors(h.Managed.Client)) == 0
}

// over reports whether a lock is over by the store's clock; of a lease that is only worth a closer look.
func over(h lock.Held) bool {
	if h.Leased() && !h.Stays() {
		return h.Err == nil && !h.Since.IsZero() && h.Age > h.Managed.TTL
	}
	left, promised := h.ExpiresIn()
	return promised && left <= 0
}

// leftBehind reports whether nothing is left of the command that took h for its own time: then its lease needs not be
// watched.
func leftBehind(h lock.Held) bool { return !h.Stays() && HolderGone(h) }

// notOver is why -expired leaves a lock alone, and what to do instead.
func (p *Plan) notOver(s Step) error {
	h, m, next := s.Held, s.Held.Managed, ""
	switch {
	case s.Verdict.State == evidence.Stale: // by something else than its promise
		next = "; without -expired it is released at once: " + p.opts.command(s.Ref, "unlock")
	case h.Err != nil || h.ETag == "" || m == nil || m.TTL == 0 && m.Expires == 0:
		next = "; -expired is for a lease, or an -expires; without -expired it is shown and asked about: " +
			p.opts.command(s.Ref, "unlock")
	case evidence.HolderHere(m) == identity.Alive:
		next = "; stop that, and it releases the lock"
	case h.Leased() && p.opts.DryRun:
		next = fmt.Sprintf("; without -dry-run it is watched for up to %s, and released if it is not renewed meanwhile",
			evidence.Span(m.TTL))
	}
	return fmt.Errorf("it is not over: %s: %w%s", s.Verdict.Proof, h.LockedError(), next)
}

// Asked are the steps that a person must agree to: of others' locks, and of many all.
func (p *Plan) Asked(many bool) (asked []Step) {
	for _, s := range p.Steps {
		if s.Action == Force || many && s.Action != None {
			asked = append(asked, s)
		}
	}
	return asked
}

// Rehearse leaves alone what would have to be watched first, which changes no lock but takes its time.
func (p *Plan) Rehearse() {
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.Action == Expired && !over(s.Held) && !leftBehind(s.Held) {
			s.Action, s.Err = None, p.notOver(*s)
		}
	}
}

// Err are the failures of all steps.
func (p *Plan) Err() error {
	var errs []error
	for _, s := range p.Steps {
		errs = append(errs, s.Err)
	}
	return errors.Join(errs...)
}
