package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/lock"
	"github.com/urfave/cli/v3"
)

// targetOptions say which state a command is about.
type targetOptions struct {
	ref           string // empty: the working directory decides
	chdir         string
	backendConfig []string
	json          bool
}

// targetFlags are the flags of every command that is about a state.
func targetFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "chdir", Usage: "look for the backend configuration there"},
		&cli.StringSliceFlag{
			Name:        "backend-config",
			Usage:       "a backend argument, as for init; also with REF; repeatable",
			HideDefault: true,
		},
		&cli.BoolFlag{Name: "json", Usage: "print the result as JSON (docs/JSON.md)"},
	}
}

func targetOf(c *cli.Command, ref string) targetOptions {
	return targetOptions{
		ref: ref, chdir: c.String("chdir"), backendConfig: c.StringSlice("backend-config"), json: c.Bool("json"),
	}
}

// oneRef takes the optional REF off a command's arguments.
func oneRef(c *cli.Command) (string, error) {
	switch args := c.Args().Slice(); len(args) {
	case 0:
		return "", nil
	case 1:
		return args[0], nil
	default:
		return "", usageError{fmt.Errorf("one REF at most, got %d arguments: %s", len(args), strings.Join(args, " "))}
	}
}

// target is a state and the way to its lock.
type target struct {
	ref   statelatch.Ref
	locks *lock.Manager
	// unseen says why engines in the working directory do not see native locks, or not only those; empty if all is
	// well, or if the state was named outright.
	unseen string
	// ignored: they do not see them at all.
	ignored bool
}

// open finds the state and connects to its bucket. It sends nothing yet.
func (o targetOptions) open(ctx context.Context, term terminal) (target, error) {
	backend, err := o.backend(term)
	if err != nil {
		return target{}, err
	}
	t := target{}
	if t.ref, err = backend.Ref(); err != nil {
		return target{}, err
	}
	if o.ref == "" {
		t.ignored = !backend.UseLockfile
		switch {
		case t.ignored && backend.DynamoDBTable != "":
			t.unseen = fmt.Sprintf("the backend of this directory locks with the DynamoDB table %q only (use_lockfile is not true)", backend.DynamoDBTable)
		case t.ignored:
			t.unseen = "the backend of this directory does not lock (use_lockfile is not true)"
		case backend.DynamoDBTable != "":
			t.unseen = fmt.Sprintf("the backend of this directory also locks with the DynamoDB table %q, which is not looked at", backend.DynamoDBTable)
		}
	}
	b, err := s3bucket.Open(ctx, t.ref.Bucket, backend.S3)
	if err != nil {
		return target{}, err
	}
	t.locks = &lock.Manager{Bucket: b}
	return t, nil
}

func (o targetOptions) backend(term terminal) (backendconf.Backend, error) {
	opts := backendconf.Options{Dir: o.chdir, BackendConfig: o.backendConfig, Getenv: term.getenv}
	if o.ref == "" {
		return backendconf.Load(opts)
	}
	ref, err := statelatch.ParseRef(o.ref)
	if err != nil {
		return backendconf.Backend{}, err
	}
	return backendconf.ForRef(ref, opts)
}

// again is how to name the same state in another command: the flags and the REF to paste, without secrets.
func (o targetOptions) again() string {
	var words []string
	if o.chdir != "" {
		words = append(words, "-chdir", o.chdir)
	}
	for _, item := range o.backendConfig {
		switch name, _, _ := strings.Cut(item, "="); name {
		case "access_key", "secret_key", "token", "sse_customer_key":
			item = name + "=..."
		}
		words = append(words, "-backend-config", item)
	}
	if o.ref != "" {
		words = append(words, o.ref)
	}
	var b strings.Builder
	for _, w := range words {
		b.WriteString(" " + shellQuote(w))
	}
	return b.String()
}

// reportedError has been shown already; only its exit code matters.
type reportedError struct{ error }

func (e reportedError) Unwrap() error { return e.error }

// refusedError is a failure with the way to name its state in the next command.
type refusedError struct {
	error
	again string
}

func (e refusedError) Unwrap() error { return e.error }

// finish ends a command: a failure learns how to go on, and with -json becomes the result.
func (o targetOptions) finish(ctx context.Context, term terminal, err error) error {
	if err == nil || errors.As(err, new(reportedError)) {
		return err
	}
	if !o.json {
		return refusedError{err, o.again()}
	}
	out := failureJSON{Error: err.Error(), Kind: kindOf(ctx, err), ExitCode: exitCode(ctx, err)}
	var locked *statelatch.LockedError
	if errors.As(err, &locked) && locked.Err == nil {
		out.Lock = lockInfoJSON(locked.Holder)
	}
	if printErr := term.printJSON(out); printErr != nil {
		return errors.Join(err, printErr)
	}
	return reportedError{err}
}
