package s3bucket

import (
	"context"
	"net/http"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// unsignedHeaders are those that say something to whoever is on the way and nothing of what is asked for. Proxies
// rewrite them, and the SDK would sign them; the aws command does not.
var unsignedHeaders = [...]string{"Accept-Encoding", "Amz-Sdk-Invocation-Id", "Amz-Sdk-Request"}

const (
	unsignedID = "statelatchUnsignedHeaders"
	restoredID = "statelatchRestoredHeaders"
)

type unsignedKey struct{}

// leaveUnsigned takes unsignedHeaders away while a request is signed, in every attempt.
func leaveUnsigned(stack *middleware.Stack) error {
	if _, done := stack.Finalize.Get(unsignedID); done {
		return nil
	}
	take := middleware.FinalizeMiddlewareFunc(unsignedID,
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput,
			middleware.Metadata, error,
		) {
			if req, ok := in.Request.(*smithyhttp.Request); ok {
				taken := make(http.Header)
				for _, name := range unsignedHeaders {
					if values, there := req.Header[name]; there {
						taken[name] = values
						delete(req.Header, name)
					}
				}
				ctx = middleware.WithStackValue(ctx, unsignedKey{}, taken)
			}
			return next.HandleFinalize(ctx, in)
		})
	restore := middleware.FinalizeMiddlewareFunc(restoredID,
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput,
			middleware.Metadata, error,
		) {
			taken, _ := middleware.GetStackValue(ctx, unsignedKey{}).(http.Header)
			if req, ok := in.Request.(*smithyhttp.Request); ok {
				for name, values := range taken {
					req.Header[name] = values
				}
			}
			return next.HandleFinalize(ctx, in)
		})
	const signing = "Signing"
	if err := stack.Finalize.Insert(take, signing, middleware.Before); err != nil {
		return err
	}
	return stack.Finalize.Insert(restore, signing, middleware.After)
}
