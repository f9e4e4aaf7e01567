package state_test

import (
	"context"
	"fmt"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/state"
)

// A state is changed under its lock; serial and lineage are taken care of, and what others wrote meanwhile is not lost.
func ExampleUpdate() {
	ctx := context.Background()
	bucket := membucket.New("acme-state", membucket.Options{})
	store := &state.Store{Bucket: bucket}
	locks := &lock.Manager{Bucket: bucket, Tier: lock.TierFull, Fence: store.Touch}
	ref := statelatch.Ref{Bucket: "acme-state", Key: "prod/network.tfstate"}

	held, err := locks.Acquire(ctx, ref, lock.Request{Who: "ann@laptop", TTL: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = state.Update(ctx, store, held, func(d *state.Doc) error {
		return d.Set("outputs", map[string]any{"vpc_id": map[string]any{"value": "vpc-0f3", "type": "string"}})
	}, state.WriteOptions{})
	if err != nil {
		fmt.Println(err)
	}
	if _, err := held.Release(ctx); err != nil {
		fmt.Println(err)
	}

	now, err := store.Read(ctx, ref)
	fmt.Println("exists:", now.Exists, "serial:", now.Header.Serial, err)
	// Output: exists: true serial: 1 <nil>
}

// What happened to a state since it was looked at.
func ExampleStore_Since() {
	ctx := context.Background()
	bucket := membucket.New("acme-state", membucket.Options{Versioned: true})
	store := &state.Store{Bucket: bucket}
	ref := statelatch.Ref{Bucket: "acme-state", Key: "prod/network.tfstate"}

	mark, err := store.Mark(ctx, ref)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := store.New(ctx, ref, state.Provenance{Principal: "ana@laptop"}); err != nil { // somebody else, say
		fmt.Println(err)
		return
	}
	r, err := store.Since(ctx, mark)
	fmt.Println("moved:", r.Moved, "versions:", len(r.Versions), "anomalies:", len(r.Anomalies), err)
	// Output: moved: true versions: 1 anomalies: 0 <nil>
}
