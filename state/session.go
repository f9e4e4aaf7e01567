package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/spool"
)

// maxRebases is how often one write follows a state that others touch.
const maxRebases = 5

// Session is reading and writing one state under one tenure. It is not safe for concurrent use.
type Session struct {
	store  *Store
	tenure Tenure
	base   Version // what the next write is based on
	old    *kept   // its bytes, where a snapshot of them may be needed; nil: they are read again for that
	// unverified: base was read back after a write whose reply was lost, and the lock not since (R7).
	unverified bool
	digest     string // what the table held when base was read, or has held since
	stale      bool   // the digest of base is not in the table
	stuck      error  // an earlier write has an unknown outcome
}

// Begin reads the state of the tenure's ref, then verifies the tenure, in this order: so nobody's write of an earlier
// tenure can have slipped in between (R7). It takes one GET of the state and one Verify. The caller has touched the
// state before if it took the lock from somebody.
//
//	*MismatchError  the table's digest is of other bytes
//	other           of the read, or what Verify said
func (s *Store) Begin(ctx context.Context, t Tenure) (*Session, error) {
	if !s.Snapshots {
		return s.begin(ctx, t, nil)
	}
	old := s.newSpool()
	old.unlessKept = true
	return s.begin(ctx, t, old)
}

// begin is Begin with the body of the base, unless keep is nil. The session closes it.
func (s *Store) begin(ctx context.Context, t Tenure, keep *kept) (*Session, error) {
	base, digest, err := s.readChecked(ctx, t.Ref(), keep)
	var x *Session
	if err == nil {
		x, err = s.session(ctx, t, base, digest)
	}
	if keep == nil {
		return x, err
	}
	if err != nil {
		return nil, errors.Join(err, keep.Close())
	}
	x.old = keep
	return x, nil
}

// Close gives up what is kept of the base, in memory or on disk. Only a session that neither wrote nor deleted needs
// it; it may be called more than once, and the session goes on to work.
func (x *Session) Close() error {
	if x.old == nil {
		return nil
	}
	old := x.old
	x.old = nil
	return old.Close()
}

// snapshot is Store.Snapshot of the base, without reading it again if that can be.
func (x *Session) snapshot(ctx context.Context) error {
	err := x.store.snapshot(ctx, x.base, x.old)
	if closed := x.Close(); closed != nil {
		return errors.Join(err, closed)
	}
	return err
}

// BeginRestore is Begin for who is about to replace the state by an older version, whatever is stored: that the table's
// digest is of other bytes is what a write puts right. Known is the state as it was read whole before the lock was
// taken: if a HEAD says that it is there still, it is not read again.
func (s *Store) BeginRestore(ctx context.Context, t Tenure, known Version) (*Session, error) {
	base, err := s.recall(ctx, t.Ref(), known)
	if err != nil {
		return nil, err
	}
	digest, err := s.storedDigest(ctx, t.Ref())
	if err != nil {
		return nil, err
	}
	return s.session(ctx, t, base, digest)
}

// Resume is Begin on a state that Open or Read returned before, or a session wrote: it is not read again, and only the
// tenure is verified. If it is not the current one, a write is refused as [ChangedError]: Begin again then. It is for
// stores without a table: with one it is Begin.
func (s *Store) Resume(ctx context.Context, t Tenure, base Version) (*Session, error) {
	if s.Digests != nil || base.Ref != t.Ref() || base.Exists && base.MD5 == "" {
		return s.Begin(ctx, t)
	}
	return s.session(ctx, t, base, "")
}

// recall is Mark for who has read the state before.
func (s *Store) recall(ctx context.Context, ref statelatch.Ref, known Version) (Version, error) {
	if known.Ref == ref && (known.MD5 != "" || !known.Exists) {
		if now, same, err := s.unchanged(ctx, known); same || err != nil {
			known.VersionID, known.LastModified = now.VersionID, now.LastModified
			return known, err
		}
	}
	return s.Mark(ctx, ref)
}

func (s *Store) session(ctx context.Context, t Tenure, base Version, digest string) (*Session, error) {
	if err := t.Verify(ctx); err != nil {
		return nil, err
	}
	return &Session{store: s, tenure: t, base: base, digest: digest}, nil
}

// Base is the state as it was read, or as this session last wrote it.
func (x *Session) Base() Version { return x.base }

// WriteOptions are the terms of one Write; zero means every guard.
type WriteOptions struct {
	// Force skips the guards. An unencrypted body whose serial is not greater than the base's gets the base's plus one.
	Force bool
	// OfEngine says that the body is an engine's own result: without resources where there were some, as after destroy,
	// or of a newer format, as after an upgrade.
	OfEngine bool
	// Restore, if not 0, says that the body is an older version. An unencrypted one gets Restore for its serial, which
	// must be greater than that of any version (B29). An encrypted one cannot be edited: it keeps its serial, and gets
	// fresh blanks (R12). Neither its serial nor a lack of resources is held against it, nor that what is stored now is
	// no state.
	Restore uint64
	// Provenance is recorded with the version, as much of it as a store keeps; zero: nothing is.
	Provenance Provenance
}

// Write stores body as the state: all of it, once, if the state is still the base, and then the base is what was
// written. It reads body several times and holds it nowhere. Trailing blanks apart, a body equal to the base is a
// success without a request. Once it has been sent, Write finds out what became of it, for 30 s more when ctx ends.
//
// Guards: a body must be a state as engines write them, of a format that they read and that is the base's; its lineage
// must be the base's and its serial greater; it must not drop all resources. A base without resources and outputs may
// be replaced by any lineage, as by the engines. Of an encrypted base or body only serial and lineage are judged.
//
//	nil                    it is stored, and the table knows, or has been told since of a newer state
//	ErrDigestStale         it is stored, the table does not know: [DigestError]; Version is valid
//	ErrGuarded             a guard refused it; nothing was sent
//	ErrInvalid             it is no state that an engine could read; nothing was sent, with Force neither
//	ErrPreconditionFailed  [ChangedError]: somebody else wrote; nothing of ours was stored
//	ErrAmbiguous           it may be stored or may be yet, or was and is not any more. Tenure.Hold was
//	                       called, and the session writes no more: keep the body, and Begin again
//	other                  nothing was stored: the store's refusal, or what Check or Verify said
func (x *Session) Write(ctx context.Context, body io.ReadSeeker, opts WriteOptions) (Version, error) {
	if x.stuck != nil {
		return Version{}, x.stuck
	}
	body, next, err := x.compose(body, opts)
	if err != nil {
		return Version{}, err
	}
	if x.base.Exists && x.base.content == next.content {
		if !x.stale {
			return x.base, nil
		}
		return x.base, x.sync(ctx)
	}
	next.Provenance = opts.Provenance
	data := x.store.put(x.base.Ref, body, next,
		func(now Version) bool { return now.Exists && now.content == next.content })
	data.builtOn = func(now Version) bool {
		return now.Exists && (now.Header.Lineage != next.Header.Lineage || now.Header.Serial > next.Header.Serial)
	}
	if err = x.snapshot(ctx); err == nil {
		err = x.apply(ctx, func() (change, bool) {
			if x.base.blankObject() {
				return x.claim(opts.Provenance), false
			}
			return data, true
		})
	}
	if err != nil {
		return Version{}, fmt.Errorf("write state: %w", err)
	}
	return x.base, x.sync(ctx)
}

// apply carries out changes on the base until the last, each time following the base where it moved without changing
// its content and the lock is still exactly ours (R8).
func (x *Session) apply(ctx context.Context, next func() (c change, last bool)) error {
	if x.unverified {
		if err := x.tenure.Verify(ctx); err != nil {
			return fmt.Errorf("nothing was written to %s: %w", x.base.Ref, err)
		}
		x.unverified = false
	}
	for rebases := 0; ; rebases++ {
		c, last := next()
		c.allow = x.tenure.Check
		out := c.settle(ctx, on(x.base))
		same := out.now.Exists && x.base.SameContent(out.now)
		switch {
		case out.end == done && last:
			x.base, x.unverified = out.now, out.read
			return nil
		case out.end == done, (out.end == refused || out.end == superseded) && same && rebases < maxRebases:
			// What was sent on the old ETag is refused for good, so whatever Verify says, nothing was written.
			if err := x.tenure.Verify(ctx); err != nil {
				return fmt.Errorf("nothing was written to %s: %w", x.base.Ref, err)
			}
			x.base = out.now
		case out.end == refused, out.end == superseded && same:
			return &ChangedError{Base: x.base, Now: out.now}
		case out.end == superseded && !out.late:
			// it is over, so the lock need not stay
			x.stuck = &ChangedError{Base: x.base, Now: out.now, Unknown: true, Err: out.damage}
			return x.stuck
		case out.end == superseded:
			return x.hold(&ChangedError{Base: x.base, Now: out.now, Unknown: true, Err: out.damage})
		case out.end == unknown:
			return x.hold(fmt.Errorf("%s may be changed, or may be yet, so its lock must stay: %w", x.base.Ref, out.err))
		default:
			return fmt.Errorf("nothing was written to %s: %w", x.base.Ref, out.err)
		}
	}
}

// hold ends the session with an unknown outcome (R5).
func (x *Session) hold(err error) error {
	x.stuck = fmt.Errorf("this session's last change has an unknown outcome: %w", err)
	x.tenure.Hold(err)
	return err
}

// sync brings the table in step with the base.
func (x *Session) sync(ctx context.Context) error {
	err := x.store.syncDigest(ctx, x.base, x.digest)
	if x.stale = err != nil; !x.stale {
		x.digest = x.base.digest()
	}
	return err
}

// claim is the first step of writing over zero bytes: it gives them an ETag of their own. See the package comment.
func (x *Session) claim(by Provenance) change {
	blank, _ := emptyState(0)
	body := spool.Join(spool.Text(blank))
	is, _ := examine(body) // it reads from memory
	is.Provenance = by
	return x.store.put(x.base.Ref, body, is, is.sameBytes)
}

// compose judges body and returns what is to be sent.
func (x *Session) compose(body io.ReadSeeker, opts WriteOptions) (io.ReadSeeker, Version, error) {
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return nil, Version{}, fmt.Errorf("%w state body: %w", statelatch.ErrInvalid, err)
	}
	next, err := examine(body)
	switch {
	case err != nil:
		return nil, Version{}, fmt.Errorf("%w state body: %w", statelatch.ErrInvalid, err)
	case next.Unfit() != nil:
		return nil, Version{}, fmt.Errorf("nothing was written to %s: %w", x.base.Ref, next.Unfit())
	case opts.Force && next.Header.Serial == math.MaxUint64:
		return nil, Version{}, fmt.Errorf("%w state: its serial, %d, is the highest there is, so no state could follow; "+
			"nothing was written to %s",
			statelatch.ErrInvalid, next.Header.Serial, x.base.Ref)
	case next.Header.Empty:
		return nil, Version{}, fmt.Errorf("%w state: it has zero bytes; nothing was written to %s", statelatch.ErrInvalid,
			x.base.Ref)
	case x.base.Exists && x.base.content == next.content:
		return body, next, nil
	}
	if !opts.Force {
		if err := Guard(x.base, next, opts); err != nil {
			return nil, Version{}, err
		}
	}
	base := x.base.Header
	greater, related := next.Header.Serial > base.Serial, next.Header.Lineage == base.Lineage
	// A greater serial of the same lineage proves that these bytes were never stored before, and so does one that is
	// greater than any. Where neither does, blanks do (R12): else a writer from back then could pass its condition.
	unique := greater && related
	if opts.Restore == 0 && (x.base.IsVoid() || unique) {
		return body, next, nil
	}
	parts := []spool.Piece{{From: body, Len: next.Size}}
	switch {
	case opts.Restore > 0 && next.Header.Encrypted():
		unique = false
	case opts.Restore > 0:
		parts, err = withSerial(body, next, base.Serial, opts.Restore)
		unique = true
	case opts.Force && !greater && !next.Header.Encrypted():
		parts, err = withSerial(body, next, base.Serial, base.Serial+1)
		unique = related
	}
	if err != nil {
		return nil, Version{}, err
	}
	if !unique {
		parts = append(parts, spool.Text(blankNonce()))
	}
	sent := spool.Join(parts...)
	is, err := examine(sent)
	if err != nil {
		return nil, Version{}, fmt.Errorf("%w state body: %w", statelatch.ErrInvalid, err)
	}
	return sent, is, nil
}

// withSerial is body with another serial, greater than base, in place of its own.
func withSerial(body io.ReadSeeker, v Version, base, serial uint64) ([]spool.Piece, error) {
	switch {
	case v.shape.serialEnd == 0:
		return nil, fmt.Errorf("%w state: it has no serial that could be raised above %d", statelatch.ErrInvalid, base)
	case serial <= base: // base+1 may be 0
		return nil, fmt.Errorf("%w serial %d: it must be greater than the stored one, %d", statelatch.ErrInvalid, serial,
			base)
	}
	return []spool.Piece{
		{From: body, Len: v.shape.serialAt},
		spool.Text(strconv.FormatUint(serial, 10)),
		{From: body, Off: v.shape.serialEnd, Len: v.Size - v.shape.serialEnd},
	}, nil
}

// Guard refuses to replace base by next, both read whole, where that would probably harm the state: what
// [Session.Write] does without Force. It sends nothing. Errors match ErrGuarded and ErrInvalid.
func Guard(base, next Version, opts WriteOptions) error {
	was, is, restore := base.Header, next.Header, opts.Restore > 0
	refuse := func(format string, args ...any) error {
		return guarded(base.Ref, format, args...)
	}
	free := base.IsVoid() || base.isEmpty() && was.Lineage != is.Lineage // for any state, as engines see it
	formats := !is.Encrypted() && !was.Encrypted() && !base.IsVoid() && base.Err == nil && base.shape.unfit == nil
	switch {
	case !is.Encrypted() && is.Version > newestFormat && !opts.OfEngine:
		return refuse("its format is %d, and engines read none above %d", is.Version, newestFormat)
	case is.Encrypted() && is.EncryptionVersion != encryptionFormat && is.EncryptionVersion != was.EncryptionVersion &&
		!opts.OfEngine:
		return refuse("its encryption_version is %q, and engines read %q", is.EncryptionVersion, encryptionFormat)
	case is.Lineage == "" && (is.Encrypted() || is.Version > formatWithoutLineage):
		return refuse("it has no lineage, as every state has since format %d", formatWithoutLineage+1)
	case is.Serial == math.MaxUint64:
		return refuse("its serial, %d, is the highest there is: no state could follow", is.Serial)
	case formats && is.Version < was.Version:
		return refuse("its format is %d, older than the stored state's, %d", is.Version, was.Version)
	case formats && is.Version > was.Version && !opts.OfEngine:
		return refuse("its format is %d, newer than the stored state's, %d: the engine that wrote that cannot read it",
			is.Version, was.Version)
	case free:
		return nil
	case base.Err != nil && !restore:
		return refuse("what is stored is no state: %v", base.Err)
	case was.Lineage != is.Lineage && was.Lineage != "":
		return refuse("the lineage is %q, the stored state's is %q: it is the state of something else, perhaps a copied key",
			is.Lineage, was.Lineage)
	case restore:
		return nil
	case is.Serial < was.Serial:
		return refuse("the serial would step back from %d to %d: it is an older state", was.Serial, is.Serial)
	case is.Serial == was.Serial:
		return refuse("serial %d is stored already, with different content: both were made from the same state", is.Serial)
	case base.shape.resources && next.isPlain() && !next.shape.resources && !opts.OfEngine:
		return refuse("the stored state has resources, this one has none")
	}
	return nil
}

func guarded(ref statelatch.Ref, format string, args ...any) error {
	return &guardError{fmt.Sprintf("%v state for %s: %s (%v)", statelatch.ErrInvalid, ref, fmt.Sprintf(format, args...),
		ErrGuarded)}
}

type guardError struct{ text string }

func (e *guardError) Error() string   { return e.text }
func (e *guardError) Unwrap() []error { return []error{ErrGuarded, statelatch.ErrInvalid} }
