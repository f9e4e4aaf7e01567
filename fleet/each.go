package fleet

import (
	"context"
	"sync"
)

// Each calls do for every item, so many at a time as workers says (0 means 16), in the order of items. It ends with
// the first error, or with that of ctx: what is under way sees its context end and is waited for, and nothing more is
// started.
func Each[T any](ctx context.Context, workers int, items []T, do func(context.Context, T) error) error {
	if workers <= 0 {
		workers = defaultWorkers
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan T)
	var running sync.WaitGroup
	for range min(workers, len(items)) {
		running.Go(func() {
			for item := range next {
				if err := do(ctx, item); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, item := range items {
		if ctx.Err() != nil {
			break
		}
		select {
		case next <- item:
		case <-ctx.Done():
		}
	}
	close(next)
	running.Wait()
	return context.Cause(ctx)
}
