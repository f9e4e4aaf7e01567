package s3bucket

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// Only the store's own words end a request whose outcome is unknown.
func TestBucket_Writes_Over(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status     int
		body, kind string
		over       bool
	}{
		{500, s3Error("InternalError", "again"), "ambiguous", true},
		{503, s3Error("SlowDown", "slower"), "ambiguous", true},
		{500, "", "ambiguous", false},
		{503, "<html>upstream connect error or disconnect/reset before headers</html>", "ambiguous", false},
		{502, s3Error("BadGateway", ""), "ambiguous", false},
		{504, s3Error("GatewayTimeout", ""), "ambiguous", false},
		{507, s3Error("InsufficientStorage", "full"), "broken", false},
		{429, s3Error("TooManyRequests", ""), "throttled", false},
	} {
		s := newStore(t, answer(tc.status, nil, tc.body))
		b := open(t, s.config())
		for _, c := range calls {
			if !c.write {
				continue
			}
			kind := map[string]error{"ambiguous": statelatch.ErrAmbiguous, "broken": statelatch.ErrBroken, "throttled": statelatch.ErrThrottled}[tc.kind]
			if se := storeError(t, c.do(t.Context(), b), kind); se.Over != tc.over {
				t.Errorf("%s, %d %.40s: over %v, want %v", c.name, tc.status, tc.body, se.Over, tc.over)
			}
		}
	}
}

var kinds = []error{
	statelatch.ErrPreconditionFailed, statelatch.ErrNotFound, statelatch.ErrDenied, statelatch.ErrConflict,
	statelatch.ErrThrottled, statelatch.ErrUnsupported, statelatch.ErrAmbiguous, statelatch.ErrBroken,
}

func checkKind(t *testing.T, err, want error) {
	t.Helper()
	_ = storeError(t, err, want)
}

// storeError checks that err is a StoreError of exactly the kind want.
func storeError(t *testing.T, err, want error) *statelatch.StoreError {
	t.Helper()
	var se *statelatch.StoreError
	if !errors.As(err, &se) {
		t.Fatalf("error: got %v, want a StoreError of kind %q", err, want)
	}
	for _, k := range kinds {
		if got, same := errors.Is(err, k), errors.Is(want, k); got != same {
			t.Errorf("errors.Is(%v, %q): got %v, want %v", err, k, got, same)
		}
	}
	if strings.Contains(err.Error(), "secretexample") || strings.Contains(err.Error(), customerKey) {
		t.Errorf("error tells a secret: %v", err)
	}
	return se
}

// calls are all operations, each with the IAM action it needs.
var calls = []struct {
	name, action string
	write        bool
	do           func(context.Context, *Bucket) error
}{
	{"head", "s3:GetObject", false, func(ctx context.Context, b *Bucket) error {
		_, err := b.Head(ctx, testKey, bucket.ReadOptions{})
		return err
	}},
	{"get", "s3:GetObject", false, func(ctx context.Context, b *Bucket) error {
		_, _, err := b.Get(ctx, testKey, bucket.ReadOptions{})
		return err
	}},
	{"get", "s3:GetObjectVersion", false, func(ctx context.Context, b *Bucket) error {
		_, _, err := b.Get(ctx, testKey, bucket.ReadOptions{VersionID: "v1"})
		return err
	}},
	{"put", "s3:PutObject", true, func(ctx context.Context, b *Bucket) error {
		_, err := b.Put(ctx, testKey, strings.NewReader(testBody), bucket.PutOptions{})
		return err
	}},
	{"put", "s3:PutObject", true, func(ctx context.Context, b *Bucket) error {
		_, err := b.Put(ctx, testLock, strings.NewReader(testBody), bucket.PutOptions{If: bucket.IfAbsent})
		return err
	}},
	{"delete", "s3:DeleteObject and s3:GetObject", true, func(ctx context.Context, b *Bucket) error {
		_, err := b.Delete(ctx, testKey, bucket.DeleteOptions{If: bucket.IfMatch(`"e1"`)})
		return err
	}},
	{"delete", "s3:DeleteObjectVersion", true, func(ctx context.Context, b *Bucket) error {
		_, err := b.Delete(ctx, testKey, bucket.DeleteOptions{VersionID: "v1"})
		return err
	}},
	{"list", "s3:ListBucket", false, func(ctx context.Context, b *Bucket) error {
		for _, err := range b.List(ctx, bucket.ListOptions{}) {
			return err
		}
		return nil
	}},
	{"list versions", "s3:ListBucketVersions", false, func(ctx context.Context, b *Bucket) error {
		for _, err := range b.ListVersions(ctx, bucket.ListOptions{}) {
			return err
		}
		return nil
	}},
}

// Access denied is no lock conflict, and says what was missing.
func TestBucket_AllCalls_B25_Denied(t *testing.T) {
	t.Parallel()
	s := newStore(t, answer(http.StatusForbidden, nil, s3Error("AccessDenied", "no entry")))
	b := open(t, s.config())
	for _, c := range calls {
		se := storeError(t, c.do(t.Context(), b), statelatch.ErrDenied)
		if se.Op != c.name || se.Action != c.action || se.Status != http.StatusForbidden || se.Bucket != "bkt" {
			t.Errorf("%s: got op %q, action %q, status %d, bucket %q, want action %q", c.name, se.Op, se.Action, se.Status, se.Bucket, c.action)
		}
		if se.Code != "AccessDenied" || se.Message != "no entry" {
			t.Errorf("%s: got code %q, message %q", c.name, se.Code, se.Message)
		}
	}
	if got, want := len(s.requests()), len(calls)+1; got != want { // a HEAD is followed by a GET, whose answer has a reason
		t.Errorf("requests: got %d, want %d", got, want)
	}
}

// A condition on an ETag needs the right to read as well, so whoever has only the right to write is
// told.
func TestBucket_Writes_DeniedWithCondition(t *testing.T) {
	t.Parallel()
	s := newStore(t, answer(http.StatusForbidden, nil, s3Error("AccessDenied", "no")))
	b := open(t, s.config())
	for _, c := range []struct {
		cond        bucket.Condition
		put, delete string
	}{
		{bucket.Condition{}, "s3:PutObject", "s3:DeleteObject"},
		{bucket.IfAbsent, "s3:PutObject", ""},
		{bucket.IfMatch(`"e"`), "s3:PutObject and s3:GetObject", "s3:DeleteObject and s3:GetObject"},
	} {
		_, err := b.Put(t.Context(), "k", strings.NewReader("x"), bucket.PutOptions{If: c.cond})
		if se := storeError(t, err, statelatch.ErrDenied); se.Action != c.put {
			t.Errorf("put %v: got action %q, want %q", c.cond, se.Action, c.put)
		}
		if c.cond.Absent() {
			continue
		}
		_, err = b.Delete(t.Context(), "k", bucket.DeleteOptions{If: c.cond})
		if se := storeError(t, err, statelatch.ErrDenied); se.Action != c.delete {
			t.Errorf("delete %v: got action %q, want %q", c.cond, se.Action, c.delete)
		}
	}
}

// The reply is lost after the store read the request: one attempt, outcome unknown.
func TestBucket_Writes_B1_LostReply(t *testing.T) {
	t.Parallel()
	for _, c := range calls {
		if !c.write {
			continue
		}
		s := newStore(t, hangUp)
		err := c.do(t.Context(), open(t, s.config()))
		checkKind(t, err, statelatch.ErrAmbiguous)
		if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: error %v looks like an end of file or of the context", c.name, err)
		}
		s.only(t)
	}
}

// A connection that is used again makes net/http retry what it may; a write is not.
func TestBucket_Writes_B1_LostReplyOnReusedConnection(t *testing.T) {
	t.Parallel()
	for _, c := range calls {
		if !c.write {
			continue
		}
		s := newStore(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				stored(w, r)
				return
			}
			hangUp(w, r)
		})
		b := open(t, s.config())
		if _, err := b.Head(t.Context(), testKey, bucket.ReadOptions{}); err != nil {
			t.Fatal(err)
		}
		checkKind(t, c.do(t.Context(), b), statelatch.ErrAmbiguous)
		if got := len(s.requests()); got != 2 {
			t.Errorf("%s: requests: got %d, want 2", c.name, got)
		}
	}
}

// every runs all calls at once, each against its own store, and then checks each. They
// wait more than they work, and t.Parallel has no more slots than there are cores.
func every(t *testing.T, start func() (*store, Config), check func(i int, err error, s *store)) {
	t.Helper()
	stores, errs := make([]*store, len(calls)), make([]error, len(calls))
	var wg sync.WaitGroup
	for i, c := range calls {
		s, cfg := start()
		b := open(t, cfg)
		stores[i] = s
		wg.Go(func() { errs[i] = c.do(t.Context(), b) })
	}
	wg.Wait()
	for i, err := range errs {
		check(i, err, stores[i])
	}
}

// Errors that the SDK would retry: writes are sent once, reads as often as configured.
func TestBucket_Attempts_ServerErrors(t *testing.T) {
	t.Parallel()
	for status, code := range map[int]string{500: "InternalError", 503: "SlowDown"} {
		every(t, func() (*store, Config) {
			s := newStore(t, answer(status, nil, s3Error(code, "")))
			cfg := s.config()
			cfg.MaxRetries = 2
			return s, cfg
		}, func(i int, err error, s *store) {
			kind, attempts := statelatch.ErrAmbiguous, 1
			if !calls[i].write {
				kind, attempts = statelatch.ErrBroken, 2
				if status == http.StatusServiceUnavailable {
					kind = statelatch.ErrThrottled
				}
			}
			checkKind(t, err, kind)
			if got := len(s.requests()); got != attempts {
				t.Errorf("%s %s: requests: got %d, want %d", calls[i].name, code, got, attempts)
			}
		})
	}
}

// S3 has answered 200 with the refusal in the body.
func TestBucket_Put_B4_ErrorWithStatus200(t *testing.T) {
	t.Parallel()
	for code, kind := range map[string]error{
		"PreconditionFailed": statelatch.ErrPreconditionFailed,
		"InternalError":      statelatch.ErrAmbiguous,
	} {
		s := newStore(t, answer(http.StatusOK, nil, s3Error(code, "")))
		b := open(t, s.config())
		_, err := b.Put(t.Context(), testLock, strings.NewReader(testBody), bucket.PutOptions{If: bucket.IfAbsent})
		checkKind(t, err, kind)
		_, err = b.Delete(t.Context(), testLock, bucket.DeleteOptions{If: bucket.IfMatch(`"e1"`)})
		checkKind(t, err, kind)
		if got := len(s.requests()); got != 2 {
			t.Errorf("%s: requests: got %d, want 2", code, got)
		}
	}
}

// A status without a body decides alone.
func TestBucket_AllCalls_BareStatus(t *testing.T) {
	t.Parallel()
	for status, kind := range map[int]error{
		404: statelatch.ErrNotFound, 409: statelatch.ErrConflict, 412: statelatch.ErrPreconditionFailed,
		403: statelatch.ErrDenied, 501: statelatch.ErrUnsupported,
	} {
		s := newStore(t, answer(status, nil, ""))
		b := open(t, s.config())
		for _, c := range calls {
			se := storeError(t, c.do(t.Context(), b), kind)
			if se.Status != status || se.Action != "" {
				t.Errorf("%s: got status %d, action %q, want %d and none", c.name, se.Status, se.Action, status)
			}
		}
		want := len(calls)
		switch status {
		case http.StatusForbidden:
			want++ // a GET that asks why the HEAD was denied
		case http.StatusNotImplemented:
			for _, c := range calls {
				if c.name == "get" {
					want++ // again, without asking for a checksum
				}
			}
		}
		if got := len(s.requests()); got != want {
			t.Errorf("%d: requests: got %d, want %d", status, got, want)
		}
	}
}

// An answer that is none of S3's is no proof of a write.
func TestBucket_Put_NotAnS3Answer(t *testing.T) {
	t.Parallel()
	for _, h := range map[string]http.HandlerFunc{
		"no ETag": answer(http.StatusOK, nil, ""),
		"HTML":    answer(http.StatusOK, nil, "<html><p>Log in</p></html>"),
		"weak":    answer(http.StatusOK, map[string]string{"ETag": `W/"e1"`}, ""),
	} {
		s := newStore(t, h)
		_, err := open(t, s.config()).Put(t.Context(), testKey, strings.NewReader(testBody), bucket.PutOptions{})
		checkKind(t, err, statelatch.ErrAmbiguous)
	}
}

// A delete has no ETag to answer with: S3 and its kin answer with nothing at all.
func TestBucket_Delete_NotAnS3Answer(t *testing.T) {
	t.Parallel()
	const page = "<html><p>Log in</p></html>"
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		want    error
	}{
		"a page":         {answer(http.StatusOK, nil, page), statelatch.ErrAmbiguous},
		"a chunked page": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, page); w.(http.Flusher).Flush() }, statelatch.ErrAmbiguous},
		"200, no body":   {answer(http.StatusOK, nil, ""), nil},
		"200, empty":     {func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() }, nil},
		"204":            {answer(http.StatusNoContent, nil, ""), nil},
	} {
		s := newStore(t, tc.handler)
		_, err := open(t, s.config()).Delete(t.Context(), testLock, bucket.DeleteOptions{If: bucket.IfMatch(`"e1"`)})
		switch {
		case tc.want != nil:
			checkKind(t, err, tc.want)
		case err != nil:
			t.Errorf("%s: got %v, want nil", name, err)
		}
		s.only(t)
	}
}

// Whatever the SDK would like to try again, with other credentials, another clock, or elsewhere.
func TestBucket_Writes_OneAttempt(t *testing.T) {
	t.Parallel()
	for code, status := range map[string]int{
		"ExpiredToken": 400, "RequestTimeout": 400, "RequestTimeTooSkewed": 403, "RequestExpired": 403,
		"TooManyRequests": 429, "BadGateway": 502, "GatewayTimeout": 504, "TemporaryRedirect": 307,
	} {
		for _, c := range calls {
			if !c.write {
				continue
			}
			s := newStore(t, answer(status, map[string]string{"Date": "Sat, 21 Nov 2020 08:07:03 GMT"}, s3Error(code, "")))
			if err := c.do(t.Context(), open(t, s.config())); err == nil {
				t.Errorf("%d %s: %s succeeded", status, code, c.name)
			}
			s.only(t)
		}
	}
}

func TestBucket_Reads_WeakETag(t *testing.T) {
	t.Parallel()
	s := newStore(t, answer(http.StatusOK, map[string]string{"ETag": `W/"e1"`}, testBody))
	b := open(t, s.config())
	_, err := b.Head(t.Context(), testKey, bucket.ReadOptions{})
	checkKind(t, err, statelatch.ErrUnsupported)
	_, _, err = b.Get(t.Context(), testKey, bucket.ReadOptions{})
	checkKind(t, err, statelatch.ErrUnsupported)
}

func TestBucket_AllCalls_WrongRegionIsNamed(t *testing.T) {
	t.Parallel()
	for status, code := range map[int]string{301: "PermanentRedirect", 307: "TemporaryRedirect", 400: "AuthorizationHeaderMalformed"} {
		elsewhere := newStore(t, stored)
		s := newStore(t, answer(status, map[string]string{
			"X-Amz-Bucket-Region": "ap-southeast-2", "Location": elsewhere.URL + "/bkt/" + testKey,
		}, s3Error(code, "elsewhere")))
		b := open(t, s.config())
		for _, c := range calls {
			se := storeError(t, c.do(t.Context(), b), statelatch.ErrBroken)
			for _, want := range []string{`"ap-southeast-2"`, `"eu-central-1"`, "AWS_REGION"} {
				if !strings.Contains(se.Message, want) {
					t.Errorf("%d %s: message %q does not name %s", status, c.name, se.Message, want)
				}
			}
		}
		if got := elsewhere.requests(); len(got) != 0 {
			t.Errorf("%d: a redirect was followed: %v", status, got)
		}
	}
}

func TestBucket_Unreachable_NothingChanged(t *testing.T) {
	t.Parallel()
	s := newStore(t, stored)
	cfg := s.config()
	cfg.MaxRetries = 1
	s.Close()
	b := open(t, cfg)
	for _, c := range calls {
		se := storeError(t, c.do(t.Context(), b), statelatch.ErrBroken)
		if se.Err == nil || strings.Contains(se.Error(), "operation error") || !strings.Contains(se.Error(), "refused") {
			t.Errorf("%s: got %q, want the plain cause", c.name, se.Error())
		}
	}
}

func TestBucket_UntrustedTLS_NothingChanged(t *testing.T) {
	t.Parallel()
	s := newTLSStore(t, stored)
	cfg := s.config()
	cfg.MaxRetries = 1
	b := open(t, cfg)
	for _, c := range calls {
		checkKind(t, c.do(t.Context(), b), statelatch.ErrBroken)
	}
	cfg.Insecure = true
	put(t, open(t, cfg), testKey, bucket.Condition{})
}

func TestBucket_Reads_DeleteMarkerIsNotFound(t *testing.T) {
	t.Parallel()
	s := newStore(t, answer(http.StatusMethodNotAllowed, map[string]string{"X-Amz-Delete-Marker": "true"}, s3Error("MethodNotAllowed", "")))
	b := open(t, s.config())
	_, err := b.Head(t.Context(), testKey, bucket.ReadOptions{VersionID: "m1"})
	checkKind(t, err, statelatch.ErrNotFound)
	_, _, err = b.Get(t.Context(), testKey, bucket.ReadOptions{VersionID: "m1"})
	checkKind(t, err, statelatch.ErrNotFound)
}

func TestBucket_Delete_Absent(t *testing.T) {
	t.Parallel()
	s := newStore(t, answer(http.StatusNotFound, nil, s3Error("NoSuchKey", "")))
	b := open(t, s.config())
	if _, err := b.Delete(t.Context(), testKey, bucket.DeleteOptions{}); err != nil {
		t.Errorf("without condition: got %v, want nil", err)
	}
	_, err := b.Delete(t.Context(), testKey, bucket.DeleteOptions{If: bucket.IfMatch(`"e1"`)})
	checkKind(t, err, statelatch.ErrNotFound)

	gone := newStore(t, answer(http.StatusNotFound, nil, s3Error("NoSuchBucket", "")))
	_, err = open(t, gone.config()).Delete(t.Context(), testKey, bucket.DeleteOptions{})
	checkKind(t, err, statelatch.ErrNotFound)
}

func TestBucket_Delete_RefusesWhatCannotBeConditional(t *testing.T) {
	t.Parallel()
	s := newStore(t, stored)
	b := open(t, s.config())
	for _, opts := range []bucket.DeleteOptions{
		{If: bucket.IfAbsent},
		{If: bucket.IfMatch(`"e1"`), VersionID: "v1"},
	} {
		_, err := b.Delete(t.Context(), testKey, opts)
		checkKind(t, err, statelatch.ErrUnsupported)
	}
	if got := s.requests(); len(got) != 0 {
		t.Errorf("requests: got %v, want none", got)
	}
}

type brokenBody struct{ io.Seeker }

func (brokenBody) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

func TestBucket_Put_UnreadableBodySendsNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t, stored)
	_, err := open(t, s.config()).Put(t.Context(), testKey, brokenBody{strings.NewReader("x")}, bucket.PutOptions{})
	checkKind(t, err, statelatch.ErrBroken)
	if got := s.requests(); len(got) != 0 {
		t.Errorf("requests: got %v, want none", got)
	}
}

// AWS answers a HEAD with expired credentials with 400 and no word, so the reason is asked for.
func TestBucket_Head_ExpiredCredentials(t *testing.T) {
	t.Parallel()
	s := newStore(t, answer(http.StatusBadRequest, nil, s3Error("ExpiredToken", "it has expired")))
	_, err := open(t, s.config()).Head(t.Context(), testKey, bucket.ReadOptions{})
	checkKind(t, err, statelatch.ErrDenied)
	if !statelatch.Expired(err) {
		t.Errorf("got %v, want that the credentials have expired", err)
	}
}

// A missing bucket is told from a missing object by its kind.
func TestBucket_NoBucket(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{"NoSuchBucket": true, "NoSuchKey": false} {
		s := newStore(t, answer(http.StatusNotFound, nil, s3Error(code, "")))
		_, _, err := open(t, s.config()).Get(t.Context(), testKey, bucket.ReadOptions{})
		if errors.Is(err, statelatch.ErrNoBucket) != want || !errors.Is(err, statelatch.ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNoBucket: %v", code, err, want)
		}
	}
}
