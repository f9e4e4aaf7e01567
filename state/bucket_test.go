package state_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/state"
)

// What is done in one bucket must not be believed of another: a store is asked about its own alone, whichever way.
func TestStore_AnotherBucket(t *testing.T) {
	t.Parallel()
	other := statelatch.Ref{Bucket: "other", Key: ref.Key}
	v := state.Version{Ref: other, Exists: true, Size: 1}
	r := newRig()
	r.Snapshots = true
	r.seed(t, body(4, lineage, "a"))
	held := holding()
	held.ref = other
	for name, do := range map[string]func(context.Context) error{
		"Open":         func(ctx context.Context) error { _, _, err := r.Open(ctx, other); return err },
		"OpenVersion":  func(ctx context.Context) error { _, _, err := r.OpenVersion(ctx, other, "v000001"); return err },
		"Read":         func(ctx context.Context) error { _, err := r.Read(ctx, other); return err },
		"Mark":         func(ctx context.Context) error { _, err := r.Mark(ctx, other); return err },
		"Since":        func(ctx context.Context) error { _, err := r.Since(ctx, v); return err },
		"ReadHeader":   func(ctx context.Context) error { w := v; return r.ReadHeader(ctx, &w) },
		"ReadWhole":    func(ctx context.Context) error { w := v; return r.ReadWhole(ctx, &w) },
		"Touch":        func(ctx context.Context) error { return r.Touch(ctx, other) },
		"New":          func(ctx context.Context) error { _, err := r.New(ctx, other, state.Provenance{}); return err },
		"EnsureExists": func(ctx context.Context) error { return r.EnsureExists(ctx, other, state.Provenance{}) },
		"SaveRescue": func(ctx context.Context) error {
			_, err := r.SaveRescue(ctx, other, "run", strings.NewReader("x"), state.Provenance{})
			return err
		},
		"Snapshot":     func(ctx context.Context) error { return r.Snapshot(ctx, v) },
		"ReadDigest":   func(ctx context.Context) error { _, err := r.ReadDigest(ctx, other); return err },
		"FixDigest":    func(ctx context.Context) error { _, err := r.FixDigest(ctx, held, state.DigestReading{}); return err },
		"Begin":        func(ctx context.Context) error { _, err := r.Begin(ctx, held); return err },
		"BeginRestore": func(ctx context.Context) error { _, err := r.BeginRestore(ctx, held, v); return err },
	} {
		if err := do(t.Context()); !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), `"other"`) {
			t.Errorf("%s: got %v, want ErrInvalid that names the bucket", name, err)
		}
	}
	if n := len(r.bucket.Requests()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	if _, err := (&state.Store{}).Read(t.Context(), ref); !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("without a bucket: got %v, want ErrInvalid", err)
	}
}
