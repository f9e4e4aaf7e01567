// Package sdkerr makes errors of the AWS SDK fit to be shown, for the drivers of S3 and DynamoDB.
package sdkerr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/aws/smithy-go"
)

// Cause strips what the SDK and net/http wrap around an error and say about the
// request, and what would look like the end of the caller's context or of a body.
func Cause(err error) error {
	if oe, ok := errors.AsType[*smithy.OperationError](err); ok {
		err = oe.Err
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return errors.New(err.Error())
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the connection ended before the answer: %w", io.ErrUnexpectedEOF)
	}
	return err
}
