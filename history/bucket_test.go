package history_test

import (
	"errors"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/history"
	"github.com/statelatch/statelatch/state"
)

// Nobody is told of one bucket what is in another.
func TestList_AnotherBucket(t *testing.T) {
	t.Parallel()
	s := &state.Store{Bucket: membucket.New("b", membucket.Options{Versioned: true})}
	other := statelatch.Ref{Bucket: "other", Key: "terraform.tfstate"}
	e := history.Entry{Version: state.Version{Ref: other, Exists: true, VersionID: "v000001"}}
	_, listErr := history.List(t.Context(), s, other, history.Options{})
	_, resolveErr := history.Resolve(t.Context(), s, other, "v000001")
	_, placeErr := history.Place(t.Context(), s, e, e.Version)
	_, _, openErr := history.Open(t.Context(), s, e)
	for name, err := range map[string]error{
		"List": listErr, "Resolve": resolveErr, "Place": placeErr, "Open": openErr, "Attribute": history.Attribute(t.Context(), s, other, []history.Entry{e}),
	} {
		if !errors.Is(err, statelatch.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
}
