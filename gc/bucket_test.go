package gc

import (
	"errors"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/membucket"
)

// A plan is of one bucket, and is not carried out in another.
func TestCollect_AnotherBucket(t *testing.T) {
	t.Parallel()
	b := membucket.New("b", membucket.Options{Versioned: true})
	other := statelatch.Scope{Bucket: "other"}
	_, findErr := Find(t.Context(), b, other, Options{})
	_, collectErr := Collect(t.Context(), b, Plan{Bucket: "other", Keys: []Key{{Key: "k.tflock"}}}, 1, nil)
	_, removeErr := Collect(t.Context(), b, Plan{Bucket: "other", Snapshots: Snapshots{{Key: "k", etag: `"e"`}}}, 1, nil)
	for name, err := range map[string]error{"Find": findErr, "Collect": collectErr, "of snapshots": removeErr} {
		if !errors.Is(err, statelatch.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
}
