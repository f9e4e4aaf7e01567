// Package site is the front door for Go programs: a bucket, the way to it, and what can be done there under a lock.
//
//	s, err := site.Open(ctx, "s3://acme-state", site.Options{})
//	ref, err := statelatch.ParseRef("s3://acme-state/prod/network.tfstate")
//	err = s.Do(ctx, ref, site.Lock{Wait: time.Minute}, func(ctx context.Context) error { … })
//
//	for state, err := range s.States(ctx, statelatch.Scope{Prefix: "prod"}, fleet.StatesOptions{Headers: true}) { … }
//
// A Site reaches its bucket as the engines would: credentials, region and endpoints come from the backend's
// configuration and the environment. Its parts, [lock.Manager] and [state.Store], are there for what is not covered
// here, and so are the packages fleet and history, which take them.
//
// What it guarantees is what package lock and package state do; and that nothing is locked on a store that was not
// proven to lock, AWS's own apart, which is taken at its word.
package site

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/dynamo"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/probe/verdict"
	"github.com/statelatch/statelatch/state"
)

// Options are how a bucket is found and reached. The zero Options take what the engines would, from the environment.
type Options struct {
	// BackendConfig are arguments of backend "s3", as for the engines' -backend-config.
	BackendConfig []string
	// Getenv reads the environment of Open and Dir; nil: os.Getenv. Credentials are the process's own.
	Getenv func(string) string
	// Profile, Region, Endpoint and ExpectedBucketOwner, where not empty, win over what is configured.
	Profile, Region, Endpoint, ExpectedBucketOwner string
	// Verdicts proves stores that are not AWS's own before the first lock. The zero Keeper reads the verdict that
	// another machine left in the bucket, or probes, and remembers it for the life of the Site.
	Verdicts verdict.Keeper
	// Logger is told of waits, takeovers, and of renewals that fail; nil: nothing is told.
	Logger *slog.Logger
	// Observe is told of every step of Do and Update, for traces and metrics; nil: nobody is.
	Observe Observer
}

// Site is a bucket and the way to it. It is safe for concurrent use.
type Site struct {
	// Backend is what the Site was opened with. Key and Workspace are the directory's, after Dir.
	Backend backendconf.Backend
	Bucket  *s3bucket.Bucket // the driver, for what is neither a lock nor a state
	Table   *dynamo.Table    // of locks and digests; nil: none is configured
	// Manager works on the locks. Its Tier is what is known so far: enough for looking and releasing.
	Manager *lock.Manager
	// Store reads and writes the states.
	Store *state.Store

	verdicts verdict.Keeper
	getenv   func(string) string
	log      *slog.Logger
	observe  Observer
	proven   chan lock.Tier // holds the tier, for one at a time; TierUnknown: nobody has looked yet
}

// Open opens the bucket of s3://BUCKET or of a state in it. It sends nothing yet, unless an owner is expected of a
// bucket that is not AWS's own, which is asked whether it looks at that. Errors match statelatch.ErrInvalid, or are the
// store's.
func Open(ctx context.Context, address string, opts Options) (*Site, error) {
	scope, err := statelatch.ParseScope(address)
	if err != nil {
		return nil, err
	}
	backend, err := backendconf.ForBucket(scope.Bucket, opts.backend(""))
	if err != nil {
		return nil, err
	}
	return Connect(ctx, backend, opts)
}

// Dir opens the bucket of the backend in a directory of Terraform or OpenTofu, as the engines see it, and returns the
// state that they would work on. Errors are as for Open. Whoever wrote the directory decides which programs and files
// the credentials come from: see backendconf.Backend.Reaches for one that is not trusted.
func Dir(ctx context.Context, dir string, opts Options) (*Site, statelatch.Ref, error) {
	backend, err := backendconf.Load(opts.backend(dir))
	if err != nil {
		return nil, statelatch.Ref{}, err
	}
	ref, err := backend.Ref()
	if err != nil {
		return nil, statelatch.Ref{}, err
	}
	s, err := Connect(ctx, backend, opts)
	return s, ref, err
}

func (o Options) backend(dir string) backendconf.Options {
	return backendconf.Options{Dir: dir, BackendConfig: o.BackendConfig, Getenv: o.Getenv}
}

// Connect opens the bucket of a backend that is known already. Errors are as for Open.
func Connect(ctx context.Context, backend backendconf.Backend, opts Options) (*Site, error) {
	for _, over := range []struct {
		to    *string
		value string
	}{
		{&backend.S3.Profile, opts.Profile},
		{&backend.S3.Region, opts.Region},
		{&backend.S3.Endpoints.S3, opts.Endpoint},
		{&backend.S3.ExpectedBucketOwner, opts.ExpectedBucketOwner},
	} {
		if over.value != "" {
			*over.to = over.value
		}
	}
	b, err := OpenBucket(ctx, backend.Bucket, backend.S3)
	if err != nil {
		return nil, err
	}
	s := &Site{
		Backend: backend, Bucket: b,
		Manager:  &lock.Manager{Bucket: b, Tier: opts.Verdicts.ReleaseTier(b)},
		Store:    &state.Store{Bucket: b, Snapshots: true},
		verdicts: opts.Verdicts, getenv: opts.Getenv, log: opts.Logger, observe: opts.Observe,
		proven: make(chan lock.Tier, 1),
	}
	s.proven <- lock.TierUnknown
	if s.getenv == nil {
		s.getenv = os.Getenv
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.Manager.Fence = s.Store.Touch
	if backend.DynamoDBTable != "" {
		if s.Table, err = dynamo.Open(ctx, backend.S3, backend.DynamoDBTable, backend.DynamoDBEndpoint); err != nil {
			return nil, err
		}
		s.Manager.Table, s.Store.Digests = s.Table, s.Table
	}
	return s, nil
}

// OpenBucket connects to a bucket. It sends nothing, unless an owner is expected of it and the store is not AWS's own:
// some ignore the header, and then the expectation would be worth nothing. Errors match statelatch.ErrInvalid.
func OpenBucket(ctx context.Context, name string, cfg s3bucket.Config) (*s3bucket.Bucket, error) {
	b, err := s3bucket.Open(ctx, name, cfg)
	if err != nil || cfg.ExpectedBucketOwner == "" || b.Endpoint() == "" {
		return b, err
	}
	other := cfg
	other.ExpectedBucketOwner = "987654321098"
	if cfg.ExpectedBucketOwner == other.ExpectedBucketOwner {
		other.ExpectedBucketOwner = "987654321099"
	}
	stranger, err := s3bucket.Open(ctx, name, other)
	if err != nil {
		return nil, err
	}
	for _, err := range stranger.List(ctx, bucket.ListOptions{Prefix: statelatch.ProbePrefix, PageSize: 1}) {
		if err != nil {
			return b, nil // it looks at the owner, or refuses everything, which the first real request shows
		}
		break
	}
	return nil, fmt.Errorf("%w bucket owner: %s ignores it: leave out -expected-bucket-owner there", statelatch.ErrInvalid,
		b.Endpoint())
}

// Prove finds out how well the store locks, once for the life of the Site. Do does it by itself. ErrUnsafeStore: it
// cannot lock at all. Other errors say that it could not be found out, and may be tried again.
func (s *Site) Prove(ctx context.Context) (lock.Tier, error) {
	var tier lock.Tier
	select {
	case tier = <-s.proven:
	case <-ctx.Done():
		return lock.TierUnknown, context.Cause(ctx)
	}
	defer func() { s.proven <- tier }()
	if tier != lock.TierUnknown {
		return tier, nil
	}
	v, err := s.verdicts.Prove(ctx, s.Bucket)
	if err == nil {
		err = v.Err()
	}
	if err != nil {
		return v.Tier, err
	}
	tier = v.Tier
	return tier, nil
}
