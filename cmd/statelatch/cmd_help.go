package main

import (
	"context"
	"slices"

	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/statelatch/statelatch/internal/term"
	"github.com/urfave/cli/v3"
)

var help = cliargs.Help{More: exitHelp}

func init() { help.Install() }

func helpCommand(t terminal) *cli.Command {
	return &cli.Command{
		Name:      "help",
		Usage:     "show the help of a command",
		UsageText: "statelatch help [COMMAND... | exit-codes]",
		Description: "The same as -h after a command.\n\nExamples:\n  statelatch help run\n" +
			"  statelatch help workspace new\n  statelatch help exit-codes",
		Action: func(_ context.Context, c *cli.Command) error {
			page := c.Root()
			args := c.Args().Slice()
			if slices.Equal(args, []string{"exit-codes"}) {
				t.Print("%s", term.Wrap(exitHelp, term.Readable(t.OutWidth())))
				return nil
			}
			for _, name := range args {
				sub := page.Command(name)
				if sub == nil {
					return usageError{cliargs.NoCommand(page, name)}
				}
				page = sub
			}
			t.Print("%s", help.Page(page, term.Readable(t.OutWidth())))
			return nil
		},
	}
}
