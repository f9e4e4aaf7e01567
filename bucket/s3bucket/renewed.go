package s3bucket

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// renewedCredentials are the credentials of a configuration, resolved anew once a service has said that they are
// expired: a file may have been rewritten and a role assumed again since (B14). What cannot be resolved stays as
// it is.
type renewedCredentials struct {
	load func(ctx context.Context) (aws.Config, error)

	mu      sync.Mutex
	current aws.CredentialsProvider
	expired bool
}

// Retrieve implements aws.CredentialsProvider.
func (r *renewedCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	r.mu.Lock()
	if r.expired {
		if fresh, err := r.load(ctx); err == nil {
			r.current, r.expired = fresh.Credentials, false
		}
	}
	current := r.current
	r.mu.Unlock()
	return current.Retrieve(ctx)
}

func (r *renewedCredentials) expire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expired = true
}

// expiryWatcher passes answers on, and marks the credentials where one says that they are expired.
type expiryWatcher struct {
	inner       http.RoundTripper
	credentials *renewedCredentials
}

// The start of an answer in which its code stands, and the codes. DynamoDB's is in JSON, with a prefix.
const codeWithin = 4 << 10

var expiredCodes = [...][]byte{[]byte("ExpiredToken"), []byte("TokenRefreshRequired")}

// RoundTrip implements http.RoundTripper.
func (w expiryWatcher) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := traced(w.inner, req)
	if err != nil || resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusForbidden {
		return resp, err
	}
	start := peek(resp, codeWithin)
	for _, code := range expiredCodes {
		if bytes.Contains(start, code) {
			w.credentials.expire()
			break
		}
	}
	return resp, nil
}

// peek returns the start of a body, which stays unread.
func peek(resp *http.Response, size int64) []byte {
	start, err := io.ReadAll(io.LimitReader(resp.Body, size))
	rest := io.Reader(resp.Body)
	if err != nil {
		rest = failedReader{err}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), rest), resp.Body}
	return start
}

type failedReader struct{ err error }

func (r failedReader) Read([]byte) (int, error) { return 0, r.err }
