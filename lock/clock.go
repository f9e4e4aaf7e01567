package lock

import (
	"context"
	"math/rand/v2"
	"time"
)

// sleep waits for d or for the end of ctx, whose error it returns.
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

// jitter is a random share of d, at least a half, so that waiters do not move in step.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}

// backoff is the pause after a number of transient failures in a row.
func backoff(failures int) time.Duration {
	return jitter(min(retryMin<<min(failures, 8), retryMax))
}
