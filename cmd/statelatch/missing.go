package main

import (
	"context"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/fleet"
)

// maxNear is how many states are offered in place of one that there is not.
const maxNear = 3

// noteMissing finds the targets without a state, with what is near, and tells of them unless JSON is to.
func noteMissing(
	ctx context.Context, term terminal, targets []target, inJSON bool,
) (absent map[statelatch.Ref][]string) {
	absent = map[statelatch.Ref][]string{}
	for _, t := range targets {
		near, missing := fleet.Missing(ctx, t.Bucket, t.ref, maxNear)
		if !missing {
			continue
		}
		if absent[t.ref] = near; !inJSON {
			sayMissing(term, t.ref, near)
		}
	}
	return absent
}

// sayMissing tells of a ref without a state: a key with a typo in it can be locked as well as any, and protects
// nothing.
func sayMissing(term terminal, ref statelatch.Ref, near []string) {
	if len(near) == 0 {
		term.Say("Note: there is no state at %s.\n", statelatch.Printable(ref.String()))
		return
	}
	var names []string
	for _, n := range near {
		names = append(names, "  "+shellQuote(n))
	}
	term.Say("Note: there is no state at %s. Did you mean:\n%s\n", statelatch.Printable(ref.String()),
		strings.Join(names, "\n"))
}
