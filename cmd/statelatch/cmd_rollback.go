package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/history"
	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/statelatch/statelatch/lock"
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
		versionJSON: versionOf(p.now), RolledBackTo: p.to.Name(), FromSerial: p.now.Header.Serial,
		ToSerial: p.to.Header.Serial, DryRun: o.dryRun,
	}
	if p.to.SameContent(p.now) {
		term.Say("Nothing to do: %s has the content of that version already.\n", t.ref)
		result.Unchanged = true
		return o.print(term, result)
	}
	p.tell(term)
	if o.dryRun {
		result.versionJSON = versionJSON{Ref: t.ref.String(), Serial: p.serial, Lineage: p.to.Header.Lineage, Size: p.to.Size}
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
		t.ref, statelatch.Printable(p.to.Name()), written.Header.Serial)
	return o.print(term, result)
}

func (o rollbackOptions) print(term terminal, result rollbackJSON) error {
	if !o.json {
		return nil
	}
	return term.PrintJSON(result)
}

// rollbackPlan is what a rollback will do.
type rollbackPlan struct {
	ref    statelatch.Ref
	now    state.Version // what is stored
	from   history.Entry // the same as it was listed; zero if there is none
	to     history.Entry // read whole
	newest uint64        // the highest serial of any version
	serial uint64        // that the state will have
}

// dryRunVersions is how many versions a plan alone looks at for the serial.
const dryRunVersions = 100

// plan finds the version, reads it, and refuses what must not be done.
func (o rollbackOptions) plan(
	ctx context.Context, term terminal, t target,
) (p rollbackPlan, body io.ReadSeekCloser, err error) {
	limit := 0 // the serial must be above every other's (B29)
	if o.dryRun {
		limit = dryRunVersions
	}
	entries, err := t.versions(ctx, term, limit)
	if err != nil {
		return p, nil, err
	}
	p.ref = t.ref
	p.to, err = history.Find(entries, o.selector)
	if errors.Is(err, statelatch.ErrNotFound) && len(entries) == limit {
		p.to, err = history.Resolve(ctx, t.Store, t.ref, o.selector)
	}
	if err != nil {
		return p, nil, err
	}
	p.from, _ = history.Find(entries, history.Current)
	if p.now = p.from.Version; p.now.MD5 == "" { // it was not read whole
		if p.now, err = t.Store.Mark(ctx, t.ref); err != nil {
			return p, nil, err
		}
	}
	p.newest = p.now.Header.Serial
	for _, e := range entries {
		p.newest = max(p.newest, e.Header.Serial)
	}
	if p.now.Exists != p.from.Exists || p.now.ETag != p.from.ETag { // 'previous' would be another one
		return p, nil, fmt.Errorf("%w: %s was written while its versions were listed; nothing was changed: repeat",
			statelatch.ErrConflict, t.ref)
	}
	v, body, err := history.Open(ctx, t.Store, p.to)
	if err != nil {
		return p, nil, err
	}
	if p.to, err = history.Place(ctx, t.Store, p.to, v); err == nil {
		shown := []history.Entry{p.from, p.to}
		err = history.Attribute(ctx, t.Store, t.ref, shown)
		p.from, p.to = shown[0], shown[1]
	}
	if err == nil {
		err = o.judge(&p)
	}
	if err != nil {
		return p, nil, errors.Join(err, body.Close())
	}
	return p, body, nil
}

// judge refuses what must not be done, and decides on the serial.
func (o rollbackOptions) judge(p *rollbackPlan) error {
	header := p.to.Header
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w version %q of %s: %s; nothing was changed", statelatch.ErrInvalid, p.to.Name(), p.ref,
			fmt.Sprintf(format, args...))
	}
	switch {
	case p.to.SameContent(p.now):
		return nil
	case p.to.Unfit() != nil:
		return refuse("it is no state: %v", p.to.Unfit())
	case header.Empty:
		return refuse("it has zero bytes")
	case header.Encrypted() && !o.keepSerial:
		return refuse("it is encrypted, so its serial, %d, cannot be raised above %d, the highest of any version: add "+
			"-keep-serial to write it with its old serial", header.Serial, p.newest)
	case !header.Encrypted() && o.keepSerial:
		return refuse("-keep-serial is for encrypted versions alone: this one's serial is raised")
	case p.newest == math.MaxUint64:
		return refuse("a version has the highest serial there is, %d", p.newest)
	}
	if !o.force {
		if err := state.Guard(p.now, p.to.Version, state.WriteOptions{Restore: p.newest + 1}); err != nil {
			return fmt.Errorf("%w; nothing was changed; -force if it is meant all the same", err)
		}
	}
	p.serial = p.newest + 1
	if header.Encrypted() {
		p.serial = header.Serial
	}
	return nil
}

// tell shows the plan.
func (p rollbackPlan) tell(term terminal) {
	now := history.Entry{Version: p.now, Holder: p.from.Holder}
	term.Say("Plan: roll back %s\n\n", p.ref)
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
	}{{"from", now}, {"to", p.to}} {
		version := row.e.Name()
		if !row.e.Exists {
			version = "no state"
		}
		t.Rows = append(t.Rows, []string{
			row.name, serialCell(row.e.Serial()), timeOf(row.e.LastModified), strconv.FormatInt(row.e.Size, 10),
			orDash(whoStored(row.e)), statelatch.Printable(version),
		})
	}
	t.Rows = append(t.Rows, []string{"new", strconv.FormatUint(p.serial, 10), "now", "", "", "a copy of 'to'"})
	term.SayTable(t)
	if p.to.Header.Encrypted() {
		term.Say("\nThe version is encrypted, so it keeps its serial: a saved plan of that time would apply again.\n")
	}
	term.Say("\n")
}

// carryOut does what was planned, under the lock.
func (o rollbackOptions) carryOut(
	ctx context.Context, term terminal, t target, p rollbackPlan, body io.ReadSeeker,
) (state.Version, error) {
	req := o.request(term, "rollback")
	req.TTL = defaultLease
	tenure, err := t.acquire(ctx, term, req)
	if err != nil {
		return state.Version{}, err
	}
	written, err := t.restore(ctx, tenure, p, body, o.force)
	_, releaseErr := tenure.Release(ctx)
	if writeUnknown(err) {
		return written, fmt.Errorf("%w. Once it is clear who wrote last: %s", err, t.again.command(o.repeat(p.to.Name())))
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

// restore writes the version of p under tenure, if the state is still the one that was shown.
func (t target) restore(
	ctx context.Context, tenure *lock.Tenure, p rollbackPlan, body io.ReadSeeker, force bool,
) (state.Version, error) {
	session, err := t.Store.BeginRestore(ctx, tenure, p.now)
	if err != nil {
		return state.Version{}, err
	}
	if base := session.Base(); !base.SameContent(p.now) {
		return state.Version{}, fmt.Errorf("%w: %s was written since the plan was shown; nothing was changed: look "+
			"again and repeat", statelatch.ErrConflict, t.ref)
	}
	return audit.Write(ctx, tenure, session, body, state.WriteOptions{Restore: p.newest + 1, Force: force})
}
