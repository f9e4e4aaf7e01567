package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/cutover"
	"github.com/statelatch/statelatch/digest"
	"github.com/statelatch/statelatch/migrate"
	"github.com/statelatch/statelatch/site"
	"github.com/urfave/cli/v3"
)

type cleanOptions struct {
	treeOptions // of the roots that must be in phase 2; empty dir: none is looked at
	way         targetOptions
	accept      bool
	dryRun      bool
	autoApprove bool
}

func migrateCleanCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "clean",
		Usage:     "remove what the states have left in the table, once all clients have phase 2",
		UsageText: "statelatch migrate clean [flags] [DIR | s3://BUCKET[/PREFIX]]",
		Description: "For the states of the roots below DIR (the current directory), or for all states of a bucket or prefix: shows the\n" +
			"digests and lock items that are in the table, asks, and removes them, each only if it still is what was shown. No\n" +
			"state and no lock object is touched. Stopping anywhere is safe; a second run goes on. Then it prints the rights that\n" +
			"can be taken away and, if the table is empty, the command that deletes it. It runs neither.\n\n" +
			"Nothing is removed while\n" +
			"  a root below DIR, or below -dir, is not in phase 2\n" +
			"  a lock is held in both places, or a lock item is there whose holder is provably alive: somebody uses the table\n" +
			"A lock item without a lock object was left behind, or is a client's that uses the table alone. It is removed with the\n" +
			"rest if its holder is provably gone; else only if a person says so at the terminal, never by -auto-approve.\n\n" +
			"A digest may be the only sign that a state was rolled back or lost. Where that shows, it is left alone (exit code 1)\n" +
			"unless -accept is given.\n\n" +
			"Examples:\n" +
			"  statelatch migrate clean -dry-run -backend-config dynamodb_table=locks infra\n" +
			"  statelatch migrate clean -auto-approve -dir . -backend-config dynamodb_table=locks s3://acme-state/prod",
		Flags: append(append([]cli.Flag{
			&cli.StringFlag{Name: "dir", Usage: "`DIR` with s3://BUCKET: a tree whose roots must all be in phase 2"},
			&cli.BoolFlag{Name: "accept", Usage: "also digests that show that a state was rolled back or lost"},
			&cli.BoolFlag{Name: "auto-approve", Usage: "do not ask"},
			&cli.BoolFlag{Name: "dry-run", Usage: "show the plan and change nothing"},
		}, wayFlags()...), treeFlags()...),
		Action: act(term, cleanOf, runMigrateClean),
	}
}

func cleanOf(c *cli.Command) (cleanOptions, error) {
	o := cleanOptions{
		way: targetOf(c, ""), accept: c.Bool("accept"), dryRun: c.Bool("dry-run"), autoApprove: c.Bool("auto-approve"),
	}
	if arg := c.Args().First(); strings.HasPrefix(arg, "s3://") {
		scope, err := atMostOne(c, "s3://BUCKET[/PREFIX]")
		o.way.ref = scope
		o.treeOptions = treeOptions{dir: c.String("dir"), vendored: c.Bool("vendored"), json: c.Bool("json")}
		return o, err
	}
	if c.IsSet("dir") {
		return o, usageError{errors.New("-dir goes with s3://BUCKET; a tree whose states are meant is named as DIR")}
	}
	var err error
	o.treeOptions, err = treeOf(c)
	return o, err
}

// cleanPart is a part of a bucket, as it was named.
type cleanPart struct {
	*cutover.Part

	where string
}

func runMigrateClean(ctx context.Context, o cleanOptions, term terminal) error {
	parts, err := o.open(ctx, term)
	if err != nil {
		return err
	}
	line := term.LiveLine()
	for _, p := range parts {
		err := p.Plan(ctx, cutover.PlanOptions{
			Accept: o.accept, OnProgress: walked(line),
			Doubt: func(p *cutover.Part, f digest.Finding) string {
				return f.DoubtFor(o.way.outright(p.Backend, f.Ref, term).command)
			},
		})
		line.Clear()
		if err != nil {
			return err
		}
	}
	switch {
	case o.json:
	case o.dryRun:
		showCleaning(term.Print, term.PrintTable, parts)
	default:
		showCleaning(term.Say, term.SayTable, parts)
	}
	if !o.dryRun {
		if err := o.approve(ctx, term, parts); err != nil {
			return err
		}
	}
	result := cutover.Cleaned{DryRun: o.dryRun, Parts: make([]cutover.CleanedPart, len(parts))}
	left := 0
	for i, p := range parts {
		result.Parts[i] = cutover.CleanedPart{Scope: p.where, Table: p.Table.Name()}
		if err := o.remove(ctx, term, p, &result.Parts[i]); err != nil {
			return err
		}
		left += len(p.Left)
	}
	for i, p := range parts { // after all: they may share a table
		if err := o.end(ctx, term, p, &result.Parts[i]); err != nil {
			return err
		}
	}
	if o.json {
		if err := term.PrintJSON(result); err != nil {
			return err
		}
	}
	if left > 0 {
		return reportedError{fmt.Errorf("%s left in the table", count(left, "item"))}
	}
	return nil
}

// open finds what is to be cleaned, and refuses it while the files of a tree still name a table.
func (o cleanOptions) open(ctx context.Context, term terminal) ([]cleanPart, error) {
	var tree *migrate.Tree
	if o.dir != "" {
		var err error
		if tree, err = o.scan(ctx); err != nil {
			return nil, err
		}
		if err := o.inPhase2(term, tree); err != nil {
			return nil, err
		}
	}
	var parts []cleanPart
	if o.way.ref != "" {
		p, err := o.way.openScope(ctx, term)
		if err != nil {
			return nil, err
		}
		parts = append(parts, cleanPart{&cutover.Part{Site: p.Site, Scope: p.scope}, p.scope.String()})
	} else {
		found, err := cutover.Parts(ctx, tree, func(ctx context.Context, r *migrate.Root, ref statelatch.Ref) (*site.Site,
			error,
		) {
			t, err := o.way.openRoot(ctx, term, tree.Dir, r, ref)
			return t.Site, err
		})
		if err != nil {
			return nil, err
		}
		for _, p := range found {
			parts = append(parts, cleanPart{p, o.dir})
		}
	}
	if len(parts) == 0 {
		return nil, usageError{fmt.Errorf("%s: no root in it tells its bucket and key: name the bucket, as s3://BUCKET",
			o.dir)}
	}
	for _, p := range parts {
		if p.Table == nil {
			return nil, usageError{errors.New("which table? In phase 2 no configuration names it any more: add " +
				"-backend-config dynamodb_table=NAME")}
		}
	}
	return parts, nil
}

// inPhase2 refuses a tree of which a root still uses a table, as far as the tree tells.
func (o cleanOptions) inPhase2(term terminal, tree *migrate.Tree) error {
	earlier, unknown := cutover.InUse(tree)
	for _, root := range unknown {
		term.Say("Note: whether %s uses a table is not known: the tree does not tell.\n", statelatch.Printable(root))
	}
	if len(earlier) > 0 {
		return fmt.Errorf("%s of %s not in phase 2 yet, the first is %s: statelatch migrate plan -phase 2 %s",
			count(len(earlier), "root"), statelatch.Printable(o.dir), statelatch.Printable(earlier[0]), shellQuote(o.dir))
	}
	return nil
}

// approve asks a person. What is not proven to be over is never removed on a flag.
func (o cleanOptions) approve(ctx context.Context, term terminal, parts []cleanPart) error {
	digests, items := 0, 0
	var unproven []error
	for _, p := range parts {
		digests, items = digests+len(p.Digests), items+len(p.Items)
		for _, l := range p.Unproven() {
			unproven = append(unproven, l.LockedError())
		}
	}
	if len(unproven) > 0 && (o.autoApprove || !term.Interactive) {
		return fmt.Errorf("a holder that uses the table alone may be at work, so nothing was removed: "+
			"see to it that none is, and run this at a terminal, or remove the lock with 'statelatch unlock -id ID': %w",
			errors.Join(unproven...))
	}
	if o.autoApprove || digests+items == 0 {
		return nil
	}
	question := fmt.Sprintf("Remove %s and %s? They do not come back.", count(digests, "digest"),
		count(items, "lock item"))
	if len(unproven) > 0 {
		question += fmt.Sprintf("\n%d of the locks may be held by a client that uses the table alone. If it is alive, two "+
			"runs may write one state.", len(unproven))
	}
	return term.Confirm(ctx, question, "-auto-approve")
}

// remove removes what was planned of one table, and records it.
func (o cleanOptions) remove(ctx context.Context, term terminal, p cleanPart, done *cutover.CleanedPart) error {
	if done.Removed = p.WouldRemove(); o.dryRun || p.Planned() == 0 {
		return nil
	}
	total := p.Planned()
	if err := audit.Intend(ctx, audit.MigrateClean, p.Scope); err != nil {
		return err
	}
	line := term.LiveLine()
	var err error
	done.Removed, err = p.Remove(ctx, func(n int) { line.Part("Removing", n, total) }, func(l cutover.Left) {
		line.Clear()
		term.Say("Left alone: s3://%s: %s\n", statelatch.Printable(p.Scope.Bucket+"/"+l.Key), l.Why)
	})
	line.Clear()
	if err != nil {
		term.Say("%d of %s removed. Nothing is half done; run it again to go on.\n", len(done.Digests)+len(done.Locks),
			count(total, "item"))
	}
	audit.Ended(ctx, audit.MigrateClean, p.Scope, fmt.Sprintf("removed %s and %s from the table %s",
		count(len(done.Digests), "digest"), count(len(done.Locks), "lock item"), p.Table.Name()), err)
	return err
}

// showCleaning shows people what is about to go, and what is not.
func showCleaning(say func(string, ...any), sayTable func(table), parts []cleanPart) {
	for _, p := range parts {
		if p.Planned() > 0 {
			t := table{Columns: []column{
				{Head: "TO BE REMOVED"},
				{Head: "STATE", Least: 20, Middle: true},
				{Head: "ITEM", Least: 20},
			}}
			for _, l := range p.Items {
				t.Rows = append(t.Rows, []string{
					"lock", statelatch.Printable(l.Ref.String()),
					fmt.Sprintf("%s; %s: %s", l.Holder(), l.Verdict.State, l.Verdict.Proof),
				})
			}
			for _, f := range p.Digests {
				t.Rows = append(t.Rows, []string{
					"digest", statelatch.Printable(f.Ref.String()),
					fmt.Sprintf("%s, %s", statelatch.Printable(f.Reading.Stored), f.Status),
				})
			}
			sayTable(t)
		}
		for _, l := range p.Left {
			say("Left alone: s3://%s: %s\n", statelatch.Printable(p.Scope.Bucket+"/"+l.Key), statelatch.Printable(l.Why))
		}
		say("%s and %s of %s in the table %s, %d left alone.\n", count(len(p.Digests), "digest"),
			count(len(p.Items), "lock item"),
			statelatch.Printable(p.where), statelatch.Printable(p.Table.Name()), len(p.Left))
	}
}

// end says what is left in the table, and what can go now.
func (o cleanOptions) end(ctx context.Context, term terminal, p cleanPart, done *cutover.CleanedPart) error {
	var err error
	if done.Items, err = p.Remaining(ctx); err != nil {
		return err
	}
	done.Left = p.Left
	if o.dryRun {
		return nil
	}
	if !o.json {
		term.Say("Removed %s and %s.\n", count(len(done.Digests), "digest"), count(len(done.Locks), "lock item"))
	}
	if done.Items > 0 {
		if !o.json {
			term.Say("%s still in the table %s, of these states or of others: keep it until it is empty.\n",
				count(done.Items, "item"), statelatch.Printable(p.Table.Name()))
		}
		return nil
	}
	revoke, err := p.TableRights(regionOf(p.Backend, term))
	if err != nil {
		return err
	}
	done.Revoke, done.DeleteTable = &revoke, p.DeleteCommand(regionOf(p.Backend, term))
	if !o.json {
		term.Say("The table is empty. Once no client anywhere names it, these rights can go from their policies, wherever " +
			"they are allowed on it:\n")
		term.Print("%s", revoke.JSON())
		term.Say("And so can the table:\n")
		term.Print("%s\n", done.DeleteTable)
	}
	return nil
}
