package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/statelatch/statelatch/internal/complete"
	"github.com/statelatch/statelatch/internal/way"
	"github.com/statelatch/statelatch/site"
	"github.com/urfave/cli/v3"
)

// The scripts know nothing of the commands: they ask completeName, which is this very program, with the line before the
// cursor.
var (
	//go:embed completion/bash.sh
	bashCompletion string
	//go:embed completion/zsh.sh
	zshCompletion string
	//go:embed completion/fish.fish
	fishCompletion string
	//go:embed completion/pwsh.ps1
	pwshCompletion string
)

const completeName = "__complete"

func completionCommand(term terminal) *cli.Command {
	scripts := map[string]string{
		"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion, "pwsh": pwshCompletion,
	}
	shells := []string{"bash", "zsh", "fish", "pwsh"}
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a completion script for a shell",
		UsageText: "statelatch completion bash|zsh|fish|pwsh",
		Description: "Completes commands, flags, their values, and what is in the bucket: REFs, VERSIONs and LOCK_IDs. For those it reads the bucket\n" +
			"that the line names or STATELATCH_BUCKET, or that of a working directory in which 'init' was run, for two seconds at most.\n\n" +
			"Examples:\n" +
			"  source <(statelatch completion bash)            # in ~/.bashrc; no other package is needed\n" +
			"  source <(statelatch completion zsh)             # in ~/.zshrc, after compinit\n" +
			"  statelatch completion fish | source             # in ~/.config/fish/config.fish",
		Action: func(_ context.Context, c *cli.Command) error {
			args := c.Args().Slice()
			if len(args) != 1 {
				return usageError{fmt.Errorf("want one shell of %s, %s", strings.Join(shells, ", "), cliargs.Got(args))}
			}
			if !slices.Contains(shells, args[0]) {
				return usageError{fmt.Errorf("no completion for %q: %s", args[0],
					cliargs.Suggestion(args[0], shells, "want one of "+strings.Join(shells, ", ")))}
			}
			term.Print("%s", scripts[args[0]])
			return nil
		},
	}
}

// completeCommand prints what the line before the cursor may go on with, for the scripts: one a line, what it is behind
// a tab. A line that begins with a colon is for the script itself.
func completeCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name: completeName, Hidden: true, SkipFlagParsing: true,
		Action: func(ctx context.Context, c *cli.Command) error {
			term.Interactive, term.Err = false, io.Discard // nothing is asked and nothing said while somebody types
			words := cliargs.SplitLine(strings.Join(c.Args().Slice(), " "))
			words = words[min(1, len(words)-1):] // the program
			ctx, cancel := context.WithTimeout(ctx, complete.Budget)
			defer cancel()
			for _, candidate := range help.Complete(c.Root(), words, &complete.Line{
				Way: &typedWay{ctx: ctx, term: term}, Ctx: ctx, Getenv: term.Getenv, Bucket: way.Bucket(term.Getenv),
			}) {
				term.Print("%s\n", candidate)
			}
			return nil
		},
	}
}

// typedWay is what a line that is being typed says so far of where states are.
type typedWay struct {
	targetOptions
	ctx  context.Context //nolint:containedctx // it lives as long as one call
	term terminal
}

// Set notes a flag.
func (w *typedWay) Set(f cli.Flag, value string) {
	switch f.Names()[0] {
	case "chdir":
		w.chdir = value
	case "backend-config":
		w.backendConfig = append(w.backendConfig, value)
	case "expected-bucket-owner":
		w.owner = value
	case "profile":
		w.way.profile = value
	case "region":
		w.way.region = value
	case "endpoint":
		w.way.endpoint = value
	}
}

// Dir is the working directory.
func (w *typedWay) Dir() string { return w.chdir }

// State opens a state.
func (w *typedWay) State(ref string) (*site.Site, statelatch.Ref, error) {
	o := w.targetOptions
	o.ref = ref
	t, err := o.open(w.ctx, w.term)
	return t.Site, t.ref, err
}

// Scope opens a bucket.
func (w *typedWay) Scope(ref string) (*site.Site, statelatch.Scope, error) {
	o := w.targetOptions
	o.ref = ref
	p, err := o.openScope(w.ctx, w.term)
	return p.Site, p.scope, err
}
