package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/statelatch/statelatch/internal/unsaved"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/state"
	"github.com/statelatch/statelatch/wrap"
	"github.com/urfave/cli/v3"
)

type pushOptions struct {
	targetOptions
	requestOptions
	file  string
	force bool
}

func pushCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "push",
		Usage:     "replace a state, under its lock",
		UsageText: "statelatch push [flags] FILE [REF]",
		Description: "Takes the lock, compares FILE with the state that is there, writes it on the condition that nobody wrote in\n" +
			"between, and releases the lock. FILE '-' is stdin. Refused unless -force: another lineage, a serial that is\n" +
			"not higher, another format, no resources where there were some. With -force the serial is raised above the one that\n" +
			"is there. What is no state that an engine could read is always refused; a format that none has yet needs -force. The bytes are stored as they are otherwise; encrypted states are never edited. If the outcome stays\n" +
			"unknown, the lock is kept and the state is kept in a file.\n\n" +
			"Examples:\n" +
			"  statelatch push errored.tfstate\n" +
			"  statelatch push -lock-timeout 5m -force old.tfstate s3://acme-state/prod/terraform.tfstate",
		Flags: append(append([]cli.Flag{
			&cli.BoolFlag{Name: "force", Usage: "write although lineage, serial or content speak against it"},
		}, requestFlags()...), targetFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			args := c.Args().Slice()
			if len(args) < 1 || len(args) > 2 || strings.HasPrefix(args[0], "s3://") {
				return usageError{fmt.Errorf("want FILE [REF], %s", cliargs.Got(args))}
			}
			o := pushOptions{targetOptions: targetOf(c, strings.Join(args[1:], "")), file: args[0], force: c.Bool("force")}
			var err error
			if o.requestOptions, err = requestOf(c); err != nil {
				return err
			}
			return o.finish(ctx, term, runPush(ctx, o, term))
		},
	}
}

func runPush(ctx context.Context, o pushOptions, term terminal) (err error) {
	var body io.ReadSeekCloser
	var kept unsaved.File
	if o.file != "-" {
		if body, kept, err = openInput(o.file); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, body.Close()) }()
	}
	t, err := o.open(ctx, term)
	if err != nil {
		return err
	}
	copies := unsaved.Of(t.ref, term.Getenv)
	tellUnsaved(term, copies, o.again(term), kept.Path)
	if o.file == "-" {
		if body, kept, err = copies.Keep(term.Typed(ctx)); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, body.Close()) }()
	}
	req := o.request(term, "push")
	req.TTL = defaultLease
	tenure, err := t.acquire(ctx, term, req)
	if err != nil {
		return errors.Join(err, kept.Drop())
	}
	written, err := t.write(ctx, tenure, body, state.WriteOptions{Force: o.force})
	_, releaseErr := tenure.Release(ctx)
	if writeUnknown(err) || errors.Is(err, statelatch.ErrLockLost) {
		return fmt.Errorf("%w. The state that you gave is in %s. Once it is clear who wrote last: %s",
			err, kept.Path, o.again(term).command(wrap.PushAgain(kept.Path, o.force, err)))
	}
	if err == nil && releaseErr != nil {
		releaseErr = fmt.Errorf("%s is written, serial %d, but: %w", t.ref, written.Header.Serial, releaseErr)
	}
	if err = errors.Join(err, releaseErr, kept.Drop()); err != nil {
		return err
	}
	for _, l := range copies.Settle(written.Header) {
		term.Say("Removed %s, which an earlier push had kept: serial %d is stored.\n", l.Path, written.Header.Serial)
	}
	if o.json {
		return term.PrintJSON(versionOf(written))
	}
	term.Say("Wrote %s, serial %d.\n", t.ref, written.Header.Serial)
	return nil
}

// writeUnknown reports whether a write of the state has an unknown outcome. That its lock is kept then was said, too.
// The DynamoDB digest is no part of it.
func writeUnknown(err error) bool {
	return errors.Is(err, statelatch.ErrAmbiguous) && !errors.Is(err, state.ErrDigestStale)
}

// write replaces the state under tenure.
func (t target) write(
	ctx context.Context, tenure *lock.Tenure, body io.ReadSeeker, opts state.WriteOptions,
) (state.Version, error) {
	session, err := t.Store.Begin(ctx, tenure)
	if err != nil {
		return state.Version{}, err
	}
	written, err := audit.Write(ctx, tenure, session, body, opts)
	if closed := session.Close(); closed != nil {
		err = errors.Join(err, closed)
	}
	return written, err
}
