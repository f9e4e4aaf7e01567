package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/term"
)

// The changes that a watch tells.
const (
	lockHeld     = "held" // when the watch began, or when it came of the age that is asked for
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

// follow shows the locks until ctx ends, which is how it is meant to end. What fails on the way is told, and tried
// again.
func (v *lockView) follow(ctx context.Context) error {
	redraw := !v.json && drawsOn(v.term)
	var before []fleet.Lock
	warned := "" // of what fails on and on, once
	for first := true; ctx.Err() == nil; {
		locks, err := v.list(ctx)
		locks = stillThere(before, locks, v.incomplete != nil)
		switch {
		case ctx.Err() != nil: // and err because of it
		case err != nil && (first || errors.Is(err, statelatch.ErrDenied) && !statelatch.Expired(err)):
			return err
		case err != nil:
			if why := oneLine(err); why != warned {
				v.term.Say("Warning: %s; trying again\n", why)
				warned = why
			}
		case redraw:
			v.term.Print("%s", v.screen(locks, term.Rows(v.term.Out)))
		default:
			if err := v.tellChanges(before, locks, first); err != nil {
				return err
			}
		}
		if err == nil {
			before, first, warned = locks, false, ""
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
	unread, seen := map[statelatch.Ref]bool{}, map[statelatch.Ref]bool{}
	for _, l := range now {
		unread[l.Ref] = l.Unread != nil
		seen[l.Ref] = true
	}
	var kept []fleet.Lock
	covered := map[statelatch.Ref]bool{}
	for _, l := range before {
		if unread[l.Ref] || unlisted && !seen[l.Ref] && l.Kind == fleet.KindItem {
			kept = append(kept, l)
			covered[l.Ref] = true
		}
	}
	for _, l := range now {
		if !covered[l.Ref] {
			kept = append(kept, l)
		}
	}
	slices.SortStableFunc(kept, func(a, b fleet.Lock) int {
		return cmp.Or(cmp.Compare(a.Ref.Bucket, b.Ref.Bucket), cmp.Compare(a.Ref.Key, b.Ref.Key))
	})
	return kept
}

// screen is the table in place of what a terminal shows, cut to so many rows; 0: all. Its lines do not wrap.
func (v *lockView) screen(locks []fleet.Lock, rows int) string {
	const clear, noWrap, wrap = "\033[H\033[J", "\033[?7l", "\033[?7h"
	text := v.none(locks)
	if shown := v.selected(locks); len(shown) > 0 {
		text, _ = v.table(shown).Render(v.term.OutWidth())
		text += "\n" + v.summary(shown) + "\n"
	}
	if v.incomplete != nil {
		text += clip("Locks that are only in the DynamoDB table are not listed: "+oneLine(v.incomplete), maxDetail) + "\n"
	}
	lines := slices.Collect(strings.Lines(text + "\nCtrl-C ends this.\n"))
	const foot = 4 // what is below the rows, and how many of those are missing
	if over := len(lines) - (rows - 1); rows > 2*foot && over > 0 {
		cut := len(lines) - foot
		lines = slices.Concat(lines[:cut-over-1], []string{fmt.Sprintf("and %s more\n", count(over+1, "line"))}, lines[cut:])
	}
	return clear + noWrap + strings.Join(lines, "") + wrap
}

// drawsOn reports whether results go to a screen that can be drawn on.
func drawsOn(term terminal) bool {
	f, ok := term.Out.(*os.File)
	return ok && isatty.IsTerminal(f.Fd()) && term.Getenv("TERM") != "dumb"
}

// tellChanges prints a line for every difference. A renewed lease is none.
func (v *lockView) tellChanges(before, now []fleet.Lock, first bool) error {
	type key struct {
		state statelatch.Ref
		id    string
	}
	name := func(l fleet.Lock) key {
		if l.Err != nil {
			return key{l.Ref, l.ETag}
		}
		return key{l.Ref, l.Info.ID}
	}
	still := map[statelatch.Ref]bool{}
	known := map[key]fleet.Lock{}
	for _, l := range before {
		known[name(l)] = l
	}
	for _, l := range now {
		still[l.Ref] = true
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
		case !v.shows(was, v.owner): // but it is old enough by now
			what = lockHeld
		}
		if what == "" || !v.shows(l, v.owner) && (!there || !v.shows(was, v.owner)) {
			continue
		}
		if err := v.tellChange(what, l); err != nil {
			return err
		}
	}
	for _, l := range before {
		if l.Unread != nil && still[l.Ref] {
			continue // it can be read now
		}
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
		return v.term.PrintJSON(change{now, what, v.lockJSON(l)})
	}
	holder, detail := l.Holder(), ""
	switch {
	case l.Unread != nil:
		holder = oneLine(l.Unread)
	case what != lockReleased:
		detail = fmt.Sprintf("  %s: %s", l.Verdict.State, l.Verdict.Proof)
	}
	v.term.Print("%s  %-8s  %s  %s%s\n", now.Format(time.RFC3339), what, v.stateName(l.Ref), clip(holder, maxDetail),
		detail)
	return nil
}
