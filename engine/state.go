package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
)

// State is the state that a call is about.
type State struct {
	Ref     statelatch.Ref      // of the state, its workspace included
	Backend backendconf.Backend // how its bucket is reached
	Planned bool                // a saved plan says so, not the directory
}

// ErrPlan tells that a saved plan does not say which state it is for: it cannot be read, which an engine with the right
// key may still do, or another workspace is selected than it was made in. It comes with ErrUnsure.
var ErrPlan = errors.New("the saved plan does not tell")

// ErrUnsure tells that it is not known which state a call is about. The error says why.
var ErrUnsure = errors.New("its state is not known")

// State finds the state of a call that is started in dir, as the engine finds it: in the saved plan that it applies,
// else in the backend cache of its directory and the selected workspace. Of a directory that is not initialized it is
// what init would make of it. Errors match [ErrUnsure]; those that [backendconf.IsElsewhere] reports tell that no S3
// bucket has it.
func (c Call) State(dir string, getenv func(string) string) (State, error) {
	if c.vague != "" {
		return State{}, fmt.Errorf("%w: %s", ErrUnsure, c.vague)
	}
	work := c.Dir(dir)
	var backend backendconf.Backend
	var err error
	planned := false
	switch plan, planErr := c.plan(); {
	case planErr != nil:
		return State{}, planErr
	case plan != "":
		if !filepath.IsAbs(plan) {
			plan = work + string(filepath.Separator) + plan // not shortened: see Dir
		}
		saved, readErr := readPlan(plan)
		if readErr != nil {
			return State{}, fmt.Errorf("%w: %w: %s: %w", ErrUnsure, ErrPlan, plan, readErr)
		}
		// Terraform applies it to the workspace that is selected now, whichever it was made in.
		selected, workspaceErr := backendconf.SelectedWorkspace(backendconf.Options{Dir: work, Getenv: getenv})
		if workspaceErr == nil && selected != saved.workspace {
			workspaceErr = fmt.Errorf("it was made in the workspace %q, and %q is selected", saved.workspace, selected)
		}
		if workspaceErr != nil {
			return State{}, fmt.Errorf("%w: %w: %s: %w", ErrUnsure, ErrPlan, plan, workspaceErr)
		}
		planned = true
		backend, err = backendconf.FromArguments(saved.kind, saved.args, saved.workspace, plan, work)
	case c.Locking() == Moves:
		backend, err = backendconf.Load(backendconf.Options{
			Dir: work, Getenv: getenv, BackendConfig: c.values("backend-config"), Uncached: true,
		})
	default:
		backend, err = backendconf.Load(backendconf.Options{Dir: work, Getenv: getenv})
	}
	if err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrUnsure, err)
	}
	if c.Locking() == Deletes {
		if len(c.rest) != 1 || c.unclear != "" {
			return State{}, fmt.Errorf("%w: which workspace is meant is not clear", ErrUnsure)
		}
		backend.Workspace = c.rest[0]
	}
	ref, err := backend.Ref()
	if err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrUnsure, err)
	}
	return State{ref, backend, planned}, nil
}

// plan is the saved plan that the call applies; empty: none.
func (c Call) plan() (string, error) {
	if c.Subcommand != "apply" && c.Subcommand != "destroy" {
		return "", nil
	}
	if c.unclear != "" {
		return "", fmt.Errorf("%w: whether a saved plan is applied is not clear: %s", ErrUnsure, c.unclear)
	}
	if len(c.rest) == 0 {
		return "", nil
	}
	return c.rest[0], nil
}

// MovesOnlyInto reports whether all that an init started in dir can write is ref: there is no other backend in S3 that
// states would come from or leave, and no other workspace to take along. A local state becomes that of the default
// workspace, whichever is selected.
func (c Call) MovesOnlyInto(ref statelatch.Ref, dir string, getenv func(string) string) bool {
	if c.Locking() != Moves {
		return false
	}
	work := c.Dir(dir)
	if s, err := c.State(dir, getenv); err != nil || s.Ref != ref || s.Backend.Workspace != statelatch.DefaultWorkspace {
		return false
	}
	dataDir := cmp.Or(getenv("TF_DATA_DIR"), ".terraform")
	if !filepath.IsAbs(dataDir) {
		dataDir = filepath.Join(work, dataDir)
	}
	for _, path := range []string{
		filepath.Join(dataDir, "terraform.tfstate"),
		filepath.Join(work, "terraform.tfstate.d"),
	} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}
