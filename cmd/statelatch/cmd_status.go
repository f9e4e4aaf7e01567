package main

import (
	"context"
	"errors"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/claims"
	"github.com/statelatch/statelatch/internal/locktalk"
	"github.com/statelatch/statelatch/internal/unsaved"
	"github.com/statelatch/statelatch/unlock"
	"github.com/urfave/cli/v3"
)

func statusCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "show whether a state is locked, by whom and since when",
		UsageText: "statelatch status [flags] [REF]",
		Description: "Reads the lock object, and the item in the DynamoDB table where one is configured; changes nothing.\n" +
			"Exits with 0 if the state is free and with 11 if it is locked, also by you.\n\n" +
			"Examples:\n" +
			"  statelatch status s3://acme-state/prod/terraform.tfstate\n" +
			"  TF_WORKSPACE=staging statelatch status -chdir infra -json",
		Flags:  targetFlags(),
		Action: act(term, func(c *cli.Command) (targetOptions, error) { return targetAt(c, "REF") }, runStatus),
	}
}

// statusJSON is the result of status.
type statusJSON struct {
	fleet.Status
	// Unsaved is what pushes of the state that did not end have kept on this machine.
	Unsaved []unsaved.Leftover `json:"unsaved,omitempty"`
}

func runStatus(ctx context.Context, o targetOptions, term terminal) error {
	t, err := o.open(ctx, term)
	if err != nil {
		return err
	}
	if t.unlocked != "" && !o.json {
		term.Say("Note: %s.\n", t.unlocked)
	}
	ref := t.ref
	copies := unsaved.Of(ref, term.Getenv)
	if !o.json {
		tellUnsaved(term, copies, o.again(term), "")
	}
	held, err := t.Manager.Status(ctx, ref)
	free := errors.Is(err, statelatch.ErrNotLocked)
	if err != nil && !free {
		return err
	}
	near, missing := fleet.Missing(ctx, t.Bucket, ref, maxNear)
	if missing && !o.json {
		defer sayMissing(term, ref, near)
	}
	if free {
		if o.json {
			return term.PrintJSON(statusJSON{fleet.Status{
				Ref: ref.String(), Note: t.unlocked, Missing: missing, Near: near,
			}, copies.Left(time.Now(), false)})
		}
		term.Print("%s is not locked.\n", ref)
		return nil
	}
	mine, _ := claims.Open(term.Getenv)
	own := mine.Has(ref, held.Info.ID)
	verdict := evidence.Judge(ctx, held, evidence.Sources{})
	if o.json {
		result := statusJSON{fleet.StatusOf(held, verdict, own), copies.Left(time.Now(), false)}
		result.Note, result.Missing, result.Near = t.unlocked, missing, near
		if err := term.PrintJSON(result); err != nil {
			return err
		}
	} else {
		term.PrintProse("%s%s", locktalk.Describe(held, own), locktalk.VerdictLine(verdict, locktalk.VerdictIn(term.Paint)))
		if own && unlock.Releasable(held, verdict) {
			term.Print("Release it with: %s\n", o.again(term).command("unlock"))
		}
	}
	return reportedError{held.LockedError()}
}
