// Package lock takes, shows and gives up the lock of one state: the object at
// "<key>.tflock" that terraform and tofu honour.
//
// What it guarantees, on a store whose conditions are atomic: a lock that Acquire
// returned is held by nobody else; a reply that was lost never makes Acquire
// refuse its own lock (defect B1); Release and ForceUnlock never remove a
// lock other than the one they were asked about (B5, B6). What it does not: stop a
// holder whose lock was forced away from writing, or an engine from deleting any lock.
package lock

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

const (
	// retryMin and retryMax bound the pause after a transient failure.
	retryMin = 100 * time.Millisecond
	retryMax = 2 * time.Second
	// transientTries is how many failures in a row that say nothing about the lock
	// are borne once there is no time left to wait.
	transientTries = 5
	// releaseBudget bounds a release. It runs on when the caller's context ends (B13).
	releaseBudget = 30 * time.Second
)

// Manager works on the locks of one bucket. The zero values of its optional fields are good.
type Manager struct {
	Bucket bucket.Bucket    // required
	Now    func() time.Time // nil: time.Now
	NewID  func() string    // nil: 16 random bytes as the engines format them
}

// Held is a lock object as it was seen, or as we wrote it.
type Held struct {
	Ref  statelatch.Ref
	Info statelatch.LockInfo // zero if Err is not nil
	ETag string
	// Since is the store's Last-Modified and Age the store's own difference to the moment
	// of its reply: no client's clock and no "Created" is involved (B7). Both are zero for a
	// lock that Acquire returned.
	Since time.Time
	Age   time.Duration
	// Err says why the lock object could not be understood. It is held all the same.
	Err error
}

// LockedError is the refusal that h causes.
func (h Held) LockedError() *statelatch.LockedError {
	return &statelatch.LockedError{Ref: h.Ref, Holder: h.Info, ETag: h.ETag, Err: h.Err}
}

// Named reports whether id names h: its ID, or its ETag if it could not be understood.
func (h Held) Named(id string) bool {
	if h.Err != nil {
		return h.ETag == id
	}
	return h.Info.ID == id
}

// Status reads the lock of ref. ErrNotLocked if there is none. It changes nothing.
func (m *Manager) Status(ctx context.Context, ref statelatch.Ref) (Held, error) {
	h, _, err := m.read(ctx, ref)
	return h, err
}

// read is Status with the body of the lock object.
func (m *Manager) read(ctx context.Context, ref statelatch.Ref) (Held, []byte, error) {
	obj, body, err := bucket.ReadAll(ctx, m.Bucket, ref.LockKey(), statelatch.MaxLockInfo)
	switch {
	case errors.Is(err, statelatch.ErrNotFound) && !bucketMissing(err):
		return Held{}, nil, fmt.Errorf("%w: %s", statelatch.ErrNotLocked, ref)
	case err != nil && obj.ETag == "":
		return Held{}, nil, fmt.Errorf("read lock: %w", err)
	}
	h := Held{Ref: ref, ETag: obj.ETag, Since: obj.LastModified, Err: err}
	if !obj.Date.IsZero() && obj.Date.After(obj.LastModified) {
		h.Age = obj.Date.Sub(obj.LastModified)
	}
	if err == nil {
		h.Info, h.Err = statelatch.ParseLockInfo(body)
	}
	return h, body, nil
}

// bucketMissing tells a bucket that does not exist, where nothing can be locked, from a lock that does not.
func bucketMissing(err error) bool {
	se, ok := errors.AsType[*statelatch.StoreError](err)
	return ok && se.Code == "NoSuchBucket"
}

// Release gives up a lock that Acquire returned. It tries on for 30 s even when ctx ends (B13) and
// never drops the condition (R4, B6).
//
//	nil            the lock is gone and it was ours until then
//	ErrLockLost    it was already gone or somebody else's: work done under it may have overlapped with theirs
//	ErrAmbiguous   it could not be found out within the budget
//	other          it is still there
//
// Weak reports that the store has no conditional delete, so that a lock taken by
// somebody else in between could have been removed (protocol 3.6).
func (m *Manager) Release(ctx context.Context, h Held) (weak bool, err error) {
	return m.remove(context.WithoutCancel(ctx), h)
}

// ForceUnlock removes the lock of ref if id is its ID, or, for a lock object that cannot
// be understood, its ETag. It acts only on the object it compared: the delete carries its
// ETag. It needs neither the state nor the workspace to exist (B17).
//
//	nil            that lock is gone; Held says what it was
//	ErrNotLocked   there is no lock (B16)
//	*LockedError   the lock has another ID, or changed hands meanwhile; nothing was removed
//	ErrAmbiguous   it could not be found out within 30 s, or before the end of ctx
func (m *Manager) ForceUnlock(ctx context.Context, ref statelatch.Ref, id string) (removed Held, weak bool, err error) {
	if err := ref.Validate(); err != nil {
		return Held{}, false, err
	}
	h, err := m.Status(ctx, ref)
	if err != nil {
		return Held{}, false, err
	}
	if !h.Named(id) {
		return Held{}, false, h.LockedError()
	}
	weak, err = m.ForceRelease(ctx, h)
	return h, weak, err
}

// ForceRelease removes exactly the lock h, which Status returned and somebody was shown.
// Errors as for [Manager.ForceUnlock].
func (m *Manager) ForceRelease(ctx context.Context, h Held) (weak bool, err error) {
	weak, err = m.remove(ctx, h)
	if !errors.Is(err, statelatch.ErrLockLost) {
		return weak, err
	}
	now, err := m.Status(ctx, h.Ref)
	if err == nil {
		err = now.LockedError()
	}
	return weak, err
}

// remove deletes exactly the lock object h, trying until the end of releaseBudget or ctx.
func (m *Manager) remove(ctx context.Context, h Held) (weak bool, err error) {
	if h.ETag == "" {
		return false, fmt.Errorf("%w lock of %s: it has no ETag; give what Acquire or Status returned", statelatch.ErrInvalid, h.Ref)
	}
	ctx, cancel := context.WithTimeout(ctx, releaseBudget)
	defer cancel()
	var unknown error // of a delete that may have been executed, or may be yet
	for failures := 0; ; failures++ {
		_, err = m.Bucket.Delete(ctx, h.Ref.LockKey(), bucket.DeleteOptions{If: bucket.IfMatch(h.ETag)})
		switch {
		case err == nil:
			return false, nil
		case errors.Is(err, statelatch.ErrUnsupported):
			return true, m.removeWeakly(ctx, h)
		case errors.Is(err, statelatch.ErrNotFound), errors.Is(err, statelatch.ErrPreconditionFailed):
			if unknown != nil {
				// An earlier delete did it; whatever is there now came later.
				return false, nil
			}
			return false, fmt.Errorf("%w: %s", statelatch.ErrLockLost, h.Ref)
		case errors.Is(err, statelatch.ErrAmbiguous):
			unknown = err
		}
		if errors.Is(err, statelatch.ErrDenied) || sleep(ctx, backoff(failures)) != nil {
			return false, releaseError(h, err, unknown)
		}
	}
}

// removeWeakly releases on a store without conditional delete: one look, one delete that is
// never sent again once it may be on its way, then only looks (protocol 3.6, H2).
func (m *Manager) removeWeakly(ctx context.Context, h Held) error {
	var unknown error // of the delete
	for failures := 0; ; failures++ {
		now, err := m.Status(ctx, h.Ref)
		gone := errors.Is(err, statelatch.ErrNotLocked) || err == nil && now.ETag != h.ETag
		switch {
		case gone && unknown == nil:
			return fmt.Errorf("%w: %s", statelatch.ErrLockLost, h.Ref)
		case gone:
			return nil
		case err == nil && unknown == nil:
			_, err = m.Bucket.Delete(ctx, h.Ref.LockKey(), bucket.DeleteOptions{})
			if err == nil {
				return nil
			}
			if errors.Is(err, statelatch.ErrAmbiguous) {
				unknown = err
			}
		}
		if errors.Is(err, statelatch.ErrDenied) || sleep(ctx, backoff(failures)) != nil {
			return releaseError(h, err, unknown)
		}
	}
}

// releaseError words the end of a release that err stopped. unknown is of a delete whose outcome never became known.
func releaseError(h Held, err, unknown error) error {
	switch {
	case err == nil:
		err = unknown
	case unknown != nil && !errors.Is(err, statelatch.ErrAmbiguous):
		err = fmt.Errorf("%w; before that: %w", err, unknown)
	}
	return fmt.Errorf("release lock %s: %w", h.Ref, err)
}

func (m *Manager) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

func (m *Manager) newID() string {
	if m.NewID != nil {
		return m.NewID()
	}
	return NewID()
}

// NewID returns a fresh lock ID: 16 random bytes as 8-4-4-4-12 hex digits, the engines' form.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
