// Package state reads and writes states: one consistent read, writes on a condition, the fence, what
// happened to a state meanwhile, and workspaces.
//
// What it guarantees, on a store whose conditions are atomic and among its own clients: no update is overwritten by one
// that did not see it; every write ends as done, as refused with nothing changed, or as unknown, and then the tenure is
// told to hold its lock (R5); a body is read whole and of one version (W14), and never held in memory above a few MiB;
// a tenure that entered after a touch meets no data write of an older one (R6, R7). What it does not: an engine's write
// has no condition, so it can overwrite any state at any time. [Store.Since] finds that afterwards, where the bucket
// keeps versions. And an absent key has no ETag: a create that the network holds back while the state is created and
// deleted again can still land.
//
// # States without content
//
// The engines read an absent object and one of zero bytes as "no state yet", and nothing else: blanks alone are a
// syntax error. Zero bytes always have the same MD5, and so mostly the same ETag, in every life of the object: a touch
// cannot move it, and deleting and creating it again does not either. So no data is ever written on a condition on zero
// bytes. A first write over them has two steps: it replaces them, conditionally, by an empty state with a random
// lineage and serial 0, whose ETag is unique, re-reads the lock (R7), and only then writes its data on that ETag. A
// dead holder's first step that lands late leaves an empty state, which a later holder follows like a touch (R8); its
// second step needs an ETag that a touch moves. Hence a touch has nothing to do on zero bytes, and on an absent state
// it creates them, which refuses every create that is still under way.
//
// Why not the empty state at once: OpenTofu with state encryption refuses a plain one, but reads zero bytes. With
// serial 0 a saved plan made from no state stays valid.
package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// Tenure is a lock held on one state, as package state needs it.
type Tenure interface {
	// Ref is the state that is locked.
	Ref() statelatch.Ref
	// Check tells without I/O whether the lock may still be relied on: nil, or why not. Its errors, and Verify's, never
	// match ErrAmbiguous.
	Check() error
	// Verify re-reads the lock: nil only if it is exactly the one held (R7).
	Verify(ctx context.Context) error
	// Hold forbids the release: a write of the state has an unknown outcome (R5).
	Hold(reason error)
}

// Digests is the legacy table's record of the MD5 of every state.
type Digests interface {
	// Digest reads the record, consistently, as it is stored, MD5 or not. ErrNotFound: there is none.
	Digest(ctx context.Context, ref statelatch.Ref) (stored string, err error)
	// SwapDigest replaces old, as it was read, by next, in one attempt; empty is none, of both.
	// ErrPreconditionFailed: it is not old, nothing changed. ErrAmbiguous: the outcome is unknown.
	SwapDigest(ctx context.Context, ref statelatch.Ref, old, next string) error
}

// Store reads and writes the states of one bucket. It is safe for concurrent use.
type Store struct {
	Bucket  bucket.Bucket // required
	Digests Digests       // nil: no table is configured
	// Snapshots keeps what a session replaces or deletes, as a [Snapshot], where the bucket keeps no versions. A write
	// whose snapshot fails is refused.
	Snapshots bool
	// SpoolDir is where bodies above a few MiB wait, in files of mode 0600 that have no name where the system
	// allows it. Empty: os.TempDir.
	SpoolDir string

	spoolAbove int64 // bytes of a body that are kept in memory; 0: spoolAbove
}

// serves refuses a ref to another bucket.
func (s *Store) serves(ref statelatch.Ref) error {
	if s.Bucket == nil {
		return fmt.Errorf("%w state store: it has no Bucket", statelatch.ErrInvalid)
	}
	return ref.In(s.Bucket.Name())
}

// admit refuses a ref that s cannot serve, or that addresses no state.
func (s *Store) admit(ref statelatch.Ref) error {
	if err := ref.Validate(); err != nil {
		return err
	}
	return s.serves(ref)
}

// Version is one version of a state, or its absence.
type Version struct {
	Ref          statelatch.Ref         // of the state
	Exists       bool                   // false: only Ref, and what tells why, is set
	ETag         string                 // opaque, as the store gave it; empty without one
	VersionID    string                 // empty where the bucket keeps no versions
	Size         int64                  // bytes
	LastModified time.Time              // by the store's clock
	Age          time.Duration          // when it was read, by the store's clock; 0: not told, and of one that is listed
	Header       statelatch.StateHeader // what the body says of itself; zero: it was not read, see Err
	// Provenance is who wrote it, as is recorded with it; zero: nothing is, or it was not read. A touch leaves it.
	Provenance Provenance
	// MD5: of the exact bytes, in hex; empty if it does not exist or its body was not read whole
	MD5 string
	// Err says why the body cannot be understood as a state. Header is zero then.
	Err error

	shape   shape
	content contentSum // without trailing blanks, so that a touch does not change it
}

// Unfit says why no engine takes v, read whole, for a state; nil if one does, or if v has no body.
func (v Version) Unfit() error { return cmp.Or(v.Err, v.shape.unfit) }

// Serial is the serial of v; nil if v is no state. Serial 0 is one like any other.
func (v Version) Serial() *uint64 {
	if !v.Exists || v.Err != nil || v.Header.Empty {
		return nil
	}
	return &v.Header.Serial
}

// blankObject reports whether v is an object of zero bytes.
func (v Version) blankObject() bool { return v.Exists && v.Header.Empty }

// isPlain reports whether it can be seen what v contains: it was read whole, and is neither encrypted nor unreadable
// nor of a format that no engine has yet.
func (v Version) isPlain() bool {
	return v.Exists && v.Err == nil && v.MD5 != "" && !v.Header.Empty && v.Header.Version <= newestFormat &&
		!v.Header.Encrypted()
}

// isEmpty reports whether v is known to hold neither resources nor outputs, which is when the engines
// let any other state replace it.
func (v Version) isEmpty() bool {
	return !v.Exists || v.Header.Empty || v.isPlain() && !v.shape.resources && !v.shape.outputs
}

// IsVoid reports whether v is as if nothing was ever stored: no object, zero bytes, or the empty state that claims zero
// bytes. Serial 0 alone says nothing: it is also that of the first state that an engine could not save. Of a version
// that was not read whole it is not known, and it counts as a state.
func (v Version) IsVoid() bool {
	return v.isEmpty() && v.Header.Serial == 0
}

// SameContent reports whether v and w, both read whole, differ at most by touches and claims.
func (v Version) SameContent(w Version) bool {
	if v.IsVoid() || w.IsVoid() {
		return v.IsVoid() && w.IsVoid()
	}
	return v.Exists && w.Exists && v.content == w.content
}

// sameBytes reports whether the bytes of v and w are equal.
func (v Version) sameBytes(w Version) bool {
	return v.Exists && w.Exists && v.content == w.content && v.MD5 == w.MD5 && v.Size == w.Size
}

var (
	// ErrGuarded marks the refusals that Force overrides: the write or delete would probably
	// harm the state. They match statelatch.ErrInvalid too, and nothing was changed.
	ErrGuarded = errors.New("refused without force")
	// ErrDigestStale says that the state was written or deleted as asked, but its digest in the table was not
	// brought in step. See [DigestError].
	ErrDigestStale = errors.New("the state is in place, its DynamoDB digest is stale")
)

// ChangedError says that the state is not what the write was based on. It matches ErrPreconditionFailed if
// nothing of ours was written, and ErrAmbiguous if ours may have been written and replaced since (R9), or something was
// written that is not what was sent (statelatch.ErrAltered).
type ChangedError struct {
	Base, Now Version // what the write was based on, and what is there
	Unknown   bool    // ours may have been written
	Err       error   // what was altered; nil: nothing, as far as is known
}

// Error names both versions.
func (e *ChangedError) Error() string {
	what := "nothing was written: the state changed"
	switch {
	case e.Err != nil:
		what = "the state was damaged on its way to the store, so keep your copy, and bring back the version " +
			"before; it changed"
	case e.Unknown:
		what = "our state may have been written and replaced since; keep it until that is clear: the state changed"
	}
	text := fmt.Sprintf("%v: %s: %s under the lock from %s to %s", e.kind(), e.Base.Ref, what, e.Base.describe(),
		e.Now.describe())
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *ChangedError) kind() error {
	if e.Unknown {
		return statelatch.ErrAmbiguous
	}
	return statelatch.ErrPreconditionFailed
}

// Unwrap is ErrPreconditionFailed or ErrAmbiguous, and the cause.
func (e *ChangedError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.kind()}
	}
	return []error{e.kind(), e.Err}
}

// describe names a version for people.
func (v Version) describe() string {
	switch {
	case !v.Exists:
		return "no object"
	case v.Header.Empty:
		return "zero bytes"
	case v.Err != nil:
		return fmt.Sprintf("an unreadable body with ETag %s", v.ETag)
	}
	return fmt.Sprintf("serial %d with ETag %s", v.Header.Serial, v.ETag)
}

func objectMissing(err error) bool {
	return errors.Is(err, statelatch.ErrNotFound) && !errors.Is(err, statelatch.ErrNoBucket)
}
