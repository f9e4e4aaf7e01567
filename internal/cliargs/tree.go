package cliargs

import (
	"context"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"
)

// Group puts commands below one title of the root's help.
func Group(title string, commands ...*cli.Command) []*cli.Command {
	for _, c := range commands {
		c.Category = title
	}
	return commands
}

// Each calls do for root and every command below it, with its name below the root, such as "bucket init".
func Each(root *cli.Command, do func(c *cli.Command, name string)) { each(root, nil, do) }

func each(c *cli.Command, path []string, do func(*cli.Command, string)) {
	do(c, strings.Join(path, " "))
	for _, sub := range c.Commands {
		each(sub, append(slices.Clone(path), sub.Name), do)
	}
}

// Around puts something around what a command does.
func Around(c *cli.Command, do func(ctx context.Context, c *cli.Command, act cli.ActionFunc) error) {
	act := c.Action
	c.Action = func(ctx context.Context, c *cli.Command) error { return do(ctx, c, act) }
}

// Settle gives every command below root the same manners: the library does not end the process, and what it has to say
// of a command line is worded by usage.
func Settle(root *cli.Command, usage func(c *cli.Command, err error) error) {
	Each(root, func(c *cli.Command, _ string) {
		c.HideHelpCommand = true
		c.DisableSliceFlagSeparator = true // a value may have commas in it: endpoints={s3="...",sts="..."}
		c.ExitErrHandler = func(context.Context, *cli.Command, error) {}
		if c.OnUsageError == nil {
			c.OnUsageError = func(_ context.Context, c *cli.Command, err error, _ bool) error { return usage(c, err) }
		}
	})
}
