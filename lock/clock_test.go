package lock

import (
	"testing"
	"time"
)

// Where there is no clock that runs through suspend, the larger step of the two that there are counts: time never seems to pass too slowly.
func TestStepping_Read(t *testing.T) {
	t.Parallel()
	now := time.Now() // with both readings; Add moves both, Round drops the monotonic one
	wall := now.Round(0)
	for name, tc := range map[string]struct {
		readings []time.Time
		want     time.Duration
	}{
		"both run":                     {[]time.Time{now, now.Add(time.Second), now.Add(3 * time.Second)}, 3 * time.Second},
		"the first counts nothing":     {[]time.Time{now}, 0},
		"the wall clock jumps ahead":   {[]time.Time{wall, wall.Add(time.Hour)}, time.Hour},
		"the wall clock is set back":   {[]time.Time{wall, wall.Add(-time.Hour), wall.Add(-time.Hour + time.Second)}, time.Second},
		"readings in the wrong order":  {[]time.Time{now.Add(time.Second), now, now.Add(time.Second)}, time.Second},
		"set back and forth by people": {[]time.Time{wall, wall.Add(-time.Minute), wall}, time.Minute},
	} {
		var c stepping
		var got time.Duration
		for _, r := range tc.readings {
			got = c.read(r)
		}
		if got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestBootTime_Runs(t *testing.T) {
	t.Parallel()
	for name, clock := range map[string]func() time.Duration{"system": bootTime, "fallback": fallbackBootTime} {
		a := clock()
		b := clock()
		for range 1_000_000 {
			if b = clock(); b > a {
				break
			}
		}
		if b <= a {
			t.Errorf("%s: it stands still at %v", name, a)
		}
	}
}
