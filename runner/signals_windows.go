package runner

import (
	"os"
	"syscall"
)

func findEndSignals() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }
