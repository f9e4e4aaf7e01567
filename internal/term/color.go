package term

// Color is how a word is painted. The zero Color paints nothing.
type Color string

// Few words are coloured: those that decide what to do next.
const (
	Red    Color = "31"
	Green  Color = "32"
	Yellow Color = "33"
)

func painted(on bool, color Color, s string) string {
	if !on || s == "" || color == "" {
		return s
	}
	return "\033[" + string(color) + "m" + s + "\033[0m"
}

// Paint colours a word among the results, where they go to a terminal.
func (t Terminal) Paint(color Color, s string) string { return painted(t.view().OutColor, color, s) }

// PaintTalk colours one in talk.
func (t Terminal) PaintTalk(color Color, s string) string {
	return painted(t.view().ErrColor, color, s)
}
