package endpoint

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/statelatch/statelatch/internal/iampolicy"
	"github.com/statelatch/statelatch/s3/s3model"
)

const (
	maxPolicy  = 20 << 10 // bytes
	arnOfS3    = "arn:aws:s3:::"
	ownerARN   = "arn:aws:iam::" + ownerAccount + ":root"
	listBucket = "s3:ListBucket"
)

func (c *call) getPolicy() error {
	doc, err := c.storedDocument("policy",
		refuse("NoSuchBucketPolicy", http.StatusNotFound, "The bucket policy does not exist"))
	if err != nil {
		return err
	}
	c.writeDocument(http.StatusOK, "application/json", doc)
	return nil
}

func (c *call) putPolicy() error {
	doc, err := c.document()
	if err != nil {
		return err
	}
	if _, err := parsePolicy(c.bucket, doc); err != nil {
		return err
	}
	if err := c.Store.SetBucketConfig(c.ctx, c.bucket, "policy", doc); err != nil {
		return err
	}
	return c.noContent()
}

// cachedPolicy is a policy as it was read from a document.
type cachedPolicy struct {
	document []byte
	policy   *iampolicy.Policy
	err      error
}

// bucketPolicy returns the policy of a bucket, nil if there is none or no bucket. A document from before that cannot be
// evaluated is an error: nothing is allowed by what nobody understands.
func (c *call) bucketPolicy(bucket string) (*iampolicy.Policy, error) {
	doc, err := c.Store.BucketConfig(c.ctx, bucket, "policy")
	if errors.Is(err, s3model.ErrNoSuchBucket) {
		return nil, nil // which the operation says
	}
	if err != nil || doc == nil {
		return nil, err
	}
	if known, ok := c.policies.Load(bucket); ok && bytes.Equal(known.(*cachedPolicy).document, doc) {
		return known.(*cachedPolicy).policy, known.(*cachedPolicy).err
	}
	read := &cachedPolicy{document: doc}
	if read.policy, err = parsePolicy(bucket, doc); err != nil {
		read.err = s3model.ErrAccessDenied.With("The bucket policy was stored by an earlier version, which did not enforce "+
			"it, and cannot be evaluated, "+
			"so that nothing is allowed but to get, replace or delete it: "+err.Error(), err)
	}
	c.policies.Store(bucket, read)
	return read.policy, read.err
}

// parsePolicy reads the policy of a bucket. What would not be enforced is refused: what is no policy, or one that never
// has an effect on AWS, with MalformedPolicy; what this store does not evaluate with NotImplemented, which names it.
func parsePolicy(bucket string, doc []byte) (*iampolicy.Policy, error) {
	if len(doc) > maxPolicy {
		return nil, malformedPolicy("The policy is larger than 20 KiB.")
	}
	policy, err := iampolicy.ParseResource(doc)
	switch {
	case errors.Is(err, iampolicy.ErrUnsupported):
		return nil, notImplemented("The policy cannot be enforced by this store: " + err.Error())
	case err != nil:
		return nil, malformedPolicy("Policy is not valid: " + err.Error())
	}
	for i := range policy.Statements {
		if err := checkStatement(bucket, &policy.Statements[i]); err != nil {
			return nil, err
		}
	}
	return policy, nil
}

func malformedPolicy(why string) *s3model.Error {
	return refuse("MalformedPolicy", http.StatusBadRequest, why)
}

func checkStatement(bucket string, s *iampolicy.Statement) error {
	for _, p := range slices.Concat(s.Principals, s.NotPrincipals) {
		if p.Kind == "AWS" && strings.Contains(p.ID, ":"+ownerAccount+":") && p.ID != ownerARN {
			return malformedPolicy("Invalid principal in policy: " + p.ID + "; the account of this store has only its root, " +
				ownerARN)
		}
	}
	if !s.Deny && s.Everybody() && len(s.Conditions) == 0 {
		return notImplemented("An Allow for everybody cannot be granted: this store answers no request without a signature.")
	}
	for _, r := range slices.Concat(s.Resources, s.NotResources) {
		if !mayBeBucket(r, bucket) && !mayBeObject(r, bucket) {
			return malformedPolicy("Policy has invalid resource: " + r.Text + " is neither " + arnOfS3 + bucket + " nor in it")
		}
	}
	for _, a := range slices.Concat(s.Actions, s.NotActions) {
		if err := checkAction(bucket, a, s); err != nil {
			return err
		}
	}
	for _, cond := range s.Conditions {
		key, ok := findConditionKey(cond.Key)
		if !ok {
			return notImplemented(fmt.Sprintf("The policy cannot be enforced by this store: it does not know the "+
				"condition key %s.", cond.Key))
		}
		if len(key.actions) > 0 && len(s.Actions) > 0 && !slices.ContainsFunc(key.actions, s.Actions.Match) {
			return malformedPolicy("Conditions do not apply to combination of actions and resources in statement: " + cond.Key)
		}
	}
	return nil
}

func mayBeBucket(resource iampolicy.Pattern, bucket string) bool {
	return resource.Match(arnOfS3 + bucket)
}

// mayBeObject reports whether a pattern can match an object: up to a slash it matches the bucket, or a wildcard of it
// reaches over the slash.
func mayBeObject(resource iampolicy.Pattern, bucket string) bool {
	if strings.HasPrefix(resource.Text, arnOfS3+bucket+"/") {
		return true
	}
	wild := strings.IndexAny(resource.Text, "*?")
	return wild >= 0 && strings.HasPrefix(arnOfS3+bucket+"/", resource.Text[:wild])
}

// actionKind says what an action is asked for on.
type actionKind struct{ bucket, object bool }

// policyActions are the actions that a bucket policy can be about.
var policyActions = map[string]actionKind{}

// init, because the operations in the tables refer to policyActions.
func init() {
	for _, action := range absentActions {
		policyActions[action] = actionKind{true, true}
	}
	for _, op := range bucketOperations {
		policyActions[op.action] = actionKind{bucket: true}
	}
	for _, op := range objectOperations {
		policyActions[op.action] = actionKind{object: true}
		if op.versionAction != "" {
			policyActions[op.versionAction] = actionKind{object: true}
		}
	}
}

// checkAction refuses a pattern that matches no action, or only such as cannot be asked for on one of the resources.
func checkAction(bucket string, action iampolicy.Pattern, s *iampolicy.Statement) error {
	known, applies := false, len(s.Resources) == 0 || len(s.Actions) == 0
	for name, kind := range policyActions {
		if !action.Match(name) {
			continue
		}
		known = true
		applies = applies || slices.ContainsFunc(s.Resources, func(r iampolicy.Pattern) bool {
			return kind.bucket && mayBeBucket(r, bucket) || kind.object && mayBeObject(r, bucket)
		})
	}
	switch {
	case !known:
		return malformedPolicy("Policy has invalid action: " + action.Text)
	case !applies:
		return malformedPolicy("Action does not apply to any resource(s) in statement: " + action.Text)
	}
	return nil
}

// absentActions are actions of S3 that this store never performs: it refuses the request, whatever a policy says.
var absentActions = []string{
	"s3:BypassGovernanceRetention", "s3:DeleteBucketWebsite", "s3:GetAccelerateConfiguration",
	"s3:GetAnalyticsConfiguration",
	"s3:GetBucketCORS", "s3:GetBucketLogging", "s3:GetBucketNotification", "s3:GetBucketObjectLockConfiguration",
	"s3:GetBucketPolicyStatus", "s3:GetBucketRequestPayment", "s3:GetBucketWebsite",
	"s3:GetIntelligentTieringConfiguration",
	"s3:GetInventoryConfiguration", "s3:GetMetricsConfiguration", "s3:GetObjectAttributes", "s3:GetObjectLegalHold",
	"s3:GetObjectRetention", "s3:GetObjectTorrent", "s3:GetObjectVersionAttributes", "s3:GetObjectVersionForReplication",
	"s3:GetObjectVersionTorrent", "s3:GetReplicationConfiguration", "s3:InitiateReplication",
	"s3:ObjectOwnerOverrideToBucketOwner",
	"s3:PutAccelerateConfiguration", "s3:PutAnalyticsConfiguration", "s3:PutBucketCORS", "s3:PutBucketLogging",
	"s3:PutBucketNotification", "s3:PutBucketObjectLockConfiguration", "s3:PutBucketRequestPayment", "s3:PutBucketWebsite",
	"s3:PutIntelligentTieringConfiguration", "s3:PutInventoryConfiguration", "s3:PutMetricsConfiguration",
	"s3:PutObjectLegalHold", "s3:PutObjectRetention", "s3:PutReplicationConfiguration", "s3:ReplicateDelete",
	"s3:ReplicateObject",
	"s3:ReplicateTags", "s3:RestoreObject",
}
