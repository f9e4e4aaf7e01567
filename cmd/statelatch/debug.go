package main

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/urfave/cli/v3"
)

const envDebug = "STATELATCH_DEBUG"

// sayAgain is how long nothing more is said of a host that cannot be reached.
const sayAgain = 30 * time.Second

// requestLog tells about requests: with -debug each of them, else that a host cannot be reached, since trying again
// takes its time.
type requestLog struct {
	term  terminal
	debug bool // set before the first request

	mu     sync.Mutex
	silent map[string]time.Time // until when nothing is said, by host
}

func newRequestLog(term terminal) *requestLog {
	debug, err := strconv.ParseBool(term.Getenv(envDebug))
	return &requestLog{term: term, debug: debug && err == nil, silent: map[string]time.Time{}}
}

// watched is ctx with the log in it.
func (l *requestLog) watched(ctx context.Context) context.Context {
	ctx = context.WithValue(ctx, requestLogKey{}, l)
	return s3bucket.WithTrace(ctx, func(a s3bucket.Attempt) { l.tell(ctx, a) })
}

type requestLogKey struct{}

func (l *requestLog) tell(ctx context.Context, a s3bucket.Attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.debug {
		l.term.Say("%s %s\n", time.Now().Format("15:04:05.000"), statelatch.Printable(a.String()))
		return
	}
	now := time.Now()
	why := a.Unreachable()
	if ctx.Err() != nil || why == "" || now.Before(l.silent[a.Host]) {
		return
	}
	l.silent[a.Host] = now.Add(sayAgain)
	l.term.Wipe()
	l.term.Say("Cannot connect to %s: %s; trying again for some seconds.\n", statelatch.Printable(a.Host),
		statelatch.Printable(why))
	if host, _, _ := strings.Cut(a.Host, ":"); strings.HasSuffix(host, ".amazonaws.com") &&
		l.term.Getenv("AWS_ENDPOINT_URL_S3") == "" {
		l.term.Say("That is AWS itself. Where the bucket is elsewhere: -endpoint URL, or AWS_ENDPOINT_URL_S3.\n")
	}
}

// debugged gives every command that connects somewhere the flag that shows its requests.
func debugged(root *cli.Command) {
	cliargs.Each(root, func(c *cli.Command, _ string) {
		if cliargs.FindFlag(c, "expected-bucket-owner") == nil || len(c.Commands) > 0 {
			return
		}
		c.Flags = append(c.Flags, &cli.BoolFlag{
			Name:  "debug",
			Usage: "show each request on stderr: where to, the answer, how long it took; no header, no body",
		})
		cliargs.Around(c, func(ctx context.Context, c *cli.Command, act cli.ActionFunc) error {
			if l, ok := ctx.Value(requestLogKey{}).(*requestLog); ok && c.Bool("debug") {
				l.debug = true
			}
			return act(ctx, c)
		})
	})
}
