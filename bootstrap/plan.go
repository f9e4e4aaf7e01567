package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/s3bucket"
)

// Step is one change of a bucket.
type Step struct {
	ID     string `json:"id"`   // of the setting: "bucket", "versioning", "encryption", ...
	What   string `json:"-"`    // in the imperative
	Why    string `json:"-"`    // it is wanted, one line for people
	From   string `json:"from"` // how it is, for people
	To     string `json:"to"`   // how it will be, for people
	Action string `json:"-"`    // the IAM action that it needs

	required bool // else a store that cannot is passed over
	write    func(ctx context.Context, c *s3.Client) error
	// garbled reports whether the store shows neither what was there nor what was written; undo then puts back what was
	// there. Nil: that would do no harm.
	garbled func(Actual) bool
	undo    func(ctx context.Context, c *s3.Client) error
}

// Skip is a part of what is wanted that is not done.
type Skip struct {
	ID       string `json:"id"`  // as of a Step
	Why      string `json:"why"` // one line for people
	Required bool   `json:"-"`   // it is missed: the bucket is not what was asked for
}

// Plan is what lies between a bucket as it is and as it is wanted. Without steps and skips there is nothing to do.
type Plan struct {
	Steps   []Step // in the order in which they are safe
	Skipped []Skip // what is wanted and will not be done
}

// String shows people the steps, one below the other.
func (p Plan) String() string {
	var b strings.Builder
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "%3d. %s: %s\n", i+1, s.What, s.Why)
		for _, side := range [...]struct{ sign, text string }{{"-", s.From}, {"+", s.To}} {
			for line := range strings.SplitSeq(side.text, "\n") {
				fmt.Fprintf(&b, "       %s %s\n", side.sign, statelatch.Printable(line))
			}
		}
		fmt.Fprintf(&b, "       needs %s\n", s.Action)
	}
	return b.String()
}

// same reports whether two plans look the same to who confirms them.
func (p Plan) same(q Plan) bool {
	return slices.EqualFunc(p.Steps, q.Steps, func(a, b Step) bool {
		return a.ID == b.ID && a.What == b.What && a.From == b.From && a.To == b.To
	}) && slices.Equal(p.Skipped, q.Skipped)
}

func (p Plan) step(id string) (Step, bool) {
	i := slices.IndexFunc(p.Steps, func(s Step) bool { return s.ID == id })
	if i < 0 {
		return Step{}, false
	}
	return p.Steps[i], true
}

// NewPlan compares. It asks nothing of the store. Errors: [statelatch.ErrInvalid] for a bucket in another region than
// d's and for what cannot be wanted, and whatever kept a setting from being read (merging into it would destroy it).
func NewPlan(d Desired, a Actual) (Plan, error) {
	if err := d.validate(); err != nil {
		return Plan{}, err
	}
	if a.Exists && s3bucket.OnAWS(d.Endpoint) && a.Region != "" && a.Region != d.Region {
		return Plan{}, fmt.Errorf("%w region %q: the bucket %s exists in %q, and a bucket cannot move; "+
			"set region to %[4]q (or AWS_REGION), or choose another name", statelatch.ErrInvalid, d.Region, d.Bucket, a.Region)
	}
	p := &planner{Desired: d, Actual: a}
	if !a.Exists {
		if err := d.validateName(); err != nil {
			return Plan{}, err
		}
		p.add(p.createBucket())
	}
	p.publicAccess()
	p.ownership()
	p.encryption()
	p.versioning()
	p.lifecycle()
	p.policy()
	p.logging()
	p.tags()
	return p.plan, errors.Join(p.failed...)
}

type planner struct {
	Desired
	Actual
	plan   Plan
	failed []error
}

func (p *planner) add(s Step) { p.plan.Steps = append(p.plan.Steps, s) }

func (p *planner) skip(id string, required bool, format string, args ...any) {
	p.plan.Skipped = append(p.plan.Skipped, Skip{id, fmt.Sprintf(format, args...), required})
}

// readable reports whether a setting is known; what the store does not have is skipped.
func (p *planner) readable(id, name string, required bool, err error) bool {
	switch {
	case err == nil:
		return true
	case errors.Is(err, statelatch.ErrUnsupported):
		p.skip(id, required, "this store has no %s", name)
	default:
		p.failed = append(p.failed, err)
	}
	return false
}

func (p *planner) createBucket() Step {
	d := p.Desired
	return Step{
		ID: idBucket, What: "create the bucket " + d.Bucket, Why: "it does not exist",
		From: "absent", To: "in region " + d.Region, Action: "s3:CreateBucket", required: true,
		write: d.create,
	}
}

func (p *planner) publicAccess() {
	if !p.readable(idPublicAccess, "public access block", false, p.PublicAccess.Err) ||
		p.PublicAccess.Value == allBlocked {
		return
	}
	bucket := p.Bucket
	p.add(Step{
		ID: idPublicAccess, What: "block public access",
		Why:  "states hold secrets; no ACL and no policy shall open them by mistake",
		From: p.PublicAccess.Value.String(), To: allBlocked.String(), Action: "s3:PutBucketPublicAccessBlock",
		write: func(ctx context.Context, c *s3.Client) error {
			_, err := c.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{
				Bucket: &bucket,
				PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
					BlockPublicAcls: aws.Bool(true), IgnorePublicAcls: aws.Bool(true), BlockPublicPolicy: aws.Bool(true),
					RestrictPublicBuckets: aws.Bool(true),
				},
			})
			return err
		},
	})
}

// String names what is blocked.
func (p PublicAccess) String() string {
	var on []string
	for _, f := range [...]struct {
		on   bool
		name string
	}{
		{p.BlockACLs, "new public ACLs"},
		{p.IgnoreACLs, "public ACLs"},
		{p.BlockPolicy, "new public policies"},
		{p.RestrictBuckets, "public policies"},
	} {
		if f.on {
			on = append(on, f.name)
		}
	}
	if len(on) == 0 {
		return "nothing is blocked"
	}
	return strings.Join(on, ", ") + " blocked"
}

func (p *planner) ownership() {
	want := string(types.ObjectOwnershipBucketOwnerEnforced)
	if !p.readable(idOwnership, "object ownership", false, p.Ownership.Err) || p.Ownership.Value == want {
		return
	}
	from := p.Ownership.Value
	if from == "" {
		from = "ACLs count"
	}
	bucket := p.Bucket
	p.add(Step{
		ID: idOwnership, What: "let the bucket's owner own every object",
		Why:  "what another account writes stays readable, and ACLs no longer count",
		From: from, To: want, Action: "s3:PutBucketOwnershipControls",
		write: func(ctx context.Context, c *s3.Client) error {
			_, err := c.PutBucketOwnershipControls(ctx, &s3.PutBucketOwnershipControlsInput{
				Bucket: &bucket,
				OwnershipControls: &types.OwnershipControls{Rules: []types.OwnershipControlsRule{{
					ObjectOwnership: types.ObjectOwnershipBucketOwnerEnforced,
				}}},
			})
			return err
		},
	})
}

func (p *planner) encryption() {
	asked := p.Desired.Encryption != ""
	is := p.Actual.Encryption
	if !p.readable(idEncryption, "default encryption", asked, is.Err) {
		return
	}
	want := Encryption{Algorithm: aes256, blocked: is.Value.blocked}
	if asked && p.Desired.Encryption != aes256 {
		want = Encryption{
			Algorithm: string(types.ServerSideEncryptionAwsKms), KMSKey: p.Desired.Encryption, BucketKey: true,
			blocked: is.Value.blocked,
		}
	}
	same := is.Value.Algorithm == want.Algorithm && is.Value.KMSKey == want.KMSKey &&
		(want.KMSKey == "" || is.Value.BucketKey)
	if same || !asked && is.Value.Algorithm != "" {
		return
	}
	bucket := p.Bucket
	p.add(Step{
		ID: idEncryption, What: "encrypt by default", Why: "states hold secrets, and not every writer asks for encryption",
		From: is.Value.String(), To: want.String(), Action: "s3:PutEncryptionConfiguration", required: asked,
		write: func(ctx context.Context, c *s3.Client) error {
			rule := types.ServerSideEncryptionRule{
				ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{
					SSEAlgorithm: types.ServerSideEncryption(want.Algorithm),
				},
				BlockedEncryptionTypes: want.blocked,
			}
			if want.KMSKey != "" {
				rule.ApplyServerSideEncryptionByDefault.KMSMasterKeyID, rule.BucketKeyEnabled = &want.KMSKey, aws.Bool(true)
			}
			_, err := c.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{
				Bucket: &bucket,
				ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{
					Rules: []types.ServerSideEncryptionRule{rule},
				},
			})
			return err
		},
	})
}

// String is how objects are encrypted.
func (e Encryption) String() string {
	s := e.Algorithm
	if s == "" {
		s = "none"
	}
	if e.KMSKey != "" {
		s += " with " + e.KMSKey
	}
	if e.KMSKey != "" && !e.BucketKey {
		s += " (a request to KMS for every object)"
	}
	return s
}

func (p *planner) versioning() {
	is := p.Versioning
	if !p.readable(idVersioning, "versioning", true, is.Err) ||
		is.Value.Status == string(types.BucketVersioningStatusEnabled) {
		return
	}
	from := is.Value.Status
	if from == "" {
		from = "off"
	}
	bucket := p.Bucket
	p.add(Step{
		ID: idVersioning, What: "keep old versions", Why: "history, rollback and the detection of lost updates need them",
		From: from, To: "Enabled", Action: "s3:PutBucketVersioning",
		write: func(ctx context.Context, c *s3.Client) error {
			_, err := c.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
				Bucket:                  &bucket,
				VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
			})
			return err
		},
	})
}

func (p *planner) lifecycle() {
	is := p.Lifecycle
	if !p.readable(idLifecycle, "lifecycle rules", false, is.Err) {
		return
	}
	if p.Versioning.Value.MFADelete {
		p.skip(idLifecycle, false, "S3 runs no lifecycle rules on a bucket with MFA delete: old versions of locks stay "+
			"until somebody deletes them with MFA")
		return
	}
	var from, to []string
	for _, want := range lifecycleRules(p.LitterDays) {
		i := is.Value.index(*want.ID)
		switch {
		case i < 0:
			from = append(from, *want.ID+": absent")
		case sameRule(is.Value.Rules[i], want):
			continue
		default:
			from = append(from, *want.ID+": "+describeRule(is.Value.Rules[i]))
		}
		to = append(to, *want.ID+": "+describeRule(want))
	}
	if len(to) == 0 {
		return
	}
	wanted := lifecycleRules(p.LitterDays)
	bucket, before, merged := p.Bucket, is.Value, is.Value.with(wanted)
	p.add(Step{
		ID: idLifecycle, What: "expire the litter of locks",
		Why:  "each lock leaves an old version and a delete marker behind; tiny states keep their newest old versions",
		From: strings.Join(from, "\n"), To: strings.Join(to, "\n"), Action: "s3:PutLifecycleConfiguration",
		write: func(ctx context.Context, c *s3.Client) error { return merged.write(ctx, c, bucket) },
		// A store that knows no sizes in filters would take our rule for one about every state.
		garbled: func(a Actual) bool { return a.Lifecycle.Err == nil && a.Lifecycle.Value.garbles(wanted, before) },
		undo: func(ctx context.Context, c *s3.Client) error {
			if len(before.Rules) > 0 {
				return before.write(ctx, c, bucket)
			}
			_, err := c.DeleteBucketLifecycle(ctx, &s3.DeleteBucketLifecycleInput{Bucket: &bucket})
			return err
		},
	})
}

// statements are those that are wanted.
func (d Desired) statements() []statement {
	var all []statement
	if !plainHTTP(d.Endpoint) {
		all = append(all, tlsOnly(d.arn()))
	}
	if d.RequireConditions {
		all = append(all, lockOnlyConditional(d.arn()))
	}
	if d.Gateway != "" {
		all = append(all, gatewayOnly(d.arn(), d.Gateway))
	}
	return all
}

func (p *planner) policy() {
	if plainHTTP(p.Endpoint) {
		p.skip(idPolicy, false, "a TLS-only policy would lock everybody out of an endpoint without TLS (%s)", p.Endpoint)
	}
	wanted, asked := p.statements(), p.RequireConditions || p.Gateway != ""
	if len(wanted) == 0 || !p.readable(idPolicy, "bucket policies", asked, p.Policy.Err) {
		return
	}
	doc, err := parsePolicy(p.Policy.Value)
	if err != nil {
		p.failed = append(p.failed, fmt.Errorf("%w: %w; nothing can be merged into it", statelatch.ErrInvalid, err))
		return
	}
	var what, why, from, to []string
	for _, s := range wanted {
		if doc.implies(s) {
			continue
		}
		was := doc.text(s.Sid)
		if was == "" {
			was = s.Sid + ": absent"
		}
		doc = doc.with(s)
		what, why, from, to = append(what, s.Sid), append(why, reasons[s.Sid]), append(from, was), append(to, encode(s))
	}
	if len(to) == 0 {
		return
	}
	if p.PublicAccess.Err == nil && doc.public(p.PolicyIsPublic) {
		p.failed = append(p.failed,
			fmt.Errorf("%w bucket policy: it lets everybody in, so that S3 refuses to change it once public access is blocked; "+
				"remove that statement first (aws s3api get-bucket-policy --bucket %s)", statelatch.ErrInvalid, p.Bucket))
		return
	}
	bucket, body := p.Bucket, doc.String()
	p.add(Step{
		ID: idPolicy, What: "add " + strings.Join(what, " and ") + " to the bucket policy",
		Why:  strings.Join(why, "; "),
		From: strings.Join(from, "\n"), To: strings.Join(to, "\n"), Action: "s3:PutBucketPolicy",
		required: asked,
		write: func(ctx context.Context, c *s3.Client) error {
			_, err := c.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &body})
			return err
		},
	})
}

func (p *planner) logging() {
	if p.LogBucket == "" || !p.readable(idLogging, "server access logs", true, p.Logging.Err) {
		return
	}
	is, from := p.Logging.Value, "off"
	logs := types.LoggingEnabled{}
	if is != nil {
		from = fmt.Sprintf("s3://%s/%s", aws.ToString(is.TargetBucket), aws.ToString(is.TargetPrefix))
		logs = *is // its format is not ours
	}
	if is != nil && aws.ToString(is.TargetBucket) == p.LogBucket && aws.ToString(is.TargetPrefix) == p.LogPrefix {
		return
	}
	bucket := p.Bucket
	logs.TargetBucket, logs.TargetPrefix = &p.LogBucket, &p.LogPrefix
	p.add(Step{
		ID: idLogging, What: "log every access", Why: "who read a state is nowhere else; the policy of the log bucket must " +
			"let logging.s3.amazonaws.com write",
		From: from, To: fmt.Sprintf("s3://%s/%s", p.LogBucket, p.LogPrefix), Action: "s3:PutBucketLogging", required: true,
		write: func(ctx context.Context, c *s3.Client) error {
			_, err := c.PutBucketLogging(ctx, &s3.PutBucketLoggingInput{
				Bucket: &bucket, BucketLoggingStatus: &types.BucketLoggingStatus{LoggingEnabled: &logs},
			})
			return err
		},
	})
}
