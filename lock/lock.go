// Package lock takes, keeps, shows and releases the lock of one state: the object at
// "<key>.tflock" that terraform and tofu honour, and, where one is configured, the item in the
// DynamoDB table beside it.
//
// What it guarantees, on a store whose conditions are atomic: a lock that Acquire
// returned is held by nobody else; a reply that was lost never makes Acquire
// refuse its own lock (B1); Release and ForceUnlock never remove a
// lock other than the one they were asked about (B5, B6); a lock whose holder stopped renewing
// its lease can change hands, and is fenced before the new holder enters (R6). What it does not: stop an
// engine whose lock was forced away from writing, or from deleting any lock.
package lock

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/pace"
)

// The limits that a [Manager] has by default.
const (
	DefaultReleaseTimeout  = 30 * time.Second // of a release with all its tries
	DefaultTakeBackTimeout = 3 * time.Second  // of taking back what was written when Acquire gives up
)

// Tier is what a store's conditions are good for. It is proven by a probe, not by asking once.
type Tier int

// The tiers. Behind the zero value they come best first.
const (
	// TierUnknown: nobody has said. Nothing is locked or removed: on a store that ignores conditions everybody would
	// hold the lock.
	TierUnknown Tier = iota
	// TierFull: create-if-absent, compare-and-swap and conditional delete, all atomic. Set without a probe, it is the
	// caller's word for that.
	TierFull
	// TierCAS: no atomic conditional delete. Releases are weak, and a lease cannot be taken over: the last holder's
	// delete could remove the new holder's lock. A person may force it away all the same, and vouches that the holder
	// is gone.
	TierCAS
	// TierNone: no atomic conditions. Nothing is ever locked.
	TierNone
)

// String is the word of 'statelatch probe' for t.
func (t Tier) String() string {
	switch t {
	case TierFull:
		return "full"
	case TierCAS:
		return "cas"
	case TierNone:
		return "none"
	case TierUnknown:
	}
	return "unknown"
}

// MarshalText is the word of String.
func (t Tier) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText takes any word that String has. What it does not know is an error.
func (t *Tier) UnmarshalText(word []byte) error {
	for tier := TierUnknown; tier <= TierNone; tier++ {
		if tier.String() == string(word) {
			*t = tier
			return nil
		}
	}
	return fmt.Errorf("%w tier %q: want full, cas, none or unknown", statelatch.ErrInvalid, word)
}

// Fence makes every state write that is under way for ref fail from now on: it gives the state a new ETag
// without changing what it says (R6). state.Store.Touch is one.
type Fence func(ctx context.Context, ref statelatch.Ref) error

// Table is the legacy lock table, as package dynamo drives it. Every conditional call is one request, never sent
// again by the driver. Errors are of the store kinds.
type Table interface {
	// Name is the table's, for messages.
	Name() string
	// Lock puts the item of ref if there is none, else ErrPreconditionFailed.
	Lock(ctx context.Context, ref statelatch.Ref, info statelatch.LockInfo) error
	// Read returns the item's Info as it is stored, ErrNotFound if there is no item.
	Read(ctx context.Context, ref statelatch.Ref) (raw string, err error)
	// Replace puts the item if its Info is still raw, else ErrPreconditionFailed.
	Replace(ctx context.Context, ref statelatch.Ref, raw string, info statelatch.LockInfo) error
	// Unlock deletes the item if its Info is still raw, else ErrPreconditionFailed.
	Unlock(ctx context.Context, ref statelatch.Ref, raw string) error
}

// Manager works on the locks of one bucket. It is safe for concurrent use. The zero values of its optional fields are
// good.
type Manager struct {
	Bucket bucket.Bucket // required; refs to another bucket are refused with ErrInvalid
	// Table, if not nil, is locked as well, after the lock object and with the same ID, as engines do that have
	// both configured. Engines that know only one of the two are excluded by either.
	Table Table
	// Tier is required for everything but looking: package probe finds it out.
	Tier Tier
	// Fence is required for taking over and force-unlocking locks with a lease, or of engines behind a gateway.
	Fence Fence
	// ReleaseTimeout is how long a release tries on, lock object and item together, whatever becomes of its context:
	// an interrupted caller leaves no lock behind (B13). 0: 30 s.
	ReleaseTimeout time.Duration
	// TakeBackTimeout is how long an Acquire that ends without the lock goes on, also behind the end of its context, to
	// take back what it may have left: at most that long in all once the context has ended. 0: 3 s; negative: not at
	// all, and then ErrAmbiguous tells more often that a lock may stand.
	TakeBackTimeout time.Duration

	Now func() time.Time // for Created; nil: time.Now
	// Boot: a clock for leases that runs through suspend; nil: the system's, which under testing/synctest is the bubble's
	Boot  func() time.Duration
	NewID func() string // nil: 16 random bytes as the engines format them
}

// serves refuses a ref to another bucket.
func (m *Manager) serves(ref statelatch.Ref) error {
	if m.Bucket == nil {
		return fmt.Errorf("%w lock manager: it has no Bucket", statelatch.ErrInvalid)
	}
	return ref.In(m.Bucket.Name())
}

// admit refuses a ref that m cannot serve, or that addresses no state.
func (m *Manager) admit(ref statelatch.Ref) error {
	if err := ref.Validate(); err != nil {
		return err
	}
	return m.serves(ref)
}

// proven refuses to change anything on a store of which nobody has said what its conditions are good for.
func (m *Manager) proven() error {
	if m.Tier == TierUnknown {
		return fmt.Errorf("%w: %w lock manager: its Tier is not set; set it to what probe.Run finds, or to TierFull where "+
			"you vouch for the store",
			statelatch.ErrUnsafeStore, statelatch.ErrInvalid)
	}
	return nil
}

// Status reads the lock of ref, the lock object and the item. ErrNotLocked if there is none. It changes nothing, and
// needs no Tier.
func (m *Manager) Status(ctx context.Context, ref statelatch.Ref) (Held, error) {
	if err := m.serves(ref); err != nil {
		return Held{}, err
	}
	h, err := m.read(ctx, ref)
	free := errors.Is(err, statelatch.ErrNotLocked)
	if err != nil && !free {
		return Held{}, err
	}
	h.Ref = ref
	if h, itemErr := m.withItem(ctx, h); itemErr != nil || !free || h.Item != nil {
		return h, itemErr
	}
	return Held{}, err
}

func (m *Manager) put(
	ctx context.Context, ref statelatch.Ref, body []byte, cond bucket.Condition,
) (bucket.Object, error) {
	return m.Bucket.Put(ctx, ref.LockKey(), bytes.NewReader(body), bucket.PutOptions{If: cond})
}

func (m *Manager) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

// clock is a clock for the leases of one call or tenure.
func (m *Manager) clock() func() time.Duration {
	if m.Boot != nil {
		return m.Boot
	}
	return new(elapsed).read
}

func (m *Manager) releaseTimeout() time.Duration {
	return cmp.Or(m.ReleaseTimeout, DefaultReleaseTimeout)
}

func (m *Manager) takeBackTimeout() time.Duration {
	return cmp.Or(m.TakeBackTimeout, DefaultTakeBackTimeout)
}

func (m *Manager) newID() string {
	if m.NewID != nil {
		return m.NewID()
	}
	return NewID()
}

// NewID returns a fresh lock ID: 16 random bytes as 8-4-4-4-12 hex digits, the engines' form.
func NewID() string {
	s := pace.HexNonce()
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
