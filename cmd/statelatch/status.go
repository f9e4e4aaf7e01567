package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/lock"
	"github.com/urfave/cli/v3"
)

func statusCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "show whether a state is locked, by whom and since when",
		UsageText: "statelatch status [flags] [REF]",
		Description: "Reads the lock object, nothing else, and changes nothing. Exits with 0 if the state is free\n" +
			"and with 11 if it is locked, also by you.\n\n" +
			"Examples:\n" +
			"  statelatch status s3://acme-state/prod/terraform.tfstate\n" +
			"  TF_WORKSPACE=staging statelatch status -chdir infra -json",
		Flags: targetFlags(),
		Action: func(ctx context.Context, c *cli.Command) error {
			ref, err := oneRef(c)
			if err != nil {
				return err
			}
			o := targetOf(c, ref)
			return o.finish(ctx, term, runStatus(ctx, o, term))
		},
	}
}

func runStatus(ctx context.Context, o targetOptions, term terminal) error {
	t, err := o.open(ctx, term)
	if err != nil {
		return err
	}
	if t.unseen != "" && !o.json {
		term.say("Note: %s.\n", t.unseen)
	}
	ref := t.ref
	held, err := t.locks.Status(ctx, ref)
	if errors.Is(err, statelatch.ErrNotLocked) {
		if o.json {
			return term.printJSON(statusJSON{Ref: ref.String(), Note: t.unseen})
		}
		term.print("%s is not locked.\n", ref)
		return nil
	}
	if err != nil {
		return err
	}
	mine, _ := openClaims(term.getenv)
	own := mine.has(ref, held.Info.ID)
	if o.json {
		result := statusOf(held, own)
		result.Note = t.unseen
		if err := term.printJSON(result); err != nil {
			return err
		}
	} else {
		term.print("%s", describe(held, own))
		if own {
			term.print("Release it with: statelatch unlock%s\n", o.again())
		}
	}
	return reportedError{held.LockedError()}
}

// describe shows a lock: the engines' block, then what they do not show, then what to do.
func describe(h lock.Held, mine bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is locked", h.Ref)
	if mine {
		b.WriteString(" by you")
	}
	b.WriteString(".\n\n")
	b.WriteString(lockBlock(h.LockedError()))
	if !h.Since.IsZero() {
		fmt.Fprintf(&b, "\nHeld for %v (by the store's clock, since %s).\n", h.Age.Round(time.Second), h.Since.UTC().Format(time.RFC3339))
	}
	return b.String()
}

// lockBlock is the engines' "Lock Info:" block, or why there is none.
func lockBlock(l *statelatch.LockedError) string {
	if l.Err == nil {
		return l.Holder.Block()
	}
	s := fmt.Sprintf("The lock object s3://%s/%s cannot be read: %s\n", l.Ref.Bucket, l.Ref.LockKey(), statelatch.Printable(l.Err.Error()))
	if l.ETag != "" {
		s += "  ETag:      " + l.ETag + "\n"
	}
	return s
}

// lockedAdvice shows a holder and names the next commands; again names the state in them.
func lockedAdvice(l *statelatch.LockedError, again string) string {
	s := lockBlock(l)
	id := l.Holder.ID
	if l.Err != nil {
		id = l.ETag
	}
	if id == "" {
		return s
	}
	return s + fmt.Sprintf(`
How old is it?        statelatch status%[1]s
Wait for it:          statelatch lock -lock-timeout 10m%[1]s
If that run is dead:  statelatch force-unlock %[2]s%[1]s
`, again, shellQuote(id))
}

func holderName(h lock.Held) string {
	if h.Err != nil {
		return "an unreadable lock object"
	}
	return statelatch.Printable(fmt.Sprintf("%s (%s, ID %s)", h.Info.Who, h.Info.Operation, h.Info.ID))
}

var shellSafe = regexp.MustCompile(`^[A-Za-z0-9_./:=@%+-]+$`)

// shellQuote makes s safe to paste into a shell.
func shellQuote(s string) string {
	if shellSafe.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
