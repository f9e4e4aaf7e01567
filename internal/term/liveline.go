package term

import (
	"fmt"
	"strings"
	"time"

	"github.com/statelatch/statelatch/internal/plural"
)

// LiveLine is the last line of a terminal, kept up to date while a command works. Where nobody watches it shows
// nothing.
type LiveLine struct {
	term    Terminal
	started time.Time // of the first Show
	last    time.Time
}

// LiveLine returns the last line of t.
func (t Terminal) LiveLine() *LiveLine { return &LiveLine{term: t} }

const wipe = "\r\033[K" // the line that is being shown

// Wipe takes the last line away, whoever shows it.
func (t Terminal) Wipe() {
	if t.Live {
		t.Say(wipe)
	}
}

// Show replaces the line, a few times a second at most.
func (l *LiveLine) Show(format string, args ...any) {
	now := time.Now()
	if !l.term.Live || now.Sub(l.last) < 100*time.Millisecond {
		return
	}
	if l.started.IsZero() {
		l.started = now
	}
	l.last = now
	text := fmt.Sprintf(format, args...)
	if width := l.term.view().ErrWidth; width > 0 { // what wraps could not be taken back
		text = Clip(text, width-1)
	}
	l.term.Say(wipe+"%s", text)
}

// Clear takes the line away. Another can follow.
func (l *LiveLine) Clear() {
	if !l.started.IsZero() {
		l.term.Wipe()
	}
	l.started, l.last = time.Time{}, time.Time{}
}

// Listing shows how far a listing is, of which nobody knows the end.
func (l *LiveLine) Listing(objects, requests int) {
	if requests < 2 {
		return // it is over before it can be read
	}
	rate := ""
	if took := time.Since(l.started); !l.started.IsZero() && took >= time.Second {
		rate = fmt.Sprintf(", %.0f/s", float64(objects)/took.Seconds())
	}
	l.Show("Listing: %s in %s%s", plural.Of(objects, "object"), plural.Of(requests, "request"), rate)
}

// Part shows how much of something known is done.
func (l *LiveLine) Part(what string, done, of int) {
	const width = 30
	full := width * done / max(of, 1)
	l.Show("%s [%s%s] %d of %d", what, strings.Repeat("#", full), strings.Repeat("-", width-full), done, of)
}
