package runner

import (
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/identity"
)

// heldVariable names the states whose locks the processes around this one hold, one a line, and those processes as
// [identity.Client] does: a ref has no control characters and begins like none of them.
const heldVariable = "STATELATCH_HELD"

// HeldRefs returns the refs that an outer run holds, so that an inner one can refuse to wait for itself. What is no ref
// is skipped.
func HeldRefs(getenv func(string) string) []statelatch.Ref {
	var refs []statelatch.Ref
	for line := range strings.Lines(getenv(heldVariable)) {
		if ref, err := statelatch.ParseRef(strings.TrimSuffix(line, "\n")); err == nil {
			refs = append(refs, ref)
		}
	}
	return refs
}

// WithHeld returns env with this process and refs added to what an outer run holds.
func WithHeld(env []string, refs ...statelatch.Ref) []string {
	env = slices.Clone(env)
	lines := []string{}
	if outer := lookup(env, heldVariable); outer != "" {
		lines = append(lines, outer)
	}
	lines = append(lines, identity.Client())
	for _, ref := range refs {
		lines = append(lines, ref.String())
	}
	return set(env, heldVariable, strings.Join(lines, "\n"))
}
