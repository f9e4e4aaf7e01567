package buckettest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

func cancelChecks() []Check {
	return []Check{
		{Name: "cancel/head", Func: cancelHead},
		{Name: "cancel/get", Func: cancelGet},
		{Name: "cancel/get-body", Func: cancelGetBody},
		{Name: "cancel/put", Func: cancelPut},
		{Name: "cancel/delete", Func: cancelDelete},
		{Name: "cancel/list", Func: cancelList},
		{Name: "cancel/list-versions", Versioned: true, Func: cancelListVersions},
	}
}

// cancelled tries an operation on an existing object with contexts that are done, and expects
// an error that tells so and an object that is as it was.
func (p *Probe) cancelled(ctx context.Context, op string, try func(ctx context.Context, key string) error) error {
	object := p.key("object")
	obj, err := p.put(ctx, object, "untouched", bucket.Condition{})
	if err != nil {
		return err
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	expired, cancel := context.WithDeadline(ctx, time.Unix(0, 0))
	defer cancel()

	key, kinds := object, []error{statelatch.ErrBroken}
	switch op {
	case "list", "list versions":
		key = ""
	case "put", "delete":
		kinds = append(kinds, statelatch.ErrAmbiguous)
	}
	tell := func(err, reason error) error {
		if err := p.want(err, op, key, kinds...); err != nil {
			return err
		}
		if !errors.Is(err, reason) {
			return fmt.Errorf("%s with a context that is done: got %w, want an error that matches %w", op, err, reason)
		}
		return nil
	}
	if err := tell(try(cancelled, object), context.Canceled); err != nil {
		return err
	}
	if err := tell(try(expired, object), context.DeadlineExceeded); err != nil {
		return err
	}
	return p.holds(ctx, object, "", "untouched", obj.ETag)
}

func cancelHead(ctx context.Context, p *Probe) error {
	return p.cancelled(ctx, "head", func(ctx context.Context, key string) error {
		_, err := p.Bucket.Head(ctx, key, bucket.ReadOptions{})
		return err
	})
}

func cancelGet(ctx context.Context, p *Probe) error {
	return p.cancelled(ctx, "get", func(ctx context.Context, key string) error {
		_, r, err := p.Bucket.Get(ctx, key, bucket.ReadOptions{})
		if err == nil {
			_ = r.Close()
		}
		return err
	})
}

// cancelGetBody: a body that the end of ctx cuts short must not look complete.
func cancelGetBody(ctx context.Context, p *Probe) error {
	key := p.key("object")
	if _, err := p.putStamped(ctx, key, 1, largeSize); err != nil {
		return err
	}
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	_, r, err := p.Bucket.Get(reading, key, bucket.ReadOptions{})
	if err != nil {
		return fmt.Errorf("get %q: got %w, want success", key, err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 1)); err != nil {
		return fmt.Errorf("read the first byte of %q: got %w, want success", key, err)
	}
	cancel()
	n, err := io.Copy(io.Discard, r)
	if err == nil && n != largeSize-1 {
		return fmt.Errorf("read a body whose context was cancelled: got %d of %d bytes and no error, want an error", n+1,
			largeSize)
	}
	return nil
}

func cancelPut(ctx context.Context, p *Probe) error {
	return p.cancelled(ctx, "put", func(ctx context.Context, key string) error {
		_, err := p.Bucket.Put(ctx, key, body("must not be stored"), bucket.PutOptions{})
		return err
	})
}

func cancelDelete(ctx context.Context, p *Probe) error {
	return p.cancelled(ctx, "delete", func(ctx context.Context, key string) error {
		_, err := p.Bucket.Delete(ctx, key, bucket.DeleteOptions{})
		return err
	})
}

func cancelList(ctx context.Context, p *Probe) error {
	return p.cancelled(ctx, "list", func(ctx context.Context, key string) error {
		_, err := collect(p.Bucket.List(ctx, bucket.ListOptions{Prefix: key}))
		return err
	})
}

func cancelListVersions(ctx context.Context, p *Probe) error {
	return p.cancelled(ctx, "list versions", func(ctx context.Context, key string) error {
		_, err := collect(p.Bucket.ListVersions(ctx, bucket.ListOptions{Prefix: key}))
		return err
	})
}
