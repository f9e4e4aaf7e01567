package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/claims"
	"github.com/statelatch/statelatch/internal/locktalk"
	"github.com/statelatch/statelatch/internal/plural"
	"github.com/urfave/cli/v3"
)

// maxAdvised is how many commands are named below a table.
const maxAdvised = 10

type locksOptions struct {
	targetOptions
	scopes    []string
	stale     bool
	mine      bool
	olderThan time.Duration
	askCI     bool
	watch     bool
	interval  time.Duration
}

func locksCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "locks",
		Usage:     "list every lock of a bucket, and judge which are stale",
		UsageText: "statelatch locks [flags] [s3://BUCKET[/PREFIX]]...",
		Description: "Lists the lock objects below the prefix and, where the backend has a dynamodb_table, the lock items in it, each\n" +
			"with its age by the store's clock, its holder, and a verdict:\n" +
			"  live     its lease is kept, its process on this machine runs, or its CI run goes on\n" +
			"  stale    its lease ran out, its -expires has passed, its process on this machine is gone, or its CI run has ended and\n" +
			"           no lease is kept\n" +
			"  unknown  nothing is proven: an engine's lock promises nothing\n" +
			"Exits with 0 whether or not there are locks. With -watch it goes on until Ctrl-C: on a terminal the table is kept up to\n" +
			"date, else every change is a line (with -json a JSON object a line). Every look lists the whole prefix, a request for\n" +
			"1,000 objects, and scans the table: choose a longer -interval for a large one.\n\n" +
			"-ask-ci asks GitHub (GITHUB_API_URL, GITHUB_TOKEN or GH_TOKEN) and GitLab (CI_API_V4_URL or GITLAB_HOST, GITLAB_TOKEN)\n" +
			"whether the runs that hold locks have ended. No address in a lock is ever opened.\n\n" +
			"Examples:\n" +
			"  statelatch locks s3://acme-state\n" +
			"  statelatch locks -stale -ask-ci s3://acme-state/prod\n" +
			"  statelatch locks -watch -chdir infra/prod",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "stale", Usage: "only locks that are provably stale"},
			&cli.BoolFlag{Name: "mine", Usage: "only locks that this user on this machine, or this CI run, took"},
			&durationFlag{Name: "older-than", Usage: "only locks of at least that age by the store's clock, such as 2h"},
			askCIFlag(),
			&cli.BoolFlag{Name: "watch", Usage: "go on, and show what changes"},
			&durationFlag{
				Name: "interval", Value: 5 * time.Second, Usage: "how often -watch looks (default 5s)",
				HideDefault: true,
			},
		}, targetFlags()...),
		Action: act(term, func(c *cli.Command) (locksOptions, error) {
			o := locksOptions{
				targetOptions: targetOf(c, c.Args().First()), scopes: wholeRefs(c), stale: c.Bool("stale"), mine: c.Bool("mine"),
				olderThan: c.Duration("older-than"),
				askCI:     c.Bool("ask-ci"), watch: c.Bool("watch"), interval: c.Duration("interval"),
			}
			err := notTwice(o.scopes)
			switch {
			case err != nil:
			case o.olderThan < 0:
				err = usageError{fmt.Errorf("-older-than %v: it must not be negative", o.olderThan)}
			case o.interval < time.Second:
				err = usageError{fmt.Errorf("-interval %v: at least 1s", o.interval)}
			}
			return o, err
		}, runLocks),
	}
}

func askCIFlag() cli.Flag {
	return &cli.BoolFlag{Name: "ask-ci", Usage: "ask GitHub and GitLab whether the runs that hold locks have ended"}
}

// evidenceOf is what verdicts are based on.
func evidenceOf(term terminal, askCI bool) evidence.Sources {
	if !askCI {
		return evidence.Sources{}
	}
	return evidence.Sources{CI: evidence.NewCI(term.Getenv)}
}

func runLocks(ctx context.Context, o locksOptions, term terminal) error {
	places, err := o.openScopes(ctx, term, o.scopes)
	if err != nil {
		return err
	}
	v := &lockView{
		locksOptions: o, term: term, places: places, owner: claims.OwnerOf(term.Getenv), sources: evidenceOf(term, o.askCI),
	}
	if o.watch {
		return v.follow(ctx)
	}
	list, err := v.list(ctx)
	if err != nil {
		return err
	}
	if o.json {
		return term.PrintJSON(v.listJSON(list))
	}
	v.print(list)
	if advice := v.advice(list); advice != "" {
		term.Say("\n%s", advice)
	}
	return nil
}

// lockView shows the locks of some scopes together.
type lockView struct {
	locksOptions
	term   terminal
	places []place
	owner  claims.Owner
	// sources are what verdicts rest on.
	sources evidence.Sources
	// incomplete is why locks that are only in a DynamoDB table may be missing from the last list.
	incomplete error
}

// where words where the locks are.
func (v *lockView) where() string {
	scopes := make([]string, len(v.places))
	for i, p := range v.places {
		scopes[i] = p.scope.String()
	}
	return strings.Join(scopes, " ")
}

// list reads all locks of the scopes.
func (v *lockView) list(ctx context.Context) (locks []fleet.Lock, err error) {
	shown := v.term
	shown.Live = v.term.Live && !v.watch // which redraws the whole terminal
	told := v.incomplete != nil
	v.incomplete = nil
	for _, p := range v.places {
		line := shown.LiveLine()
		list, err := fleet.Locks(ctx, p.locks(), p.scope, fleet.LockOptions{
			WorkspacePrefix: p.Backend.WorkspaceKeyPrefix, Evidence: v.sources, OnProgress: walked(line),
		})
		line.Clear()
		if list.Unlisted != nil && !told && !v.json {
			v.term.Say("Warning: locks that are only in the DynamoDB table are not listed: %s\n", oneLine(list.Unlisted))
		}
		v.incomplete = errors.Join(v.incomplete, list.Unlisted)
		if err != nil {
			return nil, err
		}
		locks = append(locks, list.Locks...)
	}
	return locks, nil
}

// backendOf is the way to the lock's bucket.
func (v *lockView) backendOf(l fleet.Lock) backendconf.Backend {
	at := slices.IndexFunc(v.places, func(p place) bool { return p.scope.Bucket == l.Ref.Bucket })
	return v.places[at].Backend
}

// selection is what the flags mean.
func (v *lockView) selection() fleet.Selection {
	only := fleet.Selection{Stale: v.stale, OlderThan: v.olderThan}
	if v.mine {
		only.Mine = v.owner.Owns
	}
	return only
}

func (v *lockView) selected(locks []fleet.Lock) []fleet.Lock {
	only := v.selection()
	return slices.DeleteFunc(slices.Clone(locks), func(l fleet.Lock) bool { return !only.Has(l) })
}

// shown is how they are shown.
func (v *lockView) shown() locktalk.List {
	return locktalk.List{
		WorkspacePrefix: v.places[0].Backend.WorkspaceKeyPrefix, Several: len(v.places) > 1, Paint: v.term.Paint,
	}
}

// print shows the locks that are selected.
func (v *lockView) print(locks []fleet.Lock) {
	shown := v.selected(locks)
	if len(shown) == 0 {
		v.term.Print("%s", v.none(locks))
		return
	}
	v.term.PrintTable(v.shown().Table(shown))
	v.term.Print("\n%s\n", v.summary(shown))
}

// none says that no lock is selected.
func (v *lockView) none(locks []fleet.Lock) string {
	if len(locks) > 0 {
		return fmt.Sprintf("No such lock in %s; %s.\n", v.where(), count(len(locks), "other"))
	}
	return fmt.Sprintf("No locks in %s.\n", v.where())
}

func (v *lockView) summary(locks []fleet.Lock) string {
	t := fleet.TotalsOf(locks)
	return fmt.Sprintf("%s in %s: %d live, %d stale, %d unknown.", count(t.Locks, "lock"), v.where(), t.Live, t.Stale,
		t.Unknown)
}

func count[N int | int32 | int64](n N, noun string) string { return plural.Of(n, noun) }

// locksJSON is the result of locks.
type locksJSON struct {
	Scope  string   `json:"scope"`
	Scopes []string `json:"scopes,omitempty"` // where there are several
	// Incomplete is why locks that are only in the DynamoDB table may be missing.
	Incomplete string       `json:"incomplete,omitempty"`
	Locks      []fleet.Row  `json:"locks"`
	Totals     fleet.Totals `json:"totals"`
}

func (v *lockView) listJSON(locks []fleet.Lock) locksJSON {
	shown := v.selected(locks)
	result := locksJSON{Scope: v.where(), Locks: []fleet.Row{}, Totals: fleet.TotalsOf(shown)}
	if len(v.places) > 1 {
		result.Scopes = strings.Fields(v.where())
	}
	if v.incomplete != nil {
		result.Incomplete = v.incomplete.Error()
	}
	for _, l := range shown {
		result.Locks = append(result.Locks, l.Row(v.owner.Took(l.Held)))
	}
	return result
}

// advice names the next commands.
func (v *lockView) advice(locks []fleet.Lock) string {
	var stale []fleet.Lock
	for _, l := range v.selected(locks) {
		if l.Verdict.State == evidence.Stale {
			stale = append(stale, l)
		}
	}
	if len(stale) == 0 {
		return ""
	}
	s := "To release what is stale:\n"
	for i, l := range stale {
		if i == maxAdvised {
			s += fmt.Sprintf("  and so on for %d more\n", len(stale)-i)
			break
		}
		s += "  " + v.againFor(v.backendOf(l), l.Ref, v.term).command("unlock") + "\n"
	}
	return s
}
