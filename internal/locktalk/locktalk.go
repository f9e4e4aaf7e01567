// Package locktalk words locks for people: who holds one and since when, what a list of them shows, what helps against
// one, and how long it is waited for.
package locktalk

import (
	"fmt"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/identity"
	"github.com/statelatch/statelatch/internal/term"
	"github.com/statelatch/statelatch/lock"
)

// VerdictLine is what the evidence says; paint colours its first word.
func VerdictLine(v evidence.Verdict, paint func(string) string) string {
	return fmt.Sprintf("Verdict: %s: %s.\n", paint(string(v.State)), v.Proof)
}

// Describe shows a lock: the engines' block, then what they do not show. The verdict is to follow.
func Describe(h lock.Held, mine bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is locked", h.Ref)
	if mine {
		b.WriteString(" by you")
	}
	b.WriteString(".\n\n")
	b.WriteString(Block(h.LockedError()))
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

// Block is the engines' "Lock Info:" block, or why there is none.
func Block(l *statelatch.LockedError) string {
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

// Advice shows a holder and names the next commands, which command makes of a verb. Mine: whoever reads it took the
// lock.
func Advice(l *statelatch.LockedError, mine bool, command func(verb string) string) string {
	s := Block(l)
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
	if mine {
		return s + "\n" + ownAdvice(l, command)
	}
	s += fmt.Sprintf("\nHow old is it?        %s\nWait for it:          -lock-timeout 10m, of lock, run and push\n",
		command("status"))
	if m := l.Managed; m != nil && (m.TTL > 0 || m.Expires > 0) {
		s += fmt.Sprintf("If it is over:        %s\n", command("unlock -expired"))
	}
	return s + fmt.Sprintf("If that run is dead:  %s\n", command("force-unlock "+term.ShellQuote(id)))
}

// ownAdvice is Advice for who took the lock.
func ownAdvice(l *statelatch.LockedError, command func(verb string) string) string {
	h := lock.Held{Info: l.Holder, Managed: l.Managed}
	since := ""
	if !l.Holder.Created.IsZero() {
		since = ", since " + l.Holder.Created.UTC().Format(time.RFC3339)
	}
	const wait = "Wait for it:          -lock-timeout 10m, of lock, run and push\n"
	release := fmt.Sprintf("Release it:           %s\n", command("unlock"))
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

// VerdictIn colours the verdict of a lock, and no other word.
func VerdictIn(paint func(term.Color, string) string) func(string) string {
	colors := map[evidence.State]term.Color{
		evidence.Live: term.Green, evidence.Stale: term.Red, evidence.Unknown: term.Yellow,
	}
	return func(s string) string { return paint(colors[evidence.State(s)], s) }
}
