package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
)

// Denied are the refusals of stores in an error, and what of the configuration that met them may be the cause.
type Denied struct {
	Errors []*statelatch.StoreError // in the order in which they are told
	Region string                   // of the bucket; empty: it is not known
	Owner  string                   // that the bucket is expected to have; empty: any
	// Unset are the arguments of the backend that a bucket's policy may demand of writes, and that are not set.
	Unset []string
}

// DeniedIn finds the refusals in err, however deep.
func DeniedIn(err error) Denied {
	return Denied{Errors: slices.DeleteFunc(storeErrors(err),
		func(e *statelatch.StoreError) bool { return !errors.Is(e.Kind, statelatch.ErrDenied) })}
}

// storeErrors are those in err, in the order in which they are told.
func storeErrors(err error) []*statelatch.StoreError {
	if se, ok := err.(*statelatch.StoreError); ok { //nolint:errorlint // the tree is walked by hand, to see all branches
		return []*statelatch.StoreError{se}
	}
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*statelatch.StoreError
		for _, e := range several.Unwrap() {
			all = append(all, storeErrors(e)...)
		}
		return all
	}
	if inner := errors.Unwrap(err); inner != nil {
		return storeErrors(inner)
	}
	return nil
}

// Grant is the policy that would allow what was denied; false if none can.
func (d Denied) Grant() (Document, bool) { return Grant(d.Region, d.Errors...) }

// Advice says why e was denied, and what else may be the cause.
func (d Denied) Advice(e *statelatch.StoreError) string {
	advice, why := Advice(e), e.Denial()
	bucketSays := why.Cause == statelatch.DenialExplicit && why.Policy == statelatch.PolicyResource &&
		strings.HasPrefix(why.Action, "s3:")
	silent := why.Cause == statelatch.DenialUnknown && strings.HasPrefix(e.Action, "s3:")
	if (bucketSays || silent) && e.Op == "put" && len(d.Unset) > 0 {
		advice += " A bucket's policy may demand that objects are written with " + strings.Join(d.Unset, ", ") +
			", which the configuration does not set."
	}
	if bucketSays && slices.Contains([]string{"s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion"}, why.Action) {
		advice += " Where a gateway alone may write to the bucket (bucket init -gateway), go through it: its address " +
			"belongs into endpoints of the backend."
	}
	if d.Owner != "" && (silent || bucketSays) {
		advice += fmt.Sprintf(" A bucket of another account than %s is denied, too (-expected-bucket-owner).", d.Owner)
	}
	return advice
}

// Role is the one whose commands make such calls.
func (d Denied) Role() Role {
	for _, e := range d.Errors {
		switch {
		case e.Action == "s3:DeleteObjectVersion":
			return Admin
		case strings.Contains(e.Action, "Bucket") && !strings.HasPrefix(e.Action, "s3:List"),
			strings.Contains(e.Action, "Configuration"):
			return Bucket
		}
	}
	return Apply
}

// Reason is one refusal and why, as far as the store told, as docs/JSON.md has it.
type Reason struct {
	Reason    statelatch.DenialCause `json:"reason"`               // the cause
	Policy    statelatch.PolicyType  `json:"policy,omitempty"`     // that is the cause
	PolicyARN string                 `json:"policy_arn,omitempty"` // its name
	Principal string                 `json:"principal,omitempty"`  // who asked
	Action    string                 `json:"action,omitempty"`     // that was denied
	Resource  string                 `json:"resource,omitempty"`   // on which
	Advice    string                 `json:"advice,omitempty"`     // see [Denied.Advice]
	// ResourceGrant is what the policy of the bucket, key, table or role lacks.
	ResourceGrant *Document `json:"resource_grant,omitempty"`
}

// Reasons are those of all refusals.
func (d Denied) Reasons() (all []Reason) {
	for _, e := range d.Errors {
		why := e.Denial()
		r := Reason{
			Reason: why.Cause, Policy: why.Policy, PolicyARN: why.PolicyARN, Principal: why.Principal, Action: why.Action,
			Resource: why.Resource, Advice: d.Advice(e),
		}
		if lacking, ok := ResourceGrant(d.Region, e); ok {
			r.ResourceGrant = &lacking
		}
		all = append(all, r)
	}
	return all
}
