package gc

import (
	"time"

	"github.com/statelatch/statelatch"
)

// Outcome is what was planned and what was done, as docs/JSON.md has it.
type Outcome struct {
	Scope     string    `json:"scope"`             // that was looked through
	Versioned bool      `json:"versioned"`         // see Plan
	DryRun    bool      `json:"dry_run"`           // nothing was removed
	Before    time.Time `json:"before,omitzero"`   // see Plan
	Kept      int       `json:"kept"`              // see Plan
	Planned   Sum       `json:"planned"`           // for removal
	Removed   Sum       `json:"removed"`           // of that
	Refused   []string  `json:"refused,omitempty"` // why others were not
	Keys      []Key     `json:"keys,omitempty"`    // all lock objects of the plan
	// Snapshots are all of the plan.
	Snapshots Snapshots `json:"snapshots,omitempty"`
}

// Outcome is that of p before anything is removed.
func (p Plan) Outcome(scope statelatch.Scope, dryRun bool) Outcome {
	return Outcome{
		Scope: scope.String(), Versioned: p.Versioned, DryRun: dryRun, Before: p.Before, Kept: p.Kept,
		Planned: p.Total(), Keys: p.Keys, Snapshots: p.Snapshots,
	}
}

// Add adds what was removed.
func (o *Outcome) Add(r Result) {
	o.Removed = r.Removed
	for _, err := range r.Denied {
		o.Refused = append(o.Refused, err.Error())
	}
}
