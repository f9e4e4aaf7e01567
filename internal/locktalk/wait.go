package locktalk

import (
	"fmt"
	"time"

	"github.com/statelatch/statelatch/internal/term"
	"github.com/statelatch/statelatch/lock"
)

// Wait tells about a wait: a line for every change, and on a terminal one below it that is kept up to date.
type Wait struct {
	Term  term.Terminal
	shown bool // there is a line to overwrite
}

// Tell is for lock.Request.OnWait.
func (w *Wait) Tell(now lock.Waiting) {
	if now.Changed {
		w.Clear()
		age := ""
		if now.Held.Age > 0 && !now.Held.Leased() {
			age = fmt.Sprintf(" for %v", now.Held.Age.Round(time.Second))
		}
		w.Term.Say("Waiting up to %v for the lock of %s, held%s by %s\n", now.Left.Round(time.Second), now.Held.Ref, age,
			now.Held.Holder())
		if now.TakeOver > 0 {
			w.Term.Say("It can be taken over in %v unless it is renewed.\n", now.TakeOver.Round(time.Second))
		}
	}
	if !w.Term.Live {
		return
	}
	w.Clear()
	line := fmt.Sprintf("Still locked, %v left to wait", now.Left.Round(time.Second))
	if now.TakeOver > 0 {
		line += fmt.Sprintf(", takeover in %v", now.TakeOver.Round(time.Second))
	}
	w.Term.Say("%s", line) // short: a line that wraps could not be overwritten
	w.shown = true
}

// Clear removes the line that is kept up to date.
func (w *Wait) Clear() {
	if w.shown {
		w.Term.Wipe()
		w.shown = false
	}
}
