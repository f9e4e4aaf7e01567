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
