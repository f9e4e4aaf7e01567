package state

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/pace"
)

const (
	// A writer stores the state first and its digest then, so a mismatch that is seen once may be one that is just
	// being mended. It counts once it has stood still for digestPause.
	digestPause  = 500 * time.Millisecond
	digestRounds = 20
)

// DigestReading is a state and the table's digest of it, as they were read one after the other.
type DigestReading struct {
	Now    Version // read whole
	Item   bool    // the table has an item for it
	Stored string  // its Digest as it is stored; empty if it is missing or not a string
}

// Want is what the table has to hold: the MD5 of the exact bytes, in hex; empty where engines see no state, because
// there is no object or it has zero bytes.
func (r DigestReading) Want() string { return r.Now.digest() }

// InStep reports whether an engine that has the table reads the state without complaint, and what there is in the table
// is of use. No item at all is in step: engines check nothing then.
func (r DigestReading) InStep() bool {
	return !r.Item || r.Stored != "" && strings.EqualFold(r.Stored, r.Want())
}

// Malformed reports whether the item has no MD5 in it. Engines pass over it.
func (r DigestReading) Malformed() bool { return r.Item && !hexMD5.MatchString(r.Stored) }

func (r DigestReading) same(o DigestReading) bool {
	return r.Item == o.Item && r.Stored == o.Stored && r.Now.Exists == o.Now.Exists && r.Now.ETag == o.Now.ETag &&
		r.Now.MD5 == o.Now.MD5
}

// ReadDigest reads the state of ref whole and its digest. If they are not in step it reads both again until they are,
// or nothing has changed for half a second. Store.Digests is required.
func (s *Store) ReadDigest(ctx context.Context, ref statelatch.Ref) (DigestReading, error) {
	if err := s.admit(ref); err != nil {
		return DigestReading{}, err
	}
	var last DigestReading
	for round := range digestRounds {
		now, err := s.readDigest(ctx, ref)
		if err != nil || now.InStep() || round > 0 && now.same(last) {
			return now, err
		}
		last = now
		if err := pace.Sleep(ctx, digestPause); err != nil {
			return DigestReading{}, err
		}
	}
	return last, nil
}

// readDigest reads the digest before the state: a swap from what was read is refused once a newer state's digest is
// there.
func (s *Store) readDigest(ctx context.Context, ref statelatch.Ref) (r DigestReading, err error) {
	err = retry(ctx, func() (err error) {
		r.Stored, err = s.Digests.Digest(ctx, ref)
		return err
	})
	switch {
	case err == nil:
		r.Item = true
	case !errors.Is(err, statelatch.ErrNotFound):
		return DigestReading{}, fmt.Errorf("read DynamoDB digest of %s: %w", ref, err)
	}
	r.Now, err = s.load(ctx, ref, nil)
	return r, err
}

// FixDigest makes the table's digest that of the state which is stored, or removes it where there is no state, if both
// are still as shown has them. It reads them again under t and swaps on what it read, so that no digest of a newer
// state is ever replaced, however late the swap arrives.
//
//	nil             the digest is in step; without changed it was already
//	ErrConflict     the state or the digest is not what was shown; nothing was changed
//	ErrUnsupported  the item has no Digest that a condition could name; nothing was changed
//	ErrDigestStale  it could not be brought in step: [DigestError]
//	other           of the reads, or what Verify said; nothing was changed
func (s *Store) FixDigest(ctx context.Context, t Tenure, shown DigestReading) (changed bool, err error) {
	if err := s.serves(t.Ref()); err != nil {
		return false, err
	}
	now, err := s.readDigest(ctx, t.Ref())
	if err != nil {
		return false, err
	}
	if err := t.Verify(ctx); err != nil {
		return false, err
	}
	switch {
	case now.InStep():
		return false, nil
	case !now.same(shown):
		return false, fmt.Errorf("digest of %s: %w: the state or its digest changed since it was shown; look again", t.Ref(),
			statelatch.ErrConflict)
	case now.Stored == "":
		return false, fmt.Errorf("digest of %s: %w: item %s has no Digest, so no engine wrote it as one; look at it and "+
			"delete it by hand",
			t.Ref(), statelatch.ErrUnsupported, t.Ref().DynamoDBDigestID())
	}
	return true, s.syncDigest(ctx, now.Now, now.Stored)
}

// ReadWhole fills MD5 and Err of a version that was listed, and what [Version.SameContent] and [Version.HoldsNothing]
// need, by reading its body.
func (s *Store) ReadWhole(ctx context.Context, v *Version) error { return s.readWhole(ctx, v) }

// HoldsNothing reports whether v, read whole, is known to hold neither resources nor outputs. Of an encrypted one it is
// not known.
func (v Version) HoldsNothing() bool { return v.isEmpty() }
