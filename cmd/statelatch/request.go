package main

import (
	"context"
	"fmt"
	"time"

	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/identity"
	"github.com/statelatch/statelatch/internal/claims"
	"github.com/statelatch/statelatch/internal/locktalk"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/site"
	"github.com/statelatch/statelatch/unlock"
	"github.com/statelatch/statelatch/wrap"
	"github.com/urfave/cli/v3"
)

// The lease of a lock under which a state is written: long enough for a store that stands still for half a
// minute, short enough to wait for at night.
const defaultLease = site.DefaultLease

// requestOptions say what a lock tells about its holder, and how it is waited for.
type requestOptions struct {
	who, info, reason string
	wait              time.Duration
	takeOver, under   bool
	fenceAlways       bool
}

// requestFlags are the flags of every command that takes a lock.
func requestFlags() []cli.Flag {
	return append([]cli.Flag{
		&durationFlag{Name: "lock-timeout", Usage: "how long to wait for another holder, such as 90s or 10m"},
		&cli.BoolFlag{Name: "under-lock", Usage: "work under the lock that you took here with 'statelatch " +
			"lock', which stays"},
		&choiceFlag{
			Name: "takeover", Config: choices{"never", "expired"},
			Usage: "expired: take over a lock whose lease or -expires has run out (default never)",
		},
		&choiceFlag{
			Name: "fence", Config: choices{"takeover", "always"},
			Usage: "always: write the state anew also without a takeover, where engines' force-unlock removes such locks " +
				"(default takeover)",
		},
	}, identityFlags()...)
}

// identityFlags are the flags of every command that puts its name into a lock.
func identityFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "who", Usage: "`TEXT` the holder to show, instead of user@host or the CI job's actor"},
		&cli.StringFlag{Name: "info", Usage: "`TEXT` a line for whoever is kept waiting, instead of the CI job's link"},
		&cli.StringFlag{Name: "reason", Usage: "`TEXT` why, for whoever looks at the lock"},
	}
}

func requestOf(c *cli.Command) (requestOptions, error) {
	o := requestOptions{
		who: c.String("who"), info: c.String("info"), reason: c.String("reason"), wait: c.Duration("lock-timeout"),
		under: c.Bool("under-lock"), fenceAlways: c.String("fence") == "always",
	}
	if o.wait < 0 {
		return o, usageError{fmt.Errorf("-lock-timeout %v: it must not be negative", o.wait)}
	}
	o.takeOver = c.String("takeover") == "expired"
	return o, nil
}

// request is what o asks of package lock, with what the environment tells about who asks.
func (o requestOptions) request(term terminal, operation string) lock.Request {
	id := identity.Detect(term.Getenv).With(o.who, o.info, o.reason)
	req := lock.Request{
		Operation: operation, Info: id.Info, Who: id.Who, Version: version(), Reason: id.Reason,
		Client: identity.Client(), Run: id.Run,
		Wait: o.wait, TakeOver: o.takeOver, FenceAlways: o.fenceAlways, Gone: unlock.HolderGone,
	}
	if o.under {
		mine, err := claims.Open(term.Getenv)
		if err != nil {
			term.Say("Warning: which locks are yours is not known: %v\n", err)
		}
		req.Under = func(h lock.Held) bool { return mine.Has(h.Ref, h.Info.ID) }
	}
	return req
}

// notNested refuses to wait for a lock that would be released only after this command.
func notNested(ctx context.Context, term terminal, targets ...target) error {
	for _, t := range targets {
		if wrap.HeldAround(ctx, term.Getenv, t.ref, t.Bucket.Store()) {
			return usageError{fmt.Errorf("%s is locked already by the 'statelatch run' around this command: leave out the "+
				"inner one, or do this after that run", t.ref)}
		}
	}
	return nil
}

// acquire takes the lock of one state, telling about the wait.
func (t target) acquire(ctx context.Context, term terminal, req lock.Request) (*lock.Tenure, error) {
	set, err := acquireAll(ctx, term, []target{t}, nil, req)
	if err != nil {
		return nil, err
	}
	return set[0], nil
}

// acquireAll takes the locks of all targets or none, telling about the wait. ids are theirs; nil: fresh ones.
func acquireAll(
	ctx context.Context, term terminal, targets []target, ids []string, req lock.Request,
) (lock.Set, error) {
	if err := notNested(ctx, term, targets...); err != nil {
		return nil, err
	}
	if err := proveTiers(ctx, term, targets); err != nil {
		return nil, err
	}
	locks := make([]lock.Target, len(targets))
	for i, t := range targets {
		locks[i] = lock.Target{Manager: t.Manager, Ref: t.ref}
		if ids != nil {
			locks[i].ID = ids[i]
		}
	}
	w := &locktalk.Wait{Term: term}
	defer w.Clear()
	req.OnWait = w.Tell
	surviveClosedPipes()
	return audit.AcquireAll(ctx, locks, req)
}
