package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/internal/claims"
	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/statelatch/statelatch/lock"
	"github.com/urfave/cli/v3"
)

type forceUnlockOptions struct {
	targetOptions
	requestOptions
	id    string
	force bool
}

func forceUnlockCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "force-unlock",
		Usage:     "remove somebody else's lock, after looking at it",
		UsageText: "statelatch force-unlock [flags] LOCK_ID [REF]",
		Description: "Removes exactly the lock with that ID: the delete is refused by the store if the lock changes hands\n" +
			"in between. Needs neither the state nor the workspace to exist. A lock object that cannot\n" +
			"be understood is named by its ETag instead, as 'statelatch status' shows it.\n" +
			"A lock with a lease is taken over and its state fenced first, so that a 'statelatch' holder that is still\n" +
			"alive can write no more. Nothing stops an engine: make sure that run is dead, or it may still write its state.\n\n" +
			"Examples:\n" +
			"  statelatch force-unlock 6638e010-8fb0-46cf-966d-21e806602f3a\n" +
			"  statelatch force-unlock -force 6638e010-8fb0-46cf-966d-21e806602f3a s3://acme-state/prod/terraform.tfstate",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "force", Usage: "do not ask for confirmation"},
		}, append(identityFlags(), targetFlags()...)...),
		Action: func(ctx context.Context, c *cli.Command) error {
			o := forceUnlockOptions{force: c.Bool("force")}
			var err error
			if o.requestOptions, err = requestOf(c); err != nil {
				return err
			}
			args := c.Args().Slice()
			if len(args) < 1 || len(args) > 2 {
				return usageError{fmt.Errorf("want LOCK_ID [REF], %s; 'statelatch status' shows the ID", cliargs.Got(args))}
			}
			if strings.HasPrefix(args[0], "s3://") { // either order will do
				args[0], args[len(args)-1] = args[len(args)-1], args[0]
			}
			if strings.HasPrefix(args[0], "s3://") {
				return usageError{errors.New("the LOCK_ID is missing; 'statelatch status' shows it")}
			}
			o.id = args[0]
			o.targetOptions = targetOf(c, strings.Join(args[1:], ""))
			return o.finish(ctx, term, runForceUnlock(ctx, o, term))
		},
	}
}

func runForceUnlock(ctx context.Context, o forceUnlockOptions, term terminal) error {
	t, err := o.open(ctx, term)
	if err != nil {
		return err
	}
	s := unlockStep{target: t, action: actForce}
	if s.held, err = o.chosen(ctx, t); err != nil {
		return err
	}
	if !o.force {
		term.Say("%s\n", describe(s.held, false))
		err = term.Confirm(ctx, "Do you really want to remove this lock? If its holder is still alive, two runs may "+
			"write this state.", "-force")
		if err != nil {
			return err
		}
	}
	steps := []unlockStep{s}
	if proveRemovals(ctx, term, steps); steps[0].err != nil {
		return steps[0].err
	}
	removed, weak, err := audit.Release(ctx, audit.ForceUnlock, t.ref, func() (lock.Held, bool, error) {
		return o.remove(ctx, term, t, s.held)
	})
	if err != nil {
		return err
	}
	if mine, err := claims.Open(term.Getenv); err == nil {
		if err := mine.Forget(t.ref, removed.Info.ID); err != nil {
			term.Say("Warning: %v\n", err)
		}
	}
	if o.json {
		return term.PrintJSON(releasedOf(removed, weak))
	}
	term.Say("The lock of %s was removed.\n", t.ref)
	warnWeak(term, weak)
	return nil
}

// chosen is the lock that LOCK_ID names, if it is the one that is held.
func (o forceUnlockOptions) chosen(ctx context.Context, t target) (lock.Held, error) {
	held, err := t.Manager.Status(ctx, t.ref)
	if err == nil && !held.Named(o.id) && (held.Item == nil || held.Item.Info.ID != o.id) {
		err = anotherID(held, o.id)
	}
	return held, err
}

// anotherID refuses a lock that has another ID than was given. A cause comes before what it is about.
func anotherID(held lock.Held, id string) error {
	if id != "" && held.Err == nil && strings.HasPrefix(held.Info.ID, strings.TrimSuffix(id, "…")) {
		return fmt.Errorf("%s is only the beginning of the lock's ID; all of it is wanted: %w", statelatch.Printable(id),
			held.LockedError())
	}
	return fmt.Errorf("the lock has another ID than %s: %w", statelatch.Printable(id), held.LockedError())
}

// remove removes the lock as it was shown, or with -force whatever the holder has made of it by now.
func (o forceUnlockOptions) remove(
	ctx context.Context, term terminal, t target, held lock.Held,
) (lock.Held, bool, error) {
	by := o.request(term, "force-unlock")
	if o.force {
		return t.Manager.ForceUnlock(ctx, t.ref, o.id, by)
	}
	if !held.Named(o.id) { // only the item in the table
		held = lock.Held{Ref: held.Ref, Info: held.Item.Info, Item: held.Item}
	}
	weak, err := t.Manager.ForceRelease(ctx, held, by)
	return held, weak, err
}
