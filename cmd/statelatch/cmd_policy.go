package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/policy"
	"github.com/urfave/cli/v3"
)

type policyOptions struct {
	targetOptions
	role       string
	workspaces bool
	target     policy.Target // what flags say of it
}

func policyCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "policy",
		Usage:     "print the AWS IAM policy that a role needs, and no more",
		UsageText: "statelatch policy -role ROLE [flags] [REF | s3://BUCKET[/PREFIX/]]",
		Description: "Prints JSON to attach to an IAM role, user or permission set. It asks nobody: no network, no credentials.\n\n" +
			"  plan    reads: plan -lock=false, run -read, status, states, locks, history, show, diff, pull\n" +
			"  apply   reads, locks and writes: what engines do, run, lock, unlock, push, workspace new\n" +
			"  unlock  sees locks and removes them, and rewrites the state so that their old holder cannot write\n" +
			"  admin   as apply; deletes workspaces, rolls back, cleans up (gc), probes\n" +
			"  bucket  bucket init and bucket check\n" +
			"  audit   -audit and audit verify, of the log at s3://BUCKET/PREFIX/: appends, rewrites and deletes nothing\n" +
			"  gateway serve -store s3://BUCKET[/PREFIX]: the gateway's own rights; its clients need none\n\n" +
			"Roles that write below a prefix can append to an audit log there, and not rewrite or delete its events.\n" +
			"REF is one state; -workspaces adds its named workspaces. A prefix ends with a slash and means every state\n" +
			"below it, with workspaces. Without either, the working directory's state and its workspaces are meant.\n" +
			"The region, kms_key_id, dynamodb_table, workspace_key_prefix, tags and ACL of the working directory or of\n" +
			"-backend-config count. Engines take a lock for plan, too: for role plan run them with -lock=false.\n\n" +
			"Examples:\n" +
			"  statelatch policy -role apply -chdir infra\n" +
			"  statelatch policy -role plan s3://acme-state/prod/terraform.tfstate\n" +
			"  statelatch policy -role admin -kms-key alias/state -region eu-central-1 s3://acme-state/team-a/\n" +
			"  statelatch policy -role bucket s3://acme-state > policy.json\n" +
			"  statelatch policy -role gateway s3://acme-state",
		Flags: append([]cli.Flag{
			&choiceFlag{Name: "role", Config: roleNames(), Usage: "whose rights"},
			&cli.BoolFlag{Name: "workspaces", Usage: "with REF: its named workspaces, too"},
			&cli.StringFlag{Name: "kms-key", Usage: "`ARN|ID|alias/NAME` the key that encrypts the objects"},
			&cli.StringFlag{Name: "dynamodb-table", Usage: "`NAME|ARN` the lock table"},
			&cli.StringFlag{Name: "partition", Usage: "`NAME` such as aws-cn (default: the region's)"},
			&cli.StringFlag{Name: "account", Usage: "`ACCOUNT_ID` of the key and the table"},
		}, targetFlags()...),
		Action: act(term, func(c *cli.Command) (policyOptions, error) {
			at, err := targetAt(c, "s3://BUCKET[/PREFIX]")
			return policyOptions{
				targetOptions: at, role: c.String("role"), workspaces: c.Bool("workspaces"),
				target: policy.Target{
					KMSKey: c.String("kms-key"), Table: c.String("dynamodb-table"),
					Partition: c.String("partition"), Region: c.String("region"), Account: c.String("account"),
				},
			}, err
		}, runPolicy),
	}
}

func runPolicy(ctx context.Context, o policyOptions, term terminal) error {
	if o.role == "" {
		return usageError{fmt.Errorf("-role is missing: %s", strings.Join(roleNames(), ", "))}
	}
	role, err := policy.ParseRole(o.role)
	if err != nil {
		return usageError{err}
	}
	t, err := o.of(ctx, role, term)
	if err != nil {
		return err
	}
	doc, err := policy.For(role, t)
	if err != nil {
		return err
	}
	term.Say("%s", policy.Notes(role, t, doc))
	if o.json {
		return term.PrintJSON(doc)
	}
	term.Print("%s", doc.JSON())
	return nil
}

func roleNames() []string {
	var names []string
	for _, r := range policy.Roles {
		names = append(names, string(r))
	}
	return names
}

// of is what the policy is for, in all detail that flags and configuration tell.
func (o policyOptions) of(ctx context.Context, role policy.Role, term terminal) (policy.Target, error) {
	scope, backend, err := o.scope(ctx, term)
	if err != nil {
		return policy.Target{}, err
	}
	t := o.target
	t.Bucket, t.WorkspacePrefix = scope.Bucket, backend.WorkspaceKeyPrefix
	t.Table = cmp.Or(t.Table, backend.DynamoDBTable)
	region, endpoint := backend.S3.Where(term.Getenv)
	t.Region, t.Probed = cmp.Or(t.Region, region), endpoint != ""
	t.Tags, t.ACL = len(backend.S3.StateTags)+len(backend.S3.LockTags) > 0, backend.S3.ACL != ""
	if backend.S3.Encrypt { // else engines name no key
		t.KMSKey = cmp.Or(t.KMSKey, backend.S3.KMSKeyID)
	}
	switch {
	case o.ref == "" && (role == policy.Bucket || role == policy.Gateway):
	case o.ref == "":
		t.Key, t.Workspaces = backend.Key, true
	case scope.Prefix == "" || strings.HasSuffix(o.ref, "/") || role == policy.Audit || role == policy.Gateway:
		t.Prefix = scope.Prefix
	default:
		t.Key, t.Workspaces = scope.Prefix, o.workspaces
	}
	return t, nil
}

func regionOf(b backendconf.Backend, term terminal) string {
	region, _ := b.S3.Where(term.Getenv)
	return region
}
