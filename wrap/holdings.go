package wrap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/engine"
	"github.com/statelatch/statelatch/identity"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/runner"
	"github.com/statelatch/statelatch/shim"
	"github.com/statelatch/statelatch/site"
	"github.com/statelatch/statelatch/state"
)

// holdings are the states that a run holds: those that it was told to, and those of engines that its command starts.
// Under -read it holds none of them, and watches them. It is the lease that the command runs under.
type holdings struct {
	*run

	req     lock.Request
	watched context.Context // ends with the command; what waits for a lock that is lost ends then
	lost    chan struct{}
	lose    func()

	mu      sync.Mutex
	all     []*holding // that are held, or about to be
	errored *runner.ErroredStates
	pids    map[int]bool                // of engines whose own lock may be off
	dirs    map[string][]statelatch.Ref // which states engines worked on, by their directory
}

// holding is one state.
type holding struct {
	ref    statelatch.Ref
	store  string
	state  State
	tenure *lock.Tenure // nil with Read
	before *mark        // the state as the command found it; nil: it was not come to that

	ready chan struct{} // closed once the outcome is known
	err   error
}

func newHoldings(ctx context.Context, r *run) *holdings {
	h := &holdings{
		run: r, req: r.Request, watched: ctx, lost: make(chan struct{}), dirs: map[string][]statelatch.Ref{},
		pids: map[int]bool{},
	}
	h.lose = sync.OnceFunc(func() { close(h.lost) })
	h.req.OnRenewal = h.tellRenewal
	return h
}

// tellRenewal is told when the renewals of a lock begin to fail, with why, and when they work again.
func (h *holdings) tellRenewal(ref statelatch.Ref, failure error) {
	if failure == nil {
		h.say("statelatch: %s: the lock is renewed again\n", ref)
		return
	}
	h.say("statelatch: %s: the lock cannot be renewed, trying on: %s\n", ref, oneLine(failure))
}

// begin takes the locks of the states that the run was told to hold, all or none.
func (h *holdings) begin(ctx context.Context) error {
	var set lock.Set
	if !h.Read && len(h.States) > 0 {
		var err error
		if set, err = h.acquire(ctx, h.States, h.req, talker(func(text string) { h.say("%s", text) })); err != nil {
			return err
		}
	}
	for _, s := range h.States {
		e := &holding{ref: s.Ref, store: s.Bucket.Store(), state: s, ready: make(chan struct{})}
		close(e.ready)
		if set != nil {
			e.tenure = tenureOf(set, s.Ref)
		}
		h.all = append(h.all, e)
	}
	h.note(set)
	return nil
}

// acquire takes the locks of all states or none.
func (h *holdings) acquire(ctx context.Context, states []State, req lock.Request, talk io.Writer) (lock.Set, error) {
	if h.Hooks.Acquire != nil {
		return h.Hooks.Acquire(ctx, states, req, talk)
	}
	targets := make([]lock.Target, len(states))
	for i, s := range states {
		if HeldAround(ctx, h.Getenv, s.Ref, s.Bucket.Store()) {
			return nil, fmt.Errorf("%w run: %s is locked already by the run around this one", statelatch.ErrInvalid, s.Ref)
		}
		tier, err := s.Prove(ctx)
		if err != nil {
			return nil, err
		}
		m := *s.Manager
		m.Tier = tier
		targets[i] = lock.Target{Manager: &m, Ref: s.Ref}
	}
	return lock.AcquireAll(ctx, targets, req)
}

func (h *holdings) note(set lock.Set) {
	if h.Hooks.Held != nil {
		h.Hooks.Held(set)
	}
}

// prepareAll readies what begin took for the command.
func (h *holdings) prepareAll(ctx context.Context) error {
	_, isEngine := EngineCall(h.Command, h.Getenv)
	for _, e := range h.all {
		if err := h.prepare(ctx, e, isEngine); err != nil {
			return err
		}
	}
	return nil
}

// prepare remembers the state as it is, and readies it for a command.
func (h *holdings) prepare(ctx context.Context, e *holding, forEngine bool) error {
	t := &e.state
	if e.tenure != nil {
		go func() {
			select {
			case <-e.tenure.Lost():
				h.lose()
			case <-h.watched.Done():
			}
		}()
	}
	named := e.tenure != nil && t.namedWorkspace()
	kept := e.tenure != nil && bucket.KeptVersion(e.tenure.Held().VersionID) // as the state is, in the same bucket
	e.before = startMark(h.watched, t.Store, t.Ref)                          //nolint:contextcheck // it goes on when ctx has ended
	if forEngine && kept && !named {
		return nil // nothing has to be done with it before an engine writes
	}
	before, err := e.before.wait(ctx)
	switch {
	case err != nil || e.tenure == nil:
		return err
	case named && !before.Exists:
		// The first engine that opens a workspace without a state locks it by itself, whatever its flags say (B18).
		if err := t.Store.EnsureExists(ctx, t.Ref, provenanceOf(e.tenure)); err != nil {
			return err
		}
	case kept:
		return nil
	}
	if err := h.keepBefore(ctx, *t, before); err != nil {
		return err
	}
	return e.tenure.Verify(ctx) // what was read is what the lock guards (R7)
}

// hold answers an engine that the command starts, and remembers it if its lock may be off.
func (h *holdings) hold(ctx context.Context, r shim.Request, say func(string)) shim.Answer {
	answer := h.answer(ctx, r, say)
	if answer.Held && r.PID != 0 {
		h.mu.Lock()
		h.pids[r.PID] = true
		h.mu.Unlock()
	}
	return answer
}

func (h *holdings) answer(ctx context.Context, r shim.Request, say func(string)) shim.Answer {
	talk := talker(say)
	if h.Read && !r.OnlyIfHeld && r.Call.Locking() != engine.Reads {
		return shim.Answer{} // it writes, so it takes its own lock
	}
	var adoptErr error
	if r.Call.Name != "" {
		here, _ := os.Getwd()
		ours, theirs := s3bucket.Environ{Vars: os.Environ(), Dir: here}, s3bucket.Environ{Vars: r.Environ, Dir: r.Dir}
		adoptErr = r.State.Backend.S3.Adopt(ours, theirs)
		if adoptErr != nil && !r.State.Backend.S3.SameStore(ours, theirs) {
			return shim.Answer{Why: adoptErr.Error()}
		}
		b, err := s3bucket.Open(ctx, r.State.Ref.Bucket, r.State.Backend.S3)
		if err != nil {
			return h.refuse(ctx, talk, r, err)
		}
		r.Store = b.Store()
	}
	switch {
	case outerHolds(ctx, h.Getenv, r.State.Ref, r.Store):
		return shim.Answer{Held: true}
	case r.OnlyIfHeld:
		return shim.Answer{Held: h.has(r.State.Ref, r.Store)}
	case adoptErr != nil && !h.has(r.State.Ref, r.Store):
		return shim.Answer{Why: adoptErr.Error()}
	}
	e, err := h.take(ctx, talk, r)
	if err == nil && e.tenure != nil {
		err = e.tenure.Err()
	}
	if err != nil {
		return h.refuse(ctx, talk, r, err)
	}
	return shim.Answer{Held: true}
}

// otherStoreError is a state with the REF of one that is held, in another store: bucket names are unique within one.
type otherStoreError struct {
	ref         statelatch.Ref
	held, asked string // stores
}

func (e otherStoreError) Error() string {
	return fmt.Sprintf("this run holds %s at %s, and this is another store, %s", e.ref, e.held, e.asked)
}

// refuse answers an engine whose state is not held because of err.
func (h *holdings) refuse(ctx context.Context, talk io.Writer, r shim.Request, err error) shim.Answer {
	switch {
	case errors.As(err, new(otherStoreError)):
		return shim.Answer{Why: err.Error()}
	case r.OnlyIfHeld:
		return shim.Answer{}
	}
	if h.Hooks.Refuse == nil {
		fmt.Fprintf(talk, "Error: %s\n", oneLine(err))
		return shim.Answer{ExitCode: 1}
	}
	return shim.Answer{ExitCode: h.Hooks.Refuse(ctx, r.State.Ref, err, talk)}
}

// outlived waits for engines that have left the command's group (setsid), which nobody else waits for: their own locks
// are off. It reports whether one still runs after a signal, or after the loss of a lock.
func (h *holdings) outlived(signals <-chan os.Signal) bool {
	for told := false; ; told = true {
		h.mu.Lock()
		runs := len(h.pids) > 0 && slices.ContainsFunc(runner.Survivors(identity.Client()),
			func(pid int) bool { return h.pids[pid] })
		h.mu.Unlock()
		if !runs {
			return false
		}
		if !told {
			h.say("statelatch: the command has ended, waiting for an engine that it left behind\n")
		}
		select {
		case <-time.After(outlivedPoll):
		case <-signals:
			return true
		case <-h.lost:
			return true
		}
	}
}

const outlivedPoll = 200 * time.Millisecond

// has reports whether the lock of a state is held, now.
func (h *holdings) has(ref statelatch.Ref, store string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.all, func(e *holding) bool {
		if e.ref != ref || e.store != store {
			return false
		}
		select {
		case <-e.ready:
			return e.err == nil && e.tenure != nil && e.tenure.Err() == nil
		default:
			return false
		}
	})
}

// talker is a writer for what is shown to who waits.
type talker func(string)

func (t talker) Write(p []byte) (int, error) {
	t(string(p))
	return len(p), nil
}

// take returns the holding of the state that r is about, and makes it if there is none.
func (h *holdings) take(ctx context.Context, talk io.Writer, r shim.Request) (*holding, error) {
	for {
		h.mu.Lock()
		err := h.errored.Watch(r.Dir)
		if !slices.Contains(h.dirs[r.Dir], r.State.Ref) {
			h.dirs[r.Dir] = append(h.dirs[r.Dir], r.State.Ref)
		}
		i := slices.IndexFunc(h.all, func(e *holding) bool { return e.ref == r.State.Ref })
		if i >= 0 && h.all[i].store != r.Store {
			held := h.all[i].store
			h.mu.Unlock()
			return nil, otherStoreError{r.State.Ref, held, r.Store}
		}
		var e *holding
		if i < 0 {
			e = &holding{ref: r.State.Ref, store: r.Store, ready: make(chan struct{})}
			h.all = append(h.all, e)
		} else {
			e = h.all[i]
		}
		h.mu.Unlock()
		if err != nil {
			fmt.Fprintf(talk, "Warning: %s\n", oneLine(err))
		}
		if i < 0 {
			e.err = h.add(ctx, talk, e, r)
			if e.err != nil {
				h.mu.Lock()
				h.all = slices.DeleteFunc(h.all, func(other *holding) bool { return other == e })
				h.mu.Unlock()
			}
			close(e.ready)
			return e, e.err
		}
		select {
		case <-e.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if e.err == nil || !errors.Is(e.err, context.Canceled) {
			return e, e.err
		}
		// Another engine waited for the same lock and is gone: it is this one's turn.
	}
}

// add takes the lock for an engine that needs it.
func (h *holdings) add(ctx context.Context, talk io.Writer, e *holding, r shim.Request) error {
	s, err := h.open(ctx, r.State)
	if err != nil {
		return err
	}
	e.state = s
	if h.Read {
		return h.prepare(ctx, e, true)
	}
	req := h.req
	req.Operation, req.Wait = "run "+r.Call.String(), max(req.Wait, r.Call.LockTimeout())
	set, err := h.acquire(ctx, []State{s}, req, talk)
	if err != nil {
		return err
	}
	e.tenure = set[0]
	h.note(set)
	if err := h.prepare(ctx, e, true); err != nil {
		return errors.Join(err, h.release(settled(ctx), set, false))
	}
	if why := Lockless(s.Backend); why != "" {
		fmt.Fprintf(talk, "Warning: %s, so engines elsewhere may ignore this lock.\n", why)
	}
	h.say("statelatch: %s is locked for %s in %s\n", e.ref, r.Call, statelatch.Printable(fromHere(r.Dir)))
	return nil
}

// fromHere is a directory as seen from the working directory, where it is below that.
func fromHere(dir string) string {
	if here, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(here, dir); err == nil && filepath.IsLocal(rel) {
			return rel
		}
	}
	return dir
}

// held are the states, and the tenures of those that are locked. Nothing may be added any more.
func (h *holdings) held() (set lock.Set) {
	for _, e := range h.all {
		if e.tenure != nil {
			set = append(set, e.tenure)
		}
	}
	return set
}

// Lost is closed when one of the locks is.
func (h *holdings) Lost() <-chan struct{} { return h.lost }

// Remaining is how long none of the locks can be somebody else's.
func (h *holdings) Remaining() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	left := time.Duration(math.MaxInt64)
	for _, e := range h.all {
		select {
		case <-e.ready:
			if e.tenure != nil {
				left = min(left, e.tenure.Remaining())
			}
		default: // not held yet
		}
	}
	return left
}

// moved are the states that changed since the command began.
func (h *holdings) moved(ctx context.Context) ([]statelatch.Ref, error) {
	var refs []statelatch.Ref
	for _, e := range h.all {
		report, err := e.since(ctx)
		if err != nil {
			return nil, fmt.Errorf("whether %s changed meanwhile is not known: %w", e.ref, err)
		}
		if report.Moved {
			refs = append(refs, e.ref)
		}
	}
	return refs, nil
}

// open connects to the state of an engine.
func (h *holdings) open(ctx context.Context, of engine.State) (State, error) {
	if h.Hooks.Open != nil {
		return h.Hooks.Open(ctx, of.Backend, of.Ref)
	}
	backend := of.Backend
	backend.Bucket = of.Ref.Bucket
	s, err := site.Connect(ctx, backend, site.Options{Getenv: h.Getenv})
	return State{Site: s, Ref: of.Ref}, err
}

// namedWorkspace reports whether the state is one that engines create by themselves when they open it.
func (s State) namedWorkspace() bool {
	return s.Backend.Workspace != statelatch.DefaultWorkspace || strings.HasPrefix(s.Ref.Key, "env:/")
}

// keepBefore keeps the state as it is where the bucket keeps no versions: engines write over it. Credentials that may
// not store snapshots are no reason not to run.
func (h *holdings) keepBefore(ctx context.Context, s State, before state.Version) error {
	err := s.Store.Snapshot(ctx, before)
	if errors.Is(err, statelatch.ErrDenied) && !statelatch.BadCredentials(err) {
		h.say("Warning: there will be nothing to roll back to: %s\n", oneLine(err))
		s.Store.Snapshots = false
		return nil
	}
	return err
}

func tenureOf(set lock.Set, ref statelatch.Ref) *lock.Tenure {
	return set[slices.IndexFunc(set, func(t *lock.Tenure) bool { return t.Ref() == ref })]
}
