// Package term is how commands talk to people: the streams of a terminal, their widths and colours, questions, a line
// that is kept up to date, tables, wrapped text, and what somebody may have meant to type. It knows nothing of locks.
package term

import (
	"os"
	"strconv"

	"golang.org/x/term"
)

// The width that text is wrapped to where no terminal tells one, and the widest that is still read with ease.
const (
	TextWidth    = 80
	maxTextWidth = 100
)

// Width returns how many columns the terminal at f has, 0 if there is none and lines may have any length. COLUMNS
// overrides what the terminal says of itself.
func Width(f *os.File, getenv func(string) string) int {
	if !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	if n, err := strconv.Atoi(getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
		return n
	}
	return TextWidth
}

// Readable returns the width to wrap text to on a terminal of so many columns, 0 where there is none.
func Readable(columns int) int {
	if columns == 0 {
		return TextWidth
	}
	return min(columns, maxTextWidth)
}
