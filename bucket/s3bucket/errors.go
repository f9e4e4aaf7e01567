package s3bucket

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/sdkerr"
)

// codes are the error codes that decide, whatever status they come with: S3 has been seen
// to answer PreconditionFailed with status 200 (defect B4), and stores disagree on statuses.
var codes = map[string]error{
	"PreconditionFailed": statelatch.ErrPreconditionFailed,
	"NotModified":        statelatch.ErrPreconditionFailed,

	"NoSuchKey":     statelatch.ErrNotFound,
	"NotFound":      statelatch.ErrNotFound,
	"NoSuchVersion": statelatch.ErrNotFound,
	"NoSuchBucket":  statelatch.ErrNotFound,

	"ConditionalRequestConflict": statelatch.ErrConflict,
	"OperationAborted":           statelatch.ErrConflict,
	"Conflict":                   statelatch.ErrConflict, // the SDK's name for a 409 without a body

	"AccessDenied":                statelatch.ErrDenied,
	"AccountProblem":              statelatch.ErrDenied,
	"AllAccessDisabled":           statelatch.ErrDenied,
	"ExpiredToken":                statelatch.ErrDenied,
	"ExpiredTokenException":       statelatch.ErrDenied,
	"InvalidAccessKeyId":          statelatch.ErrDenied,
	"InvalidClientTokenId":        statelatch.ErrDenied,
	"InvalidSecurity":             statelatch.ErrDenied,
	"InvalidToken":                statelatch.ErrDenied,
	"NotSignedUp":                 statelatch.ErrDenied,
	"RequestTimeTooSkewed":        statelatch.ErrDenied,
	"SignatureDoesNotMatch":       statelatch.ErrDenied,
	"TokenRefreshRequired":        statelatch.ErrDenied,
	"UnauthorizedAccess":          statelatch.ErrDenied,
	"UnrecognizedClientException": statelatch.ErrDenied,

	"NotImplemented":   statelatch.ErrUnsupported,
	"MethodNotAllowed": statelatch.ErrUnsupported,

	"SlowDown":                  statelatch.ErrThrottled,
	"SlowDownRead":              statelatch.ErrThrottled,
	"SlowDownWrite":             statelatch.ErrThrottled,
	"ServiceUnavailable":        statelatch.ErrThrottled,
	"Throttling":                statelatch.ErrThrottled,
	"ThrottlingException":       statelatch.ErrThrottled,
	"ThrottledException":        statelatch.ErrThrottled,
	"RequestThrottled":          statelatch.ErrThrottled,
	"RequestThrottledException": statelatch.ErrThrottled,
	"RequestLimitExceeded":      statelatch.ErrThrottled,
	"BandwidthLimitExceeded":    statelatch.ErrThrottled,
	"LimitExceededException":    statelatch.ErrThrottled,
	"TooManyRequests":           statelatch.ErrThrottled,
	"TooManyRequestsException":  statelatch.ErrThrottled,
}

// kindOf maps an answer to the kinds of statelatch. Pure, so that a table can test it.
func kindOf(write bool, status int, code string) error {
	kind := codes[code]
	if kind == nil && (code == "" || status != http.StatusConflict) {
		kind = kindOfStatus(status) // a conflict of another name does not pass by trying again
	}
	if write && (errors.Is(kind, statelatch.ErrThrottled) || code == "RequestTimeout") {
		return statelatch.ErrAmbiguous // a 503 may follow the deed (defect B6)
	}
	if kind != nil {
		return kind
	}
	if write && (status < 400 || status >= 500) {
		return statelatch.ErrAmbiguous
	}
	return statelatch.ErrBroken
}

func kindOfStatus(status int) error {
	switch status {
	case http.StatusNotModified, http.StatusPreconditionFailed:
		return statelatch.ErrPreconditionFailed
	case http.StatusNotFound:
		return statelatch.ErrNotFound
	case http.StatusConflict:
		return statelatch.ErrConflict
	case http.StatusUnauthorized, http.StatusForbidden:
		return statelatch.ErrDenied
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return statelatch.ErrUnsupported
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return statelatch.ErrThrottled
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return statelatch.ErrBroken // the wrong place: nothing was done there
	}
	return nil
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
	var header http.Header
	if re.HTTPResponse() != nil {
		header = re.HTTPResponse().Header
	}
	switch {
	case !c.op.write && header.Get("X-Amz-Delete-Marker") == "true":
		se.Kind = statelatch.ErrNotFound // a version that is a delete marker answers 405
	case se.Code == "AccessDenied":
		se.Action = c.op.action
		if c.version != "" && c.op.versionAction != "" {
			se.Action = c.op.versionAction
		}
	case errors.Is(se.Kind, statelatch.ErrBroken) || se.Status/100 == 3:
		if is, want := c.region(), header.Get("X-Amz-Bucket-Region"); want != "" && want != is {
			se.Message = fmt.Sprintf("the bucket is in region %q and was asked for in %q: set the region (AWS_REGION) to %[1]q", want, is)
		}
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
