package dynamo

import (
	"errors"
	"testing"

	"github.com/statelatch/statelatch"
)

func TestKindOf(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status      int
		code        string
		write, read error
	}{
		{400, "ConditionalCheckFailedException", statelatch.ErrPreconditionFailed, statelatch.ErrPreconditionFailed},
		{400, "ResourceNotFoundException", statelatch.ErrNotFound, statelatch.ErrBroken},
		{400, "TransactionConflictException", statelatch.ErrConflict, statelatch.ErrConflict},
		{400, "ReplicatedWriteConflictException", statelatch.ErrConflict, statelatch.ErrConflict},
		{400, "AccessDeniedException", statelatch.ErrDenied, statelatch.ErrDenied},
		{400, "ExpiredTokenException", statelatch.ErrDenied, statelatch.ErrDenied},
		{400, "UnrecognizedClientException", statelatch.ErrDenied, statelatch.ErrDenied},
		{400, "ProvisionedThroughputExceededException", statelatch.ErrThrottled, statelatch.ErrThrottled},
		{400, "ThrottlingException", statelatch.ErrThrottled, statelatch.ErrThrottled},
		{400, "RequestLimitExceeded", statelatch.ErrThrottled, statelatch.ErrThrottled},
		{400, "ValidationException", statelatch.ErrBroken, statelatch.ErrBroken},
		{400, "SomethingNew", statelatch.ErrBroken, statelatch.ErrBroken},
		{500, "InternalServerError", statelatch.ErrAmbiguous, statelatch.ErrBroken},
		{503, "ServiceUnavailable", statelatch.ErrAmbiguous, statelatch.ErrThrottled},
		// Nonsense, which is not believed.
		{200, "ConditionalCheckFailedException", statelatch.ErrAmbiguous, statelatch.ErrPreconditionFailed},
		{500, "ConditionalCheckFailedException", statelatch.ErrAmbiguous, statelatch.ErrPreconditionFailed},
		{503, "ThrottlingException", statelatch.ErrAmbiguous, statelatch.ErrThrottled},
		// Something in between.
		{200, "", statelatch.ErrAmbiguous, statelatch.ErrBroken},
		{302, "", statelatch.ErrBroken, statelatch.ErrBroken},
		{401, "", statelatch.ErrDenied, statelatch.ErrDenied},
		{403, "", statelatch.ErrDenied, statelatch.ErrDenied},
		{404, "", statelatch.ErrBroken, statelatch.ErrBroken},
		{408, "", statelatch.ErrAmbiguous, statelatch.ErrThrottled},
		{409, "", statelatch.ErrBroken, statelatch.ErrBroken},
		{429, "", statelatch.ErrThrottled, statelatch.ErrThrottled},
		{502, "", statelatch.ErrAmbiguous, statelatch.ErrBroken},
		{504, "", statelatch.ErrAmbiguous, statelatch.ErrBroken},
	} {
		if got := kindOf(true, tc.status, tc.code); !errors.Is(got, tc.write) {
			t.Errorf("write, %d %q: got %v, want %v", tc.status, tc.code, got, tc.write)
		}
		if got := kindOf(false, tc.status, tc.code); !errors.Is(got, tc.read) {
			t.Errorf("read, %d %q: got %v, want %v", tc.status, tc.code, got, tc.read)
		}
	}
}
