//go:build unix

package runner

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func findEndSignals() []os.Signal {
	signals := []os.Signal{unix.SIGTERM}
	if !signal.Ignored(unix.SIGHUP) {
		signals = append(signals, unix.SIGHUP)
	}
	if signal.Ignored(unix.SIGINT) {
		// Go keeps only SIGHUP and SIGINT as they were. A shell that ignores SIGINT for a job ignores SIGQUIT, too.
		signal.Ignore(unix.SIGQUIT)
	} else {
		signals = append(signals, unix.SIGINT, unix.SIGQUIT)
	}
	return signals
}
