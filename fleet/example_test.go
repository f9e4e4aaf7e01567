package fleet_test

import (
	"context"
	"fmt"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/lock"
)

// Every lock of a part of a bucket, with who holds it.
func ExampleLocks() {
	ctx := context.Background()
	m := &lock.Manager{Bucket: membucket.New("acme-state", membucket.Options{}), Tier: lock.TierFull}
	for _, key := range []string{"prod/network.tfstate", "prod/dns.tfstate", "dev/dns.tfstate"} {
		ref := statelatch.Ref{Bucket: "acme-state", Key: key}
		if _, err := m.Acquire(ctx, ref, lock.Request{Who: "ann@laptop", Operation: "deploy"}); err != nil {
			fmt.Println(err)
			return
		}
	}

	found, err := fleet.Locks(ctx, m, statelatch.Scope{Bucket: "acme-state", Prefix: "prod"}, fleet.LockOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, l := range found.Locks {
		fmt.Println(l.Ref.Key, l.Kind, l.Info.Who)
	}
	// Output:
	// prod/dns.tfstate managed ann@laptop
	// prod/network.tfstate managed ann@laptop
}
