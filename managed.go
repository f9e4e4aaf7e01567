package statelatch

import (
	"encoding/json"
	"fmt"
	"time"
)

// MaxPromise bounds what a lock may promise in [Managed]: ten years.
const MaxPromise = 10 * 365 * 24 * time.Hour

// managedVersion is the format of [Managed] that this version writes and understands.
const managedVersion = 1

// Managed is what a lock taken by Statelatch says beyond the engines' seven fields: the value of the
// key "Statelatch", last in the lock object. The engines ignore it.
type Managed struct {
	Nonce string // fresh in every write, so that no two writes of a lock share a body or an ETag (R1)
	Seq   uint64 // 1 in the first write of a tenure, one more in every other

	// TTL is the lease: the holder promises to rewrite the lock more often than this. Zero: no lease. Whole seconds, at
	// most MaxPromise.
	TTL time.Duration
	// Expires is how long after its last write the lock promises to be over, for a lock that nobody
	// renews. Zero: no such promise. Whole seconds, at most MaxPromise.
	Expires time.Duration

	// Stays: a person took the lock to keep it, and a command works under it at present, with TTL for its lease. When
	// that has run out the command is gone, and the lock is held all the same, until it is released or what is left of
	// Expires has passed.
	Stays bool

	Reason string // why it was taken, for people
	Table  string // the DynamoDB table that the holder locks and keeps digests in as well; empty: none
	Client string // what runs: host and process, for people and for looking whether it lives
	Run    *Run   // the CI job that runs it; nil: none was recognised

	// Through says by whom and for whom the lock was taken, if its holder is an engine behind a gateway. All that such
	// a holder writes is on a condition, so that it can be fenced. Nil: the holder took the lock itself.
	Through *Through

	// PrevID and PrevETag name the lock that this one took over; empty: it was free.
	PrevID, PrevETag string
}

// Through says how a lock came about that a gateway took for an engine.
type Through struct {
	Gateway   string `json:"gateway"`           // the gateway's process that wrote the lock last
	Principal string `json:"principal"`         // whose engine it is
	Session   string `json:"session,omitempty"` // the engine's process; empty: any of the principal's
	// Asked is when the engine asked for the lock, by its own clock: what it signed before is of an earlier tenure. Zero:
	// not known.
	Asked time.Time `json:"asked,omitzero"`
	// Taken is when the gateway took it, by the gateway's clock: a session that began before cannot have meant to end it
	// by force.
	Taken time.Time `json:"taken,omitzero"`
}

// Run says which CI job holds a lock. Every field may be empty.
type Run struct {
	System string `json:"system,omitempty"` // "github-actions", "gitlab-ci", ...
	Actor  string `json:"actor,omitempty"`  // who started it
	URL    string `json:"url,omitempty"`    // of the job, for a person to open
	ID     string `json:"id,omitempty"`     // of the job, in the system's own form
	Repo   string `json:"repo,omitempty"`   // as the system names it, such as "owner/name"
	Branch string `json:"branch,omitempty"` // or tag
	Commit string `json:"commit,omitempty"` // its full hash
}

// managedJSON is Managed on the wire.
type managedJSON struct {
	V        int    `json:"v"`
	Nonce    string `json:"nonce"`
	Seq      uint64 `json:"seq"`
	TTL      int64  `json:"ttl_s,omitempty"`
	Expires  int64  `json:"expires_s,omitempty"`
	Stays    bool   `json:"stays,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Table    string `json:"table,omitempty"`
	Client   string `json:"client,omitempty"`
	PrevID   string `json:"prev_id,omitempty"`
	PrevETag string `json:"prev_etag,omitempty"`
	Run      *Run   `json:"run,omitempty"`

	Through *Through `json:"through,omitempty"`
}

// MarshalManaged encodes l as [LockInfo.Marshal] does and adds m as the last key. Durations are rounded up to
// whole seconds: a holder that keeps its own word keeps the rounded one too.
func (l LockInfo) MarshalManaged(m Managed) []byte {
	extra, err := json.Marshal(managedJSON{
		V: managedVersion, Nonce: m.Nonce, Seq: m.Seq, TTL: ceilSeconds(m.TTL), Expires: ceilSeconds(m.Expires),
		Stays:  m.Stays,
		Reason: m.Reason, Table: m.Table, Client: m.Client, PrevID: m.PrevID, PrevETag: m.PrevETag, Run: m.Run,
		Through: m.Through,
	})
	if err != nil {
		panic(fmt.Sprintf("statelatch: a managed lock always encodes: %v", err))
	}
	body := l.Marshal()
	body = append(body[:len(body)-1], `,"Statelatch":`...)
	return append(append(body, extra...), '}')
}

// ParseManaged reads what [LockInfo.MarshalManaged] added to a lock object. It returns nil for a plain lock, and for
// an extension that is malformed or of a later format: what such a lock promises is not known, so it
// promises nothing and is treated as plain (R11). Unlike the engines' fields the key has one spelling
// only, and of several the last counts as a whole: nothing is promised by a mixture.
func ParseManaged(body []byte) *Managed {
	if len(body) > MaxLockInfo {
		return nil
	}
	var keys map[string]json.RawMessage
	if json.Unmarshal(body, &keys) != nil {
		return nil
	}
	var m managedJSON
	if json.Unmarshal(keys["Statelatch"], &m) != nil ||
		m.V != managedVersion || m.Nonce == "" || !validSeconds(m.TTL) || !validSeconds(m.Expires) {
		return nil
	}
	return &Managed{
		Nonce: m.Nonce, Seq: m.Seq, TTL: time.Duration(m.TTL) * time.Second, Expires: time.Duration(m.Expires) * time.Second,
		Stays:  m.Stays && m.TTL > 0,
		Reason: m.Reason, Table: m.Table, Client: m.Client, PrevID: m.PrevID, PrevETag: m.PrevETag, Run: m.Run,
		Through: m.Through,
	}
}

func ceilSeconds(d time.Duration) int64 {
	s := int64(d / time.Second)
	if d%time.Second > 0 {
		s++
	}
	return s
}

func validSeconds(s int64) bool { return s >= 0 && s <= int64(MaxPromise/time.Second) }
