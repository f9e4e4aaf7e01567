package runner

import (
	"slices"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
)

func TestHeldStates_RoundTrip(t *testing.T) {
	t.Parallel()
	a := HeldState{statelatch.Ref{Bucket: "b", Key: "a key, with; signs"}, "aws"}
	b := HeldState{statelatch.Ref{Bucket: "b", Key: "k"}, "https://s3.example.com"}
	c := HeldState{statelatch.Ref{Bucket: "b", Key: "k"}, "aws"}
	none := []string{"HOME=/home/x"}
	outer := WithHeld(none, a, b)
	inner := WithHeld(outer, c)
	for _, tc := range []struct {
		env  []string
		want []HeldState
	}{
		{none, nil},
		{outer, []HeldState{a, b}},
		{inner, []HeldState{a, b, c}},
		{[]string{heldVariable + "=nonsense\ns3://b/k\tnonsense\ns3://b/k\taws"}, []HeldState{{b.Ref, "nonsense"}, c}},
	} {
		got := HeldStates(func(key string) string { return lookup(tc.env, key) })
		if !slices.Equal(got, tc.want) {
			t.Errorf("%q: got %v, want %v", tc.env, got, tc.want)
		}
	}
	if got := strings.Join(none, ","); got != "HOME=/home/x" {
		t.Errorf("the argument was changed to %q", got)
	}
}
