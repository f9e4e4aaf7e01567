package runner

import (
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/identity"
)

// heldVariable names the states whose locks the processes around this one hold, one a line with its store behind a tab,
// and those processes as [identity.Client] does: a ref has no control characters and begins like none of them.
const heldVariable = "STATELATCH_HELD"

// HeldState is a state in a store, as s3bucket.Bucket.Store names it.
type HeldState struct {
	Ref   statelatch.Ref // of the state
	Store string         // where its bucket is
}

// HeldStates returns the states that an outer run holds, so that an inner one can refuse to wait for itself. What is no
// state is skipped.
func HeldStates(getenv func(string) string) []HeldState {
	var held []HeldState
	for line := range strings.Lines(getenv(heldVariable)) {
		name, store, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if ref, err := statelatch.ParseRef(name); err == nil {
			held = append(held, HeldState{ref, store})
		}
	}
	return held
}

// WithHeld returns env with this process and states added to what an outer run holds.
func WithHeld(env []string, states ...HeldState) []string {
	env = slices.Clone(env)
	lines := []string{}
	if outer := lookup(env, heldVariable); outer != "" {
		lines = append(lines, outer)
	}
	lines = append(lines, identity.Client())
	for _, s := range states {
		lines = append(lines, s.Ref.String()+"\t"+s.Store)
	}
	return set(env, heldVariable, strings.Join(lines, "\n"))
}
