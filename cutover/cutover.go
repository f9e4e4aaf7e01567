// Package cutover moves a team off the DynamoDB table: it holds a tree of configurations against the buckets and tables
// that they name, says whether its roots are ready for the next phase of package migrate, and removes what the states
// have left in the table when the last phase is reached.
//
// What it guarantees: nothing is removed while a client was seen that uses the table, and each item only if it still is
// what was looked at; stopping anywhere is safe, and a second run goes on. What it does not: a checkout or job that
// does nothing just then is not seen.
package cutover

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/pace"
	"github.com/statelatch/statelatch/lock"
)

// halfLasts is how long half a lock has to stay what it is: a lock that is just being taken or released is half for
// an instant.
const halfLasts = 500 * time.Millisecond

// Lock is a lock of a root's state, or of one of its named workspaces.
type Lock struct {
	Ref     string         `json:"ref"`           // of the state: s3://BUCKET/KEY
	Kind    fleet.Kind     `json:"kind"`          // of the lock that was found
	Where   Where          `json:"where"`         // in which places it is
	ID      string         `json:"id,omitempty"`  // the lock's; empty: it could not be read
	Who     string         `json:"who,omitempty"` // holds it; empty: not known
	Verdict evidence.State `json:"verdict"`       // whether the holder is still at work
	Proof   string         `json:"proof"`         // one line for people: why the verdict is that
}

// Where says in which places a lock is.
type Where string

// The places of a lock.
const (
	Both   Where = "both"   // in the bucket and in the table
	Table  Where = "table"  // only the item
	Object Where = "object" // only the lock object
)

func lockOf(l fleet.Lock) Lock {
	j := Lock{
		Ref: l.Ref.String(), Kind: l.Kind, Where: Both, ID: l.Info.ID, Who: l.Info.Who, Verdict: l.Verdict.State,
		Proof: l.Verdict.Proof,
	}
	switch {
	case l.ETag == "":
		j.Where = Table
	case l.Item == nil:
		j.Where = Object
	}
	return j
}

// troubles are what is in the way of the next phase, and what else there is to know. Each is one line that is safe to
// print.
type troubles struct {
	InTheWay []string `json:"in_the_way,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}

func (t *troubles) block(format string, args ...any) {
	t.InTheWay = append(t.InTheWay, line(format, args...))
}

func (t *troubles) note(format string, args ...any) { t.Notes = append(t.Notes, line(format, args...)) }

func line(format string, args ...any) string {
	return statelatch.Printable(strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "))
}

// ownState reports whether key is that of a root's state, or of one of its named workspaces.
func ownState(key, root, workspacePrefix string) bool {
	_, of, ok := statelatch.CutWorkspace(key, workspacePrefix)
	return key == root || ok && of == path.Clean(root) // a named workspace's key is cleaned
}

// lasts reports whether half a lock stays one. A lock that is just being taken or released does not.
func lasts(ctx context.Context, locks *lock.Manager, l fleet.Lock) bool {
	if pace.Sleep(ctx, halfLasts) != nil {
		return false
	}
	now, err := locks.Status(ctx, l.Ref)
	if err != nil {
		return !errors.Is(err, statelatch.ErrNotLocked)
	}
	object, item := now.ETag != "" && now.Info.ID == l.Info.ID, now.Item != nil && now.Item.Info.ID == l.Info.ID
	return object != item
}
