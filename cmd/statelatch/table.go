package main

import (
	"context"
	"slices"

	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/urfave/cli/v3"
)

// tableCommands are the commands that show tables.
var tableCommands = []string{
	"locks", "unlock", "states", "history", "rollback", "gc", "probe", "digest check", "digest fix", "audit log",
	"migrate scan", "migrate verify", "migrate clean",
}

// widened lets every command below root that shows tables show them whole.
func widened(t terminal, root *cli.Command) {
	cliargs.Each(root, func(c *cli.Command, name string) {
		if !slices.Contains(tableCommands, name) {
			return
		}
		if cliargs.FindFlag(c, "wide") == nil { // some show more with it
			c.Flags = append(c.Flags, &cli.BoolFlag{Name: "wide", Usage: "show tables whole, however wide the terminal is"})
		}
		cliargs.Around(c, func(ctx context.Context, c *cli.Command, act cli.ActionFunc) error {
			if c.Bool("wide") {
				t.View.OutWidth, t.View.ErrWidth = 0, 0
			}
			return act(ctx, c)
		})
	})
}
