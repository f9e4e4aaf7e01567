package dynamo_test

import (
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/dynamo"
	"github.com/statelatch/statelatch/internal/dynamotest"
)

func TestOpen_SendsNothing(t *testing.T) {
	t.Parallel()
	table, server := fake(t)
	if got := server.Requests(); len(got) != 0 || table.Name() != tableName {
		t.Errorf("got %v, name %q; want no requests, name %q", got, table.Name(), tableName)
	}
}

func TestOpen_Invalid(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change          func(*s3bucket.Config)
		table, endpoint string
		want            string
	}{
		"no table":       {func(*s3bucket.Config) {}, "", "", "dynamodb_table"},
		"bad endpoint":   {func(*s3bucket.Config) {}, "t", "ftp://x", `endpoints.dynamodb "ftp://x"`},
		"no region":      {func(c *s3bucket.Config) { c.Region = "" }, "t", "", "AWS_REGION"},
		"unknown region": {func(c *s3bucket.Config) { c.Region = "mars-1" }, "t", "", `region "mars-1"`},
		"half a key":     {func(c *s3bucket.Config) { c.SecretKey = "" }, "t", "", "secret_key"},
	} {
		cfg := config()
		tc.change(&cfg)
		_, err := dynamo.Open(t.Context(), cfg, tc.table, tc.endpoint)
		if !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want ErrInvalid that names %s", name, err, tc.want)
		}
	}
}

func TestOpen_NoCredentials(t *testing.T) {
	t.Parallel()
	_, err := dynamo.Open(t.Context(), s3bucket.Config{Region: "eu-central-1"}, tableName, "")
	if se, ok := errors.AsType[*statelatch.StoreError](err); !ok || !errors.Is(err, statelatch.ErrDenied) || se.Bucket != tableName {
		t.Fatalf("got %v, want ErrDenied for the table", err)
	}
	if want := `open DynamoDB table "locks": access denied: no AWS credentials found`; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %q, want it to begin with %q", err, want)
	}
}

// Without an endpoint the environment decides, and a custom one needs no region. Not parallel: it sets variables.
func TestOpen_EndpointFromEnvironment(t *testing.T) {
	for _, name := range []string{"AWS_ENDPOINT_URL_DYNAMODB", "AWS_DYNAMODB_ENDPOINT", "AWS_ENDPOINT_URL"} {
		t.Run(name, func(t *testing.T) {
			server := dynamotest.NewServer(tableName)
			t.Setenv(name, web(t, server))
			cfg := config()
			cfg.Region = ""
			table, err := dynamo.Open(t.Context(), cfg, tableName, "")
			if err != nil {
				t.Fatal(err)
			}
			if err := table.Lock(t.Context(), testRef, testInfo); err != nil {
				t.Error(err)
			}
			if got := server.Count("", ""); got != 1 {
				t.Errorf("requests: got %d, want 1", got)
			}
		})
	}
}

// The argument wins over the environment. Not parallel: it sets a variable.
func TestOpen_EndpointArgumentWins(t *testing.T) {
	other := dynamotest.NewServer(tableName)
	t.Setenv("AWS_ENDPOINT_URL_DYNAMODB", web(t, other))
	table, server := fake(t)
	if err := table.Lock(t.Context(), testRef, testInfo); err != nil {
		t.Error(err)
	}
	if got, passed := server.Count("", ""), other.Count("", ""); got != 1 || passed != 0 {
		t.Errorf("requests: got %d and %d, want 1 and 0", got, passed)
	}
}

// TLS trusts what the bucket's does.
func TestOpen_CustomCABundle(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(dynamotest.NewServer(tableName))
	t.Cleanup(server.Close)
	cfg := config()
	cfg.CustomCABundle = filepath.Join(t.TempDir(), "ca.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(cfg.CustomCABundle, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	table, err := dynamo.Open(t.Context(), cfg, tableName, server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Lock(t.Context(), testRef, testInfo); err != nil {
		t.Error(err)
	}
}

// Credentials that end while the table is open are no broken table. Not parallel: it sets a variable.
func TestTable_AllCalls_CredentialsGone(t *testing.T) {
	var gone atomic.Bool
	container := web(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if gone.Load() {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte(`{"AccessKeyId":"AKIDEXAMPLE","SecretAccessKey":"x","Token":"t","Expiration":"2001-01-01T00:00:00Z"}`))
	}))
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", container)
	server := dynamotest.NewServer(tableName)
	table, err := dynamo.Open(t.Context(), s3bucket.Config{Region: "eu-central-1", MaxRetries: 1}, tableName, web(t, server))
	if err != nil {
		t.Fatal(err)
	}
	gone.Store(true)
	for _, c := range calls {
		checkKind(t, c.do(t.Context(), table), statelatch.ErrDenied)
	}
	if got := server.Count("", ""); got != 0 {
		t.Errorf("requests: got %d, want none", got)
	}
}
