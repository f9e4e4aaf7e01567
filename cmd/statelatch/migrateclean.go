package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/dynamo"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/migrate"
	"github.com/urfave/cli/v3"
)

// cleanVersions is how many versions of a state are read for the one that its digest is of: if the state was rolled
// back or lost after the table was last used, that shows in the newest ones.
const cleanVersions = 10

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
			&cli.StringFlag{Name: "dir", Usage: "with s3://BUCKET: a tree whose roots must all be in phase 2"},
			&cli.BoolFlag{Name: "accept", Usage: "also digests that show that a state was rolled back or lost"},
			&cli.BoolFlag{Name: "auto-approve", Usage: "do not ask"},
			&cli.BoolFlag{Name: "dry-run", Usage: "show the plan and change nothing"},
		}, wayFlags()...), treeFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			o, err := cleanOf(c)
			if err != nil {
				return err
			}
			return o.finish(ctx, term, runMigrateClean(ctx, o, term))
		},
	}
}

func cleanOf(c *cli.Command) (cleanOptions, error) {
	o := cleanOptions{
		way: targetOf(c, ""), accept: c.Bool("accept"), dryRun: c.Bool("dry-run"), autoApprove: c.Bool("auto-approve"),
	}
	if arg := c.Args().First(); strings.HasPrefix(arg, "s3://") {
		scope, err := oneScope(c)
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

// cleanable is a part of a bucket with what it has left in a table.
type cleanable struct {
	target
	where string // as it was named
	scope statelatch.Scope
	roots []string // keys; empty: all of scope

	digests []digestFinding // those planned go
	items   []fleet.Lock
	left    []leftJSON
}

func (p *cleanable) covers(key string) bool {
	prefix := p.Backend.WorkspaceKeyPrefix
	return p.scope.Covers(key, prefix) && (len(p.roots) == 0 ||
		slices.ContainsFunc(p.roots, func(root string) bool { return ownState(key, root, prefix) }))
}

func (p *cleanable) planned() (digests int) {
	for i := range p.digests {
		if p.digests[i].planned {
			digests++
		}
	}
	return digests
}

func runMigrateClean(ctx context.Context, o cleanOptions, term terminal) error {
	parts, err := o.open(ctx, term)
	if err != nil {
		return err
	}
	digests, items, unproven := 0, 0, 0
	for _, p := range parts {
		if err := o.look(ctx, term, p); err != nil {
			return err
		}
		digests, items = digests+p.planned(), items+len(p.items)
		for _, l := range p.items {
			if l.Verdict.State != evidence.Stale {
				unproven++
			}
		}
	}
	switch {
	case o.json:
	case o.dryRun:
		showCleaning(term.print, term.printTable, parts)
	default:
		showCleaning(term.say, term.sayTable, parts)
	}
	if digests+items > 0 && !o.dryRun {
		if err := o.approve(ctx, term, parts, digests, items, unproven); err != nil {
			return err
		}
	}
	result := cleanJSON{DryRun: o.dryRun, Parts: make([]cleanPartJSON, len(parts))}
	left := 0
	for i, p := range parts {
		result.Parts[i] = cleanPartJSON{Scope: p.where, Table: p.Table.Name(), Digests: []string{}, Locks: []string{}}
		if err := o.removeRecorded(ctx, term, p, &result.Parts[i]); err != nil {
			return err
		}
		left += len(p.left)
	}
	for i, p := range parts { // after all: they may share a table
		if err := o.end(ctx, term, p, &result.Parts[i]); err != nil {
			return err
		}
	}
	if o.json {
		if err := term.printJSON(result); err != nil {
			return err
		}
	}
	if left > 0 {
		return reportedError{fmt.Errorf("%s left in the table", count(left, "item"))}
	}
	return nil
}

// open finds what is to be cleaned, and refuses it while the files of a tree still name a table.
func (o cleanOptions) open(ctx context.Context, term terminal) ([]*cleanable, error) {
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
	var parts []*cleanable
	if o.way.ref != "" {
		scope, backend, err := o.way.scope(ctx, term)
		if err != nil {
			return nil, err
		}
		t, err := connect(ctx, term, statelatch.Ref{Bucket: scope.Bucket}, backend)
		if err != nil {
			return nil, err
		}
		parts = append(parts, &cleanable{target: t, where: scope.String(), scope: scope})
	} else {
		byBucket := map[string]*cleanable{}
		for i := range tree.Roots {
			ref, ok := tree.Roots[i].Ref()
			if !ok {
				continue
			}
			t, err := o.way.openRoot(ctx, term, tree.Dir, &tree.Roots[i], ref)
			if err != nil {
				return nil, err
			}
			id := strings.Join([]string{t.Bucket.Endpoint(), ref.Bucket, t.Backend.DynamoDBTable, t.Backend.DynamoDBEndpoint, t.Backend.WorkspaceKeyPrefix}, "\x00")
			p := byBucket[id]
			if p == nil {
				p = &cleanable{target: t, where: o.dir, scope: statelatch.Scope{Bucket: ref.Bucket}}
				byBucket[id] = p
				parts = append(parts, p)
			}
			p.roots = append(p.roots, ref.Key)
		}
	}
	if len(parts) == 0 {
		return nil, usageError{fmt.Errorf("%s: no root in it tells its bucket and key: name the bucket, as s3://BUCKET", o.dir)}
	}
	for _, p := range parts {
		var ok bool
		if p.Table, ok = p.Manager.Table.(*dynamo.Table); !ok {
			return nil, usageError{errors.New("which table? In phase 2 no configuration names it any more: add -backend-config dynamodb_table=NAME")}
		}
	}
	return parts, nil
}

// inPhase2 refuses a tree of which a root still uses a table, as far as the tree tells.
func (o cleanOptions) inPhase2(term terminal, tree *migrate.Tree) error {
	var earlier []string
	for i := range tree.Roots {
		switch r := &tree.Roots[i]; {
		case r.Table().Set() || r.Phase == migrate.PhaseTable || r.Phase == migrate.PhaseBoth:
			earlier = append(earlier, r.Name())
		case r.Phase == migrate.PhaseUnknown:
			term.say("Note: whether %s uses a table is not known: the tree does not tell.\n", statelatch.Printable(r.Name()))
		}
	}
	if len(earlier) > 0 {
		return fmt.Errorf("%s of %s not in phase 2 yet, the first is %s: statelatch migrate plan -phase 2 %s",
			count(len(earlier), "root"), statelatch.Printable(o.dir), statelatch.Printable(earlier[0]), shellQuote(o.dir))
	}
	return nil
}

// look finds what may go, and refuses everything while somebody uses the table.
func (o cleanOptions) look(ctx context.Context, term terminal, p *cleanable) error {
	line := &liveLine{term: term}
	defer line.clear()
	list, err := fleet.Locks(ctx, p.Manager, p.scope, fleet.LockOptions{WorkspacePrefix: p.Backend.WorkspaceKeyPrefix, OnProgress: line.walked})
	if err = errors.Join(err, list.Unlisted); err != nil {
		return err
	}
	for _, l := range list.Locks {
		if !p.covers(l.Ref.Key) {
			continue
		}
		if err := useOfTable(l); err != nil {
			return err
		}
		if l.ETag == "" {
			p.items = append(p.items, l)
		}
	}
	var keys []string
	for key, err := range p.Table.DigestKeys(ctx, p.scope.Bucket) {
		if err != nil {
			return err
		}
		if p.covers(key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	found := make([]digestFinding, len(keys))
	each := make([]int, len(keys))
	for i := range each {
		each[i] = i
	}
	err = fleet.Each(ctx, 0, each, func(ctx context.Context, i int) (err error) {
		ref := statelatch.Ref{Bucket: p.scope.Bucket, Key: keys[i]}
		way := o.way
		if way.ref != "" {
			way.ref = ref.String()
		}
		found[i], err = digestOptions{targetOptions: way, versions: cleanVersions}.examine(ctx, term, p.nobody(), ref)
		return err
	})
	for i := range found {
		f := &found[i]
		switch {
		case f.Status == digestNone: // gone meanwhile
			continue
		case f.Stored == "":
			p.leave(f.Key, "it is no digest that an engine wrote: look at it, and remove it by hand")
		case f.suspicious() && !o.accept:
			p.leave(f.Key, f.Reading+"; "+f.Accept+"; -accept removes it all the same")
		default:
			f.planned = true
		}
		p.digests = append(p.digests, *f)
	}
	return err
}

// suspicious reports whether a digest shows that its state is not what it should be. That it is of a version which
// nobody finds any more shows nothing: clients in phase 2 have written since.
func (f digestFinding) suspicious() bool {
	return f.Accept != "" && (f.BelongsTo != nil || f.Status == digestOrphan)
}

// useOfTable is why a lock shows that its holder needs the table.
func useOfTable(l fleet.Lock) error {
	switch {
	case l.Unread != nil || l.ItemUnread != nil:
		return fmt.Errorf("the lock of %s cannot be read, so nothing was removed: %w", l.Ref, errors.Join(l.Unread, l.ItemUnread))
	case l.Item == nil:
		return nil
	case l.ETag != "":
		return fmt.Errorf("held in both places, so its holder is not in phase 2 yet; nothing was removed: %w", l.LockedError())
	case l.Verdict.State == evidence.Live:
		return fmt.Errorf("held in the table alone, and its holder is alive (%s); nothing was removed: %w", l.Verdict.Proof, l.LockedError())
	case l.Item.Raw == "":
		return fmt.Errorf("its item in the table has no Info, so no engine wrote it; look at it, and delete it by hand ('aws dynamodb delete-item'); nothing was removed: %w", l.LockedError())
	}
	return nil
}

func (p *cleanable) leave(key, why string) { p.left = append(p.left, leftJSON{key, why}) }

// approve asks a person. What is not proven to be over is never removed on a flag.
func (o cleanOptions) approve(ctx context.Context, term terminal, parts []*cleanable, digests, items, unproven int) error {
	if unproven > 0 && (o.autoApprove || !term.interactive) {
		var errs []error
		for _, p := range parts {
			for _, l := range p.items {
				if l.Verdict.State != evidence.Stale {
					errs = append(errs, l.LockedError())
				}
			}
		}
		return fmt.Errorf("a holder that uses the table alone may be at work, so nothing was removed: "+
			"see to it that none is, and run this at a terminal, or remove the lock with 'statelatch unlock -id ID': %w", errors.Join(errs...))
	}
	if o.autoApprove {
		return nil
	}
	question := fmt.Sprintf("Remove %s and %s? They do not come back.", count(digests, "digest"), count(items, "lock item"))
	if unproven > 0 {
		question += fmt.Sprintf("\n%d of the locks may be held by a client that uses the table alone. If it is alive, two runs may write one state.", unproven)
	}
	return term.confirm(ctx, question, "-auto-approve")
}
