// Command stores measures every S3 store that can be started on this machine with "statelatch probe" and writes
// docs/STORES.md from what it found.
//
//	go run ./internal/stores                     measure what is installed, then write the page
//	go run ./internal/stores embedded versitygw  measure only these
//	go run ./internal/stores -render             write the page from the recorded data alone
//	go run ./internal/stores -check              say whether the page is what the recorded data gives
//
// The data is in docs/stores: measured.json, which this command writes, and priors.json, which people write: what
// others say about stores that nobody can start here. A store that is not installed keeps its last record with its
// date. It is no part of the product.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/statelatch/statelatch/probe"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "stores:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, log io.Writer) error {
	flags := flag.NewFlagSet("stores", flag.ContinueOnError)
	flags.SetOutput(log)
	docs := flags.String("docs", "docs", "directory of STORES.md and stores/")
	check := flags.Bool("check", false, "only compare the page with the recorded data")
	render := flags.Bool("render", false, "only write the page from the recorded data")
	flags.Usage = func() {
		fmt.Fprintf(log, "usage: go run ./internal/stores [flags] [STORE...]\nstores: %s\n", strings.Join(knownNames(), ", "))
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	data, err := load(*docs)
	if err != nil {
		return err
	}
	var failed error
	if !*check && !*render {
		chosen, err := choose(flags.Args())
		if err != nil {
			return err
		}
		failed = measureAll(ctx, chosen, &data, log)
		if err := data.save(*docs); err != nil {
			return errors.Join(failed, err)
		}
	}
	page, err := renderPage(data)
	if err != nil {
		return err
	}
	file := filepath.Join(*docs, "STORES.md")
	if *check {
		if there, err := os.ReadFile(file); err != nil || !bytes.Equal(there, page) {
			return errors.Join(err, fmt.Errorf("%s is not what docs/stores gives: run go run ./internal/stores -render", file))
		}
		return nil
	}
	return errors.Join(failed, os.WriteFile(file, page, 0o644)) //nolint:gosec // a page of documentation
}

func knownNames() []string {
	var names []string
	for _, s := range known {
		names = append(names, s.name)
	}
	return names
}

// choose finds the stores of these names; without names, all.
func choose(names []string) ([]store, error) {
	for _, name := range names {
		if !slices.Contains(knownNames(), name) {
			return nil, fmt.Errorf("STORE %q is not known: want one of %s", name, strings.Join(knownNames(), ", "))
		}
	}
	if len(names) == 0 {
		return known, nil
	}
	return slices.DeleteFunc(slices.Clone(known), func(s store) bool { return !slices.Contains(names, s.name) }), nil
}

// measureAll records what it measures in data. The error names the stores that are installed and gave no result;
// those keep what was recorded before.
func measureAll(ctx context.Context, chosen []store, data *pageData, log io.Writer) (failed error) {
	dir, err := os.MkdirTemp("", "stores-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	statelatch, err := buildStatelatch(ctx, dir)
	if err != nil {
		return err
	}
	for _, s := range chosen {
		if missing := s.missing(); missing != "" {
			fmt.Fprintf(log, "%-14s %s is not installed (%s)\n", s.name, missing, s.install)
			continue
		}
		began := time.Now()
		m, err := measure(ctx, s, statelatch, probe.DefaultRounds)
		if err != nil {
			err = fmt.Errorf("%s: %w", s.name, err)
			fmt.Fprintln(log, err)
			failed = errors.Join(failed, err)
			continue
		}
		fmt.Fprintf(log, "%-14s %s, unversioned %s, versioned %s (%.0fs)\n",
			s.name, m.Version, m.Unversioned.Tier, m.versionedTier(), time.Since(began).Seconds())
		data.record(m)
	}
	return failed
}
