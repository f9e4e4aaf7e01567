package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/identity"
	"github.com/statelatch/statelatch/lock"
	"github.com/urfave/cli/v3"
)

type unlockOptions struct {
	targetOptions
	refs    []string
	id      string
	expired bool
}

func unlockCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "unlock",
		Usage:     "give back a lock, your own or one that is over",
		UsageText: "statelatch unlock [flags] [REF...]",
		Description: "Releases the lock of a state if this user took it on this machine, or if it has the ID given\n" +
			"by -id, or, with -expired, if it is provably over: its -expires has passed by the store's clock, or its\n" +
			"lease was not renewed while this command watched it for the lease's whole time. Any other lock is left\n" +
			"alone: see force-unlock.\n\n" +
			"Examples:\n" +
			"  statelatch unlock s3://acme-state/prod/terraform.tfstate\n" +
			"  statelatch unlock -expired -chdir infra/prod\n" +
			"  statelatch unlock -id \"$LOCK_ID\" -chdir infra/prod",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "id", Usage: "release the lock with this ID, taken elsewhere"},
			&cli.BoolFlag{Name: "expired", Usage: "release anybody's lock if it is provably over"},
		}, targetFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			o := unlockOptions{
				targetOptions: targetOf(c, c.Args().First()), refs: c.Args().Slice(), id: c.String("id"), expired: c.Bool("expired"),
			}
			if err := notTwice(o.refs); err != nil {
				return err
			}
			if o.id != "" && len(o.refs) > 1 {
				return usageError{errors.New("-id names one lock, so give one REF")}
			}
			if o.id != "" && o.expired {
				return usageError{errors.New("-id and -expired: give one of them")}
			}
			return o.finish(ctx, term, runUnlock(ctx, o, term))
		},
	}
}

func runUnlock(ctx context.Context, o unlockOptions, term terminal) error {
	targets, err := o.openAll(ctx, term, o.refs)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range targets { // each, whatever becomes of the others
		errs = append(errs, o.unlock(ctx, term, t))
	}
	return errors.Join(errs...)
}

func (o unlockOptions) unlock(ctx context.Context, term terminal, t target) error {
	mine, claimsErr := openClaims(term.getenv)
	held, err := t.locks.Status(ctx, t.ref)
	switch {
	case errors.Is(err, statelatch.ErrNotLocked):
		return errors.Join(err, mine.forgetAll(t.ref))
	case err != nil:
		return err
	case o.expired:
		w := &waitTeller{term: term}
		held, err = t.locks.WaitExpired(ctx, t.ref, w.tell)
		w.clear()
	case held.Err != nil:
		return held.LockedError()
	case o.id != "" && held.Info.ID != o.id, o.id == "" && !mine.has(t.ref, held.Info.ID):
		if claimsErr != nil {
			return fmt.Errorf("%w; which locks are yours is not known: %w", held.LockedError(), claimsErr)
		}
		return held.LockedError()
	default:
		err = notAlive(held)
	}
	if err != nil {
		return err
	}
	weak, err := t.giveBack(ctx, held, requestOptions{}.request(term, "unlock"))
	if err != nil {
		return err
	}
	if err := mine.forget(t.ref, held.Info.ID); err != nil {
		term.say("Warning: %v\n", err)
	}
	if o.json {
		return term.printJSON(releasedOf(held, weak))
	}
	term.say("Released the lock of %s.\n", t.ref)
	warnWeak(term, weak)
	return nil
}

// giveBack releases a lock whose holder is not this process: one with a lease is fenced, because a state write of its
// holder may still be under way.
func (t target) giveBack(ctx context.Context, held lock.Held, by lock.Request) (weak bool, err error) {
	if held.Leased() {
		return t.locks.ForceRelease(ctx, held, by)
	}
	return t.locks.Release(ctx, held)
}

// notAlive refuses to pull the lock from under a run of this user that is still going.
func notAlive(held lock.Held) error {
	if held.Leased() && aliveHere(held.Managed) == identity.Alive {
		return fmt.Errorf("%w: it is held by a process of this machine that still runs (%s): stop it, and it gives the lock back",
			held.LockedError(), statelatch.Printable(held.Managed.Client))
	}
	return nil
}

// warnWeak says what a store without conditional delete could not exclude.
func warnWeak(term terminal, weak bool) {
	if weak {
		term.say("Warning: weak release: this store has no conditional delete, so a lock taken by somebody else\n" +
			"in the instant between the check and the delete would have been removed with it.\n")
	}
}
