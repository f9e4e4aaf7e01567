package main

import (
	"errors"
	"strings"

	"github.com/statelatch/statelatch/fleet"
)

// locksJSON is the result of locks.
type locksJSON struct {
	Scope  string   `json:"scope"`
	Scopes []string `json:"scopes,omitempty"` // where there are several
	// Incomplete is why locks that are only in the DynamoDB table may be missing.
	Incomplete string     `json:"incomplete,omitempty"`
	Locks      []lockJSON `json:"locks"`
	Totals     totals     `json:"totals"`
}

// lockJSON is one lock of a list.
type lockJSON struct {
	statusJSON
	Kind  fleet.Kind `json:"kind"`
	Half  string     `json:"half,omitempty"`
	Error string     `json:"error,omitempty"` // it, or its half in the table, could not be read
}

func (v *lockView) listJSON(locks []fleet.Lock) locksJSON {
	shown := v.selected(locks)
	result := locksJSON{Scope: v.where(), Locks: []lockJSON{}, Totals: totalsOf(shown)}
	if len(v.more) > 0 {
		result.Scopes = strings.Fields(v.where())
	}
	if v.incomplete != nil {
		result.Incomplete = v.incomplete.Error()
	}
	for _, l := range shown {
		result.Locks = append(result.Locks, v.lockJSON(l))
	}
	return result
}

func (v *lockView) lockJSON(l fleet.Lock) lockJSON {
	j := lockJSON{statusJSON: statusOf(l.Held, v.owner.Took(l.Held)), Kind: l.Kind, Half: l.Half}
	if l.Unread != nil {
		j.statusJSON = statusJSON{Ref: l.Ref.String(), Locked: true}
	}
	if err := errors.Join(l.Unread, l.ItemUnread); err != nil {
		j.Error = err.Error()
	}
	j.Verdict, j.Proof = l.Verdict.State, l.Verdict.Proof
	return j
}
