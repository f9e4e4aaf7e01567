package bootstrap

import (
	"errors"
	"net/http"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/sdkerr"
)

// operation is one call on a bucket, for errors.
type operation struct {
	name   string
	action string // the IAM action that it needs
}

// fail makes a *statelatch.StoreError of what the SDK reported. Writes of a bucket's configuration can be repeated, so
// none is ambiguous: what was not answered is ErrBroken.
func (o operation) fail(bucket string, err error) error {
	se := &statelatch.StoreError{Kind: statelatch.ErrBroken, Op: o.name, Bucket: bucket}
	re, ok := errors.AsType[*smithyhttp.ResponseError](err)
	if !ok || re.HTTPStatusCode() == 0 {
		if errors.Is(err, statelatch.ErrDenied) { // there are no credentials
			se.Kind = statelatch.ErrDenied
		}
		se.Err = sdkerr.Cause(err)
		return se
	}
	se.Status = re.HTTPStatusCode()
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		se.Code, se.Message = api.ErrorCode(), statelatch.Printable(api.ErrorMessage())
	}
	se.Kind = kindOf(se.Status, se.Code)
	if se.Code == "AccessDenied" {
		se.Action = o.action
	}
	if se.Code == "BucketAlreadyExists" {
		se.Kind, se.Message = statelatch.ErrDenied, "the name belongs to somebody else, and S3 owns each name once in the world: choose another one"
	}
	if se.Code == "InvalidBucketAclWithObjectOwnership" {
		se.Message = "the bucket's ACL gives rights to others, which bucket owner enforced ownership ends: grant them in the bucket policy, then take them " +
			"off the ACL (aws s3api put-bucket-acl --acl private), and run the command again"
	}
	if se.Code == "" && se.Message == "" {
		se.Err = sdkerr.Cause(err)
	}
	return se
}

func kindOf(status int, code string) error {
	switch code {
	case "NotImplemented", "MethodNotAllowed", "UnsupportedOperation", "VersioningNotConfigured", "XNotImplemented":
		return statelatch.ErrUnsupported
	case "OperationAborted", "ConditionalRequestConflict":
		return statelatch.ErrConflict
	}
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return statelatch.ErrDenied
	case http.StatusNotFound:
		return statelatch.ErrNotFound
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return statelatch.ErrUnsupported
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return statelatch.ErrThrottled
	}
	return statelatch.ErrBroken
}

// codeOf is the store's error code, empty if there is none.
func codeOf(err error) string {
	if se, ok := errors.AsType[*statelatch.StoreError](err); ok {
		return se.Code
	}
	return ""
}
