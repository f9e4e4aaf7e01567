package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/identity"
	"github.com/statelatch/statelatch/internal/claims"
	"github.com/statelatch/statelatch/internal/unsaved"
	"github.com/statelatch/statelatch/lock"
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
		Flags: targetFlags(),
		Action: func(ctx context.Context, c *cli.Command) error {
			ref, err := atMostOne(c, "REF")
			if err != nil {
				return err
			}
			o := targetOf(c, ref)
			return o.finish(ctx, term, runStatus(ctx, o, term))
		},
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
		term.PrintProse("%s%s", describe(held, own), verdictLine(verdict, verdictIn(term.Paint)))
		if own && unlock.Releasable(held, verdict) {
			term.Print("Release it with: %s\n", o.again(term).command("unlock"))
		}
	}
	return reportedError{held.LockedError()}
}

// verdictLine is what the evidence says; paint colours its first word.
func verdictLine(v evidence.Verdict, paint func(string) string) string {
	return fmt.Sprintf("Verdict: %s: %s.\n", paint(string(v.State)), v.Proof)
}

// describe shows a lock: the engines' block, then what they do not show. The verdict is to follow.
func describe(h lock.Held, mine bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is locked", h.Ref)
	if mine {
		b.WriteString(" by you")
	}
	b.WriteString(".\n\n")
	b.WriteString(lockBlock(h.LockedError()))
	b.WriteString("\n" + promises(h))
	return b.String()
}

// promises is what neither the engines' block nor the verdict shows: one line each.
func promises(h lock.Held) string {
	var b strings.Builder
	line := func(format string, args ...any) {
		b.WriteString(statelatch.Printable(fmt.Sprintf(format, args...)) + "\n")
	}
	left, promised := h.ExpiresIn()
	switch m := h.Managed; {
	case h.ETag == "" || h.Since.IsZero():
	case m != nil && h.Stays() && h.Age <= m.TTL:
		line("A command works under it; without that command it stays until it is released.")
	case m != nil && m.TTL > 0:
	case promised && left <= 0:
		line("It expired %s ago: statelatch unlock -expired", evidence.Span(-left))
	case m == nil || m.Seq <= 1:
		line("Held since %s (by the store's clock).", h.Since.UTC().Format(time.RFC3339))
	}
	b.WriteString(background(h.Managed))
	if m := h.Managed; m != nil && m.PrevID != "" {
		line("It took over the lock with ID %s.", m.PrevID)
	}
	switch i := h.Item; {
	case i == nil && h.Managed != nil && h.Managed.Table != "":
		line("Its holder locks the DynamoDB table %q, too.", h.Managed.Table)
	case i == nil:
	case h.ETag == "":
		line("It is an item in the DynamoDB table %q; there is no lock object.", i.Table)
	case i.Err != nil:
		line("The item in the DynamoDB table %q cannot be read: %v", i.Table, i.Err)
	case i.Info.ID == h.Info.ID:
		line("The DynamoDB table %q has the same lock.", i.Table)
	default:
		line("The DynamoDB table %q has another lock: %s (%s, ID %s).", i.Table, i.Info.Who, i.Info.Operation, i.Info.ID)
	}
	return b.String()
}

// background is who is behind a lock of ours and why, one line each.
func background(m *statelatch.Managed) string {
	if m == nil {
		return ""
	}
	s := ""
	for _, f := range [...][2]string{
		{"Reason:", m.Reason},
		{"Run:", runURL(m.Run)},
		{"Client:", m.Client + map[identity.Liveness]string{
			identity.Alive: " (a process of this machine that still runs)",
			identity.Dead:  " (a process of this machine that is gone)",
		}[evidence.HolderHere(m)]},
	} {
		if f[1] != "" {
			s += fmt.Sprintf("%-8s%s\n", f[0], statelatch.Printable(f[1]))
		}
	}
	return s
}

func runURL(r *statelatch.Run) string {
	if r == nil {
		return ""
	}
	return r.URL
}

// lockBlock is the engines' "Lock Info:" block, or why there is none.
func lockBlock(l *statelatch.LockedError) string {
	if l.Err == nil {
		return l.Holder.Block()
	}
	where := fmt.Sprintf("lock object s3://%s/%s", l.Ref.Bucket, l.Ref.LockKey())
	if l.Table != "" {
		where = fmt.Sprintf("lock item of %s in the DynamoDB table %q", l.Ref, l.Table)
	}
	s := fmt.Sprintf("The %s cannot be read: %s\n", where, statelatch.Printable(l.Err.Error()))
	if l.ETag != "" {
		s += "  ETag:      " + statelatch.Printable(l.ETag) + "\n"
	}
	return s
}

// lockedAdvice shows a holder and names the next commands; again names the state in them.
func lockedAdvice(term terminal, l *statelatch.LockedError, again naming) string {
	s := lockBlock(l)
	id := l.Holder.ID
	if l.Err != nil {
		id = l.ETag
	}
	if id == "" {
		return s
	}
	if more := background(l.Managed); more != "" {
		s += "\n" + more
	}
	if mine, _ := claims.Open(term.Getenv); mine.Has(l.Ref, l.Holder.ID) {
		return s + "\n" + ownAdvice(l, again)
	}
	s += fmt.Sprintf("\nHow old is it?        %s\nWait for it:          -lock-timeout 10m, of lock, run and push\n",
		again.command("status"))
	if m := l.Managed; m != nil && (m.TTL > 0 || m.Expires > 0) {
		s += fmt.Sprintf("If it is over:        %s\n", again.command("unlock -expired"))
	}
	return s + fmt.Sprintf("If that run is dead:  %s\n", again.command("force-unlock "+shellQuote(id)))
}

// ownAdvice is lockedAdvice for who took the lock.
func ownAdvice(l *statelatch.LockedError, again naming) string {
	h := lock.Held{Info: l.Holder, Managed: l.Managed}
	since := ""
	if !l.Holder.Created.IsZero() {
		since = ", since " + l.Holder.Created.UTC().Format(time.RFC3339)
	}
	const wait = "Wait for it:          -lock-timeout 10m, of lock, run and push\n"
	release := fmt.Sprintf("Release it:           %s\n", again.command("unlock"))
	const under = "Work under it:        -under-lock, of run, push and rollback\n"
	switch alive := evidence.HolderHere(l.Managed); {
	case h.Leased() && alive == identity.Alive && h.Stays():
		return fmt.Sprintf("It is yours%s, and a command of yours works under it, which still runs.\n", since) + wait
	case h.Leased() && alive == identity.Alive:
		return fmt.Sprintf("It is held by a run of yours on this machine%s, which still runs: stop it, and it "+
			"releases the lock.\n", since) + wait
	case h.Stays():
		return fmt.Sprintf("It is yours%s. A command of yours worked under it and has not released it.\n", since) + release +
			under
	case h.Leased():
		return fmt.Sprintf("It was taken by a run of yours%s. If that is over:\n", since) + release
	}
	return fmt.Sprintf("It is yours%s: taken by 'statelatch lock' here.\n", since) + release + under
}
