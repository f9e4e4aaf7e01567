// Package digest says what the MD5s in the DynamoDB table are of. Where a table is configured, engines compare every
// state that they read with the MD5 in it, and refuse the state if it is of other bytes.
//
// What it guarantees: a digest that may be the only sign that a state was rolled back or lost is told apart from one
// that is merely behind, and what could be brought back is named. It changes nothing: state.Store.FixDigest does, under
// the lock of the state. What it does not: a version that the bucket does not keep, or that was not looked at, is not
// known.
package digest

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/state"
)

// DefaultVersions is how many versions of a state are usually read for the one that a digest is of.
const DefaultVersions = 50

// Status says what a digest is of, in a word or two.
type Status string

// The statuses.
const (
	InStep    Status = "in step"   // of the bytes that are stored
	None      Status = "none"      // there is no item, so engines check nothing
	Stale     Status = "stale"     // of other bytes
	Malformed Status = "malformed" // no MD5
	Orphan    Status = "orphan"    // there is no state, which engines refuse, too
	Foreign   Status = "foreign"   // no state can have that key
)

// Finding is one digest: what it says, what it should, and what that means.
type Finding struct {
	Ref    statelatch.Ref // of the state
	Status Status         // whether it is of the state that is stored
	// Reading is the state and its digest as they were read. It is what state.Store.FixDigest acts on.
	Reading state.DigestReading
	// BelongsTo is the newest version with that MD5; nil: none that was looked at, or it was not looked for.
	BelongsTo *state.Version
	// Meaning is what follows, in one line for people; empty if nothing does.
	Meaning string
	// Doubt is why the digest should not be changed unless somebody says that what is stored is right; empty if the state
	// is provably newer than the one that the digest is of, or nothing is left that could be brought back.
	Doubt string
	// Restore is the version that can be brought back instead, where there is a Doubt.
	Restore *state.Version
	// Unlooked: older versions were left out, and could say more.
	Unlooked bool
}

// Wrong reports whether engines refuse the state for its digest, or cannot use it.
func (f Finding) Wrong() bool { return f.Status != InStep && f.Status != None }

// Fixable reports whether FixDigest could do anything: an item without a Digest may be something else's.
func (f Finding) Fixable() bool {
	return f.Wrong() && f.Status != Foreign && f.Reading.Stored != ""
}

// Suspicious reports whether a digest shows that its state is not what it should be. That it is of a version which
// nobody finds any more shows nothing where clients have written since that do not keep digests.
func (f Finding) Suspicious() bool {
	return f.Doubt != "" && (f.BelongsTo != nil || f.Status == Orphan)
}

// Checker reads states and their digests.
type Checker struct {
	Store *state.Store // with Digests
	// Versions of a state to read for the one that a digest is of; 0: all.
	Versions int
	// Command is how a person names a state in a command of theirs, of which verb is the first word or more; nil:
	// "statelatch VERB REF".
	Command func(ref statelatch.Ref, verb string) string
}

// Check reads one state and its digest, and says what there is to it. Errors are those of state.Store.ReadDigest and of
// history.List.
func (c Checker) Check(ctx context.Context, ref statelatch.Ref) (Finding, error) {
	f := Finding{Ref: ref}
	if invalid := ref.Validate(); invalid != nil {
		f.Status, f.Meaning = Foreign, "no state can have this key: "+invalid.Error()
		return f, nil //nolint:nilerr // that is the finding
	}
	r, err := c.Store.ReadDigest(ctx, ref)
	if err != nil {
		return f, err
	}
	f.Reading = r
	switch {
	case !r.Item:
		f.Status = None
	case r.InStep():
		f.Status = InStep
	case r.Stored == "":
		f.Status, f.Meaning = Malformed, "the item has no Digest, so no engine wrote it as one: look at it by hand"
	case r.Malformed():
		f.Status, f.Meaning = Malformed, "it is no MD5, so engines pass over it, and nothing is checked"
	default:
		f.Status = Stale
		if !r.Now.Exists {
			f.Status = Orphan
		}
		err = c.explain(ctx, &f)
	}
	return f, err
}

// CheckAll checks the states of keys, many at a time, and returns the findings in the order of their keys. It ends with
// the first error. OnFound, if not nil, is called after each, one call at a time.
func (c Checker) CheckAll(
	ctx context.Context, bucket string, keys []string, onFound func(done int),
) ([]Finding, error) {
	keys = slices.Sorted(slices.Values(keys))
	found := make([]Finding, len(keys))
	indexes := make([]int, len(keys))
	for i := range indexes {
		indexes[i] = i
	}
	var mu sync.Mutex
	done := 0
	err := fleet.Each(ctx, 0, indexes, func(ctx context.Context, i int) (err error) {
		found[i], err = c.Check(ctx, statelatch.Ref{Bucket: bucket, Key: keys[i]})
		mu.Lock()
		defer mu.Unlock()
		if done++; onFound != nil {
			onFound(done)
		}
		return err
	})
	return found, err
}

// Table lists the digests of a DynamoDB table, as dynamo.Table does.
type Table interface {
	// DigestKeys yields the keys of the states in bucket that have a digest.
	DigestKeys(ctx context.Context, bucket string) iter.Seq2[string, error]
}

// Keys returns the keys in scope that have a digest, in the order of the table, which it lists whole.
func Keys(ctx context.Context, table Table, scope statelatch.Scope, workspacePrefix string) ([]string, error) {
	var keys []string
	for key, err := range table.DigestKeys(ctx, scope.Bucket) {
		if err != nil {
			return nil, err
		}
		if scope.Covers(key, workspacePrefix) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Without counts the states in scope that have no digest, which engines do not check. It lists the bucket.
func Without(
	ctx context.Context, b bucket.Bucket, scope statelatch.Scope, opts fleet.WalkOptions, keys []string,
) (int, error) {
	has := make(map[string]bool, len(keys))
	for _, key := range keys {
		has[key] = true
	}
	without := 0
	err := fleet.Walk(ctx, b, scope, opts, func(obj bucket.Object) error {
		if strings.HasSuffix(obj.Key, ".tfstate") && obj.Size > 0 && !has[obj.Key] {
			without++
		}
		return nil
	})
	return without, err
}
