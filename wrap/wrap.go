// Package wrap runs a command under the locks of its states, as 'statelatch run' does: a shell script, make,
// terragrunt, or an engine itself.
//
// What it guarantees: an engine's own lock is switched off only where the lock of that engine's state is held; what a
// command holds is released when it is gone, however it ended, and never over the head of something of it that still
// runs; the command is stopped when a lock is lost, before the lease is over; a state that an engine could not save is
// saved again or kept in the bucket; and what was overwritten in spite of the lock is told. What it does not: an
// engine's write has no condition, so nothing here can stop one that was overtaken.
package wrap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/engine"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/runner"
	"github.com/statelatch/statelatch/shim"
	"github.com/statelatch/statelatch/site"
	"github.com/statelatch/statelatch/state"
)

// State is a state of a command, and the way to it.
type State struct {
	*site.Site

	Ref statelatch.Ref // of the state
	// Command is how a person names the state in a command of theirs, of which verb is the first word or more; nil:
	// "statelatch VERB REF".
	Command func(verb string) string
}

func (s State) command(verb string) string {
	if s.Command != nil {
		return s.Command(verb)
	}
	return "statelatch " + verb + " " + s.Ref.String()
}

// Options say what to run, and under what.
type Options struct {
	// States are held from the start, all or none. Those of engines that the command starts are held when they start.
	States []State
	// Read holds no lock: the states are compared before and after.
	Read bool

	Command        []string            // the program and its arguments; required
	Dir            string              // that it runs in; empty: this process's
	Stdin          *os.File            // nil: none
	Stdout, Stderr io.Writer           // the command's
	Getenv         func(string) string // nil: os.Getenv
	// Grace is how long the command may take to end once it must.
	Grace time.Duration
	// Signals are those that would end this process, while the command runs.
	Signals <-chan os.Signal

	// Request is what the locks say, and how they are got. Its TTL, the lease, is required unless Read is set.
	Request lock.Request
	Hooks   Hooks // the zero value is good
}

// Hooks are what a program does its own way. Nil functions do what goes without saying.
type Hooks struct {
	// Open connects to the state of an engine; nil: as site.Connect does.
	Open func(ctx context.Context, backend backendconf.Backend, ref statelatch.Ref) (State, error)
	// Acquire takes the locks of all states or of none, once their stores are proven to lock. Talk is shown to who waits.
	Acquire func(ctx context.Context, states []State, req lock.Request, talk io.Writer) (lock.Set, error)
	// Refuse words for an engine, on talk, why its state cannot be had, and returns the exit code that it ends with.
	Refuse func(ctx context.Context, ref statelatch.Ref, err error, talk io.Writer) int
	// Write writes a state that an engine could not save; nil: as state.Session does.
	Write func(ctx context.Context, s State, t *lock.Tenure, body io.ReadSeeker) (state.Version, error)
	// Rescued is told that a copy of a state which could not be saved was kept in the bucket, at key.
	Rescued func(ctx context.Context, t *lock.Tenure, key string)
	// Compared is told what became of a state while it was locked.
	Compared func(ctx context.Context, r state.Report)
	// Held is told of locks that were taken, Gone of those that are not there any more.
	Held func(lock.Set)
	Gone func(ref statelatch.Ref, id string) // see Held
	// Ended is told, once the command is gone, before the states are looked after: one more signal may pass.
	Ended func()
	// Released is told how it all ended, once the locks are released.
	Released func(ctx context.Context, set lock.Set, exitCode int, runErr, releaseErr error)
	// Say is told what happens, a line at a time, which ends with a newline; nil: nothing is said.
	Say func(line string)
}

// Result is how a command ended.
type Result struct {
	ExitCode int              // the command's, as in runner.Result
	Moved    []statelatch.Ref // states that changed while it ran, with Read
	// Nothing: no lock was ever held, because the command started no engine whose state is in S3.
	Nothing bool
}

// StartError is a command that could not be started.
type StartError struct {
	Err      error // why
	ExitCode int   // that shells have for it
}

// Error is the cause's.
func (e *StartError) Error() string { return e.Err.Error() }

// Unwrap is the cause.
func (e *StartError) Unwrap() error { return e.Err }

// AfterError is what could not be done once the command had ended as it has.
type AfterError struct {
	Err error // why
}

// Error is the cause's.
func (e *AfterError) Error() string { return e.Err.Error() }

// Unwrap is the cause.
func (e *AfterError) Unwrap() error { return e.Err }

// Run runs the command. Engines below it meet this very program, under their names, first in their PATH. So its main
// must begin with
//
//	if code, ok := shim.Main(os.Args); ok {
//		os.Exit(code)
//	}
//
// The errors:
//
//	nil            it has ended, with the exit code in the Result, and every lock was held until it was released
//	*StartError    it could not be started; nothing is held any more
//	ErrLockLost    a lock was lost while it ran, and it was stopped; or its lock was gone at the end
//	*AfterError    it has ended, but a lock could not be released, or with Read a state not be compared
//	other          of getting the locks; the command was not started
func Run(ctx context.Context, o Options) (Result, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if len(o.Command) == 0 || !o.Read && o.Request.TTL == 0 {
		return Result{}, fmt.Errorf("%w run: a command is required, and a lease", statelatch.ErrInvalid)
	}
	if !shim.CanServe() {
		return Result{}, fmt.Errorf("%w program: its main must begin with shim.Main, which turns it into the engines' shims",
			statelatch.ErrInvalid)
	}
	shims, err := shim.Open(ctx, o.Getenv("PATH"))
	if err != nil {
		return Result{}, err
	}
	r := &run{Options: o, shims: shims}
	defer func() {
		if err := shims.Close(); err != nil {
			r.say("Warning: %s\n", oneLine(err))
		}
	}()
	if r.program, err = shims.Program(o.Command[0]); err != nil {
		return Result{}, err
	}
	if o.Read {
		return r.read(ctx)
	}
	return r.locked(ctx)
}

// run is one run.
type run struct {
	Options

	shims   *shim.Dir
	program string // the command, with the engine's shim in place of the engine
}

func (r *run) say(format string, args ...any) {
	if r.Hooks.Say != nil {
		r.Hooks.Say(fmt.Sprintf(format, args...))
	}
}

// read runs the command without a lock and compares the states before and after.
func (r *run) read(ctx context.Context) (Result, error) {
	watched, stop := context.WithCancel(settled(ctx))
	defer stop()
	h := newHoldings(watched, r)
	if err := errors.Join(h.begin(ctx), h.prepareAll(ctx)); err != nil {
		return Result{}, err
	}
	child, err := r.serve(ctx, h, nil)
	if err != nil {
		return Result{}, &StartError{err, child.ExitCode}
	}
	result := Result{ExitCode: child.ExitCode}
	if result.Moved, err = h.moved(settled(ctx)); err != nil {
		return result, &AfterError{err}
	}
	return result, nil
}

// locked runs the command under the locks of its states, and of what its engines need.
func (r *run) locked(ctx context.Context) (Result, error) {
	watched, stop := context.WithCancel(settled(ctx))
	defer stop()
	h := newHoldings(watched, r)
	if err := h.begin(ctx); err != nil {
		return Result{}, err
	}
	child, runErr := r.underLock(ctx, h)
	r.ended()
	set := h.held()
	err := r.release(settled(ctx), set, child.Leftover)
	if r.Hooks.Released != nil {
		r.Hooks.Released(ctx, set, child.ExitCode, runErr, err)
	}
	result := Result{ExitCode: child.ExitCode, Nothing: len(set) == 0}
	switch {
	case runErr != nil:
		return result, errors.Join(runErr, err)
	case child.Lost, errors.Is(err, statelatch.ErrLockLost):
		return result, fmt.Errorf("%w; the command ended with exit code %d", lostBecause(set, err), child.ExitCode)
	case err != nil:
		return result, &AfterError{err}
	}
	return result, nil
}

func (r *run) ended() {
	if r.Hooks.Ended != nil {
		r.Hooks.Ended()
	}
}

// lostBecause is why a lock was lost: what was seen while it was held says more than what its release met.
func lostBecause(set lock.Set, releaseErr error) error {
	for _, t := range set {
		if err := t.Err(); err != nil {
			if releaseErr != nil && !errors.Is(releaseErr, statelatch.ErrLockLost) {
				err = errors.Join(err, releaseErr)
			}
			return err
		}
	}
	return cmp.Or(releaseErr, statelatch.ErrLockLost)
}

// underLock runs the command and looks after the states, all while the locks are held.
func (r *run) underLock(ctx context.Context, h *holdings) (runner.Result, error) {
	if err := h.prepareAll(ctx); err != nil {
		return runner.Result{}, err
	}
	result, err := r.serve(ctx, h, h)
	if err != nil {
		return result, &StartError{err, result.ExitCode}
	}
	r.ended()
	bounded, cancel := context.WithTimeout(settled(ctx), afterBudget)
	defer cancel()
	after := aftermath{run: r, all: h.all, set: h.held(), dirs: h.dirs}
	after.rescue(bounded, h.errored)
	after.compare(bounded)
	return result, nil
}

// serve runs the command, and answers the engines that it starts until it is gone.
func (r *run) serve(ctx context.Context, h *holdings, lease runner.Lease) (runner.Result, error) {
	var err error
	if h.errored, err = runner.SnapshotErrored(r.engineDirs()...); err != nil {
		return runner.Result{}, err
	}
	asking, stop := context.WithCancel(settled(ctx))
	r.shims.Serve(asking, h.hold)
	var held []runner.HeldState
	for _, t := range h.all {
		if t.tenure != nil {
			held = append(held, runner.HeldState{Ref: t.state.Ref, Store: t.store})
		}
	}
	result, err := r.start(ctx, r.shims.Env(runner.WithHeld(os.Environ(), held...)), lease)
	stop()
	_ = r.shims.Close() // Run tells what went wrong with it
	if h.outlived(r.Signals) {
		result.Leftover = true
	}
	return result, err
}

// interrupted is the exit code that shells have for it.
const interrupted = 130

// start runs the command; the end of ctx, which a signal causes, is the runner's to handle.
func (r *run) start(ctx context.Context, env []string, lease runner.Lease) (runner.Result, error) {
	if ctx.Err() != nil {
		return runner.Result{ExitCode: interrupted}, fmt.Errorf("%w before the command was started", ctx.Err())
	}
	return runner.Run(context.WithoutCancel(ctx), runner.Command{
		Args: append([]string{r.program}, r.Command[1:]...), Dir: r.Dir, Env: env, Stdin: r.Stdin, Stdout: r.Stdout,
		Stderr: r.Stderr, Grace: r.Grace,
		Notify: func(e runner.Event) { r.say("statelatch: %s\n", eventText(e)) },
	}, lease, r.Signals)
}

// engineDirs are the directories in which an engine may leave a state that it could not save.
func (r *run) engineDirs() []string {
	dirs := []string{r.Dir}
	if call, ok := EngineCall(r.Command, r.Getenv); ok {
		dirs = append(dirs, call.Dir(r.Dir))
	}
	return dirs
}

// WeakRelease says what a store without conditional delete could not exclude.
const WeakRelease = "Warning: weak release: this store has no conditional delete, so a lock taken by somebody else\n" +
	"in the instant between the check and the delete would have been removed with it.\n"

// release releases the locks, unless something of the command still runs.
func (r *run) release(ctx context.Context, set lock.Set, leftover bool) error {
	if leftover {
		for _, t := range set {
			t.Abandon()
		}
		return fmt.Errorf("processes of the command still run, so its locks are not released: end those first, then "+
			"'statelatch unlock' works; "+
			"others can take the locks over in %v", r.Request.TTL)
	}
	weak, err := set.Release(ctx)
	if weak {
		r.say("%s", WeakRelease)
	}
	for _, t := range set {
		if t.Gone() && r.Hooks.Gone != nil {
			r.Hooks.Gone(t.Ref(), t.Held().Info.ID)
		}
	}
	return err
}

// EngineCall is the call of an engine that a command is; ok is false for any other program.
func EngineCall(command []string, getenv func(string) string) (call engine.Call, ok bool) {
	name := engine.NameOf(command[0])
	return engine.Parse(name, command[1:], getenv), name != ""
}

// ProgramName is what a lock may tell about a command: everybody who can read the bucket sees it, and arguments may be
// secret. Of an engine the subcommand is told too, also of terragrunt, which has flags that take the next argument for
// their value.
func ProgramName(command []string, getenv func(string) string) string {
	if call, ok := EngineCall(command, getenv); ok {
		return call.String()
	}
	name := strings.TrimSuffix(filepath.Base(command[0]), ".exe")
	if name == "terragrunt" && len(command) > 1 && !strings.HasPrefix(command[1], "-") {
		name += " " + command[1]
	}
	return name
}

// Lockless says why engines do not lock with a backend; empty if they do.
func Lockless(b backendconf.Backend) string {
	if b.UseLockfile || b.DynamoDBTable != "" {
		return ""
	}
	return "the backend of this directory does not lock (use_lockfile is not true, and there is no dynamodb_table)"
}

// HeldAround reports whether a run around this process holds the lock of a state in a store, as s3bucket.Bucket.Store
// names it: whoever waited for it would wait for themselves.
func HeldAround(ctx context.Context, getenv func(string) string, ref statelatch.Ref, store string) bool {
	for _, held := range runner.HeldStates(getenv) { // what it began with, also where a PATH of one's own hides the run
		if held == (runner.HeldState{Ref: ref, Store: store}) {
			return true
		}
	}
	return outerHolds(ctx, getenv, ref, store)
}

// outerHolds reports whether the lock is held by a run around this process.
func outerHolds(ctx context.Context, getenv func(string) string, ref statelatch.Ref, store string) bool {
	above, ok := shim.Find(getenv("PATH"))
	return ok && above.Holds(ctx, ref, store)
}

// settled is for what must be done although a signal has ended ctx: the command is gone, its traces are not.
func settled(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

func oneLine(err error) string {
	return statelatch.Printable(strings.ReplaceAll(err.Error(), "\n", "; "))
}
