package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/digest"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/state"
	"github.com/urfave/cli/v3"
)

type digestOptions struct {
	targetOptions
	requestOptions
	versions    int
	accept      bool
	dryRun      bool
	autoApprove bool
}

func digestCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "digest",
		Usage:     "compare the MD5s in the DynamoDB table with the states, and mend them",
		UsageText: "statelatch digest COMMAND [flags] [REF | s3://BUCKET/[PREFIX/]]",
		Commands:  []*cli.Command{digestCheckCommand(term), digestFixCommand(term)},
	}
}

func versionsFlag() cli.Flag {
	return &cli.IntFlag{
		Name: "versions", Value: digest.DefaultVersions,
		Usage: fmt.Sprintf("versions of a state to read for the one that a digest is of; 0: all (default %d)",
			digest.DefaultVersions),
	}
}

func digestCheckCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "show which digests are not of the stored state, and of which they are",
		UsageText: "statelatch digest check [flags] [REF | s3://BUCKET/[PREFIX/]]",
		Description: "Where a DynamoDB table is configured, engines compare every state that they read with the MD5 in the table, and\n" +
			"refuse it if it is of other bytes. This reads both and says what each digest is of:\n" +
			"  in step    of the bytes that are stored\n" +
			"  none       there is no item: engines check nothing\n" +
			"  stale      of other bytes, or of zero bytes: below it stands which version it is of, and what follows\n" +
			"  malformed  no MD5: engines pass over it\n" +
			"  orphan     there is no state: engines refuse that, too\n" +
			"  foreign    no state can have that key\n" +
			"One state, or all of a bucket or prefix (with a slash at its end), which lists the table (dynamodb:Scan).\n" +
			"Exits with 1 if there is anything but 'in step' and 'none'. Changes nothing.\n\n" +
			"Examples:\n" +
			"  statelatch digest check -chdir infra/prod\n" +
			"  statelatch digest check -backend-config dynamodb_table=locks s3://acme-state",
		Flags:  append([]cli.Flag{versionsFlag()}, targetFlags()...),
		Action: act(term, digestOf, runDigestCheck),
	}
}

func digestFixCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "fix",
		Usage:     "make digests those of the stored states, under their locks",
		UsageText: "statelatch digest fix [flags] [REF | s3://BUCKET/[PREFIX/]]",
		Description: "Checks as 'digest check' does, shows the plan, asks, and then, state by state: takes the lock in both places,\n" +
			"reads the state and its digest again, and if both are what was shown makes the digest the MD5 of what is stored,\n" +
			"or removes it where there is no state. The state itself is not touched.\n\n" +
			"A digest that does not match may be the only sign that a state was rolled back or lost. So it is left alone (exit\n" +
			"code 1) unless the state is provably newer than the one the digest is of, or nothing is left of it that could be\n" +
			"brought back. -accept fixes these, too: once you know that what is there now is right.\n\n" +
			"Examples:\n" +
			"  statelatch digest fix -dry-run -chdir infra/prod\n" +
			"  statelatch digest fix -auto-approve -backend-config dynamodb_table=locks s3://acme-state/prod/",
		Flags: append(append([]cli.Flag{
			versionsFlag(),
			&cli.BoolFlag{Name: "accept", Usage: "also where the state may be older than the one the digest is of, or lost"},
			&cli.BoolFlag{Name: "auto-approve", Usage: "do not ask"},
			&cli.BoolFlag{Name: "dry-run", Usage: "show the plan and change nothing"},
		}, requestFlags()...), targetFlags()...),
		Action: act(term, func(c *cli.Command) (digestOptions, error) {
			o, err := digestOf(c)
			if err == nil {
				o.requestOptions, err = requestOf(c)
			}
			return o, err
		}, runDigestFix),
	}
}

func digestOf(c *cli.Command) (digestOptions, error) {
	at, err := targetAt(c, "REF")
	o := digestOptions{
		targetOptions: at, versions: c.Int("versions"),
		accept: c.Bool("accept"), dryRun: c.Bool("dry-run"), autoApprove: c.Bool("auto-approve"),
	}
	if err == nil && o.versions < 0 {
		err = usageError{fmt.Errorf("-versions %d: it must not be negative", o.versions)}
	}
	return o, err
}

// digests is what a check looked at and found.
type digests struct {
	digestOptions
	*digest.Survey

	all   target // for every state of the bucket
	where string // as it was named
}

func (o digestOptions) needsTable(t target) error {
	if t.Table != nil {
		return nil
	}
	return usageError{errors.New("no DynamoDB table is configured, and digests are kept there: add -backend-config " +
		"dynamodb_table=NAME, or name a directory whose backend has one")}
}

// check reads one state, or all of a scope, with their digests.
func (o digestOptions) check(ctx context.Context, term terminal) (*digests, error) {
	d := &digests{digestOptions: o}
	one := !isScope(o.ref) && !strings.HasSuffix(o.ref, "/")
	var scope statelatch.Scope
	var err error
	if one {
		d.all, err = o.open(ctx, term)
		d.where = d.all.ref.String()
	} else {
		var p place
		p, err = o.openScope(ctx, term)
		scope, d.all, d.where = p.scope, target{Site: p.Site}, p.scope.String()
	}
	if err == nil {
		err = o.needsTable(d.all)
	}
	if err != nil {
		return nil, err
	}
	checker := digest.Checker{
		Store: d.all.Store, Versions: o.versions,
		Command: func(ref statelatch.Ref, verb string) string { return d.at(ref, term).again.command(verb) },
	}
	if one {
		d.Survey, err = checker.One(ctx, d.all.ref)
		return d, err
	}
	line := term.LiveLine()
	defer line.Clear()
	d.Survey, err = checker.All(ctx, d.all.Table, scope, fleet.WalkOptions{
		WorkspacePrefix: d.all.Backend.WorkspaceKeyPrefix, OnProgress: walked(line),
	}, func(done, of int) {
		if done == 1 {
			line.Clear()
		}
		line.Part("Comparing digests", done, of)
	})
	return d, err
}

// at is the way to one of the states.
func (d *digests) at(ref statelatch.Ref, term terminal) target {
	t := d.all
	t.ref, t.again = ref, d.againFor(t.Backend, ref, term)
	return t
}

func runDigestCheck(ctx context.Context, o digestOptions, term terminal) error {
	d, err := o.check(ctx, term)
	if err != nil {
		return err
	}
	if o.json {
		err = term.PrintJSON(d.Document(d.where, d.all.Backend.DynamoDBTable))
	} else {
		d.print(term)
		if fix := d.Count((*digest.Row).Fixable); fix > 0 {
			term.Say("\nTo mend %s: %s\n", count(fix, "digest"), o.again(term).command("digest fix"))
		}
	}
	if wrong := d.WrongErr(); err == nil && wrong != nil {
		return reportedError{wrong}
	}
	return err
}

func runDigestFix(ctx context.Context, o digestOptions, term terminal) error {
	d, err := o.check(ctx, term)
	if err != nil {
		return err
	}
	planned := d.Plan(o.accept)
	d.tellPlan(term)
	if planned > 0 && !o.dryRun {
		if !o.autoApprove {
			if err := term.Confirm(ctx, fmt.Sprintf("Change %s in the DynamoDB table?", count(planned, "digest")),
				"-auto-approve"); err != nil {
				return err
			}
		}
		d.Fix(ctx, func(ref statelatch.Ref, shown state.DigestReading) (bool, error) {
			return o.fixOne(ctx, term, d.at(ref, term), shown)
		}, func(r *digest.Row, changed bool) {
			ref := statelatch.Printable(r.Ref.String())
			switch {
			case o.json:
			case r.Err != nil:
				term.Say("Left alone: %s: %s\n", ref, oneLine(r.Err))
			case !changed:
				term.Say("In step meanwhile: %s\n", ref)
			case r.Reading.Want() == "":
				term.Say("Removed the digest of %s.\n", ref)
			default:
				term.Say("Set the digest of %s to %s.\n", ref, r.Reading.Want())
			}
		})
	}
	if o.json {
		if err := term.PrintJSON(d.Document(d.where, d.all.Backend.DynamoDBTable)); err != nil {
			return err
		}
	}
	if err := d.Err(o.dryRun); err != nil {
		if !o.json && !o.dryRun {
			term.Say("%s left alone.\n", count(d.Wrong(), "digest"))
		}
		return reportedError{err}
	}
	return nil
}

// fixOne brings one digest in step under the lock of its state.
func (o digestOptions) fixOne(
	ctx context.Context, term terminal, t target, shown state.DigestReading,
) (changed bool, err error) {
	req := o.request(term, "digest fix")
	req.TTL = defaultLease
	tenure, err := t.acquire(ctx, term, req)
	if err != nil {
		return false, err
	}
	changed, err = audit.FixDigest(ctx, t.Store, tenure, shown)
	weak, releaseErr := tenure.Release(ctx)
	warnWeak(term, weak)
	return changed, errors.Join(err, releaseErr)
}

// print shows what was found to people.
func (d *digests) print(term terminal) {
	term.PrintTable(d.table(func(*digest.Row) bool { return true }, digestDetails))
	wrong, summary := d.Wrong(), count(d.Items(), "digest")+" in "+d.where
	if wrong > 0 {
		summary += fmt.Sprintf(": %d not in step", wrong)
	} else {
		summary = "All in step: " + summary
	}
	if d.Without > 0 {
		summary += fmt.Sprintf("; %s without one, which engines do not check", count(d.Without, "state"))
	}
	term.Say("%s.\n", summary)
}

// tellPlan shows what a fix is going to change, and what it leaves alone.
func (d *digests) tellPlan(term terminal) {
	if d.Wrong() == 0 {
		term.Say("Nothing to do: all digests in %s are in step.\n", d.where)
		return
	}
	term.SayTable(d.table((*digest.Row).Wrong, func(f *digest.Row) string {
		s := digestDetails(f)
		switch {
		case !f.Planned && f.Fixable():
			return s + "  left alone without -accept\n"
		case !f.Planned:
			return s + "  left alone\n"
		case f.Reading.Want() == "":
			return s + "  to be removed\n"
		}
		return s + "  to be set to " + f.Reading.Want() + "\n"
	}))
}

// table shows findings: a line each, and below it what needs more words.
func (d *digests) table(shows func(*digest.Row) bool, details func(*digest.Row) string) table {
	var shown []*digest.Row
	t := table{
		Columns: []column{
			{Head: "STATE", Least: 20, Middle: true},
			{Head: "DIGEST"},
			{Head: "STORED", ID: true},
			{Head: "STATE'S MD5", ID: true},
			{Head: "SERIAL"},
			{Head: "WRITTEN (UTC)", Rank: 1},
		},
		Details: func(row int) string { return details(shown[row]) },
	}
	for _, f := range d.Rows {
		if !shows(f) {
			continue
		}
		shown = append(shown, f)
		t.Rows = append(t.Rows, []string{
			statelatch.Printable(f.Ref.Key), string(f.Status), orDash(f.Reading.Stored), orDash(f.Reading.Want()),
			serialCell(f.Reading.Now.Serial()),
			timeOf(f.Reading.Now.LastModified),
		})
	}
	return t
}

func digestDetails(f *digest.Row) string {
	s := ""
	for _, text := range [...]string{f.Meaning, f.Accept} {
		if text != "" {
			s += "  " + statelatch.Printable(text) + "\n"
		}
	}
	return s
}
