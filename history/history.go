// Package history lists the versions of exactly one state: those that the bucket keeps, and the snapshots that package
// state makes where it keeps none.
//
// What it guarantees: no version of another key is among them, none that the store lists is left out, and what is wrong
// between two neighbours (a lost update, a serial that steps back) is marked. What it does not: a listing is no
// snapshot of the bucket; and who held the lock when a version was stored need not be who stored it, because engines
// can be told not to lock.
package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/state"
)

// workers is how many headers are read at a time.
const workers = 16

// Entry is one version of a state. A delete marker is one that does not exist.
type Entry struct {
	// Version has what a listing and the header tell: MD5 is empty unless the body had to be read. VersionID is the
	// name of a snapshot ([state.ParseSnapshot]), and empty for the current object of a bucket without versions.
	// LastModified is when the version was stored, also that of a snapshot. Err says why its body is no state.
	state.Version

	Current  bool // what engines read now
	Snapshot bool // a copy that was kept beside the state, where the bucket keeps no versions
	// Unchanged: it has the content of the version before it (a touch).
	Unchanged bool
	// Anomaly is what is wrong with it, seen from the version before it.
	Anomaly state.AnomalyKind
	// Holder is who held the lock when it was stored, and so probably stored it. [Attribute] fills it in; nil: nobody,
	// or it cannot be told.
	Holder *Holder
}

// Holder is the lock under which a version was stored.
type Holder struct {
	statelatch.LockInfo                 // ID, Operation, Who, ...
	Run                 *statelatch.Run // the CI job, of a lock of Statelatch; nil: none is known
}

// Options are the terms of one List.
type Options struct {
	Limit int // how many of the newest; 0: all
	// OnProgress, if not nil, is told how many headers of how many were read, by one goroutine at a time.
	OnProgress func(read, of int)
}

// List returns the versions of ref, newest first, delete markers among them. It lists the versions and the snapshots,
// reads the headers of as many as it returns, and bodies where the headers do not tell what happened. An empty list is
// no error: there is no state, and never was.
func List(ctx context.Context, s *state.Store, ref statelatch.Ref, opts Options) ([]Entry, error) {
	if err := ref.ValidateIn(s.Bucket.Name()); err != nil {
		return nil, err
	}
	limit := opts.Limit
	if limit > 0 {
		limit++ // the one before the last tells what the last changed
	}
	entries, err := listed(ctx, s, ref, limit)
	if err != nil {
		return nil, fmt.Errorf("list versions of %s: %w", ref, err)
	}
	kept, err := snapshots(ctx, s, ref)
	if errors.Is(err, statelatch.ErrDenied) && !statelatch.BadCredentials(err) &&
		slices.ContainsFunc(entries, func(e Entry) bool { return e.VersionID != "" }) {
		err = nil // where there are versions, who may list these alone lacks nothing
	}
	if err != nil {
		return nil, fmt.Errorf("list snapshots of %s: %w", ref, err)
	}
	entries = merge(entries, kept)
	if limit > 0 && len(entries) > limit {
		entries = entries[:limit]
	}
	if entries, err = readHeaders(ctx, s, entries, opts.OnProgress); err != nil {
		return nil, fmt.Errorf("read versions of %s: %w", ref, err)
	}
	for i := len(entries) - 2; i >= 0; i-- {
		kind, changed, err := s.Compare(ctx, &entries[i+1].Version, &entries[i].Version)
		if err != nil {
			return nil, fmt.Errorf("compare versions of %s: %w", ref, err)
		}
		entries[i].Anomaly, entries[i].Unchanged = kind, !changed
	}
	if opts.Limit > 0 && len(entries) > opts.Limit {
		entries = entries[:opts.Limit]
	}
	return entries, nil
}

// listed are the versions that the bucket lists of exactly ref, newest first, without headers; limit 0 is all.
func listed(ctx context.Context, s *state.Store, ref statelatch.Ref, limit int) ([]Entry, error) {
	var entries []Entry
	// Other keys with that prefix, the lock's for one, all sort behind.
	for obj, err := range s.Bucket.ListVersions(ctx, bucket.ListOptions{Prefix: ref.Key, PageSize: limit}) {
		if errors.Is(err, statelatch.ErrUnsupported) {
			return current(ctx, s, ref)
		}
		if err != nil {
			return nil, err
		}
		if obj.Key != ref.Key || limit > 0 && len(entries) == limit {
			break
		}
		if obj.IsLatest && !obj.DeleteMarker && (obj.VersionID == "" || obj.VersionID == "null") {
			// It may be replaced without a trace, and stores differ in whether they can be asked for it by that ID.
			now, err := current(ctx, s, ref)
			if err != nil {
				return nil, err
			}
			if len(now) > 0 && now[0].ETag == obj.ETag {
				now[0].LastModified = obj.LastModified // comparable with other listings: of the lock
			}
			entries = append(entries, now...)
			continue
		}
		entries = append(entries, Entry{
			Version: state.Version{
				Ref: ref, Exists: !obj.DeleteMarker, ETag: obj.ETag, VersionID: obj.VersionID, Size: obj.Size,
				LastModified: obj.LastModified,
			},
			Current: obj.IsLatest,
		})
	}
	return entries, nil
}

// current is the state itself as an entry without version, if there is any. It is read whole, to recognise a snapshot
// of it.
func current(ctx context.Context, s *state.Store, ref statelatch.Ref) ([]Entry, error) {
	now, err := s.Mark(ctx, ref)
	if err != nil || !now.Exists {
		return nil, err
	}
	if now.VersionID == "null" {
		now.VersionID = ""
	}
	return []Entry{{Version: now, Current: true}}, nil
}

// snapshots are those of ref, newest first, without headers.
func snapshots(ctx context.Context, s *state.Store, ref statelatch.Ref) ([]Entry, error) {
	var entries []Entry
	for obj, err := range s.Bucket.List(ctx, bucket.ListOptions{Prefix: ref.HistoryPrefix()}) {
		if err != nil {
			return nil, err
		}
		name := obj.Key[len(ref.HistoryPrefix()):]
		if kept, ok := state.ParseSnapshot(name); ok {
			entries = append(entries, Entry{
				Version: state.Version{
					Ref: ref, Exists: true, ETag: obj.ETag, VersionID: name, Size: obj.Size, LastModified: kept.Written,
				},
				Snapshot: true,
			})
		}
	}
	slices.Reverse(entries)
	return entries, nil
}

// merge puts snapshots among versions, by time, and leaves out what is there twice. The order of either is kept.
func merge(versions, kept []Entry) []Entry {
	var all []Entry
	for i, v := range versions {
		for i > 0 && len(kept) > 0 && kept[0].LastModified.After(v.LastModified) {
			all, kept = append(all, kept[0]), kept[1:]
		}
		all = append(all, v)
		for j, k := range kept { // not always the first: several have the same second
			if k.LastModified.Before(v.LastModified.Truncate(time.Second)) {
				break
			}
			if v.isKept(k) {
				copy(kept[1:], kept[:j])
				kept = kept[1:]
				break
			}
		}
	}
	return append(all, kept...)
}

// isKept reports whether snapshot is of this very version.
func (e Entry) isKept(snapshot Entry) bool {
	if !e.Exists || !e.LastModified.Truncate(time.Second).Equal(snapshot.LastModified) {
		return false
	}
	of, _ := state.ParseSnapshot(snapshot.VersionID)
	return e.MD5 == of.MD5 || e.ETag == snapshot.ETag
}

// readHeaders completes entries, and drops what was purged meanwhile.
func readHeaders(ctx context.Context, s *state.Store, entries []Entry, progress func(read, of int)) ([]Entry, error) {
	var unread []*Entry
	for i := range entries {
		if e := &entries[i]; e.Exists && e.MD5 == "" {
			unread = append(unread, e)
		}
	}
	var mu sync.Mutex
	read, purged := 0, map[string]bool{}
	err := fleet.Each(ctx, workers, unread, func(ctx context.Context, e *Entry) error {
		err := s.ReadHeader(ctx, &e.Version)
		if err == nil && e.Header.Serial == 0 {
			err = s.ReadWhole(ctx, &e.Version) // that alone tells a state from what stands for none
		}
		mu.Lock()
		defer mu.Unlock()
		if errors.Is(err, statelatch.ErrNotFound) {
			purged[e.VersionID] = true
			err = nil
		}
		if read++; progress != nil && err == nil {
			progress(read, len(unread))
		}
		return err
	})
	return slices.DeleteFunc(entries, func(e Entry) bool { return purged[e.VersionID] }), err
}

// Open opens the bytes of an entry. The caller closes the body. ErrNotFound: it is a delete marker, or gone;
// ErrConflict: it was the current object, and was replaced since it was listed.
func Open(ctx context.Context, s *state.Store, e Entry) (state.Version, io.ReadSeekCloser, error) {
	v, body, err := s.OpenVersion(ctx, e.Ref, e.VersionID)
	if err == nil && e.ETag != "" && v.ETag != e.ETag {
		err = errors.Join(fmt.Errorf("read state %s: %w: it was replaced since it was listed", e.Ref, statelatch.ErrConflict),
			body.Close())
	}
	return v, body, err
}
