package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
)

// A bucket's name may stand for something else, of which IAM thinks differently.

// accessPoint is the ARN of the access point that t is reached through; empty: it is none.
func (t Target) accessPoint() string {
	if !statelatch.IsAccessPoint(t.Bucket) {
		return ""
	}
	return strings.Replace(t.Bucket, ":accesspoint:", ":accesspoint/", 1)
}

// express reports whether it is a directory bucket of S3 Express One Zone, or an access point of one.
func (t Target) express() bool {
	return strings.HasSuffix(t.Bucket, "--x-s3") || strings.HasSuffix(t.Bucket, "--xa-s3")
}

// alias reports whether it is an access point under a name that no policy may use.
func alias(bucket string) bool {
	return strings.HasSuffix(bucket, "-s3alias") || strings.HasSuffix(bucket, "--ol-s3") ||
		strings.HasSuffix(bucket, "--op-s3")
}

// sessions are what S3 Express asks for in place of all actions on objects: the right to open a session, on the bucket
// as a whole.
func (t Target) sessions() []Statement {
	kind := "bucket/"
	if strings.HasSuffix(t.Bucket, "--xa-s3") {
		kind = "accesspoint/"
	}
	return []Statement{{
		Sid: "OpenSessions", Effect: "Allow", Action: []string{"s3express:CreateSession"},
		Resource: []string{t.regional("s3express", kind, t.Bucket)},
	}}
}

// inSessions is the policy of a role on S3 Express. A session knows no prefix and no key, and engines open one that may
// write.
func (t Target) inSessions(role Role) []Statement {
	table := []string{"GetItem"}
	kms := []string{"Decrypt"}
	if role != Plan {
		table, kms = append(table, "PutItem", "DeleteItem"), append(kms, "GenerateDataKey")
	}
	all := slices.Concat(t.sessions(), t.items("LockItems", t.objects("", statelatch.DigestIDSuffix), table...),
		t.kms(nil, kms...))
	if role == Unlock || role == Admin {
		all = append(all, t.scan()...)
	}
	return all
}

// validateKind refuses a target that no policy can name.
func (t Target) validateKind(role Role) error {
	switch {
	case alias(t.Bucket):
		return fmt.Errorf("%w bucket %q: it is an alias of an access point, which no policy may name; give the access "+
			"point itself, "+
			"s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME/KEY", statelatch.ErrInvalid, t.Bucket)
	case role == Bucket && (t.accessPoint() != "" || t.express()):
		return fmt.Errorf("%w target: role %q is about a general purpose bucket, and %s is none; give s3://BUCKET",
			statelatch.ErrInvalid, role, t.Bucket)
	}
	return nil
}

// Note says what the policy of a bucket that is none leaves to others; empty for a bucket.
func (t Target) Note() string {
	switch {
	case t.accessPoint() != "":
		return "The policy of the bucket behind the access point has to allow the same, or to leave it to access points " +
			"(s3:DataAccessPointAccount).\n"
	case t.express():
		return "S3 Express knows sessions alone: one is for the whole bucket, and may read and write, as the " +
			"engines open it.\n"
	}
	return ""
}
