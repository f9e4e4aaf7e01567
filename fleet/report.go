package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/internal/safejson"
	"github.com/statelatch/statelatch/lock"
)

// Status is whether a state is locked, as docs/JSON.md has it.
type Status struct {
	Ref        string          `json:"ref"`                   // of the state
	Locked     bool            `json:"locked"`                // false: nothing of the lock is set
	Mine       bool            `json:"mine"`                  // by whoever looks
	Lock       json.RawMessage `json:"lock,omitempty"`        // as it is stored; empty: see Unreadable
	Unreadable string          `json:"unreadable,omitempty"`  // why it cannot be understood
	ETag       string          `json:"etag,omitempty"`        // of the lock object
	Since      *time.Time      `json:"since,omitempty"`       // the last write, by the store's clock; nil: it tells none
	AgeSeconds *int64          `json:"age_seconds,omitempty"` // since then
	Note       string          `json:"note,omitempty"`        // why engines do not lock there at all
	Verdict    evidence.State  `json:"verdict,omitempty"`     // on its holder
	Proof      string          `json:"proof,omitempty"`       // of the verdict
	// Missing: there is no state at that key; Near are some that are spelled nearly like it.
	Missing bool     `json:"missing,omitempty"`
	Near    []string `json:"near,omitempty"` // see Missing

	Managed *ManagedStatus `json:"managed,omitempty"` // nil: an engine's
	Table   *ItemStatus    `json:"table,omitempty"`   // nil: there is no item
}

// ManagedStatus is what a managed lock says beyond the engines' fields.
type ManagedStatus struct {
	LeaseSeconds   int64           `json:"lease_seconds,omitempty"`   // 0: none
	ExpiresSeconds int64           `json:"expires_seconds,omitempty"` // 0: never
	Stays          bool            `json:"stays,omitempty"`           // a command works under a lock that is kept
	Writes         uint64          `json:"writes"`                    // of the lock, by its holder
	Reason         string          `json:"reason,omitempty"`          // why it was taken
	Client         string          `json:"client,omitempty"`          // host and process
	TookOverID     string          `json:"took_over_id,omitempty"`    // the last holder's lock
	Run            *statelatch.Run `json:"run,omitempty"`             // the CI job
}

// ItemStatus is the lock's item in the DynamoDB table.
type ItemStatus struct {
	Name       string          `json:"name"`                 // of the table
	Lock       json.RawMessage `json:"lock,omitempty"`       // as it is stored; empty: see Unreadable
	Unreadable string          `json:"unreadable,omitempty"` // why it cannot be understood
}

// StatusOf tells of a lock that is held, of a verdict on it, and whether it is the own one of whoever looks.
func StatusOf(h lock.Held, v evidence.Verdict, mine bool) Status {
	s := Status{Ref: h.Ref.String(), Locked: true, Mine: mine, ETag: h.ETag, Verdict: v.State, Proof: v.Proof}
	s.Lock, s.Unreadable = stored(h.Info, h.Err)
	if !h.Since.IsZero() {
		since, age := h.Since.UTC(), int64(h.Age/time.Second)
		s.Since, s.AgeSeconds = &since, &age
	}
	if m := h.Managed; m != nil {
		s.Managed = &ManagedStatus{
			LeaseSeconds: int64(m.TTL / time.Second), ExpiresSeconds: int64(m.Expires / time.Second), Stays: m.Stays,
			Writes: m.Seq, Reason: m.Reason, Client: m.Client, TookOverID: m.PrevID, Run: m.Run,
		}
	}
	if i := h.Item; i != nil {
		s.Table = &ItemStatus{Name: i.Table}
		s.Table.Lock, s.Table.Unreadable = stored(i.Info, i.Err)
	}
	return s
}

// stored is a lock as it is stored, or why that cannot be understood.
func stored(l statelatch.LockInfo, err error) (json.RawMessage, string) {
	if err != nil {
		return nil, err.Error()
	}
	return l.Marshal(), ""
}

// Row is one lock of a list, as docs/JSON.md has it.
type Row struct {
	Status
	Kind  Kind   `json:"kind"`            // which sort of lock it is
	Half  string `json:"half,omitempty"`  // see [Lock]
	Error string `json:"error,omitempty"` // it, or its item in the table, could not be read
}

// Row tells of l, and whether it is the own one of whoever looks.
func (l Lock) Row(mine bool) Row {
	r := Row{Status: StatusOf(l.Held, l.Verdict, mine), Kind: l.Kind, Half: l.Half}
	if l.Unread != nil {
		r.Status = Status{Ref: l.Ref.String(), Locked: true, Verdict: l.Verdict.State, Proof: l.Verdict.Proof}
	}
	if err := errors.Join(l.Unread, l.ItemUnread); err != nil {
		r.Error = err.Error()
	}
	return r
}

// MarshalJSON implements [json.Marshaler]: a lock of a list as docs/JSON.md has it, of nobody's own.
func (l Lock) MarshalJSON() ([]byte, error) { return safejson.Marshal(l.Row(false)) }

// Totals are how many locks there are of each verdict.
type Totals struct {
	Locks   int `json:"locks"`   // all
	Live    int `json:"live"`    // of these
	Stale   int `json:"stale"`   // of these
	Unknown int `json:"unknown"` // of these
}

// TotalsOf counts locks.
func TotalsOf(locks []Lock) Totals {
	t := Totals{Locks: len(locks)}
	for _, l := range locks {
		switch l.Verdict.State {
		case evidence.Live:
			t.Live++
		case evidence.Stale:
			t.Stale++
		default:
			t.Unknown++
		}
	}
	return t
}

// Selection says which locks are meant. The zero Selection means all.
type Selection struct {
	Mine      func(lock.Held) bool // only those; nil: whosever they are
	Stale     bool                 // only those whose verdict that is
	OlderThan time.Duration        // only those of that age by the store's clock
}

// Has reports whether l is meant. What cannot be read is not hidden but by Mine.
func (s Selection) Has(l Lock) bool {
	switch {
	case s.Mine != nil && !s.Mine(l.Held):
		return false
	case s.Stale && l.Verdict.State != evidence.Stale:
		return false
	case s.OlderThan > 0 && l.Unread == nil && (l.Since.IsZero() || l.Age < s.OlderThan):
		return false
	}
	return true
}

// Missing reports whether there is certainly no state at ref, which is in b, and up to n that are spelled nearly like
// it. What may not be looked at is not missing.
func Missing(ctx context.Context, b bucket.Bucket, ref statelatch.Ref, n int) (near []string, missing bool) {
	_, err := b.Head(ctx, ref.Key, bucket.ReadOptions{})
	if !errors.Is(err, statelatch.ErrNotFound) {
		return nil, false
	}
	keys, err := Near(ctx, b, ref.Key, n)
	if errors.Is(err, statelatch.ErrNotFound) { // it is the bucket that there is not, which what follows tells better
		return nil, false
	}
	for _, key := range keys {
		near = append(near, statelatch.Ref{Bucket: ref.Bucket, Key: key}.String())
	}
	return near, true
}
