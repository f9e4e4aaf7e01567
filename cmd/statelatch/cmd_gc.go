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
		Action: func(ctx context.Context, c *cli.Command) error {
			scope, err := atMostOne(c, "s3://BUCKET[/PREFIX]")
			if err != nil {
				return err
			}
			o := gcOptions{
				targetOptions: targetOf(c, scope), olderThan: c.Duration("older-than"), ours: c.Bool("ours"),
				snapshots: c.Int("keep-snapshots"), dryRun: c.Bool("dry-run"), autoApprove: c.Bool("auto-approve"),
			}
			if o.olderThan < 0 {
				return usageError{fmt.Errorf("-older-than %v: it must not be negative", o.olderThan)}
			}
			if c.IsSet("keep-snapshots") && o.snapshots < 1 {
				return usageError{fmt.Errorf("-keep-snapshots %d: at least 1", o.snapshots)}
			}
			return o.finish(ctx, term, runGC(ctx, o, term))
		},
	}
}

// gcJSON is what was planned and what was done.
type gcJSON struct {
	Scope     string     `json:"scope"`
	Versioned bool       `json:"versioned"`
	DryRun    bool       `json:"dry_run"`
	Before    *time.Time `json:"before,omitempty"`
	Kept      int        `json:"kept"`
	Planned   gcSumJSON  `json:"planned"`
	Removed   gcSumJSON  `json:"removed"`
	Refused   []string   `json:"refused,omitempty"`
	// Keys are all lock objects, and Snapshots all snapshots, of the plan.
	Keys      []gcKeyJSON `json:"keys,omitempty"`
	Snapshots []string    `json:"snapshots,omitempty"`
}

type gcSumJSON struct {
	Versions int        `json:"versions"`
	Markers  int        `json:"delete_markers"`
	Bytes    int64      `json:"bytes"`
	Oldest   *time.Time `json:"oldest,omitempty"`
	Newest   *time.Time `json:"newest,omitempty"`
}

type gcKeyJSON struct {
	Key string `json:"key"`
	gcSumJSON
}

func gcSumOf(s gc.Sum) gcSumJSON {
	j := gcSumJSON{Versions: s.Versions, Markers: s.Markers, Bytes: s.Bytes}
	if !s.Oldest.IsZero() {
		j.Oldest, j.Newest = &s.Oldest, &s.Newest
	}
	return j
}

// gcPlan is what may go: locks' versions, or, in a bucket that keeps none, snapshots.
type gcPlan struct {
	gc.Plan
	snapshots gc.Snapshots
}

func (p gcPlan) total() gc.Sum {
	if len(p.snapshots) > 0 {
		return p.snapshots.Total()
	}
	return p.Total()
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
	result := gcJSON{
		Scope: at.scope.String(), Versioned: plan.Versioned, DryRun: o.dryRun, Kept: plan.Kept,
		Planned: gcSumOf(plan.total()),
	}
	if !plan.Before.IsZero() {
		result.Before = &plan.Before
	}
	for _, k := range plan.Keys {
		result.Keys = append(result.Keys, gcKeyJSON{k.Key, gcSumOf(k.Sum)})
	}
	for _, s := range plan.snapshots {
		result.Snapshots = append(result.Snapshots, s.Key)
	}
	nothing := len(plan.Keys)+len(plan.snapshots) == 0
	// The plan is the result of a dry run; else it is there for the person who is asked.
	switch {
	case !o.json && (o.dryRun || nothing):
		plan.show(term.PrintProse, term.PrintTable, o, at.scope)
	case !nothing && !o.dryRun:
		plan.show(term.Say, term.SayTable, o, at.scope)
	}
	if !nothing && !o.dryRun {
		removed, err := o.remove(ctx, term, at, plan)
		if err != nil {
			return err
		}
		result.Removed = gcSumOf(removed.Removed)
		for _, err := range removed.Denied {
			result.Refused = append(result.Refused, err.Error())
		}
	}
	if o.json {
		return term.PrintJSON(result)
	}
	return nil
}

// plan looks for what may go. It changes nothing.
func (o gcOptions) plan(ctx context.Context, term terminal, at place) (gcPlan, error) {
	line := term.LiveLine()
	defer line.Clear()
	opts := gc.Options{
		OlderThan: o.olderThan, Ours: o.ours, WorkspacePrefix: at.Backend.WorkspaceKeyPrefix,
		OnProgress: walked(line),
	}
	locks, err := gc.Find(ctx, at.Bucket, at.scope, opts)
	p := gcPlan{Plan: locks}
	switch {
	case err != nil || o.snapshots == 0:
	case p.Versioned:
		term.Say("Note: this bucket keeps versions, so snapshots are not pruned: removing one would only hide it.\n")
	default:
		p.snapshots, err = gc.FindSnapshots(ctx, at.Bucket, at.scope, o.snapshots, opts)
	}
	return p, err
}

// show tells what may go.
func (p gcPlan) show(say func(string, ...any), sayTable func(table), o gcOptions, scope statelatch.Scope) {
	total := p.total()
	switch {
	case len(p.snapshots) > 0:
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
func (o gcOptions) remove(ctx context.Context, term terminal, at place, p gcPlan) (gc.Result, error) {
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
	total := p.total()
	onProgress := func(r gc.Result) {
		line.Part("Removing", r.Removed.Versions+r.Removed.Markers, total.Versions+total.Markers)
	}
	var r gc.Result
	what := "old version"
	if len(p.snapshots) > 0 {
		what = "snapshot"
		r, err = gc.CollectSnapshots(ctx, at.Bucket, p.snapshots, 0, onProgress)
	} else {
		r, err = gc.Collect(ctx, at.Bucket, p.Plan, 0, onProgress)
	}
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
func (o gcOptions) tell(term terminal, what string, p gcPlan, r gc.Result, err error) {
	removed := count(r.Removed.Versions, what)
	if r.Removed.Markers > 0 {
		removed += " and " + count(r.Removed.Markers, "delete marker")
	}
	term.Say("Removed %s, %s.\n", removed, count(r.Removed.Bytes, "byte"))
	left := p.total().Versions + p.total().Markers - r.Removed.Versions - r.Removed.Markers
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
