package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/policy"
)

// denials are the store's refusals in an error, and the configuration that met them.
type denials struct {
	all     []*statelatch.StoreError
	region  string
	objects s3bucket.ObjectOptions
	owner   string
}

func (o targetOptions) denied(ctx context.Context, term terminal, err error) denials {
	d := denials{all: slices.DeleteFunc(storeErrors(err),
		func(e *statelatch.StoreError) bool { return !errors.Is(e.Kind, statelatch.ErrDenied) })}
	if len(d.all) > 0 {
		_, backend, _ := o.scope(ctx, term) // what cannot be read leaves the environment's region
		d.region, d.objects, d.owner = regionOf(backend, term), backend.S3.ObjectOptions, o.owner
	}
	return d
}

// grant is the policy that would allow what was denied; false if none can.
func (d denials) grant() (policy.Document, bool) { return policy.Grant(d.region, d.all...) }

// advice says why e was denied, and what else may be the cause.
func (d denials) advice(e *statelatch.StoreError) string {
	advice, why := policy.Advice(e), e.Denial()
	bucketSays := why.Cause == statelatch.DenialExplicit && why.Policy == statelatch.PolicyResource &&
		strings.HasPrefix(why.Action, "s3:")
	silent := why.Cause == statelatch.DenialUnknown && strings.HasPrefix(e.Action, "s3:")
	if (bucketSays || silent) && e.Op == "put" {
		if lacks := d.lacks(); len(lacks) > 0 {
			advice += " A bucket's policy may demand that objects are written with " + strings.Join(lacks, ", ") +
				", which the configuration does not set."
		}
	}
	if d.owner != "" && (silent || bucketSays) {
		advice += fmt.Sprintf(" A bucket of another account than %s is denied, too (-expected-bucket-owner).", d.owner)
	}
	return advice
}

// lacks are the arguments that a bucket's policy may demand and that are not set.
func (d denials) lacks() []string {
	var lacks []string
	if !d.objects.Encrypt {
		lacks = append(lacks, "encrypt")
	}
	if d.objects.KMSKeyID == "" && d.objects.SSECustomerKey == "" {
		lacks = append(lacks, "kms_key_id")
	}
	if d.objects.ACL == "" {
		lacks = append(lacks, "acl")
	}
	return lacks
}

func (d denials) json() []deniedJSON {
	var all []deniedJSON
	for _, e := range d.all {
		why := e.Denial()
		out := deniedJSON{
			Reason: why.Cause, Policy: why.Policy, PolicyARN: why.PolicyARN, Principal: why.Principal, Action: why.Action,
			Resource: why.Resource,
			Advice:   d.advice(e),
		}
		if lacking, ok := policy.ResourceGrant(d.region, e); ok {
			out.ResourceGrant = &lacking
		}
		all = append(all, out)
	}
	return all
}

// deniedAdvice explains refusals, shows the policy that allows what was denied where one can, and names the command
// that prints what a whole role needs.
func (o targetOptions) deniedAdvice(ctx context.Context, term terminal, err error) string {
	d := o.denied(ctx, term, err)
	var b strings.Builder
	var told []string
	for _, e := range d.all {
		if advice := d.advice(e); advice != "" && !slices.Contains(told, advice) {
			told = append(told, advice)
			fmt.Fprintf(&b, "\n%s\n", statelatch.Printable(advice))
		}
		if lacking, ok := policy.ResourceGrant(d.region, e); ok && !slices.Contains(told, string(lacking.JSON())) {
			told = append(told, string(lacking.JSON()))
			fmt.Fprintf(&b, "What its policy lacks:\n\n%s", lacking.JSON())
		}
	}
	if doc, ok := d.grant(); ok {
		fmt.Fprintf(&b, "\nThis IAM policy grants what was denied:\n\n%s\n", doc.JSON())
		fmt.Fprintf(&b, "All that a role needs:  %s\n", o.again(term).command("policy -role "+roleFor(d.all)))
	}
	return b.String()
}

// roleFor is the role whose commands make such calls.
func roleFor(denied []*statelatch.StoreError) string {
	for _, se := range denied {
		switch {
		case se.Action == "s3:DeleteObjectVersion":
			return "admin"
		case strings.Contains(se.Action, "Bucket") && !strings.HasPrefix(se.Action, "s3:List"),
			strings.Contains(se.Action, "Configuration"):
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
