package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/history"
	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/statelatch/statelatch/state"
	"github.com/urfave/cli/v3"
)

type rollbackOptions struct {
	targetOptions
	requestOptions
	selector    string
	force       bool
	keepSerial  bool
	dryRun      bool
	autoApprove bool
}

func rollbackCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "rollback",
		Usage:     "make an older version of a state the current one, under its lock",
		UsageText: "statelatch rollback [flags] VERSION [REF]",
		Description: "VERSION is a version ID or the name of a snapshot as history shows it, a serial, or 'previous'. Shows the plan,\n" +
			"asks, takes the lock, and writes the older version as a new one, on the condition that the state is still the\n" +
			"one that was shown. Its serial becomes higher than that of any version, so that engines go on from there; its\n" +
			"lineage stays; a DynamoDB digest follows. Nothing is removed. A state that was deleted is created again.\n" +
			"The infrastructure is not touched: plan afterwards.\n\n" +
			"A version that OpenTofu encrypted cannot be edited: with -keep-serial it is written with its old serial.\n\n" +
			"Examples:\n" +
			"  statelatch rollback -dry-run previous\n" +
			"  statelatch rollback -reason 'undo the bad import' 41 s3://acme-state/prod/terraform.tfstate",
		Flags: append(append([]cli.Flag{
			&cli.BoolFlag{Name: "auto-approve", Usage: "do not ask"},
			&cli.BoolFlag{Name: "dry-run", Usage: "show the plan and change nothing"},
			&cli.BoolFlag{Name: "force", Usage: "also to a version of another lineage or format"},
			&cli.BoolFlag{Name: "keep-serial", Usage: "write an encrypted version with its old serial"},
		}, requestFlags()...), targetFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			args := c.Args().Slice()
			if len(args) < 1 || len(args) > 2 || strings.HasPrefix(args[0], "s3://") {
				return usageError{fmt.Errorf("want VERSION [REF], %s", cliargs.Got(args))}
			}
			o := rollbackOptions{
				targetOptions: targetOf(c, strings.Join(args[1:], "")), selector: args[0], force: c.Bool("force"),
				keepSerial: c.Bool("keep-serial"), dryRun: c.Bool("dry-run"), autoApprove: c.Bool("auto-approve"),
			}
			var err error
			if o.requestOptions, err = requestOf(c); err != nil {
				return err
			}
			return o.finish(ctx, term, runRollback(ctx, o, term))
		},
	}
}

// rollbackJSON describes a rollback, or with DryRun what it would be.
type rollbackJSON struct {
	versionJSON
	RolledBackTo string `json:"rolled_back_to"`
	FromSerial   uint64 `json:"from_serial"`
	ToSerial     uint64 `json:"to_serial"`
	Unchanged    bool   `json:"unchanged"`
	DryRun       bool   `json:"dry_run"`
}

func runRollback(ctx context.Context, o rollbackOptions, term terminal) (err error) {
	t, err := o.open(ctx, term)
	if err != nil {
		return err
	}
	p, body, err := o.plan(ctx, term, t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	result := rollbackJSON{
		versionJSON: versionOf(p.Now), RolledBackTo: p.To.Name(), FromSerial: p.Now.Header.Serial,
		ToSerial: p.To.Header.Serial, DryRun: o.dryRun,
	}
	if p.Unchanged {
		term.Say("Nothing to do: %s has the content of that version already.\n", t.ref)
		result.Unchanged = true
		return o.print(term, result)
	}
	tellRollback(term, p)
	if o.dryRun {
		result.versionJSON = versionJSON{Ref: t.ref.String(), Serial: p.Serial, Lineage: p.To.Header.Lineage, Size: p.To.Size}
		return o.print(term, result)
	}
	if !o.autoApprove {
		if err := term.Confirm(ctx, "Roll the state back to that version?", "-auto-approve"); err != nil {
			return err
		}
	}
	written, err := o.carryOut(ctx, term, t, p, body)
	if err != nil {
		return err
	}
	result.versionJSON = versionOf(written)
	term.Say("Rolled back %s to version %s; its serial is %d now.\n"+
		"The infrastructure is as it was: see what differs with 'terraform plan' before you apply.\n",
		t.ref, statelatch.Printable(p.To.Name()), written.Header.Serial)
	return o.print(term, result)
}

func (o rollbackOptions) print(term terminal, result rollbackJSON) error {
	if !o.json {
		return nil
	}
	return term.PrintJSON(result)
}

// dryRunVersions is how many versions a plan alone looks at for the serial.
const dryRunVersions = 100

// plan plans the rollback among all versions, or for a plan alone among the newest.
func (o rollbackOptions) plan(
	ctx context.Context, term terminal, t target,
) (history.Rollback, io.ReadSeekCloser, error) {
	limit := 0
	if o.dryRun {
		limit = dryRunVersions
	}
	entries, err := t.versions(ctx, term, limit)
	if err != nil {
		return history.Rollback{}, nil, err
	}
	return history.PlanRollback(ctx, t.Store, t.ref, entries, len(entries) != limit,
		history.RollbackOptions{Selector: o.selector, Force: o.force, KeepSerial: o.keepSerial})
}

// tellRollback shows the plan.
func tellRollback(term terminal, p history.Rollback) {
	now := p.From
	now.Version = p.Now // read whole
	term.Say("Plan: roll back %s\n\n", p.Ref)
	t := table{Indent: 2, Columns: []column{
		{Head: ""},
		{Head: "SERIAL"},
		{Head: "STORED (UTC)"},
		{Head: "BYTES", Rank: 1},
		{Head: "WHO", Least: 10},
		{Head: "VERSION", ID: true},
	}}
	for _, row := range []struct {
		name string
		e    history.Entry
	}{{"from", now}, {"to", p.To}} {
		version := row.e.Name()
		if !row.e.Exists {
			version = "no state"
		}
		t.Rows = append(t.Rows, []string{
			row.name, serialCell(row.e.Serial()), timeOf(row.e.LastModified), strconv.FormatInt(row.e.Size, 10),
			orDash(whoStored(row.e)), statelatch.Printable(version),
		})
	}
	t.Rows = append(t.Rows, []string{"new", strconv.FormatUint(p.Serial, 10), "now", "", "", "a copy of 'to'"})
	term.SayTable(t)
	if p.To.Header.Encrypted() {
		term.Say("\nThe version is encrypted, so it keeps its serial: a saved plan of that time would apply again.\n")
	}
	term.Say("\n")
}

// carryOut does what was planned, under the lock.
func (o rollbackOptions) carryOut(
	ctx context.Context, term terminal, t target, p history.Rollback, body io.ReadSeeker,
) (state.Version, error) {
	req := o.request(term, "rollback")
	req.TTL = defaultLease
	tenure, err := t.acquire(ctx, term, req)
	if err != nil {
		return state.Version{}, err
	}
	session, err := p.Begin(ctx, t.Store, tenure)
	var written state.Version
	if err == nil {
		written, err = audit.Write(ctx, tenure, session, body, p.WriteOptions())
	}
	_, releaseErr := tenure.Release(ctx)
	if writeUnknown(err) {
		return written, fmt.Errorf("%w. Once it is clear who wrote last: %s", err, t.again.command(o.repeat(p.To.Name())))
	}
	if err == nil && releaseErr != nil {
		releaseErr = fmt.Errorf("%s is rolled back, serial %d, but: %w", t.ref, written.Header.Serial, releaseErr)
	}
	return written, errors.Join(err, releaseErr)
}

// repeat is the same rollback again, after one of unknown outcome: its lock is left to the lease.
func (o rollbackOptions) repeat(version string) string {
	verb := "rollback -takeover expired "
	if o.force {
		verb += "-force "
	}
	if o.keepSerial {
		verb += "-keep-serial "
	}
	return verb + shellQuote(version)
}
