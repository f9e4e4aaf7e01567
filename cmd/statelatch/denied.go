package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/policy"
)

// denied are the store's refusals in err, and the configuration that met them.
func (o targetOptions) denied(ctx context.Context, term terminal, err error) policy.Denied {
	d := policy.DeniedIn(err)
	if len(d.Errors) > 0 {
		_, backend, _ := o.scope(ctx, term) // what cannot be read leaves the environment's region
		d.Region, d.Owner, d.Unset = regionOf(backend, term), o.owner, backend.S3.Unset()
	}
	return d
}

// deniedAdvice explains refusals, shows the policy that allows what was denied where one can, and names the command
// that prints what a whole role needs.
func (o targetOptions) deniedAdvice(ctx context.Context, term terminal, err error) string {
	var b strings.Builder
	var told []string
	tell := func(format, text string) {
		if text != "" && !slices.Contains(told, text) {
			told = append(told, text)
			fmt.Fprintf(&b, format, text)
		}
	}
	d := o.denied(ctx, term, err)
	for _, r := range d.Reasons() {
		tell("\n%s\n", statelatch.Printable(r.Advice))
		if r.ResourceGrant != nil {
			tell("What its policy lacks:\n\n%s", string(r.ResourceGrant.JSON()))
		}
	}
	if doc, ok := d.Grant(); ok {
		fmt.Fprintf(&b, "\nThis IAM policy grants what was denied:\n\n%s\n", doc.JSON())
		fmt.Fprintf(&b, "All that a role needs:  %s\n", o.again(term).command("policy -role "+string(d.Role())))
	}
	return b.String()
}
