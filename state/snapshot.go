package state

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/lazyre"
)

// Snapshot describes an older version of a state, kept at "<key>.history/<name>" because the bucket keeps none itself.
// It is the version's bytes as they were, with its [Provenance]. Wherever a version ID is asked for, its name is good,
// too.
type Snapshot struct {
	Written time.Time // the store's Last-Modified of the version itself, whole seconds; zero: it was not told
	Serial  uint64    // 0 also for a body that was not readable
	MD5     string    // of the bytes, in hex
}

const snapshotTime = "20060102T150405Z"

var snapshotName = lazyre.New(`^([0-9]{8}T[0-9]{6}Z)-([0-9]{20})-([0-9a-f]{32})$`)

// Name is the last segment of the snapshot's key. Names sort by time, then by serial; one version has one name, so that
// it is never kept twice.
func (s Snapshot) Name() string {
	return fmt.Sprintf("%s-%020d-%s", s.Written.UTC().Format(snapshotTime), s.Serial, s.MD5)
}

// ParseSnapshot reads what Name writes. No version ID of a store looks like it.
func ParseSnapshot(name string) (s Snapshot, ok bool) {
	m := snapshotName.FindStringSubmatch(name)
	if m == nil {
		return Snapshot{}, false
	}
	written, err := time.Parse(snapshotTime, m[1])
	serial, numErr := strconv.ParseUint(m[2], 10, 64)
	return Snapshot{Written: written, Serial: serial, MD5: m[3]}, err == nil && numErr == nil
}

// keptByBucket reports whether v stays readable when it is replaced.
func (v Version) keptByBucket() bool { return bucket.KeptVersion(v.VersionID) }

// Snapshot keeps v, which is the current state as it was read, as a snapshot, if s makes any, and the bucket keeps no
// versions, and there is something to keep. It is a HEAD if that was done before, else a HEAD, a GET and a PUT.
//
//	nil                    there is a snapshot of v, or it needs none
//	ErrPreconditionFailed  [ChangedError]: v is not what is stored any more
//	other                  it may not be kept; never ErrAmbiguous, because nothing but the snapshot may be there
func (s *Store) Snapshot(ctx context.Context, v Version) error { return s.snapshot(ctx, v, nil) }

// snapshot is Snapshot of who has the body, unless that is nil.
func (s *Store) snapshot(ctx context.Context, v Version, body *kept) error {
	if err := s.serves(v.Ref); err != nil {
		return err
	}
	if !s.Snapshots || !v.Exists || v.keptByBucket() || v.IsVoid() {
		return nil
	}
	err := s.keep(ctx, v, body)
	if err == nil || errors.Is(err, statelatch.ErrPreconditionFailed) {
		return err
	}
	return &snapshotError{v.Ref, err}
}

func (s *Store) keep(ctx context.Context, v Version, body *kept) (err error) {
	place := v.snapshotRef()
	var head bucket.Object
	err = retry(ctx, func() (err error) {
		head, err = s.Bucket.Head(ctx, place.Key, bucket.ReadOptions{})
		return err
	})
	switch {
	case err == nil && head.Size == v.Size:
		return nil
	// Without the right to list, what is not there is denied.
	case err != nil && !objectMissing(err) && !errors.Is(err, statelatch.ErrDenied):
		return err
	}
	now := v
	if body == nil {
		body = s.newSpool()
		defer func() { err = errors.Join(err, body.Close()) }()
		now, err = s.load(ctx, v.Ref, body)
		switch {
		case err != nil:
			return err
		case !now.Exists || !v.SameContent(now):
			return &ChangedError{Base: v, Now: now}
		}
	}
	out := s.put(now.snapshotRef(), body, now, now.sameBytes).settle(ctx, bucket.IfAbsent)
	switch out.end {
	case done:
		return nil
	case refused, superseded:
		if out.damage != nil {
			return out.damage
		}
		return fmt.Errorf("%w: something else is at %s", statelatch.ErrInvalid, now.snapshotRef())
	default:
		return out.err
	}
}

// snapshotRef is where v is kept.
func (v Version) snapshotRef() statelatch.Ref {
	name := Snapshot{Written: v.LastModified, Serial: v.Header.Serial, MD5: v.MD5}.Name()
	return statelatch.Ref{Bucket: v.Ref.Bucket, Key: v.Ref.HistoryPrefix() + name}
}

// snapshotError is a snapshot that could not be made. The state is as it was, whatever became of the snapshot, so it
// does not match ErrAmbiguous.
type snapshotError struct {
	ref statelatch.Ref
	err error
}

func (e *snapshotError) Error() string {
	return fmt.Sprintf("the bucket keeps no versions, and a snapshot of the state of %s could not be put under %s: %v",
		e.ref, e.ref.HistoryPrefix(), e.err)
}

func (e *snapshotError) Unwrap() error {
	if errors.Is(e.err, statelatch.ErrAmbiguous) {
		return nil
	}
	return e.err
}
