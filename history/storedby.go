package history

import "cmp"

// Basis is how it is known who stored a version.
type Basis string

// The bases. Neither is proof: whoever may write a state may record anything with it, and engines can be told not to
// lock.
const (
	Recorded  Basis = "recorded"  // its writer recorded it with the version, as [state.Provenance] tells
	Concluded Basis = "concluded" // from who held the lock then
)

// StoredBy is who stored a version, as far as is known; docs/JSON.md has it.
type StoredBy struct {
	Basis     Basis  `json:"basis"`               // how it is known
	Who       string `json:"who,omitempty"`       // user@host, or the actor of a CI job
	Operation string `json:"operation,omitempty"` // of the lock under which it was stored
	LockID    string `json:"lock_id,omitempty"`   // of that lock
	RunURL    string `json:"run_url,omitempty"`   // of the CI job
}

// StoredBy is what is recorded with e, else what [Attribute] found out; nil: nothing is known. What is recorded with a
// touch is of the content, and not of who touched it.
func (e Entry) StoredBy() *StoredBy {
	p, h := e.Provenance, e.Holder
	if p.IsZero() || e.Unchanged {
		if h == nil {
			return nil
		}
		by := &StoredBy{Basis: Concluded, Who: h.Who, Operation: h.Operation, LockID: h.ID}
		if h.Run != nil {
			by.RunURL = h.Run.URL
		}
		return by
	}
	by := &StoredBy{Basis: Recorded, Who: p.Principal, LockID: p.LockID, RunURL: p.Run}
	if h != nil && p.LockID != "" && p.Under(h.LockInfo) {
		by.Who, by.Operation = cmp.Or(by.Who, h.Who), h.Operation
	}
	return by
}

// Disputed reports whether another held the lock when e was stored than is recorded with it. Either may be wrong: a
// record that is forged, a write that came late, a writer or a holder that did not lock. It is told of entries of
// [List] and [All] alone, and not of the oldest: any other may be a touch, by whoever held the lock then.
func (e Entry) Disputed() bool {
	if !e.compared || e.Unchanged || e.Provenance.IsZero() || e.Holder == nil {
		return false
	}
	return !e.Provenance.Under(e.Holder.LockInfo)
}
