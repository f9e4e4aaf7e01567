package probe_test

import (
	"context"
	"fmt"

	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/probe"
)

// Whether a store can lock is found out by trying.
func ExampleRun() {
	ctx := context.Background()
	b := membucket.New("acme-state", membucket.Options{Versioned: true})
	r, err := probe.Run(ctx, []bucket.Bucket{b}, probe.Short())
	if err != nil {
		fmt.Println(err) // there is no verdict
		return
	}
	fmt.Println(r.Tier, "versioned:", r.Versioned, "left behind:", len(r.LeftBehind))
	// Output: full versioned: true left behind: 0
}
