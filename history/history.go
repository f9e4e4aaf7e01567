// Package history lists the versions of exactly one state: those that the bucket keeps, and the snapshots that package
// state makes where it keeps none.
//
// What it guarantees: no version of another key is among them, none that the store lists is left out, and what is wrong
// between two neighbours (a lost update, a serial that steps back) is marked. What it does not: a listing is no
// snapshot of the bucket; and who stored a version is what its writer recorded with it, which whoever may write a state
// can forge, or else who held the lock then, which need not be the same, because engines can be told not to lock.
package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
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

	compared bool // with the version before it
}

// Holder is the lock under which a version was stored.
type Holder struct {
	statelatch.LockInfo                 // ID, Operation, Who, ...
	Run                 *statelatch.Run // the CI job, of a lock of Statelatch; nil: none is known
}

// Options are the terms of [List] and [All].
type Options struct {
	Limit int // how many of the newest; 0: all
	// OnProgress, if not nil, is told how many headers of how many were read, by one goroutine at a time. All knows of
	// no more than it has listed.
	OnProgress func(read, of int)

	workers int // headers read at a time; 0: as many as usual
}

// List returns the versions of ref, newest first, delete markers among them. It lists the versions and the snapshots,
// reads the headers of as many as it returns, and bodies where the headers do not tell what happened. An empty list is
// no error: there is no state, and never was.
func List(ctx context.Context, s *state.Store, ref statelatch.Ref, opts Options) ([]Entry, error) {
	listed, err := collect(merged(ctx, s, ref, opts.Limit))
	if err != nil {
		return nil, err
	}
	return collect(completed(ctx, s, ref, opts, values(listed), len(listed)))
}

// All is List, but that each entry comes as soon as it is known: versions are listed and headers read some way ahead of
// the loop, and no more once it ends. It ends with the first error.
func All(ctx context.Context, s *state.Store, ref statelatch.Ref, opts Options) iter.Seq2[Entry, error] {
	return completed(ctx, s, ref, opts, merged(ctx, s, ref, opts.Limit), 0)
}

func collect(entries iter.Seq2[Entry, error]) ([]Entry, error) {
	var all []Entry
	for e, err := range entries {
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

func values(entries []Entry) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// completed reads the headers of entries and compares neighbours. Of is how many there are, 0: not known. Those that
// were purged meanwhile are left out.
func completed(
	ctx context.Context, s *state.Store, ref statelatch.Ref, opts Options, entries iter.Seq2[Entry, error], of int,
) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		found := 0
		var newer *Entry
		for e, err := range readHeaders(ctx, s, ref, opts, entries, of) {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if newer != nil {
				kind, changed, err := s.Compare(ctx, &e.Version, &newer.Version)
				if err != nil {
					yield(Entry{}, fmt.Errorf("compare versions of %s: %w", ref, err))
					return
				}
				newer.Anomaly, newer.Unchanged, newer.compared = kind, !changed, true
				if found++; !yield(*newer, nil) || found == opts.Limit {
					return
				}
			}
			newer = &e
		}
		if newer != nil {
			yield(*newer, nil)
		}
	}
}

// merged are the versions and snapshots of ref, newest first, without headers: limit of them, 0: all, and one more,
// which tells what the last changed.
func merged(ctx context.Context, s *state.Store, ref statelatch.Ref, limit int) iter.Seq2[Entry, error] {
	if limit > 0 {
		limit++
	}
	return func(yield func(Entry, error) bool) {
		if err := ref.ValidateIn(s.Bucket.Name()); err != nil {
			yield(Entry{}, err)
			return
		}
		next, stop := iter.Pull2(listed(ctx, s, ref, limit))
		defer stop()
		first, err, ok := next()
		if err != nil {
			yield(Entry{}, fmt.Errorf("list versions of %s: %w", ref, err))
			return
		}
		var versions []Entry
		if ok {
			versions = []Entry{first}
		}
		kept, err := snapshots(ctx, s, ref)
		if errors.Is(err, statelatch.ErrDenied) && !statelatch.BadCredentials(err) {
			e, listErr := first, error(nil)
			for ok && listErr == nil && e.VersionID == "" {
				if e, listErr, ok = next(); ok && listErr == nil {
					versions = append(versions, e)
				}
			}
			if ok && listErr == nil {
				err = nil // where there are versions, who may list these alone lacks nothing
			}
		}
		if err != nil {
			yield(Entry{}, fmt.Errorf("list snapshots of %s: %w", ref, err))
			return
		}
		n := 0
		send := func(e Entry, err error) bool {
			n++
			if err != nil {
				err = fmt.Errorf("list versions of %s: %w", ref, err)
			}
			return yield(e, err) && err == nil && n != limit
		}
		merge(versions, next, kept, send)
	}
}

// listed are the versions that the bucket lists of exactly ref, newest first, without headers; limit 0 is all.
func listed(ctx context.Context, s *state.Store, ref statelatch.Ref, limit int) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		now := func() ([]Entry, bool) {
			now, err := current(ctx, s, ref)
			if err != nil {
				yield(Entry{}, err)
			}
			return now, err == nil
		}
		// Other keys with that prefix, the lock's for one, all sort behind.
		for obj, err := range s.Bucket.ListVersions(ctx, bucket.ListOptions{Prefix: ref.Key, PageSize: limit}) {
			var entries []Entry
			ok := true
			switch {
			case errors.Is(err, statelatch.ErrUnsupported):
				if entries, ok = now(); ok && len(entries) > 0 {
					yield(entries[0], nil)
				}
				return
			case err != nil:
				yield(Entry{}, err)
				return
			case obj.Key != ref.Key:
				return
			case obj.IsLatest && !obj.DeleteMarker && !bucket.KeptVersion(obj.VersionID):
				// It may be replaced without a trace, and stores differ in whether they can be asked for it by that ID.
				if entries, ok = now(); len(entries) > 0 && entries[0].ETag == obj.ETag {
					entries[0].LastModified = obj.LastModified // comparable with other listings: of the lock
				}
			default:
				entries = []Entry{{
					Version: state.Version{
						Ref: ref, Exists: !obj.DeleteMarker, ETag: obj.ETag, VersionID: obj.VersionID, Size: obj.Size,
						LastModified: obj.LastModified,
					},
					Current: obj.IsLatest,
				}}
			}
			if !ok || len(entries) > 0 && !yield(entries[0], nil) {
				return
			}
		}
	}
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

// merge sends versions, those in the list first, with snapshots among them, by time, and leaves out what is there
// twice. The order of either is kept. It ends when send says so.
func merge(
	first []Entry, next func() (Entry, error, bool), kept []Entry, send func(Entry, error) bool,
) {
	for i := 0; ; i++ {
		var v Entry
		if i < len(first) {
			v = first[i]
		} else {
			var err error
			var ok bool
			if v, err, ok = next(); err != nil {
				send(Entry{}, err)
				return
			} else if !ok {
				break
			}
		}
		for i > 0 && len(kept) > 0 && kept[0].LastModified.After(v.LastModified) {
			if !send(kept[0], nil) {
				return
			}
			kept = kept[1:]
		}
		if !send(v, nil) {
			return
		}
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
	for _, k := range kept {
		if !send(k, nil) {
			return
		}
	}
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
func readHeaders(
	ctx context.Context, s *state.Store, ref statelatch.Ref, opts Options, entries iter.Seq2[Entry, error], of int,
) iter.Seq2[Entry, error] {
	type headed struct {
		Entry
		purged bool
	}
	var mu sync.Mutex
	read, listed := 0, 0
	counted := func(yield func(Entry, error) bool) {
		for e, err := range entries {
			mu.Lock()
			listed++
			mu.Unlock()
			if !yield(e, err) {
				return
			}
		}
	}
	all := fleet.Map(ctx, cmp.Or(opts.workers, workers), counted, func(ctx context.Context, e Entry) (headed, error) {
		var err error
		if e.Exists && e.MD5 == "" {
			err = s.ReadHeader(ctx, &e.Version)
			if err == nil && e.Header.Serial == 0 {
				err = s.ReadWhole(ctx, &e.Version) // that alone tells a state from what stands for none
			}
		}
		purged := errors.Is(err, statelatch.ErrNotFound)
		if err != nil && !purged {
			return headed{}, fmt.Errorf("read versions of %s: %w", ref, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if read++; opts.OnProgress != nil {
			opts.OnProgress(read, cmp.Or(of, listed))
		}
		return headed{e, purged}, nil
	})
	return func(yield func(Entry, error) bool) {
		for h, err := range all {
			if !h.purged && !yield(h.Entry, err) {
				return
			}
		}
	}
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
