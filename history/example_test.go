package history_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/history"
	"github.com/statelatch/statelatch/state"
)

// The versions of a state, and what is wrong between them: here a serial that steps back.
func ExampleList() {
	ctx := context.Background()
	b := membucket.New("acme-state", membucket.Options{Versioned: true})
	for _, serial := range []int{4, 5, 3} {
		body := fmt.Sprintf(`{"version":4,"serial":%d,"lineage":"8f1c"}`, serial)
		if _, err := b.Put(ctx, "prod.tfstate", strings.NewReader(body), bucket.PutOptions{}); err != nil {
			fmt.Println(err)
			return
		}
	}

	ref := statelatch.Ref{Bucket: "acme-state", Key: "prod.tfstate"}
	versions, err := history.List(ctx, &state.Store{Bucket: b}, ref, history.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, v := range versions {
		fmt.Printf("%d %q\n", v.Header.Serial, v.Anomaly)
	}
	previous, err := history.Find(versions, history.Previous)
	fmt.Println("before:", previous.Header.Serial, err)
	// Output:
	// 3 "serial stepped back"
	// 5 ""
	// 4 ""
	// before: 5 <nil>
}
