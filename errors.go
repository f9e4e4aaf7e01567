package statelatch

import (
	"errors"
	"fmt"
	"strings"
)

// The kinds of failure of a conditional object store. Every error that a
// bucket driver returns matches exactly one of them with errors.Is (of ErrNoBucket, ErrNotFound as well); drivers
// decide on the store's error codes and statuses, never on message text.
var (
	// ErrPreconditionFailed: the store evaluated the condition and refused; nothing changed.
	ErrPreconditionFailed = errors.New("precondition failed")
	// ErrNotFound: no such object, version or bucket, also for a condition on an absent object.
	ErrNotFound = errors.New("not found")
	// ErrNoBucket: there is no such bucket, so nothing is known of the object. It matches ErrNotFound, too.
	ErrNoBucket = fmt.Errorf("%w: no such bucket", ErrNotFound)
	// ErrDenied: the credentials may not do this, or are missing, wrong or expired.
	ErrDenied = errors.New("access denied")
	// ErrConflict: a concurrent request got in the way; nothing changed; try again.
	ErrConflict = errors.New("conflicting request, try again")
	// ErrThrottled: the store asked to slow down and nothing was attempted. A write to S3 that is answered 503
	// is ErrAmbiguous, because that may follow the write (B6); a 429 and DynamoDB's own throttling are certain.
	ErrThrottled = errors.New("throttled by the store")
	// ErrUnsupported: the store or the driver cannot do this; nothing was attempted.
	ErrUnsupported = errors.New("not supported by this store")
	// ErrAmbiguous: a write may or may not have happened, or may still happen.
	// Only reading back can tell.
	ErrAmbiguous = errors.New("outcome unknown")
	// ErrBroken: the store could not be reached or answered nonsense; nothing was changed.
	ErrBroken = errors.New("store not usable")
)

// ErrAltered is the cause of a [StoreError] whose bytes are not those that the store says they are: they were changed
// on the way, or in the store. Of a read it is ErrBroken, and nothing of the bytes may be used. Of a write it is
// ErrAmbiguous: something was stored.
var ErrAltered = errors.New("the bytes were changed on the way")

// ErrEncoding is the cause of a [StoreError] of kind ErrUnsupported whose write asked for more than to store bytes: for
// encryption, an ACL or tags. The store may know conditions all the same.
var ErrEncoding = errors.New("the store may not be able to encrypt objects, or to set an ACL or tags on them, the " +
	"way the configuration asks for")

// The outcomes of a lock operation that a caller decides on.
var (
	// ErrLocked: somebody else holds the lock. See [LockedError] for who.
	ErrLocked = errors.New("state is locked")
	// ErrNotLocked: there is no lock to act on.
	ErrNotLocked = errors.New("state is not locked")
	// ErrLockLost: a lock that was held is gone or belongs to somebody else.
	ErrLockLost = errors.New("lock was lost while held")
	// ErrUnsafeStore: the store cannot exclude two holders, so nothing was locked.
	ErrUnsafeStore = errors.New("store cannot lock safely")
	// ErrInvalid: an argument, a name or a file is malformed.
	ErrInvalid = errors.New("invalid")
)

// StoreError is what a bucket driver returns: one of the store kinds above,
// with what was attempted and what the store said.
type StoreError struct {
	Kind    error  // one of the store kinds; errors.Is matches it
	Op      string // the port's operation: "head", "get", "put", "delete", "list", "list versions"
	Bucket  string // its name
	Key     string // empty for listings
	Status  int    // HTTP status, 0 where there was no answer
	Code    string // the store's error code, empty where there was none
	Message string // the store's message, for people
	// Action: for ErrDenied: the IAM action that the call needs, such as "s3:PutObject"; what was denied tells Denial
	Action string
	Over   bool  // for ErrAmbiguous: the store itself has answered, so what did not happen by now will not
	Err    error // the cause, if any; errors.Is and errors.As see it
}

// Error names the operation, the object, the kind, the store's own words and,
// when access was denied, the missing action. It never contains a credential or a body.
func (e *StoreError) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Bucket != "" { // unknown where credentials are looked for
		b.WriteString(" s3://" + e.Bucket)
		if e.Key != "" {
			b.WriteString("/" + e.Key)
		}
	}
	fmt.Fprintf(&b, ": %v", e.Kind)
	var detail []string
	if e.Status != 0 {
		detail = append(detail, fmt.Sprintf("HTTP %d", e.Status))
	}
	if e.Code != "" {
		detail = append(detail, e.Code)
	}
	if len(detail) > 0 {
		fmt.Fprintf(&b, " (%s)", strings.Join(detail, " "))
	}
	switch {
	case e.Message != "":
		b.WriteString(": " + e.Message)
	case e.Err != nil:
		b.WriteString(": " + e.Err.Error())
	}
	if e.Unexplained() {
		fmt.Fprintf(&b, "; the credentials need %s on this resource", e.Action)
	}
	return b.String()
}

// Unwrap gives errors.Is and errors.As both the kind and the cause.
func (e *StoreError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// Expired reports whether err is a refusal because the credentials have expired. It matches [ErrDenied], but unlike
// other refusals it may pass by trying again: s3bucket then loads the credentials anew (B14).
func Expired(err error) bool {
	se, ok := errors.AsType[*StoreError](err)
	if !ok || !errors.Is(se.Kind, ErrDenied) {
		return false
	}
	switch se.Code {
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired":
		return true
	}
	return false
}

// BadCredentials reports whether err is a refusal of whoever asks, whatever is asked for: the credentials are missing,
// unknown, wrong or expired, the clock is wrong, or the account is closed. Every other request will be refused alike.
func BadCredentials(err error) bool {
	se, ok := errors.AsType[*StoreError](err)
	if !ok || !errors.Is(se.Kind, ErrDenied) {
		return false
	}
	switch se.Denial().Cause {
	case DenialCredentials, DenialClock, DenialAccount:
		return true
	}
	return false
}

// LockedError says who holds a lock. It matches [ErrLocked].
type LockedError struct {
	Ref     Ref      // of the state
	Holder  LockInfo // zero ID when the lock object could not be understood
	Managed *Managed // what a lock of ours says beyond Holder; nil for a plain one
	ETag    string   // of the lock object that was seen; empty if the holder is in Table
	Table   string   // the DynamoDB table that the holder was seen in, where it is not the lock object
	Err     error    // why the lock object could not be understood; nil if it could
}

// Error names the state and, where known, the holder.
func (e *LockedError) Error() string {
	where := ""
	if e.Table != "" {
		where = fmt.Sprintf(" in the DynamoDB table %q", e.Table)
	}
	if e.Err != nil {
		return fmt.Sprintf("%v: %s: the lock%s cannot be read: %v", ErrLocked, e.Ref, where, e.Err)
	}
	return fmt.Sprintf("%v: %s: held%s by %s (ID %s)", ErrLocked, e.Ref, where, e.Holder.Who, e.Holder.ID)
}

// Unwrap matches [ErrLocked] and the cause.
func (e *LockedError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrLocked}
	}
	return []error{ErrLocked, e.Err}
}
