package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/internal/userdir"
	"github.com/statelatch/statelatch/probe/verdict"
)

// keeper knows this user's verdicts. What it has to tell it says.
func keeper(term terminal) verdict.Keeper {
	dir, noDir := userdir.State(term.Getenv)
	k := verdict.Keeper{
		Tool: version(),
		OnLeftBehind: func(what string) {
			term.Say("Warning: the probe left something behind: %s\n", statelatch.Printable(what))
		},
		OnUnkept: func(err error) {
			term.Say("Warning: this verdict will not be remembered: %v\n", cmp.Or(noDir, err))
		},
	}
	if noDir == nil {
		k.Dir = filepath.Join(dir, "probes")
	}
	return k
}

// proveTiers sees to it that every store can lock before anything is locked, and tells the managers how well.
// On a store that is not AWS's own, whose conditions are not documented, the first lock of a day proves it.
func proveTiers(ctx context.Context, term terminal, targets []target) error {
	known := make(map[string]verdict.Verdict)
	for _, t := range targets {
		at := t.Bucket.Endpoint() + "\x00" + t.Bucket.Name()
		v, ok := known[at]
		if !ok {
			var err error
			if v, err = proveStore(ctx, term, t.Bucket); err != nil {
				return err
			}
			known[at] = v
		}
		t.Manager.Tier = v.Tier
		if err := v.Err(); err != nil {
			return fmt.Errorf("%w. Probe again for the details, or once the store has been changed: %s", err,
				t.again.command("probe"))
		}
	}
	return nil
}

// proveStore returns what is known about a store, or finds it out. Once a day it warns whoever locks that the engines
// will fail to write there.
func proveStore(ctx context.Context, term terminal, b *s3bucket.Bucket) (verdict.Verdict, error) {
	mode := term.Getenv("STATELATCH_PROBE")
	if mode != "" && mode != "on" && mode != "off" {
		return verdict.Verdict{}, usageError{fmt.Errorf("STATELATCH_PROBE=%q: want 'on' or 'off'", mode)}
	}
	line := term.LiveLine()
	k := keeper(term)
	k.Trust = mode == "off"
	k.OnWait = func(endpoint string) {
		term.Say("Waiting for another process that probes whether %s can lock safely.\n", endpoint)
	}
	k.OnProbe = func(endpoint string) {
		term.Say("Probing whether %s can lock safely, as not every S3 store can (once a day; "+
			"STATELATCH_PROBE=off skips it).\n", endpoint)
	}
	k.OnProgress = tellProbe(line)
	k.OnLearn = func(v verdict.Verdict) {
		line.Clear()
		if advice := v.EnginesFail(); advice != "" {
			term.Say("Warning: %s\n", statelatch.Printable(advice))
		}
	}
	v, err := k.Prove(ctx, b)
	line.Clear()
	switch {
	case errors.Is(err, statelatch.ErrDenied):
		return v, fmt.Errorf("the probe of the store was denied (STATELATCH_PROBE=off skips it): %w", err)
	case err != nil:
		return v, fmt.Errorf("nothing was locked: %w", err)
	}
	return v, nil
}
