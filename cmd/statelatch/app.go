package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/runner"
	"github.com/urfave/cli/v3"
)

// run is the whole program: args[0] is its name. It returns the exit code.
func run(ctx context.Context, args []string, term terminal) int {
	ctx, stop := signal.NotifyContext(ctx, runner.EndSignals()...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once, whatever is still being tidied up
	err := app(term).Run(ctx, args)
	if err != nil {
		report(ctx, term, err)
	}
	return exitCode(ctx, err)
}

// report explains a failure on stderr, the holder in the engines' own block.
func report(ctx context.Context, term terminal, err error) {
	var silent reportedError
	if errors.As(err, &silent) {
		return
	}
	if ctx.Err() != nil {
		term.say("\nInterrupted.\n")
	}
	var refused refusedError
	_ = errors.As(err, &refused)
	var locked *statelatch.LockedError
	if errors.As(err, &locked) && !errors.Is(err, statelatch.ErrLockLost) { // that one was ours
		term.say("Error: %v: %s\n\n", statelatch.ErrLocked, locked.Ref)
		term.say("%s", lockedAdvice(term, locked, refused.again))
		if err.Error() != locked.Error() { // there is more to say, such as that our own request may still land
			term.say("\n%s\n", oneLine(err))
		}
		term.say("%s", refused.grant)
		return
	}
	term.say("Error: %s\n%s", oneLine(err), refused.grant)
	var usage usageError
	if errors.As(err, &usage) {
		term.say("Run 'statelatch COMMAND -h' for help.\n")
	}
}

// app is the command tree.
func app(term terminal) *cli.Command {
	root := &cli.Command{
		Name:        "statelatch",
		Usage:       "state locking for Terraform and OpenTofu on plain S3",
		Version:     version(),
		HideVersion: true,
		Description: "REF is s3://BUCKET/KEY. Without REF the working directory decides, as for the\n" +
			"engines: .terraform/terraform.tfstate, else the backend \"s3\" block.\n" +
			"Flags take one dash or two.",
		Commands: slices.Concat(
			group("Locks", lockCommand(term), unlockCommand(term), forceUnlockCommand(term), statusCommand(term), locksCommand(term), runCommand(term)),
			group("States", pullCommand(term), pushCommand(term), showCommand(term), historyCommand(term), diffCommand(term), rollbackCommand(term),
				workspaceCommand(term), statesCommand(term)),
			group("Buckets", bucketCommand(term), probeCommand(term), policyCommand(term), gcCommand(term), exportCommand(term), serveCommand(term)),
			group("Migration", migrateCommand(term), digestCommand(term)),
			group("Tools", auditCommand(term), versionCommand(term)),
		),
		EnableShellCompletion: true,
		ConfigureShellCompletionCommand: func(c *cli.Command) {
			c.Hidden, c.Category, c.UsageText = false, "Tools", "statelatch completion bash|zsh|fish|pwsh"
			c.Usage = "print a completion script for bash, zsh, fish or pwsh"
		},
		CustomRootCommandHelpTemplate: rootHelp,
		Action: func(_ context.Context, c *cli.Command) error {
			if name := c.Args().First(); name != "" {
				return usageError{fmt.Errorf("no such command %q: run 'statelatch -h' for the list", name)}
			}
			return cli.ShowRootCommandHelp(c)
		},
		Reader: term.in, Writer: term.out, ErrWriter: term.err,
	}
	recorded(term, root)
	settle(root)
	return root
}

// group puts commands below one title of the root's help.
func group(title string, commands ...*cli.Command) []*cli.Command {
	for _, c := range commands {
		c.Category = title
	}
	return commands
}

// settle gives every command the same manners: no library exits, usage errors are ours.
func settle(c *cli.Command) {
	c.HideHelpCommand = true
	c.DisableSliceFlagSeparator = true // a value may have commas in it: endpoints={s3="...",sts="..."}
	c.ExitErrHandler = func(context.Context, *cli.Command, error) {}
	if c.OnUsageError == nil {
		c.OnUsageError = func(_ context.Context, _ *cli.Command, err error, _ bool) error { return usageError{err} }
	}
	if c.CustomHelpTemplate == "" {
		c.CustomHelpTemplate = commandHelp
	}
	for _, sub := range c.Commands {
		settle(sub)
	}
}
