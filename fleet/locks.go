package fleet

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/internal/pace"
	"github.com/statelatch/statelatch/lock"
)

// Kind tells what a lock is in one word.
type Kind string

// The kinds of locks.
const (
	KindPlain      Kind = "plain"      // an engine's lock object
	KindManaged    Kind = "managed"    // ours
	KindItem       Kind = "dynamodb"   // an item without a lock object
	KindHalf       Kind = "half"       // the rest is certainly missing, or another holder's
	KindUnreadable Kind = "unreadable" // it is there and cannot be understood, or not be read
)

// halfPause is how long a half is given to become whole, or nothing.
const halfPause = 500 * time.Millisecond

// Lock is a lock that was found: lock object and item where they are one holder's, else one of them.
type Lock struct {
	lock.Held                  // only Ref, if Unread is not nil
	Verdict   evidence.Verdict // whether its holder is still at work
	Kind      Kind             // which sort of lock it is
	// Half says, if this is one half of what should be two, which one is missing or another's (B20). One plain line.
	Half string
	// Unread is why the lock could not be read at all, of a store kind. It may be held.
	Unread error
	// ItemUnread is why it is not known whether there is an item in the table beside the lock object.
	ItemUnread error
}

// LockOptions are the terms of [Locks].
type LockOptions struct {
	WorkspacePrefix string           // as in [WalkOptions]
	Evidence        evidence.Sources // what they are judged by
	OnProgress      func(Progress)   // of the walk
	// Listed is what [States] has just found of the same scope: the bucket is not listed once more. Nil: it is listed.
	Listed []State
}

// LockList is what [Locks] found.
type LockList struct {
	Locks []Lock // by key, a lock object before an item of another holder
	// Unlisted is why items without a lock object are not among Locks: the table could not be listed. Nil where it was,
	// or where there is none.
	Unlisted error
}

// lister is a lock table whose items can be listed, as dynamo.Table's.
type lister interface {
	LockIDs(ctx context.Context, prefix string) iter.Seq2[string, error]
}

// Locks finds every lock of scope: the lock objects, and if m has a Table the items in it. Each is read and judged by
// itself, with consistent reads, so that lock object and item are seen together; what is released meanwhile is left
// out. A lock that cannot be read is listed as such; errors are those of the walk, and of ctx.
func Locks(ctx context.Context, m *lock.Manager, scope statelatch.Scope, opts LockOptions) (LockList, error) {
	var list LockList
	for l, err := range AllLocks(ctx, m, scope, opts) {
		if unlisted, ok := errors.AsType[*UnlistedError](err); ok {
			list.Unlisted = unlisted.Err
		} else if err != nil {
			return list, err
		} else {
			list.Locks = append(list.Locks, l)
		}
	}
	return list, nil
}

// UnlistedError says that the lock table could not be listed: items without a lock object are not among the locks.
type UnlistedError struct {
	Err error // why
}

// Error says why.
func (e *UnlistedError) Error() string { return "the lock table cannot be listed: " + e.Err.Error() }

// Unwrap is why.
func (e *UnlistedError) Unwrap() error { return e.Err }

// AllLocks is [Locks], but that each comes as soon as it and those before it are read, which begins when the bucket is
// listed. It ends with the first error; an [*UnlistedError] is the last that comes, behind all locks.
func AllLocks(
	ctx context.Context, m *lock.Manager, scope statelatch.Scope, opts LockOptions,
) iter.Seq2[Lock, error] {
	return func(yield func(Lock, error) bool) {
		keys, err := lockKeys(ctx, m.Bucket, scope, opts)
		if err != nil {
			yield(Lock{}, err)
			return
		}
		var unlisted error
		if m.Table != nil {
			unlisted = itemKeys(ctx, m.Table, scope, opts.WorkspacePrefix, keys)
		}
		refs := func(yield func(statelatch.Ref, error) bool) {
			for _, key := range slices.Sorted(maps.Keys(keys)) {
				if !yield(statelatch.Ref{Bucket: scope.Bucket, Key: key}, nil) {
					return
				}
			}
		}
		all := Map(ctx, 0, refs, func(ctx context.Context, ref statelatch.Ref) ([]Lock, error) {
			return readJudged(ctx, m, ref, opts.Evidence), ctx.Err()
		})
		for found, err := range all {
			if err != nil {
				yield(Lock{}, err)
				return
			}
			for _, l := range found {
				if !yield(l, nil) {
					return
				}
			}
		}
		if unlisted != nil {
			yield(Lock{}, &UnlistedError{unlisted})
		}
	}
}

// readJudged reads the lock of ref, or both halves, and judges it.
func readJudged(ctx context.Context, m *lock.Manager, ref statelatch.Ref, by evidence.Sources) []Lock {
	found := readLock(ctx, m, ref)
	if slices.ContainsFunc(found, func(l Lock) bool { return l.Kind == KindHalf }) && pace.Sleep(ctx, halfPause) == nil {
		found = readLock(ctx, m, ref) // perhaps it was just being taken or released: one half comes after the other
	}
	for i := range found {
		if found[i].Unread == nil {
			found[i].Verdict = evidence.Judge(ctx, found[i].Held, by)
		}
	}
	return found
}

// lockKeys are the keys of the states that have a lock object.
func lockKeys(
	ctx context.Context, b bucket.Bucket, scope statelatch.Scope, opts LockOptions,
) (map[string]bool, error) {
	keys := map[string]bool{}
	for _, s := range opts.Listed {
		if s.Locked {
			keys[s.Key] = true
		}
	}
	if opts.Listed != nil {
		return keys, scope.ValidateIn(b.Name())
	}
	err := Walk(ctx, b, scope, WalkOptions{
		WorkspacePrefix: opts.WorkspacePrefix, OnProgress: opts.OnProgress,
	}, func(obj bucket.Object) error {
		if kind, state := statelatch.ClassifyKey(obj.Key); kind == statelatch.KeyLock {
			keys[state] = true
		}
		return nil
	})
	return keys, err
}

// itemKeys adds the keys of the states that have a lock item in the table.
func itemKeys(
	ctx context.Context, table lock.Table, scope statelatch.Scope, workspacePrefix string, keys map[string]bool,
) error {
	l, ok := table.(lister)
	if !ok {
		return fmt.Errorf("%w: the lock table cannot be listed", statelatch.ErrUnsupported)
	}
	prefix := scope.Bucket + "/"
	for id, err := range l.LockIDs(ctx, prefix) {
		if err != nil {
			return err
		}
		key, ok := strings.CutPrefix(id, prefix)
		if ok && key != "" && !strings.HasSuffix(key, statelatch.DigestIDSuffix) && scope.Covers(key, workspacePrefix) {
			keys[key] = true
		}
	}
	return nil
}

// readLock reads lock object and item of ref: as one lock if they are one holder's, else each as its own.
func readLock(ctx context.Context, m *lock.Manager, ref statelatch.Ref) []Lock {
	var itemErr error
	h, err := m.Status(ctx, ref)
	if err != nil && !errors.Is(err, statelatch.ErrNotLocked) && m.Table != nil {
		alone := lock.Manager{Bucket: m.Bucket}
		object, objectErr := alone.Status(ctx, ref)
		if objectErr == nil {
			h, itemErr, err = object, err, nil
		}
	}
	switch {
	case errors.Is(err, statelatch.ErrNotLocked):
		return nil
	case err != nil:
		return []Lock{{
			Held: lock.Held{Ref: ref}, Kind: KindUnreadable, Unread: err,
			Verdict: evidence.Verdict{State: evidence.Unknown, Proof: "it cannot be read"},
		}}
	}
	return parts(h, m.Table, itemErr)
}

// parts tells what was read as one lock, or as two.
func parts(h lock.Held, table lock.Table, itemErr error) []Lock {
	l := Lock{Held: h, Kind: KindPlain, ItemUnread: itemErr}
	switch {
	case h.Err != nil:
		l.Kind = KindUnreadable
	case h.ETag == "":
		l.Kind, l.Half = KindItem, "no lock object: its holder uses the DynamoDB table alone, or this half was left behind"
	case h.Managed != nil:
		l.Kind = KindManaged
	}
	item := h.Item
	switch {
	case table == nil || itemErr != nil || h.ETag == "":
	case item == nil && h.Managed != nil && h.Managed.Table == table.Name():
		l.Kind, l.Half = KindHalf, "its item in the DynamoDB table is gone"
	case item == nil && l.Kind == KindPlain:
		l.Half = "no item in the DynamoDB table: its holder uses the lock file alone, or this half was left behind"
	case item != nil && !oneHolder(h, *item):
		l.Item, l.Half = nil, "the item in the DynamoDB table is another holder's"
		other := Lock{
			Held: lock.Held{Ref: h.Ref, Info: item.Info, Err: item.Err, Item: item},
			Kind: KindHalf, Half: "the lock object is another holder's",
		}
		if l.Err == nil {
			l.Kind = KindHalf
		}
		return []Lock{l, other}
	}
	return []Lock{l}
}

// oneHolder reports whether lock object and item are of one holder, or of one and of whom it took over.
func oneHolder(h lock.Held, item lock.Item) bool {
	if h.Err != nil || item.Err != nil {
		return false
	}
	return item.Info.ID == h.Info.ID || h.Managed != nil && h.Managed.PrevID != "" && item.Info.ID == h.Managed.PrevID
}
