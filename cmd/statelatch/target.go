package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/backendconf/terragrunt"
	"github.com/statelatch/statelatch/internal/way"
	"github.com/statelatch/statelatch/site"
	"github.com/statelatch/statelatch/wrap"
	"github.com/urfave/cli/v3"
)

// targetOptions say which state a command is about.
type targetOptions struct {
	ref           string // empty: the working directory decides
	workspace     string // of the working directory, where the command names one; empty: the environment decides
	chdir         string
	backendConfig []string
	owner         string // the account that the bucket must belong to; empty: any
	way           wayOptions
	json          bool
}

// targetFlags are the flags of every command that is about a state.
func targetFlags() []cli.Flag {
	return append(directoryFlags(), &cli.BoolFlag{Name: "json", Usage: "print the result as JSON (docs/JSON.md)"})
}

// directoryFlags are those that say where the state is.
func directoryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "chdir", Usage: "`DIR` look for the backend configuration there"},
		&cli.StringSliceFlag{
			Name:        "backend-config",
			Usage:       "`FILE|KEY=VALUE` a backend argument, as for init; also with REF; repeatable",
			HideDefault: true,
		},
		&cli.StringFlag{Name: "profile", Usage: "`NAME` the AWS profile, instead of the backend's and AWS_PROFILE"},
		&cli.StringFlag{Name: "region", Usage: "`REGION` the region, instead of the backend's and AWS_REGION"},
		&cli.StringFlag{Name: "endpoint", Usage: "`URL` the store's address, instead of the backend's and " +
			"AWS_ENDPOINT_URL_S3"},
		&cli.StringFlag{
			Name: "expected-bucket-owner", Sources: cli.EnvVars("STATELATCH_EXPECTED_BUCKET_OWNER"),
			Usage: "`ACCOUNT_ID` refuse a bucket of another AWS account",
		},
	}
}

func targetOf(c *cli.Command, ref string) targetOptions {
	return targetOptions{
		ref: wholeRef(c, ref), chdir: c.String("chdir"), backendConfig: c.StringSlice("backend-config"), way: wayOf(c),
		owner: c.String("expected-bucket-owner"), json: c.Bool("json"),
	}
}

// targetAt is targetOf the only argument that the command may have, which what names.
func targetAt(c *cli.Command, what string) (targetOptions, error) {
	arg, err := atMostOne(c, what)
	return targetOf(c, arg), err
}

// act is what a command does: read its flags, and do what they say.
func act[O interface {
	finish(ctx context.Context, term terminal, err error) error
}](term terminal, read func(*cli.Command) (O, error), do func(context.Context, O, terminal) error) cli.ActionFunc {
	return func(ctx context.Context, c *cli.Command) error {
		o, err := read(c)
		if err != nil {
			return err
		}
		return o.finish(ctx, term, do(ctx, o, term))
	}
}

// target is a state and the way to it and to its lock.
type target struct {
	*site.Site

	ref   statelatch.Ref
	again naming // of it in another command
	// unlocked says why engines in the working directory do not lock at all; empty if they do, or if the state
	// was named outright.
	unlocked string
}

// open finds the state and connects to its bucket, and to the lock table where there is one. It sends nothing yet.
func (o targetOptions) open(ctx context.Context, term terminal) (target, error) {
	t, err := o.openState(ctx, term, backendconf.Backend.Ref)
	if err == nil && o.ref == "" {
		t.unlocked = wrap.Lockless(t.Backend)
	}
	return t, err
}

// openState is open of the state that which finds in the backend.
func (o targetOptions) openState(
	ctx context.Context, term terminal, which func(backendconf.Backend) (statelatch.Ref, error),
) (target, error) {
	backend, err := o.backend(ctx, term)
	if err != nil {
		return target{}, err
	}
	ref, err := which(backend)
	if err != nil {
		return target{}, err
	}
	if err := o.trust(ctx, term, backend); err != nil {
		return target{}, err
	}
	t, err := connect(ctx, term, ref, backend)
	t.again = o.again(term)
	return t, err
}

// openAll opens the states named outright, else that of the working directory.
func (o targetOptions) openAll(ctx context.Context, term terminal, refs []string) ([]target, error) {
	if len(refs) == 0 {
		refs = []string{""}
	}
	var targets []target
	for _, ref := range refs {
		one := o
		one.ref = ref
		t, err := one.open(ctx, term)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	return targets, nil
}

// notTwice refuses a REF that is given twice.
func notTwice(refs []string) error {
	for i, ref := range refs {
		if slices.Contains(refs[:i], ref) {
			return usageError{fmt.Errorf("%s is given twice", ref)}
		}
	}
	return nil
}

// connect makes the target of ref.
func connect(ctx context.Context, term terminal, ref statelatch.Ref, backend backendconf.Backend) (target, error) {
	backend.Bucket = ref.Bucket
	s, err := site.Connect(ctx, backend, site.Options{Getenv: term.Getenv, Verdicts: keeper(term)})
	return target{Site: s, ref: ref}, err
}

// line is what o and the environment say.
func (o targetOptions) line(term terminal) way.Line {
	return way.Line{
		Ref: o.ref, Workspace: o.workspace, Chdir: o.chdir, BackendConfig: o.backendConfig, Owner: o.owner,
		Profile: o.way.profile, Region: o.way.region, Endpoint: o.way.endpoint,
		Getenv: term.Getenv, LookupEnv: term.LookupEnv,
		Allow: func(ctx context.Context, why *terragrunt.UnknownError, files []string) error {
			return o.allow(ctx, term, why, files)
		},
	}
}

func (o targetOptions) backend(ctx context.Context, term terminal) (backendconf.Backend, error) {
	return o.line(term).Backend(ctx)
}

// trustedScope is scope, once it is known that the working directory may decide about what it says.
func (o targetOptions) trustedScope(
	ctx context.Context, term terminal,
) (statelatch.Scope, backendconf.Backend, error) {
	scope, backend, err := o.scope(ctx, term)
	if err == nil {
		err = o.trust(ctx, term, backend)
	}
	return scope, backend, err
}

// scope finds the bucket and how to reach it, without connecting.
func (o targetOptions) scope(ctx context.Context, term terminal) (statelatch.Scope, backendconf.Backend, error) {
	return o.line(term).Scope(ctx)
}

// naming is how to name a state in the next command, to paste and without secrets.
type naming struct{ env, args string }

// command is that next command; verb may have flags and arguments of its own.
func (n naming) command(verb string) string { return n.env + "statelatch " + verb + n.args }

// again names the same state again.
func (o targetOptions) again(term terminal) naming {
	env, args := o.line(term).Again()
	return naming{env, args}
}

// againFor names one state of a bucket in the next command: where the working directory was named, with what its
// backend says about the way there.
func (o targetOptions) againFor(backend backendconf.Backend, ref statelatch.Ref, term terminal) naming {
	env, args := o.line(term).For(backend, ref).Again()
	return naming{env, args}
}

// reportedError has been shown already; only its exit code matters.
type reportedError struct{ error }

func (e reportedError) Unwrap() error { return e.error }

// refusedError is a failure with the way to name its state in the next command, and what would grant what was denied.
type refusedError struct {
	error
	again naming
	grant string // for people; empty where nothing was denied
}

func (e refusedError) Unwrap() error { return e.error }

// finish ends a command: a failure learns how to go on, and with -json becomes the result.
func (o targetOptions) finish(ctx context.Context, term terminal, err error) error {
	if err == nil || errors.As(err, new(reportedError)) {
		return err
	}
	var locked *statelatch.LockedError
	isLocked := errors.As(err, &locked)
	if !o.json {
		if isLocked && o.ref != "" {
			o.ref = locked.Ref.String() // one of several, or a workspace of it
		}
		return refusedError{err, o.again(term), o.deniedAdvice(ctx, term, err)}
	}
	out := failureOf(ctx, err)
	d := o.denied(ctx, term, err)
	out.Denied = d.Reasons()
	if grant, ok := d.Grant(); ok {
		out.Grant = &grant
	}
	if printErr := term.PrintJSON(out); printErr != nil {
		return errors.Join(err, printErr)
	}
	return reportedError{err}
}
