package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/pace"
)

const (
	// pollMin and pollMax bound the pause between two looks at a held lock. The engines' grows to 16 s (W8).
	pollMin = 250 * time.Millisecond
	pollMax = time.Second
	// pollAlone is that of one who has seen no hand-over: short holds are not to be expected.
	pollAlone = 700 * time.Millisecond
	// several and crowd are how many hand-overs a waiter has lost when so many must be waiting that not all need to
	// look as often.
	several   = 3
	crowd     = 10
	pollCrowd = 1400 * time.Millisecond
	// pollBehind is the pause of a waiter who is not the first of its process.
	pollBehind = 15 * time.Second
	// transientTries is how many failures in a row that say nothing about the lock
	// are borne once there is no time left to wait.
	transientTries = 5
)

// wait is how long an attempt waits, and for whom.
type wait struct {
	end      time.Time // of Request.Wait
	deadline time.Time // the end, or later while a lease is watched
	holder   *Held     // who was last seen holding the lock; nil: as far as is known, nobody
	told     *string   // of whom OnWait was last told; nil: it was not called
	watch    watch     // of the holder's lease
	watched  string    // the ETag for which the deadline was moved
	failures int       // transient ones in a row

	since    time.Time     // when the holder came, or was first seen
	shortest time.Duration // hold that was seen from its beginning to its end
	lost     int           // hand-overs to others that were seen
}

func (w *wait) over() bool { return !time.Now().Before(w.deadline) }

// watchLease moves the deadline for one lock whose lease, with so much left, is to be seen to run out, and back when
// that shows a sign of life: there is no dead holder to wait for.
func (w *wait) watchLease(h Held, left time.Duration) {
	if w.watched == "" && left > 0 && h.Leased() {
		w.watched = h.ETag
		if until := time.Now().Add(left + pollMax); until.After(w.deadline) {
			w.deadline = until
		}
	}
	if w.watched != "" && w.watched != h.ETag {
		w.deadline = w.end
	}
}

// changed reports whether h is not who it was at the last call.
func (w *wait) changed(h Held) bool {
	key := h.key()
	changed := w.told == nil || *w.told != key
	w.told = &key
	return changed
}

// seen notes that h has the lock.
func (w *wait) seen(h Held) {
	now := time.Now()
	switch {
	case w.since.IsZero():
		w.since = now.Add(-h.Age)
	case w.holder == nil || w.holder.key() != h.key():
		if held := now.Sub(w.since); w.lost > 0 && (w.shortest == 0 || held < w.shortest) {
			w.shortest = held
		}
		w.lost++
		w.since = now
	}
	w.holder = &h
}

// pause is how long to sleep before the next look. Not beyond the deadline, unless it has passed.
func (w *wait) pause(held bool) time.Duration {
	if held && w.failures == 0 {
		return w.cut(w.again())
	}
	return w.cut(retryPace.Pause(w.failures))
}

// again is when to look again at a lock that is held: by how long it has been, how long holds were, and how many seem
// to wait. Of others a waiter knows only the hand-overs that it lost to them.
func (w *wait) again() time.Duration {
	held := time.Since(w.since)
	if w.lost == 0 && held >= pollMin/2 {
		return pollAlone*2/5 + pace.Jitter(pollAlone*4/5)
	}
	d := min(max(held, w.shortest/4, pollMin), pollMax)
	if w.lost >= several {
		d = max(d, w.shortest/20)
	}
	d = d/2 + pace.Jitter(d/2)
	if w.lost >= crowd {
		d = max(d, pace.Jitter(pollCrowd))
	}
	return d
}

// cut is d, or less where the deadline comes before.
func (w *wait) cut(d time.Duration) time.Duration {
	if left := time.Until(w.deadline); left > 0 {
		return min(d, left)
	}
	return d
}

// watch judges whether a lock is over: by evidence, never by age alone (R11).
type watch struct {
	etag  string
	since time.Duration // when it was first seen, on our own clock
}

// see returns how long the lock must still stand as it is to be provably over, 0 if it is now. Not provable is a lock
// that promised nothing: a plain one, or one without lease and expiry.
//
// A lease is over when the object did not change for its whole time on our own clock: no other clock is
// involved, and a holder that keeps to its deadline stopped before. An expiry is counted by the store's clock.
func (w *watch) see(h Held, now time.Duration) (left time.Duration, provable bool) {
	if w.etag != h.ETag {
		w.etag, w.since = h.ETag, now
	}
	switch m := h.Managed; {
	case m == nil || h.Err != nil || h.ETag == "":
		return 0, false
	case m.TTL > 0 && !m.Stays:
		return w.still(h, now), true
	}
	left, provable = h.ExpiresIn()
	return max(left, 0), provable
}

// still is how much of the lease of h, which was seen last, is left.
func (w *watch) still(h Held, now time.Duration) time.Duration {
	return max(w.since+h.Managed.TTL-now, 0)
}

// WaitExpired watches the lock of ref until it is provably over, at most for as long as it promised, and returns it as
// Status does. onWait may be nil. It changes nothing.
//
//	ErrNotLocked   there is none
//	*LockedError   it promised nothing, or its holder renewed it: it is not over
func (m *Manager) WaitExpired(ctx context.Context, ref statelatch.Ref, onWait func(Waiting)) (Held, error) {
	if err := m.admit(ref); err != nil {
		return Held{}, err
	}
	var w watch
	boot := m.clock()
	first, failures := "", 0
	for {
		h, err := m.Status(ctx, ref)
		if err != nil {
			failures++
			if hopeless(err) || errors.Is(err, statelatch.ErrNotLocked) || failures == transientTries {
				return Held{}, err
			}
			if err := pace.Sleep(ctx, retryPace.Pause(failures)); err != nil {
				return Held{}, fmt.Errorf("watch lock %s: %w", ref, err)
			}
			continue
		}
		failures = 0
		left, provable := w.see(h, boot())
		switch {
		case !provable, first != "" && first != h.ETag, left > 0 && !h.Leased():
			return Held{}, h.LockedError()
		case left == 0:
			return h, nil
		}
		if onWait != nil {
			onWait(Waiting{Held: h, Changed: first == "", Left: left, TakeOver: left})
		}
		first = h.ETag
		if err := pace.Sleep(ctx, min(left, pollMax)); err != nil {
			return Held{}, fmt.Errorf("watch lock %s: %w", ref, err)
		}
	}
}
