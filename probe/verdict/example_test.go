package verdict_test

import (
	"context"
	"fmt"

	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/probe/verdict"
)

// A store is proven before it is trusted with a lock. What was found out is kept, and counts for a day.
func ExampleKeeper_Prove() {
	ctx := context.Background()
	b, err := s3bucket.Open(ctx, "acme-state", s3bucket.Config{
		Region: "us-east-1", Endpoints: s3bucket.Endpoints{S3: "https://s3.example.com"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	keeper := verdict.Keeper{Dir: "/var/cache/deploy/verdicts", Tool: "deploy 1.4"}
	v, err := keeper.Prove(ctx, b)
	if err == nil {
		err = v.Err() // the store cannot lock
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	m := &lock.Manager{Bucket: b, Tier: v.Tier}
	fmt.Println(m.Tier)
}
