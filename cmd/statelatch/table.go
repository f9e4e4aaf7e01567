package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/statelatch/statelatch/internal/term"
	"github.com/urfave/cli/v3"
)

type (
	table  = term.Table
	column = term.Column
)

// shellQuote is term.ShellQuote, where term is a terminal.
var shellQuote = term.ShellQuote

const shortened = "Shortened to fit the terminal: -wide shows all of it.\n"

// printTable writes a table as a result.
func (t terminal) printTable(tab table) {
	text, whole := tab.Render(t.outWidth())
	t.print("%s", text)
	if !whole {
		t.say(shortened)
	}
}

// sayTable writes a table as talk.
func (t terminal) sayTable(tab table) {
	text, whole := tab.Render(t.errWidth())
	t.say("%s", text)
	if !whole {
		t.say(shortened)
	}
}

// printProse writes a result in sentences.
func (t terminal) printProse(format string, args ...any) {
	t.print("%s", prose(fmt.Sprintf(format, args...), t.outWidth()))
}

// tableCommands are the commands that show tables.
var tableCommands = []string{
	"locks", "unlock", "states", "history", "rollback", "gc", "probe", "digest check", "digest fix", "audit log",
	"migrate scan", "migrate verify", "migrate clean",
}

// widened lets every command below c that shows tables show them whole.
func widened(t terminal, c *cli.Command, path ...string) {
	if slices.Contains(tableCommands, strings.Join(path, " ")) {
		if findFlag(c, "wide") == nil { // some show more with it
			c.Flags = append(c.Flags, &cli.BoolFlag{Name: "wide", Usage: "show tables whole, however wide the terminal is"})
		}
		act := c.Action
		c.Action = func(ctx context.Context, c *cli.Command) error {
			if c.Bool("wide") {
				t.view.outWidth, t.view.errWidth = 0, 0
			}
			return act(ctx, c)
		}
	}
	for _, sub := range c.Commands {
		widened(t, sub, append(slices.Clone(path), sub.Name)...)
	}
}
