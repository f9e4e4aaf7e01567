package fleet

import (
	"context"
	"iter"
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

// ahead is how many items per worker Map takes in before the first of them is done.
const ahead = 4

// Map yields what do makes of each item, in the order of items, so many at a time as workers says (0 means 16). It
// takes in no more than a few items per worker before they are asked for. It ends with the first error, of items or of
// do, and when the loop over it ends: what is under way sees its context end and is waited for.
func Map[T, R any](
	ctx context.Context, workers int, items iter.Seq2[T, error], do func(context.Context, T) (R, error),
) iter.Seq2[R, error] {
	if workers <= 0 {
		workers = defaultWorkers
	}
	type result struct {
		made R
		err  error
	}
	return func(yield func(R, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		queue := make(chan chan result, ahead*workers)
		slots := make(chan struct{}, workers)
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		running.Go(func() {
			defer close(queue)
			for item, err := range items {
				made := make(chan result, 1)
				select {
				case queue <- made:
				case <-ctx.Done():
					return
				}
				if err != nil {
					made <- result{err: err}
					return
				}
				select {
				case slots <- struct{}{}:
				case <-ctx.Done():
					return
				}
				running.Go(func() {
					defer func() { <-slots }()
					r, err := do(ctx, item)
					made <- result{r, err}
				})
			}
		})
		for made := range queue {
			var r result
			select {
			case r = <-made:
			case <-ctx.Done():
				r.err = context.Cause(ctx)
			}
			if !yield(r.made, r.err) || r.err != nil {
				return
			}
		}
		if err := context.Cause(ctx); err != nil {
			var none R
			yield(none, err)
		}
	}
}
