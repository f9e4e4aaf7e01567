package state

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/spool"
)

// Workspaces are the states of one backend configuration.
type Workspaces struct {
	Store  *Store // of their bucket; required
	Key    string // the configured key, where the default workspace lives
	Prefix string // workspace_key_prefix; empty: workspaces lie at the top of the bucket
}

// List returns the workspaces in one listing: "default" first, whether or not it has a state, then the others that have
// an object, in byte order. It lists everything under the prefix, as the engines do, and finds those whose key
// path.Join has cleaned, which engines do not. If the listing fails, also for want of the right to list, it returns
// what it has, at least "default", together with the error.
func (w Workspaces) List(ctx context.Context) ([]string, error) {
	names := []string{statelatch.DefaultWorkspace}
	prefix := statelatch.WorkspaceDir(w.Prefix)
	for obj, err := range w.Store.Bucket.List(ctx, bucket.ListOptions{Prefix: prefix}) {
		if err != nil {
			return names, fmt.Errorf("list workspaces under s3://%s/%s: %w", w.Store.Bucket.Name(), prefix, err)
		}
		if name := w.name(obj.Key); name != "" && name != statelatch.DefaultWorkspace {
			names = append(names, name)
		}
	}
	slices.Sort(names[1:])
	return names, nil
}

// name is the workspace whose state is at key; empty: none's. A name that would address another state (W19) is none.
func (w Workspaces) name(key string) string {
	if key == w.Key {
		return statelatch.DefaultWorkspace
	}
	rest, ok := strings.CutPrefix(key, statelatch.WorkspaceDir(w.Prefix))
	if !ok {
		return ""
	}
	name, rest, _ := strings.Cut(rest, "/")
	if rest != path.Clean(w.Key) || statelatch.ValidateWorkspace(name) != nil {
		return ""
	}
	return name
}

// Delete deletes the state of x, a workspace other than the default one, on the condition that it is still x's base,
// then its digest. The lock is held throughout, and stays: its holder releases it last (B19). A state that
// has resources, or may have (encrypted, or of an old format), is deleted only with force. Where versions are
// kept, the last one stays below a delete marker; for where none are there is [Store.Snapshots].
//
//	nil                    it is gone, and the table does not know it any more
//	ErrDigestStale         it is gone, its item in the table is not
//	ErrNotFound            there is no such workspace
//	ErrGuarded             it has or may have resources
//	ErrPreconditionFailed  [ChangedError]: somebody else wrote; nothing was deleted
//	ErrUnsupported         the store has no conditional delete; nothing was deleted
//	ErrAmbiguous           it may be deleted or may be yet; Tenure.Hold was called
func (w Workspaces) Delete(ctx context.Context, x *Session, force bool) error {
	ref := x.base.Ref
	switch name := w.name(ref.Key); {
	case x.stuck != nil:
		return x.stuck
	case name == statelatch.DefaultWorkspace:
		return fmt.Errorf("%w workspace %q: the default workspace cannot be deleted", statelatch.ErrInvalid, name)
	case name == "" || ref.Bucket != w.Store.Bucket.Name():
		return fmt.Errorf("%w state %s: it is not a workspace of key %q and prefix %q", statelatch.ErrInvalid, ref, w.Key,
			w.Prefix)
	case !x.base.Exists:
		return fmt.Errorf("delete workspace %q: %w: %s has no state", name, statelatch.ErrNotFound, ref)
	case x.base.shape.resources && !force:
		return guarded(ref, "the workspace %q still has resources, which nothing would manage any more: destroy them first",
			name)
	case !x.base.blankObject() && !x.base.isPlain() && !force:
		return guarded(ref, "the workspace %q may still have resources: its state is encrypted or of an unknown format", name)
	}
	return x.Delete(ctx)
}

// Delete deletes the state, whatever it is and whatever it holds, on the condition that it is still x's base, as
// [Workspaces.Delete] does with force. A base that does not exist is a success without a request.
func (x *Session) Delete(ctx context.Context) error {
	ref, store := x.base.Ref, x.store
	switch {
	case x.stuck != nil:
		return x.stuck
	case !x.base.Exists:
		return nil
	}
	gone := change{
		store: store, ref: ref,
		try: func(ctx context.Context, cond bucket.Condition) (Version, error) {
			_, err := store.Bucket.Delete(ctx, ref.Key, bucket.DeleteOptions{If: cond})
			return Version{Ref: ref}, err
		},
		mine: func(now Version) bool { return !now.Exists },
	}
	err := x.snapshot(ctx)
	if err == nil {
		err = x.apply(ctx, func() (change, bool) { return gone, true })
	}
	if errors.Is(err, statelatch.ErrUnsupported) {
		err = fmt.Errorf("%w; an unconditional delete could remove what somebody else just wrote: delete s3://%s/%s by "+
			"hand while the lock is held", err, ref.Bucket, ref.Key)
	}
	if err != nil {
		return fmt.Errorf("delete state: %w", err)
	}
	return x.sync(ctx)
}

// New creates the state of a workspace as the engines do, empty and with a fresh lineage, unless there is an object
// already; by is recorded with it. It needs no lock. OpenTofu with enforced state encryption reads no plain state:
// there let it create the workspace, or use [Store.EnsureExists].
//
//	nil                    it was created by this call
//	ErrDigestStale         the same, but the table does not know: [DigestError]
//	ErrPreconditionFailed  it exists already
//	ErrAmbiguous           it may exist or may come to; it is empty then, and asking again is harmless
func (s *Store) New(ctx context.Context, ref statelatch.Ref, by Provenance) (Version, error) {
	if err := s.admit(ref); err != nil {
		return Version{}, err
	}
	blank, lineage := emptyState(1)
	body := spool.Join(spool.Text(blank))
	is, err := examine(body)
	if err != nil {
		return Version{}, err
	}
	is.Provenance = by
	// The lineage is ours alone, so even a state that was written on since began with this call.
	mine := func(now Version) bool { return now.Exists && now.Header.Lineage == lineage }
	out := s.put(ref, body, is, mine).settle(ctx, bucket.IfAbsent)
	switch out.end {
	case done:
		if out.now.content != is.content {
			return out.now, nil // whoever wrote on it told the table
		}
		return out.now, s.syncDigest(ctx, out.now, "")
	case refused, superseded:
		if out.damage != nil {
			return Version{}, fmt.Errorf("create state: %w", out.damage)
		}
		return Version{}, fmt.Errorf("create state %s: %w: it exists already, with %s", ref, statelatch.ErrPreconditionFailed,
			out.now.describe())
	default:
		return Version{}, fmt.Errorf("create state: %w", out.err)
	}
}

// EnsureExists creates an object of zero bytes for a state that has none, in one request, so that engines list the
// workspace and do not take their unconditional first lock. They read it as "no state yet", also those that encrypt. By
// is recorded with it. On ErrAmbiguous it may come to exist later, which harms nothing.
func (s *Store) EnsureExists(ctx context.Context, ref statelatch.Ref, by Provenance) error {
	if err := s.admit(ref); err != nil {
		return err
	}
	_, err := s.createBlank(ctx, ref, by)
	return err
}
