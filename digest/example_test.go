package digest_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/digest"
	"github.com/statelatch/statelatch/internal/dynamotest"
	"github.com/statelatch/statelatch/state"
)

// The digest in the table is of other bytes than the state: engines refuse it.
func ExampleChecker_Check() {
	ctx := context.Background()
	b := membucket.New("acme-state", membucket.Options{Versioned: true})
	table := dynamotest.NewTable("locks") // dynamo.Open for a real one
	ref := statelatch.Ref{Bucket: "acme-state", Key: "prod.tfstate"}
	body := `{"version":4,"serial":7,"lineage":"8f1c"}`
	if _, err := b.Put(ctx, ref.Key, strings.NewReader(body), bucket.PutOptions{}); err != nil {
		fmt.Println(err)
		return
	}
	if err := table.SwapDigest(ctx, ref, "", "0cc175b9c0f1b6a831c399e269772661"); err != nil {
		fmt.Println(err)
		return
	}

	checker := digest.Checker{Store: &state.Store{Bucket: b, Digests: table}, Versions: digest.DefaultVersions}
	found, err := checker.Check(ctx, ref)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(found.Status, "- engines refuse it:", found.Wrong())
	// Output: stale - engines refuse it: true
}
