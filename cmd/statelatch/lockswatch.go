package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
)

// The changes that a watch tells.
const (
	lockHeld     = "held" // when the watch began
	lockTaken    = "taken"
	lockReleased = "released"
	lockVerdict  = "verdict" // the verdict is another
)

// change is one line of a watch.
type change struct {
	At     time.Time `json:"at"` // by this machine's clock: when it was seen
	Change string    `json:"change"`
	Lock   lockJSON  `json:"lock"`
}

// follow shows the locks until ctx ends, which is how it is meant to end. What fails on the way is told, and tried again.
func (v *lockView) follow(ctx context.Context) error {
	redraw := !v.json && drawsOn(v.term)
	var before []fleet.Lock
	for first := true; ctx.Err() == nil; {
		locks, err := v.list(ctx)
		locks = stillThere(before, locks, v.incomplete != nil)
		switch {
		case ctx.Err() != nil: // and err because of it
		case err != nil && (first || errors.Is(err, statelatch.ErrDenied) && !statelatch.Expired(err)):
			return err
		case err != nil:
			v.term.say("Warning: %s; trying again\n", oneLine(err))
		case redraw:
			v.term.print("\033[H\033[J%s\n%s", v.table(locks), "Ctrl-C ends this.\n")
		default:
			if err := v.tellChanges(before, locks, first); err != nil {
				return err
			}
		}
		if err == nil {
			before, first = locks, false
		}
		select {
		case <-ctx.Done():
		case <-time.After(v.interval):
		}
	}
	return nil
}

// stillThere is now with what could not be looked at this time as it was before: that is no release.
func stillThere(before, now []fleet.Lock, unlisted bool) []fleet.Lock {
	unread, seen := map[string]bool{}, map[string]bool{}
	for _, l := range now {
		unread[l.Ref.Key] = l.Unread != nil
		seen[l.Ref.Key] = true
	}
	var kept []fleet.Lock
	covered := map[string]bool{}
	for _, l := range before {
		if unread[l.Ref.Key] || unlisted && !seen[l.Ref.Key] && l.Kind == fleet.KindItem {
			kept = append(kept, l)
			covered[l.Ref.Key] = true
		}
	}
	for _, l := range now {
		if !covered[l.Ref.Key] {
			kept = append(kept, l)
		}
	}
	slices.SortStableFunc(kept, func(a, b fleet.Lock) int { return cmp.Compare(a.Ref.Key, b.Ref.Key) })
	return kept
}

// drawsOn reports whether results go to a screen that can be drawn on.
func drawsOn(term terminal) bool {
	f, ok := term.out.(*os.File)
	return ok && isatty.IsTerminal(f.Fd()) && term.getenv("TERM") != "dumb"
}

// tellChanges prints a line for every difference. A renewed lease is none.
func (v *lockView) tellChanges(before, now []fleet.Lock, first bool) error {
	type key struct{ state, half, id string }
	name := func(l fleet.Lock) key {
		k := key{state: l.Ref.Key, id: l.Info.ID}
		if l.ETag == "" {
			k.half = "item"
		}
		if l.Err != nil {
			k.id = l.ETag
		}
		return k
	}
	known := map[key]fleet.Lock{}
	for _, l := range before {
		known[name(l)] = l
	}
	for _, l := range now {
		was, there := known[name(l)]
		delete(known, name(l))
		what := ""
		switch {
		case first:
			what = lockHeld
		case !there:
			what = lockTaken
		case was.Verdict.State != l.Verdict.State:
			what = lockVerdict
		}
		if what == "" || !v.shows(l, v.owner) && (!there || !v.shows(was, v.owner)) {
			continue
		}
		if err := v.tellChange(what, l); err != nil {
			return err
		}
	}
	for _, l := range before {
		if _, left := known[name(l)]; left && v.shows(l, v.owner) {
			if err := v.tellChange(lockReleased, l); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *lockView) tellChange(what string, l fleet.Lock) error {
	now := time.Now().UTC().Truncate(time.Second)
	if v.json {
		return v.term.printJSON(change{now, what, v.lockJSON(l)})
	}
	detail := ""
	if what != lockReleased {
		detail = fmt.Sprintf("  %s: %s", cmp.Or(l.Verdict.State, evidence.Unknown), l.Verdict.Proof)
	}
	v.term.print("%s  %-8s  %s  %s%s\n", now.Format(time.RFC3339), what, v.stateName(l.Ref.Key), holderName(l.Held), detail)
	return nil
}
