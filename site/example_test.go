package site_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/site"
	"github.com/statelatch/statelatch/state"
)

// A deployment that must not overlap with an apply of the same state.
func ExampleSite_Do() {
	ctx := context.Background()
	s, ref, err := site.Dir(ctx, "infra/prod", site.Options{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = s.Do(ctx, ref, site.Lock{Operation: "deploy", Wait: 10 * time.Minute}, func(ctx context.Context) error {
		return deploy(ctx, "web", "worker") // ctx ends when the lock is lost
	})
	if locked, ok := errors.AsType[*statelatch.LockedError](err); ok {
		fmt.Println("held by", locked.Holder.Who)
	}
}

func deploy(context.Context, ...string) error { return nil }

// Changing an output, with serial, lineage and lock taken care of.
func ExampleSite_Update() {
	ctx := context.Background()
	s, err := site.Open(ctx, "s3://acme-state", site.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ref := statelatch.Ref{Bucket: "acme-state", Key: "prod/network.tfstate"}
	written, err := s.Update(ctx, ref, site.Lock{Reason: "rename"}, func(d *state.Doc) error {
		outputs := map[string]any{}
		if err := d.Get("outputs", &outputs); err != nil {
			return err
		}
		outputs["vpc_id"] = map[string]any{"value": "vpc-0f3", "type": "string"}
		return d.Set("outputs", outputs)
	})
	fmt.Println(written.Header.Serial, err)
}

// What is locked, and by whom, told as it is found.
func ExampleSite_Locks() {
	ctx := context.Background()
	s, err := site.Open(ctx, "s3://acme-state", site.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for l, err := range s.Locks(ctx, statelatch.Scope{Prefix: "prod"}, fleet.LockOptions{}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(l.Ref, l.Info.Who, l.Verdict.State)
	}
}
