package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/policy"
)

// grant is the policy that would allow what err says was denied; false if no right is missing, but the credentials are wrong or expired.
func (o targetOptions) grant(ctx context.Context, term terminal, err error) (policy.Document, bool) {
	denied := storeErrors(err)
	if len(denied) == 0 {
		return policy.Document{}, false
	}
	_, backend, _ := o.scope(ctx, term) // what cannot be read leaves the environment's region
	return policy.Grant(regionOf(backend, term), denied...)
}

// deniedAdvice shows that policy, and names the command that prints what a whole role needs.
func (o targetOptions) deniedAdvice(ctx context.Context, term terminal, err error) string {
	doc, ok := o.grant(ctx, term, err)
	if !ok {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nThis IAM policy grants what was denied:\n\n%s\n", doc.JSON())
	if o.owner != "" {
		fmt.Fprintf(&b, "A bucket of another account than %s is denied, too (-expected-bucket-owner).\n", o.owner)
	}
	fmt.Fprintf(&b, "All that a role needs:  %s\n", o.again(term).command("policy -role "+roleFor(storeErrors(err))))
	return b.String()
}

// roleFor is the role whose commands make such calls.
func roleFor(denied []*statelatch.StoreError) string {
	for _, se := range denied {
		switch {
		case se.Action == "s3:DeleteObjectVersion":
			return "admin"
		case strings.Contains(se.Action, "Bucket") && !strings.HasPrefix(se.Action, "s3:List"), strings.Contains(se.Action, "Configuration"):
			return "bucket"
		}
	}
	return "apply"
}

// storeErrors are the store's refusals in err, in the order in which they are told.
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
