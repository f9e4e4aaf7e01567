package s3bucket

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/sdkerr"
)

// outcome is what an error answer says of a write.
type outcome int

const (
	nothing outcome = iota // was done
	over                   // it was done or not, and that will not change: whoever looks learns it
	pending                // it may be done yet
)

// meaning is what a kind of answer means. Codes decide, whatever status they come with: S3 has been seen to answer
// PreconditionFailed with status 200 (B4), and stores disagree on statuses. A status decides where no code does.
type meaning struct {
	kind     error
	outcome  outcome
	why      string
	statuses []int
	codes    []string
}

var meanings = []meaning{
	{
		statelatch.ErrPreconditionFailed, nothing, "the condition was evaluated",
		[]int{http.StatusNotModified, http.StatusPreconditionFailed},
		[]string{"PreconditionFailed", "NotModified"},
	}, {
		statelatch.ErrNotFound, nothing, "there is nothing to act on",
		[]int{http.StatusNotFound},
		[]string{"NoSuchKey", "NotFound", "NoSuchVersion", "NoSuchBucket"},
	}, {
		statelatch.ErrConflict, nothing, "AWS: another request won, send it again",
		[]int{http.StatusConflict},
		[]string{"ConditionalRequestConflict", "OperationAborted", "Conflict"}, // the last is the SDK's name for a 409 without a body
	}, {
		statelatch.ErrDenied, nothing, "who asks is judged before what is asked for",
		[]int{http.StatusUnauthorized, http.StatusForbidden},
		[]string{
			"AccessDenied", "AccountProblem", "AllAccessDisabled", "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId",
			"InvalidClientTokenId", "InvalidSecurity", "InvalidToken", "NotSignedUp", "RequestTimeTooSkewed", "SignatureDoesNotMatch",
			"TokenRefreshRequired", "UnauthorizedAccess", "UnrecognizedClientException",
			// The encryption key is not to be used, with status 400.
			"KMS.AccessDeniedException", "KMS.DisabledException", "KMS.InvalidKeyUsageException", "KMS.InvalidStateException",
			"KMS.KMSInvalidStateException", "KMS.KeyUnavailableException", "KMS.NotFoundException",
		},
	}, {
		statelatch.ErrUnsupported, nothing, "the store does not know how",
		[]int{http.StatusMethodNotAllowed, http.StatusNotImplemented},
		[]string{"NotImplemented", "MethodNotAllowed"},
	}, {
		statelatch.ErrThrottled, nothing, "RFC 6585: the request was counted, and not carried out",
		[]int{http.StatusTooManyRequests},
		[]string{"TooManyRequests", "TooManyRequestsException"},
	}, {
		statelatch.ErrBroken, nothing, "RFC 4918: there was no room to carry it out",
		[]int{http.StatusInsufficientStorage},
		[]string{"InsufficientStorage", "StoreReadOnly", "XMinioStorageFull"},
	}, {
		statelatch.ErrBroken, nothing, "the wrong place: nothing was done there",
		[]int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect},
		nil,
	}, {
		statelatch.ErrThrottled, over, "AWS: slow down; but it has been seen to follow the deed (B6)",
		[]int{http.StatusServiceUnavailable, http.StatusRequestTimeout},
		[]string{
			"SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "Throttling", "ThrottlingException", "ThrottledException",
			"RequestThrottled", "RequestThrottledException", "RequestLimitExceeded", "BandwidthLimitExceeded", "LimitExceededException",
		},
	}, {
		statelatch.ErrBroken, over, "AWS does not say whether it was carried out",
		[]int{http.StatusInternalServerError},
		[]string{"InternalError", "RequestTimeout"},
	},
}

// meaningOf finds what an answer means.
func meaningOf(status int, code string) meaning {
	for _, m := range meanings {
		if slices.Contains(m.codes, code) {
			return m
		}
	}
	for _, m := range meanings {
		// A conflict of another name does not pass by trying again.
		if slices.Contains(m.statuses, status) && (code == "" || status != http.StatusConflict) {
			return m
		}
	}
	if status < http.StatusBadRequest || status >= http.StatusInternalServerError {
		// A gateway's word about itself, such as 502 or 504, or no answer of S3 at all: what was passed on may be
		// carried out yet.
		return meaning{kind: statelatch.ErrBroken, outcome: pending}
	}
	return meaning{kind: statelatch.ErrBroken, outcome: nothing}
}

// kindOf maps an answer to the kinds of statelatch. Pure, so that a table can test it.
func kindOf(write bool, status int, code string) error {
	m := meaningOf(status, code)
	if write && m.outcome != nothing {
		return statelatch.ErrAmbiguous
	}
	return m.kind
}

// error makes an error of the driver's own finding.
func (c *call) error(kind error, message string) *statelatch.StoreError {
	return &statelatch.StoreError{Kind: kind, Op: c.op.name, Bucket: c.bucket.name, Key: c.key, Message: message}
}

// fail turns whatever the SDK reported into a StoreError of exactly one kind.
func (c *call) fail(err error) error {
	if re, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && re.HTTPStatusCode() != 0 && !c.interrupted(re, err) {
		return c.refused(re, err)
	}
	se := c.error(statelatch.ErrBroken, "")
	if c.op.write && !c.unsent() {
		se.Kind = statelatch.ErrAmbiguous
	}
	switch {
	case c.parent.Err() != nil:
		se.Err = c.parent.Err()
		if cause := context.Cause(c.parent); !errors.Is(cause, se.Err) {
			se.Err = fmt.Errorf("%w: %w", se.Err, cause)
		}
	case c.ctx.Err() != nil:
		se.Err = context.Cause(c.ctx)
	default:
		if _, ok := errors.AsType[*credentialsError](err); ok {
			se.Kind = statelatch.ErrDenied
		}
		se.Err = sdkerr.Cause(err)
	}
	return se
}

// interrupted reports whether the call ended in the middle of an answer that refused nothing so far.
func (c *call) interrupted(re *smithyhttp.ResponseError, err error) bool {
	_, refusal := errors.AsType[smithy.APIError](err)
	return c.ctx.Err() != nil && re.HTTPStatusCode()/100 == 2 && !refusal
}

// refused maps an answer with an error status, or with an error in its body.
func (c *call) refused(re *smithyhttp.ResponseError, err error) error {
	se := c.error(nil, "")
	se.Status = re.HTTPStatusCode()
	// The answer to HEAD has no body; the SDK makes up a code from the status.
	if api, ok := errors.AsType[smithy.APIError](err); ok && c.op != opHead {
		se.Code, se.Message = api.ErrorCode(), statelatch.Printable(api.ErrorMessage())
	}
	se.Kind = kindOf(c.op.write, se.Status, se.Code)
	se.Over = c.op.write && c.spoke && meaningOf(se.Status, se.Code).outcome == over
	var header http.Header
	if re.HTTPResponse() != nil {
		header = re.HTTPResponse().Header
	}
	switch {
	case !c.op.write && header.Get("X-Amz-Delete-Marker") == "true":
		se.Kind = statelatch.ErrNotFound // a version that is a delete marker answers 405
	case se.Code == "AccessDenied" || se.Code == "KMS.AccessDeniedException":
		se.Action = c.op.action
		if c.version != "" && c.op.versionAction != "" {
			se.Action = c.op.versionAction
		}
	case errors.Is(se.Kind, statelatch.ErrBroken) || se.Status/100 == 3:
		if is, want := c.region(), header.Get("X-Amz-Bucket-Region"); want != "" && want != is {
			se.Message = fmt.Sprintf("the bucket is in region %q and was asked for in %q: set the region (AWS_REGION) to %[1]q", want, is)
		}
	}
	if errors.Is(se.Kind, statelatch.ErrUnsupported) && c.op.name == opPut.name && len(c.bucket.Encoding()) > 0 {
		se.Err = statelatch.ErrEncoding
	}
	if se.Code == "" && se.Message == "" && se.Status/100 == 2 {
		se.Err = sdkerr.Cause(err) // an answer that cannot be understood
	}
	return se
}

func (c *call) region() string { return c.bucket.client.Options().Region }

// credentialsError marks a failure to obtain credentials inside the SDK's errors.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// Is makes it of the kind that it is, for users of a [Service].
func (e *credentialsError) Is(target error) bool { return target == statelatch.ErrDenied }

// markedCredentials is a provider whose errors can be told from others.
type markedCredentials struct{ aws.CredentialsProvider }

// Retrieve passes on what the provider has.
func (m markedCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	creds, err := m.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, &credentialsError{err}
	}
	return creds, nil
}
