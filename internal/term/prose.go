package term

import (
	"cmp"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/lazyre"
)

// program is what the commands begin with that people paste.
const program = "statelatch "

// quotedCommand is a command within a sentence.
var quotedCommand = lazyre.New(`'` + program + `[^']*'`)

// Prose wraps what is no command to paste, and what does not drive the terminal. A quoted command is not broken.
func Prose(text string, width int) string {
	if width == 0 || strings.ContainsAny(text, "\r") {
		return text
	}
	const blank = "\uE000" // for private use: nobody says it
	var b strings.Builder
	for line := range strings.Lines(text) {
		whole := quotedCommand.ReplaceAllStringFunc(line, func(c string) string { return strings.ReplaceAll(c, " ", blank) })
		if !strings.Contains(whole, program) {
			line = strings.ReplaceAll(Wrap(whole, width), blank, " ")
		}
		b.WriteString(line)
	}
	return b.String()
}

// OneLine returns an error for people: on one line, and nothing in it can drive a terminal.
func OneLine(err error) string {
	return statelatch.Printable(strings.ReplaceAll(err.Error(), "\n", "; "))
}

// Time is a time for people, without its zone, which is UTC; - if there is none.
func Time(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateTime)
}

// OrDash is somebody's text, or - if there is none.
func OrDash(s string) string { return cmp.Or(statelatch.Printable(s), "-") }

// The most characters of somebody else's text that are shown in a column, and below a row.
const (
	maxCell   = 60
	MaxDetail = 300
)

// Cell is somebody else's text in a table.
func Cell(s string) string { return cmp.Or(Brief(statelatch.Printable(s), maxCell), "-") }

// Brief is s, or the beginning of it that has so many characters.
func Brief(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
