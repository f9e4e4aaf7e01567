package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/policy"
)

// Every refusal in an error is found, in its order, and nothing else; the role is the one that makes such calls.
func TestDeniedIn(t *testing.T) {
	t.Parallel()
	refused := func(action, op string, kind error) *statelatch.StoreError {
		return &statelatch.StoreError{Kind: kind, Op: op, Action: action, Bucket: "b", Key: "k"}
	}
	put := refused("s3:PutObject", "put", statelatch.ErrDenied)
	err := fmt.Errorf("all of it: %w", errors.Join(put, refused("s3:GetObject", "get", statelatch.ErrNotFound),
		fmt.Errorf("and: %w", refused("s3:GetBucketPolicy", "get", statelatch.ErrDenied))))
	d := policy.DeniedIn(err)
	if len(d.Errors) != 2 || d.Errors[0] != put || d.Role() != policy.Bucket {
		t.Errorf("got %v, role %s", d.Errors, d.Role())
	}
	if d := policy.DeniedIn(put); d.Role() != policy.Apply {
		t.Errorf("got role %s", d.Role())
	}
	if d := policy.DeniedIn(refused("s3:DeleteObjectVersion", "delete", statelatch.ErrDenied)); d.Role() != policy.Admin {
		t.Errorf("got role %s", d.Role())
	}
	if d := policy.DeniedIn(nil); len(d.Errors) > 0 || d.Reasons() != nil {
		t.Errorf("got %+v of no error", d)
	}
	d.Unset, d.Owner = []string{"encrypt", "acl"}, "123456789012"
	reasons := d.Reasons()
	if len(reasons) != 2 || !strings.Contains(reasons[0].Advice, "written with encrypt, acl") ||
		!strings.Contains(reasons[0].Advice, "another account than 123456789012") ||
		strings.Contains(reasons[1].Advice, "written with") {
		t.Errorf("got %+v", reasons)
	}
}
