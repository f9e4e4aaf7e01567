package policy_test

import (
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/policy"
)

// STS gives no reasons, and who has to allow it depends on how a role is assumed.
func TestAdvice_AssumedRoles(t *testing.T) {
	t.Parallel()
	const role = "arn:aws:iam::222233334444:role/state"
	for message, want := range map[string]struct {
		text  string
		grant bool
	}{
		"User: arn:aws:iam::111122223333:user/ci is not authorized to perform: sts:AssumeRole on resource: " + role: {"a policy of whoever assumes the role, and the trust policy", true},
		"Not authorized to perform sts:AssumeRoleWithWebIdentity":                                                   {"whoever issued the token", false},
	} {
		e := &statelatch.StoreError{Kind: statelatch.ErrDenied, Op: "open", Status: 403, Code: "AccessDenied", Message: message, Action: "s3:PutObject", Bucket: "b", Key: "k"}
		if got := policy.Advice(e); !strings.Contains(got, want.text) {
			t.Errorf("%s: got %q, want %q in it", message, got, want.text)
		}
		if doc, got := policy.Grant("eu-west-1", e); got != want.grant {
			t.Errorf("%s: got a grant: %t (%s), want %t", message, got, doc.JSON(), want.grant)
		}
	}
}

// What the rules of a gateway, its own role or the policy of its bucket deny, no IAM policy of whoever asked helps.
func TestAdvice_Gateways(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		`User: key:ana is not authorized to perform: statelatch:write on resource: "prod/tf" because no rule gives them anything there`:                                       "Whoever runs it can change them",
		"prod/tf: this gateway serves s3://acme/team-a alone":                                                                                                                 "Whoever runs it can change them",
		"The gateway itself may not put this object in the bucket: its rights there are too few, see 'statelatch policy -role gateway'.":                                      "policy -role gateway",
		`User: arn:aws:iam::111122223333:user/ci is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" with an explicit deny in a resource-based policy`: "go through it",
	} {
		e := &statelatch.StoreError{Kind: statelatch.ErrDenied, Op: "put", Status: 403, Code: "AccessDenied", Message: message, Action: "s3:PutObject", Bucket: "b", Key: "k"}
		d := policy.DeniedIn(e)
		if got := d.Advice(e); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q in it", message, got, want)
		}
		if doc, ok := d.Grant(); ok {
			t.Errorf("%s: got the grant %s, want none", message, doc.JSON())
		}
	}
}
