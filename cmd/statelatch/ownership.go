package main

import (
	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/identity"
	"github.com/statelatch/statelatch/internal/claims"
	"github.com/statelatch/statelatch/lock"
)

// ownership tells which locks are this user's on this machine, and which the CI run's around this process.
type ownership struct {
	claims claims.Claims
	err    error // why the claims are not known
	run    *statelatch.Run
}

func ownerOf(term terminal) ownership {
	mine, err := claims.Open(term.Getenv)
	return ownership{claims: mine, err: err, run: identity.Detect(term.Getenv).Run}
}

// took reports whether this user took h on this machine.
func (o ownership) took(h lock.Held) bool { return h.Err == nil && o.claims.Has(h.Ref, h.Info.ID) }

// sameRun reports whether the CI run that this process belongs to took h.
func (o ownership) sameRun(h lock.Held) bool {
	if o.run == nil || h.Managed == nil || h.Managed.Run == nil {
		return false
	}
	r := h.Managed.Run
	return r.System == o.run.System && r.Repo == o.run.Repo && r.ID == o.run.ID && r.ID != "" && r.Repo != ""
}

func (o ownership) owns(h lock.Held) bool { return o.took(h) || o.sameRun(h) }
