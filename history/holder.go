package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/state"
)

// lockVersion is a lock object as it was from one of its writes to the next, or to its delete, by the store's clock.
type lockVersion struct {
	versionID string
	from, to  time.Time // to is zero for the current one
	holder    *Holder   // nil: not read, or not to be understood
	wanted    bool
}

// maxCandidates is how many locks may come into question for one version: with more, nobody is named anyway.
const maxCandidates = 4

// tenures are versions of a lock in the order of time, to be asked who held it at one.
type tenures struct {
	locks  []*lockVersion // the latest to begin first
	until  []time.Time    // when the last of locks[i:] ends; zero: it has not
	looked int            // how many were looked at, for a test
}

func newTenures(locks []*lockVersion) *tenures {
	// As listed they are in this order, unless the store's clock was set back.
	slices.SortStableFunc(locks, func(a, b *lockVersion) int { return b.from.Compare(a.from) })
	t := &tenures{locks: locks, until: make([]time.Time, len(locks))}
	for i := len(locks) - 1; i >= 0; i-- {
		t.until[i] = locks[i].to
		if last := i + 1; last < len(locks) && !t.until[i].IsZero() && !ends(t.until[last], t.until[i]) {
			t.until[i] = t.until[last]
		}
	}
	return t
}

// ends reports whether what lasts until to is over at t.
func ends(to, t time.Time) bool { return !to.IsZero() && t.After(to) }

// at are the locks that may have been held at that time, nil if they are too many to tell.
func (t *tenures) at(when time.Time) (found []*lockVersion) {
	first, _ := slices.BinarySearchFunc(t.locks, when, func(l *lockVersion, when time.Time) int {
		t.looked++
		if l.from.After(when) {
			return -1
		}
		return 1
	})
	for i := first; i < len(t.locks) && !ends(t.until[i], when); i++ {
		t.looked++
		if !ends(t.locks[i].to, when) {
			found = append(found, t.locks[i])
		}
		if len(found) > maxCandidates {
			return nil
		}
	}
	return found
}

// Attribute finds out who held the lock of ref when each of entries, which List, Find or Place returned, was stored.
// All times are the store's, as its listings tell them: many to the second, so two holders may come into question. Then
// nobody is named. Nobody is named either for snapshots, and where the versions of the lock cannot be read: that is no
// error. It costs a listing and one small GET a holder.
func Attribute(ctx context.Context, s *state.Store, ref statelatch.Ref, entries []Entry) error {
	if err := ref.In(s.Bucket.Name()); err != nil {
		return err
	}
	var oldest time.Time
	for _, e := range entries {
		if e.attributable() && (oldest.IsZero() || e.LastModified.Before(oldest)) {
			oldest = e.LastModified
		}
	}
	if oldest.IsZero() {
		return nil
	}
	locks, err := lockVersions(ctx, s.Bucket, ref, oldest)
	if err != nil {
		return unlessUnreadable(ref, err)
	}
	candidates := make([][]*lockVersion, len(entries))
	var wanted []*lockVersion
	known := newTenures(locks)
	for i, e := range entries {
		if e.attributable() {
			candidates[i] = known.at(e.LastModified)
		}
		for _, l := range candidates[i] {
			if !l.wanted {
				l.wanted = true
				wanted = append(wanted, l)
			}
		}
	}
	err = fleet.Each(ctx, workers, wanted,
		func(ctx context.Context, l *lockVersion) error { return l.read(ctx, s.Bucket, ref) })
	if err != nil {
		return unlessUnreadable(ref, err)
	}
	for i := range entries {
		entries[i].Holder = agreed(candidates[i])
	}
	return nil
}

// attributable reports whether it is known when e was stored, and that it was with a lock that the bucket may know.
func (e Entry) attributable() bool { return !e.Snapshot && !e.LastModified.IsZero() }

func unlessUnreadable(ref statelatch.Ref, err error) error {
	if errors.Is(err, statelatch.ErrUnsupported) || errors.Is(err, statelatch.ErrDenied) &&
		!statelatch.BadCredentials(err) {
		return nil
	}
	return fmt.Errorf("who stored %s: %w", ref, err)
}

// lockVersions are those of the lock since the last write of it before since, newest first.
func lockVersions(ctx context.Context, b bucket.Bucket, ref statelatch.Ref, since time.Time) ([]*lockVersion, error) {
	var locks []*lockVersion
	var next time.Time
	for obj, err := range b.ListVersions(ctx, bucket.ListOptions{Prefix: ref.LockKey()}) {
		if err != nil {
			return nil, err
		}
		if obj.Key != ref.LockKey() {
			break
		}
		if !obj.DeleteMarker {
			locks = append(locks, &lockVersion{versionID: obj.VersionID, from: obj.LastModified, to: next})
		}
		if obj.LastModified.Before(since) {
			break
		}
		next = obj.LastModified
	}
	return locks, nil
}

// read fills in the holder. A lock that is gone meanwhile, or is none, has none.
func (l *lockVersion) read(ctx context.Context, b bucket.Bucket, ref statelatch.Ref) error {
	_, body, err := b.Get(ctx, ref.LockKey(), bucket.ReadOptions{VersionID: l.versionID})
	if errors.Is(err, statelatch.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(body, statelatch.MaxLockInfo+1))
	if err = errors.Join(err, body.Close()); err != nil {
		return err
	}
	info, err := statelatch.ParseLockInfo(data)
	if err != nil {
		return nil //nolint:nilerr // an unreadable lock names nobody
	}
	l.holder = &Holder{LockInfo: info}
	if m := statelatch.ParseManaged(data); m != nil {
		l.holder.Run = m.Run
	}
	return nil
}

// agreed is the holder whom all candidates name.
func agreed(candidates []*lockVersion) *Holder {
	var h *Holder
	for _, l := range candidates {
		if l.holder == nil || h != nil && h.ID != l.holder.ID {
			return nil
		}
		h = l.holder
	}
	return h
}
