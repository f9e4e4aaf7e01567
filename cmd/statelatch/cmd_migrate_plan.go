package main

import (
	"context"
	"fmt"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/migrate"
	"github.com/urfave/cli/v3"
)

type migratePlanOptions struct {
	treeOptions
	phase       int
	dryRun      bool
	autoApprove bool
}

const phaseHelp = "Phase 1 adds use_lockfile = true beside the table, phase 2 removes the table and an endpoint of " +
	"DynamoDB. A root with the\n" +
	"table alone and one with the lock object alone do not see each other, so all of a state's clients must have phase 1\n" +
	"before any gets phase 2; and an engine in phase 1 refuses a state that one in phase 2 has written, until its own init,\n" +
	"because the digest in the table is stale then: nothing is lost. A root that admits engines before 1.10 does not move: they refuse use_lockfile. Roots that\n" +
	"share a state or a file move together. Comments, order and line ends stay; a file that was formatted stays formatted.\n"

func phaseFlag() cli.Flag {
	return &cli.IntFlag{Name: "phase", Usage: "`1|2` 1: lock in both places; 2: in the lock object " +
		"alone", HideDefault: true}
}

func migratePlanOf(c *cli.Command) (migratePlanOptions, error) {
	tree, err := treeOf(c)
	o := migratePlanOptions{
		treeOptions: tree, phase: c.Int("phase"), dryRun: c.Bool("dry-run"), autoApprove: c.Bool("auto-approve"),
	}
	if err == nil && o.phase != 1 && o.phase != 2 {
		err = usageError{fmt.Errorf("-phase %d: want 1 (lock in both places) or 2 (in the lock object alone)", o.phase)}
		if !c.IsSet("phase") {
			err = usageError{fmt.Errorf("-phase is missing: want 1 (lock in both places) or 2 (in the lock object alone)")}
		}
	}
	return o, err
}

func migratePlanCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "plan",
		Usage:     "show the edits of a phase as a diff",
		UsageText: "statelatch migrate plan -phase 1|2 [flags] [DIR]",
		Description: "Shows what 'migrate apply' would write, as a diff on stdout that git apply takes (--directory=DIR), and tells what\n" +
			"would not move and why. Values that are secrets are not shown, and git refuses a diff that lacks one. " +
			"Changes nothing.\n\n" + phaseHelp + "\n" +
			"Examples:\n" +
			"  statelatch migrate plan -phase 1 -engine 1.11.4\n" +
			"  statelatch migrate plan -phase 2 infra >phase2.diff",
		Flags: append([]cli.Flag{phaseFlag()}, rootFlags()...),
		Action: act(term, func(c *cli.Command) (migratePlanOptions, error) {
			o, err := migratePlanOf(c)
			o.dryRun = true
			return o, err
		}, runMigrate),
	}
}

func migrateApplyCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "apply",
		Usage:     "make the edits of a phase",
		UsageText: "statelatch migrate apply -phase 1|2 [flags] [DIR]",
		Description: "Shows the plan, asks, and edits the files, each at once: it is as it was or as it will be. A file that has changed\n" +
			"since the plan stops it. Stopping anywhere is safe; a second run goes on, and finds nothing to do at the end. Nothing is\n" +
			"committed and no engine is run: a script, init-phase-N.sh in DIR, is written that runs init in each root " +
			"that moved.\n\n" + phaseHelp + "\n" +
			"Examples:\n" +
			"  statelatch migrate apply -phase 1\n" +
			"  statelatch migrate apply -phase 2 -auto-approve infra",
		Flags: append([]cli.Flag{
			phaseFlag(),
			&cli.BoolFlag{Name: "dry-run", Usage: "show the plan and change nothing"},
			&cli.BoolFlag{Name: "auto-approve", Usage: "do not ask"},
		}, rootFlags()...),
		Action: act(term, migratePlanOf, runMigrate),
	}
}

func runMigrate(ctx context.Context, o migratePlanOptions, term terminal) error {
	tree, err := o.scan(ctx)
	if err != nil {
		return err
	}
	plan, err := tree.Plan(o.phase)
	if err != nil {
		return err
	}
	result := migratePlanJSON{
		Dir: o.dir, Phase: plan.Phase, DryRun: o.dryRun, Roots: plan.Moves,
		Files: append([]migrate.FileEdit{}, plan.Files...), Loose: append([]migrate.Finding{}, plan.Loose...),
		Written: []string{},
	}
	if !o.json { // the diff is the result of a plan; else it is there for the person who is asked
		to := term.Err
		if o.dryRun {
			to = term.Results()
		}
		for _, f := range plan.Files {
			fmt.Fprint(to, f.SafeDiff())
		}
	}
	tellMoves(term, plan, o.wide)
	if !o.dryRun && len(plan.Files) > 0 {
		if err := applyPlan(ctx, o, term, plan, &result); err != nil {
			return err
		}
		script, err := plan.WriteInitScript(o.dir)
		if err == nil {
			result.Script = script
		}
		term.Say("%s", plan.Next(o.dir, script, err))
	}
	if o.json {
		return term.PrintJSON(result)
	}
	return nil
}

// applyPlan writes a plan once a person has agreed, and makes sure that nothing of it is left to do.
func applyPlan(
	ctx context.Context, o migratePlanOptions, term terminal, plan *migrate.Plan, result *migratePlanJSON,
) error {
	if !o.autoApprove {
		if err := term.Confirm(ctx, fmt.Sprintf("Edit %s?", count(len(plan.Files), "file")), "-auto-approve"); err != nil {
			return err
		}
	}
	written := 0
	err := plan.Apply(ctx, func(f migrate.FileEdit) {
		written++
		result.Written = append(result.Written, f.Path)
		term.Say("Edited: %s\n", statelatch.Printable(f.Path))
	})
	if err != nil {
		term.Say("%d of %s edited. Each is whole, and their locks exclude each other; run it again to go on.\n", written,
			count(len(plan.Files), "file"))
		return err
	}
	tree, err := o.scan(ctx)
	if err != nil {
		return err
	}
	left, err := tree.Plan(o.phase)
	if err == nil && len(left.Files) > 0 {
		err = fmt.Errorf("%s still has to be edited: somebody changed it meanwhile; run it again", left.Files[0].Path)
	}
	return err
}

// tellMoves tells what moves, and of what does not why.
func tellMoves(term terminal, plan *migrate.Plan, wide bool) {
	sums := map[string]int{}
	for _, g := range plan.Groups() {
		sums[g.Status] += len(g.Moves)
		switch g.Status {
		case migrate.MoveRefused:
			tellGroup(term, "Not moved", g, wide)
		case migrate.MoveManual:
			tellGroup(term, "By hand", g, wide)
		}
	}
	for _, f := range plan.Loose {
		term.Say("By hand: %s:%d: %s: %s\n", statelatch.Printable(f.File), f.Line, f.Text, f.Fix)
	}
	term.Say("Phase %d: %s in %s to move, %d there already, %d not moved, %d by hand.\n", plan.Phase,
		count(sums[migrate.MoveEdit], "root"),
		count(len(plan.Files), "file"), sums[migrate.MoveDone], sums[migrate.MoveRefused], sums[migrate.MoveManual])
}

// tellGroup tells of the roots that stay for one reason. Edits to make by hand are told each.
func tellGroup(term terminal, title string, g migrate.MoveGroup, wide bool) {
	var names []string
	for _, m := range g.Moves {
		names = append(names, statelatch.Printable(m.Root.Name()))
	}
	switch {
	case wide:
		for _, name := range names {
			term.Say("%s: %s: %s\n", title, name, statelatch.Printable(g.Why))
		}
	case len(names) > 1:
		term.Say("%s (%d): %s: %s\n", title, len(names), some(names), statelatch.Printable(g.Why))
	default:
		term.Say("%s: %s: %s\n", title, names[0], statelatch.Printable(g.Why))
	}
	if g.Fix != "" && g.Status == migrate.MoveRefused {
		term.Say("  Fix: %s\n", statelatch.Printable(g.Fix))
	}
	for _, m := range g.Moves {
		for _, e := range m.Manual {
			term.Say("  %s:%d: %s\n", statelatch.Printable(e.File), e.Line, e.Text)
		}
	}
}

// migratePlanJSON is what was planned, and what was written.
type migratePlanJSON struct {
	Dir    string             `json:"dir"`
	Phase  int                `json:"phase"`
	DryRun bool               `json:"dry_run"`
	Roots  []migrate.Move     `json:"roots"`
	Files  []migrate.FileEdit `json:"files"`
	// Loose are scripts and templates that a person has to edit.
	Loose   []migrate.Finding `json:"loose"`
	Written []string          `json:"written"`
	// Script runs init again in the roots that moved.
	Script string `json:"script,omitempty"`
}
