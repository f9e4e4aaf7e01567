package state_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/state"
)

// altering is a store behind something that changes the last byte but one of bodies. It finds out and says so, as a
// driver does.
type altering struct {
	bucket.Bucket
	reads, writes bool
	silent        bool // its answers to writes say nothing of the bytes
}

func alter(data []byte) []byte {
	data = bytes.Clone(data)
	if len(data) > 1 {
		data[len(data)-2] ^= 1
	}
	return data
}

func (a *altering) Get(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
	obj, body, err := a.Bucket.Get(ctx, key, opts)
	if err != nil || !a.reads {
		return obj, body, err
	}
	data, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		return obj, nil, err
	}
	broken := &statelatch.StoreError{Kind: statelatch.ErrBroken, Op: "get", Bucket: a.Name(), Key: key, Err: statelatch.ErrAltered}
	return obj, io.NopCloser(io.MultiReader(bytes.NewReader(alter(data)[:len(data)-1]), failing{broken})), nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func (a *altering) Put(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return bucket.Object{}, err
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return bucket.Object{}, err
	}
	if a.writes {
		data = alter(data)
	}
	obj, err := a.Bucket.Put(ctx, key, bytes.NewReader(data), opts)
	switch {
	case err != nil:
		return obj, err
	case a.silent:
		obj.Confirmed = false
	case a.writes:
		return bucket.Object{}, &statelatch.StoreError{Kind: statelatch.ErrAmbiguous, Op: "put", Bucket: a.Name(), Key: key, Err: statelatch.ErrAltered}
	}
	return obj, nil
}

// Bytes that were changed on the way down are never used: what is stored stays as it is.
func TestStore_Altered_Reads(t *testing.T) {
	t.Parallel()
	old := body(4, lineage, "a b")
	for name, do := range map[string]func(context.Context, *rig) error{
		"open":    func(ctx context.Context, r *rig) error { _, _, err := r.Open(ctx, ref); return err },
		"read":    func(ctx context.Context, r *rig) error { _, err := r.Read(ctx, ref); return err },
		"version": func(ctx context.Context, r *rig) error { _, _, err := r.OpenVersion(ctx, ref, ""); return err },
		"mark":    func(ctx context.Context, r *rig) error { _, err := r.Mark(ctx, ref); return err },
		"fence":   func(ctx context.Context, r *rig) error { return r.Touch(ctx, ref) },
		"header": func(ctx context.Context, r *rig) error {
			return r.ReadHeader(ctx, &state.Version{Ref: ref, Exists: true})
		},
		"begin": func(ctx context.Context, r *rig) error { _, err := r.Begin(ctx, holding()); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				r.seed(t, old)
				r.Bucket = &altering{Bucket: r.bucket, reads: true}
				if err := do(t.Context(), r); !errors.Is(err, statelatch.ErrAltered) || !errors.Is(err, statelatch.ErrBroken) {
					t.Errorf("got %v, want ErrAltered", err)
				}
				if got := r.stored(t); got != old {
					t.Errorf("it stored %q", got)
				}
			})
		})
	}
}

// What the store has is not what was sent. It is never reported as written, nor as not written, and no second try
// damages more.
func TestSession_Write_Altered(t *testing.T) {
	t.Parallel()
	for name, silent := range map[string]bool{"the answer says so": false, "the answer says nothing": true} {
		for _, base := range []string{absent, body(4, lineage, "a")} {
			t.Run(fmt.Sprintf("%s, %.8s", name, base), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := newRig()
					r.seed(t, base)
					lock := holding()
					x := r.begin(t, lock)
					r.Bucket = &altering{Bucket: r.bucket, writes: true, silent: silent}
					_, err := x.Write(t.Context(), strings.NewReader(body(5, lineage, "a b")), opts())
					if !errors.Is(err, statelatch.ErrAltered) || !errors.Is(err, statelatch.ErrAmbiguous) {
						t.Errorf("got %v, want ErrAltered and ErrAmbiguous", err)
					}
					if n := r.bucket.Count("put", ref.Key); n != 1 {
						t.Errorf("%d writes, want one", n)
					}
					if _, err := x.Write(t.Context(), strings.NewReader(body(6, lineage, "a b")), opts()); err == nil {
						t.Error("the session goes on")
					}
				})
			})
		}
	}
}

// The fence stops where it did damage, and a rescue does not go from name to name.
func TestStore_Altered_Writes(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(context.Context, *rig) error{
		"fence": func(ctx context.Context, r *rig) error { return r.Touch(ctx, ref) },
		"rescue": func(ctx context.Context, r *rig) error {
			_, err := r.SaveRescue(ctx, ref, "run", strings.NewReader(body(5, lineage, "a")), state.Provenance{})
			return err
		},
		"snapshot": func(ctx context.Context, r *rig) error {
			r.Snapshots = true
			v, err := r.Read(ctx, ref)
			if err == nil {
				v.VersionID = ""
				err = r.Snapshot(ctx, v)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				r.seed(t, body(4, lineage, "a b"))
				r.Bucket = &altering{Bucket: r.bucket, writes: true}
				if err := do(t.Context(), r); err == nil || !strings.Contains(err.Error(), "changed on the way") {
					t.Errorf("got %v, want that bytes were changed", err)
				}
				if n := r.bucket.Count("put", ""); n != 1 {
					t.Errorf("%d writes, want one", n)
				}
			})
		})
	}
}
