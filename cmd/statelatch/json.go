package main

import (
	"encoding/json"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/lock"
)

// The JSON results. docs/JSON.md documents them; fields are only ever added.

// failureJSON is what every command prints with -json when it fails.
type failureJSON struct {
	Error    string          `json:"error"`
	Kind     string          `json:"kind"`
	ExitCode int             `json:"exit_code"`
	Lock     json.RawMessage `json:"lock,omitempty"`
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
}

// releasedJSON describes a lock that is gone.
type releasedJSON struct {
	Ref      string          `json:"ref"`
	Released bool            `json:"released"`
	Weak     bool            `json:"weak"`
	Lock     json.RawMessage `json:"lock,omitempty"`
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
	return s
}

func releasedOf(h lock.Held, weak bool) releasedJSON {
	r := releasedJSON{Ref: h.Ref.String(), Released: true, Weak: weak}
	if h.Err == nil {
		r.Lock = lockInfoJSON(h.Info)
	}
	return r
}
