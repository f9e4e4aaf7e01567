package audit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/state"
)

// recorded runs acts with a recorder for action and returns what it recorded.
func recorded(t *testing.T, opts audit.RecorderOptions, acts func(context.Context)) (got []string) {
	t.Helper()
	m := &memory{name: "memory"}
	opts.Sinks = []audit.Sink{m}
	r := audit.NewRecorder(t.Context(), opts)
	acts(audit.With(t.Context(), r))
	r.Close(nil)
	for _, e := range m.events {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", e.Action, e.Outcome, e.LockID, e.Detail)))
	}
	return got
}

// What was done, or may have been, leaves an event; what was not leaves none, but for what was intended.
func TestActs_Outcomes(t *testing.T) {
	t.Parallel()
	ref := statelatch.Ref{Bucket: "b", Key: "k.tfstate"}
	b := membucket.New("b", membucket.Options{})
	store, manager := &state.Store{Bucket: b}, &lock.Manager{Bucket: b, Tier: lock.TierFull}
	release := func(err error) func() (lock.Held, bool, error) {
		return func() (lock.Held, bool, error) {
			return lock.Held{Ref: ref, Info: statelatch.LockInfo{ID: "id-1"}}, err == nil, err
		}
	}
	acts := func(ctx context.Context) {
		for range 2 { // the second finds it there
			_, _ = audit.New(ctx, store, ref, state.Provenance{})
		}
		_, _, _ = audit.Release(ctx, audit.Unlock, ref, release(nil))
		_, _, _ = audit.Release(ctx, audit.Unlock, ref, release(statelatch.ErrLockLost))
		_, _, _ = audit.Release(ctx, audit.Unlock, ref, release(statelatch.ErrAmbiguous))
		audit.Ended(ctx, audit.GC, ref, "removed 1", nil)
		audit.Ended(ctx, audit.GC, ref, "removed 2", errors.New("one\ntwo"))
		set, err := audit.AcquireAll(ctx, []lock.Target{{Manager: manager, Ref: ref, ID: "id-2"}}, lock.Request{Who: "a"})
		if err != nil {
			t.Fatal(err)
		}
		audit.Ran(ctx, set, 3, nil, statelatch.ErrAmbiguous)
		if _, err := set.Release(ctx); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"workspace-new ok", "unlock ok id-1 weak release", "unlock unknown id-1 " + statelatch.ErrAmbiguous.Error(),
		"gc ok  removed 1", "gc failed  removed 2: one; two", "run started id-2",
		"run unknown id-2 exit code 3: " + statelatch.ErrAmbiguous.Error(),
	}
	got := recorded(t, audit.RecorderOptions{Action: audit.Run}, acts)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	acts(t.Context()) // without a recorder they are the same acts
}

// What cannot be recorded before it is done, and must be, is not done.
func TestActs_Refused(t *testing.T) {
	t.Parallel()
	full := &memory{name: "full", first: func(context.Context, audit.Event) error { return errFull }}
	refusal := errors.New("refused")
	r := audit.NewRecorder(t.Context(), audit.RecorderOptions{
		Sinks: []audit.Sink{full}, Required: true, Refused: func(error) error { return refusal },
	})
	defer r.Close(nil)
	ctx, b := audit.With(t.Context(), r), membucket.New("b", membucket.Options{})
	ref := statelatch.Ref{Bucket: "b", Key: "k.tfstate"}
	if _, err := audit.New(ctx, &state.Store{Bucket: b}, ref, state.Provenance{}); !errors.Is(err, refusal) {
		t.Errorf("got %v, want %v", err, refusal)
	}
	targets := []lock.Target{{Manager: &lock.Manager{Bucket: b, Tier: lock.TierFull}, Ref: ref}}
	if _, err := audit.AcquireAll(ctx, targets, lock.Request{}); !errors.Is(err, refusal) {
		t.Errorf("got %v, want %v", err, refusal)
	}
	_, _, err := audit.Release(ctx, audit.Unlock, ref, func() (lock.Held, bool, error) {
		t.Error("it was released")
		return lock.Held{}, false, nil
	})
	if !errors.Is(err, refusal) {
		t.Errorf("got %v, want %v", err, refusal)
	}
}
