package dynamo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/sdkerr"
)

// codes are the error codes that decide. DynamoDB sends them with status 400, and then nothing was written.
var codes = map[string]error{
	"ConditionalCheckFailedException": statelatch.ErrPreconditionFailed,

	"ResourceNotFoundException": statelatch.ErrNotFound, // the table; a missing item is no error

	"TransactionConflictException":     statelatch.ErrConflict,
	"ReplicatedWriteConflictException": statelatch.ErrConflict, // of a table with strong consistency across regions

	"AccessDenied":                        statelatch.ErrDenied,
	"AccessDeniedException":               statelatch.ErrDenied,
	"ExpiredToken":                        statelatch.ErrDenied,
	"ExpiredTokenException":               statelatch.ErrDenied,
	"IncompleteSignature":                 statelatch.ErrDenied,
	"IncompleteSignatureException":        statelatch.ErrDenied,
	"InvalidClientTokenId":                statelatch.ErrDenied,
	"InvalidSignatureException":           statelatch.ErrDenied,
	"MissingAuthenticationToken":          statelatch.ErrDenied,
	"MissingAuthenticationTokenException": statelatch.ErrDenied,
	"NotAuthorized":                       statelatch.ErrDenied,
	"OptInRequired":                       statelatch.ErrDenied,
	"RequestExpired":                      statelatch.ErrDenied,
	"SignatureDoesNotMatch":               statelatch.ErrDenied,
	"UnrecognizedClientException":         statelatch.ErrDenied,

	"ProvisionedThroughputExceededException": statelatch.ErrThrottled,
	"RequestLimitExceeded":                   statelatch.ErrThrottled,
	"Throttling":                             statelatch.ErrThrottled,
	"ThrottlingException":                    statelatch.ErrThrottled,
}

// kindOf maps an answer to the kinds of statelatch. Pure, so that a table can test it.
func kindOf(write bool, status int, code string) error {
	kind := codes[code]
	switch {
	case write && (status/100 == 2 || status >= http.StatusInternalServerError):
		return statelatch.ErrAmbiguous // whatever it says: it may follow the deed
	case kind == statelatch.ErrNotFound && !write: //nolint:errorlint // a value of the map above
		return statelatch.ErrBroken
	case kind != nil:
		return kind
	}
	switch status { // of something in between, for DynamoDB always gives a code
	case http.StatusUnauthorized, http.StatusForbidden:
		return statelatch.ErrDenied
	case http.StatusTooManyRequests:
		return statelatch.ErrThrottled // RFC 6585: it was not carried out
	case http.StatusRequestTimeout, http.StatusServiceUnavailable:
		if write {
			return statelatch.ErrAmbiguous
		}
		return statelatch.ErrThrottled
	}
	return statelatch.ErrBroken
}

// tableError words a StoreError for a table, which is no s3:// address.
type tableError struct{ store *statelatch.StoreError }

// Error names the operation, the item, the table, the kind, DynamoDB's own words and, when access was denied,
// the missing action.
func (e *tableError) Error() string {
	se := e.store
	var b strings.Builder
	b.WriteString(se.Op)
	if se.Key != "" {
		fmt.Fprintf(&b, " %q in", se.Key)
	}
	fmt.Fprintf(&b, " DynamoDB table %q: %v", se.Bucket, se.Kind)
	if se.Status != 0 {
		fmt.Fprintf(&b, " (%s)", strings.TrimSpace(fmt.Sprintf("HTTP %d %s", se.Status, se.Code)))
	}
	switch {
	case se.Message != "":
		b.WriteString(": " + se.Message)
	case se.Err != nil:
		b.WriteString(": " + se.Err.Error())
	}
	if se.Unexplained() {
		fmt.Fprintf(&b, "; the credentials need %s on this table", se.Action)
	}
	return b.String()
}

// Unwrap gives errors.As the StoreError, and errors.Is its kind and cause.
func (e *tableError) Unwrap() error { return e.store }

// error makes an error of the driver's own finding.
func (t *Table) error(op operation, id string, kind error, message string) error {
	return &tableError{&statelatch.StoreError{Kind: kind, Op: op.name, Bucket: t.name, Key: id, Message: message}}
}

// result turns whatever the SDK reported into an error of exactly one kind, and a success that cannot be
// believed into one too.
func (c *call) result(err error) error {
	if err == nil && c.foreign == nil {
		return nil
	}
	se := &statelatch.StoreError{Kind: statelatch.ErrBroken, Op: c.op.name, Bucket: c.table.name, Key: c.id}
	re, answered := errors.AsType[*smithyhttp.ResponseError](err)
	switch {
	case c.foreign != nil:
		se.Err = c.foreign
	case answered && re.HTTPStatusCode() != 0:
		c.refused(se, re.HTTPStatusCode(), err)
	default:
		c.unanswered(se, err)
	}
	if c.op.write && c.foreign != nil {
		se.Kind = statelatch.ErrAmbiguous
	}
	return &tableError{se}
}

// unanswered describes a call that ended without an answer.
func (c *call) unanswered(se *statelatch.StoreError, err error) {
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
		if errors.Is(err, statelatch.ErrDenied) { // no credentials
			se.Kind = statelatch.ErrDenied
		}
		se.Err = sdkerr.Cause(err)
	}
}

// refused describes an answer with an error.
func (c *call) refused(se *statelatch.StoreError, status int, err error) {
	se.Status = status
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		se.Code, se.Message = api.ErrorCode(), statelatch.Printable(api.ErrorMessage())
	}
	se.Kind = kindOf(c.op.write, status, se.Code)
	switch {
	case se.Code == "AccessDenied" || se.Code == "AccessDeniedException":
		se.Action = c.op.action
	case se.Code == "ResourceNotFoundException":
		se.Message = fmt.Sprintf("there is no such table in region %q: correct dynamodb_table or the region, or create it, with the string LockID as its partition key", c.table.client.Options().Region)
	case se.Code == "ValidationException":
		se.Message += "; the table must have the string LockID as its partition key and no sort key"
	case status/100 == 3:
		se.Message = "the answer is a redirect; is the DynamoDB endpoint right?"
	case status/100 == 2:
		se.Err = sdkerr.Cause(err) // an answer that cannot be understood
	}
}
