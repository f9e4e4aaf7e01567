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
	Tier       lock.Tier `json:"tier"`
	Store      Store     `json:"store"`
	Checks     []Check   `json:"checks"`
	Clients    int       `json:"clients"`
	Rounds     int       `json:"rounds"`
	Requests   int       `json:"requests"`
	Seconds    float64   `json:"seconds"`
	At         time.Time `json:"at"` // by the clock of who probed
	LeftBehind []string  `json:"left_behind,omitempty"`
}

// Store is what the verdict is about.
type Store struct {
	Endpoint         string   `json:"endpoint"` // empty: AWS's own
	MoreEndpoints    []string `json:"more_endpoints,omitempty"`
	Bucket           string   `json:"bucket"`
	Versioned        bool     `json:"versioned"`
	Server           string   `json:"server"` // as it calls itself
	ETagIsMD5        bool     `json:"etag_is_md5"`
	ClockSkewSeconds float64  `json:"clock_skew_seconds"`
}

// Check is a probe.Check.
type Check struct {
	Name        string        `json:"name"`
	RequiredFor probe.Need    `json:"required_for"`
	Outcome     probe.Outcome `json:"outcome"`
	Evidence    string        `json:"evidence"`
	Advice      string        `json:"advice,omitempty"`
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

// countsAt reports whether a verdict that was made age ago counts: stores are updated, and versioning is switched on. That
// a store cannot lock counts until somebody probes it: the probe before a lock is a short one, and may have fewer
// endpoints.
func (v Verdict) countsAt(age time.Duration) bool {
	return v.Tier == lock.TierNone || age > -time.Minute && age < life
}

// life is how long a probe is believed.
const life = 24 * time.Hour
