package dynamo_test

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/dynamo"
	"github.com/statelatch/statelatch/internal/dynamotest"
)

var _ dynamotest.Store = (*dynamo.Table)(nil)

// TestMain keeps the machine's own AWS settings and metadata service out of the tests.
func TestMain(m *testing.M) {
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "AWS_") || strings.HasSuffix(strings.ToUpper(name), "_PROXY") {
			_ = os.Unsetenv(name)
		}
	}
	_ = os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	_ = os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	_ = os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	os.Exit(m.Run())
}

const tableName = "locks"

var (
	testRef  = statelatch.Ref{Bucket: "bkt", Key: "team/app/terraform.tfstate"}
	testInfo = statelatch.LockInfo{
		ID: "b1f5a2c4-7d0e-9f31-6b42-0a1b2c3d4e5f", Operation: "OperationTypeApply", Who: "root@host", Version: "1.11.4",
		Created: time.Date(2026, 11, 21, 8, 7, 3, 855087793, time.UTC), Path: testRef.Path(),
	}
	testRaw = string(testInfo.Marshal())
)

// web serves a handler on the loopback until the test ends.
func web(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// config tries everything once, because the SDK's pauses take seconds.
func config() s3bucket.Config {
	return s3bucket.Config{Region: "eu-central-1", AccessKey: "AKIDEXAMPLE", SecretKey: "secretexample", MaxRetries: 1}
}

func open(t *testing.T, endpoint string) *dynamo.Table {
	t.Helper()
	table, err := dynamo.Open(t.Context(), config(), tableName, endpoint)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return table
}

// fake is a table on a fake server.
func fake(t *testing.T) (*dynamo.Table, *dynamotest.Server) {
	t.Helper()
	server := dynamotest.NewServer(tableName)
	return open(t, web(t, server)), server
}

// checkJSON compares two JSON texts by meaning.
func checkJSON(t *testing.T, what, got, want string) {
	t.Helper()
	var values [2]any
	for i, s := range []string{got, want} {
		if err := json.Unmarshal([]byte(s), &values[i]); err != nil {
			t.Fatalf("%s: %v: %q", what, err, s)
		}
	}
	if diff := cmp.Diff(values[1], values[0]); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// checkKind checks that err is a StoreError of exactly one kind.
func checkKind(t *testing.T, err, want error) {
	t.Helper()
	if _, ok := errors.AsType[*statelatch.StoreError](err); !ok {
		t.Fatalf("error: got %v (%T), want a StoreError", err, err)
	}
	for _, kind := range []error{
		statelatch.ErrPreconditionFailed, statelatch.ErrNotFound, statelatch.ErrDenied, statelatch.ErrConflict,
		statelatch.ErrThrottled, statelatch.ErrUnsupported, statelatch.ErrAmbiguous, statelatch.ErrBroken,
	} {
		if got := errors.Is(err, kind); got != errors.Is(want, kind) {
			t.Errorf("error %q: matches %q: got %t, want %t", err, kind, got, !got)
		}
	}
}
