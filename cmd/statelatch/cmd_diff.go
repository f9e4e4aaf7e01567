package main

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/history"
	"github.com/statelatch/statelatch/inspect"
	"github.com/statelatch/statelatch/resources"
	"github.com/urfave/cli/v3"
)

// maxDiffValue is how many bytes of a value a diff shows.
const maxDiffValue = 120

type diffOptions struct {
	targetOptions
	from, to string
	reveal   bool
}

func diffCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "show what differs between two versions of a state",
		UsageText: "statelatch diff [flags] [REF] V1 [V2]",
		Description: "Compares V1 with V2, which is the current version if it is left out: a version ID or the name of a snapshot as\n" +
			"history shows it, a serial, 'previous' or 'current'. Tells by address what was added (+), removed (-), changed (~),\n" +
			"replaced (-/+: it has another id), moved (>: the same at another address), tainted or deposed, and by path which\n" +
			"values; the outputs, too. Exits with 0 whether or not there are differences. Encrypted states cannot " +
			"be compared.\n\n" + redaction +
			"Examples:\n" +
			"  statelatch diff previous\n" +
			"  statelatch diff s3://acme-state/prod/terraform.tfstate 41 43",
		Flags: append([]cli.Flag{revealFlag()}, targetFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			var refs, versions []string
			for _, arg := range c.Args().Slice() {
				if strings.HasPrefix(arg, "s3://") {
					refs = append(refs, arg)
				} else {
					versions = append(versions, arg)
				}
			}
			if len(refs) > 1 || len(versions) < 1 || len(versions) > 2 {
				return usageError{fmt.Errorf("want [REF] V1 [V2], got %q; 'statelatch history' lists the versions",
					c.Args().Slice())}
			}
			o := diffOptions{
				targetOptions: targetOf(c, strings.Join(refs, "")), from: versions[0], to: history.Current,
				reveal: c.Bool("reveal"),
			}
			if len(versions) == 2 {
				o.to = versions[1]
			}
			return o.finish(ctx, term, runDiff(ctx, o, term))
		},
	}
}

func runDiff(ctx context.Context, o diffOptions, term terminal) error {
	t, err := o.open(ctx, term)
	if err != nil {
		return err
	}
	// What is known of many objects stays, and what comes and goes beside it need not take as much room again.
	defer debug.SetGCPercent(debug.SetGCPercent(50))
	d, err := inspect.Compare(ctx, t.Store, t.ref, o.from, o.to)
	if err != nil {
		return err
	}
	if o.reveal {
		d.Diff = d.Revealed()
	}
	if o.json {
		return term.PrintJSON(d.Compared())
	}
	term.Print("%s\n--- %s\n+++ %s\n\n", t.ref, contentLine(d.From), contentLine(d.To))
	if d.Equal() {
		term.Print("No differences: the same resources and outputs, in every value.\n")
		return nil
	}
	for _, c := range d.Objects {
		printChange(term, c)
	}
	if len(d.Outputs) > 0 {
		term.Print("Outputs:\n")
		printValues(term, "  ", d.Outputs)
	}
	term.Print("\n%s\n", totalOf(d.Diff))
	return nil
}

// contentLine names a version on one line.
func contentLine(c inspect.Content) string {
	h := c.Header
	s := fmt.Sprintf("serial %d, %s, stored %s UTC, version %s", h.Serial, count(c.Size, "byte"), timeOf(c.LastModified),
		c.Name())
	if who := storedBy(c.Entry); who != "" {
		s += ", by " + who
	}
	return statelatch.Printable(s)
}

var changeSigns = map[string]string{
	resources.Added: "+", resources.Removed: "-", resources.Changed: "~", resources.Replaced: "-/+", resources.Moved: ">",
}

func printChange(term terminal, c resources.Change) {
	var notes []string
	if c.Kind == resources.Replaced {
		notes = append(notes, "replaced: another id")
	}
	if c.From != "" {
		notes = append(notes, "moved from "+c.From)
	}
	if c.Tainted {
		notes = append(notes, "tainted")
	}
	if c.Untainted {
		notes = append(notes, "no longer tainted")
	}
	line := fmt.Sprintf("%-3s %s", changeSigns[c.Kind], c.Address)
	if len(notes) > 0 {
		line += "  (" + strings.Join(notes, "; ") + ")"
	}
	term.Print("%s\n", statelatch.Printable(line))
	printValues(term, "      ", c.Attributes)
}

func printValues(term terminal, indent string, values []resources.ValueChange) {
	for _, v := range values {
		path := statelatch.Printable(v.Path)
		before, now := resources.TextPair(v.Old, v.New, maxDiffValue)
		switch {
		case v.Added:
			term.Print("%s+ %s: %s\n", indent, path, now)
		case v.Removed:
			term.Print("%s- %s: %s\n", indent, path, before)
		case resources.IsSecret(v.Old) && resources.IsSecret(v.New):
			term.Print("%s~ %s: (sensitive, changed)\n", indent, path)
		default:
			term.Print("%s~ %s: %s → %s\n", indent, path, before, now)
		}
	}
}

func totalOf(d resources.Diff) string {
	var parts []string
	for _, kind := range []string{
		resources.Added, resources.Changed, resources.Replaced, resources.Moved,
		resources.Removed,
	} {
		if n := d.Count[kind]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, kind))
		}
	}
	if len(d.Outputs) > 0 {
		parts = append(parts, count(len(d.Outputs), "output")+" changed")
	}
	return strings.Join(parts, ", ") + "."
}
