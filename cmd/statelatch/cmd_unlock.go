package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/identity"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/wrap"
	"github.com/urfave/cli/v3"
)

type unlockOptions struct {
	targetOptions
	refs      []string
	id        string
	expired   bool
	mine      bool
	olderThan time.Duration
	dryRun    bool
	approved  bool
	askCI     bool
	many      bool // refs is one bucket or prefix
}

func unlockCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "unlock",
		Usage:     "release a lock, your own or one that is over",
		UsageText: "statelatch unlock [flags] [REF... | s3://BUCKET/[PREFIX/]]",
		Description: "Releases the lock of a state if this user took it on this machine and no run keeps it. Any other lock is shown, with what\n" +
			"proves that its holder lives or not, and removed if you say so; it is left alone if it changes meanwhile. Without a terminal\n" +
			"somebody else's lock is left alone, unless one of these allows it:\n" +
			"  -id            it has that ID\n" +
			"  -expired       it is provably over: its -expires has passed by the store's clock, or its lease was not renewed\n" +
			"                 while this command watched it for the lease's whole time\n" +
			"  -auto-approve  its holder is not provably alive; with -if-older-than, or after a look at 'statelatch locks'\n" +
			"-mine is for the end of a CI job: it releases what this user on this machine or this very CI run took, asks\n" +
			"nothing, and is content if there is nothing. A GitHub run is all its jobs: in a matrix name the job's own states.\n\n" +
			"With -mine, -expired or -if-older-than all locks of a bucket or below a prefix can be meant, with a slash at the\n" +
			"end: they are listed first, and one question is asked.\n\n" +
			"A lock with a lease is taken over and its state fenced first, so that a 'statelatch' holder that is still alive\n" +
			"can write no more. Nothing stops an engine: if it still runs, it may still write its state.\n\n" +
			"Examples:\n" +
			"  statelatch unlock s3://acme-state/prod/terraform.tfstate\n" +
			"  statelatch unlock -mine -chdir infra/prod\n" +
			"  statelatch unlock -id \"$LOCK_ID\" -chdir infra/prod\n" +
			"  statelatch unlock -expired -dry-run s3://acme-state/prod/\n" +
			"  statelatch unlock -if-older-than 12h -auto-approve s3://acme-state/",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "id", Usage: "release the lock with this ID, taken elsewhere"},
			&cli.BoolFlag{Name: "expired", Usage: "release anybody's lock if it is provably over"},
			&cli.BoolFlag{Name: "mine", Usage: "only locks that this user on this machine, or this CI run, took; never asks"},
			&durationFlag{Name: "if-older-than", Usage: "leave younger locks alone; by the store's clock, since " +
				"the last renewal"},
			&cli.BoolFlag{Name: "dry-run", Usage: "show what would be done, and change nothing"},
			&cli.BoolFlag{Name: "auto-approve", Usage: "do not ask; a lock whose holder is provably alive is left alone"},
			askCIFlag(),
		}, targetFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			o := unlockOptions{
				targetOptions: targetOf(c, c.Args().First()), refs: wholeRefs(c), id: c.String("id"), expired: c.Bool("expired"),
				mine: c.Bool("mine"), olderThan: c.Duration("if-older-than"), dryRun: c.Bool("dry-run"),
				approved: c.Bool("auto-approve"), askCI: c.Bool("ask-ci"),
			}
			if err := o.check(c.IsSet("if-older-than")); err != nil {
				return err
			}
			return o.finish(ctx, term, runUnlock(ctx, o, term))
		},
	}
}

// check refuses what does not fit together.
func (o *unlockOptions) check(ageGiven bool) error {
	if err := notTwice(o.refs); err != nil {
		return err
	}
	for _, ref := range o.refs {
		o.many = o.many || isScope(ref)
	}
	switch {
	case o.id != "" && len(o.refs) > 1:
		return usageError{errors.New("-id names one lock, so give one REF")}
	case o.id != "" && o.expired:
		return usageError{errors.New("-id and -expired: give one of them")}
	case o.id != "" && o.mine:
		return usageError{errors.New("-id and -mine: give one of them")}
	case ageGiven && o.olderThan <= 0:
		return usageError{fmt.Errorf("-if-older-than %v: it must be positive", o.olderThan)}
	case o.many && len(o.refs) > 1:
		return usageError{errors.New("give one bucket or prefix alone, or REFs")}
	case o.many && !o.mine && !o.expired && o.olderThan == 0:
		return usageError{fmt.Errorf("%s means every lock below it: add -mine, -expired or -if-older-than, or name one "+
			"state as s3://BUCKET/KEY", o.refs[0])}
	case o.many && o.id != "":
		return usageError{errors.New("-id names one lock, so give its REF")}
	}
	return nil
}

// isScope tells a whole bucket, or a prefix with a slash at its end, from one state.
func isScope(ref string) bool {
	scope, err := statelatch.ParseScope(ref)
	return err == nil && (scope.Prefix == "" || strings.HasSuffix(ref, "/"))
}

func runUnlock(ctx context.Context, o unlockOptions, term terminal) error {
	u := &unlocking{unlockOptions: o, term: term, owner: ownerOf(term)}
	if !o.mine { // of our own run CI can only say that it goes on
		u.sources = evidenceOf(term, o.askCI)
	}
	var steps []unlockStep
	var err error
	if o.many {
		steps, err = u.planScope(ctx)
	} else {
		steps, err = u.planRefs(ctx)
	}
	if err != nil {
		return err
	}
	if o.dryRun {
		return u.rehearse(steps)
	}
	if err := u.approve(ctx, steps); err != nil {
		return err
	}
	return u.execute(ctx, steps)
}

// unlocking is one run of unlock.
type unlocking struct {
	unlockOptions
	term    terminal
	owner   ownership
	sources evidence.Sources
	telling sync.Mutex
}

// unlockAction is what is to be done with a lock.
type unlockAction int

const (
	actNone    unlockAction = iota // leave it alone; the step's err says why, nil if that is as it should be
	actRelease                     // as its owner
	actExpired                     // once it is proven to be over
	actForce                       // as somebody who was shown the evidence
)

// unlockStep is the plan for one lock.
type unlockStep struct {
	target
	held    lock.Held
	verdict evidence.Verdict
	action  unlockAction
	err     error
	note    string // why nothing is to be done, where that is no error
}

// planRefs reads the locks of the states that were named.
func (u *unlocking) planRefs(ctx context.Context) ([]unlockStep, error) {
	targets, err := u.openAll(ctx, u.term, u.refs)
	if err != nil {
		return nil, err
	}
	var steps []unlockStep
	for _, t := range targets { // each, whatever becomes of the others
		s := unlockStep{target: t}
		s.held, s.err = t.Manager.Status(ctx, t.ref)
		switch {
		case errors.Is(s.err, statelatch.ErrNotLocked):
			var forgetErr error
			if !u.dryRun {
				forgetErr = u.owner.claims.ForgetAll(t.ref)
			}
			if u.mine {
				s.err, s.note = nil, fmt.Sprintf("%s is not locked.", t.ref)
			}
			s.err = errors.Join(s.err, forgetErr)
		case s.err == nil:
			s.verdict = evidence.Judge(ctx, s.held, u.sources)
			u.decide(&s)
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// decide says what is to be done with the lock of s.
func (u *unlocking) decide(s *unlockStep) {
	h, own := s.held, u.owner.took(s.held)
	refuse := func(format string, args ...any) {
		s.err = fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), h.LockedError())
	}
	switch {
	case u.mine && !u.owner.owns(h):
		s.note = fmt.Sprintf("The lock of %s is not yours: it is held by %s.", h.Ref, h.Holder())
	case u.olderThan > 0 && h.Since.IsZero():
		refuse("its age is not known, so it is left alone: the store tells none, or it is an item in a DynamoDB table")
	case u.olderThan > 0 && h.Age < u.olderThan:
		refuse("it is younger than %s, so it is left alone: it was written %s ago", evidence.Span(u.olderThan),
			evidence.Span(h.Age))
	case u.expired:
		s.action = actExpired
	case u.id != "" && h.Err == nil && h.Info.ID != u.id:
		s.err = anotherID(h, u.id)
	case h.Err != nil && (u.id != "" || !u.mayForce()):
		s.err = h.LockedError()
	case u.id != "", own && aliveHere(h.Managed) == identity.Alive,
		(own || u.mine) && givesBack(h, s.verdict):
		s.action, s.err = actRelease, notAlive(h)
	case u.mine:
		refuse("it is held by another job of this CI run, or out of sight of this process, and nothing proves that "+
			"it is over: %s", s.verdict.Proof)
	case !u.mayForce() && u.owner.err != nil:
		s.err = fmt.Errorf("which locks are yours is not known: %w: %w", u.owner.err, h.LockedError())
	case !u.mayForce():
		s.err = h.LockedError()
	case u.approved && s.verdict.State == evidence.Live:
		refuse("it is left alone, because its holder is alive: %s", s.verdict.Proof)
	default:
		s.action = actForce
	}
	if s.err != nil {
		s.action = actNone
	}
}

// mayForce reports whether somebody else's lock may be planned to be removed: a person can be asked, or said so
// beforehand. Many are never removed without either, but may be looked at, and so is what a dry run is about.
func (u *unlocking) mayForce() bool { return u.approved || u.term.Interactive || u.many || u.dryRun }

// approve shows what somebody else may still need, and asks once.
func (u *unlocking) approve(ctx context.Context, steps []unlockStep) error {
	var asked []unlockStep
	live, fenced := false, true
	for _, s := range steps {
		if s.action == actForce || u.many && s.action != actNone {
			asked = append(asked, s)
			live = live || s.verdict.State == evidence.Live
			fenced = fenced && s.held.Leased()
		}
	}
	if len(asked) == 0 || u.mine || u.approved && u.json {
		return nil
	}
	if !u.many {
		for _, s := range asked {
			u.term.Say("%s%s\n", describe(s.held, false), verdictLine(s.verdict, verdictIn(u.term.PaintTalk)))
		}
	}
	if u.approved {
		return nil
	}
	question := "Do you really want to remove this lock?"
	if len(asked) > 1 {
		question = fmt.Sprintf("Do you really want to remove these %d locks?", len(asked))
	}
	switch {
	case live:
		question += "\nA HOLDER IS ALIVE. It will lose its work, or two runs will write one state: stop it instead."
	case fenced:
		question += "\nA holder that is still alive will lose its work."
	default:
		question += "\nIf a holder is still alive, two runs may write one state."
	}
	return u.term.Confirm(ctx, question, "-auto-approve")
}

// release releases a lock whose holder is not this process: one with a lease is fenced, because a state write of its
// holder may still be under way.
func (t target) release(ctx context.Context, held lock.Held, by lock.Request) (weak bool, err error) {
	if held.Leased() {
		return t.Manager.ForceRelease(ctx, held, by)
	}
	return t.Manager.Release(ctx, held)
}

// givesBack reports whether its owner may give h back at once: no command goes on under it, as far as is known.
func givesBack(h lock.Held, v evidence.Verdict) bool {
	return !h.Leased() || v.State == evidence.Stale || h.Stays() && v.State != evidence.Live
}

// notAlive refuses to pull the lock from under a run of this user that is still going.
func notAlive(held lock.Held) error {
	if held.Leased() && aliveHere(held.Managed) == identity.Alive {
		return fmt.Errorf("it is held by a process of this machine that still runs (%s): stop it, and it "+
			"releases the lock: %w",
			statelatch.Printable(held.Managed.Client), held.LockedError())
	}
	return nil
}

// warnWeak says what a store without conditional delete could not exclude.
func warnWeak(term terminal, weak bool) {
	if weak {
		term.Say("%s", wrap.WeakRelease)
	}
}
