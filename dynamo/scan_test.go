package dynamo_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/dynamo"
	"github.com/statelatch/statelatch/internal/dynamotest"
)

// lockIDs collects what a scan yields before its first error.
func lockIDs(t *testing.T, table *dynamo.Table, prefix string) (ids []string, err error) {
	t.Helper()
	for id, err := range table.LockIDs(t.Context(), prefix) {
		if err != nil {
			return ids, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// Pages may be empty without being the last, and items may be of other tools and other buckets.
func TestTable_LockIDs_EveryPage(t *testing.T) {
	t.Parallel()
	table, server := fake(t)
	var want []string
	for i := range 5 {
		server.SetItem(tableName, dynamotest.StringItem(fmt.Sprintf("another/%d", i), "Info", "x"))
		id := fmt.Sprintf("bkt/%d", i)
		server.SetItem(tableName, dynamotest.StringItem(id, "Info", "x"))
		server.SetItem(tableName, dynamotest.StringItem(id+"-md5", "Digest", "x"))
		want = append(want, id, id+"-md5")
	}
	got, err := lockIDs(t, table, "bkt/")
	slices.Sort(got)
	slices.Sort(want)
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if n := server.Count(dynamotest.OpScan, ""); n != 5 {
		t.Errorf("got %d pages of 3, want 5", n)
	}
	if all, err := lockIDs(t, table, ""); err != nil || len(all) != 15 {
		t.Errorf("without a prefix: got %d items, %v, want 15", len(all), err)
	}
}

func TestTable_LockIDs_StopsWhenTold(t *testing.T) {
	t.Parallel()
	table, server := fake(t)
	for i := range 9 {
		server.SetItem(tableName, dynamotest.StringItem(fmt.Sprintf("bkt/%d", i), "Info", "x"))
	}
	for _, err := range table.LockIDs(t.Context(), "bkt/") {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if n := server.Count(dynamotest.OpScan, ""); n != 1 {
		t.Errorf("got %d requests, want 1", n)
	}
}

func TestTable_LockIDs_Failures(t *testing.T) {
	t.Parallel()
	const ct = "application/x-amz-json-1.0"
	for name, tc := range map[string]struct {
		status int
		body   string
		kind   error
		words  string
	}{
		"denied":    {400, `{"__type":"x#AccessDeniedException","message":"no"}`, statelatch.ErrDenied, "dynamodb:Scan"},
		"no table":  {400, `{"__type":"x#ResourceNotFoundException","message":"no"}`, statelatch.ErrBroken, "no such table"},
		"a circle":  {200, `{"Items":[],"LastEvaluatedKey":{"LockID":{"S":"a"}}}`, statelatch.ErrBroken, "the same page"},
		"throttled": {400, `{"__type":"x#ThrottlingException","message":"slow"}`, statelatch.ErrThrottled, "slow"},
	} {
		requests := 0
		url := web(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if requests++; requests > 10 {
				t.Errorf("%s: there is no end", name)
			}
			w.Header().Set("Content-Type", ct)
			w.WriteHeader(tc.status)
			_, _ = w.Write([]byte(tc.body))
		}))
		_, err := lockIDs(t, open(t, url), "bkt/")
		checkKind(t, err, tc.kind)
		if err != nil && !strings.Contains(err.Error(), tc.words) {
			t.Errorf("%s: got %q, want it to say %q", name, err, tc.words)
		}
		if _, ok := errors.AsType[*statelatch.StoreError](err); !ok {
			t.Errorf("%s: got %T, want a StoreError", name, err)
		}
	}
}
