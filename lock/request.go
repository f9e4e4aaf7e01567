package lock

import (
	"fmt"
	"time"

	"github.com/statelatch/statelatch"
)

// Request says what to put into the lock, and how to get it.
type Request struct {
	ID        string // empty: a fresh one. One that is given must not be in use by another Acquire
	Operation string // what is done under the lock, such as "OperationTypeApply"
	Info      string // free text
	Who       string // takes it, USER@HOST by custom
	Version   string // of the tool

	Reason string          // for people, in the lock object alone
	Client string          // what runs, as package identity names it
	Run    *statelatch.Run // the CI job; nil: none
	// Through is for a gateway, which takes the lock for an engine. It renews no lease: an engine gives no sign of life.
	Through *statelatch.Through

	// TTL is the lease, whole seconds, at least one: the tenure renews the lock from Acquire to Release, and others may
	// take it over once it has stood still for that long. 0: no lease; such a tenure may not write the state.
	TTL time.Duration
	// Expires is after how long a lock without lease may be taken over, by the store's clock. 0: never.
	Expires time.Duration

	// Wait is how long to wait for another holder; 0 means a single attempt.
	Wait time.Duration
	// TakeOver allows to take over a lock whose lease has run out or whose Expires has passed. One lease is watched for
	// as long as it promises, beyond Wait if need be, until its holder shows a sign of life: only our own clock proves
	// that it is gone. Without a TTL of its own Acquire does not swap a lock with a lease, but removes it first, as
	// ForceRelease does.
	TakeOver bool
	// Gone, if not nil, reports whether whoever took a lock with a lease is certainly gone, with all that runs under
	// it, so that TakeOver need not watch it.
	Gone func(Held) bool
	// Under, if not nil, reports whether a lock was taken by the caller to keep it. Acquire then works under it, with a
	// lease, and Release puts it back as a lock without: the ID is the same throughout, and nobody else can enter in
	// between. Only for a request with a TTL.
	Under func(Held) bool
	// FenceAlways fences the state at every acquisition, not only after a takeover: for states whose locks are
	// removed with the engines' force-unlock while our own clients write (R10). It costs one write of the state.
	FenceAlways bool
	// OnWait, if not nil, is called after every look at a lock that somebody else holds, while there is time left.
	OnWait func(Waiting)
	// OnRenewal, if not nil, is called when a renewal of the lease fails the first time, with why, and with nil when one
	// works again. Renewals wait for it, so it must return soon, and it must not end the tenure. A lease that is lost
	// meanwhile is told by Lost alone.
	OnRenewal func(ref statelatch.Ref, failure error)
	// OnTakeOver, if not nil, is called when somebody else's lock that was over was taken over or removed, with what it
	// was and the ID of the lock that this was done for, whatever becomes of that.
	OnTakeOver func(was Held, by string)
}

// Waiting is what Acquire knows while it waits.
type Waiting struct {
	// Held is who holds the lock. If it may not be read, it tells only why, in Err.
	Held Held
	// Changed is set when Held is not who it was at the last call.
	Changed bool
	// Left is how long Acquire will go on.
	Left time.Duration
	// TakeOver is when the lock may be taken over, if its holder shows no sign of life until then; 0 if never.
	TakeOver time.Duration
}

func (m *Manager) check(ref statelatch.Ref, req Request) error {
	if err := m.admit(ref); err != nil {
		return err
	}
	if err := m.proven(); err != nil {
		return err
	}
	switch {
	case req.TTL != 0 && req.TTL < minTTL || req.TTL > statelatch.MaxPromise:
		return fmt.Errorf("%w lease %v: from %v to %v, or 0 for none", statelatch.ErrInvalid, req.TTL, minTTL,
			statelatch.MaxPromise)
	case req.Expires < 0 || req.Expires > statelatch.MaxPromise || req.Expires > 0 && req.TTL > 0:
		return fmt.Errorf("%w expiry %v: from 0 to %v, and a lock with a lease has none", statelatch.ErrInvalid, req.Expires,
			statelatch.MaxPromise)
	case (req.TakeOver || req.FenceAlways || req.Under != nil) && m.Fence == nil:
		return fmt.Errorf("%w lock manager: taking over, and working under a lock, need a Fence", statelatch.ErrInvalid)
	case m.Tier == TierNone:
		return fmt.Errorf("%w: its conditions do not hold; locking on it would protect nothing", statelatch.ErrUnsafeStore)
	case m.Tier == TierCAS && req.TakeOver:
		return fmt.Errorf("%w: without an atomic conditional delete a lock cannot be taken over; "+
			"remove it with force-unlock once its holder is certainly gone", statelatch.ErrUnsafeStore)
	}
	return nil
}
