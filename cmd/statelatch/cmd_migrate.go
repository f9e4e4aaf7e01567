package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/migrate"
	"github.com/urfave/cli/v3"
)

func migrateCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "migrate",
		Usage:     "move the locks of many configurations off DynamoDB",
		UsageText: "statelatch migrate COMMAND [flags]",
		Commands: []*cli.Command{
			migrateScanCommand(term), migratePlanCommand(term), migrateApplyCommand(term), migrateVerifyCommand(term),
			migrateCleanCommand(term),
		},
	}
}

// treeOptions say which tree of configurations a command is about.
type treeOptions struct {
	dir      string
	vendored bool
	engine   string
	wide     bool
	json     bool
}

func treeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "vendored", Usage: "look into vendor, third_party and the like, too"},
		&cli.BoolFlag{Name: "json", Usage: "print the result as JSON"},
	}
}

// rootFlags are those of commands that say of each root whether it may move.
func rootFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "engine", Usage: "`VERSION` what runs where no version file says it, as `VERSION` " +
			"(1.11.4) or 'tofu " +
			"1.10': counts more than what jobs and images have"},
		&cli.BoolFlag{Name: "wide", Usage: "tell everything of each root, not the first few of a kind"},
	}, treeFlags()...)
}

func treeOf(c *cli.Command) (treeOptions, error) {
	o := treeOptions{
		dir: ".", vendored: c.Bool("vendored"), engine: c.String("engine"), wide: c.Bool("wide"),
		json: c.Bool("json"),
	}
	switch args := c.Args().Slice(); len(args) {
	case 0:
	case 1:
		o.dir = args[0]
	default:
		return o, usageError{fmt.Errorf("one directory at most, got %d: %s", len(args), strings.Join(args, " "))}
	}
	if strings.HasPrefix(o.dir, "s3://") {
		return o, usageError{fmt.Errorf("%s: want a directory of configurations, not a bucket", o.dir)}
	}
	return o, nil
}

func (o treeOptions) scan(ctx context.Context) (*migrate.Tree, error) {
	return migrate.Scan(ctx, o.dir, migrate.Options{Vendored: o.vendored, Engine: o.engine})
}

// shownOf is how many of a kind are named.
const shownOf = 3

// some is the first few names, and how many more there are.
func some(names []string) string {
	if len(names) <= shownOf+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shownOf], ", "), len(names)-shownOf)
}

type migrateScanOptions struct {
	treeOptions
	format string
	failOn migrate.Severity // empty: never
}

func migrateScanCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "scan",
		Usage:     "find every backend \"s3\" of a tree, and where it locks",
		UsageText: "statelatch migrate scan [flags] [DIR]",
		Description: "Reads the files below DIR (the current directory) and changes nothing: backend \"s3\" blocks in .tf, " +
			".tofu and JSON,\n" +
			"override files, files for -backend-config, terragrunt's remote_state and generate. It runs no engine: what is computed\n" +
			"is reported as such and never guessed. Give the whole repository, so that version files and shared files are seen.\n" +
			".git, .terraform, .terragrunt-cache and node_modules are left out, and so are vendor, third_party and the like.\n\n" +
			"PHASE is where a root locks: in the table alone, in both (phase 1), in the lock object (lockfile, phase 2), nowhere\n" +
			"(none), or unknown, as the tree does not tell. ENGINE is whether all versions that the root admits know use_lockfile,\n" +
			"which came with Terraform 1.10 and OpenTofu 1.10. Read are constraints, the files of version managers, and what CI,\n" +
			"images and container files have: the nearest directory that says something counts, and of that the lowest version.\n" +
			"-engine says what runs where none of it does, and counts more than what jobs and images have.\n\n" +
			"Examples:\n" +
			"  statelatch migrate scan\n" +
			"  statelatch migrate scan -fail-on error -json infra\n" +
			"  statelatch migrate scan -format sarif >locks.sarif",
		Flags: append([]cli.Flag{
			&choiceFlag{
				Name: "fail-on", Config: choices{"error", "warning", "note"},
				Usage: "exit with 1 from that severity on",
			},
			&choiceFlag{Name: "format", Config: choices{"sarif"}, Usage: "print SARIF 2.1.0, for code scanning"},
		}, rootFlags()...),
		Action: act(term, func(c *cli.Command) (migrateScanOptions, error) {
			tree, err := treeOf(c)
			o := migrateScanOptions{
				treeOptions: tree, format: c.String("format"), failOn: migrate.Severity(c.String("fail-on")),
			}
			if err == nil && o.format != "" && o.json {
				err = usageError{errors.New("-format sarif and -json: want one of them")}
			}
			return o, err
		}, runMigrateScan),
	}
}

// finish prints a failure as JSON where that was asked for.
func (o treeOptions) finish(ctx context.Context, term terminal, err error) error {
	return targetOptions{json: o.json}.finish(ctx, term, err)
}

func runMigrateScan(ctx context.Context, o migrateScanOptions, term terminal) error {
	tree, err := o.scan(ctx)
	if err != nil {
		return err
	}
	switch {
	case o.format == "sarif":
		err = term.PrintJSON(tree.SARIF(version()))
	case o.json:
		err = term.PrintJSON(tree)
	default:
		printScan(term, tree, o.wide)
	}
	if err == nil && o.failOn != "" && len(tree.Findings) > 0 && tree.Findings[0].Severity.AtLeast(o.failOn) {
		return reportedError{fmt.Errorf("%s: the worst finding is of severity %s", o.dir, tree.Findings[0].Severity)}
	}
	return err
}

func printScan(term terminal, tree *migrate.Tree, wide bool) {
	if len(tree.Roots) == 0 {
		term.Print("No backend \"s3\" in %s.\n", statelatch.Printable(tree.Dir))
	} else {
		t := table{Columns: []column{
			{Head: "PHASE"},
			{Head: "ENGINE"},
			{Head: "ROOT", Least: 16, Middle: true},
			{Head: "STATE", Least: 16},
			{Head: "TABLE", Least: 10, Rank: 1},
			{Head: "FILE", Least: 16, Rank: 2},
		}}
		for i := range tree.Roots {
			r := &tree.Roots[i]
			t.Rows = append(t.Rows, []string{
				string(r.Phase), string(r.Engine.Verdict), statelatch.Printable(r.Name()),
				statelatch.Printable(fmt.Sprintf("s3://%s/%s", r.Args["bucket"], r.Args["key"])),
				statelatch.Printable(r.Table().String()),
				fmt.Sprintf("%s:%d", statelatch.Printable(r.Place().File), r.Place().Line),
			})
		}
		term.PrintTable(t)
	}
	sums := map[migrate.Severity]int{}
	for _, f := range tree.Findings {
		sums[f.Severity]++
	}
	if len(tree.Findings) > 0 {
		term.Print("\n")
	}
	for _, g := range migrate.Groups(tree.Findings) {
		printGroup(term, g, wide)
	}
	phases := map[migrate.Phase]int{}
	for i := range tree.Roots {
		phases[tree.Roots[i].Phase]++
	}
	term.Print("\n%s: %d table, %d both, %d lockfile, %d none, %d unknown. %s, %s, %s.\n", count(len(tree.Roots), "root"),
		phases[migrate.PhaseTable], phases[migrate.PhaseBoth], phases[migrate.PhaseLockfile], phases[migrate.PhaseNone],
		phases[migrate.PhaseUnknown],
		count(sums[migrate.Error], "error"), count(sums[migrate.Warning], "warning"), count(sums[migrate.Note], "note"))
}

// printGroup tells findings of one kind: the first in full, and where the others are.
func printGroup(term terminal, g migrate.Group, wide bool) {
	var places []string
	for _, f := range g.Findings {
		at := statelatch.Printable(f.File)
		if f.Line > 0 {
			at = fmt.Sprintf("%s:%d", at, f.Line)
		}
		if wide || len(g.Findings) == 1 {
			term.Print("%-8s %s: %s: %s\n", g.Severity, g.ID, at, statelatch.Printable(f.Text))
		}
		if !slices.Contains(places, at) {
			places = append(places, at)
		}
	}
	if n := len(g.Findings); !wide && n > 1 {
		term.Print("%-8s %s (%d): %s\n", g.Severity, g.ID, n, statelatch.Printable(g.Findings[0].Text))
		term.Print("%-8s %s\n", "", some(places))
	}
	if g.Fix != "" {
		term.Print("%-8s Fix: %s\n", "", statelatch.Printable(g.Fix))
	}
}
