package wrap

import (
	"context"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/state"
)

// mark is the state as a command found it, as soon as that is known: an engine need not wait for it.
type mark struct {
	known   chan struct{} // closed once the rest is set
	version state.Version
	late    bool // an engine that was started with it may have written the version
	err     error
}

const (
	// soon is within what time no engine, from the start of its process, has looked for workspaces, read its state,
	// planned, and written a state.
	soon = 250 * time.Millisecond
	// agePrecision is how well a store tells how old a version is: two clocks of its own, in whole seconds.
	agePrecision = 2 * time.Second
)

// startMark asks for the state of ref, until ctx ends.
func startMark(ctx context.Context, store *state.Store, ref statelatch.Ref) *mark {
	m := &mark{known: make(chan struct{})}
	began := time.Now()
	go func() {
		defer close(m.known)
		m.version, m.err = store.QuickMark(ctx, ref)
		took := time.Since(began)
		m.late = m.version.Exists && took > soon && m.version.Age <= took+agePrecision
	}()
	return m
}

// wait returns the version, once it is known.
func (m *mark) wait(ctx context.Context) (state.Version, error) {
	select {
	case <-m.known:
		return m.version, m.err
	case <-ctx.Done():
		return state.Version{}, ctx.Err()
	}
}

// since tells what happened to the state since the command found it.
func (e *holding) since(ctx context.Context) (state.Report, error) {
	before, err := e.before.wait(ctx)
	if err == nil && e.before.late && e.tenure != nil {
		// What it replaced was there before, whoever wrote it.
		before, err = e.state.Store.Before(ctx, before)
	}
	if err != nil {
		return state.Report{}, err
	}
	return e.state.Store.Since(ctx, before)
}
