package lock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// Held is a lock as it was seen, or as we wrote it.
type Held struct {
	Ref  statelatch.Ref      // of the state
	Info statelatch.LockInfo // zero if Err is not nil
	// Managed is what a lock of ours says beyond Info; nil for a plain lock.
	Managed *statelatch.Managed
	ETag    string // empty if there is no lock object, only an item in the table
	// VersionID is what the store said when Acquire won the lock at its first answer; else, and where the bucket keeps no
	// versions, it is empty.
	VersionID string
	// Since is the store's Last-Modified and Age the store's own difference to the moment of its reply: no client's
	// clock and no "Created" is involved (B7). Both are zero for a lock that Acquire returned, and where the store does
	// not tell. A lease is rewritten at every renewal, so that both are then about the last one.
	Since time.Time
	Age   time.Duration // see Since
	// Err says why the lock could not be understood. It is held all the same.
	Err error
	// Item is the item in the table; nil if there is none or no table.
	Item *Item

	body []byte
}

// Item is the lock item of a state in the DynamoDB table.
type Item struct {
	Table string              // its name
	Raw   string              // the attribute Info as it is stored
	Info  statelatch.LockInfo // zero if Err is not nil
	Err   error               // why Raw could not be understood
}

// LockedError is the refusal that h causes.
func (h Held) LockedError() *statelatch.LockedError {
	e := &statelatch.LockedError{Ref: h.Ref, Holder: h.Info, Managed: h.Managed, ETag: h.ETag, Err: h.Err}
	if h.ETag == "" && h.Item != nil {
		e.Table = h.Item.Table
	}
	return e
}

// String names the lock, not its bytes.
func (h Held) String() string {
	switch {
	case h.Err != nil:
		return fmt.Sprintf("lock of %s: unreadable: %v", h.Ref, h.Err)
	case h.ETag == "" && h.Item == nil:
		return fmt.Sprintf("lock of %s: none", h.Ref)
	}
	return fmt.Sprintf("lock of %s: held by %s (ID %s)", h.Ref, h.Info.Who, h.Info.ID)
}

// Holder names who holds h, for people, in one line that is safe to print.
func (h Held) Holder() string {
	if h.Err != nil {
		return "an unreadable lock object"
	}
	return statelatch.Printable(fmt.Sprintf("%s (%s, ID %s)", h.Info.Who, h.Info.Operation, h.Info.ID))
}

// Named reports whether id names h: its ID, or, if it could not be understood, its ETag, or for an item in the table
// its text.
func (h Held) Named(id string) bool {
	switch {
	case h.Err == nil:
		return h.Info.ID == id
	case h.ETag == "" && h.Item != nil:
		return h.Item.Raw == id && id != ""
	}
	return h.ETag == id && id != ""
}

// key tells h from other holders' locks; a renewal is no change.
func (h Held) key() string {
	switch {
	case h.Item != nil:
		return h.Item.Raw
	case h.Managed != nil && h.Err == nil:
		return h.Info.ID
	}
	return h.ETag
}

// owns reports whether the item is h's: its own, or that of the holder whose lock it took over and whose item it had
// not replaced yet.
func (h Held) owns(item Item) bool {
	return item.Err == nil && (item.Info.ID == h.Info.ID || h.Managed != nil && item.Info.ID == h.Managed.PrevID)
}

// Leased reports whether h has a lease.
func (h Held) Leased() bool { return h.Managed != nil && h.Managed.TTL > 0 }

// Guarded reports whether all that the holder of h writes is on a condition: it has a lease, or writes through a
// gateway. So it can be fenced, and must be when its lock is ended by somebody else.
func (h Held) Guarded() bool { return h.Leased() || h.Managed != nil && h.Managed.Through != nil }

// rewritable reports whether others than who took h may rewrite it for its holder, as gateways do.
func (h Held) rewritable() bool { return h.Managed != nil && h.Managed.Through != nil }

// ExpiresIn is how long it is until the Expires of h has passed, by the store's clock; zero or less: it has. Not
// promised is one that promises no such thing, or whose age the store does not tell.
func (h Held) ExpiresIn() (left time.Duration, promised bool) {
	if h.Err != nil || h.Since.IsZero() || h.Managed == nil || h.Leased() && !h.Stays() || h.Managed.Expires == 0 {
		return 0, false
	}
	return h.Managed.TTL + h.Managed.Expires - h.Age, true // with a lease it is counted from where that ends
}

// Stays reports whether h is held also when its lease has run out.
func (h Held) Stays() bool { return h.Managed != nil && h.Managed.Stays }

// withItem adds the item in the table to what was read of the lock object.
func (m *Manager) withItem(ctx context.Context, h Held) (Held, error) {
	if m.Table == nil {
		return h, nil
	}
	item, err := m.readItem(ctx, h.Ref)
	switch {
	case errors.Is(err, statelatch.ErrNotFound):
		return h, nil
	case err != nil:
		return Held{}, err
	}
	if h.ETag == "" {
		h.Info, h.Err = item.Info, item.Err
	}
	h.Item = &item
	return h, nil
}

// read is Status of the lock object alone.
func (m *Manager) read(ctx context.Context, ref statelatch.Ref) (Held, error) {
	obj, body, err := bucket.ReadAll(ctx, m.Bucket, ref.LockKey(), statelatch.MaxLockInfo)
	switch {
	case errors.Is(err, statelatch.ErrNotFound) && !errors.Is(err, statelatch.ErrNoBucket):
		return Held{}, fmt.Errorf("%w: %s", statelatch.ErrNotLocked, ref)
	case err != nil && obj.ETag == "":
		return Held{}, fmt.Errorf("read lock: %w", err)
	}
	h := Held{Ref: ref, ETag: obj.ETag, Since: obj.LastModified, Err: err, body: body}
	if !obj.LastModified.IsZero() && obj.Date.After(obj.LastModified) {
		h.Age = obj.Date.Sub(obj.LastModified)
	}
	if err == nil {
		h.Info, h.Err = statelatch.ParseLockInfo(body)
		h.Managed = statelatch.ParseManaged(body)
	}
	return h, nil
}

// isAny reports whether the lock object is exactly one of bodies (R2).
func (h Held) isAny(bodies ...[]byte) bool {
	for _, b := range bodies {
		if b != nil && bytes.Equal(b, h.body) {
			return true
		}
	}
	return false
}
