package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/claims"
	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/statelatch/statelatch/internal/locktalk"
	"github.com/statelatch/statelatch/internal/way"
	"github.com/statelatch/statelatch/runner"
	"github.com/urfave/cli/v3"
)

// run is the whole program: args[0] is its name. It returns the exit code.
func run(ctx context.Context, args []string, term terminal) int {
	ctx, stop := signal.NotifyContext(ctx, runner.EndSignals()...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once, whatever is still being tidied up
	if term.View == nil {
		term.View = &view{}
	}
	root := app(term)
	line, err := cliargs.Arrange(root, args)
	if err != nil {
		err = usageError{err}
	} else {
		err = root.Run(newRequestLog(term).Watched(ctx), line.Words)
	}
	if err == nil && term.View.Failed != nil {
		err = fmt.Errorf("the result could not be written: %w", term.View.Failed)
	}
	switch {
	case err == nil || errors.As(err, new(reportedError)):
	case line.JSON:
		if printErr := term.PrintJSON(failureOf(ctx, err)); printErr != nil {
			report(ctx, term, line, err)
		}
	default:
		report(ctx, term, line, err)
	}
	return exitCode(ctx, err)
}

// report explains a failure on stderr: why, then the holder in the engines' own block.
func report(ctx context.Context, term terminal, line commandLine, err error) {
	why := oneLine(err)
	if ctx.Err() != nil {
		term.Say("\nInterrupted.\n")
		why = strings.NewReplacer("context canceled", "interrupted", "interrupt signal received", "interrupted").Replace(why)
	}
	var refused refusedError
	_ = errors.As(err, &refused)
	locked, isLocked := errors.AsType[*statelatch.LockedError](err)
	more := ""
	if isLocked && !errors.Is(err, statelatch.ErrLockLost) { // that one was ours
		// Where there is another cause than the lock it comes first in the error, and what helps against locks would
		// not help.
		tail, plain := strings.CutPrefix(err.Error(), locked.Error())
		if plain {
			why = fmt.Sprintf("%v: %s", statelatch.ErrLocked, locked.Ref)
			more = "\n" + locktalk.Advice(locked, claims.OwnerOf(term.Getenv).Has(locked.Ref, locked.Holder.ID), refused.again.command)
		} else {
			more = "\n" + locktalk.Block(locked)
		}
		if tail = strings.TrimLeft(tail, ":;\n "); plain && tail != "" { // such as that our own request may still land
			more += "\n" + statelatch.Printable(strings.ReplaceAll(tail, "\n", "; ")) + "\n"
		}
	}
	if se, ok := errors.AsType[*statelatch.StoreError](err); ok && errors.Is(err, statelatch.ErrNoBucket) &&
		se.Bucket != "" {
		why = fmt.Sprintf("there is no bucket %s", statelatch.Printable(se.Bucket))
		more = "Is that its name, and this the right account and endpoint? To make it: statelatch bucket init " +
			shellQuote("s3://"+se.Bucket) + "\n" + more
	}
	term.Say("%s %s\n%s%s", term.PaintTalk(red, "Error:"), why, more, refused.grant)
	if errors.As(err, new(usageError)) {
		term.Say("Run '%s -h' for help.\n", line.Name)
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
			"Flags take one dash or two, and stand before or after the REF.",
		Commands: slices.Concat(
			cliargs.Group("Locks", lockCommand(term), unlockCommand(term), forceUnlockCommand(term), statusCommand(term),
				locksCommand(term), runCommand(term)),
			cliargs.Group("States", pullCommand(term), pushCommand(term), showCommand(term), historyCommand(term),
				diffCommand(term), rollbackCommand(term), workspaceCommand(term), statesCommand(term)),
			cliargs.Group("Buckets", bucketCommand(term), probeCommand(term), policyCommand(term), gcCommand(term),
				exportCommand(term), serveCommand(term), credentialsCommand(term)),
			cliargs.Group("Migration", migrateCommand(term), digestCommand(term)),
			cliargs.Group("Tools", auditCommand(term), completionCommand(term), completeCommand(term), helpCommand(term),
				versionCommand(term)),
		),
		Metadata: map[string]any{cliargs.Width: term.OutWidth(), bucketKey: way.Bucket(term.Getenv)},
		Action:   func(_ context.Context, c *cli.Command) error { return cli.ShowRootCommandHelp(c) },
		Reader:   term.In, Writer: term.Results(), ErrWriter: term.Err,
	}
	recorded(term, root)
	widened(term, root)
	debugged(root)
	cliargs.Settle(root, badUsage)
	return root
}

// badUsage words what the library has to say of a command line.
func badUsage(c *cli.Command, err error) error { return usageError{help.Explain(c, err)} }

// atMostOne takes the optional argument off a command.
func atMostOne(c *cli.Command, what string) (string, error) {
	arg, err := cliargs.AtMostOne(c, what)
	if err != nil {
		return "", usageError{err}
	}
	return arg, nil
}
