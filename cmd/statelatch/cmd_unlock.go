package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/claims"
	"github.com/statelatch/statelatch/internal/locktalk"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/unlock"
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
			&cli.StringFlag{Name: "id", Usage: "`ID` release the lock with this ID, taken elsewhere"},
			&cli.BoolFlag{Name: "expired", Usage: "release anybody's lock if it is provably over"},
			&cli.BoolFlag{Name: "mine", Usage: "only locks that this user on this machine, or this CI run, took; never asks"},
			&durationFlag{Name: "if-older-than", Usage: "leave younger locks alone; by the store's clock, since " +
				"the last renewal"},
			&cli.BoolFlag{Name: "dry-run", Usage: "show what would be done, and change nothing"},
			&cli.BoolFlag{Name: "auto-approve", Usage: "do not ask; a lock whose holder is provably alive is left alone"},
			askCIFlag(),
		}, targetFlags()...),
		Action: act(term, func(c *cli.Command) (unlockOptions, error) {
			o := unlockOptions{
				targetOptions: targetOf(c, c.Args().First()), refs: wholeRefs(c), id: c.String("id"), expired: c.Bool("expired"),
				mine: c.Bool("mine"), olderThan: c.Duration("if-older-than"), dryRun: c.Bool("dry-run"),
				approved: c.Bool("auto-approve"), askCI: c.Bool("ask-ci"),
			}
			return o, o.check(c.IsSet("if-older-than"))
		}, runUnlock),
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

// unlocking is one run of unlock.
type unlocking struct {
	unlockOptions
	term    terminal
	targets map[statelatch.Ref]target
	plan    *unlock.Plan
}

func runUnlock(ctx context.Context, o unlockOptions, term terminal) error {
	u := &unlocking{unlockOptions: o, term: term, targets: map[statelatch.Ref]target{}}
	opts := unlock.Options{
		ID: o.id, Expired: o.expired, Mine: o.mine, OlderThan: o.olderThan, Approved: o.approved, DryRun: o.dryRun,
		Ask: term.Interactive || o.many || o.dryRun, Owner: claims.OwnerOf(term.Getenv),
		By:      requestOptions{}.request(term, "unlock"),
		Command: func(ref statelatch.Ref, verb string) string { return u.target(ref).again.command(verb) },
	}
	if !o.mine { // of our own run CI can only say that it goes on
		opts.Sources = evidenceOf(term, o.askCI)
	}
	read := u.refs
	if o.many {
		read = u.scope
	}
	if err := read(ctx, opts); err != nil {
		return err
	}
	if o.dryRun {
		return u.rehearse()
	}
	if err := u.approve(ctx); err != nil {
		return err
	}
	workers := 1 // of several states that were named one comes after the other, of a whole bucket many at a time
	if o.many {
		workers = 0
	}
	stopped := u.plan.Do(ctx, workers, unlockHooks(term, u.target, func(s unlock.Step, was lock.Held, weak bool) error {
		switch {
		case o.json:
			return term.PrintJSON(s.Released(was, weak))
		case s.Action == unlock.None:
			term.Say("%s\n", s.Note)
			return nil
		}
		term.Say("Released the lock of %s.\n", statelatch.Printable(s.Ref.String()))
		warnWeak(term, weak)
		return nil
	}, o.json))
	return errors.Join(stopped, u.leftAlone())
}

// unlockHooks show how it goes; done tells of one lock.
func unlockHooks(
	term terminal, at func(statelatch.Ref) target, done func(s unlock.Step, was lock.Held, weak bool) error, quiet bool,
) unlock.Hooks {
	w := &locktalk.Wait{Term: term}
	return unlock.Hooks{
		Prove: func(ctx context.Context, leased []unlock.Step) error {
			targets := make([]target, len(leased))
			for i, s := range leased {
				targets[i] = at(s.Ref)
			}
			return proveTiers(ctx, term, targets)
		},
		OnWatch: func(longest time.Duration) {
			if !quiet {
				term.Say("Watching for up to %s whether a lease is renewed after all.\n", evidence.Span(longest))
			}
		},
		OnWait: w.Tell, OnWatched: w.Clear,
		Done: func(s unlock.Step, was lock.Held, weak bool, forgetErr error) error {
			if forgetErr != nil {
				term.Say("Warning: %v\n", forgetErr)
			}
			return done(s, was, weak)
		},
	}
}

// target is the way to one of the states.
func (u *unlocking) target(ref statelatch.Ref) target {
	t, named := u.targets[ref]
	if !named { // it is in the bucket that was
		t = u.targets[statelatch.Ref{Bucket: ref.Bucket}]
		t.ref, t.again = ref, u.againFor(t.Backend, ref, u.term)
	}
	return t
}

// refs plans for the states that were named.
func (u *unlocking) refs(ctx context.Context, opts unlock.Options) error {
	targets, err := u.openAll(ctx, u.term, u.unlockOptions.refs)
	if err != nil {
		return err
	}
	locks := make([]lock.Target, len(targets))
	for i, t := range targets {
		locks[i], u.targets[t.ref] = lock.Target{Manager: t.Manager, Ref: t.ref}, t
	}
	u.plan = unlock.Of(ctx, locks, opts)
	return nil
}

// scope lists the locks of a bucket or prefix, and shows those that the flags select.
func (u *unlocking) scope(ctx context.Context, opts unlock.Options) error {
	p, err := u.openScope(ctx, u.term)
	if err != nil {
		return err
	}
	u.targets[statelatch.Ref{Bucket: p.scope.Bucket}] = target{Site: p.Site}
	v := &lockView{
		locksOptions: locksOptions{targetOptions: u.targetOptions}, term: u.term, places: []place{p},
		owner: claims.OwnerOf(u.term.Getenv), sources: opts.Sources,
	}
	locks, err := v.list(ctx)
	if err != nil {
		return err
	}
	u.plan = unlock.Among(locks, p.Manager, opts)
	var planned []fleet.Lock
	for _, s := range u.plan.Steps {
		if s.Action != unlock.None {
			planned = append(planned, s.Found)
		}
	}
	switch {
	case u.json:
	case len(planned) == 0:
		u.term.Say("There is no such lock to release in %s, of %s.\n", p.scope, count(len(locks), "lock"))
	case !u.dryRun:
		u.term.Say("To be released:\n\n")
		u.term.SayTable(v.shown().Table(planned))
		u.term.Say("\n%s\n\n", v.summary(planned))
	}
	return nil
}

// rehearse tells what would be done.
func (u *unlocking) rehearse() error {
	u.plan.Rehearse()
	for _, s := range u.plan.Steps {
		switch {
		case s.Err != nil: // told below
		case u.json:
			if err := u.term.PrintJSON(u.plan.Planned(s)); err != nil {
				return err
			}
		case s.Action == unlock.None:
			u.term.Say("%s\n", s.Note)
		default:
			asks := ""
			if s.Action == unlock.Force && !u.approved {
				asks = ", once that is confirmed with yes"
			}
			u.term.PrintProse("Would release the lock of %s, held by %s%s.\n%s", statelatch.Printable(s.Ref.String()),
				s.Held.Holder(), asks, locktalk.VerdictLine(s.Verdict, locktalk.VerdictIn(u.term.Paint)))
		}
	}
	return u.leftAlone()
}

// leftAlone are the failures of steps. Of many each is told in a line, because only one could be told at length; and so
// is what is not over, because the advice at length is to try -expired.
func (u *unlocking) leftAlone() error {
	err := u.plan.Err()
	eachInALine := u.many || u.expired && errors.Is(err, statelatch.ErrLocked)
	if err == nil || u.json || !eachInALine {
		return err
	}
	for _, s := range u.plan.Steps {
		if s.Err != nil {
			if !u.many && s.Held.Ref != (statelatch.Ref{}) {
				u.term.Say("%s\n", locktalk.Describe(s.Held, false))
			}
			u.term.Say("Left alone: %s\n", leftAlone(s.Err))
		}
	}
	return reportedError{err}
}

// leftAlone is why a lock stays, of several: which one it is comes before the cause.
func leftAlone(err error) string {
	locked, ok := errors.AsType[*statelatch.LockedError](err)
	if !ok {
		return oneLine(err)
	}
	why := strings.Replace(oneLine(err), ": "+oneLine(locked), "", 1)
	return fmt.Sprintf("%v: %s: %s", statelatch.ErrLocked, statelatch.Printable(locked.Ref.String()),
		strings.TrimPrefix(why, fmt.Sprintf("%v: %s: ", statelatch.ErrLocked, locked.Ref)))
}

// approve shows what somebody else may still need, and asks once.
func (u *unlocking) approve(ctx context.Context) error {
	asked := u.plan.Asked(u.many)
	if len(asked) == 0 || u.mine || u.approved && u.json {
		return nil
	}
	live, fenced := false, true
	for _, s := range asked {
		live, fenced = live || s.Verdict.State == evidence.Live, fenced && s.Held.Guarded()
		if !u.many {
			u.term.Say("%s%s\n", locktalk.Describe(s.Held, false),
				locktalk.VerdictLine(s.Verdict, locktalk.VerdictIn(u.term.PaintTalk)))
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

// warnWeak says what a store without conditional delete could not exclude.
func warnWeak(term terminal, weak bool) {
	if weak {
		term.Say("%s", wrap.WeakRelease)
	}
}
