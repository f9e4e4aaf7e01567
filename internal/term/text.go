package term

import (
	"strings"

	"github.com/clipperhouse/displaywidth"
)

// Columns returns how many columns s takes on a terminal: two for a wide character, none for a combining one.
func Columns(s string) int { return displaywidth.String(s) }

// Clip returns s, or the beginning of it that takes so many columns, with an ellipsis.
func Clip(s string, most int) string { return displaywidth.TruncateString(s, most, "…") }

// Middle returns s, or its beginning and end that take so many columns, with an ellipsis between. The end gets the
// given part of them.
func Middle(s string, most int, end float64) string {
	if Columns(s) <= most {
		return s
	}
	tail := int(float64(most-1) * end)
	return cut(s, most-1-tail) + "…" + cutEnd(s, tail)
}

// cut returns the beginning of s that takes so many columns at most.
func cut(s string, most int) string { return displaywidth.TruncateString(s, max(most, 0), "") }

// cutEnd returns the end of s that takes so many columns at most.
func cutEnd(s string, most int) string {
	over := Columns(s) - max(most, 0)
	g := displaywidth.StringGraphemes(s)
	for over > 0 && g.Next() {
		over -= g.Width()
		s = s[len(g.Value()):]
	}
	return s
}

// Pad returns s with blanks up to so many columns.
func Pad(s string, columns int) string { return s + strings.Repeat(" ", max(0, columns-Columns(s))) }

// Wrap breaks the lines of text that are longer than width between words. What follows stands as deep as the line
// began; where the line is a term and two blanks or more before its explanation, as deep as the explanation. A word
// that is longer than a line is left whole.
func Wrap(text string, width int) string {
	if width <= 0 {
		return text
	}
	lines := strings.SplitAfter(text, "\n")
	var b strings.Builder
	for _, line := range lines {
		end := ""
		if l, ok := strings.CutSuffix(line, "\n"); ok {
			line, end = l, "\n"
		}
		b.WriteString(wrapLine(line, width) + end)
	}
	return b.String()
}

func wrapLine(line string, width int) string {
	if Columns(line) <= width {
		return line
	}
	indent := hanging(line, width)
	if indent > width/2 {
		indent = min(leading(line)+2, width/2)
	}
	lead := strings.Repeat(" ", indent)
	var b strings.Builder
	head := line[:leading(line)]
	b.WriteString(head)
	column, fresh := len(head), true // fresh: nothing is on this line but blanks
	rest := line[len(head):]
	for rest != "" {
		blanks := len(rest) - len(strings.TrimLeft(rest, " "))
		word, _, _ := strings.Cut(rest[blanks:], " ")
		if word == "" {
			break
		}
		rest = rest[blanks+len(word):]
		switch taken := blanks + Columns(word); {
		case column+taken > width && !fresh:
			b.WriteString("\n" + lead + word)
			column = indent + Columns(word)
		default:
			b.WriteString(strings.Repeat(" ", blanks) + word)
			column += taken
		}
		fresh = false
	}
	return b.String()
}

func leading(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// hanging returns where the explanation of a term begins, behind the last gap in the line's first half; without one
// where the line does.
func hanging(line string, width int) int {
	start := leading(line)
	last := 0
	for at := start; ; {
		gap := strings.Index(line[at:], "  ")
		if gap < 0 {
			break
		}
		at += gap
		at += leading(line[at:])
		if last > 0 && at > width/2 {
			break
		}
		last = at
	}
	if last > 0 {
		return last
	}
	if strings.HasPrefix(line[start:], "- ") {
		return start + 2
	}
	return start
}
