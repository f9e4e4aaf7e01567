// Package gc removes what locking leaves behind in a bucket that keeps versions: old versions and delete markers of
// lock objects. Every tenure leaves two of them, and one more for every renewal of its lease.
//
// What it guarantees: no key reads differently after a removal, whatever fails and whoever else is at work, because
// removing a version lets the one below come back to life, and so
//   - only what a newer version or delete marker has superseded is removed, by its version ID, the oldest first, and
//     behind the first failure nothing more of that key;
//   - a delete marker that is the newest goes only once it is seen to be all that is left of its key;
//   - the version "null" stays, because a bucket whose versioning is suspended writes new locks under that ID.
//
// Nothing goes that the plan did not show, no key but those of lock objects is touched, and nothing newer than asked
// for goes, by the store's own clock. What it does not guarantee: the same against somebody who removes newer versions
// of a lock by their IDs at the same moment. And who held a lock at the time is no longer known afterwards: package
// history cannot tell any more who wrote the states of that time.
package gc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/fleet"
)

// Options say what may go.
type Options struct {
	// OlderThan is how long ago it was superseded at least, by the store's clock. A delete marker that is the newest
	// was stored that long ago. 0: whatever its age; the store need not be asked for its time then.
	OlderThan time.Duration
	// Ours keeps everything but locks of Statelatch, and what is newer than one that is kept. It reads every lock that
	// may go.
	Ours bool
	// WorkspacePrefix is where the keys of named workspaces begin, as in [fleet.WalkOptions].
	WorkspacePrefix string
	Workers         int                  // requests under way at once; 0 means 16
	OnProgress      func(fleet.Progress) // called by Find now and then; nil: not called
	// KeepSnapshots, if not 0, plans the removal of all snapshots of a state but the newest so many, where the bucket
	// keeps no versions. Elsewhere removing one would only hide it.
	KeepSnapshots int
}

// Plan is what may go.
type Plan struct {
	Bucket string // that it was found in
	// Versioned: the bucket keeps versions. If it does not, a lock that was released leaves nothing.
	Versioned bool
	// Before is the store's time that everything planned was superseded before. Zero: any, or there is nothing to
	// judge.
	Before time.Time
	Keys   []Key // by key
	// Snapshots are those that may go, in a bucket that keeps no versions.
	Snapshots Snapshots
	// Kept counts versions and delete markers of lock objects that stay, those that are current locks among them.
	Kept int
}

// Key is the part of a plan that is about one lock object.
type Key struct {
	Key string `json:"key"` // of the lock object
	Sum
	// last is the version ID of the newest one that may go. Everything older may.
	last string
}

// Sum adds up versions.
type Sum struct {
	Versions int       `json:"versions"`        // without markers
	Markers  int       `json:"delete_markers"`  // of these keys
	Bytes    int64     `json:"bytes"`           // of the versions
	Oldest   time.Time `json:"oldest,omitzero"` // when the first of them was stored; zero if there is none
	Newest   time.Time `json:"newest,omitzero"` // when the last of them was stored; zero if there is none
}

func (s *Sum) add(o Sum) {
	s.Versions += o.Versions
	s.Markers += o.Markers
	s.Bytes += o.Bytes
	if s.Oldest.IsZero() || !o.Oldest.IsZero() && o.Oldest.Before(s.Oldest) {
		s.Oldest = o.Oldest
	}
	if o.Newest.After(s.Newest) {
		s.Newest = o.Newest
	}
}

// Total adds up the plan.
func (p Plan) Total() Sum {
	var s Sum
	for _, k := range p.Keys {
		s.add(k.Sum)
	}
	s.add(p.Snapshots.Total())
	return s
}

// Empty reports whether there is nothing to remove.
func (p Plan) Empty() bool { return len(p.Keys)+len(p.Snapshots) == 0 }

// Find lists what may go in scope. It changes nothing. A bucket that keeps no versions is no error: see [Plan].
func Find(ctx context.Context, b bucket.Bucket, scope statelatch.Scope, opts Options) (Plan, error) {
	p, err := find(ctx, b, scope, opts)
	if err == nil && opts.KeepSnapshots > 0 && !p.Versioned {
		p.Snapshots, err = findSnapshots(ctx, b, scope, opts)
	}
	return p, err
}

// find is Find of locks.
func find(ctx context.Context, b bucket.Bucket, scope statelatch.Scope, opts Options) (Plan, error) {
	p := Plan{Bucket: b.Name()}
	chains := map[string]chain{}
	var other bucket.Object // that is no lock
	err := fleet.Walk(ctx, b, scope, fleet.WalkOptions{
		WorkspacePrefix: opts.WorkspacePrefix, Workers: opts.Workers, Versions: true, OnProgress: opts.OnProgress,
	}, func(obj bucket.Object) error {
		p.Versioned = p.Versioned || bucket.KeptVersion(obj.VersionID)
		if kind, _ := statelatch.ClassifyKey(obj.Key); kind == statelatch.KeyLock {
			chains[obj.Key] = append(chains[obj.Key], linkOf(obj))
		} else if obj.IsLatest && !obj.DeleteMarker {
			other = obj
		}
		return nil
	})
	if errors.Is(err, statelatch.ErrUnsupported) {
		return Plan{Bucket: b.Name()}, nil
	}
	if err != nil || !p.Versioned || len(chains) == 0 {
		return p, err
	}
	if opts.OlderThan > 0 {
		now, err := clock(ctx, b, chains, other)
		if err != nil {
			return p, err
		}
		p.Before = now.Add(-opts.OlderThan)
	}

	var mu sync.Mutex
	keys := make([]string, 0, len(chains))
	for key := range chains {
		keys = append(keys, key)
	}
	err = fleet.Each(ctx, opts.Workers, keys, func(ctx context.Context, key string) error {
		all := chains[key]
		old := all.goes(p.Before)
		if opts.Ours {
			var err error
			if old, err = ours(ctx, b, key, old); err != nil {
				return err
			}
		}
		mu.Lock()
		defer mu.Unlock()
		p.Kept += len(all) - len(old)
		if len(old) > 0 {
			p.Keys = append(p.Keys, Key{Key: key, Sum: old.sum(), last: old[0].id})
		}
		return nil
	})
	slices.SortFunc(p.Keys, func(a, b Key) int { return cmp.Compare(a.Key, b.Key) })
	return p, err
}

// clock asks the store for its time, by looking at a lock version; a right to read other objects is needed only where
// there are but delete markers left of the locks. Where there is nothing at all to look at, this machine's clock must
// do: below such markers nothing can come back to life.
func clock(ctx context.Context, b bucket.Bucket, chains map[string]chain, other bucket.Object) (time.Time, error) {
	for key, c := range chains {
		for _, l := range c {
			if l.marker {
				continue
			}
			now, err := askTime(ctx, b, key, l.id)
			if !errors.Is(err, statelatch.ErrNotFound) { // unless it was removed since
				return now, err
			}
		}
	}
	if other.Key != "" {
		now, err := askTime(ctx, b, other.Key, "")
		if !errors.Is(err, statelatch.ErrNotFound) {
			return now, err
		}
	}
	return time.Now(), nil
}

func askTime(ctx context.Context, b bucket.Bucket, key, version string) (time.Time, error) {
	obj, err := b.Head(ctx, key, bucket.ReadOptions{VersionID: version})
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("ask the store for its time: %w", err)
	case obj.Date.IsZero():
		return time.Time{}, fmt.Errorf("%w: it does not tell its time (the Date of its answers), so the age of a "+
			"version is not known", statelatch.ErrUnsupported)
	}
	return obj.Date, nil
}
