package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/lock"
	"github.com/urfave/cli/v3"
)

type lockOptions struct {
	targetOptions
	wait time.Duration
	info string
}

func lockCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "lock",
		Usage:     "take the lock of a state and keep it",
		UsageText: "statelatch lock [flags] [REF]",
		Description: "Takes the native lock that terraform and tofu honour, prints its ID and remembers it, so\n" +
			"that 'statelatch unlock' gives it back. While it is held, engines with use_lockfile = true\n" +
			"refuse to plan and apply and show your name and -info.\n\n" +
			"Examples:\n" +
			"  statelatch lock s3://acme-state/prod/terraform.tfstate\n" +
			"  statelatch lock -info 'database failover until 15:00' -lock-timeout 5m\n" +
			"  statelatch lock -chdir infra/prod -json",
		Flags: append([]cli.Flag{
			&cli.DurationFlag{Name: "lock-timeout", Usage: "how long to wait for another holder, such as 90s or 10m"},
			&cli.StringFlag{Name: "info", Usage: "a reason, shown to whoever is kept waiting"},
		}, targetFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			ref, err := oneRef(c)
			if err != nil {
				return err
			}
			o := lockOptions{targetOptions: targetOf(c, ref), wait: c.Duration("lock-timeout"), info: c.String("info")}
			if o.wait < 0 {
				return usageError{fmt.Errorf("-lock-timeout %v: it must not be negative", o.wait)}
			}
			return o.finish(ctx, term, runLock(ctx, o, term))
		},
	}
}

func runLock(ctx context.Context, o lockOptions, term terminal) error {
	t, err := o.open(ctx, term)
	if err != nil {
		return err
	}
	ref := t.ref
	if t.ignored {
		// A lock that nobody honours is worse than none.
		return usageError{fmt.Errorf("%s, so terraform here would ignore the lock: set use_lockfile = true and run terraform init -reconfigure, "+
			"or name the state to lock it for those who honour it: statelatch lock %s", t.unseen, shellQuote(ref.String()))}
	}
	if t.unseen != "" {
		term.say("Warning: %s.\n", t.unseen)
	}
	id := lock.NewID()
	mine, err := openClaims(term.getenv)
	if err == nil {
		err = mine.remember(ref, id, time.Now())
	}
	if err != nil {
		mine = claims{}
		term.say("Warning: this lock will not be remembered, so keep its ID: %v\n", err)
	}
	held, err := t.locks.Acquire(ctx, ref, lock.Request{
		ID: id, Operation: "lock", Info: o.info, Who: who(term.getenv), Version: version(),
		Wait: o.wait,
		OnWait: func(h lock.Held) {
			term.say("Waiting up to %v for the lock of %s, held by %s\n", o.wait, ref, holderName(h))
		},
	})
	if err != nil {
		if !errors.Is(err, statelatch.ErrAmbiguous) {
			err = errors.Join(err, mine.forget(ref, id))
		}
		return err
	}
	// Once more: an unlock of this user that found the state free may have dropped the claim.
	if err := mine.remember(ref, id, held.Info.Created); err != nil {
		term.say("Warning: %v\n", err)
	}
	if o.json {
		return term.printJSON(statusOf(held, true))
	}
	term.say("Locked %s.\nRelease it with: statelatch unlock%s\n", ref, o.again())
	term.print("%s\n", held.Info.ID)
	return nil
}

// who is user@host, as the engines write it.
func who(getenv func(string) string) string {
	name := getenv("USER")
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	host, _ := os.Hostname()
	return name + "@" + host
}
