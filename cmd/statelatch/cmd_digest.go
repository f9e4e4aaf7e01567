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
		Flags: append([]cli.Flag{versionsFlag()}, targetFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			o, err := digestOf(c)
			if err != nil {
				return err
			}
			return o.finish(ctx, term, runDigestCheck(ctx, o, term))
		},
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
		Action: func(ctx context.Context, c *cli.Command) error {
			o, err := digestOf(c)
			if err != nil {
				return err
			}
			if o.requestOptions, err = requestOf(c); err != nil {
				return err
			}
			return o.finish(ctx, term, runDigestFix(ctx, o, term))
		},
	}
}

func digestOf(c *cli.Command) (digestOptions, error) {
	ref, err := atMostOne(c, "REF")
	o := digestOptions{
		targetOptions: targetOf(c, ref), versions: c.Int("versions"),
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

	all     target // for every state of the bucket
	where   string // as it was named
	found   []*digestRow
	without int // states that have no digest
}

// digestRow is one digest, and what is done about it.
type digestRow struct {
	digest.Finding

	again   naming
	planned bool
	fixed   bool
	err     error
}

func (r *digestRow) wrong() bool { return r.Wrong() && !r.fixed }

// doubt is why fix wants -accept; empty if it does not.
func (r *digestRow) doubt() string { return doubtOf(r.Finding, r.again) }

// doubtOf is the doubt about a digest, with the command that brings back what was lost.
func doubtOf(f digest.Finding, again naming) string {
	switch {
	case f.Restore != nil:
		return "to bring that one back instead: " + again.command("rollback "+shellQuote(f.Restore.VersionID))
	case f.Unlooked:
		return f.Doubt + ": give -versions 0"
	}
	return f.Doubt
}

func (o digestOptions) needsTable(table string) error {
	if table != "" {
		return nil
	}
	return usageError{errors.New("no DynamoDB table is configured, and digests are kept there: add -backend-config " +
		"dynamodb_table=NAME, " +
		"or name a directory whose backend has one")}
}

// check reads one state, or all of a scope, with their digests.
func (o digestOptions) check(ctx context.Context, term terminal) (*digests, error) {
	d := &digests{digestOptions: o}
	if !isScope(o.ref) && !strings.HasSuffix(o.ref, "/") {
		t, err := o.open(ctx, term)
		if err == nil {
			err = o.needsTable(t.Backend.DynamoDBTable)
		}
		if err != nil {
			return nil, err
		}
		f, err := digest.Checker{Store: t.Store, Versions: o.versions}.Check(ctx, t.ref)
		d.all, d.where = t, t.ref.String()
		d.add(term, f)
		if err == nil && f.Status == digest.None {
			d.without = 1
		}
		return d, err
	}
	scope, backend, err := o.scope(ctx, term)
	if err == nil {
		err = o.needsTable(backend.DynamoDBTable)
	}
	if err != nil {
		return nil, err
	}
	if err := o.trust(ctx, term, backend); err != nil {
		return nil, err
	}
	if d.all, err = connect(ctx, term, statelatch.Ref{Bucket: scope.Bucket}, backend); err != nil {
		return nil, err
	}
	d.where = scope.String()
	prefix := backend.WorkspaceKeyPrefix
	keys, err := digest.Keys(ctx, d.all.Table, scope, prefix)
	if err != nil {
		return nil, err
	}
	line := term.LiveLine()
	defer line.Clear()
	d.without, err = digest.Without(ctx, d.all.Bucket, scope,
		fleet.WalkOptions{WorkspacePrefix: prefix, OnProgress: walked(line)}, keys)
	if err != nil {
		return nil, err
	}
	line.Clear()
	found, err := digest.Checker{Store: d.all.Store, Versions: o.versions}.CheckAll(ctx, scope.Bucket, keys,
		func(done int) {
			line.Part("Comparing digests", done, len(keys))
		})
	d.add(term, found...)
	return d, err
}

func (d *digests) add(term terminal, found ...digest.Finding) {
	for _, f := range found {
		d.found = append(d.found, &digestRow{Finding: f, again: d.againFor(d.all.Backend, f.Ref, term)})
	}
}

func runDigestCheck(ctx context.Context, o digestOptions, term terminal) error {
	d, err := o.check(ctx, term)
	if err != nil {
		return err
	}
	if o.json {
		err = term.PrintJSON(d.toJSON())
	} else {
		d.print(term)
		if fix := d.count((*digestRow).Fixable); fix > 0 {
			term.Say("\nTo mend %s: %s\n", count(fix, "digest"), o.again(term).command("digest fix"))
		}
	}
	if wrong := d.wrong(); err == nil && wrong > 0 {
		return reportedError{fmt.Errorf("%s not in step", count(wrong, "digest"))}
	}
	return err
}

func runDigestFix(ctx context.Context, o digestOptions, term terminal) error {
	d, err := o.check(ctx, term)
	if err != nil {
		return err
	}
	planned := 0
	for _, f := range d.found {
		if f.Fixable() && (o.accept || f.Doubt == "") {
			f.planned = true
			planned++
		}
	}
	d.tellPlan(term)
	if planned > 0 && !o.dryRun {
		if !o.autoApprove {
			if err := term.Confirm(ctx, fmt.Sprintf("Change %s in the DynamoDB table?", count(planned, "digest")),
				"-auto-approve"); err != nil {
				return err
			}
		}
		d.fix(ctx, term)
	}
	if o.json {
		if err := term.PrintJSON(d.toJSON()); err != nil {
			return err
		}
	}
	if err := d.unfixed(); err != nil {
		if !o.json && !o.dryRun {
			term.Say("%s left alone.\n", count(d.wrong(), "digest"))
		}
		return reportedError{err}
	}
	return nil
}

// fix does what is planned, one state after the other: each under its lock.
func (d *digests) fix(ctx context.Context, term terminal) {
	for _, f := range d.found {
		if !f.planned || ctx.Err() != nil {
			continue
		}
		t := d.all
		t.ref, t.again = f.Ref, f.again
		changed, err := d.fixOne(ctx, term, t, f.Reading)
		f.err, f.fixed = err, err == nil
		switch {
		case d.json:
		case err != nil:
			term.Say("Left alone: %s: %s\n", statelatch.Printable(f.Ref.String()), oneLine(err))
		case !changed:
			term.Say("In step meanwhile: %s\n", statelatch.Printable(f.Ref.String()))
		case f.Reading.Want() == "":
			term.Say("Removed the digest of %s.\n", statelatch.Printable(f.Ref.String()))
		default:
			term.Say("Set the digest of %s to %s.\n", statelatch.Printable(f.Ref.String()), f.Reading.Want())
		}
	}
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

func (d *digests) count(is func(*digestRow) bool) (n int) {
	for _, f := range d.found {
		if is(f) {
			n++
		}
	}
	return n
}

func (d *digests) wrong() int { return d.count((*digestRow).wrong) }

// unfixed is the failure that a fix ends with: the first of those that were met, else that something is left.
func (d *digests) unfixed() error {
	var errs []error
	for _, f := range d.found {
		errs = append(errs, f.err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if left := d.count(func(f *digestRow) bool { return f.wrong() && (!d.dryRun || !f.planned) }); left > 0 {
		return fmt.Errorf("%s not in step", count(left, "digest"))
	}
	return nil
}
