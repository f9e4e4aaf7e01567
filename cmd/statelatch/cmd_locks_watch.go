package main

import (
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

// follow shows the locks until ctx ends, which is how it is meant to end. What fails on the way is told, and tried
// again.
func (v *lockView) follow(ctx context.Context) error {
	redraw := !v.json && drawsOn(v.term)
	var before []fleet.Lock
	warned := "" // of what fails on and on, once
	for first := true; ctx.Err() == nil; {
		locks, err := v.list(ctx)
		locks = fleet.StillThere(before, locks, v.incomplete != nil)
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

// screen is the table in place of what a terminal shows, cut to so many rows; 0: all. Its lines do not wrap.
func (v *lockView) screen(locks []fleet.Lock, rows int) string {
	const clear, noWrap, wrap = "\033[H\033[J", "\033[?7l", "\033[?7h"
	text := v.none(locks)
	if shown := v.selected(locks); len(shown) > 0 {
		text, _ = v.shown().Table(shown).Render(v.term.OutWidth())
		text += "\n" + v.summary(shown) + "\n"
	}
	if v.incomplete != nil {
		text += term.Brief("Locks that are only in the DynamoDB table are not listed: "+oneLine(v.incomplete), term.MaxDetail) + "\n"
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

// change is one line of a watch.
type change struct {
	At     time.Time        `json:"at"` // by this machine's clock: when it was seen
	Change fleet.ChangeKind `json:"change"`
	Lock   fleet.Row        `json:"lock"`
}

// tellChanges prints a line for every difference.
func (v *lockView) tellChanges(before, locks []fleet.Lock, first bool) error {
	now := time.Now().UTC().Truncate(time.Second)
	for _, c := range fleet.Changes(before, locks, first, v.selection()) {
		l, detail := c.Lock, ""
		if v.json {
			if err := v.term.PrintJSON(change{now, c.Kind, l.Row(v.owner.Took(l.Held))}); err != nil {
				return err
			}
			continue
		}
		holder := l.Holder()
		switch {
		case l.Unread != nil:
			holder = oneLine(l.Unread)
		case c.Kind != fleet.Released:
			detail = fmt.Sprintf("  %s: %s", l.Verdict.State, l.Verdict.Proof)
		}
		v.term.Print("%s  %-8s  %s  %s%s\n", now.Format(time.RFC3339), c.Kind, v.shown().StateName(l.Ref),
			term.Brief(holder, term.MaxDetail), detail)
	}
	return nil
}
