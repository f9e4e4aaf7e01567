package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/plural"
	"github.com/urfave/cli/v3"
)

type statesOptions struct {
	targetOptions
	scopes                            []string
	all, headers, versions, anomalies bool
	locked, flagged                   bool
	match                             string // a pattern as fleet.KeyMatches takes it; empty: any key
	csv                               bool
	failOnFlags                       bool
	many                              bool // scopes
}

func statesCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "states",
		Usage:     "list every state of a bucket, and what is odd about it",
		UsageText: "statelatch states [flags] [s3://BUCKET[/PREFIX]]...",
		Description: "Takes stock of the states below the prefix by listing alone, many requests at once. A state is what ends in .tfstate,\n" +
			"what has a lock, a rescued state or a snapshot, and what lies below the workspace prefix (env:/).\n\n" +
			"Flags of a state, from the listing:\n" +
			"  zero bytes        engines take it for \"no state yet\"\n" +
			"  no state          there is a lock, a rescued state or a snapshot, but no state\n" +
			"  rescued state     a state that could not be written waits beside it: statelatch push\n" +
			"  orphan workspace  the default workspace has no state at that key\n" +
			"with -versions (needs s3:ListBucketVersions):\n" +
			"  unversioned       nothing keeps what a write replaces\n" +
			"  never locked      no version of a lock was ever kept for it\n" +
			"  deleted           only older versions are left\n" +
			"with -headers (one GET a state):\n" +
			"  unreadable        no state, or it may not be read; the line below says why\n" +
			"  shared lineage    another key has a state of the same lineage: a copy, and maybe the same resources\n" +
			"with -anomalies (one GET a version, and more where needed):\n" +
			"  serial anomaly    two writers met: an update was lost; the lines below name the versions\n\n" +
			"Exits with 0 whatever the flags, unless -fail-on-flags is given. In CSV, text that a spreadsheet would run as a formula\n" +
			"begins with an apostrophe; -json has everything as it is.\n\n" +
			"Examples:\n" +
			"  statelatch states s3://acme-state\n" +
			"  statelatch states -versions -headers -csv s3://acme-state > states.csv\n" +
			"  statelatch states -anomalies -fail-on-flags -match '*/prod/*' s3://acme-state/live",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "headers", Usage: "read serial, lineage and engine version of each state"},
			&cli.BoolFlag{Name: "versions", Usage: "count the versions that the bucket keeps"},
			&cli.BoolFlag{Name: "anomalies", Usage: "compare the versions: find lost updates"},
			&cli.BoolFlag{Name: "all", Usage: "every object, whatever its name"},
			&cli.StringFlag{Name: "match", Usage: "`GLOB` only keys like that; * is any text, also with slashes, ? a " +
				"character, [a-z] a range"},
			&cli.BoolFlag{Name: "locked", Usage: "only states that are locked"},
			&cli.BoolFlag{Name: "flagged", Usage: "only states with a flag"},
			&cli.BoolFlag{Name: "fail-on-flags", Usage: "exit with 1 if a state shown has a flag"},
			&cli.BoolFlag{Name: "csv", Usage: "print the result as CSV (RFC 4180), with a header"},
		}, targetFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			o := statesOptions{
				targetOptions: targetOf(c, c.Args().First()), scopes: wholeRefs(c),
				all: c.Bool("all"), headers: c.Bool("headers"), versions: c.Bool("versions"), anomalies: c.Bool("anomalies"),
				locked: c.Bool("locked"), flagged: c.Bool("flagged"), match: c.String("match"),
				csv: c.Bool("csv"), failOnFlags: c.Bool("fail-on-flags"),
			}
			if err := notTwice(o.scopes); err != nil {
				return err
			}
			if o.csv && o.json {
				return usageError{errors.New("-csv and -json exclude each other")}
			}
			if _, err := fleet.KeyMatches(o.match, ""); err != nil {
				return usageError{fmt.Errorf("-match %q: not a pattern: %w", o.match, err)}
			}
			o.headers = o.headers || o.anomalies
			o.versions = o.versions || o.anomalies
			return o.finish(ctx, term, runStates(ctx, o, term))
		},
	}
}

func runStates(ctx context.Context, o statesOptions, term terminal) error {
	places, err := o.openScopes(ctx, term, o.scopes)
	if err != nil {
		return err
	}
	// What is known of many states stays, and what comes and goes beside it need not take as much room again.
	defer debug.SetGCPercent(debug.SetGCPercent(40))
	totals := fleet.StateTotals{Flags: map[fleet.Flag]int{}}
	started := time.Now()
	var found []iter.Seq[fleet.State]
	var where []string
	for _, p := range places {
		states, err := o.look(ctx, term, p, &totals)
		if err != nil {
			return err
		}
		found, where = append(found, states), append(where, p.scope.String())
	}
	o.many = len(places) > 1
	states := o.shown(found)
	for s := range states {
		totals.Add(s)
	}
	switch {
	case o.json:
		err = fleet.WriteInventory(term.Out, where, states, totals)
	case o.csv:
		err = fleet.WriteInventoryCSV(term.Out, states, o.versions)
	case totals.States > 0:
		o.printTable(term, states)
	}
	if err != nil {
		return err
	}
	if !o.json {
		term.Say("%s in %s: %s\n", count(totals.States, "state"), strings.Join(where, " "),
			describeTotals(totals, time.Since(started)))
	}
	if o.failOnFlags && totals.Flagged > 0 {
		return reportedError{fmt.Errorf("%s flagged", count(totals.Flagged, "state"))}
	}
	return nil
}

// shown are the states that are asked for, of all places. They may be asked for again.
func (o statesOptions) shown(found []iter.Seq[fleet.State]) iter.Seq[fleet.State] {
	return func(yield func(fleet.State) bool) {
		for _, states := range found {
			for s := range states {
				if (!o.flagged || len(s.Flags) > 0) && !yield(s) {
					return
				}
			}
		}
	}
}

// look takes stock of one scope, and adds what that cost.
func (o statesOptions) look(
	ctx context.Context, term terminal, p place, totals *fleet.StateTotals,
) (iter.Seq[fleet.State], error) {
	line := term.LiveLine()
	defer line.Clear()
	before := *totals
	opts := fleet.StatesOptions{
		WorkspacePrefix: p.Backend.WorkspaceKeyPrefix,
		All:             o.all, Headers: o.headers, Versions: o.versions, Anomalies: o.anomalies,
		Select: o.selects,
		OnProgress: func(p fleet.Progress) {
			totals.Objects, totals.Requests = before.Objects+p.Objects, before.Requests+p.Requests
			line.Listing(p.Objects, p.Requests)
		},
		OnRead: func(read, of int) { line.Part("Reading states", read, of) },
	}
	if o.headers { // a lineage that is shared is known when all were read
		states, err := fleet.States(ctx, p.Bucket, p.scope, opts)
		return slices.Values(states), err
	}
	stock, err := fleet.TakeStock(ctx, p.Bucket, p.scope, opts)
	if err != nil {
		return nil, err
	}
	return stock.All(), nil
}

// selects tells what is looked at: by the listing, before anything is read.
func (o statesOptions) selects(s fleet.State) bool {
	matched, _ := fleet.KeyMatches(o.match, s.Key)
	return matched && (s.Locked || !o.locked)
}

func describeTotals(t fleet.StateTotals, took time.Duration) string {
	s := plural.Bytes(t.Bytes)
	if t.VersionBytes > 0 {
		s += fmt.Sprintf(" (%s in all versions)", plural.Bytes(t.VersionBytes))
	}
	s += fmt.Sprintf(", %d locked, %d flagged", t.Locked, t.Flagged)
	return s + fmt.Sprintf("; %s listed in %s, %v", count(t.Objects, "object"), count(t.Requests, "request"),
		took.Round(10*time.Millisecond))
}

// printTable shows states to people: a line each, and below it what needs more words.
func (o statesOptions) printTable(term terminal, states iter.Seq[fleet.State]) {
	t := table{Columns: []column{
		{Head: "KEY", Least: 20, Middle: true},
		{Head: "SIZE"},
		{Head: "WRITTEN (UTC)", Rank: 1},
		{Head: "LOCKED (UTC)"},
	}}
	if o.headers {
		t.Columns = append(t.Columns, column{Head: "SERIAL"}, column{Head: "LINEAGE", Rank: 4},
			column{Head: "ENGINE", Rank: 2})
	}
	if o.versions {
		t.Columns = append(t.Columns, column{Head: "VERSIONS", Rank: 2}, column{Head: "IN ALL", Rank: 3})
	}
	t.Columns = append(t.Columns, column{Head: "FLAGS", Least: 12})
	term.PrintRows(t, func(yield func([]string, string) bool) {
		for s := range states {
			if !yield(o.cells(s), stateDetails(s)) {
				return
			}
		}
	})
}

func (o statesOptions) cells(s fleet.State) []string {
	size := "-"
	if s.Exists {
		size = plural.Bytes(s.Size)
	}
	key := s.Key
	if o.many {
		key = s.Ref().String()
	}
	cells := []string{statelatch.Printable(key), size, timeOf(s.Written), timeOf(s.LockedSince)}
	if o.headers {
		serial, lineage, engine := "-", "-", "-"
		if h := s.Header; h != nil {
			serial = strconv.FormatUint(h.Serial, 10)
			lineage = cell(h.Lineage[:min(8, len(h.Lineage))])
			engine = cell(h.TerraformVersion)
			if h.Encrypted() {
				engine = "encrypted"
			}
		}
		cells = append(cells, serial, lineage, engine)
	}
	if o.versions {
		cells = append(cells, strconv.Itoa(s.Versions), plural.Bytes(s.VersionBytes))
	}
	return append(cells, orDash(s.FlagNames()))
}

// stateDetails are the lines below the row of s.
func stateDetails(s fleet.State) string {
	var b strings.Builder
	if s.Problem != nil {
		fmt.Fprintf(&b, "  %s\n", oneLine(s.Problem))
	}
	for _, a := range s.Anomalies {
		fmt.Fprintf(&b, "  %s %s\n", timeOf(a.After.LastModified), statelatch.Printable(a.String()))
	}
	return b.String()
}
