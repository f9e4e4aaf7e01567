package wrap

import (
	"context"
	"fmt"
	"testing"

	"github.com/statelatch/statelatch"
)

// A store that was silent until the lock was lost is not waited for as long as one that answers.
func TestLookBudget(t *testing.T) {
	t.Parallel()
	for want, errs := range map[string][]error{
		afterBudget.String(): {
			nil, fmt.Errorf("%w: %w", statelatch.ErrLockLost, &statelatch.LockedError{}),
			fmt.Errorf("%w: %w", statelatch.ErrLockLost, &statelatch.StoreError{Kind: statelatch.ErrDenied}),
		},
		silentBudget.String(): {
			fmt.Errorf("%w: %w", statelatch.ErrLockLost, context.DeadlineExceeded),
			fmt.Errorf("%w: %w", statelatch.ErrLockLost, &statelatch.StoreError{Kind: statelatch.ErrBroken}),
		},
	} {
		for _, err := range errs {
			if got := lookBudget(err).String(); got != want {
				t.Errorf("%v: got %s, want %s", err, got, want)
			}
		}
	}
}
