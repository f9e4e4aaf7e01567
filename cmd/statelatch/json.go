package main

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/internal/unsaved"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/policy"
	"github.com/statelatch/statelatch/state"
)

// The JSON results. docs/JSON.md documents them; fields are only ever added.

// failureJSON is what every command prints with -json when it fails.
type failureJSON struct {
	Error    string          `json:"error"`
	Kind     string          `json:"kind"`
	ExitCode int             `json:"exit_code"`
	Lock     json.RawMessage `json:"lock,omitempty"`
	// Denied is what was denied, and why.
	Denied []deniedJSON `json:"denied,omitempty"`
	// Grant is the IAM policy that allows what was denied, where one can.
	Grant *policy.Document `json:"grant,omitempty"`
}

// deniedJSON is one refusal and its reason, as far as the store gave one.
type deniedJSON struct {
	Reason    statelatch.DenialCause `json:"reason"`
	Policy    statelatch.PolicyType  `json:"policy,omitempty"`
	PolicyARN string                 `json:"policy_arn,omitempty"`
	Principal string                 `json:"principal,omitempty"`
	Action    string                 `json:"action,omitempty"`
	Resource  string                 `json:"resource,omitempty"`
	Advice    string                 `json:"advice,omitempty"`
	// ResourceGrant is what the policy of the bucket, key, table or role lacks.
	ResourceGrant *policy.Document `json:"resource_grant,omitempty"`
}

// failureOf is err for those who asked for JSON.
func failureOf(ctx context.Context, err error) failureJSON {
	out := failureJSON{Error: err.Error(), Kind: kindOf(ctx, err), ExitCode: exitCode(ctx, err)}
	if locked, ok := errors.AsType[*statelatch.LockedError](err); ok && locked.Err == nil {
		out.Lock = lockInfoJSON(locked.Holder)
	}
	return out
}

// statusJSON describes the lock of one state.
type statusJSON struct {
	Ref        string          `json:"ref"`
	Locked     bool            `json:"locked"`
	Mine       bool            `json:"mine"`
	Lock       json.RawMessage `json:"lock,omitempty"`
	Unreadable string          `json:"unreadable,omitempty"`
	ETag       string          `json:"etag,omitempty"`
	Since      *time.Time      `json:"since,omitempty"`
	AgeSeconds *int64          `json:"age_seconds,omitempty"`
	Note       string          `json:"note,omitempty"`
	Verdict    evidence.State  `json:"verdict,omitempty"`
	Proof      string          `json:"proof,omitempty"`
	// Missing: there is no state at that key; Near are some that are spelled nearly like it.
	Missing bool     `json:"missing,omitempty"`
	Near    []string `json:"near,omitempty"`

	Managed *managedJSON `json:"managed,omitempty"`
	Table   *itemJSON    `json:"table,omitempty"`
	// Unsaved is what pushes of the state that did not end have kept on this machine.
	Unsaved []unsaved.Leftover `json:"unsaved,omitempty"`
}

// managedJSON is what a lock of Statelatch says beyond the engines' fields.
type managedJSON struct {
	LeaseSeconds   int64           `json:"lease_seconds,omitempty"`
	ExpiresSeconds int64           `json:"expires_seconds,omitempty"`
	Stays          bool            `json:"stays,omitempty"` // a command works under a lock that is kept
	Writes         uint64          `json:"writes"`
	Reason         string          `json:"reason,omitempty"`
	Client         string          `json:"client,omitempty"`
	TookOverID     string          `json:"took_over_id,omitempty"`
	Run            *statelatch.Run `json:"run,omitempty"`
}

// itemJSON is the lock's half in the DynamoDB table.
type itemJSON struct {
	Name       string          `json:"name"`
	Lock       json.RawMessage `json:"lock,omitempty"`
	Unreadable string          `json:"unreadable,omitempty"`
}

// versionJSON describes a state as it was written.
type versionJSON struct {
	Ref       string `json:"ref"`
	Serial    uint64 `json:"serial"`
	Lineage   string `json:"lineage,omitempty"`
	ETag      string `json:"etag,omitempty"`
	VersionID string `json:"version_id,omitempty"`
	Size      int64  `json:"size"`
}

func versionOf(v state.Version) versionJSON {
	return versionJSON{
		Ref: v.Ref.String(), Serial: v.Header.Serial, Lineage: v.Header.Lineage,
		ETag: v.ETag, VersionID: v.VersionID, Size: v.Size,
	}
}

// serialOf is the serial of v; nil if v is no state. Serial 0 is one like any other.
func serialOf(v state.Version) *uint64 { return v.Serial() }

// serialCell is that serial in a table.
func serialCell(serial *uint64) string {
	if serial == nil {
		return "-"
	}
	return strconv.FormatUint(*serial, 10)
}

// lockInfoJSON is the lock info exactly as in the lock object.
func lockInfoJSON(l statelatch.LockInfo) json.RawMessage { return l.Marshal() }

func statusOf(h lock.Held, mine bool) statusJSON {
	s := statusJSON{Ref: h.Ref.String(), Locked: true, Mine: mine, ETag: h.ETag}
	if h.Err != nil {
		s.Unreadable = h.Err.Error()
	} else {
		s.Lock = lockInfoJSON(h.Info)
	}
	if !h.Since.IsZero() {
		since, age := h.Since.UTC(), int64(h.Age/time.Second)
		s.Since, s.AgeSeconds = &since, &age
	}
	if m := h.Managed; m != nil {
		s.Managed = &managedJSON{
			LeaseSeconds: int64(m.TTL / time.Second), ExpiresSeconds: int64(m.Expires / time.Second), Stays: m.Stays,
			Writes: m.Seq,
			Reason: m.Reason, Client: m.Client, TookOverID: m.PrevID, Run: m.Run,
		}
	}
	if i := h.Item; i != nil {
		s.Table = &itemJSON{Name: i.Table}
		if i.Err != nil {
			s.Table.Unreadable = i.Err.Error()
		} else {
			s.Table.Lock = lockInfoJSON(i.Info)
		}
	}
	return s
}
