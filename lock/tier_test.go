package lock_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/lock"
)

func TestTier_Text(t *testing.T) {
	t.Parallel()
	for tier, word := range map[lock.Tier]string{
		lock.TierUnknown: "unknown", lock.TierFull: "full", lock.TierCAS: "cas", lock.TierNone: "none",
	} {
		text, err := json.Marshal(tier)
		if err != nil || string(text) != `"`+word+`"` {
			t.Errorf("got %s, %v, want %q", text, err, word)
		}
		got := lock.TierNone
		if err := json.Unmarshal(text, &got); err != nil || got != tier {
			t.Errorf("%s: got %v, %v, want %v", text, got, err, tier)
		}
	}
	var got lock.Tier
	if err := got.UnmarshalText([]byte("perfect")); !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("got %v, want %v", err, statelatch.ErrInvalid)
	}
}
