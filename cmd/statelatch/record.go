package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/statelatch/statelatch/wrap"
	"github.com/urfave/cli/v3"
)

// The variables that do what -audit and -audit-required do, and the key that webhooks are signed with.
const (
	envAudit         = "STATELATCH_AUDIT"
	envAuditRequired = "STATELATCH_AUDIT_REQUIRED"
	envAuditKey      = "STATELATCH_AUDIT_KEY"
)

// recordedCommands are the commands that change something, with the act that they stand for.
var recordedCommands = map[string]audit.Action{
	"lock": audit.Lock, "unlock": audit.Unlock, "force-unlock": audit.ForceUnlock, "run": audit.Run,
	"push": audit.Push, "rollback": audit.Rollback, "workspace new": audit.WorkspaceNew,
	"workspace delete": audit.WorkspaceDelete,
	"serve":            audit.Push, // for those behind a gateway
	"bucket init":      audit.BucketInit, "gc": audit.GC, "digest fix": audit.DigestFix,
	"migrate clean": audit.MigrateClean,
}

// recorded lets every command below root that changes something record what it did, where -audit asks for it.
func recorded(term terminal, root *cli.Command) {
	cliargs.Each(root, func(c *cli.Command, name string) {
		action, ok := recordedCommands[name]
		if !ok {
			return
		}
		c.Flags = append(c.Flags,
			&cli.StringFlag{Name: "audit", Usage: "`LOCATION,...` record what is done: s3://BUCKET/PREFIX, file:PATH, " +
				"syslog:, https://...; " +
				"commas between several"},
			&cli.BoolFlag{Name: "audit-required", Usage: "change nothing unless that it is about to be done was " +
				"recorded before"})
		cliargs.Around(c, func(ctx context.Context, c *cli.Command, act cli.ActionFunc) error {
			r, err := openRecorder(ctx, c, term, action)
			if err != nil {
				return err
			}
			if r == nil {
				return act(ctx, c)
			}
			err = act(audit.With(ctx, r), c)
			for _, m := range r.Close(err) {
				term.Say("Warning: %s may be missing from the audit log %s: %s\n", count(m.Count, "event"),
					statelatch.Printable(m.Location), oneLine(m.First))
			}
			return err
		})
	})
}

// openRecorder makes the recorder that the flags and the environment ask for; nil if they ask for none.
func openRecorder(ctx context.Context, c *cli.Command, term terminal, action audit.Action) (*audit.Recorder, error) {
	locations := auditLocations(c.String("audit"), term)
	required := c.Bool("audit-required")
	if s := term.Getenv(envAuditRequired); s != "" && !required {
		var err error
		if required, err = strconv.ParseBool(s); err != nil {
			return nil, usageError{fmt.Errorf("%s=%q: want true or false", envAuditRequired, s)}
		}
	}
	switch {
	case len(locations) == 0 && required:
		return nil, usageError{fmt.Errorf("-audit-required, but there is no location to record to: set -audit or %s",
			envAudit)}
	case len(locations) == 0:
		return nil, nil
	}
	key := []byte(term.Getenv(envAuditKey))
	if _, err := audit.ParseKeys(key); err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", envAuditKey, err)}
	}
	var sinks []audit.Sink
	unopened := map[string]error{}
	for _, location := range locations {
		sink, err := audit.Open(location, key, func(name string) (bucket.Bucket, error) {
			return openAuditBucket(ctx, recordingTarget(c, term, name), term, name)
		})
		switch {
		case err == nil:
			sinks = append(sinks, sink)
		case errors.Is(err, statelatch.ErrInvalid), errors.Is(err, statelatch.ErrUnsupported):
			return nil, usageError{fmt.Errorf("-audit: %w", err)}
		case required:
			return nil, refusedByAudit(err)
		default:
			unopened[location] = err // an s3:// one: the others open without a connection
		}
	}
	req := requestOptions{who: c.String("who"), reason: c.String("reason")}.request(term, "")
	r := audit.NewRecorder(ctx, audit.RecorderOptions{
		Sinks: sinks, Required: required, Refused: refusedByAudit, Action: action,
		Base: audit.Event{Who: req.Who, Reason: req.Reason, Client: req.Client, Run: req.Run, Tool: req.Version},
	})
	for location, err := range unopened {
		r.Miss(location, err)
	}
	return r, nil
}

// auditLocations are those that the flag names, else the environment.
func auditLocations(flag string, term terminal) []string {
	return audit.Locations(cmp.Or(flag, term.Getenv(envAudit)))
}

// recordingTarget says how a command reaches its bucket, and so the log's: a log in a bucket is at the same store.
func recordingTarget(c *cli.Command, term terminal, name string) targetOptions {
	o, args := targetOf(c, ""), c.Args().Slice()
	o.owner = "" // of the states; a log belongs to another account where it is kept from those who write them
	isRef := func(arg string) bool { return strings.HasPrefix(arg, "s3://") }
	if c.Name != "run" {
		if slices.ContainsFunc(args, isRef) {
			o.ref = "s3://" + name
		}
		return o
	}
	if len(args) > 0 && isRef(args[0]) {
		o.ref = "s3://" + name
	} else if len(args) > 0 {
		if call, ok := wrap.EngineCall(args, term.Getenv); ok {
			o.chdir = call.Dir(o.chdir)
		}
	}
	return o
}

// openAuditBucket connects to the bucket of a log.
func openAuditBucket(ctx context.Context, o targetOptions, term terminal, name string) (bucket.Bucket, error) {
	_, backend, err := o.trustedScope(ctx, term)
	if err != nil {
		return nil, err
	}
	b, err := s3bucket.Open(ctx, name, backend.S3)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// refusedByAudit is why nothing is done. Its exit code says nothing of locks, whatever the location said.
func refusedByAudit(err error) error {
	const text = "it could not be recorded, and -audit-required is set, so nothing was done"
	if errors.Is(err, statelatch.ErrDenied) {
		return fmt.Errorf("%s: %w", text, err)
	}
	return fmt.Errorf("%s: %v", text, err) //nolint:errorlint // see above
}
