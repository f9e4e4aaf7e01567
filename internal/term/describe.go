package term

import (
	"strings"

	"github.com/statelatch/statelatch/internal/lazyre"
)

var continued = lazyre.New(`^ {5,}`)

// Describe sets a description anew: paragraphs as wide as they may be, lists with their explanations below each
// other, and examples as commands that a shell still takes.
func Describe(text string, width int) string {
	var b strings.Builder
	var pending string
	flush := func() {
		if pending != "" {
			b.WriteString(Wrap(pending+"\n", width))
		}
		pending = ""
	}
	examples := false
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		switch {
		case line == "":
			flush()
			b.WriteString("\n")
		case line == "Example:" || line == "Examples:":
			flush()
			b.WriteString(line + "\n")
			examples = true
		case examples:
			b.WriteString(WrapCommand(line, width))
		case continued.MatchString(line) && pending != "", pending != "" && line[0] != ' ' && pending[0] != ' ':
			pending += " " + strings.TrimLeft(line, " ")
		default:
			flush()
			pending = line
		}
	}
	flush()
	return b.String()
}

// WrapCommand breaks a command between its words, so that it can be pasted all the same.
func WrapCommand(line string, width int) string {
	if Columns(line) <= width {
		return line + "\n"
	}
	var lines []string
	current, quoted := "", false
	for word := range strings.SplitSeq(strings.TrimLeft(line, " "), " ") {
		switch {
		case current == "":
			current = "  " + word
		case !quoted && Columns(current)+1+Columns(word) > width-2:
			lines = append(lines, current+" \\")
			current = "      " + word
		default:
			current += " " + word
		}
		if strings.Count(word, "'")%2 == 1 {
			quoted = !quoted
		}
	}
	return strings.Join(append(lines, current), "\n") + "\n"
}
