package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/runner"
	"github.com/statelatch/statelatch/state"
	"github.com/urfave/cli/v3"
)

type runOptions struct {
	targetOptions
	requestOptions
	refs    []string
	command []string
	dir     string // that the command runs in; chdir is where the backend is
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
			"back when it is gone, however it ended. The exit code is the command's. Engines below it, also under\n" +
			"make, terragrunt or a script, do not lock by themselves (TF_CLI_ARGS_plan=-lock=false and so on), so every\n" +
			"state that they write must be among the REFs. If the lock is lost the command is stopped and the exit\n" +
			"code is 12. A state that an engine could not save (errored.tfstate) is saved again or rescued.\n\n" +
			"With -read nothing is locked; at the end it is told whether the state has moved (exit code 15).\n\n" +
			"Examples:\n" +
			"  statelatch run -- terraform apply -auto-approve\n" +
			"  statelatch run -lock-timeout 15m -takeover expired -- make deploy\n" +
			"  statelatch run s3://acme-state/deploys/prod -- ./deploy.sh\n" +
			"  statelatch run -read -- terraform plan -detailed-exitcode",
		Flags: append(append([]cli.Flag{
			&cli.BoolFlag{Name: "read", Usage: "do not lock; tell at the end whether the state changed meanwhile"},
			&durationFlag{Name: "lease", Value: defaultLease, Usage: "how long others must see no renewal before they may take over (default 1m30s)"},
			&durationFlag{Name: "grace", Value: 30 * time.Second, Usage: "how long the command may take to end once it must (default 30s)"},
		}, requestFlags()...), directoryFlags()...),
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
			case o.read && (o.wait > 0 || o.takeOver):
				return usageError{errors.New("-read takes no lock, so -lock-timeout and -takeover have nothing to do")}
			}
			if info, err := os.Stat(cmp.Or(o.dir, ".")); err != nil || !info.IsDir() {
				return usageError{fmt.Errorf("-chdir %q: there is no such directory", o.dir)}
			}
			if len(o.refs) > 0 {
				o.ref = o.refs[0]
			} else if _, dir := engineCall(o.command); filepath.IsAbs(dir) {
				o.chdir = dir
			} else {
				o.chdir = filepath.Join(o.chdir, dir)
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
	targets, err := o.openAll(ctx, term, o.refs)
	if err != nil {
		return err
	}
	if o.read {
		return runRead(ctx, o, targets, term)
	}
	if err := notNested(term, targets...); err != nil {
		return err
	}
	return runLocked(ctx, o, targets, term)
}

// child is the command as package runner runs it.
func (o runOptions) child(term terminal, env []string) runner.Command {
	stdin, _ := term.in.(*os.File)
	return runner.Command{
		Args: o.command, Dir: o.dir, Env: env, Stdin: stdin, Stdout: term.out, Stderr: term.err, Grace: o.grace,
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

// runRead runs the command without a lock and compares the states before and after.
func runRead(ctx context.Context, o runOptions, targets []target, term terminal) error {
	before, err := mark(ctx, targets)
	if err != nil {
		return err
	}
	caught := catch(term)
	defer caught.stop()
	result, err := start(ctx, o.child(term, runner.EngineEnv(os.Environ(), runner.Read)), nil, caught.signals)
	if err != nil {
		return startError{err, result.ExitCode}
	}
	var moved []string
	for i, t := range targets {
		report, err := t.states.Since(settled(ctx), before[i])
		if err != nil {
			return failed(term, result, fmt.Errorf("whether %s changed meanwhile is not known: %w", t.ref, err))
		}
		if report.Moved {
			moved = append(moved, t.ref.String())
		}
	}
	if len(moved) > 0 {
		if result.ExitCode != 0 {
			term.say("statelatch: the command ended with exit code %d\n", result.ExitCode)
		}
		return movedError{moved}
	}
	return ended(result)
}

// runLocked runs the command under the locks of targets.
func runLocked(ctx context.Context, o runOptions, targets []target, term terminal) error {
	req := o.request(term, "run "+programName(o.command))
	req.TTL = o.lease
	for _, t := range targets {
		if t.unlocked != "" {
			term.say("Warning: %s, so engines elsewhere may ignore this lock.\n", t.unlocked)
		}
	}
	set, err := acquireAll(ctx, term, targets, nil, req)
	if err != nil {
		return err
	}
	caught := catch(term)
	defer caught.stop()
	mine := rememberSet(term, set)
	result, runErr := o.underLock(ctx, term, targets, set, caught)
	caught.tidying()
	err = o.giveBack(settled(ctx), term, set, mine, result.Leftover)
	recordRunEnd(ctx, set, result, runErr, err)
	switch {
	case runErr != nil:
		return errors.Join(runErr, err)
	case result.Lost, errors.Is(err, statelatch.ErrLockLost):
		return fmt.Errorf("%w; the command ended with exit code %d", lostBecause(set, err), result.ExitCode)
	case err != nil:
		return failed(term, result, err)
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

// programName is what a lock may tell about a command: everybody who can read the bucket sees it, and arguments may
// be secret. Of an engine the subcommand is told too.
func programName(command []string) string {
	name := strings.TrimSuffix(filepath.Base(command[0]), ".exe")
	subcommand, _ := engineCall(command)
	return strings.TrimSpace(name + " " + subcommand)
}

// engineCall takes the subcommand and the -chdir out of the command line of an engine; both are empty for any other
// program. Only terragrunt has flags that take the next argument for their value.
func engineCall(command []string) (subcommand, chdir string) {
	switch strings.TrimSuffix(filepath.Base(command[0]), ".exe") {
	case "terraform", "tofu":
	case "terragrunt":
		command = command[:min(len(command), 2)]
	default:
		return "", ""
	}
	for _, arg := range command[1:] {
		if !strings.HasPrefix(arg, "-") {
			return arg, chdir
		}
		if dir, ok := strings.CutPrefix(arg, "-chdir="); ok {
			chdir = dir
		}
	}
	return "", chdir
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
func (o runOptions) underLock(ctx context.Context, term terminal, targets []target, set lock.Set, caught *caught) (runner.Result, error) {
	for _, t := range targets {
		if t.namedWorkspace() {
			// The first engine that opens a workspace without a state locks it by itself, whatever its flags say (B18).
			if err := t.states.EnsureExists(ctx, t.ref); err != nil {
				return runner.Result{}, err
			}
		}
	}
	before, err := mark(ctx, targets)
	if err != nil {
		return runner.Result{}, err
	}
	if err := keepBefore(ctx, term, targets, before); err != nil {
		return runner.Result{}, err
	}
	refs := make([]statelatch.Ref, len(targets))
	for i, t := range targets {
		refs[i] = t.ref
		if err := tenureOf(set, t.ref).Verify(ctx); err != nil { // what was read is what the lock guards (R7)
			return runner.Result{}, err
		}
	}
	cmd := o.child(term, runner.WithHeld(runner.EngineEnv(os.Environ(), runner.Write), refs...))
	errored, err := runner.SnapshotErrored(cmd)
	if err != nil {
		return runner.Result{}, err
	}
	watched, stop := context.WithCancel(settled(ctx))
	defer stop()
	result, err := start(ctx, cmd, leaseOf(watched, set), caught.signals)
	if err != nil {
		return result, startError{err, result.ExitCode}
	}
	caught.tidying()
	bounded, cancel := context.WithTimeout(settled(ctx), afterBudget)
	defer cancel()
	after := aftermath{term: term, targets: targets, set: set, before: before}
	after.rescue(bounded, errored)
	after.compare(bounded)
	return result, nil
}

// keepBefore keeps the states as they are where the bucket keeps no versions: engines write over them. Credentials that may not
// store snapshots are no reason not to run.
func keepBefore(ctx context.Context, term terminal, targets []target, before []state.Version) error {
	for i, t := range targets {
		err := t.states.Snapshot(ctx, before[i])
		if errors.Is(err, statelatch.ErrDenied) {
			term.say("Warning: there will be nothing to roll back to: %s\n", oneLine(err))
			t.states.Snapshots = false
		} else if err != nil {
			return err
		}
	}
	return nil
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
	if err == nil || errors.Is(err, statelatch.ErrLockLost) {
		for _, t := range set {
			if forgetErr := mine.forget(t.Ref(), t.Held().Info.ID); forgetErr != nil {
				term.say("Warning: %v\n", forgetErr)
			}
		}
	}
	return err
}

// failed is the end of a run whose command has ended, but not all that had to follow: its exit code stays, unless it is 0.
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
