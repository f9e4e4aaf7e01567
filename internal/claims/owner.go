package claims

import (
	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/identity"
	"github.com/statelatch/statelatch/lock"
)

// Owner tells which locks are this user's on this machine, and which the CI run's around this process.
type Owner struct {
	Claims
	err error // why the claims are not known
	run *statelatch.Run
}

// OwnerOf finds the user's claims and the CI run.
func OwnerOf(getenv func(string) string) Owner {
	mine, err := Open(getenv)
	return Owner{Claims: mine, err: err, run: identity.Detect(getenv).Run}
}

// Unknown is why the claims are not known; nil if they are.
func (o Owner) Unknown() error { return o.err }

// Took reports whether this user took h on this machine.
func (o Owner) Took(h lock.Held) bool { return h.Err == nil && o.Has(h.Ref, h.Info.ID) }

// sameRun reports whether the CI run that this process belongs to took h.
func (o Owner) sameRun(h lock.Held) bool {
	if o.run == nil || h.Managed == nil || h.Managed.Run == nil {
		return false
	}
	r := h.Managed.Run
	return r.System == o.run.System && r.Repo == o.run.Repo && r.ID == o.run.ID && r.ID != "" && r.Repo != ""
}

// Owns reports whether h is this user's or the CI run's.
func (o Owner) Owns(h lock.Held) bool { return o.Took(h) || o.sameRun(h) }
