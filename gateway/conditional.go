package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/state"
)

// Clients that know the protocol, as Statelatch's own do, put the conditions on their requests themselves, and read
// back what they wrote, to the byte. Their requests are held against the rules and passed on as they are. Whose a lock
// of theirs is stands beside it, in its metadata. Who wrote a state is what they say themselves: a fence keeps what is
// said of the bytes that it stores again.
const (
	metaPrincipal = "statelatch-principal"
	metaSession   = "statelatch-session"
)

// PutObject stores an object as it is, on its condition, for a client that puts one on each of its writes: a lock
// object, a state, or what is kept beside a state. A lock of somebody else is replaced, as by a takeover, only with the
// right to end it; a state is written only under a lock of the same process.
//
//	nil            it is stored
//	*RefusedError  the process does not hold the lock
//	*DeniedError   the rules do not allow it
//	ErrInvalid     it has no condition, or is no lock object
//	other          of the store, as bucket.Bucket.Put
func (g *Gateway) PutObject(
	ctx context.Context, c Caller, key string, body io.ReadSeeker, opts bucket.PutOptions,
) (bucket.Object, error) {
	kind, of := statelatch.ClassifyKey(key)
	if opts.If.IsZero() && kind != statelatch.KeyProbe {
		return bucket.Object{}, fmt.Errorf("%w write of %s: it has no condition", statelatch.ErrInvalid, key)
	}
	var err error
	switch kind {
	case statelatch.KeyProbe:
		err = g.mayProbe(c, key)
	case statelatch.KeyLock:
		if err = g.mayChangeLock(ctx, c, of, key, opts.If); err == nil {
			err = g.lockObject(c, of, body)
		}
	case statelatch.KeyRescue, statelatch.KeySnapshot:
		err = g.allow(c, of, access.Write)
	case statelatch.KeyOther:
		if err = g.allow(c, key, access.Write); err == nil {
			err = g.mayWriteUnder(ctx, c, key)
		}
		if err == nil {
			err = state.Fit(body)
		}
	}
	if _, seekErr := body.Seek(0, io.SeekStart); err == nil {
		err = seekErr
	}
	if err != nil {
		return bucket.Object{}, err
	}
	opts.Metadata = maps.Clone(opts.Metadata)
	if opts.Metadata == nil {
		opts.Metadata = map[string]string{}
	}
	if kind == statelatch.KeyLock {
		opts.Metadata[metaPrincipal] = printable(c.Principal.Name)
		if c.ID != "" {
			opts.Metadata[metaSession] = printable(c.ID)
		}
	}
	return g.cfg.Locks.Bucket.Put(ctx, key, body, opts)
}

// printable is s as a header can carry it.
func printable(s string) string {
	quoted := strconv.QuoteToASCII(s)
	return quoted[1 : len(quoted)-1]
}

// mayProbe refuses to ask what the store's conditions are good for, as clients do before they lock, to who may lock
// nothing. What a probe has found out, others rely on, so that only an admin leaves it there.
func (g *Gateway) mayProbe(c Caller, key string) error {
	right := access.Admin
	if statelatch.IsLockKey(key) {
		right = access.Lock
	}
	if g.cfg.Rules.Gives(c.Principal, right) {
		return nil
	}
	return &DeniedError{Why: statelatch.Printable(fmt.Sprintf("%s may not write %s: no rule gives it the right %q on any "+
		"state", c.Principal.Name, key, right))}
}

// lockObject refuses what no engine would take for a lock, and what says that a gateway has taken it for somebody: that
// only gateways say. Who may end locks may put back one that a gateway wrote.
func (g *Gateway) lockObject(c Caller, stateKey string, body io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(body, statelatch.MaxLockInfo+1))
	if err != nil {
		return err
	}
	if _, err = statelatch.ParseLockInfo(data); err != nil {
		return err
	}
	if m := statelatch.ParseManaged(data); m != nil && m.Through != nil {
		return g.allow(c, stateKey, access.ForceUnlock)
	}
	return nil
}

// mayChangeLock refuses to replace or remove a lock of somebody else without the right to. A create replaces none.
func (g *Gateway) mayChangeLock(ctx context.Context, c Caller, stateKey, key string, cond bucket.Condition) error {
	if cond.Absent() {
		return g.allow(c, stateKey, access.Lock)
	}
	if err := g.allow(c, stateKey, access.Lock, access.ForceUnlock); err != nil {
		return err
	}
	if own, err := g.ownsObject(ctx, c, key); own || err != nil {
		return err
	}
	return g.allow(c, stateKey, access.ForceUnlock)
}

// ownsObject reports whether the lock object was stored by c's process. One that is not there is nobody's, and no
// condition on it holds.
func (g *Gateway) ownsObject(ctx context.Context, c Caller, key string) (bool, error) {
	obj, body, err := bucket.ReadAll(ctx, g.cfg.Locks.Bucket, key, statelatch.MaxLockInfo)
	switch {
	case errors.Is(err, statelatch.ErrNotFound) && !errors.Is(err, statelatch.ErrNoBucket):
		return false, nil
	case err != nil && obj.ETag == "":
		return false, err
	}
	if owns(c, statelatch.ParseManaged(body)) {
		return true, nil
	}
	return obj.Metadata[metaPrincipal] == printable(c.Principal.Name) && obj.Metadata[metaSession] == printable(c.ID), nil
}

// mayWriteUnder refuses a write of a state whose lock the process does not hold.
func (g *Gateway) mayWriteUnder(ctx context.Context, c Caller, key string) error {
	ref, err := g.ref(key)
	if err != nil {
		return err
	}
	if own, err := g.ownsObject(ctx, c, ref.LockKey()); own || err != nil {
		return err
	}
	if err := g.allow(c, key, access.WriteUnlocked); err != nil {
		return refused(err, "the state %s was not written: this process does not hold its lock", ref)
	}
	return nil
}

// DeleteObject removes an object on its condition, for a client that puts one on each of its deletes. Errors as for
// PutObject.
func (g *Gateway) DeleteObject(
	ctx context.Context, c Caller, key string, opts bucket.DeleteOptions,
) (bucket.Deleted, error) {
	kind, of := statelatch.ClassifyKey(key)
	var err error
	switch {
	case opts.VersionID != "" && kind != statelatch.KeyProbe:
		err = refused(nil, "a gateway removes no versions: s3://%s/%s keeps them", g.Bucket(), key)
	case kind == statelatch.KeyProbe:
		err = g.mayProbe(c, key)
	case opts.If.IsZero():
		err = fmt.Errorf("%w delete of %s: it has no condition", statelatch.ErrInvalid, key)
	case kind == statelatch.KeyLock:
		err = g.mayChangeLock(ctx, c, of, key, opts.If)
	case kind == statelatch.KeyOther:
		if err = g.allow(c, key, access.Delete); err == nil {
			err = g.mayWriteUnder(ctx, c, key)
		}
	default:
		err = refused(nil, "a gateway does not remove what is kept beside a state: s3://%s/%s", g.Bucket(), key)
	}
	if err != nil {
		return bucket.Deleted{}, err
	}
	gone, err := g.cfg.Locks.Bucket.Delete(ctx, key, opts)
	if err == nil && kind == statelatch.KeyOther {
		g.record(c, audit.Event{Action: audit.WorkspaceDelete, Outcome: audit.OK, Ref: statelatch.Ref{
			Bucket: g.Bucket(), Key: key,
		}.String(), ETagBefore: opts.If.ETag()})
	}
	return gone, err
}

// GetObject opens an object that is kept beside states: an older copy, a rescued state, or of a probe. Errors as of
// bucket.Bucket.Get, and *DeniedError.
func (g *Gateway) GetObject(
	ctx context.Context, c Caller, key string, opts bucket.ReadOptions,
) (bucket.Object, io.ReadCloser, error) {
	if err := g.mayRead(c, key); err != nil {
		return bucket.Object{}, nil, err
	}
	return g.cfg.Locks.Bucket.Get(ctx, key, opts)
}

// HeadObject describes any object that c may read. Errors as of bucket.Bucket.Head, and *DeniedError.
func (g *Gateway) HeadObject(
	ctx context.Context, c Caller, key string, opts bucket.ReadOptions,
) (bucket.Object, error) {
	if err := g.mayRead(c, key); err != nil {
		return bucket.Object{}, err
	}
	return g.cfg.Locks.Bucket.Head(ctx, key, opts)
}

func (g *Gateway) mayRead(c Caller, key string) error {
	kind, of := statelatch.ClassifyKey(key)
	switch kind {
	case statelatch.KeyProbe:
		return nil
	case statelatch.KeyOther:
		of = key
	case statelatch.KeyLock, statelatch.KeyRescue, statelatch.KeySnapshot:
	}
	return g.allow(c, of, access.Read)
}

// List yields what c may read of a listing of the bucket.
func (g *Gateway) List(ctx context.Context, c Caller, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
	return g.visible(c, g.cfg.Locks.Bucket.List(ctx, opts))
}

// ListVersions yields what c may read of a listing of the bucket's versions.
func (g *Gateway) ListVersions(ctx context.Context, c Caller, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
	return g.visible(c, g.cfg.Locks.Bucket.ListVersions(ctx, opts))
}

func (g *Gateway) visible(c Caller, all iter.Seq2[bucket.Object, error]) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) {
		readable, prefixes := g.cfg.Rules.Readable(c.Principal), g.cfg.Rules.Prefixes(c.Principal)
		for obj, err := range all {
			if err == nil && !g.shows(obj, readable, prefixes) {
				continue
			}
			if !yield(obj, err) {
				return
			}
		}
	}
}

// shows reports whether an entry of a listing is of what may be read, or leads there.
func (g *Gateway) shows(obj bucket.Object, readable func(string) bool, prefixes []string) bool {
	if obj.IsPrefix {
		leads := func(to string) bool { return related(obj.Key, to) }
		return slices.ContainsFunc(prefixes, leads) &&
			(g.cfg.Scope.Prefix == "" || slices.ContainsFunc(g.cfg.Scope.ListPrefixes(g.cfg.WorkspacePrefix), leads))
	}
	key := obj.Key
	switch kind, of := statelatch.ClassifyKey(key); kind {
	case statelatch.KeyProbe:
		return true
	case statelatch.KeyLock, statelatch.KeyRescue, statelatch.KeySnapshot:
		key = of
	case statelatch.KeyOther:
	}
	return g.covers(key) && readable(key)
}

// related reports whether one of two prefixes begins with the other.
func related(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }
