package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/claims"
	"github.com/statelatch/statelatch/lock"
	"github.com/urfave/cli/v3"
)

type lockOptions struct {
	targetOptions
	requestOptions
	refs    []string
	expires time.Duration
}

func lockCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "lock",
		Usage:     "take the lock of a state and keep it",
		UsageText: "statelatch lock [flags] [REF...]",
		Description: "Takes the lock that terraform and tofu honour, the item in the DynamoDB table too where one is configured,\n" +
			"prints its ID and remembers it, so that 'statelatch unlock' releases it. While it is held, engines\n" +
			"refuse to plan and apply and show your name and -reason. Several REFs are locked all or none. To lock for\n" +
			"the time of a command, see run.\n\n" +
			"Examples:\n" +
			"  statelatch lock s3://acme-state/prod/terraform.tfstate\n" +
			"  statelatch lock -reason 'database failover' -expires 2h -lock-timeout 5m\n" +
			"  statelatch lock -chdir infra/prod -json",
		Flags: append(append([]cli.Flag{
			&durationFlag{Name: "expires", Usage: "after this long anybody may remove it with 'unlock -expired' or " +
				"-takeover=expired"},
		}, requestFlags()...), targetFlags()...),
		Action: act(term, func(c *cli.Command) (lockOptions, error) {
			o := lockOptions{targetOptions: targetOf(c, c.Args().First()), refs: wholeRefs(c), expires: c.Duration("expires")}
			err := notTwice(o.refs)
			if err == nil {
				o.requestOptions, err = requestOf(c)
			}
			switch {
			case err != nil:
			case o.under:
				err = usageError{errors.New("-under-lock is for commands that work under a lock; this one takes it")}
			case o.expires < 0 || o.expires == 0 && c.IsSet("expires"):
				err = usageError{fmt.Errorf("-expires %v: it must be positive", o.expires)}
			}
			return o, err
		}, runLock),
	}
}

func runLock(ctx context.Context, o lockOptions, term terminal) error {
	targets, err := o.openAll(ctx, term, o.refs)
	if err != nil {
		return err
	}
	if t := targets[0]; t.unlocked != "" {
		// A lock that nobody honours is worse than none.
		return usageError{fmt.Errorf("%s, so terraform here would ignore the lock: set use_lockfile = true and run "+
			"terraform init -reconfigure, "+
			"or name the state to lock it for those who honour it: statelatch lock %s", t.unlocked, shellQuote(t.ref.String()))}
	}
	absent := noteMissing(ctx, term, targets, o.json)
	mine, err := claims.Open(term.Getenv)
	ids := make([]string, len(targets))
	for i, t := range targets {
		ids[i] = lock.NewID()
		if err == nil {
			err = mine.Remember(t.ref, ids[i], time.Now())
		}
	}
	if err != nil {
		mine = claims.Claims{}
		term.Say("Warning: this lock will not be remembered, so keep its ID: %v\n", err)
	}
	req := o.request(term, "lock")
	req.Expires = o.expires
	req.Client = "" // it outlives this process
	set, err := acquireAll(ctx, term, targets, ids, req)
	if err != nil {
		for i, t := range targets {
			err = errors.Join(err, mine.ForgetRefused(ctx, t.Manager, t.ref, ids[i], err))
		}
		return err
	}
	for _, t := range targets {
		result := fleet.StatusOf(tenureOf(set, t.ref).Held(), evidence.Verdict{}, true)
		near, missing := absent[t.ref]
		result.Missing, result.Near = missing, near
		if err := o.locked(term, t, tenureOf(set, t.ref).Held(), mine, result); err != nil {
			return err
		}
	}
	return nil
}

// locked tells about one lock that was taken.
func (o lockOptions) locked(term terminal, t target, held lock.Held, mine claims.Claims, result fleet.Status) error {
	// Once more: an unlock of this user that found the state free may have dropped the claim.
	if err := mine.Remember(t.ref, held.Info.ID, held.Info.Created); err != nil {
		term.Say("Warning: %v\n", err)
	}
	if o.json {
		return term.PrintJSON(result)
	}
	term.Say("Locked %s.\n", t.ref)
	if o.expires > 0 {
		term.Say("It stays locked until you release it; from %s on anybody may remove it with 'statelatch "+
			"unlock -expired'.\n",
			time.Now().Add(o.expires).Format(time.RFC3339))
	}
	term.Say("Release it with: %s\n", t.again.command("unlock"))
	term.Print("%s\n", held.Info.ID)
	return nil
}
