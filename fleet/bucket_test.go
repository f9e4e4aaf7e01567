package fleet

import (
	"errors"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/lock"
)

// Nobody is told of one bucket what is in another.
func TestWalk_AnotherBucket(t *testing.T) {
	t.Parallel()
	b := membucket.New("b", membucket.Options{Versioned: true})
	other := statelatch.Scope{Bucket: "other"}
	_, locksErr := Locks(t.Context(), &lock.Manager{Bucket: b}, other, LockOptions{})
	_, statesErr := States(t.Context(), b, other, StatesOptions{})
	walkErr := Walk(t.Context(), b, other, WalkOptions{}, func(bucket.Object) error { return nil })
	for name, err := range map[string]error{"Locks": locksErr, "States": statesErr, "Walk": walkErr} {
		if !errors.Is(err, statelatch.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
}
