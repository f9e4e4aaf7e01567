package dynamo_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/internal/dynamotest"
)

// Headers that proxies rewrite are sent, and not signed.
func TestTable_UnsignedHeaders(t *testing.T) {
	t.Parallel()
	server := dynamotest.NewServer(tableName)
	requests := 0
	table := open(t, web(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		_, signed, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
		signed, _, _ = strings.Cut(signed, ",")
		for _, name := range []string{"Accept-Encoding", "Amz-Sdk-Invocation-Id", "Amz-Sdk-Request"} {
			if r.Header.Get(name) == "" || strings.Contains(signed, strings.ToLower(name)) {
				t.Errorf("%s is %q; signed are %s", name, r.Header.Get(name), signed)
			}
		}
		if !strings.Contains(signed, "x-amz-target") {
			t.Errorf("signed are %q", signed)
		}
		server.ServeHTTP(w, r)
	})))
	if err := table.Lock(t.Context(), testRef, testInfo); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Read(t.Context(), testRef); err != nil || requests != 2 {
		t.Errorf("%d requests, %v", requests, err)
	}
}
