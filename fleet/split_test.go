package fleet

import (
	"math/rand/v2"
	"testing"
	"unicode/utf8"
)

// Whatever a split guesses, its spans together are the rest of the span: in order, without a gap, and cut between characters.
func TestSpan_Split_RandomKeys_NoGapNoOverlap(t *testing.T) {
	t.Parallel()
	parts := []string{"a", "b", "z", "{", "0", "5", "9", "/", "-", "é", "\ud7ff", "\ue000", "\U0010ffff", "\xff", "\xc3", " "}
	for seed := range uint64(50_000) {
		r := rand.New(rand.NewPCG(seed, 7))
		key := func() string {
			k := ""
			for range 1 + r.IntN(4) {
				k += parts[r.IntN(len(parts))]
			}
			return k
		}
		s := span{after: key(), beside: []string{"", key()}[r.IntN(2)], until: []string{"", key()}[r.IntN(2)]}
		first, last, most := key(), key(), r.IntN(5)
		kept, given := s.split(first, last, most)
		if len(given) > most {
			t.Fatalf("%+v.split(%q, %q, %d): %d spans given away", s, first, last, most, len(given))
		}
		end := s.until
		for _, g := range given { // the last of the range comes first
			if g.until != end || g.after <= last || end != "" && g.after >= end || utf8.ValidString(last) && !utf8.ValidString(g.after) {
				t.Fatalf("%+v.split(%q, %q, %d) gives %+v", s, first, last, most, given)
			}
			end = g.after
		}
		if kept.until != end || kept.after != s.after {
			t.Fatalf("%+v.split(%q, %q, %d) keeps %+v of %+v", s, first, last, most, kept, given)
		}
	}
}
