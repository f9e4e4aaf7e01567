package main

import (
	"context"
	"slices"
	"strings"

	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/urfave/cli/v3"
)

// tableCommands are the commands that show tables.
var tableCommands = []string{
	"locks", "unlock", "states", "history", "rollback", "gc", "probe", "digest check", "digest fix", "audit log",
	"migrate scan", "migrate verify", "migrate clean",
}

// widened lets every command below c that shows tables show them whole.
func widened(t terminal, c *cli.Command, path ...string) {
	if slices.Contains(tableCommands, strings.Join(path, " ")) {
		if cliargs.FindFlag(c, "wide") == nil { // some show more with it
			c.Flags = append(c.Flags, &cli.BoolFlag{Name: "wide", Usage: "show tables whole, however wide the terminal is"})
		}
		act := c.Action
		c.Action = func(ctx context.Context, c *cli.Command) error {
			if c.Bool("wide") {
				t.View.OutWidth, t.View.ErrWidth = 0, 0
			}
			return act(ctx, c)
		}
	}
	for _, sub := range c.Commands {
		widened(t, sub, append(slices.Clone(path), sub.Name)...)
	}
}
