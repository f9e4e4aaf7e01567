package main

import (
	"context"
	"strconv"

	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/statelatch/statelatch/internal/requestlog"
	"github.com/urfave/cli/v3"
)

const envDebug = "STATELATCH_DEBUG"

func newRequestLog(term terminal) *requestlog.Log {
	debug, err := strconv.ParseBool(term.Getenv(envDebug))
	l := &requestlog.Log{All: debug && err == nil, Say: term.Say, Wipe: term.Wipe}
	if term.Getenv("AWS_ENDPOINT_URL_S3") == "" {
		l.AWS = "That is AWS itself. Where the bucket is elsewhere: -endpoint URL, or AWS_ENDPOINT_URL_S3.\n"
	}
	return l
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
			if l := requestlog.Of(ctx); l != nil && c.Bool("debug") {
				l.All = true
			}
			return act(ctx, c)
		})
	})
}
