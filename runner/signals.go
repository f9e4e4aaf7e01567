package runner

import (
	"os"
	"sync"
)

// EndSignals are the signals that ask this process to end: to be caught by who has something to give back. Those that
// were ignored when it started, by nohup or because it is a background job of a script, are not among them and stay
// ignored. It must be asked first before anything is caught; later answers are the same.
func EndSignals() []os.Signal { return endSignals() }

var endSignals = sync.OnceValue(findEndSignals)
