package fleet_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/lock"
)

// A renewal is no change, a verdict is; what cannot be read for a moment is not released.
func TestChanges(t *testing.T) {
	t.Parallel()
	of := func(key, id string, state evidence.State) fleet.Lock {
		return fleet.Lock{
			Held:    lock.Held{Ref: statelatch.Ref{Bucket: "b", Key: key}, ETag: fmt.Sprint(state, id), Info: statelatch.LockInfo{ID: id, Who: "w"}},
			Verdict: evidence.Verdict{State: state, Proof: "p"}, Kind: fleet.KindManaged,
		}
	}
	unread := fleet.Lock{Held: lock.Held{Ref: statelatch.Ref{Bucket: "b", Key: "k"}}, Kind: fleet.KindUnreadable, Unread: statelatch.ErrThrottled}
	item := of("k", "1", evidence.Unknown)
	item.ETag, item.Kind = "", fleet.KindItem
	live, stale := of("k", "1", evidence.Live), of("k", "1", evidence.Stale)
	aged := live
	aged.Since, aged.Age = time.Unix(1, 0), 2*time.Hour
	for name, tc := range map[string]struct {
		before, now []fleet.Lock
		unlisted    bool
		only        fleet.Selection
		want        string
	}{
		"same":           {[]fleet.Lock{live}, []fleet.Lock{live}, false, fleet.Selection{}, ""},
		"taken":          {nil, []fleet.Lock{live}, false, fleet.Selection{}, "taken"},
		"released":       {[]fleet.Lock{live}, nil, false, fleet.Selection{}, "released"},
		"another holder": {[]fleet.Lock{live}, []fleet.Lock{of("k", "2", evidence.Live)}, false, fleet.Selection{}, "taken released"},
		"stale now":      {[]fleet.Lock{live}, []fleet.Lock{stale}, false, fleet.Selection{}, "verdict"},
		"stale only":     {[]fleet.Lock{live}, []fleet.Lock{stale, of("o", "2", evidence.Live)}, false, fleet.Selection{Stale: true}, "verdict"},
		"unread":         {[]fleet.Lock{live}, []fleet.Lock{unread}, false, fleet.Selection{}, ""},
		"unlisted":       {[]fleet.Lock{item}, nil, true, fleet.Selection{}, ""},
		"item released":  {[]fleet.Lock{item}, nil, false, fleet.Selection{}, "released"},
		"one half left":  {[]fleet.Lock{live}, []fleet.Lock{item}, false, fleet.Selection{}, "verdict"},
		"new, unread":    {nil, []fleet.Lock{unread}, false, fleet.Selection{}, "taken"},
		"read at last":   {[]fleet.Lock{unread}, []fleet.Lock{live}, false, fleet.Selection{}, "taken"},
		"old enough now": {[]fleet.Lock{live}, []fleet.Lock{aged}, false, fleet.Selection{OlderThan: time.Hour}, "held"},
	} {
		var got []string
		for _, c := range fleet.Changes(tc.before, fleet.StillThere(tc.before, tc.now, tc.unlisted), false, tc.only) {
			got = append(got, string(c.Kind))
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}
