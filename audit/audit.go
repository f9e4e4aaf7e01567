// Package audit keeps a record of what was done to states and their locks: one event an act, appended to a log in which
// every event names the SHA-256 of the one before.
//
// What it guarantees of a log in a bucket ([BucketLog]) or a file ([FileLog]): an event that Append returned nil for is
// stored durably and exactly once, with a number of its own and without a gap, whatever writers race and whatever
// replies are lost; and [Verify] finds an event that was edited, removed, moved, doubled or put in, and a tail that was
// cut off. In a bucket that keeps versions it finds as well what was written again or deleted, with all hashes behind
// it, for as long as the older versions are there; and with [Keys] every event that somebody without the key wrote.
// What it does not: whoever has the key, or none being used may delete versions, can write the log anew; who cuts off
// the newest events, their versions and the head's, hides them. Object Lock, rights (package policy's role audit), or a
// hash kept elsewhere take that power away: see docs/GUARANTEES.md. An event says what our tools did, as whoever ran
// them claims to be; it proves no identity and knows nothing of engines that lock by themselves.
//
// Events hold no state, no lock body and no credential. Text of users is made printable and cut.
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/pace"
)

// version is the format of [Event] that this version writes and understands.
const version = 1

// MaxEvent bounds the bytes of a stored event. What Append makes is far below.
const MaxEvent = 64 << 10

// Action is what was done.
type Action string

// The actions.
const (
	Lock        Action = "lock"         // a lock was taken and stays
	Unlock      Action = "unlock"       // by the holder, or by whoever named the lock's ID
	ForceUnlock Action = "force-unlock" // somebody else's lock was removed
	// TakeOver: somebody else's lock that was over was replaced or removed by one of ours
	TakeOver Action = "takeover"
	// Run: a command ran under the lock: one event when it starts, one when the lock is released
	Run             Action = "run"
	Rescue          Action = "rescue"           // a state that an engine could not save was saved
	Push            Action = "push"             // a state was written
	Rollback        Action = "rollback"         // an older version of a state was written anew
	WorkspaceNew    Action = "workspace-new"    // a workspace got its first state
	WorkspaceDelete Action = "workspace-delete" // a workspace's state was deleted
	BucketInit      Action = "bucket-init"      // settings of a bucket were changed
	GC              Action = "gc"               // old versions of lock objects were removed
	MigrateClean    Action = "migrate-clean"    // digests and left-over lock items were removed from the DynamoDB table
	// DigestFix: the MD5 of a state in the DynamoDB table was set, or removed with the state gone
	DigestFix Action = "digest-fix"
)

// Actions are all of them.
var Actions = []Action{
	Lock, Unlock, ForceUnlock, TakeOver, Run, Rescue, Push, Rollback, WorkspaceNew, WorkspaceDelete, BucketInit, GC,
	MigrateClean, DigestFix,
}

// Outcome is what became of it.
type Outcome string

// The outcomes.
const (
	OK Outcome = "ok" // it was done
	// Intent: it is about to be done: another event of the same action and ref follows, unless the process died
	Intent   Outcome = "intent"
	Failed   Outcome = "failed"   // it was not done, or not all of it: see Detail
	Unknown  Outcome = "unknown"  // it may have been done
	Started  Outcome = "started"  // Run: the lock is held
	Released Outcome = "released" // Run: it ended, and the lock was released
	Lost     Outcome = "lost"     // Run: the lock was lost while the command ran
	Kept     Outcome = "kept"     // Run: the lock could not be released. Rescue: only a copy is kept in the bucket
)

// Event is one act. The first group of fields is set by [Sink.Append].
type Event struct {
	V     int    `json:"v"`     // version of this format
	Chain string `json:"chain"` // random, the same in all events of a log
	Seq   uint64 `json:"seq"`   // from 1, without gaps
	Prev  string `json:"prev"`  // SHA-256 of the previous event's exact bytes, in hex; zeros in the first
	// StoreTime is the store's clock shortly before the event was stored, where it is known.
	StoreTime time.Time `json:"store_time,omitzero"`

	ID      string    `json:"id"`            // random; the same act has the same ID in every location
	Time    time.Time `json:"time"`          // of the act, by the client's clock
	Action  Action    `json:"action"`        // what was done
	Outcome Outcome   `json:"outcome"`       // what came of it
	Ref     string    `json:"ref,omitempty"` // s3://BUCKET/KEY, or s3://BUCKET[/PREFIX] of acts on more than one state
	Who     string    `json:"who"`           // whoever did it, as package identity names them

	Operation  string `json:"operation,omitempty"`    // as in the lock
	LockID     string `json:"lock_id,omitempty"`      // of the lock that was taken, released, or held meanwhile
	PrevLockID string `json:"prev_lock_id,omitempty"` // of somebody else's lock that ended by this act
	Holder     string `json:"holder,omitempty"`       // who held the lock that ended
	Reason     string `json:"reason,omitempty"`       // that whoever did it gave; empty: none

	// The state before and after the act. The ETags of acts on a lock alone are the lock object's.
	SerialBefore *uint64 `json:"serial_before,omitempty"`
	SerialAfter  *uint64 `json:"serial_after,omitempty"` // nil: not known
	ETagBefore   string  `json:"etag_before,omitempty"`  // empty: not known, or nothing was there
	ETagAfter    string  `json:"etag_after,omitempty"`   // empty: not known, or nothing is there
	VersionID    string  `json:"version_id,omitempty"`   // that was written
	Lineage      string  `json:"lineage,omitempty"`      // of the state; empty: not known

	Client string          `json:"client,omitempty"` // the process, as package identity names it
	Run    *statelatch.Run `json:"run,omitempty"`    // the CI job; nil: none
	Tool   string          `json:"tool,omitempty"`   // version of Statelatch
	Detail string          `json:"detail,omitempty"` // for people

	MAC string `json:"mac,omitempty"` // by a key that whoever stores the log need not have; the last member, see [Keys]
}

// Sink takes events. It is safe for concurrent use.
type Sink interface {
	// Append stores e before it returns nil, and ends with ctx. After an error that matches
	// [statelatch.ErrAmbiguous] it may be stored. Appending it again then would store it twice.
	Append(ctx context.Context, e Event) error
	// String names the sink without anything secret.
	String() string
}

// nothingThere is the error of a log that has neither events nor a head: it was never written, or removed altogether.
func nothingThere(l Log) error {
	return fmt.Errorf("audit log %s: %w: nothing was ever recorded there, or all of it is gone", l, statelatch.ErrNotFound)
}

// NewID returns 16 random bytes in hex.
func NewID() string { return pace.HexNonce() }

// The longest texts, in bytes. What a user typed may not push an event beyond what syslog daemons take.
const (
	maxWord = 256
	maxText = 1024
	maxRef  = 2048 // a key has 1,024 bytes, more once it is printable
)

// clean makes the texts of e printable and bounds them.
func (e Event) clean() Event {
	e.Time = e.Time.UTC()
	e.Ref = cut(e.Ref, maxRef)
	for _, s := range []*string{&e.Reason, &e.Detail} {
		*s = cut(*s, maxText)
	}
	for _, s := range []*string{
		&e.ID, &e.Who, &e.Operation, &e.LockID, &e.PrevLockID, &e.Holder, &e.ETagBefore, &e.ETagAfter, &e.Lineage, &e.Client,
		&e.Tool,
	} {
		*s = cut(*s, maxWord)
	}
	e.VersionID = cut(e.VersionID, maxText)
	if e.Run != nil {
		r := *e.Run
		r.URL = cut(r.URL, maxText)
		for _, s := range []*string{&r.System, &r.Actor, &r.ID, &r.Repo, &r.Branch, &r.Commit} {
			*s = cut(*s, maxWord)
		}
		e.Run = &r
	}
	return e
}

// cut makes s printable and at most limit bytes long; an ellipsis tells that there was more.
func cut(s string, limit int) string {
	s = statelatch.Printable(strings.ToValidUTF8(s, "?"))
	if len(s) <= limit {
		return s
	}
	end := limit - len("…")
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// Parse reads a stored event. The error matches [statelatch.ErrInvalid].
func Parse(raw []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(raw, &e); err != nil {
		return Event{}, fmt.Errorf("%w audit event: %w", statelatch.ErrInvalid, err)
	}
	if e.V != version || e.Chain == "" || e.Seq == 0 {
		return Event{}, fmt.Errorf("%w audit event: v %d, chain %q, seq %d: want version %d, a chain and a number",
			statelatch.ErrInvalid, e.V, e.Chain, e.Seq, version)
	}
	return e, nil
}
