package sdkcall

import (
	"net/http"
	"slices"

	"github.com/statelatch/statelatch"
)

// Service is whose answers are read: services use the same statuses for different things.
type Service uint8

// The services.
const (
	S3 Service = 1 << iota
	DynamoDB

	both = S3 | DynamoDB
)

// outcome is what an error answer says of a write.
type outcome int

const (
	nothing outcome = iota // was done
	over                   // it was done or not, and that will not change: whoever looks learns it
	pending                // it may be done yet
)

// meaning is what a kind of answer means. Codes decide, whatever status they come with: S3 has been seen to answer
// PreconditionFailed with status 200 (B4), AWS answers ExpiredToken with 400, and stores disagree on statuses. A status
// decides where no code does.
type meaning struct {
	of       Service
	kind     error
	outcome  outcome
	why      string
	statuses []int
	codes    []string
}

// meanings is the one table of what answers mean. The codes that speak of credentials, clocks and accounts are those of
// [statelatch.RefusalCause].
var meanings = []meaning{
	{
		S3, statelatch.ErrPreconditionFailed, nothing, "the condition was evaluated",
		[]int{http.StatusNotModified, http.StatusPreconditionFailed},
		[]string{"PreconditionFailed", "NotModified"},
	}, {
		DynamoDB, statelatch.ErrPreconditionFailed, nothing, "the condition was evaluated",
		nil,
		[]string{"ConditionalCheckFailedException"},
	}, {
		S3, statelatch.ErrNoBucket, nothing, "there is no bucket to act in",
		nil,
		[]string{"NoSuchBucket"},
	}, {
		S3, statelatch.ErrNotFound, nothing, "there is nothing to act on",
		[]int{http.StatusNotFound},
		[]string{"NoSuchKey", "NotFound", "NoSuchVersion"},
	}, {
		DynamoDB, statelatch.ErrNotFound, nothing, "there is no table; a missing item is no error",
		nil,
		[]string{"ResourceNotFoundException"},
	}, {
		S3, statelatch.ErrConflict, nothing, "AWS: another request won, send it again",
		[]int{http.StatusConflict},
		// the last is the SDK's name for a 409 without a body
		[]string{"ConditionalRequestConflict", "OperationAborted", "Conflict"},
	}, {
		DynamoDB, statelatch.ErrConflict, nothing, "another transaction or region won, send it again",
		nil,
		[]string{"TransactionConflictException", "ReplicatedWriteConflictException"},
	}, {
		both, statelatch.ErrDenied, nothing, "who asks is judged before what is asked for",
		[]int{http.StatusUnauthorized, http.StatusForbidden},
		[]string{"AccessDenied", "AccessDeniedException", "NotAuthorized"},
	}, {
		S3, statelatch.ErrDenied, nothing, "the encryption key is not to be used, with status 400",
		nil,
		[]string{
			"KMS.AccessDeniedException", "KMS.DisabledException", "KMS.InvalidKeyUsageException", "KMS.InvalidStateException",
			"KMS.KMSInvalidStateException", "KMS.KeyUnavailableException", "KMS.NotFoundException",
		},
	}, {
		S3, statelatch.ErrUnsupported, nothing, "the store does not know how",
		[]int{http.StatusMethodNotAllowed, http.StatusNotImplemented},
		[]string{"NotImplemented", "MethodNotAllowed", "UnsupportedOperation", "VersioningNotConfigured", "XNotImplemented"},
	}, {
		both, statelatch.ErrThrottled, nothing, "RFC 6585: the request was counted, and not carried out",
		[]int{http.StatusTooManyRequests},
		[]string{"TooManyRequests", "TooManyRequestsException"},
	}, {
		DynamoDB, statelatch.ErrThrottled, nothing, "DynamoDB refuses before it writes",
		nil,
		[]string{"ProvisionedThroughputExceededException", "RequestLimitExceeded", "Throttling", "ThrottlingException"},
	}, {
		S3, statelatch.ErrBroken, nothing, "RFC 4918: there was no room to carry it out",
		[]int{http.StatusInsufficientStorage},
		[]string{"InsufficientStorage", "StoreReadOnly", "XMinioStorageFull"},
	}, {
		both, statelatch.ErrBroken, nothing, "the wrong place: nothing was done there",
		[]int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect},
		nil,
	}, {
		both, statelatch.ErrThrottled, over, "AWS: slow down; but it has been seen to follow the write (B6)",
		[]int{http.StatusServiceUnavailable, http.StatusRequestTimeout},
		nil,
	}, {
		S3, statelatch.ErrThrottled, over, "the same in words",
		nil,
		[]string{
			"SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "Throttling", "ThrottlingException",
			"ThrottledException",
			"RequestThrottled", "RequestThrottledException", "RequestLimitExceeded", "BandwidthLimitExceeded",
			"LimitExceededException",
		},
	}, {
		S3, statelatch.ErrBroken, over, "AWS does not say whether it was carried out",
		[]int{http.StatusInternalServerError},
		[]string{"InternalError", "RequestTimeout"},
	},
}

// meaningOf finds what an answer means.
func (s Service) meaningOf(status int, code string) meaning {
	if _, refused := statelatch.RefusalCause(code); refused {
		code = "AccessDenied"
	}
	for _, m := range meanings {
		if m.of&s != 0 && slices.Contains(m.codes, code) {
			return m
		}
	}
	for _, m := range meanings {
		// A conflict of another name does not pass by trying again.
		if m.of&s != 0 && slices.Contains(m.statuses, status) && (code == "" || status != http.StatusConflict) {
			return m
		}
	}
	if status < http.StatusBadRequest || status >= http.StatusInternalServerError {
		// A gateway's word about itself, such as 502 or 504, or no answer of the service at all: what was passed on may
		// be carried out yet.
		return meaning{kind: statelatch.ErrBroken, outcome: pending}
	}
	return meaning{kind: statelatch.ErrBroken, outcome: nothing}
}

// Kind maps an answer to a call, or to one that writes, to the kinds of statelatch. Pure, so that a table can test it.
func (s Service) Kind(write bool, status int, code string) error {
	m := s.meaningOf(status, code)
	doubt := m.outcome != nothing ||
		s == DynamoDB && (status/100 == 2 || status >= http.StatusInternalServerError) // which it never sends with a code
	if write && doubt {
		return statelatch.ErrAmbiguous
	}
	return m.kind
}

// Over reports whether such an answer, in the service's own words, means that what a write did not do by now it will
// not.
func (s Service) Over(status int, code string) bool { return s.meaningOf(status, code).outcome == over }
