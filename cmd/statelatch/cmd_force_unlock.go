package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/claims"
	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/statelatch/statelatch/internal/locktalk"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/unlock"
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
	plan := unlock.Of(ctx, []lock.Target{{Manager: t.Manager, Ref: t.ref}}, unlock.Options{
		ID: o.id, Remove: true, Approved: o.force, Owner: claims.OwnerOf(term.Getenv), By: o.request(term, "force-unlock"),
		Command: func(_ statelatch.Ref, verb string) string { return t.again.command(verb) },
	})
	if err := plan.Err(); err != nil {
		return err
	}
	if !o.force {
		term.Say("%s\n", locktalk.Describe(plan.Steps[0].Held, false))
		err = term.Confirm(ctx, "Do you really want to remove this lock? If its holder is still alive, two runs may "+
			"write this state.", "-force")
		if err != nil {
			return err
		}
	}
	at := func(statelatch.Ref) target { return t }
	stopped := plan.Do(ctx, 1, unlockHooks(term, at, func(s unlock.Step, was lock.Held, weak bool) error {
		if o.json {
			return term.PrintJSON(s.Released(was, weak))
		}
		term.Say("The lock of %s was removed.\n", t.ref)
		warnWeak(term, weak)
		return nil
	}, o.json))
	return errors.Join(stopped, plan.Err())
}
