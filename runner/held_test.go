package runner

import (
	"slices"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
)

func TestHeldRefs_RoundTrip(t *testing.T) {
	t.Parallel()
	a, b, c := statelatch.Ref{Bucket: "b", Key: "a key, with; signs"}, statelatch.Ref{Bucket: "b", Key: "k"}, statelatch.Ref{Bucket: "c", Key: "k"}
	none := []string{"HOME=/home/x"}
	outer := WithHeld(none, a, b)
	inner := WithHeld(outer, c)
	for _, tc := range []struct {
		env  []string
		want []statelatch.Ref
	}{
		{none, nil},
		{outer, []statelatch.Ref{a, b}},
		{inner, []statelatch.Ref{a, b, c}},
		{[]string{heldVariable + "=nonsense\ns3://b/k\n"}, []statelatch.Ref{b}},
	} {
		got := HeldRefs(func(key string) string { return lookup(tc.env, key) })
		if !slices.Equal(got, tc.want) {
			t.Errorf("%q: got %v, want %v", tc.env, got, tc.want)
		}
	}
	if got := strings.Join(none, ","); got != "HOME=/home/x" {
		t.Errorf("the argument was changed to %q", got)
	}
}
