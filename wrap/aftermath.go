package wrap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/term"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/runner"
	"github.com/statelatch/statelatch/state"
)

// afterBudget bounds what is done for the states once the command is gone. silentBudget is for a store that has not
// answered for so long that the lock was lost.
const (
	afterBudget  = 2 * time.Minute
	silentBudget = 15 * time.Second
)

// lookBudget is how long the states are compared for, once a lock of which lost is the end is lost; nil: it is not.
func lookBudget(lost error) time.Duration {
	if lost != nil && !errors.Is(lost, statelatch.ErrDenied) && !errors.As(lost, new(*statelatch.LockedError)) {
		return silentBudget
	}
	return afterBudget
}

// aftermath looks after the states when the command is gone and the locks are still held. Nothing in it fails the run:
// the command has ended as it has, and what went wrong is said.
type aftermath struct {
	*run

	all  []*holding
	set  lock.Set
	dirs map[string][]statelatch.Ref // which states engines worked on, by their directory
}

// rescue saves the states that engines could not save.
func (a aftermath) rescue(ctx context.Context, errored *runner.ErroredStates) {
	paths, err := errored.New()
	if err != nil {
		a.say("Warning: %s\n", oneLine(err))
	}
	for _, path := range paths {
		if err := a.rescueFile(ctx, path); err != nil {
			a.say("Error: %s: %s\n", statelatch.Printable(path), oneLine(err))
		}
	}
}

// rescueFile pushes the state again under the same lock, or else keeps it in the bucket: the machine of a pipeline is
// gone soon.
func (a aftermath) rescueFile(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	saved, err := a.save(ctx, f, path)
	if err = errors.Join(err, f.Close()); !saved {
		return err
	}
	done := path + ".pushed" // so that nobody pushes it again
	if renameErr := os.Rename(path, done); renameErr != nil {
		return errors.Join(err, renameErr)
	}
	a.say("The copy that the engine left is renamed to %s.\n", statelatch.Printable(done))
	return err
}

// save reports whether the state is where it belongs. Where it is not, the next steps were told.
func (a aftermath) save(ctx context.Context, f *os.File, path string) (saved bool, err error) {
	owners, err := a.owners(ctx, f, filepath.Dir(path))
	t := owners[0]
	if err == nil {
		var written state.Version
		written, err = a.write(ctx, t, tenureOf(a.set, t.Ref), f)
		if err == nil || errors.Is(err, state.ErrDigestStale) {
			a.say("The engine could not save its state; it is saved now: %s, serial %d.\n", t.Ref, written.Header.Serial)
			return true, err
		}
	}
	a.say("Error: the engine left a state that it could not save, and it could not be saved again: %s\n", oneLine(err))
	again := PushAgain(path, false, err)
	tenure := tenureOf(a.set, t.Ref)
	key, err := t.Store.SaveRescue(ctx, t.Ref, tenure.Held().Info.ID, f, provenanceOf(tenure))
	if err == nil && a.Hooks.Rescued != nil {
		a.Hooks.Rescued(ctx, tenure, key)
	}
	if err == nil {
		a.say("A copy is kept in the bucket: %s\n", statelatch.Ref{Bucket: t.Ref.Bucket, Key: key})
	}
	a.say("It is in %s. When it is clear that nothing newer is there:\n", statelatch.Printable(path))
	for _, t := range owners {
		a.say("  %s\n", t.command(again))
	}
	if err != nil {
		return false, fmt.Errorf("no copy of it could be kept in the bucket: %w", err)
	}
	return false, nil
}

// owners are the states that one left in dir may belong to, at least one; the error says why it is not clear which.
func (a aftermath) owners(ctx context.Context, f *os.File, dir string) ([]State, error) {
	var states, found []State
	for _, e := range a.all {
		states = append(states, e.state)
	}
	if len(states) == 1 {
		return states, nil
	}
	if refs := a.dirs[dir]; len(refs) == 1 {
		if i := slices.IndexFunc(states, func(t State) bool { return t.Ref == refs[0] }); i >= 0 {
			return states[i : i+1], nil
		}
	}
	header, err := statelatch.ReadStateHeader(f)
	if err != nil {
		return states, err
	}
	for _, e := range a.all {
		before, err := e.before.wait(ctx)
		if err == nil && before.Exists && before.Header == (statelatch.StateHeader{}) {
			err = e.state.Store.ReadHeader(ctx, &before)
		}
		if err != nil {
			return states, err
		}
		if before.Header.Lineage == header.Lineage {
			found = append(found, e.state)
		}
	}
	if len(found) == 1 {
		return found, nil
	}
	return states, fmt.Errorf("which of the locked states it belongs to is not clear: its lineage is %q", header.Lineage)
}

// compare tells, loudly, what must not have happened to the states under the lock, and how to bring back what was lost.
func (a aftermath) compare(ctx context.Context) {
	var lost error
	for _, t := range a.set {
		lost = cmp.Or(lost, t.Err())
	}
	budget := lookBudget(lost)
	if budget == silentBudget {
		a.say("statelatch: the store does not answer: trying for up to %v to find out what became of the state, and to "+
			"release the lock\n", 2*budget)
		for _, e := range a.all {
			e.state.Manager.ReleaseTimeout = silentBudget
		}
	}
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	for _, e := range a.all {
		t := e.state
		report, err := e.since(ctx)
		if err != nil {
			a.say("Warning: whether somebody else wrote %s is not known: %s\n", t.Ref, oneLine(err))
			continue
		}
		if a.Hooks.Compared != nil {
			a.Hooks.Compared(ctx, report)
		}
		for _, anomaly := range report.Anomalies {
			a.say("\nWARNING: the state was overwritten while it was locked, by somebody else or by a forced push of "+
				"the command: %s\n", statelatch.Printable(anomaly.String()))
			if id := anomaly.Before.VersionID; id != "" && anomaly.Kind != state.MarkGone {
				verb := "rollback "
				if anomaly.Kind == state.LineageChanged {
					verb += "-force "
				}
				a.say("To compare both, and to bring back what was overwritten:\n  %s\n  %s\n",
					t.command("diff "+term.ShellQuote(id)), t.command(verb+term.ShellQuote(id)))
			}
		}
	}
}

// write writes a state that an engine could not save.
func (a aftermath) write(ctx context.Context, s State, t *lock.Tenure, body io.ReadSeeker) (state.Version, error) {
	if a.Hooks.Write != nil {
		return a.Hooks.Write(ctx, s, t, body)
	}
	session, err := s.Store.Begin(ctx, t)
	if err != nil {
		return state.Version{}, err
	}
	written, err := session.Write(ctx, body, state.WriteOptions{OfEngine: true, Provenance: provenanceOf(t)})
	if closed := session.Close(); closed != nil {
		err = errors.Join(err, closed)
	}
	return written, err
}

// provenanceOf is that of what is written under a lock.
func provenanceOf(t *lock.Tenure) state.Provenance {
	held := t.Held()
	return state.ProvenanceOf(held.Info, held.Managed)
}

// PushAgain is a push to repeat one that failed with err. If its outcome is unknown its lock is left to the lease.
func PushAgain(path string, force bool, err error) string {
	verb := "push "
	if errors.Is(err, statelatch.ErrAmbiguous) && !errors.Is(err, state.ErrDigestStale) {
		verb += "-takeover expired "
	}
	if force {
		verb += "-force "
	}
	return verb + term.ShellQuote(path)
}
