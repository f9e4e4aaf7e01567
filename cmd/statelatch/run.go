package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/engine"
	"github.com/statelatch/statelatch/internal/claims"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/state"
	"github.com/statelatch/statelatch/wrap"
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
			&durationFlag{
				Name: "lease", Value: defaultLease,
				Usage: "how long others must see no renewal before they may take over (default 1m30s)",
			},
			&durationFlag{
				Name: "grace", Value: 30 * time.Second,
				Usage: "how long the command may take to end once it must (default 30s)",
			},
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
			} else if call, ok := wrap.EngineCall(o.command, term.Getenv); ok {
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
type movedError struct{ refs []statelatch.Ref }

func (e movedError) Error() string {
	var names []string
	for _, ref := range e.refs {
		names = append(names, ref.String())
	}
	return "the state changed while the command ran, so what it read is out of date: " + strings.Join(names, ", ")
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
		for _, t := range targets {
			if t.unlocked != "" {
				term.Say("Warning: %s, so engines elsewhere may ignore this lock.\n", t.unlocked)
			}
		}
	}
	term.Err = &oneAtATime{w: term.Err} // several engines talk at a time
	req := o.request(term, "run "+wrap.ProgramName(o.command, term.Getenv))
	req.TTL = o.lease
	caught := catch(term)
	defer caught.stop()
	stdin, _ := term.In.(*os.File)
	options := wrap.Options{
		Read: o.read, Command: o.command, Dir: o.dir, Stdin: stdin, Stdout: term.Out, Stderr: term.Err, Getenv: term.Getenv,
		Grace: o.grace, Signals: caught.signals, Request: req, Hooks: o.hooks(term, caught, targets),
	}
	for _, t := range targets {
		options.States = append(options.States, t.wrapped())
	}
	result, err := wrap.Run(ctx, options)
	start, after := (*wrap.StartError)(nil), (*wrap.AfterError)(nil)
	switch {
	case errors.As(err, &start):
		return startError{err, start.ExitCode}
	case errors.As(err, &after): // the command's exit code stays, unless it is 0
		term.Say("Error: %s\n", oneLine(err))
		return ended(cmp.Or(result.ExitCode, exitError))
	case err != nil:
		return err
	case len(result.Moved) > 0:
		if result.ExitCode != 0 {
			term.Say("statelatch: the command ended with exit code %d\n", result.ExitCode)
		}
		return movedError{result.Moved}
	case result.Nothing && !o.read:
		term.Say("Warning: nothing was locked: the command started no engine whose state is in S3.\n")
	}
	return ended(result.ExitCode)
}

// ended is the error that stands for the command's exit code.
func ended(code int) error {
	if code == 0 {
		return nil
	}
	return reportedError{childError{code}}
}

// wrapped is t as package wrap has it.
func (t target) wrapped() wrap.State {
	return wrap.State{Site: t.Site, Ref: t.ref, Command: t.again.command}
}

// hooks are how run does what a program does its own way: with records, claims and words.
func (o runOptions) hooks(term terminal, caught *caught, targets []target) wrap.Hooks {
	mine, err := claims.Open(term.Getenv)
	if err != nil && !o.read {
		term.Say("Warning: these locks will not be remembered: %v\n", err)
	}
	at := func(talk io.Writer) terminal {
		t := term
		t.Err, t.Live = talk, false
		return t
	}
	again := func(ref statelatch.Ref) naming {
		if i := slices.IndexFunc(targets, func(t target) bool { return t.ref == ref }); i >= 0 {
			return targets[i].again
		}
		return targetOptions{ref: ref.String(), owner: o.owner}.again(term)
	}
	first := len(targets) > 0
	return wrap.Hooks{
		Open: func(ctx context.Context, backend backendconf.Backend, ref statelatch.Ref) (wrap.State, error) {
			backend.S3.ExpectedBucketOwner = o.owner
			t, err := connect(ctx, term, ref, backend)
			t.again = again(ref)
			return t.wrapped(), err
		},
		Acquire: func(ctx context.Context, states []wrap.State, req lock.Request, talk io.Writer) (lock.Set, error) {
			on := at(talk)
			if first { // nobody else waits, so what is said can be kept up to date
				on, first = term, false
			}
			targets := make([]target, len(states))
			for i, s := range states {
				targets[i] = target{Site: s.Site, ref: s.Ref, again: again(s.Ref)}
			}
			return acquireAll(ctx, on, targets, nil, req)
		},
		Refuse: func(ctx context.Context, ref statelatch.Ref, err error, talk io.Writer) int {
			report(ctx, at(talk), commandLine{Name: "statelatch run"},
				targetOptions{ref: ref.String(), owner: o.owner}.finish(ctx, at(talk), err))
			return exitCode(ctx, err)
		},
		Write: func(ctx context.Context, s wrap.State, t *lock.Tenure, body io.ReadSeeker) (state.Version, error) {
			return target{Site: s.Site, ref: s.Ref}.write(ctx, t, body, state.WriteOptions{OfEngine: true})
		},
		Rescued:  audit.Rescued,
		Compared: audit.Compared,
		Held: func(set lock.Set) {
			for _, t := range set {
				if err := mine.Remember(t.Ref(), t.Held().Info.ID, time.Now()); err != nil {
					term.Say("Warning: this lock will not be remembered: %v\n", err)
				}
			}
		},
		Gone: func(ref statelatch.Ref, id string) {
			if err := mine.Forget(ref, id); err != nil {
				term.Say("Warning: %v\n", err)
			}
		},
		Ended:    caught.tidying,
		Released: audit.Ran,
		Say:      func(line string) { term.Say("%s", line) },
	}
}

// targets are the states to hold from the start: the REFs, else that of the engine or of the working directory. None:
// the states of engines that the command starts are held when they start.
func (o runOptions) targets(ctx context.Context, term terminal) ([]target, error) {
	call, isEngine := wrap.EngineCall(o.command, term.Getenv)
	var own engine.State
	ownErr := engine.ErrUnsure
	if isEngine {
		own, ownErr = call.State(o.dir, term.Getenv)
	}
	if len(o.refs) == 0 {
		// What is wrong with a flag is an error, what is wrong with the directory may be an engine's to say.
		_, err := o.backend(ctx, term)
		switch {
		case isEngine && errors.Is(ownErr, engine.ErrPlan):
			return nil, nil // the engine keeps its own lock, and says so when it starts
		case isEngine && ownErr == nil && own.Planned:
			o.line(term).Reach(&own.Backend)
			t, err := connect(ctx, term, own.Ref, own.Backend)
			t.again = targetOptions{ref: own.Ref.String(), owner: o.owner}.again(term)
			return []target{t}, err
		case !isEngine && errors.Is(err, statelatch.ErrInvalid) && len(o.backendConfig) == 0:
			if backendconf.IsElsewhere(err) {
				err = errors.New("there is no backend \"s3\" here")
			}
			term.Say("statelatch: nothing is locked yet (%s); the states of engines are locked when the command starts them\n",
				oneLine(err))
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
			"Leave the REF out to lock that one, or start %s where the REF's state belongs", call, targets[0].ref, own.Ref,
			own.Backend.Source, call.Name)}
	case backendconf.IsElsewhere(ownErr):
		term.Say("Warning: what %s does here is not locked by this run: %s\n", call, oneLine(ownErr))
	}
	return targets, nil
}

// oneAtATime lets several write whole lines.
type oneAtATime struct {
	mu sync.Mutex
	w  io.Writer
}

func (w *oneAtATime) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}

// startError is a command that could not be started, with the exit code that shells have for it.
type startError struct {
	error
	code int
}

func (e startError) Unwrap() error { return e.error }
