package gc

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/state"
)

// Snapshot is an older version of a state, kept where the bucket keeps none (package state).
type Snapshot struct {
	Key  string // its own
	etag string
	sum  Sum
}

// MarshalText is the key.
func (s Snapshot) MarshalText() ([]byte, error) { return []byte(s.Key), nil }

// Snapshots are those that may go, by key.
type Snapshots []Snapshot

// Total adds them up.
func (s Snapshots) Total() Sum {
	var t Sum
	for _, one := range s {
		t.add(one.sum)
	}
	return t
}

// findSnapshots lists all snapshots of each state but the newest, of which opts.KeepSnapshots stay: at least one,
// because the newest may be the only copy of what is being overwritten. OlderThan and Ours do not count.
func findSnapshots(ctx context.Context, b bucket.Bucket, scope statelatch.Scope, opts Options) (Snapshots, error) {
	byState := map[string]Snapshots{}
	err := fleet.Walk(ctx, b, scope, fleet.WalkOptions{
		WorkspacePrefix: opts.WorkspacePrefix, Workers: opts.Workers, OnProgress: opts.OnProgress,
	}, func(obj bucket.Object) error {
		kind, of := statelatch.ClassifyKey(obj.Key)
		if kind != statelatch.KeySnapshot || obj.ETag == "" {
			return nil
		}
		if _, ok := state.ParseSnapshot(obj.Key[len(statelatch.Ref{Key: of}.HistoryPrefix()):]); !ok {
			return nil // somebody else's
		}
		sum := Sum{Versions: 1, Bytes: obj.Size, Oldest: obj.LastModified, Newest: obj.LastModified}
		byState[of] = append(byState[of], Snapshot{Key: obj.Key, etag: obj.ETag, sum: sum})
		return nil
	})
	byKey := func(a, b Snapshot) int { return cmp.Compare(a.Key, b.Key) } // the names of one state sort by age
	var old Snapshots
	for _, all := range byState {
		slices.SortFunc(all, byKey)
		old = append(old, all[:max(0, len(all)-max(1, opts.KeepSnapshots))]...)
	}
	slices.SortFunc(old, byKey)
	return old, err
}

// collectSnapshots is Collect of snapshots, each only if it is still what was listed. A store without conditional
// deletes refuses with ErrUnsupported.
func collectSnapshots(
	ctx context.Context, b bucket.Bucket, old Snapshots, workers int, onProgress func(Result),
) (Result, error) {
	c := &collector{bucket: b, onProgress: onProgress}
	err := fleet.Each(ctx, workers, old, func(ctx context.Context, s Snapshot) error {
		err := retry(ctx, func() error {
			_, err := b.Delete(ctx, s.Key, bucket.DeleteOptions{If: bucket.IfMatch(s.etag)})
			return err
		})
		switch {
		case err == nil:
			c.note(func(r *Result) { r.Removed.add(s.sum); r.Keys++ })
		case errors.Is(err, statelatch.ErrNotFound), errors.Is(err, statelatch.ErrPreconditionFailed): // gone, or another one
			c.note(func(r *Result) { r.Keys++ })
		case refused(err):
			c.note(func(r *Result) { r.Denied = append(r.Denied, err); r.Keys++ })
		default:
			return err
		}
		return nil
	})
	if err == nil && c.result.Removed.Versions == 0 && len(c.result.Denied) > 0 {
		err = c.result.Denied[0]
	}
	return c.result, err
}
