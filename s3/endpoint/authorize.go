package endpoint

import (
	"errors"
	"fmt"
	"slices"

	"github.com/statelatch/statelatch/internal/iampolicy"
	"github.com/statelatch/statelatch/s3/s3model"
)

// Everybody who has a key pair of this store is the root of its account, who may do everything that the policy of the
// bucket does not deny.

// ownerAlways are the actions that no policy takes from the root, as on AWS: nobody locks himself out for good.
var ownerAlways = []string{"s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"}

// ask is one thing that a request needs to be allowed.
type ask struct {
	action           string
	bucket, key      string // no key: the bucket itself
	version, ifMatch string // that it names
}

func (a ask) resource() string {
	if a.key == "" {
		return arnOfS3 + a.bucket
	}
	return arnOfS3 + a.bucket + "/" + a.key
}

// authorize refuses what the policy of the request's bucket denies. The entries of DeleteObjects and the sources of
// copies, which are not known yet, ask for themselves.
func (c *call) authorize(op *operation) error {
	if c.bucket == "" || slices.Contains(ownerAlways, op.action) || op.name == "DeleteObjects" {
		return nil
	}
	policy, err := c.bucketPolicy(c.bucket)
	if policy == nil {
		return err
	}
	a := ask{
		action: op.action, bucket: c.bucket, key: c.key, version: c.query.Get("versionId"),
		ifMatch: c.r.Header.Get("If-Match"),
	}
	if op.versionAction != "" && c.query.Has("versionId") {
		a.action = op.versionAction
	}
	if err := c.permit(policy, a); err != nil {
		return err
	}
	if op.name != "PutObject" && op.name != "CreateMultipartUpload" {
		return nil
	}
	for header, action := range map[string]string{"X-Amz-Tagging": "s3:PutObjectTagging", "X-Amz-Acl": "s3:PutObjectAcl"} {
		if c.r.Header.Get(header) != "" {
			a.action = action
			if err := c.permit(policy, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// permitOn is permit by the policy of the bucket that a is about.
func (c *call) permitOn(a ask) error {
	policy, err := c.bucketPolicy(a.bucket)
	if policy == nil {
		return err
	}
	return c.permit(policy, a)
}

// permit refuses what a policy denies. A nil policy denies nothing.
func (c *call) permit(policy *iampolicy.Policy, a ask) error {
	if policy == nil {
		return nil
	}
	request := iampolicy.Request{
		By:     iampolicy.Requester{ARN: ownerARN, Account: ownerAccount, CanonicalID: ownerID},
		Action: a.action, Resource: a.resource(), Context: c.conditionContext(a),
	}
	if policy.Decide(request) != iampolicy.Denied {
		return nil
	}
	return s3model.ErrAccessDenied.With(fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %q with an "+
		"explicit deny in a resource-based policy",
		ownerARN, a.action, request.Resource), nil)
}

// permitSource refuses a copy of what may not be read.
func (c *call) permitSource(src s3model.ReadRequest) error {
	a := ask{action: "s3:GetObject", bucket: src.Bucket, key: src.Key, version: src.VersionID}
	if src.VersionID != "" {
		a.action = "s3:GetObjectVersion"
	}
	return c.permitOn(a)
}

// permitTagCopy refuses a copy of tags that may not be read, or not be written.
func (c *call) permitTagCopy(src s3model.ReadRequest) error {
	a := ask{action: "s3:GetObjectTagging", bucket: src.Bucket, key: src.Key, version: src.VersionID}
	if src.VersionID != "" {
		a.action = "s3:GetObjectVersionTagging"
	}
	if err := c.permitOn(a); err != nil {
		return err
	}
	return c.permitOn(ask{action: "s3:PutObjectTagging", bucket: c.bucket, key: c.key})
}

// hideAbsence turns the absence of an object into a denial for those who may not list the bucket, as S3 does: else
// they learned what is in it.
func (c *call) hideAbsence(op *operation, err error) error {
	if op.action == "s3:GetObject" && errors.Is(err, s3model.ErrNoSuchKey) {
		if denied := c.permitOn(ask{action: listBucket, bucket: c.bucket}); denied != nil {
			return denied
		}
	}
	return err
}
