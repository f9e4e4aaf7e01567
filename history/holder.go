package history

import (
	"context"
	"errors"
	"fmt"
	"io"
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

func (l *lockVersion) at(t time.Time) bool {
	return !t.Before(l.from) && (l.to.IsZero() || !t.After(l.to))
}

// maxCandidates is how many locks may come into question for one version: with more, nobody is named anyway.
const maxCandidates = 4

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
	for i, e := range entries {
		for _, l := range locks {
			if e.attributable() && l.at(e.LastModified) {
				candidates[i] = append(candidates[i], l)
			}
		}
		if len(candidates[i]) > maxCandidates {
			candidates[i] = nil
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
