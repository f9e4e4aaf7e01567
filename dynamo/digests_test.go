package dynamo_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/dynamotest"
)

func TestTable_DigestKeys(t *testing.T) {
	t.Parallel()
	table, server := fake(t)
	var want, got []string
	for i := range 5 {
		key := fmt.Sprintf("app/%d", i)
		server.SetItem(tableName, dynamotest.StringItem("bkt/"+key, "Info", "x"))
		server.SetItem(tableName, dynamotest.StringItem("bkt/"+key+"-md5", "Digest", "x"))
		server.SetItem(tableName, dynamotest.StringItem("another/"+key+"-md5", "Digest", "x"))
		want = append(want, key)
	}
	server.SetItem(tableName, dynamotest.StringItem("bkt/-md5", "Digest", "of no key"))
	for key, err := range table.DigestKeys(t.Context(), "bkt") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, key)
	}
	if slices.Sort(got); !cmp.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	server.Add(dynamotest.Rule{Op: dynamotest.OpScan, Fault: dynamotest.Answer(400, "AccessDeniedException")})
	for key, err := range table.DigestKeys(t.Context(), "bkt") {
		if !errors.Is(err, statelatch.ErrDenied) || key != "" {
			t.Errorf("got %q, %v, want ErrDenied alone", key, err)
		}
	}
}
