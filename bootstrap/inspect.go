package bootstrap

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/statelatch/statelatch"
)

// callTimeout limits one call, its retries included.
const callTimeout = 60 * time.Second

// The IDs of settings, which are those of steps and findings, too.
const (
	idBucket       = "bucket"
	idVersioning   = "versioning"
	idEncryption   = "encryption"
	idPublicAccess = "public-access"
	idOwnership    = "ownership"
	idPolicy       = "policy"
	idLifecycle    = "lifecycle"
	idLogging      = "logging"
	idTags         = "tags"
)

// reader reads one setting into its own field, so that readers can run side by side.
type reader struct {
	id   string
	read func(ctx context.Context, c *s3.Client, bucket string, a *Actual)
}

var readers = []reader{
	{idVersioning, func(ctx context.Context, c *s3.Client, bucket string, a *Actual) {
		a.Versioning = read(ctx, bucket, "get versioning of", "s3:GetBucketVersioning",
			func(ctx context.Context) (v Versioning, err error) {
				out, err := c.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &bucket})
				if err == nil {
					v = Versioning{string(out.Status), out.MFADelete == types.MFADeleteStatusEnabled}
				}
				return v, err
			})
	}},
	{idEncryption, func(ctx context.Context, c *s3.Client, bucket string, a *Actual) {
		a.Encryption = read(ctx, bucket, "get encryption of", "s3:GetEncryptionConfiguration",
			func(ctx context.Context) (e Encryption, err error) {
				out, err := c.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: &bucket})
				if err != nil || out.ServerSideEncryptionConfiguration == nil {
					return e, err
				}
				for _, r := range out.ServerSideEncryptionConfiguration.Rules {
					if by := r.ApplyServerSideEncryptionByDefault; by != nil {
						e.Algorithm, e.KMSKey = string(by.SSEAlgorithm), aws.ToString(by.KMSMasterKeyID)
					}
					e.BucketKey, e.blocked = aws.ToBool(r.BucketKeyEnabled), r.BlockedEncryptionTypes
				}
				return e, nil
			})
	}},
	{idPublicAccess, func(ctx context.Context, c *s3.Client, bucket string, a *Actual) {
		a.PublicAccess = read(ctx, bucket, "get public access block of", "s3:GetBucketPublicAccessBlock",
			func(ctx context.Context) (p PublicAccess, err error) {
				out, err := c.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: &bucket})
				if err == nil && out.PublicAccessBlockConfiguration != nil {
					b := out.PublicAccessBlockConfiguration
					p = PublicAccess{
						aws.ToBool(b.BlockPublicAcls), aws.ToBool(b.IgnorePublicAcls), aws.ToBool(b.BlockPublicPolicy),
						aws.ToBool(b.RestrictPublicBuckets),
					}
				}
				return p, err
			})
	}},
	{idOwnership, func(ctx context.Context, c *s3.Client, bucket string, a *Actual) {
		a.Ownership = read(ctx, bucket, "get ownership controls of", "s3:GetBucketOwnershipControls",
			func(ctx context.Context) (s string, err error) {
				out, err := c.GetBucketOwnershipControls(ctx, &s3.GetBucketOwnershipControlsInput{Bucket: &bucket})
				if err == nil && out.OwnershipControls != nil && len(out.OwnershipControls.Rules) > 0 {
					s = string(out.OwnershipControls.Rules[0].ObjectOwnership)
				}
				return s, err
			})
	}},
	{idPolicy, func(ctx context.Context, c *s3.Client, bucket string, a *Actual) {
		a.Policy = read(ctx, bucket, "get policy of", "s3:GetBucketPolicy", func(ctx context.Context) (string, error) {
			out, err := c.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &bucket})
			if err != nil {
				return "", err
			}
			return aws.ToString(out.Policy), nil
		})
	}},
	{idLifecycle, func(ctx context.Context, c *s3.Client, bucket string, a *Actual) {
		a.Lifecycle = read(ctx, bucket, "get lifecycle of", "s3:GetLifecycleConfiguration",
			func(ctx context.Context) (l Lifecycle, err error) {
				out, err := c.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &bucket})
				if err == nil {
					l = Lifecycle{out.Rules, out.TransitionDefaultMinimumObjectSize}
				}
				return l, err
			})
	}},
	{idLogging, func(ctx context.Context, c *s3.Client, bucket string, a *Actual) {
		a.Logging = read(ctx, bucket, "get logging of", "s3:GetBucketLogging",
			func(ctx context.Context) (l *types.LoggingEnabled, err error) {
				out, err := c.GetBucketLogging(ctx, &s3.GetBucketLoggingInput{Bucket: &bucket})
				if err == nil {
					l = out.LoggingEnabled
				}
				return l, err
			})
	}},
	{idTags, func(ctx context.Context, c *s3.Client, bucket string, a *Actual) {
		a.Tags = read(ctx, bucket, "get tags of", "s3:GetBucketTagging",
			func(ctx context.Context) (map[string]string, error) {
				out, err := c.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: &bucket})
				if err != nil {
					return nil, err
				}
				tags := map[string]string{}
				for _, t := range out.TagSet {
					tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
				}
				return tags, nil
			})
	}},
	{"policy-status", func(ctx context.Context, c *s3.Client, bucket string, a *Actual) {
		a.PolicyIsPublic = read(ctx, bucket, "get policy status of", "s3:GetBucketPolicyStatus",
			func(ctx context.Context) (bool, error) {
				out, err := c.GetBucketPolicyStatus(ctx, &s3.GetBucketPolicyStatusInput{Bucket: &bucket})
				return err == nil && out.PolicyStatus != nil && aws.ToBool(out.PolicyStatus.IsPublic), err
			})
	}},
	{"acl", func(ctx context.Context, c *s3.Client, bucket string, a *Actual) {
		a.ACLIsPublic = read(ctx, bucket, "get ACL of", "s3:GetBucketAcl", func(ctx context.Context) (bool, error) {
			out, err := c.GetBucketAcl(ctx, &s3.GetBucketAclInput{Bucket: &bucket})
			return err == nil && slices.ContainsFunc(out.Grants, func(g types.Grant) bool {
				return g.Grantee != nil && slices.Contains([]string{
					"http://acs.amazonaws.com/groups/global/AllUsers", "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
				}, aws.ToString(g.Grantee.URI))
			}), err
		})
	}},
	{"object-lock", func(ctx context.Context, c *s3.Client, bucket string, a *Actual) {
		a.ObjectLock = read(ctx, bucket, "get object lock configuration of", "s3:GetBucketObjectLockConfiguration",
			func(ctx context.Context) (l ObjectLock, err error) {
				out, err := c.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &bucket})
				if err != nil || out.ObjectLockConfiguration == nil {
					return l, err
				}
				l.Enabled = out.ObjectLockConfiguration.ObjectLockEnabled == types.ObjectLockEnabledEnabled
				if r := out.ObjectLockConfiguration.Rule; r != nil && r.DefaultRetention != nil {
					l.Mode = string(r.DefaultRetention.Mode)
					l.Days = int(aws.ToInt32(r.DefaultRetention.Days)) + 365*int(aws.ToInt32(r.DefaultRetention.Years))
				}
				return l, nil
			})
	}},
	{"replication", func(ctx context.Context, c *s3.Client, bucket string, a *Actual) {
		a.Replication = read(ctx, bucket, "get replication of", "s3:GetReplicationConfiguration",
			func(ctx context.Context) (rules []types.ReplicationRule, err error) {
				out, err := c.GetBucketReplication(ctx, &s3.GetBucketReplicationInput{Bucket: &bucket})
				if err == nil && out.ReplicationConfiguration != nil {
					rules = out.ReplicationConfiguration.Rules
				}
				return rules, err
			})
	}},
	{"requester-pays", func(ctx context.Context, c *s3.Client, bucket string, a *Actual) {
		a.RequesterPays = read(ctx, bucket, "get request payment of", "s3:GetBucketRequestPayment",
			func(ctx context.Context) (bool, error) {
				out, err := c.GetBucketRequestPayment(ctx, &s3.GetBucketRequestPaymentInput{Bucket: &bucket})
				return err == nil && out.Payer == types.PayerRequester, err
			})
	}},
}

// read makes one call. That nothing is configured is no failure.
func read[T any](
	ctx context.Context, bucket, name, action string, get func(context.Context) (T, error),
) (s Setting[T]) {
	s.Err = call(ctx, bucket, name, action, func(ctx context.Context) (err error) {
		s.Value, err = get(ctx)
		return err
	})
	if errors.Is(s.Err, statelatch.ErrNotFound) && !errors.Is(s.Err, statelatch.ErrNoBucket) {
		return Setting[T]{}
	}
	return s
}

// Inspect reads the configuration of a bucket, a dozen requests side by side. An absent bucket is no error, a setting
// that cannot be read is in that setting, unless who asks is refused, whatever is asked for
// ([statelatch.BadCredentials]): then nothing is known. It reads no more than the region of a bucket that is in
// another one than the client asks in. Errors are a *statelatch.StoreError: [statelatch.ErrDenied] for a bucket of
// somebody else.
func Inspect(ctx context.Context, c *s3.Client, bucket string) (Actual, error) {
	a, elsewhere, err := find(ctx, c, bucket)
	if err != nil || !a.Exists || elsewhere {
		return a, err
	}
	var all sync.WaitGroup
	for _, r := range readers {
		all.Go(func() { r.read(ctx, c, bucket, &a) })
	}
	all.Wait()
	if err := ctx.Err(); err != nil {
		return Actual{}, &statelatch.StoreError{Kind: statelatch.ErrBroken, Op: "inspect", Bucket: bucket, Err: err}
	}
	if err := a.badCredentials(); err != nil {
		return Actual{}, err
	}
	return a, nil
}

// badCredentials is the error of a setting that tells of all others, too; nil if there is none.
func (a *Actual) badCredentials() error {
	for _, err := range [...]error{
		a.Versioning.Err, a.Encryption.Err, a.PublicAccess.Err, a.Ownership.Err, a.Policy.Err, a.Lifecycle.Err, a.Logging.Err,
		a.Tags.Err,
		a.PolicyIsPublic.Err, a.ACLIsPublic.Err, a.ObjectLock.Err, a.Replication.Err, a.RequesterPays.Err,
	} {
		if statelatch.BadCredentials(err) {
			return err
		}
	}
	return nil
}

// refresh reads one setting again.
func (a *Actual) refresh(ctx context.Context, c *s3.Client, bucket, id string) {
	for _, r := range readers {
		if r.id == id {
			r.read(ctx, c, bucket, a)
		}
	}
}

// find tells whether the bucket exists, where, and whether the client asks elsewhere.
func find(ctx context.Context, c *s3.Client, bucket string) (a Actual, elsewhere bool, err error) {
	err = call(ctx, bucket, "head bucket", "s3:ListBucket", func(ctx context.Context) error {
		out, err := c.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket})
		if err == nil {
			a = Actual{Exists: true, Region: aws.ToString(out.BucketRegion)}
			if a.Region == "" {
				a.Region = location(ctx, c, bucket)
			}
			return nil
		}
		// The answer to HEAD has no body, so that the status and a header have to do.
		if re, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
			status, region := re.HTTPStatusCode(), ""
			if re.HTTPResponse() != nil {
				region = re.HTTPResponse().Header.Get("X-Amz-Bucket-Region")
			}
			switch {
			case status == http.StatusNotFound:
				return nil
			case region != "" && region != c.Options().Region && (status/100 == 3 || status == http.StatusBadRequest):
				a, elsewhere = Actual{Exists: true, Region: region}, true
				return nil
			}
		}
		// Why, a request whose answer has a body tells: wrong credentials are no missing right.
		if _, said := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket, MaxKeys: aws.Int32(1)}); said != nil {
			err = said
		}
		return err
	})
	return a, elsewhere, err
}

// location is the region of a bucket for stores that do not tell with every answer; empty if it cannot be had.
func location(ctx context.Context, c *s3.Client, bucket string) string {
	out, err := c.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: &bucket})
	if err != nil {
		return ""
	}
	return regionOf(out.LocationConstraint)
}

// regionOf undoes the two names that are older than regions.
func regionOf(l types.BucketLocationConstraint) string {
	switch l {
	case "":
		return defaultRegion
	case types.BucketLocationConstraintEu:
		return "eu-west-1"
	}
	return string(l)
}
