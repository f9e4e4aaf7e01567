package bootstrap

import (
	"fmt"
	"net"
	"strings"
	"unicode"

	"github.com/statelatch/statelatch/bucket/s3bucket"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/lazyre"
)

// word is what fits into a name, a header, a comment and a shell.
var word = lazyre.New(`^[A-Za-z0-9._-]+$`)

// roleARN is a role of IAM. What would be a wildcard or a variable in a policy is in none.
var roleARN = lazyre.New(`^arn:(aws[a-z-]*):iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$`)

// validateGateway refuses what is not the ARN of a role, and stores that know no roles: there the policy would shut out
// everybody, the gateway included.
func (d Desired) validateGateway() error {
	m := roleARN.FindStringSubmatch(d.Gateway)
	switch {
	case d.Gateway == "":
		return nil
	case !s3bucket.OnAWS(d.Endpoint):
		return fmt.Errorf("%w gateway %q: %s is not AWS, whose roles a policy can tell apart; keep others out of the bucket "+
			"by giving a key pair of it to the gateway alone", statelatch.ErrInvalid, d.Gateway, d.Endpoint)
	case m == nil:
		return fmt.Errorf("%w gateway %q: want the ARN of the gateway's role, such as "+
			"arn:aws:iam::123456789012:role/statelatch (not that of a session, which is of STS)", statelatch.ErrInvalid,
			d.Gateway)
	case m[1] != d.partition():
		return fmt.Errorf("%w gateway %q: the role is of the partition %s, and the bucket of %s", statelatch.ErrInvalid,
			d.Gateway, m[1], d.partition())
	}
	return nil
}

func (d Desired) validate() error {
	if err := (statelatch.Scope{Bucket: d.Bucket}).Validate(); err != nil {
		return err
	}
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w "+format, append([]any{statelatch.ErrInvalid}, args...)...)
	}
	switch {
	case d.Region == "":
		return invalid("region: it is not known; set AWS_REGION, or region in the backend configuration")
	case !word.MatchString(d.Region):
		return invalid("region %q: want one such as eu-central-1", d.Region)
	case d.Owner != "" && !word.MatchString(d.Owner):
		return invalid("expected bucket owner %q: want an account", d.Owner)
	case d.LogBucket != "" && !word.MatchString(d.LogBucket):
		return invalid("log bucket %q: want the name of a bucket", d.LogBucket)
	case strings.ContainsFunc(d.LogPrefix, unicode.IsControl):
		return invalid("log prefix %q: it contains a control character", d.LogPrefix)
	case statelatch.IsAccessPoint(d.Bucket), strings.HasSuffix(d.Bucket, "-s3alias"):
		return invalid("bucket %q: it is an access point, and what is set up is the bucket behind it; give that", d.Bucket)
	case strings.HasSuffix(d.Bucket, "--x-s3"):
		return invalid("bucket %q: a directory bucket (S3 Express) keeps no versions and lives in one zone; choose a "+
			"general purpose bucket", d.Bucket)
	case d.LitterDays < 1:
		return invalid("litter days %d: want 1 or more", d.LitterDays)
	case d.LogBucket == d.Bucket:
		return invalid("log bucket %q: each log that is written would be logged again; give another bucket", d.LogBucket)
	case d.LogPrefix != "" && d.LogBucket == "":
		return invalid("log prefix %q: there is no log bucket to go with it", d.LogPrefix)
	}
	if err := d.validateTags(); err != nil {
		return err
	}
	if err := d.validateGateway(); err != nil {
		return err
	}
	if d.Encryption == "" || d.Encryption == aes256 {
		return nil
	}
	arn := strings.Split(d.Encryption, ":")
	if len(arn) != 6 || arn[0] != "arn" || arn[2] != "kms" {
		return invalid("encryption %q: want %s, or the ARN of a KMS key such as "+
			"arn:aws:kms:eu-central-1:123456789012:key/...", d.Encryption, aes256)
	}
	if s3bucket.OnAWS(d.Endpoint) && arn[3] != d.Region {
		return invalid("encryption %q: the key is in region %q, and the bucket in %q cannot use it; give a key in the "+
			"bucket's region", d.Encryption, arn[3], d.Region)
	}
	return nil
}

// newName is what AWS takes for the name of a new bucket; older ones may have others.
var newName = lazyre.New(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (d Desired) validateName() error {
	if s3bucket.OnAWS(d.Endpoint) && (!newName.MatchString(d.Bucket) || strings.Contains(d.Bucket, "..") ||
		net.ParseIP(d.Bucket) != nil) {
		return fmt.Errorf("%w bucket %q: AWS wants 3 to 63 lower-case letters, digits, hyphens and dots for a new bucket",
			statelatch.ErrInvalid, d.Bucket)
	}
	return nil
}
