package main

import (
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/internal/term"
)

// red is of words that somebody must see.
const red = term.Red

// verdictIn colours the verdict of a lock, and no other word.
func verdictIn(paint func(term.Color, string) string) func(string) string {
	colors := map[evidence.State]term.Color{evidence.Live: term.Green, evidence.Stale: term.Red, evidence.Unknown: term.Yellow}
	return func(s string) string { return paint(colors[evidence.State(s)], s) }
}
