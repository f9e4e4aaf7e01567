package s3model

import "fmt"

// Error is a refusal in S3's terms.
type Error struct {
	Code    string // such as "NoSuchKey"
	Status  int    // HTTP status
	Message string // for people; sent to the client
	// DeleteMarker and VersionID report the delete marker that a read ran into.
	DeleteMarker bool
	VersionID    string // see DeleteMarker; empty: none
	Err          error  // the cause, for the log; never sent to a client
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Err)
	}
	return e.Code + ": " + e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is matches another *Error by its code, so that the values below serve as sentinels.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// The refusals that stores and the endpoint share. Use them as they are, or copy
// and add detail with [Error.With].
var (
	// ErrNoSuchBucket: every call on a bucket that is not there
	ErrNoSuchBucket = &Error{Code: "NoSuchBucket", Status: 404, Message: "The bucket does not exist."}
	// ErrNoSuchKey: a read of a key without a current version
	ErrNoSuchKey = &Error{Code: "NoSuchKey", Status: 404, Message: "The key does not exist."}
	// ErrNoSuchVersion: a read of a version that the key does not have
	ErrNoSuchVersion = &Error{Code: "NoSuchVersion", Status: 404, Message: "The version does not exist."}
	// ErrNoSuchUpload: a call on an upload that is not under way
	ErrNoSuchUpload = &Error{
		Code: "NoSuchUpload", Status: 404,
		Message: "The multipart upload does not exist; it may have been completed or aborted.",
	}
	// ErrBucketAlreadyOwnedByYou: CreateBucket
	ErrBucketAlreadyOwnedByYou = &Error{
		Code: "BucketAlreadyOwnedByYou", Status: 409,
		Message: "The bucket exists and is yours.",
	}
	// ErrBucketNotEmpty: DeleteBucket
	ErrBucketNotEmpty = &Error{
		Code: "BucketNotEmpty", Status: 409,
		Message: "The bucket still holds objects, versions or delete markers.",
	}
	// ErrPreconditionFailed: a Condition that does not hold; nothing was changed
	ErrPreconditionFailed = &Error{
		Code: "PreconditionFailed", Status: 412,
		Message: "At least one of the conditions of the request does not hold.",
	}
	// ErrMethodNotAllowed: a read of a delete marker by its version, or what a resource does not have
	ErrMethodNotAllowed = &Error{
		Code: "MethodNotAllowed", Status: 405,
		Message: "The method is not allowed on this resource.",
	}
	// ErrInvalidPart: CompleteUpload
	ErrInvalidPart = &Error{
		Code: "InvalidPart", Status: 400,
		Message: "A part was not uploaded, or its ETag or checksum differs.",
	}
	// ErrInvalidPartOrder: CompleteUpload
	ErrInvalidPartOrder = &Error{Code: "InvalidPartOrder", Status: 400, Message: "The parts are not in ascending order."}
	// ErrEntityTooSmall: CompleteUpload
	ErrEntityTooSmall = &Error{
		Code: "EntityTooSmall", Status: 400,
		Message: "A part other than the last is smaller than 5 MiB.",
	}
	// ErrInvalidRequest: what the request asks makes no sense; Message says why
	ErrInvalidRequest = &Error{Code: "InvalidRequest", Status: 400, Message: "The request is not valid."}
	// ErrSSECBlocked: a write with a customer key
	ErrSSECBlocked = &Error{Code: "AccessDenied", Status: 403, Message: "The bucket blocks encryption with customer " +
		"keys (SSE-C) for writes, by BlockedEncryptionTypes in its encryption configuration."}
	// ErrAccessDenied: another customer key than the object's, or a principal without the right
	ErrAccessDenied = &Error{Code: "AccessDenied", Status: 403, Message: "Access denied."}
	// ErrNotServed: an operation that the store does not have; Message says why
	ErrNotServed = &Error{Code: "NotImplemented", Status: 501, Message: "This is not served here."}
	// ErrTooLarge: a body above S3's limit for one object
	ErrTooLarge = &Error{
		Code: "EntityTooLarge", Status: 400, Message: "Your proposed upload exceeds the maximum allowed size.",
	}
	// ErrUnavailable: it may be done or not, and the same request again finds out; Err says why
	ErrUnavailable = &Error{
		Code: "ServiceUnavailable", Status: 503, Message: "The store behind the gateway does not answer; try again.",
	}
	// ErrInternal: the store failed; Err says why
	ErrInternal = &Error{Code: "InternalError", Status: 500, Message: "The store failed; its log says why."}
	// ErrStorageFull: a write, as long as the disk is full
	ErrStorageFull = &Error{
		Code: "InsufficientStorage", Status: 507,
		Message: "The disk of the store is full; nothing was changed. Free space and try again.",
	}
	// ErrReadOnly: a write, as long as the disk takes none
	ErrReadOnly = &Error{
		Code: "StoreReadOnly", Status: 507,
		Message: "The disk of the store cannot be written; nothing was changed.",
	}
)

// With returns a copy of e with another message and a cause (which may be nil).
func (e *Error) With(message string, cause error) *Error {
	c := *e
	if message != "" {
		c.Message = message
	}
	c.Err = cause
	return &c
}
