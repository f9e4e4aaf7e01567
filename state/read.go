package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/lazyre"
	"github.com/statelatch/statelatch/internal/pace"
	"github.com/statelatch/statelatch/internal/spool"
)

const (
	// mismatchWait is how long a digest that does not match is given to become right, as the engines do.
	mismatchWait  = 10 * time.Second
	mismatchPause = 2 * time.Second
)

// Open reads the state of ref in one GET, whole and of one version (W14), and compares it with its digest, where a
// table is configured, before it hands out a byte. The caller closes the body. An absent state and one of zero bytes
// have an empty body and no error (B12: look at Exists and Header.Empty). A body that is no state is handed out too;
// Version.Err says why it is none. The body is an io.ReaderAt as well, for several readers at once.
//
//	*MismatchError  the table's digest is of other bytes, still after 10 s
//	ErrNotFound     the bucket does not exist
func (s *Store) Open(ctx context.Context, ref statelatch.Ref) (Version, io.ReadSeekCloser, error) {
	body := s.newSpool()
	v, _, err := s.readChecked(ctx, ref, body)
	if err != nil {
		return Version{}, nil, errors.Join(err, body.Close())
	}
	return v, body, nil
}

// OpenVersion is Open for one version that the bucket keeps, or for a [Snapshot] by its name; empty is the current
// version. The digest is not compared: the table's is of the current one. A version that there is not, and a delete
// marker, is ErrNotFound.
func (s *Store) OpenVersion(
	ctx context.Context, ref statelatch.Ref, versionID string,
) (Version, io.ReadSeekCloser, error) {
	body := s.newSpool()
	var v Version
	err := s.admit(ref)
	if err == nil {
		err = retry(ctx, func() (err error) {
			v, err = s.get(ctx, ref, versionID, body)
			return err
		})
	}
	if err == nil && !v.Exists {
		err = fmt.Errorf("%w: %s has no version %q", statelatch.ErrNotFound, ref, versionID)
	}
	if err != nil {
		return Version{}, nil, errors.Join(fmt.Errorf("read state: %w", err), body.Close())
	}
	return v, body, nil
}

// Read is Open for who needs no body; nothing is kept in memory or on disk.
func (s *Store) Read(ctx context.Context, ref statelatch.Ref) (Version, error) {
	v, _, err := s.readChecked(ctx, ref, nil)
	return v, err
}

// readChecked is load with the comparison of the digest, which it returns as storedDigest does. Like the engines it
// takes a malformed one for none.
func (s *Store) readChecked(
	ctx context.Context, ref statelatch.Ref, keep *kept,
) (v Version, stored string, err error) {
	if err := s.admit(ref); err != nil {
		return Version{}, "", err
	}
	for waited := time.Duration(0); ; waited += mismatchPause {
		v, err := s.load(ctx, ref, keep)
		if err != nil {
			return Version{}, "", err
		}
		stored, err := s.storedDigest(ctx, ref)
		if err != nil {
			return Version{}, "", err
		}
		if !hexMD5.MatchString(stored) || strings.EqualFold(stored, v.digest()) {
			return v, stored, nil
		}
		if waited >= mismatchWait {
			return Version{}, "", &MismatchError{Ref: ref, Calculated: v.digest(), Stored: stored}
		}
		if err := pace.Sleep(ctx, mismatchPause); err != nil {
			return Version{}, "", fmt.Errorf("read state %s: %w: wait for its DynamoDB digest: %w", ref, statelatch.ErrBroken,
				err)
		}
	}
}

// load reads the state of ref, trying again what may pass, into keep unless that is nil.
func (s *Store) load(ctx context.Context, ref statelatch.Ref, keep *kept) (Version, error) {
	var v Version
	err := retry(ctx, func() (err error) {
		v, err = s.get(ctx, ref, "", keep)
		return err
	})
	if err != nil {
		return Version{}, fmt.Errorf("read state: %w", err)
	}
	return v, nil
}

// get reads one version of the state, or the current one, in one request.
func (s *Store) get(ctx context.Context, ref statelatch.Ref, versionID string, keep *kept) (Version, error) {
	if keep != nil {
		if err := keep.Close(); err != nil {
			return Version{}, &spool.Error{Err: err}
		}
	}
	at := placeOf(ref, versionID)
	obj, body, err := s.Bucket.Get(ctx, at.key, at.read)
	switch {
	case objectMissing(err) && keep != nil:
		return Version{Ref: ref}, keep.Rewind()
	case objectMissing(err):
		return Version{Ref: ref}, nil
	case err != nil:
		return Version{}, err
	}
	var source io.Reader = body
	if keep != nil && keep.unlessKept && bucket.KeptVersion(obj.VersionID) {
		keep = nil
	}
	if keep != nil {
		source = io.TeeReader(body, keep)
		err = keep.Expect(obj.Size)
	}
	var v Version
	if err == nil {
		v, err = examine(source)
	}
	if err = errors.Join(err, body.Close()); err == nil && keep != nil {
		err = keep.Rewind()
	}
	if err != nil {
		return Version{}, s.bodyError(ref, err)
	}
	v.of(ref, obj)
	if at.snapshot {
		kept, _ := ParseSnapshot(versionID)
		v.VersionID, v.LastModified = versionID, kept.Written
	}
	return v, nil
}

// of fills in what the store says of the object that v was read from.
func (v *Version) of(ref statelatch.Ref, obj bucket.Object) {
	v.Ref, v.ETag, v.VersionID, v.LastModified = ref, obj.ETag, obj.VersionID, obj.LastModified
	v.Provenance = recorded(obj.Metadata)
	if !obj.LastModified.IsZero() && obj.Date.After(obj.LastModified) {
		v.Age = obj.Date.Sub(obj.LastModified)
	}
}

// place is where a version of a state is read.
type place struct {
	key      string
	read     bucket.ReadOptions
	snapshot bool
}

func placeOf(ref statelatch.Ref, versionID string) place {
	if _, ok := ParseSnapshot(versionID); ok {
		return place{key: ref.HistoryPrefix() + versionID, snapshot: true}
	}
	return place{key: ref.Key, read: bucket.ReadOptions{VersionID: versionID}}
}

// bodyError gives the failure of a body its kind: the port leaves its type open.
func (s *Store) bodyError(ref statelatch.Ref, err error) error {
	if _, ok := errors.AsType[*statelatch.StoreError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*spool.Error](err); ok {
		return err
	}
	return &statelatch.StoreError{Kind: statelatch.ErrBroken, Op: "get", Bucket: ref.Bucket, Key: ref.Key, Err: err}
}

var hexMD5 = lazyre.New(`^[0-9A-Fa-f]{32}$`)

// MismatchError says that the digest in the table is not of the stored bytes. It matches ErrInvalid.
type MismatchError struct {
	Ref        statelatch.Ref // of the state
	Calculated string         // hex; empty: there is no state
	Stored     string         // the table's, hex; empty: there is no item
}

// Error says what to do.
func (e *MismatchError) Error() string {
	is, remedy := "the state's MD5 is "+e.Calculated, fmt.Sprintf("set Digest to %s", e.Calculated)
	if e.Calculated == "" {
		is, remedy = "there is no state", "remove the item"
	}
	return fmt.Sprintf("%v digest of %s: %s, but the DynamoDB item %s says %s. Either the state was replaced or lost "+
		"without the table being told, "+
		"or a writer stopped before it told it. Compare with the bucket's versions; if what is there now is right, %s",
		statelatch.ErrInvalid, e.Ref, is, e.Ref.DynamoDBDigestID(), e.Stored, remedy)
}

// Unwrap matches ErrInvalid.
func (e *MismatchError) Unwrap() error { return statelatch.ErrInvalid }

// digest is what the table has to say about v: nothing where the engines see no state.
func (v Version) digest() string {
	if !v.Exists || v.Header.Empty {
		return ""
	}
	return v.MD5
}

// storedDigest reads the digest as it is stored; empty is none, or no table.
func (s *Store) storedDigest(ctx context.Context, ref statelatch.Ref) (stored string, err error) {
	if s.Digests == nil {
		return "", nil
	}
	err = retry(ctx, func() (err error) {
		stored, err = s.Digests.Digest(ctx, ref)
		return err
	})
	if errors.Is(err, statelatch.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read DynamoDB digest of %s: %w", ref, err)
	}
	return stored, nil
}

// DigestError says that the state is in place and the table does not know. It matches [ErrDigestStale] and its cause.
type DigestError struct {
	Ref statelatch.Ref // of the state
	MD5 string         // that the table has to hold; empty: the item has to be removed
	Err error          // why the table could not be told
}

// Error says what to do.
func (e *DigestError) Error() string {
	remedy := "set Digest of item " + e.Ref.DynamoDBDigestID() + " to " + e.MD5
	if e.MD5 == "" {
		remedy = "remove item " + e.Ref.DynamoDBDigestID()
	}
	return fmt.Sprintf("%v: %s: clients with the table refuse to read it until you %s: %v", ErrDigestStale, e.Ref, remedy,
		e.Err)
}

// Unwrap matches ErrDigestStale and the cause.
func (e *DigestError) Unwrap() []error { return []error{ErrDigestStale, e.Err} }

// syncDigest brings the table in step with v, which is stored now; old is what the table held before v was. It runs on
// when ctx ends: a stale digest blocks every client that has the table (W22).
//
// The digest never steps back to that of an older state, however late a swap comes: what is swapped is always what was
// read before its state was known to be the current one, and no two states' bytes are equal. So it takes no lease
// either. Where the state has moved on, the digest is left to whoever moved it.
func (s *Store) syncDigest(ctx context.Context, v Version, old string) error {
	if s.Digests == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	err := s.swapDigest(ctx, v, old)
	ctx, cancel := context.WithTimeout(ctx, digestBudget)
	defer cancel()
	for failures := 0; err != nil; failures++ {
		if !passing(err) || pace.Sleep(ctx, retryPace.Pause(failures)) != nil {
			return &DigestError{Ref: v.Ref, MD5: v.digest(), Err: err}
		}
		err = s.resyncDigest(ctx, v)
	}
	return nil
}

// resyncDigest is another try of syncDigest. It reads the digest first: read after the state it could be a newer
// state's.
func (s *Store) resyncDigest(ctx context.Context, v Version) error {
	stored, err := s.Digests.Digest(ctx, v.Ref)
	if errors.Is(err, statelatch.ErrNotFound) {
		stored, err = "", nil
	}
	if err != nil || strings.EqualFold(stored, v.digest()) {
		return err
	}
	now, err := s.get(ctx, v.Ref, "", nil)
	if err != nil || now.Exists != v.Exists || v.Exists && !v.sameBytes(now) {
		return err
	}
	return s.swapDigest(ctx, v, stored)
}

// swapDigest swaps old for the digest of v. That it is not old is an ErrConflict: ErrPreconditionFailed would say that
// the state was not written.
func (s *Store) swapDigest(ctx context.Context, v Version, old string) error {
	err := s.Digests.SwapDigest(ctx, v.Ref, old, v.digest())
	if errors.Is(err, statelatch.ErrPreconditionFailed) {
		return fmt.Errorf("%w: item %s is not what was read from it, %q", statelatch.ErrConflict, v.Ref.DynamoDBDigestID(),
			old)
	}
	return err
}
