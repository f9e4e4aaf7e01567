// Package evidence judges whether whoever holds a lock still lives.
//
// What it guarantees: "live" and "stale" are said only with a proof, which is named, and every age is the store's own
// (Last-Modified against Date), never the lock's "Created" (B7). What it does not: a lock can be forged by
// whoever may write to the bucket, a stale lock may be renewed in the next instant, and an engine's lock proves nothing
// at all. A verdict therefore advises a person; what removes a lock on it must do so with the lock's ETag as condition.
// Nothing of a lock's own text gets into a proof but checked numbers, and no address in it is ever opened.
package evidence

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/identity"
	"github.com/statelatch/statelatch/lock"
)

// State is a verdict in one word.
type State string

// The verdicts.
const (
	Live    State = "live"    // its holder is at work
	Stale   State = "stale"   // its holder is gone, or its promise is over
	Unknown State = "unknown" // neither can be proven
)

// Verdict is what can be said of a lock, and why.
type Verdict struct {
	State State  // zero is not a verdict
	Proof string // one plain line that is safe to print; for Unknown what is known at least
}

// Sources are what is asked beyond the store's clock and this machine's processes.
type Sources struct {
	CI Asker // nil: none is asked
}

// Asker tells what became of a CI run. [CI] is one.
type Asker interface {
	// Ask never fails: what cannot be found out is an Answer without a State, whose Detail says why.
	Ask(ctx context.Context, run statelatch.Run) Answer
}

// skew is how far the clocks of a store may disagree with each other, where a lease is judged that its holder may renew
// in this instant.
const skew = 5 * time.Second

// Judge weighs what proves that the holder of h lives or does not. What this machine knows of its process comes first:
// one that is gone renews no lease any more, and one that lives may be suspended, and can be stopped. A CI run that has
// ended proves nothing against a lease that is still kept: a job that was cancelled, or whose runner was lost, may go
// on for a while. A lease that has run out beats a run that goes on, of which the holder was only a part.
func Judge(ctx context.Context, h lock.Held, from Sources) Verdict {
	promise := promiseOf(h)
	m := h.Managed
	if m == nil || h.Err != nil {
		return promise
	}
	if p, err := identity.ParseClient(m.Client); err == nil {
		switch alive := p.Alive(); {
		case alive == identity.Dead && h.Stays():
			return because(Unknown, fmt.Sprintf("the command that worked under it (PID %d on this machine) is gone", p.PID),
				promise.Proof)
		case alive == identity.Dead:
			return because(Stale, fmt.Sprintf("its process (PID %d on this machine) is gone", p.PID), promise.Proof)
		case alive == identity.Alive:
			return because(Live, fmt.Sprintf("its process (PID %d on this machine) still runs", p.PID), promise.Proof)
		}
	}
	var run Answer
	if from.CI != nil && m.Run != nil {
		run = from.CI.Ask(ctx, *m.Run)
	}
	// A lock without a lease may be meant for the later jobs of a pipeline.
	ended := run.State == RunEnded && (h.Leased() || !run.JobsLeft)
	switch {
	case ended && promise.State == Live:
		return because(Unknown, run.Detail, promise.Proof)
	case ended:
		return because(Stale, run.Detail, promise.Proof)
	case promise.State == Stale:
		return because(Stale, promise.Proof, run.Detail)
	case run.State == RunGoesOn:
		return because(Live, run.Detail, promise.Proof)
	}
	return because(promise.State, promise.Proof, run.Detail)
}

// HolderHere tells whether the process behind a lock runs, as far as can be seen from this machine.
func HolderHere(m *statelatch.Managed) identity.Liveness {
	if m == nil {
		return identity.Unknown
	}
	p, err := identity.ParseClient(m.Client)
	if err != nil {
		return identity.Unknown
	}
	return p.Alive()
}

// promiseOf is what the lock itself promises, held against the store's clock.
func promiseOf(h lock.Held) Verdict {
	m, age := h.Managed, Span(h.Age)
	switch {
	case h.Err != nil && h.Since.IsZero():
		return Verdict{Unknown, "it cannot be read, so nothing is known of its holder"}
	case h.Err != nil:
		return Verdict{Unknown, fmt.Sprintf("it cannot be read, so nothing is known of its holder; it is there for %s", age)}
	case h.ETag == "":
		return Verdict{Unknown, "an item in a DynamoDB table tells no age and promises nothing"}
	case h.Since.IsZero():
		return Verdict{Unknown, "the store tells no age"}
	case m == nil:
		return Verdict{Unknown, fmt.Sprintf("held for %s; an engine's lock promises nothing", age)}
	case h.Stays() && h.Age <= m.TTL:
		return Verdict{Live, fmt.Sprintf("a command works under it, whose lease of %s was renewed %s ago", Span(m.TTL), age)}
	case m.TTL > 0 && h.Age <= m.TTL:
		return Verdict{Live, fmt.Sprintf("its lease of %s was renewed %s ago", Span(m.TTL), age)}
	case h.Stays() && m.Expires == 0:
		return Verdict{Unknown, fmt.Sprintf("a command that worked under it has not renewed its lease of %s for %s; it "+
			"stays until it is released", Span(m.TTL), age)}
	case m.TTL > 0 && !h.Stays() && h.Age > m.TTL+skew:
		return Verdict{Stale, fmt.Sprintf("its lease of %s was last renewed %s ago", Span(m.TTL), age)}
	case m.TTL > 0 && !h.Stays():
		return Verdict{Unknown, fmt.Sprintf("its lease of %s is running out just now", Span(m.TTL))}
	}
	switch left, promised := h.ExpiresIn(); {
	case promised && left <= 0:
		return Verdict{Stale, fmt.Sprintf("it was taken for %s, %s ago", Span(m.Expires), age)}
	case promised:
		return Verdict{Unknown, fmt.Sprintf("held for %s; it expires in %s", age, Span(left))}
	}
	if m.Seq > 1 { // its age is that of its last write
		return Verdict{Unknown, fmt.Sprintf("a command worked under it until %s ago; without a lease it stays until "+
			"it is released", age)}
	}
	return Verdict{Unknown, fmt.Sprintf("held for %s, without a lease: it stays until it is released", age)}
}

// because joins what proves the state and what else is known.
func because(state State, proofs ...string) Verdict {
	var said []string
	for _, p := range proofs {
		if p != "" {
			said = append(said, p)
		}
	}
	return Verdict{state, strings.Join(said, "; ")}
}

// Span words a duration for people, in its one or two largest units: 12s, 90s, 12m, 3h20m, 5d.
func Span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour && d%time.Hour >= time.Minute:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}
