package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/pace"
	"github.com/statelatch/statelatch/internal/spool"
)

// change is one conditional write or delete of one object. It may be sent several times; it happens at most once,
// because its condition stops to hold when it happens.
type change struct {
	store *Store
	ref   statelatch.Ref
	size  int64
	// try sends it once and returns what is stored if it was done.
	try func(ctx context.Context, cond bucket.Condition) (Version, error)
	// mine recognises, in what is stored now, that it was done.
	mine func(now Version) bool
	// builtOn tells that what is stored now may have been built on this change, so that a refusal proves nothing; nil:
	// never.
	builtOn func(now Version) bool
	// allow is asked before it is sent; nil: always.
	allow func() error
}

// put is the change that stores body, which is as examine said, on behalf of whom is.Provenance says.
func (s *Store) put(ref statelatch.Ref, body io.ReadSeeker, is Version, mine func(Version) bool) change {
	metadata := is.Provenance.Metadata()
	is.Provenance = recorded(metadata)
	return change{
		store: s, ref: ref, size: is.Size, mine: mine,
		try: func(ctx context.Context, cond bucket.Condition) (Version, error) {
			obj, err := s.Bucket.Put(ctx, ref.Key, body, bucket.PutOptions{If: cond, Metadata: metadata})
			if err == nil && !obj.Confirmed {
				err = s.confirm(ctx, ref, obj, is)
			}
			v := is
			v.Ref, v.ETag, v.VersionID, v.LastModified = ref, obj.ETag, obj.VersionID, obj.Date
			return v, err
		},
	}
}

// confirm reads back what was stored, where the store's answer did not say what it has. That somebody else has written
// since says nothing: the answer told that ours was stored.
func (s *Store) confirm(ctx context.Context, ref statelatch.Ref, obj bucket.Object, is Version) error {
	now, err := s.load(context.WithoutCancel(ctx), ref, nil)
	switch {
	case errors.Is(err, statelatch.ErrAltered): // by what the store says of it when it is read
	case err != nil, !now.Exists, now.ETag != obj.ETag, now.sameBytes(is):
		return nil //nolint:nilerr // it cannot be told
	default:
		err = fmt.Errorf("%w: %d bytes with the MD5 %s were sent, and %d with %s are stored", statelatch.ErrAltered, is.Size,
			is.MD5, now.Size, now.MD5)
	}
	return &statelatch.StoreError{
		Kind: statelatch.ErrAmbiguous, Op: "put", Bucket: ref.Bucket, Key: ref.Key,
		Err: alteredError{err},
	}
}

// alteredError is ErrAltered in another's words, of whatever kind those are.
type alteredError struct{ err error }

func (e alteredError) Error() string { return e.err.Error() }
func (e alteredError) Unwrap() error { return statelatch.ErrAltered }

// end is what became of a change.
type end int

const (
	done       end = iota // it happened; now is what is stored
	refused               // it did not happen: now is what is there instead
	superseded            // something else is there now, but it may have happened before that (R9)
	unknown               // it may have happened or may happen yet: err is an ErrAmbiguous
	failed                // it did not happen and will not: err says why
)

type outcome struct {
	end  end
	now  Version
	read bool // now was read back, so its ETag may be of a touch by whoever holds the lock by now
	late bool // an attempt was never answered, so it may yet arrive
	err  error
	// damage is why what is stored is not what was sent (statelatch.ErrAltered); nil if that is not what happened.
	damage error
}

// settle sends c until it is known what became of it (R2): after a refusal or an unknown outcome it reads back and
// recognises what it did by content. From the first failure on it has settleBudget. If an attempt had an unknown
// outcome it goes on when ctx ends, because only a later answer can tell what an earlier one did. A refusal is no
// outcome by itself: somebody on the way may have sent the request twice, and answered with the second reply (R9).
func (c change) settle(ctx context.Context, cond bucket.Condition) outcome {
	now, err := c.send(ctx, cond)
	if err == nil {
		return outcome{end: done, now: now}
	}
	caller := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleBudget+time.Duration(c.size>>20)*settleRate)
	defer cancel()
	inDoubt, unread, unanswered := false, false, false
	var damage error
	for failures := 0; ; failures++ {
		_, barred := errors.AsType[*barredError](err)
		inDoubt = inDoubt || !barred && errors.Is(err, statelatch.ErrAmbiguous)
		if errors.Is(err, statelatch.ErrAltered) {
			damage = err
		} else {
			unanswered = unanswered || !barred && errors.Is(err, statelatch.ErrAmbiguous)
		}
		refusal := !barred && isRefusal(err)
		if inDoubt || refusal {
			now, lookErr := c.store.get(ctx, c.ref, "", nil)
			unread = refusal && lookErr != nil
			switch {
			case lookErr != nil:
			case c.mine(now):
				return outcome{end: done, now: now, read: true}
			case cond.Check(now.Exists, now.ETag) != nil && (inDoubt || c.builtOn != nil && c.builtOn(now)):
				return outcome{end: superseded, now: now, late: unanswered, err: err, damage: damage}
			case cond.Check(now.Exists, now.ETag) != nil:
				return outcome{end: refused, now: now, err: err}
			}
		}
		// In doubt it is looked for to the end of the budget, even where it may not be sent again.
		lost := inDoubt || unread
		gaveUp := !lost && (barred || caller.Err() != nil)
		answered := !barred && !refusal && (!passing(err) || failures >= readTries && outOfRoom(err))
		if gaveUp || answered || pace.Sleep(ctx, retryPace.Pause(failures)) != nil {
			if lost {
				return outcome{end: unknown, err: doubt(err)}
			}
			return outcome{end: failed, err: err}
		}
		if now, err = c.send(ctx, cond); err == nil {
			return outcome{end: done, now: now}
		}
	}
}

// doubt is the last error of a change whose outcome is unknown, as an ErrAmbiguous and nothing else.
func doubt(last error) error {
	if errors.Is(last, statelatch.ErrAmbiguous) {
		return last
	}
	return &doubtError{last}
}

type doubtError struct{ last error }

func (e *doubtError) Error() string {
	return fmt.Sprintf("%v: no reply to an earlier attempt; then: %v", statelatch.ErrAmbiguous, e.last)
}
func (e *doubtError) Unwrap() error { return statelatch.ErrAmbiguous }

func (c change) send(ctx context.Context, cond bucket.Condition) (Version, error) {
	if c.allow != nil {
		if err := c.allow(); err != nil {
			return Version{}, &barredError{err}
		}
	}
	return c.try(ctx, cond)
}

// barredError is why a change was not sent. Whatever kind it wraps, it is no answer of the store.
type barredError struct{ error }

func (e *barredError) Unwrap() error { return e.error }

// isRefusal reports whether a condition was refused. It may hold again: a create is refused in the moment
// before a delete.
func isRefusal(err error) bool {
	return errors.Is(err, statelatch.ErrPreconditionFailed) || objectMissing(err)
}

// outOfRoom reports whether the store did nothing because it is full, which seldom passes while somebody waits.
func outOfRoom(err error) bool {
	se, ok := errors.AsType[*statelatch.StoreError](err)
	return ok && se.Status == http.StatusInsufficientStorage
}

// on is the condition that the state is still v.
func on(v Version) bucket.Condition {
	if !v.Exists {
		return bucket.IfAbsent
	}
	return bucket.IfMatch(v.ETag)
}

// touchRounds is how many writes of others a touch gives way to.
const touchRounds = 10

// Touch is the fence (R6): it gives the state of ref a new ETag and leaves its content, and its [Provenance], so that
// every write of an earlier tenure, also one that is still under way, is refused. An absent state becomes an object of
// zero bytes, and of zero bytes there is nothing to fence; see the package comment. The table's digest follows. The
// caller re-reads its lock afterwards (R7).
//
// What is stored but is no JSON is left alone: blanks would change it, and no session writes over it unless forced to.
//
//	nil             no write based on what was there before the call can succeed any more
//	ErrDigestStale  the same, but see [DigestError]
//	ErrAmbiguous    it could not be found out within 30 s
//	other           it may be unfenced; the content is as it was in any case
func (s *Store) Touch(ctx context.Context, ref statelatch.Ref) error {
	if err := s.admit(ref); err != nil {
		return err
	}
	for range touchRounds {
		if again, err := s.touch(ctx, ref); !again {
			return err
		}
	}
	return fmt.Errorf("touch state %s: %w: it was written to %d times meanwhile, although it is locked", ref,
		statelatch.ErrConflict, touchRounds)
}

// touch is one round of Touch. Again tells that somebody else wrote meanwhile.
func (s *Store) touch(ctx context.Context, ref statelatch.Ref) (again bool, err error) {
	body := s.newSpool()
	defer func() { err = errors.Join(err, body.Close()) }()
	digest, err := s.storedDigest(ctx, ref)
	if err != nil {
		return false, err
	}
	base, err := s.load(ctx, ref, body)
	switch {
	case err != nil:
		return false, err
	case base.blankObject(), base.Err != nil:
		return false, nil
	case !base.Exists:
		created, err := s.createBlank(ctx, ref, Provenance{})
		return err == nil && !created, err
	}
	next := spool.Join(touched(body, base)...)
	is, err := examine(next)
	if err != nil {
		return false, err
	}
	is.Provenance = base.Provenance // who moves it has not written it
	out := s.put(ref, next, is, is.sameBytes).settle(ctx, on(base))
	switch out.end {
	case done:
		return false, s.syncDigest(ctx, out.now, digest)
	case refused, superseded:
		if out.damage != nil { // once more would only do it once more
			return false, fmt.Errorf("touch state: %w", &ChangedError{Base: base, Now: out.now, Unknown: true, Err: out.damage})
		}
		return true, nil
	default:
		return false, fmt.Errorf("touch state: %w", out.err)
	}
}

// createBlank creates an object of zero bytes unless there is any. Created is certain if true; it is false too if
// the creating attempt's reply was lost.
func (s *Store) createBlank(ctx context.Context, ref statelatch.Ref, by Provenance) (created bool, err error) {
	err = retry(ctx, func() error {
		_, err := s.Bucket.Put(ctx, ref.Key, spool.Join(), bucket.PutOptions{If: bucket.IfAbsent, Metadata: by.Metadata()})
		return err
	})
	if errors.Is(err, statelatch.ErrPreconditionFailed) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("create state: %w", err)
	}
	return true, nil
}
