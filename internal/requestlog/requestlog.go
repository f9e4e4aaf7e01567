// Package requestlog tells a person about the requests that a command sends: on demand each of them, else that a host
// cannot be reached, since trying again takes its time.
package requestlog

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/s3bucket"
)

// sayAgain is how long nothing more is said of a host that cannot be reached.
const sayAgain = 30 * time.Second

// Log tells about requests.
type Log struct {
	All  bool                             // each of them; to be set before the first
	Say  func(format string, args ...any) // required
	Wipe func()                           // clears what stands on the line; required
	AWS  string                           // what else to say of AWS's own hosts; empty: nothing

	mu     sync.Mutex
	silent map[string]time.Time // until when nothing is said, by host
}

type key struct{}

// Watched is ctx with the log in it.
func (l *Log) Watched(ctx context.Context) context.Context {
	ctx = context.WithValue(ctx, key{}, l)
	return s3bucket.WithTrace(ctx, func(a s3bucket.Attempt) { l.tell(ctx, a) })
}

// Of is the log that ctx has, nil if it has none.
func Of(ctx context.Context) *Log {
	l, _ := ctx.Value(key{}).(*Log)
	return l
}

func (l *Log) tell(ctx context.Context, a s3bucket.Attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.All {
		l.Say("%s %s\n", time.Now().Format("15:04:05.000"), statelatch.Printable(a.String()))
		return
	}
	now := time.Now()
	why := a.Unreachable()
	if ctx.Err() != nil || why == "" || now.Before(l.silent[a.Host]) {
		return
	}
	if l.silent == nil {
		l.silent = map[string]time.Time{}
	}
	l.silent[a.Host] = now.Add(sayAgain)
	l.Wipe()
	l.Say("Cannot connect to %s: %s; trying again for some seconds.\n", statelatch.Printable(a.Host),
		statelatch.Printable(why))
	if host, _, _ := strings.Cut(a.Host, ":"); strings.HasSuffix(host, ".amazonaws.com") && l.AWS != "" {
		l.Say("%s", l.AWS)
	}
}
