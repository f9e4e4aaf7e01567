package site

import (
	"cmp"
	"context"
	"iter"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/history"
)

// Locks yields every lock of scope, by key, as soon as it is read: see [fleet.AllLocks]. A scope without a bucket is in
// this one. Opts.OnProgress tells how far the listing is. It ends with the first error; a [*fleet.UnlistedError] comes
// behind all lock objects.
func (s *Site) Locks(
	ctx context.Context, scope statelatch.Scope, opts fleet.LockOptions,
) iter.Seq2[fleet.Lock, error] {
	opts.WorkspacePrefix = cmp.Or(opts.WorkspacePrefix, s.Backend.WorkspaceKeyPrefix)
	return fleet.AllLocks(ctx, s.Manager, s.here(scope), opts)
}

// States yields every state of scope, by key, as soon as what opts ask for is known of it: see [fleet.AllStates]. A
// scope without a bucket is in this one. Opts.OnProgress and opts.OnRead tell how far it is. It ends with the first
// error.
func (s *Site) States(
	ctx context.Context, scope statelatch.Scope, opts fleet.StatesOptions,
) iter.Seq2[fleet.State, error] {
	opts.WorkspacePrefix = cmp.Or(opts.WorkspacePrefix, s.Backend.WorkspaceKeyPrefix)
	return fleet.AllStates(ctx, s.Bucket, s.here(scope), opts)
}

// History yields the versions of ref, newest first, as soon as they are known: see [history.All]. Who stored them is
// for [history.Attribute] to say, of a list. Opts.OnProgress tells how far it is. It ends with the first error.
func (s *Site) History(
	ctx context.Context, ref statelatch.Ref, opts history.Options,
) iter.Seq2[history.Entry, error] {
	return history.All(ctx, s.Store, ref, opts)
}

func (s *Site) here(scope statelatch.Scope) statelatch.Scope {
	scope.Bucket = cmp.Or(scope.Bucket, s.Bucket.Name())
	return scope
}
