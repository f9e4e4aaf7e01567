package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bootstrap"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/fleet"
	"github.com/urfave/cli/v3"
)

type bucketCheckOptions struct {
	targetOptions
	failOn bootstrap.Severity
}

func bucketCheckCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "report what is wrong with a bucket of states",
		UsageText: "statelatch bucket check [flags] [s3://BUCKET[/PREFIX]]",
		Description: "Reads the bucket's configuration and lists what is below the prefix; changes nothing. Each finding is an error, a\n" +
			"warning, a note or ok, with why it matters and the command that mends it. What cannot be read is a warning, what the\n" +
			"store does not have a note. Exits with 1 if a finding is at or above -fail-on.\n\n" +
			"Examples:\n" +
			"  statelatch bucket check s3://acme-state\n" +
			"  statelatch bucket check -fail-on warning -json s3://acme-state/prod",
		Flags: append([]cli.Flag{
			&choiceFlag{
				Name: "fail-on", Value: "error", Config: choices{"error", "warning", "note"},
				Usage: "exit with 1 from that severity on (default error)",
			},
		}, targetFlags()...),
		Action: act(term, func(c *cli.Command) (o bucketCheckOptions, err error) {
			if o.failOn, err = bootstrap.ParseSeverity(c.String("fail-on")); err != nil {
				return o, usageError{fmt.Errorf("-fail-on: %w", err)}
			}
			o.targetOptions, err = targetAt(c, "s3://BUCKET[/PREFIX]")
			return o, err
		}, runBucketCheck),
	}
}

func runBucketCheck(ctx context.Context, o bucketCheckOptions, term terminal) error {
	p, err := o.openScope(ctx, term)
	if err != nil {
		return err
	}
	client, err := s3bucket.OpenClient(ctx, p.Backend.S3)
	if err != nil {
		return err
	}
	is, err := bootstrap.Inspect(ctx, client, p.scope.Bucket)
	if err != nil {
		return bootstrap.NotOurs(err, p.scope.Bucket, o.owner)
	}
	region, endpoint := client.Options().Region, aws.ToString(client.Options().BaseEndpoint)
	switch {
	case !is.Exists:
		return fmt.Errorf("bucket s3://%s: %w: create it with: %s", p.scope.Bucket, statelatch.ErrNotFound,
			o.wholeBucket(p.scope).again(term).command("bucket init"))
	case s3bucket.OnAWS(endpoint) && is.Region != "" && is.Region != region:
		return usageError{fmt.Errorf("region %q: the bucket %s is in %q: set the region to that (AWS_REGION)", region,
			p.scope.Bucket, is.Region)}
	}
	line := term.LiveLine()
	contents, contentsErr := bootstrap.Look(ctx, p.Bucket, p.scope,
		fleet.WalkOptions{WorkspacePrefix: p.Backend.WorkspaceKeyPrefix, OnProgress: walked(line)})
	line.Clear()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := cmp.Or(contentsErr, contents.Versions); statelatch.BadCredentials(err) {
		return err
	}
	findings := bootstrap.Check(bootstrap.Subject{
		Scope: p.scope, WorkspacePrefix: p.Backend.WorkspaceKeyPrefix, Region: region, Endpoint: endpoint,
		Bucket: is, Contents: contents, ContentsErr: contentsErr, Now: time.Now(),
		Command: func(verb string) string {
			if strings.HasPrefix(verb, "bucket init") {
				return o.wholeBucket(p.scope).again(term).command(verb)
			}
			return p.again.command(verb)
		},
	})
	worst := bootstrap.Worst(findings)
	if o.json {
		err = term.PrintJSON(bucketCheckJSON{p.scope.String(), worst.String(), findings})
	} else {
		printFindings(term, p.scope, findings)
	}
	if err == nil && worst >= o.failOn {
		return reportedError{fmt.Errorf("%s: the worst finding is of severity %s", p.scope, worst)}
	}
	return err
}

// wholeBucket is o about the bucket instead of a part of it.
func (o bucketCheckOptions) wholeBucket(scope statelatch.Scope) targetOptions {
	whole := o.targetOptions
	if whole.ref != "" {
		whole.ref = "s3://" + scope.Bucket
	}
	return whole
}

func printFindings(term terminal, scope statelatch.Scope, findings []bootstrap.Finding) {
	of := map[bootstrap.Severity]int{}
	term.Print("%s\n\n", scope)
	for severity := bootstrap.Error; severity >= bootstrap.OK; severity-- {
		for _, f := range findings {
			if f.Severity != severity {
				continue
			}
			of[severity]++
			term.PrintProse("%-8s %-24s  %s\n", f.Severity, f.ID, statelatch.Printable(f.What))
			if f.Why != "" {
				term.PrintProse("%-8s %-24s  Why: %s.\n", "", "", f.Why)
			}
			if f.Fix != "" {
				term.Print("%-8s %-24s  Fix: %s\n", "", "", f.Fix)
			}
		}
	}
	term.Print("\n%s, %s, %s, %d ok\n", count(of[bootstrap.Error], "error"), count(of[bootstrap.Warning], "warning"),
		count(of[bootstrap.Note], "note"), of[bootstrap.OK])
}

// bucketCheckJSON is a report on a bucket.
type bucketCheckJSON struct {
	Scope    string              `json:"scope"`
	Worst    string              `json:"worst"`
	Findings []bootstrap.Finding `json:"findings"`
}
