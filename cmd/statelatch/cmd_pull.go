package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/history"
	"github.com/statelatch/statelatch/state"
	"github.com/urfave/cli/v3"
)

type pullOptions struct {
	targetOptions
	version string
	out     string
}

func pullCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "pull",
		Usage:     "print a state",
		UsageText: "statelatch pull [flags] [REF]",
		Description: "Reads the state in one request and writes its bytes as they are to stdout or a file. Takes no lock. Where a\n" +
			"DynamoDB table is configured the state is compared with its digest first. A state that does not exist yet,\n" +
			"or has no bytes, is an error (exit code 10).\n\n" +
			"Examples:\n" +
			"  statelatch pull > backup.tfstate\n" +
			"  statelatch pull -version previous > before.tfstate\n" +
			"  statelatch pull -version 3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY -out old.tfstate " +
			"s3://acme-state/prod/terraform.tfstate",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "version", Usage: "`VERSION` an older version: its ID, its serial, or 'previous' (see " +
				"history)"},
			&cli.StringFlag{Name: "out", Usage: "`FILE` write there instead of stdout, readable by you alone; must not exist"},
		}, directoryFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			ref, err := atMostOne(c, "REF")
			if err != nil {
				return err
			}
			o := pullOptions{targetOptions: targetOf(c, ref), version: c.String("version"), out: c.String("out")}
			return o.finish(ctx, term, runPull(ctx, o, term))
		},
	}
}

func runPull(ctx context.Context, o pullOptions, term terminal) (err error) {
	if o.out != "" {
		if _, err := os.Lstat(o.out); err == nil { // before a state is read that may be large
			return fmt.Errorf("-out: %w", &fs.PathError{Op: "open", Path: o.out, Err: fs.ErrExist})
		}
	}
	t, err := o.open(ctx, term)
	if err != nil {
		return err
	}
	var v state.Version
	var body io.ReadCloser
	if o.version != "" {
		var entry history.Entry
		if entry, err = history.Resolve(ctx, t.Store, t.ref, o.version); err == nil {
			v, body, err = history.Open(ctx, t.Store, entry)
		}
	} else {
		v, body, err = t.Store.Open(ctx, t.ref)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	if !v.Exists || v.Header.Empty {
		return fmt.Errorf("%w: %s has no state yet", statelatch.ErrNotFound, t.ref)
	}
	if v.Err != nil {
		term.Say("Warning: this is not a readable state: %v\n", v.Err)
	}
	if o.out == "" {
		_, err = io.Copy(term.Out, body)
		return err
	}
	return writeNewFile(o.out, body)
}

// writeNewFile stores secrets in a file that did not exist, whole or not at all.
func writeNewFile(path string, body io.Reader) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(filepath.Clean(path))
		}
	}()
	_, err = io.Copy(f, body)
	return errors.Join(err, f.Sync(), f.Close())
}
