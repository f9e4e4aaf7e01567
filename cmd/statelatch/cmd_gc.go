package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/gc"
	"github.com/urfave/cli/v3"
)

const (
	// defaultGCAge is as long as people may want to know who held a lock, and history to tell who wrote a state.
	defaultGCAge = 30 * 24 * time.Hour
	// maxGCKeys is how many lock objects a plan shows one by one.
	maxGCKeys = 20
)

type gcOptions struct {
	targetOptions
	olderThan   time.Duration
	ours        bool
	snapshots   int // how many to keep; 0: all
	dryRun      bool
	autoApprove bool
}

func gcCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "gc",
		Usage:     "remove old versions of lock objects",
		UsageText: "statelatch gc [flags] [s3://BUCKET[/PREFIX]]",
		Description: "In a bucket that keeps versions every lock leaves a version and a delete marker behind, and a lease one\n" +
			"more for every renewal. Shows what of that may go, asks, and removes it: only of keys that end in .tflock,\n" +
			"only what a newer version or marker superseded longer than -older-than ago by the store's clock, the oldest first,\n" +
			"each by its version ID. What a lock is now never changes: a lock that is held stays, and a marker that hides\n" +
			"older versions goes after they are gone. States keep all their versions.\n\n" +
			"Afterwards 'history' cannot tell any more who wrote the states of that time.\n\n" +
			"A bucket without versions has nothing to collect but the snapshots that Statelatch keeps there of its states:\n" +
			"with -keep-snapshots N all but the newest N of each state go, whatever their age.\n\n" +
			"Examples:\n" +
			"  statelatch gc -dry-run s3://acme-state\n" +
			"  statelatch gc -older-than 2160h -auto-approve s3://acme-state/prod\n" +
			"  statelatch gc -keep-snapshots 20 -chdir infra/prod",
		Flags: append([]cli.Flag{
			&durationFlag{
				Name: "older-than", Value: defaultGCAge, HideDefault: true,
				Usage: "keep what was superseded less than that ago; 0s: nothing (default 720h, 30 days)",
			},
			&cli.BoolFlag{Name: "ours", Usage: "only locks of Statelatch: stop at the oldest lock of an engine"},
			&cli.IntFlag{Name: "keep-snapshots", Usage: "remove snapshots but the newest N of each state", HideDefault: true},
			&cli.BoolFlag{Name: "dry-run", Usage: "show the plan and change nothing"},
			&cli.BoolFlag{Name: "auto-approve", Usage: "do not ask"},
		}, targetFlags()...),
		Action: act(term, func(c *cli.Command) (gcOptions, error) {
			at, err := targetAt(c, "s3://BUCKET[/PREFIX]")
			o := gcOptions{
				targetOptions: at, olderThan: c.Duration("older-than"), ours: c.Bool("ours"),
				snapshots: c.Int("keep-snapshots"), dryRun: c.Bool("dry-run"), autoApprove: c.Bool("auto-approve"),
			}
			switch {
			case err != nil:
			case o.olderThan < 0:
				err = usageError{fmt.Errorf("-older-than %v: it must not be negative", o.olderThan)}
			case c.IsSet("keep-snapshots") && o.snapshots < 1:
				err = usageError{fmt.Errorf("-keep-snapshots %d: at least 1", o.snapshots)}
			}
			return o, err
		}, runGC),
	}
}

func runGC(ctx context.Context, o gcOptions, term terminal) error {
	at, err := o.openScope(ctx, term)
	if err != nil {
		return err
	}
	plan, err := o.plan(ctx, term, at)
	if err != nil {
		return err
	}
	result := plan.Outcome(at.scope, o.dryRun)
	// The plan is the result of a dry run; else it is there for the person who is asked.
	switch {
	case !o.json && (o.dryRun || plan.Empty()):
		showGC(plan, term.PrintProse, term.PrintTable, o, at.scope)
	case !plan.Empty() && !o.dryRun:
		showGC(plan, term.Say, term.SayTable, o, at.scope)
	}
	if !plan.Empty() && !o.dryRun {
		removed, err := o.remove(ctx, term, at, plan)
		if err != nil {
			return err
		}
		result.Add(removed)
	}
	if o.json {
		return term.PrintJSON(result)
	}
	return nil
}

// plan looks for what may go. It changes nothing.
func (o gcOptions) plan(ctx context.Context, term terminal, at place) (gc.Plan, error) {
	line := term.LiveLine()
	defer line.Clear()
	p, err := gc.Find(ctx, at.Bucket, at.scope, gc.Options{
		OlderThan: o.olderThan, Ours: o.ours, WorkspacePrefix: at.Backend.WorkspaceKeyPrefix,
		OnProgress: walked(line), KeepSnapshots: o.snapshots,
	})
	if err == nil && o.snapshots > 0 && p.Versioned {
		term.Say("Note: this bucket keeps versions, so snapshots are not pruned: removing one would only hide it.\n")
	}
	return p, err
}

// showGC tells what may go.
func showGC(p gc.Plan, say func(string, ...any), sayTable func(table), o gcOptions, scope statelatch.Scope) {
	total := p.Total()
	switch {
	case len(p.Snapshots) > 0:
		say("To remove from %s: %s of states, all but the newest %d of each, %s, stored from %s to %s.\n",
			scope, count(total.Versions, "snapshot"), o.snapshots, count(total.Bytes, "byte"), timeOf(total.Oldest),
			timeOf(total.Newest))
		return
	case !p.Versioned:
		say("Nothing to collect in %s: no old versions of locks are kept there.\n", scope)
		return
	case len(p.Keys) == 0:
		say("Nothing to collect in %s: no version of a lock may go (superseded%s%s); %d stay.\n", scope, o.ago(), o.andOurs(),
			p.Kept)
		return
	}
	shown := slices.SortedStableFunc(slices.Values(p.Keys), func(a, b gc.Key) int {
		return cmp.Compare(b.Versions+b.Markers, a.Versions+a.Markers)
	})
	t := table{Columns: []column{
		{Head: "VERSIONS"},
		{Head: "MARKERS"},
		{Head: "BYTES", Rank: 2},
		{Head: "OLDEST (UTC)"},
		{Head: "NEWEST (UTC)", Rank: 1},
		{Head: "LOCK OBJECT", Least: 20, Middle: true},
	}}
	for _, k := range shown[:min(len(shown), maxGCKeys)] {
		t.Rows = append(t.Rows, []string{
			strconv.Itoa(k.Versions), strconv.Itoa(k.Markers), strconv.FormatInt(k.Bytes, 10), timeOf(k.Oldest),
			timeOf(k.Newest), statelatch.Printable(k.Key),
		})
	}
	sayTable(t)
	if more := len(shown) - maxGCKeys; more > 0 {
		say("and %s more (-json lists all)\n", count(more, "lock object"))
	}
	say("\nTo remove from %s: %s and %s of %s, %s, superseded%s%s. %d stay.\n",
		scope, count(total.Versions, "old version"), count(total.Markers, "delete marker"), count(len(p.Keys), "lock object"),
		count(total.Bytes, "byte"),
		o.ago(), o.andOurs(), p.Kept)
}

func (o gcOptions) ago() string {
	if o.olderThan == 0 {
		return " at any time"
	}
	return " more than " + inDays(o.olderThan) + " ago"
}

func (o gcOptions) andOurs() string {
	if o.ours {
		return ", of Statelatch alone"
	}
	return ""
}

// inDays is a duration for people.
func inDays(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return count(int(d/day), "day")
	}
	return d.String()
}

// remove carries out a plan once a person has agreed and it is known that the store can be trusted with it.
func (o gcOptions) remove(ctx context.Context, term terminal, at place, p gc.Plan) (gc.Result, error) {
	if !o.autoApprove {
		if err := term.Confirm(ctx, "Remove them? They do not come back.", "-auto-approve"); err != nil {
			return gc.Result{}, err
		}
	}
	proven, err := proveStore(ctx, term, at.Bucket)
	if err != nil {
		return gc.Result{}, err
	}
	if err := proven.Err(); err != nil {
		return gc.Result{}, fmt.Errorf("%w; nothing was removed. Details: statelatch probe s3://%s", err, at.scope.Bucket)
	}
	if err := audit.Intend(ctx, audit.GC, at.scope); err != nil {
		return gc.Result{}, err
	}
	line := term.LiveLine()
	total := p.Total()
	onProgress := func(r gc.Result) {
		line.Part("Removing", r.Removed.Versions+r.Removed.Markers, total.Versions+total.Markers)
	}
	what := "old version"
	if len(p.Snapshots) > 0 {
		what = "snapshot"
	}
	r, err := gc.Collect(ctx, at.Bucket, p, 0, onProgress)
	line.Clear()
	audit.Ended(ctx, audit.GC, at.scope, fmt.Sprintf("removed %s and %s, %s", count(r.Removed.Versions, what),
		count(r.Removed.Markers, "delete marker"), count(r.Removed.Bytes, "byte")), err)
	o.tell(term, what, p, r, err)
	if err != nil {
		err = fmt.Errorf("gc: %w", err)
	}
	return r, err
}

// tell says what was done, and what was not and why.
func (o gcOptions) tell(term terminal, what string, p gc.Plan, r gc.Result, err error) {
	removed := count(r.Removed.Versions, what)
	if r.Removed.Markers > 0 {
		removed += " and " + count(r.Removed.Markers, "delete marker")
	}
	term.Say("Removed %s, %s.\n", removed, count(r.Removed.Bytes, "byte"))
	left := p.Total().Versions + p.Total().Markers - r.Removed.Versions - r.Removed.Markers
	switch {
	case errors.Is(err, statelatch.ErrUnsafeStore):
		term.Say("%d were not reached. Do not run it again on this store.\n", left)
	case err != nil && len(r.Denied) == 0:
		term.Say("%d were not reached. No lock has changed; run it again to go on.\n", left)
	case len(r.Denied) > 0:
		term.Say("Warning: the store refused %s, so %d stay: Object Lock retains them, or the credentials lack the "+
			"right.\nThe first: %s\n",
			count(len(r.Denied), "removal"), left, oneLine(r.Denied[0]))
	case left > 0:
		term.Say("%d were gone already, or are in use again.\n", left)
	}
}
