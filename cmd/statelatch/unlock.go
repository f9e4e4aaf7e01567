package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/statelatch/statelatch"
	"github.com/urfave/cli/v3"
)

type unlockOptions struct {
	targetOptions
	id string
}

func unlockCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "unlock",
		Usage:     "give back a lock that 'statelatch lock' took",
		UsageText: "statelatch unlock [flags] [REF]",
		Description: "Releases the lock of a state if this user took it on this machine, or if it has the ID given\n" +
			"by -id. Any other lock is left alone: see force-unlock.\n\n" +
			"Examples:\n" +
			"  statelatch unlock s3://acme-state/prod/terraform.tfstate\n" +
			"  statelatch unlock -id \"$LOCK_ID\" -chdir infra/prod",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "id", Usage: "release the lock with this ID, taken elsewhere"},
		}, targetFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			ref, err := oneRef(c)
			if err != nil {
				return err
			}
			o := unlockOptions{targetOptions: targetOf(c, ref), id: c.String("id")}
			return o.finish(ctx, term, runUnlock(ctx, o, term))
		},
	}
}

func runUnlock(ctx context.Context, o unlockOptions, term terminal) error {
	t, err := o.open(ctx, term)
	if err != nil {
		return err
	}
	ref := t.ref
	mine, claimsErr := openClaims(term.getenv)
	held, err := t.locks.Status(ctx, ref)
	switch {
	case errors.Is(err, statelatch.ErrNotLocked):
		return errors.Join(err, mine.forgetAll(ref))
	case err != nil:
		return err
	case held.Err != nil:
		return held.LockedError()
	case o.id != "" && held.Info.ID != o.id, o.id == "" && !mine.has(ref, held.Info.ID):
		if claimsErr != nil {
			return fmt.Errorf("%w; which locks are yours is not known: %w", held.LockedError(), claimsErr)
		}
		return held.LockedError()
	}
	weak, err := t.locks.Release(ctx, held)
	if err != nil {
		return err
	}
	if err := mine.forget(ref, held.Info.ID); err != nil {
		term.say("Warning: %v\n", err)
	}
	if o.json {
		return term.printJSON(releasedOf(held, weak))
	}
	term.say("Released the lock of %s.\n", ref)
	warnWeak(term, weak)
	return nil
}

// warnWeak says what a store without conditional delete could not exclude.
func warnWeak(term terminal, weak bool) {
	if weak {
		term.say("Warning: weak release: this store has no conditional delete, so a lock taken by somebody else\n" +
			"in the instant between the check and the delete would have been removed with it.\n")
	}
}
