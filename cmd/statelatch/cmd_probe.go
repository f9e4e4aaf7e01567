package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/internal/term"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/probe"
	"github.com/statelatch/statelatch/probe/verdict"
	"github.com/urfave/cli/v3"
)

type probeOptions struct {
	targetOptions
	endpoints       []string
	clients, rounds int
}

func probeCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "probe",
		Usage:     "find out whether a store can lock",
		UsageText: "statelatch probe [flags] [s3://BUCKET]",
		Description: "Tries what locking rests on: creates, swaps and deletes with conditions, one after the other and by many clients\n" +
			"at once, and says how far the store can be trusted: tier full, cas (locks exclude each other, but a release\n" +
			"is weak) or none (nothing is locked here). Takes some seconds and some thousand requests, all below\n" +
			statelatch.ProbePrefix + " at the top of the bucket, and removes what it wrote but for the verdict, which other\n" +
			"machines read. A PREFIX after the bucket makes no difference. The verdict counts for a day (none: until the next\n" +
			"probe by hand), for every command that locks; on a store that is not AWS's own the first of them makes a short probe by itself (STATELATCH_PROBE=off: none\n" +
			"does). What a killed probe left there is removed by one a day later.\n\n" +
			"Examples:\n" +
			"  statelatch probe s3://acme-state\n" +
			"  statelatch probe -endpoint http://node1:9000 -endpoint http://node2:9000 s3://acme-state\n" +
			"  statelatch probe -json -chdir infra/prod",
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "endpoint", Usage: "`URL` the store's address, mixed with the configured one if " +
				"there is " +
				"one; repeatable", HideDefault: true},
			&cli.IntFlag{
				Name: "clients", Value: probe.DefaultClients,
				Usage: fmt.Sprintf("that race for one object (default %d)", probe.DefaultClients),
			},
			&cli.IntFlag{
				Name: "rounds", Value: probe.DefaultRounds,
				Usage: fmt.Sprintf("of each race, fewer on a slow store (default %d)", probe.DefaultRounds),
			},
		}, without(targetFlags(), "endpoint")...),
		Action: act(term, func(c *cli.Command) (probeOptions, error) {
			at, err := targetAt(c, "s3://BUCKET[/PREFIX]")
			o := probeOptions{
				targetOptions: at, endpoints: c.StringSlice("endpoint"), clients: c.Int("clients"), rounds: c.Int("rounds"),
			}
			switch {
			case err != nil:
			case o.clients < 2:
				err = usageError{fmt.Errorf("-clients %d: a race needs at least 2", o.clients)}
			case o.rounds < 1:
				err = usageError{fmt.Errorf("-rounds %d: it must be positive", o.rounds)}
			}
			return o, err
		}, runProbe),
	}
}

func runProbe(ctx context.Context, o probeOptions, term terminal) error {
	doors, err := o.openDoors(ctx, term)
	if err != nil {
		return err
	}
	line := term.LiveLine()
	v, err := keeper(term).Probe(ctx, doors,
		probe.Options{Clients: o.clients, Rounds: o.rounds, OnProgress: tellProbe(line)})
	line.Clear()
	if err != nil {
		return err
	}
	if o.json {
		err = term.PrintJSON(v)
	} else {
		printVerdict(term, v)
	}
	if unsafe := v.Err(); err == nil && unsafe != nil {
		return reportedError{unsafe}
	}
	return err
}

// openDoors connects to the bucket through the configured endpoint and those of -endpoint. AWS's own is left out where
// others are named.
func (o probeOptions) openDoors(ctx context.Context, term terminal) ([]*s3bucket.Bucket, error) {
	scope, backend, err := o.trustedScope(ctx, term)
	if err != nil {
		return nil, err
	}
	if slices.Contains(o.endpoints, "") {
		return nil, usageError{errors.New("-endpoint: it is empty")}
	}
	doors, err := verdict.Doors(ctx, scope.Bucket, backend.S3, o.endpoints)
	if err != nil {
		return nil, err
	}
	if o.clients < 2*len(doors) {
		return nil, usageError{fmt.Errorf("-clients %d: %d endpoints need at least %d", o.clients, len(doors), 2*len(doors))}
	}
	return doors, nil
}

// tellProbe shows how far a probe is.
func tellProbe(line *term.LiveLine) func(probe.Progress) {
	return func(now probe.Progress) {
		switch {
		case now.Check == "":
			line.Show("Cleaning up")
		case now.Round > 0:
			line.Show("Check %d of %d: %s, round %d of %d", now.Number, now.Of, now.Check, now.Round, now.Rounds)
		default:
			line.Show("Check %d of %d: %s", now.Number, now.Of, now.Check)
		}
	}
}

// tierMeans says what a tier is, in one sentence.
var tierMeans = map[lock.Tier]string{
	lock.TierFull: "locks safely: tier full.",
	lock.TierCAS: "locks, but releases are weak: tier cas. Locks exclude each other; giving one back cannot be " +
		"made conditional.",
	lock.TierNone: "cannot lock safely: tier none. Statelatch takes no locks there.",
}

// printVerdict shows a verdict to people.
func printVerdict(term terminal, v verdict.Verdict) {
	where := "s3://" + v.Store.Bucket
	if v.Store.Endpoint != "" {
		where += " at " + strings.Join(append([]string{v.Store.Endpoint}, v.Store.MoreEndpoints...), " and ")
	}
	means := tierMeans[v.Tier]
	if v.EnginesFail() != "" {
		means = "locks for Statelatch alone: tier " + v.Tier.String() +
			". The engines themselves cannot write there as they are configured, see below."
	}
	term.Print("%s %s\n\n", where, means)
	t := table{Columns: []column{{}, {}, {Least: 20}}}
	var advice []string
	for _, c := range v.Checks {
		result := map[probe.Outcome]string{probe.Passed: "ok", probe.Failed: "FAILED", probe.Undecided: "-"}[c.Outcome]
		t.Rows = append(t.Rows, []string{c.Name, result, statelatch.Printable(c.Evidence)})
		if c.Advice != "" && !slices.Contains(advice, c.Advice) {
			advice = append(advice, c.Advice)
		}
	}
	term.PrintTable(t)
	if len(advice) > 0 {
		term.Print("\nWhat follows, and what to do:\n")
	}
	for _, a := range advice {
		term.PrintProse("- %s\n", a)
	}
	versions := "keeps no versions"
	if v.Store.Versioned {
		versions = "keeps versions"
	}
	if v.Store.Server != "" {
		versions += ", server " + v.Store.Server
	}
	term.Print("\nThe bucket %s. %s in %.1f s.\n", versions, count(v.Requests, "request"), v.Seconds)
}
