package main

import (
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/statelatch/statelatch/internal/term"
)

type (
	terminal = term.Terminal
	view     = term.View
	table    = term.Table
	column   = term.Column

	commandLine  = cliargs.Line
	durationFlag = cliargs.DurationFlag
	choiceFlag   = cliargs.ChoiceFlag
	choices      = cliargs.Choices
)

// What term has, where term is a terminal.
var (
	shellQuote = term.ShellQuote
	oneLine    = term.OneLine
	cell       = term.Cell
	timeOf     = term.Time
	orDash     = term.OrDash
)

// walked shows how far a listing is.
func walked(line *term.LiveLine) func(fleet.Progress) {
	return func(p fleet.Progress) { line.Listing(p.Objects, p.Requests) }
}

// red is of words that somebody must see.
const red = term.Red
