package state

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/statelatch/statelatch"
)

const (
	// retryMin and retryMax bound the pause after a transient failure.
	retryMin = 100 * time.Millisecond
	retryMax = 2 * time.Second
	// readTries is how often a read is tried.
	readTries = 5
	// settleBudget is how long it is tried to find out, after the first failure, what became of a write.
	// It runs on when the caller's context ends. A body gets settleRate more for its size.
	settleBudget = 30 * time.Second
	settleRate   = time.Second // per MiB
	// digestBudget is how long it is tried to write a digest after the first failure.
	digestBudget = 30 * time.Second
)

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// backoff is the pause after a number of failures in a row: at least half of what it could be, so
// that clients do not move in step.
func backoff(failures int) time.Duration {
	d := min(retryMin<<min(failures, 8), retryMax)
	source := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)) // under virtual time a run repeats
	return d/2 + time.Duration(source.Int64N(int64(d/2+1)))
}

// passing reports whether a failure may pass by itself. What was asked for must be safe to repeat.
func passing(err error) bool {
	if _, local := errors.AsType[*spoolError](err); local {
		return false
	}
	return errors.Is(err, statelatch.ErrBroken) || errors.Is(err, statelatch.ErrThrottled) ||
		errors.Is(err, statelatch.ErrConflict) || errors.Is(err, statelatch.ErrAmbiguous) || statelatch.Expired(err)
}

// retry repeats do while it fails in passing, at most readTries times.
func retry(ctx context.Context, do func() error) error {
	for failures := 0; ; failures++ {
		err := do()
		if !passing(err) || failures == readTries-1 || ctx.Err() != nil || sleep(ctx, backoff(failures)) != nil {
			return err
		}
	}
}
