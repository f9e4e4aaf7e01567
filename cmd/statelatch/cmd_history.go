package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/history"
	"github.com/urfave/cli/v3"
)

// defaultVersions is how many versions a listing shows.
const defaultVersions = 50

type historyOptions struct {
	targetOptions
	limit int
}

func historyCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "history",
		Usage:     "list the versions of a state",
		UsageText: "statelatch history [flags] [REF]",
		Description: "Lists the versions of exactly this state, newest first: those that the bucket keeps, and the snapshots that\n" +
			"Statelatch makes before its own writes where the bucket keeps none. WHO stored a version is what is\n" +
			"recorded with it, as Statelatch does ('recorded' in NOTES), else who held the lock then, by the lock's own\n" +
			"versions; it is empty where that cannot be told. NOTES tell what is wrong with a version, such as 'same\n" +
			"serial, different content': an update was lost. Go back with 'statelatch rollback', read one with\n" +
			"'statelatch pull -version'.\n\n" +
			"Examples:\n" +
			"  statelatch history\n" +
			"  statelatch history -limit 0 -json s3://acme-state/prod/terraform.tfstate",
		Flags: append([]cli.Flag{
			&cli.IntFlag{Name: "limit", Value: defaultVersions, Usage: "show that many, the newest; 0: all (default 50)"},
		}, targetFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			ref, err := atMostOne(c, "REF")
			if err != nil {
				return err
			}
			o := historyOptions{targetOptions: targetOf(c, ref), limit: c.Int("limit")}
			if o.limit < 0 {
				return usageError{fmt.Errorf("-limit %d: it must not be negative", o.limit)}
			}
			return o.finish(ctx, term, runHistory(ctx, o, term))
		},
	}
}

func runHistory(ctx context.Context, o historyOptions, term terminal) error {
	t, err := o.open(ctx, term)
	if err != nil {
		return err
	}
	limit := o.limit
	if limit > 0 {
		limit++ // to know whether there are more
	}
	entries, err := t.versions(ctx, term, limit)
	if err != nil {
		return err
	}
	more := o.limit > 0 && len(entries) > o.limit
	if more {
		entries = entries[:o.limit]
	}
	if err := history.Attribute(ctx, t.Store, t.ref, entries); err != nil {
		return err
	}
	if o.json {
		return term.PrintJSON(historyOf(t.ref, entries, more))
	}
	printVersions(term, entries)
	if more {
		term.Say("There are older ones: -limit 0 shows all.\n")
	}
	if e := entries[0]; e.Current && e.VersionID == "" {
		term.Say("This bucket keeps no versions: there is only what Statelatch kept before its own writes.\n")
	}
	return nil
}

// versions lists the versions of the state, telling about its progress; limit 0 is all. No version at all is an error.
func (t target) versions(ctx context.Context, term terminal, limit int) ([]history.Entry, error) {
	line := term.LiveLine()
	defer line.Clear()
	opts := history.Options{Limit: limit, OnProgress: func(read, of int) { line.Part("Reading versions", read, of) }}
	entries, err := history.List(ctx, t.Store, t.ref, opts)
	if err == nil && len(entries) == 0 {
		err = fmt.Errorf("%w: %s has no state yet, nor ever had one that was kept", statelatch.ErrNotFound, t.ref)
	}
	return entries, err
}

func printVersions(term terminal, entries []history.Entry) {
	t := table{Columns: []column{
		{Head: "SERIAL"},
		{Head: "STORED (UTC)"},
		{Head: "BYTES", Rank: 1},
		{Head: "ENGINE", Rank: 2},
		{Head: "WHO", Least: 10},
		{Head: "NOTES", Least: 10},
		{Head: "VERSION", ID: true},
	}}
	for _, e := range entries {
		t.Rows = append(t.Rows, []string{
			serialCell(e.Serial()), timeOf(e.LastModified), strconv.FormatInt(e.Size, 10),
			orDash(e.Header.TerraformVersion), orDash(whoStored(e)),
			orDash(strings.Join(notesOn(e), ", ")), orDash(statelatch.Printable(e.VersionID)),
		})
	}
	term.PrintTable(t)
}

// whoStored names who stored a version, as far as is known, and what it did.
func whoStored(e history.Entry) string {
	by := e.StoredBy()
	if by == nil {
		return ""
	}
	return whoDid(cmp.Or(by.Who, by.LockID), by.Operation)
}

func whoDid(who, operation string) string {
	if operation == "" {
		return who
	}
	return strings.TrimSpace(who + " (" + strings.TrimPrefix(operation, "OperationType") + ")")
}

func lockedBy(h *history.Holder) string {
	if h == nil {
		return ""
	}
	return ": " + whoDid(h.Who, h.Operation)
}

// storedBy is whoStored, and whether that is recorded.
func storedBy(e history.Entry) string {
	if isRecorded(e) {
		return whoStored(e) + ", recorded"
	}
	return whoStored(e)
}

func isRecorded(e history.Entry) bool {
	by := e.StoredBy()
	return by != nil && by.Basis == history.Recorded
}

// notesOn are what there is to say about a version.
func notesOn(e history.Entry) []string {
	var notes []string
	for _, n := range []struct {
		applies bool
		text    string
	}{
		{e.Current, "current"},
		{!e.Exists, "deleted"},
		{e.Exists && e.Header.Empty, "zero bytes"},
		{e.Err != nil, "not a readable state"},
		{e.Header.Encrypted(), "encrypted"},
		{e.Snapshot, "snapshot"},
		{e.Exists && e.Unchanged, "content unchanged"},
		{isRecorded(e), "recorded"},
		{e.Anomaly != "", strings.ToUpper(string(e.Anomaly))},
		{e.Disputed(), "LOCKED BY ANOTHER" + lockedBy(e.Holder)},
	} {
		if n.applies {
			notes = append(notes, n.text)
		}
	}
	return notes
}

// historyJSON lists the versions of a state.
type historyJSON struct {
	Ref      string          `json:"ref"`
	Versions []history.Entry `json:"versions"`
	More     bool            `json:"more"`
}

func historyOf(ref statelatch.Ref, entries []history.Entry, more bool) historyJSON {
	return historyJSON{Ref: ref.String(), Versions: append([]history.Entry{}, entries...), More: more}
}
