package main

import "github.com/statelatch/statelatch/evidence"

// Few words are coloured: those that decide what to do next.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
)

func painted(on bool, color, s string) string {
	if !on || s == "" {
		return s
	}
	return "\033[" + color + "m" + s + "\033[0m"
}

// alarm is a word of talk that somebody must see.
func (t terminal) alarm(s string) string { return painted(t.view != nil && t.view.errColor, red, s) }

// verdictColor is the colour of a verdict, empty for a word that is none.
func verdictColor(verdict string) string {
	switch evidence.State(verdict) {
	case evidence.Live:
		return green
	case evidence.Stale:
		return red
	case evidence.Unknown:
		return yellow
	}
	return ""
}

// verdict colours the verdict of a lock among the results.
func (t terminal) verdict(s string) string {
	color := verdictColor(s)
	return painted(t.view != nil && t.view.outColor && color != "", color, s)
}

// talkVerdict colours one in talk.
func (t terminal) talkVerdict(s string) string {
	color := verdictColor(s)
	return painted(t.view != nil && t.view.errColor && color != "", color, s)
}
