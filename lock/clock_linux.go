package lock

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime is the time since the machine was started, its sleep included: Go's monotonic clock stands still
// while a machine sleeps (golang/go#24595), and a holder that slept past its lease must know.
func bootTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return fallbackBootTime()
	}
	return time.Duration(ts.Nano())
}
