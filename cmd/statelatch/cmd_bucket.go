package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/bootstrap"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/urfave/cli/v3"
)

// glance is how many objects of a bucket are looked at before it is changed.
const glance = 1000

type bucketInitOptions struct {
	targetOptions
	desired     bootstrap.Desired // all but the bucket, the region and the endpoint
	format      string
	autoApprove bool
	dryRun      bool
}

func bucketCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "bucket",
		Usage:     "set up a bucket for states, or check one",
		UsageText: "statelatch bucket init|check [flags] [s3://BUCKET]",
		Commands:  []*cli.Command{bucketInitCommand(term), bucketCheckCommand(term)},
	}
}

func bucketInitCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "init",
		Usage:     "create a bucket for states, or mend one",
		UsageText: "statelatch bucket init [flags] [s3://BUCKET]",
		Description: "Creates the bucket if there is none, and sees to it that it keeps old versions, encrypts by default, blocks public\n" +
			"access, belongs to its owner with everything in it, refuses requests without TLS, and gets rid of what locks leave\n" +
			"behind. Shows a plan and asks first; a second run finds nothing to do, and mends what somebody changed. Statements\n" +
			"and rules of others in the bucket policy and the lifecycle rules stay as they are. Prints the backend block to paste.\n\n" +
			"Lifecycle rules cannot tell a key that ends in .tflock, so old versions below 2 KiB are taken for locks: they go after\n" +
			"-litter-days, except for the newest ten of each key. That meets states of hardly any resources, too.\n" +
			"A store that lacks one of these is told so and left without, except for what a flag asks for.\n\n" +
			"-gateway denies everybody but a role to write objects, so that engines get to the states through the gateway alone.\n" +
			"Reading stays as it is, and so does changing the bucket's policy, which takes it back. It is for AWS, whose roles a\n" +
			"policy can tell apart.\n\n" +
			"-format hcl or awscli prints a Terraform configuration or a shell script for a new bucket instead; it needs neither\n" +
			"credentials nor a network.\n\n" +
			"Examples:\n" +
			"  statelatch bucket init s3://acme-state\n" +
			"  statelatch bucket init -encryption arn:aws:kms:eu-central-1:123456789012:key/1234abcd-... s3://acme-state\n" +
			"  statelatch bucket init -auto-approve -expected-bucket-owner 123456789012 s3://acme-state >backend.tf\n" +
			"  statelatch bucket init -gateway arn:aws:iam::123456789012:role/statelatch s3://acme-state\n" +
			"  statelatch bucket init -format hcl s3://acme-state",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "encryption", Usage: "`AES256|ARN` AES256 or the ARN of a KMS key (default: AES256, or what " +
				"the bucket has)"},
			&cli.IntFlag{
				Name: "litter-days", Value: 30, Usage: "`DAYS` keep old versions of locks so many days (default 30)",
				HideDefault: true,
			},
			&cli.BoolFlag{
				Name:  "require-conditions",
				Usage: "refuse lock objects that are written without a condition; engines comply",
			},
			&cli.StringFlag{Name: "gateway", Usage: "`ROLE_ARN` let the role of a gateway alone write objects"},
			&cli.StringFlag{Name: "log-bucket", Usage: "`NAME` write server access logs there"},
			&cli.StringFlag{Name: "log-prefix", Usage: "`PREFIX` the beginning of their keys (default BUCKET/)"},
			&cli.StringSliceFlag{
				Name: "tag", Usage: "`KEY=VALUE` tag the bucket, beside the tags that it has; repeatable",
				HideDefault: true,
			},
			&choiceFlag{Name: "format", Config: choices{"hcl", "awscli"}, Usage: "print what does the same, and do nothing"},
			&cli.BoolFlag{Name: "auto-approve", Usage: "do not ask"},
			&cli.BoolFlag{Name: "dry-run", Usage: "show the plan, and change nothing"},
		}, targetFlags()...),
		Action: act(term, func(c *cli.Command) (bucketInitOptions, error) {
			at, err := targetAt(c, "s3://BUCKET[/PREFIX]")
			o := bucketInitOptions{
				targetOptions: at, format: c.String("format"),
				autoApprove: c.Bool("auto-approve"), dryRun: c.Bool("dry-run"),
			}
			o.desired = bootstrap.Desired{
				Encryption: c.String("encryption"), LitterDays: c.Int("litter-days"),
				RequireConditions: c.Bool("require-conditions"), Gateway: c.String("gateway"),
				LogBucket: c.String("log-bucket"), LogPrefix: c.String("log-prefix"),
			}
			if err != nil {
				return o, err
			}
			if o.desired.Tags, err = bootstrap.ParseTags(c.StringSlice("tag")); err != nil {
				err = usageError{err}
			}
			return o, err
		}, runBucketInit),
	}
}

func runBucketInit(ctx context.Context, o bucketInitOptions, term terminal) error {
	scope, backend, err := o.scope(ctx, term)
	if err != nil {
		return err
	}
	if scope.Prefix != "" {
		return usageError{fmt.Errorf("%s: a whole bucket is set up, not a part of it: s3://%s", scope, scope.Bucket)}
	}
	d := o.desired
	d.Bucket, d.Owner = scope.Bucket, o.owner
	if d.LogBucket != "" && d.LogPrefix == "" {
		d.LogPrefix = d.Bucket + "/"
	}
	if acl := backend.S3.ACL; acl != "" && acl != "private" && acl != "bucket-owner-full-control" {
		return usageError{fmt.Errorf("acl = %q in the backend: with bucket owner enforced ownership S3 refuses it; remove "+
			"it, and share with a bucket policy", acl)}
	}
	if o.format != "" {
		return printEquivalent(o.format, d, backend, term)
	}
	if err := o.trust(ctx, term, backend); err != nil {
		return err
	}
	client, err := s3bucket.OpenClient(ctx, backend.S3)
	if err != nil {
		return err
	}
	d.Region, d.Endpoint = client.Options().Region, aws.ToString(client.Options().BaseEndpoint)
	before, err := bootstrap.Inspect(ctx, client, d.Bucket)
	if err != nil {
		return bootstrap.NotOurs(err, d.Bucket, o.owner)
	}
	plan, err := bootstrap.NewPlan(d, before)
	if err != nil {
		return err
	}
	if err := o.show(ctx, term, backend, d, before, plan); err != nil {
		return err
	}
	result := bucketInitJSON{
		Bucket: d.Bucket, Region: d.Region, DryRun: o.dryRun, Created: !before.Exists,
		Changed: []bootstrap.Step{}, Skipped: append([]bootstrap.Skip{}, plan.Skipped...),
	}
	if o.dryRun {
		return o.rehearsed(term, plan, result)
	}
	if len(plan.Steps) > 0 && !o.autoApprove {
		if err := term.Confirm(ctx, fmt.Sprintf("Change s3://%s as planned?", d.Bucket), "-auto-approve"); err != nil {
			return err
		}
	}
	if len(plan.Steps) > 0 {
		if err := audit.Intend(ctx, audit.BucketInit, scope); err != nil {
			return err
		}
	}
	after, err := bootstrap.Apply(ctx, client, d, plan, func(done bootstrap.Outcome) {
		if done.Skipped != "" {
			result.Skipped = append(result.Skipped, bootstrap.Skip{ID: done.ID, Why: done.Skipped})
			term.Say("Skipped: %s: %s\n", done.What, statelatch.Printable(done.Skipped))
			return
		}
		result.Changed = append(result.Changed, done.Step)
		term.Say("Done: %s\n", done.What)
		if done.ID == "versioning" { // a condition judges versions, and stores disagree on them
			forgetVerdict(ctx, term, d.Bucket, backend)
		}
	})
	if len(result.Changed) > 0 || errors.Is(err, statelatch.ErrAmbiguous) {
		var changed []string
		for _, s := range result.Changed {
			changed = append(changed, s.ID)
		}
		audit.Ended(ctx, audit.BucketInit, scope, "changed: "+strings.Join(changed, ", "), err)
	}
	if err != nil {
		return err
	}
	if after.Versioning.Value.Status != string(types.BucketVersioningStatusEnabled) {
		term.Say("\nWarning: this store keeps no versions. What an engine overwrites is gone; statelatch keeps what its " +
			"own writes replace\n" +
			"(KEY.history/), and 'statelatch run' what was there before its command.\n")
	}
	block := d.Block(after, client.Options().UsePathStyle)
	if o.json {
		result.BackendBlock = block.String()
		return term.PrintJSON(result)
	}
	if len(plan.Steps) == 0 {
		term.Say("s3://%s: nothing to do.\n", d.Bucket)
	}
	if s3bucket.OnAWS(d.Endpoint) && before.Versioning.Value.Status == "" {
		term.Say("\nAWS asks to wait 15 minutes after versioning was first turned on before writing.\n")
	}
	term.Say("\nPut this into your Terraform or OpenTofu configuration:\n\n")
	term.Print("%s", block)
	term.Say("\nNext: %s\n", o.again(term).command("probe"))
	return nil
}

// rehearsed ends a dry run.
func (o bucketInitOptions) rehearsed(term terminal, plan bootstrap.Plan, r bucketInitJSON) error {
	r.Created = false
	r.Planned = plan.Steps
	if o.json {
		return term.PrintJSON(r)
	}
	if len(plan.Steps) == 0 {
		term.Say("s3://%s: nothing to do.\n", r.Bucket)
	}
	return nil
}

// show tells what would be changed.
func (o bucketInitOptions) show(
	ctx context.Context, term terminal, backend backendconf.Backend, d bootstrap.Desired, before bootstrap.Actual,
	plan bootstrap.Plan,
) error {
	for _, s := range plan.Skipped {
		term.Say("Skipped: %s: %s\n", s.ID, s.Why)
	}
	if len(plan.Steps) == 0 {
		return nil
	}
	if before.Exists {
		if err := tellContents(ctx, term, d.Bucket, backend); err != nil {
			return err
		}
	} else if o.owner != "" && s3bucket.OnAWS(d.Endpoint) {
		if err := o.checkCreator(ctx, backend.S3); err != nil {
			return err
		}
	}
	term.Say("Plan for s3://%s", d.Bucket)
	if d.Endpoint != "" {
		term.Say(" at %s", d.Endpoint)
	}
	term.Say(":\n%s\n", plan)
	return nil
}

// checkCreator makes sure that a bucket is not created in another account than the one it must belong to: the header
// that says so is for buckets that exist.
func (o bucketInitOptions) checkCreator(ctx context.Context, cfg s3bucket.Config) error {
	cfg.AllowedAccountIDs, cfg.ForbiddenAccountIDs = []string{o.owner}, nil
	if _, err := s3bucket.OpenClient(ctx, cfg); err != nil {
		return fmt.Errorf("the bucket does not exist, and it cannot be created in account %s with these credentials: %w",
			o.owner, err)
	}
	return nil
}

// tellContents warns who is about to turn a bucket full of other things into one for states.
func tellContents(ctx context.Context, term terminal, name string, backend backendconf.Backend) error {
	b, err := s3bucket.Open(ctx, name, backend.S3)
	if err != nil {
		return err
	}
	c, more, err := bootstrap.Glance(ctx, b, glance)
	if err != nil {
		return err
	}
	among := ""
	if more {
		among = fmt.Sprintf(" among its first %s", count(glance, "object"))
	}
	term.Say("s3://%s exists: %s, %s, %s%s.\n", name, count(c.States, "state"), count(len(c.Locks), "lock"),
		count(c.Others, "other object"), among)
	if c.Others > 0 {
		term.Say("It is not for states alone (there is %s): the plan is for all of it.\n",
			statelatch.Printable(fmt.Sprintf("%q", c.Example)))
	}
	return nil
}

// forgetVerdict drops what a probe found about a bucket.
func forgetVerdict(ctx context.Context, term terminal, name string, backend backendconf.Backend) {
	b, err := s3bucket.Open(ctx, name, backend.S3)
	if err != nil {
		return // its verdict ends with its life
	}
	_ = keeper(term).Forget(b)
}

// printEquivalent prints what does the same by other means.
func printEquivalent(format string, d bootstrap.Desired, backend backendconf.Backend, term terminal) error {
	d.Region, d.Endpoint = backend.S3.Where(term.Getenv)
	if d.Endpoint != "" && !strings.Contains(d.Endpoint, "://") {
		d.Endpoint = "https://" + d.Endpoint
	}
	if d.Region == "" && d.Endpoint != "" {
		d.Region = "us-east-1"
	}
	render := bootstrap.HCL
	if format == "awscli" {
		render = bootstrap.Script
	}
	text, err := render(d)
	if err != nil {
		return err
	}
	term.Print("%s", text)
	return nil
}

// bucketInitJSON is what was done to a bucket.
type bucketInitJSON struct {
	Bucket       string           `json:"bucket"`
	Region       string           `json:"region"`
	DryRun       bool             `json:"dry_run"`
	Created      bool             `json:"created"`
	Changed      []bootstrap.Step `json:"changed"`
	Planned      []bootstrap.Step `json:"planned,omitempty"` // of a dry run
	Skipped      []bootstrap.Skip `json:"skipped"`
	BackendBlock string           `json:"backend_block,omitempty"`
}
