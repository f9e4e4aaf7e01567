package pace

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := Sleep(t.Context(), time.Hour); err != nil || time.Since(began) != time.Hour {
			t.Errorf("got %v after %v, want an hour", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began = time.Now()
		if err := Sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("got %v after %v, want the context's end after a minute", err, time.Since(began))
		}
	})
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := Backoff{Min: 100 * time.Millisecond, Max: 2 * time.Second}
		seen := make(map[time.Duration]bool)
		for failures := range 100 {
			full := b.Max
			if failures < 5 {
				full = min(b.Min<<failures, b.Max)
			}
			got := b.Pause(failures)
			if got < full/2 || got > full {
				t.Errorf("after %d failures: got %v, want from %v to %v", failures, got, full/2, full)
			}
			if again := b.Pause(failures); again != got {
				t.Errorf("after %d failures: got %v and %v in the same instant, want a run that repeats", failures, got, again)
			}
			seen[got] = true
			time.Sleep(time.Millisecond)
		}
		if len(seen) < 50 {
			t.Errorf("got %d different pauses of 100, want them spread", len(seen))
		}
	})
}

func TestNonce(t *testing.T) {
	t.Parallel()
	if a, b := HexNonce(), HexNonce(); a == b || len(a) != 32 {
		t.Errorf("got %q and %q, want two of 32 hex digits", a, b)
	}
}
