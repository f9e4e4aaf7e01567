// Package bootstrap sets up a bucket for states, and tells what is wrong with one.
//
// [Inspect] reads a bucket's configuration, [NewPlan] compares it with what is wanted, [Apply] carries the plan out,
// and [Check] judges a configuration. [HCL] and [Script] say the same for Terraform and for the aws command.
//
// What it guarantees: a plan that is carried out is the one that was shown, or nothing is changed; only what differs is
// written; in the bucket policy and in the lifecycle rules only statements and rules of ours are touched, told by their
// Sid and ID, and everything else keeps its meaning; what was written is read back until the store shows it. What it
// does not: S3 has no conditions on a bucket's configuration, so a change that somebody else makes within the same
// second may be lost.
package bootstrap

import (
	"net/url"
	"strings"

	"github.com/statelatch/statelatch/bucket/s3bucket"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/hashicorp/aws-sdk-go-base/v2/endpoints"
)

// Desired is a bucket as it is wanted. Versioning, the public access block, bucket owner enforced ownership, the
// TLS-only policy and the lifecycle rules are always wanted.
type Desired struct {
	Bucket string // its name
	Region string // where it is created, or is
	// Endpoint is the URL of the store. Empty: AWS's own.
	Endpoint string
	// Owner is the account that must own the bucket. Empty: any. [Apply] leaves that to its client.
	Owner string
	// Encryption by default: "AES256" or the ARN of a KMS key. Empty: whatever is there already, AES256 where there is
	// none.
	Encryption string
	// LitterDays is for how many days old versions of locks are kept.
	LitterDays int
	// RequireConditions denies writes of lock objects without a condition.
	RequireConditions bool
	// Gateway is the ARN of the role of a gateway, which alone may write objects then. Empty: whoever has the right to.
	Gateway string
	// LogBucket gets server access logs under LogPrefix. Empty: logging is left as it is.
	LogBucket, LogPrefix string
	// Tags of the bucket, beside those that it has.
	Tags map[string]string
}

const (
	aes256        = "AES256"
	defaultRegion = "us-east-1" // the one without a LocationConstraint
)

func hostOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

func plainHTTP(endpoint string) bool { return strings.HasPrefix(endpoint, "http://") }

// partition is the bucket's. Other stores know one, whatever they call their regions.
func (d Desired) partition() string {
	if p, ok := endpoints.PartitionForRegion(endpoints.DefaultPartitions(), d.Region); ok && s3bucket.OnAWS(d.Endpoint) {
		return p.ID()
	}
	return "aws"
}

func (d Desired) arn() string { return "arn:" + d.partition() + ":s3:::" + d.Bucket }

// locationConstraint is what a create request names, empty for none.
func (d Desired) locationConstraint() string {
	if d.Region == defaultRegion {
		return ""
	}
	return d.Region
}

// Setting is one part of a bucket's configuration as it was read. Err says why it could not be read: it matches
// [statelatch.ErrUnsupported] where the store has no such thing, [statelatch.ErrDenied] where it may not be seen.
type Setting[T any] struct {
	Value T     // zero where nothing is configured
	Err   error // nil: Value is what is configured
}

// Actual is a bucket as it is.
type Actual struct {
	Exists bool   // false: the fields below are zero
	Region string // empty where the store does not tell

	Versioning     Setting[Versioning]              // whether old versions are kept
	Encryption     Setting[Encryption]              // of what is written without a word about it
	PublicAccess   Setting[PublicAccess]            // the public access block
	Ownership      Setting[string]                  // "BucketOwnerEnforced", ...; empty: ACLs count
	Policy         Setting[string]                  // JSON
	Lifecycle      Setting[Lifecycle]               // what expires by itself
	Logging        Setting[*types.LoggingEnabled]   // server access logs; nil: none
	Tags           Setting[map[string]string]       // of the bucket; empty: none
	PolicyIsPublic Setting[bool]                    // S3 judges that the policy lets everybody in
	ACLIsPublic    Setting[bool]                    // an ACL grants something to everybody
	ObjectLock     Setting[ObjectLock]              // of versions
	Replication    Setting[[]types.ReplicationRule] // to other buckets; empty: none
	RequesterPays  Setting[bool]                    // requests without x-amz-request-payer are refused
}

// Versioning is whether old versions are kept.
type Versioning struct {
	Status    string // "Enabled", "Suspended", or empty: never enabled
	MFADelete bool   // versions are removed only with a second factor
}

// Encryption is how objects are encrypted whose writers do not say.
type Encryption struct {
	Algorithm string                        // "AES256", "aws:kms", ...; empty: not at all
	KMSKey    string                        // for "aws:kms": an ARN, an ID or an alias; empty: AWS's own key
	BucketKey bool                          // one data key serves many objects
	blocked   *types.BlockedEncryptionTypes // not ours: kept
}

// PublicAccess is the public access block.
type PublicAccess struct {
	BlockACLs, IgnoreACLs, BlockPolicy, RestrictBuckets bool // the four flags, under S3's names without "Public"
}

var allBlocked = PublicAccess{true, true, true, true}

// Lifecycle is the bucket's lifecycle configuration.
type Lifecycle struct {
	Rules []types.LifecycleRule // in the order in which the store has them; those of others, too
	// minimumSize is for transitions, which are not ours: kept.
	minimumSize types.TransitionDefaultMinimumObjectSize
}

// ObjectLock is the bucket's retention of versions.
type ObjectLock struct {
	Enabled bool   // versions can be retained
	Mode    string // of the default retention: "GOVERNANCE", "COMPLIANCE"; empty: there is none
	Days    int    // of the default retention
}
