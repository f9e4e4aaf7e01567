package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/term"
)

// liveLine is the last line of a terminal, kept up to date while a command works. Where nobody watches it shows
// nothing.
type liveLine struct {
	term    terminal
	started time.Time // of the first show
	last    time.Time
}

// show replaces the line, a few times a second at most.
func (l *liveLine) show(format string, args ...any) {
	now := time.Now()
	if !l.term.live || now.Sub(l.last) < 100*time.Millisecond {
		return
	}
	if l.started.IsZero() {
		l.started = now
	}
	l.last = now
	text := fmt.Sprintf(format, args...)
	if width := l.term.errWidth(); width > 0 { // what wraps could not be taken back
		text = term.Clip(text, width-1)
	}
	l.term.say("\r\033[K%s", text)
}

// clear takes the line away. Another can follow.
func (l *liveLine) clear() {
	if !l.started.IsZero() {
		l.term.say("\r\033[K")
	}
	l.started, l.last = time.Time{}, time.Time{}
}

// walked shows how far a listing is, of which nobody knows the end.
func (l *liveLine) walked(p fleet.Progress) {
	if p.Requests < 2 {
		return // it is over before it can be read
	}
	rate := ""
	if took := time.Since(l.started); !l.started.IsZero() && took >= time.Second {
		rate = fmt.Sprintf(", %.0f/s", float64(p.Objects)/took.Seconds())
	}
	l.show("Listing: %s in %s%s", count(p.Objects, "object"), count(p.Requests, "request"), rate)
}

// part shows how much of something known is done.
func (l *liveLine) part(what string, done, of int) {
	const width = 30
	full := width * done / max(of, 1)
	l.show("%s [%s%s] %d of %d", what, strings.Repeat("#", full), strings.Repeat("-", width-full), done, of)
}
