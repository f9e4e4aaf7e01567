package state

import (
	"context"
	"errors"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/pace"
	"github.com/statelatch/statelatch/internal/spool"
)

const (
	// readTries is how often a read is tried.
	readTries = 5
	// settleBudget is how long it is tried to find out, after the first failure, what became of a write.
	// It runs on when the caller's context ends. A body gets settleRate more for its size.
	settleBudget = 30 * time.Second
	settleRate   = time.Second // per MiB
	// digestBudget is how long it is tried to write a digest after the first failure.
	digestBudget = 30 * time.Second
)

// retryPace is the pause after transient failures in a row.
var retryPace = pace.Backoff{Min: 100 * time.Millisecond, Max: 2 * time.Second}

// passing reports whether a failure may pass by itself. What was asked for must be safe to repeat.
func passing(err error) bool {
	if _, local := errors.AsType[*spool.Error](err); local {
		return false
	}
	return errors.Is(err, statelatch.ErrBroken) || errors.Is(err, statelatch.ErrThrottled) ||
		errors.Is(err, statelatch.ErrConflict) || errors.Is(err, statelatch.ErrAmbiguous) || statelatch.Expired(err)
}

// retry repeats do while it fails in passing, at most readTries times.
func retry(ctx context.Context, do func() error) error {
	for failures := 0; ; failures++ {
		err := do()
		if !passing(err) || failures == readTries-1 || ctx.Err() != nil || pace.Sleep(ctx, retryPace.Pause(failures)) != nil {
			return err
		}
	}
}
