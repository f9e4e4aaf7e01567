package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/engine"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/runner"
	"github.com/statelatch/statelatch/shim"
	"github.com/statelatch/statelatch/state"
	"github.com/urfave/cli/v3"
)

type runOptions struct {
	targetOptions
	requestOptions
	refs    []string
	command []string
	program []string // command, with the engine's shim in place of the engine
	dir     string   // that the command runs in; chdir is where the backend is
	lease   time.Duration
	grace   time.Duration
	read    bool
}

// The shortest lease of run: renewals at a quarter of it must not be a burden.
const minLease = 2 * time.Second

func runCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "run a command under the lock of its state",
		UsageText: "statelatch run [flags] [REF...] -- COMMAND [ARG...]",
		Description: "Takes the lock, with a lease that is renewed while the command runs, runs the command and gives the lock\n" +
			"back when it is gone, however it ended. The exit code is the command's. If the lock is lost the command\n" +
			"is stopped and the exit code is 12. A state that an engine could not save (errored.tfstate) is saved again\n" +
			"or rescued.\n\n" +
			"Engines below the command, also under make, terragrunt or a script, need no list: the state of each is\n" +
			"locked when it starts, unless it is locked already, and until the command is gone; only then is the engine's\n" +
			"own lock switched off. run puts itself in front of terraform and tofu in the PATH for that. An engine that is\n" +
			"started by its path keeps its own lock, and stops where run holds it.\n\n" +
			"With -read nothing is locked; at the end it is told whether a state has moved (exit code 15).\n\n" +
			"Examples:\n" +
			"  statelatch run -- terraform apply -auto-approve\n" +
			"  statelatch run -lock-timeout 15m -takeover expired -- make deploy\n" +
			"  statelatch run -- terragrunt run --all apply\n" +
			"  statelatch run s3://acme-state/deploys/prod -- ./deploy.sh\n" +
			"  statelatch run -read -- terraform plan -detailed-exitcode",
		Flags: append(append([]cli.Flag{
			&cli.BoolFlag{Name: "read", Usage: "do not lock; tell at the end whether the state changed meanwhile"},
			&durationFlag{Name: "lease", Value: defaultLease, Usage: "how long others must see no renewal before they may take over (default 1m30s)"},
			&durationFlag{Name: "grace", Value: 30 * time.Second, Usage: "how long the command may take to end once it must (default 30s)"},
		}, requestFlags()...), without(directoryFlags(), "endpoint")...),
		OnUsageError: func(_ context.Context, c *cli.Command, err error, _ bool) error {
			return usageError{fmt.Errorf("%w; write -- before COMMAND if that is meant for it", badUsage(c, err))}
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			o := runOptions{
				targetOptions: targetOf(c, ""), lease: c.Duration("lease"), grace: c.Duration("grace"), read: c.Bool("read"),
				command: c.Args().Slice(), dir: c.String("chdir"),
			}
			for len(o.command) > 0 && strings.HasPrefix(o.command[0], "s3://") {
				o.refs, o.command = append(o.refs, o.command[0]), o.command[1:]
			}
			var err error
			if o.requestOptions, err = requestOf(c); err != nil {
				return err
			}
			if err := notTwice(o.refs); err != nil {
				return err
			}
			switch {
			case len(o.command) == 0:
				return usageError{errors.New("no command: statelatch run [flags] [REF...] -- COMMAND [ARG...]")}
			case o.lease < minLease || o.lease%time.Second != 0:
				return usageError{fmt.Errorf("-lease %v: whole seconds, at least %v", o.lease, minLease)}
			case o.grace <= 0:
				return usageError{fmt.Errorf("-grace %v: it must be positive", o.grace)}
			case o.read && (o.wait > 0 || o.takeOver || o.fenceAlways):
				return usageError{errors.New("-read takes no lock, so -lock-timeout, -takeover and -fence have nothing to do")}
			}
			if info, err := os.Stat(cmp.Or(o.dir, ".")); err != nil || !info.IsDir() {
				return usageError{fmt.Errorf("-chdir %q: there is no such directory", o.dir)}
			}
			if len(o.refs) > 0 {
				o.ref = o.refs[0]
			} else if call, ok := engineCall(o.command, term); ok {
				o.chdir = call.Dir(o.chdir)
			}
			return o.finish(ctx, term, runRun(ctx, o, term))
		},
	}
}

// childError is the exit code of the command that run ran.
type childError struct{ code int }

func (e childError) Error() string { return fmt.Sprintf("the command ended with exit code %d", e.code) }

// movedError: the state changed while -read ran.
type movedError struct{ refs []string }

func (e movedError) Error() string {
	return "the state changed while the command ran, so what it read is out of date: " + strings.Join(e.refs, ", ")
}

func runRun(ctx context.Context, o runOptions, term terminal) error {
	targets, err := o.targets(ctx, term)
	if err != nil {
		return err
	}
	if !o.read {
		if err := notNested(ctx, term, targets...); err != nil {
			return err
		}
	}
	shims, err := shim.Open(ctx, term.getenv("PATH"))
	if err != nil {
		return err
	}
	defer func() {
		if err := shims.Close(); err != nil {
			term.say("Warning: %s\n", oneLine(err))
		}
	}()
	return o.withShims(ctx, term, targets, shims)
}

// targets are the states to hold from the start: the REFs, else that of the engine or of the working directory. None:
// the states of engines that the command starts are held when they start.
func (o runOptions) targets(ctx context.Context, term terminal) ([]target, error) {
	call, isEngine := engineCall(o.command, term)
	var own engine.State
	ownErr := engine.ErrUnsure
	if isEngine {
		own, ownErr = call.State(o.dir, term.getenv)
	}
	if len(o.refs) == 0 {
		// What is wrong with a flag is an error, what is wrong with the directory may be an engine's to say.
		_, err := o.backend(ctx, term)
		switch {
		case isEngine && errors.Is(ownErr, engine.ErrPlan):
			return nil, nil // the engine keeps its own lock, and says so when it starts
		case isEngine && ownErr == nil && own.Planned:
			o.reach(&own.Backend)
			t, err := connect(ctx, term, own.Ref, own.Backend)
			t.again = targetOptions{ref: own.Ref.String(), owner: o.owner}.again(term)
			return []target{t}, err
		case !isEngine && errors.Is(err, statelatch.ErrInvalid) && len(o.backendConfig) == 0:
			if backendconf.IsElsewhere(err) {
				err = errors.New("there is no backend \"s3\" here")
			}
			term.say("statelatch: nothing is locked yet (%s); the states of engines are locked when the command starts them\n", oneLine(err))
			return nil, nil
		}
	}
	targets, err := o.openAll(ctx, term, o.refs)
	if err == nil && len(o.refs) > 0 {
		noteMissing(ctx, term, targets, false)
	}
	if err != nil || !isEngine {
		return targets, err
	}
	switch named := slices.ContainsFunc(targets, func(t target) bool { return t.ref == own.Ref }); {
	case ownErr == nil && !named:
		return nil, usageError{fmt.Errorf("%s works on another state than %s: on %s, by %s. "+
			"Leave the REF out to lock that one, or start %s where the REF's state belongs", call, targets[0].ref, own.Ref, own.Backend.Source, call.Name)}
	case backendconf.IsElsewhere(ownErr):
		term.say("Warning: what %s does here is not locked by this run: %s\n", call, oneLine(ownErr))
	}
	return targets, nil
}

// withShims runs the command with shims in front of its engines.
func (o runOptions) withShims(ctx context.Context, term terminal, targets []target, shims *shim.Dir) error {
	program, err := shims.Program(o.command[0])
	if err != nil {
		return err
	}
	o.program = append([]string{program}, o.command[1:]...)
	if o.read {
		return runRead(ctx, o, targets, term, shims)
	}
	return runLocked(ctx, o, targets, term, shims)
}

// child is the command as package runner runs it.
func (o runOptions) child(term terminal, env []string) runner.Command {
	stdin, _ := term.in.(*os.File)
	return runner.Command{
		Args: o.program, Dir: o.dir, Env: env, Stdin: stdin, Stdout: term.out, Stderr: term.err, Grace: o.grace,
		Notify: func(e runner.Event) { term.say("statelatch: %s\n", eventText(e)) },
	}
}

// start runs the command; the end of ctx, which a signal causes, is the runner's to handle.
func start(ctx context.Context, cmd runner.Command, lease runner.Lease, signals <-chan os.Signal) (runner.Result, error) {
	if ctx.Err() != nil {
		return runner.Result{ExitCode: exitInterrupted}, fmt.Errorf("%w before the command was started", ctx.Err())
	}
	return runner.Run(context.WithoutCancel(ctx), cmd, lease, signals)
}

// engineDirs are the directories in which an engine may leave a state that it could not save.
func (o runOptions) engineDirs(term terminal) []string {
	dirs := []string{o.dir}
	if call, ok := engineCall(o.command, term); ok {
		dirs = append(dirs, call.Dir(o.dir))
	}
	return dirs
}

// runRead runs the command without a lock and compares the states before and after.
func runRead(ctx context.Context, o runOptions, targets []target, term terminal, shims *shim.Dir) error {
	watched, stop := context.WithCancel(settled(ctx))
	defer stop()
	h := newHoldings(watched, term, o, lock.Request{})
	if err := errors.Join(h.begin(ctx, targets), h.prepareAll(ctx)); err != nil {
		return err
	}
	caught := catch(term)
	defer caught.stop()
	result, err := o.serve(ctx, term, h, nil, shims, caught)
	if err != nil {
		return startError{err, result.ExitCode}
	}
	moved, err := h.moved(settled(ctx))
	if err != nil {
		return failed(term, result, err)
	}
	if len(moved) > 0 {
		if result.ExitCode != 0 {
			term.say("statelatch: the command ended with exit code %d\n", result.ExitCode)
		}
		return movedError{moved}
	}
	return ended(result)
}

// serve runs the command, and answers the engines that it starts until it is gone.
func (o runOptions) serve(ctx context.Context, term terminal, h *holdings, lease runner.Lease, shims *shim.Dir, caught *caught) (runner.Result, error) {
	var err error
	if h.errored, err = runner.SnapshotErrored(o.engineDirs(term)...); err != nil {
		return runner.Result{}, err
	}
	asking, stop := context.WithCancel(settled(ctx))
	shims.Serve(asking, h.hold)
	var held []runner.HeldState
	for _, t := range h.all {
		if t.tenure != nil {
			held = append(held, runner.HeldState{Ref: t.ref, Store: t.store})
		}
	}
	result, err := start(ctx, o.child(term, shims.Env(runner.WithHeld(os.Environ(), held...))), lease, caught.signals)
	stop()
	_ = shims.Close() // runRun tells what went wrong with it
	if h.outlived(caught.signals) {
		result.Leftover = true
	}
	return result, err
}

// runLocked runs the command under the locks of targets, and of what its engines need.
func runLocked(ctx context.Context, o runOptions, targets []target, term terminal, shims *shim.Dir) error {
	req := o.request(term, "run "+programName(o.command, term))
	req.TTL = o.lease
	for _, t := range targets {
		if t.unlocked != "" {
			term.say("Warning: %s, so engines elsewhere may ignore this lock.\n", t.unlocked)
		}
	}
	watched, stop := context.WithCancel(settled(ctx))
	defer stop()
	h := newHoldings(watched, term, o, req)
	if err := h.begin(ctx, targets); err != nil {
		return err
	}
	caught := catch(term)
	defer caught.stop()
	result, runErr := o.underLock(ctx, term, h, shims, caught)
	caught.tidying()
	_, set, _ := h.held()
	err := o.giveBack(settled(ctx), term, set, h.mine, result.Leftover)
	recordRunEnd(ctx, set, result, runErr, err)
	switch {
	case runErr != nil:
		return errors.Join(runErr, err)
	case result.Lost, errors.Is(err, statelatch.ErrLockLost):
		return fmt.Errorf("%w; the command ended with exit code %d", lostBecause(set, err), result.ExitCode)
	case err != nil:
		return failed(term, result, err)
	case len(set) == 0:
		term.say("Warning: nothing was locked: the command started no engine whose state is in S3.\n")
	}
	return ended(result)
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

// programName is what a lock may tell about a command: everybody who can read the bucket sees it, and arguments may be
// secret. Of an engine the subcommand is told too, also of terragrunt, which has flags that take the next argument for
// their value.
func programName(command []string, term terminal) string {
	if call, ok := engineCall(command, term); ok {
		return call.String()
	}
	name := strings.TrimSuffix(filepath.Base(command[0]), ".exe")
	if name == "terragrunt" && len(command) > 1 && !strings.HasPrefix(command[1], "-") {
		name += " " + command[1]
	}
	return name
}

// engineCall is the call of an engine that a command is; ok is false for any other program.
func engineCall(command []string, term terminal) (call engine.Call, ok bool) {
	name := engine.NameOf(command[0])
	return engine.Parse(name, command[1:], term.getenv), name != ""
}

// rememberSet notes the locks, so that 'statelatch unlock' knows them as this user's if this process is killed.
func rememberSet(term terminal, set lock.Set) claims {
	mine, err := openClaims(term.getenv)
	for _, t := range set {
		if err == nil {
			err = mine.remember(t.Ref(), t.Held().Info.ID, time.Now())
		}
	}
	if err != nil {
		term.say("Warning: these locks will not be remembered: %v\n", err)
	}
	return mine
}

// underLock runs the command and looks after the states, all while the locks are held.
func (o runOptions) underLock(ctx context.Context, term terminal, h *holdings, shims *shim.Dir, caught *caught) (runner.Result, error) {
	if err := h.prepareAll(ctx); err != nil {
		return runner.Result{}, err
	}
	result, err := o.serve(ctx, term, h, h, shims, caught)
	if err != nil {
		return result, startError{err, result.ExitCode}
	}
	caught.tidying()
	bounded, cancel := context.WithTimeout(settled(ctx), afterBudget)
	defer cancel()
	targets, set, before := h.held()
	after := aftermath{term: term, targets: targets, set: set, before: before, dirs: h.dirs}
	after.rescue(bounded, h.errored)
	after.compare(bounded)
	return result, nil
}

// keepBefore keeps the state as it is where the bucket keeps no versions: engines write over it. Credentials that may
// not store snapshots are no reason not to run.
func keepBefore(ctx context.Context, term terminal, t target, before state.Version) error {
	err := t.Store.Snapshot(ctx, before)
	if errors.Is(err, statelatch.ErrDenied) && !statelatch.BadCredentials(err) {
		term.say("Warning: there will be nothing to roll back to: %s\n", oneLine(err))
		t.Store.Snapshots = false
		return nil
	}
	return err
}

// giveBack releases the locks, unless something of the command still runs.
func (o runOptions) giveBack(ctx context.Context, term terminal, set lock.Set, mine claims, leftover bool) error {
	if leftover {
		for _, t := range set {
			t.Abandon()
		}
		return fmt.Errorf("processes of the command still run, so its locks are not released: end those first, then 'statelatch unlock' works; "+
			"others can take the locks over in %v", o.lease)
	}
	weak, err := set.Release(ctx)
	warnWeak(term, weak)
	for _, t := range set {
		if !t.Gone() {
			continue
		}
		if forgetErr := mine.forget(t.Ref(), t.Held().Info.ID); forgetErr != nil {
			term.say("Warning: %v\n", forgetErr)
		}
	}
	return err
}

// failed is the end of a run whose command has ended, but not all that had to follow: its exit code stays, unless it is
// 0.
func failed(term terminal, result runner.Result, err error) error {
	term.say("Error: %s\n", oneLine(err))
	if result.ExitCode == 0 {
		result.ExitCode = exitError
	}
	return ended(result)
}

// ended is the error that stands for the command's exit code.
func ended(result runner.Result) error {
	if result.ExitCode == 0 {
		return nil
	}
	return reportedError{childError{result.ExitCode}}
}

// startError is a command that could not be started, with the exit code that shells have for it.
type startError struct {
	error
	code int
}

func (e startError) Unwrap() error { return e.error }

// settled is for what must be done although a signal has ended ctx: the command is gone, its traces are not.
func settled(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }
