package lock

import (
	"sync"
	"time"

	"github.com/statelatch/statelatch/internal/pace"
)

// retryPace is the pause after transient failures in a row.
var retryPace = pace.Backoff{Min: 100 * time.Millisecond, Max: 2 * time.Second}

// stepping is a clock made of two that fail in different ways: the monotonic one stands still while
// the machine sleeps, the wall clock may be set. Each reading adds the larger step of the two, so that time may
// seem to pass too fast, never too slowly: a lease may be given up early, never be kept too long.
type stepping struct {
	mu   sync.Mutex
	last time.Time // with both readings
	sum  time.Duration
}

func (c *stepping) read(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.last.IsZero() {
		c.sum += max(now.Sub(c.last), now.Round(0).Sub(c.last.Round(0)), 0)
	}
	c.last = now
	return c.sum
}

// elapsed is a clock that starts at its first reading, made of the system's and Go's monotonic one, as [stepping] is.
// The latter alone counts under testing/synctest, where the system's stands still while hours pass.
type elapsed struct {
	mu       sync.Mutex
	last     time.Time
	lastBoot time.Duration
	sum      time.Duration
}

func (c *elapsed) read() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, boot := time.Now(), bootTime()
	if !c.last.IsZero() {
		c.sum += max(now.Sub(c.last), boot-c.lastBoot, 0)
	}
	c.last, c.lastBoot = now, boot
	return c.sum
}

var processClock stepping

// fallbackBootTime counts from its first call.
func fallbackBootTime() time.Duration { return processClock.read(time.Now()) }
