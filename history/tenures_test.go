package history

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// tenuresOf are locks that follow on one another, as a listing has them: the newest first, the current one without end.
// Steps are in seconds; a negative one is a clock that is set back.
func tenuresOf(steps []int) (locks []*lockVersion, begins []time.Time) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, step := range steps {
		if at = at.Add(time.Duration(step) * time.Second); i > 0 {
			locks[len(locks)-1].to = at
		}
		locks, begins = append(locks, &lockVersion{from: at}), append(begins, at)
	}
	slices.Reverse(locks)
	return locks, begins
}

// It is who is found by looking at each.
func TestTenures_At_LikeEach(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		steps := make([]int, 1+r.IntN(20))
		for i := range steps {
			steps[i] = r.IntN(8) - 2
		}
		locks, begins := tenuresOf(steps)
		want := slices.Clone(locks)
		known := newTenures(locks)
		for _, when := range append(begins, begins[0].Add(-time.Second), begins[0].Add(time.Hour)) {
			var each []*lockVersion
			for _, l := range want {
				if !when.Before(l.from) && (l.to.IsZero() || !when.After(l.to)) {
					each = append(each, l)
				}
			}
			if len(each) > maxCandidates {
				each = nil
			}
			got := known.at(when)
			byAddress := func(all []*lockVersion) map[*lockVersion]bool {
				set := map[*lockVersion]bool{}
				for _, l := range all {
					set[l] = true
				}
				return set
			}
			if g, w := byAddress(got), byAddress(each); len(g) != len(w) || slices.ContainsFunc(got, func(l *lockVersion) bool { return !w[l] }) {
				t.Fatalf("steps %v, at %v: got %d locks, want %d", steps, when, len(g), len(w))
			}
		}
	}
}

// Twice as many versions and locks are little more than twice the work.
func TestTenures_At_Growth(t *testing.T) {
	t.Parallel()
	looks := func(n int) int {
		locks, begins := tenuresOf(slices.Repeat([]int{2}, n))
		known := newTenures(locks)
		for _, when := range begins {
			if len(known.at(when.Add(time.Second))) != 1 {
				t.Fatalf("got no single lock at %v", when)
			}
		}
		return known.looked
	}
	const n = 30_000
	if half, all := looks(n/2), looks(n); all > half*5/2 || all > n*20 {
		t.Errorf("%d locks were looked at for %d versions, %d for half of them", all, n, half)
	}
}
