// Package verdict keeps what probes found out about stores, and sees to it that a store is proven before it is trusted
// with a lock.
//
// What it guarantees: a verdict counts for one bucket behind one endpoint, for a day, and not for a server that calls
// itself otherwise by now; that a store cannot lock counts until somebody probes it; processes of one user that need
// the same verdict at once make one probe. What it does not: a store that is changed within the day is believed until
// then, as long as it calls itself the same.
package verdict

import (
	"fmt"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/probe"
)

// Verdict is what a probe found out. It is printed and kept as this JSON.
type Verdict struct {
	Tier       lock.Tier `json:"tier"`                  // what the store's conditions are good for
	Store      Store     `json:"store"`                 // that was probed
	Checks     []Check   `json:"checks"`                // all of them, in the order of the run
	Clients    int       `json:"clients"`               // of a race
	Rounds     int       `json:"rounds"`                // of a race
	Requests   int       `json:"requests"`              // calls of the port, a listing counted once
	Seconds    float64   `json:"seconds"`               // that it took
	At         time.Time `json:"at"`                    // by the clock of who probed
	LeftBehind []string  `json:"left_behind,omitempty"` // what could not be removed, and why
}

// Store is what the verdict is about.
type Store struct {
	Endpoint      string   `json:"endpoint"`                 // empty: AWS's own
	MoreEndpoints []string `json:"more_endpoints,omitempty"` // that it was probed through, too
	Bucket        string   `json:"bucket"`                   // its name
	Versioned     bool     `json:"versioned"`                // the bucket keeps versions
	Server        string   `json:"server"`                   // as it calls itself
	ETagIsMD5     bool     `json:"etag_is_md5"`              // the ETag of a small body is its MD5
	// ClockSkewSeconds: Date of an answer minus Last-Modified of the object just written
	ClockSkewSeconds float64 `json:"clock_skew_seconds"`
}

// Check is a probe.Check.
type Check struct {
	Name        string        `json:"name"`             // stable
	RequiredFor probe.Need    `json:"required_for"`     // what the store is not good for without it
	Outcome     probe.Outcome `json:"outcome"`          // what was seen
	Evidence    string        `json:"evidence"`         // one line for people, with numbers
	Advice      string        `json:"advice,omitempty"` // what follows and what to do; empty unless it failed
}

// Err is nil unless the store cannot lock. Then it matches statelatch.ErrUnsafeStore and says which check failed, and
// when.
func (v Verdict) Err() error {
	if v.Tier != lock.TierNone {
		return nil
	}
	c := v.decisive()
	return fmt.Errorf("%w: s3://%s failed the check %q on %s: %s", statelatch.ErrUnsafeStore, v.Store.Bucket, c.Name,
		v.At.UTC().Format("2006-01-02 15:04 UTC"), statelatch.Printable(c.Evidence))
}

// decisive is the check that decided against TierCAS.
func (v Verdict) decisive() Check {
	for _, c := range v.Checks {
		if c.RequiredFor == probe.NeedCAS && c.Outcome == probe.Failed {
			return c
		}
	}
	return Check{}
}

// EnginesFail is why the engines cannot write to a store on which Statelatch can, and what to do; empty if they can,
// or if nobody locks there.
func (v Verdict) EnginesFail() string {
	if v.Tier == lock.TierNone {
		return ""
	}
	for _, c := range v.Checks {
		if c.Name == probe.NameEngines && c.Outcome == probe.Failed {
			return c.Advice
		}
	}
	return ""
}

// countsAt reports whether a verdict that was made age ago counts: stores are updated, and versioning is switched on.
// That a store cannot lock counts until somebody probes it: the probe before a lock is a short one, and may have
// fewer endpoints.
func (v Verdict) countsAt(age time.Duration) bool {
	return v.Tier == lock.TierNone || age > -time.Minute && age < life
}

// life is how long a probe is believed.
const life = 24 * time.Hour
