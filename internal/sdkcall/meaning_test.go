package sdkcall

import (
	"errors"
	"testing"

	"github.com/statelatch/statelatch"
)

func TestKind_S3(t *testing.T) {
	t.Parallel()
	const same = "" // reads and writes alike
	for _, tc := range []struct {
		status      int
		code        string
		read, write error
	}{
		{412, "PreconditionFailed", statelatch.ErrPreconditionFailed, statelatch.ErrPreconditionFailed},
		{412, same, statelatch.ErrPreconditionFailed, statelatch.ErrPreconditionFailed},
		{200, "PreconditionFailed", statelatch.ErrPreconditionFailed, statelatch.ErrPreconditionFailed}, // B4
		{500, "PreconditionFailed", statelatch.ErrPreconditionFailed, statelatch.ErrPreconditionFailed}, // B4 as the SDK shows it
		{304, same, statelatch.ErrPreconditionFailed, statelatch.ErrPreconditionFailed},                 // Q6
		{404, "NoSuchKey", statelatch.ErrNotFound, statelatch.ErrNotFound},
		{404, "NoSuchBucket", statelatch.ErrNoBucket, statelatch.ErrNoBucket},
		{404, "NoSuchVersion", statelatch.ErrNotFound, statelatch.ErrNotFound},
		{404, "NotFound", statelatch.ErrNotFound, statelatch.ErrNotFound},
		{404, same, statelatch.ErrNotFound, statelatch.ErrNotFound},
		{409, "ConditionalRequestConflict", statelatch.ErrConflict, statelatch.ErrConflict},
		{409, "OperationAborted", statelatch.ErrConflict, statelatch.ErrConflict},
		{409, "ObjectParentIsFile", statelatch.ErrBroken, statelatch.ErrBroken},
		{409, same, statelatch.ErrConflict, statelatch.ErrConflict}, // Q6: to the loser of a create
		{403, "AccessDenied", statelatch.ErrDenied, statelatch.ErrDenied},
		{403, "InvalidAccessKeyId", statelatch.ErrDenied, statelatch.ErrDenied},
		{403, "SignatureDoesNotMatch", statelatch.ErrDenied, statelatch.ErrDenied},
		{403, same, statelatch.ErrDenied, statelatch.ErrDenied},
		{401, same, statelatch.ErrDenied, statelatch.ErrDenied},
		{400, "ExpiredToken", statelatch.ErrDenied, statelatch.ErrDenied},
		{501, "NotImplemented", statelatch.ErrUnsupported, statelatch.ErrUnsupported}, // Q7
		{501, same, statelatch.ErrUnsupported, statelatch.ErrUnsupported},
		{405, "MethodNotAllowed", statelatch.ErrUnsupported, statelatch.ErrUnsupported},
		{503, "SlowDown", statelatch.ErrThrottled, statelatch.ErrAmbiguous}, // B6
		{503, same, statelatch.ErrThrottled, statelatch.ErrAmbiguous},
		{429, "TooManyRequests", statelatch.ErrThrottled, statelatch.ErrThrottled},
		{429, same, statelatch.ErrThrottled, statelatch.ErrThrottled},
		{507, "InsufficientStorage", statelatch.ErrBroken, statelatch.ErrBroken},
		{507, same, statelatch.ErrBroken, statelatch.ErrBroken},
		{500, "InternalError", statelatch.ErrBroken, statelatch.ErrAmbiguous},
		{502, same, statelatch.ErrBroken, statelatch.ErrAmbiguous},
		{504, same, statelatch.ErrBroken, statelatch.ErrAmbiguous},
		{200, "InternalError", statelatch.ErrBroken, statelatch.ErrAmbiguous},
		{200, same, statelatch.ErrBroken, statelatch.ErrAmbiguous},
		{400, "RequestTimeout", statelatch.ErrBroken, statelatch.ErrAmbiguous},
		{400, "InvalidArgument", statelatch.ErrBroken, statelatch.ErrBroken},
		{400, "BadDigest", statelatch.ErrBroken, statelatch.ErrBroken},
		{301, "PermanentRedirect", statelatch.ErrBroken, statelatch.ErrBroken},
		{307, "TemporaryRedirect", statelatch.ErrBroken, statelatch.ErrBroken},
		{400, "AuthorizationHeaderMalformed", statelatch.ErrBroken, statelatch.ErrBroken},
	} {
		if got := S3.Kind(false, tc.status, tc.code); !errors.Is(got, tc.read) {
			t.Errorf("read, %d %s: got %v, want %v", tc.status, tc.code, got, tc.read)
		}
		if got := S3.Kind(true, tc.status, tc.code); !errors.Is(got, tc.write) {
			t.Errorf("write, %d %s: got %v, want %v", tc.status, tc.code, got, tc.write)
		}
	}
}

// The table names no code or status twice for a service, and a reason for each line.
func TestMeanings(t *testing.T) {
	t.Parallel()
	for _, service := range []Service{S3, DynamoDB} {
		seen := make(map[any]bool)
		once := func(what any) {
			if seen[what] {
				t.Errorf("%v: twice", what)
			}
			seen[what] = true
		}
		for _, m := range meanings {
			if m.why == "" {
				t.Errorf("%v %v: no reason", m.statuses, m.codes)
			}
			if m.of&service == 0 {
				continue
			}
			for _, status := range m.statuses {
				once(status)
			}
			for _, code := range m.codes {
				once(code)
				if _, refused := statelatch.RefusalCause(code); refused {
					t.Errorf("%s: the vocabulary decides on it", code)
				}
			}
		}
	}
}

// Who asks is refused by the same codes whatever the service and the status, and nothing was done.
func TestKind_BadCredentials(t *testing.T) {
	t.Parallel()
	for _, code := range []string{
		"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "InvalidAccessKeyId", "InvalidClientTokenId",
		"UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "AuthFailure",
		"MissingAuthenticationToken", "RequestExpired", "RequestTimeTooSkewed", "InvalidSecurity", "NotSignedUp", "OptInRequired",
	} {
		for _, status := range []int{400, 401, 403, 409} {
			for _, write := range []bool{false, true} {
				for _, service := range []Service{S3, DynamoDB} {
					if got := service.Kind(write, status, code); !errors.Is(got, statelatch.ErrDenied) {
						t.Errorf("service %d, write %v, %d %s: got %v, want ErrDenied", service, write, status, code, got)
					}
				}
			}
		}
		if err := (&statelatch.StoreError{Kind: statelatch.ErrDenied, Op: "get", Status: 400, Code: code}); !statelatch.BadCredentials(err) {
			t.Errorf("%v: got no bad credentials", err)
		}
	}
	missing := &statelatch.StoreError{Kind: statelatch.ErrDenied, Op: "get", Status: 403, Code: "AccessDenied", Action: "s3:GetObject"}
	if statelatch.BadCredentials(missing) {
		t.Errorf("%v: got bad credentials, want a missing right", missing)
	}
}

func TestKind_DynamoDB(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status      int
		code        string
		write, read error
	}{
		{400, "ConditionalCheckFailedException", statelatch.ErrPreconditionFailed, statelatch.ErrPreconditionFailed},
		{400, "ResourceNotFoundException", statelatch.ErrNotFound, statelatch.ErrNotFound},
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
		if got := DynamoDB.Kind(true, tc.status, tc.code); !errors.Is(got, tc.write) {
			t.Errorf("write, %d %q: got %v, want %v", tc.status, tc.code, got, tc.write)
		}
		if got := DynamoDB.Kind(false, tc.status, tc.code); !errors.Is(got, tc.read) {
			t.Errorf("read, %d %q: got %v, want %v", tc.status, tc.code, got, tc.read)
		}
	}
}
