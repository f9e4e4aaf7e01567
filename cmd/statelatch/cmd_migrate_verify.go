package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/cutover"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/migrate"
	"github.com/statelatch/statelatch/site"
	"github.com/urfave/cli/v3"
)

// wayFlags say how to reach the buckets and tables of a tree, beyond what is in it.
func wayFlags() []cli.Flag {
	return slices.DeleteFunc(directoryFlags(), func(f cli.Flag) bool { return f.Names()[0] == "chdir" })
}

type verifyOptions struct {
	treeOptions
	way targetOptions // without a ref
}

func migrateVerifyCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "hold a tree against its buckets and tables: is it ready for the next phase?",
		UsageText: "statelatch migrate verify [flags] [DIR]",
		Description: "Scans DIR (the current directory), and then looks for each root whose bucket and key stand in the tree at its state,\n" +
			"its locks in both places, its digests, and whether the store is proven to lock. Changes nothing but what 'probe' does\n" +
			"on a store that was not proven today. The verdict of a root is\n" +
			"  ready for phase 1   it locks in the table alone, and nothing is in the way of 'migrate apply -phase 1'\n" +
			"  ready for phase 2   it locks in both places, and no client was seen that does not\n" +
			"  done                it locks in the lock object alone, and no client was seen in the table\n" +
			"  not ready           below it stands why\n" +
			"Exits with 1 if a root is not ready. A root in phase 2 names no table any more: name it with -backend-config\n" +
			"dynamodb_table=NAME, or the table is not looked at. It lists the buckets and the table (dynamodb:Scan).\n\n" +
			"It sees clients that hold a lock while it looks: run it while pipelines are at work, and more than once. A checkout,\n" +
			"branch or job that does nothing just then is not seen. Rights are not tried: 'statelatch policy' prints what phase 2\n" +
			"needs, which is s3:DeleteObject on lock objects above all.\n\n" +
			"Examples:\n" +
			"  statelatch migrate verify\n" +
			"  statelatch migrate verify -json -backend-config dynamodb_table=locks infra",
		Flags: append(wayFlags(), rootFlags()...),
		Action: act(term, func(c *cli.Command) (verifyOptions, error) {
			tree, err := treeOf(c)
			return verifyOptions{treeOptions: tree, way: targetOf(c, "")}, err
		}, runMigrateVerify),
	}
}

func runMigrateVerify(ctx context.Context, o verifyOptions, term terminal) error {
	tree, err := o.scan(ctx)
	if err != nil {
		return err
	}
	var plans [2]*migrate.Plan
	for i := range plans {
		if plans[i], err = tree.Plan(i + 1); err != nil {
			return err
		}
	}
	line := term.LiveLine()
	v := cutover.Verifier{
		Open: func(ctx context.Context, r *migrate.Root, ref statelatch.Ref) (*site.Site, error) {
			t, err := o.way.openRoot(ctx, term, o.dir, r, ref)
			return t.Site, err
		},
		Prove: func(ctx context.Context, s *site.Site) (lock.Tier, error) {
			line.Clear()
			proven, err := proveStore(ctx, term, s.Bucket)
			return proven.Tier, cmp.Or(err, proven.Err())
		},
		FixDigest: func(s *site.Site, ref statelatch.Ref) string {
			return o.way.outright(s.Backend, ref, term).command("digest fix")
		},
		OnProgress: walked(line),
	}
	result := verifiedJSON{Dir: o.dir}
	result.Roots, err = v.Verify(ctx, tree, plans)
	line.Clear()
	if err != nil {
		return err
	}
	bad := cutover.Unready(result.Roots)
	if o.json {
		err = term.PrintJSON(result)
	} else {
		result.print(term, bad, o.wide)
	}
	if err == nil && bad > 0 {
		return reportedError{fmt.Errorf("%s not ready", count(bad, "root"))}
	}
	return err
}

// openRoot connects to the bucket of a root. What is given on the command line counts, but for a table where the root
// has its own.
func (o targetOptions) openRoot(
	ctx context.Context, term terminal, dir string, r *migrate.Root, ref statelatch.Ref,
) (target, error) {
	typed := o.backendConfig
	o.backendConfig = slices.Concat(r.BackendConfig(), o.backendConfig)
	if table := r.Table(); table.Static && table.Set() {
		o.backendConfig = append(o.backendConfig, "dynamodb_table="+table.Text)
	}
	o.ref = ref.String()
	backend, err := o.backend(ctx, term)
	if err != nil {
		return target{}, err
	}
	if err := trustDirectory(ctx, term, dir, backend, typed); err != nil {
		return target{}, err
	}
	t, err := connect(ctx, term, ref, backend)
	t.again = o.again(term)
	return t, err
}

// outright names a state in the next command by its address, also where a directory leads to it.
func (o targetOptions) outright(backend backendconf.Backend, ref statelatch.Ref, term terminal) naming {
	backend.Key = ""
	return o.againFor(backend, ref, term)
}

// verifiedJSON is the result of verify.
type verifiedJSON struct {
	Dir   string         `json:"dir"`
	Roots []cutover.Root `json:"roots"`
}

// print shows verdicts to people.
func (j *verifiedJSON) print(term terminal, bad int, wide bool) {
	if len(j.Roots) == 0 {
		term.Print("No backend \"s3\" in %s.\n", statelatch.Printable(j.Dir))
		return
	}
	of := map[string][]string{} // roots by what is to be said of them
	for i := range j.Roots {
		for _, text := range slices.Concat(j.Roots[i].InTheWay, j.Roots[i].Notes) {
			of[text] = append(of[text], statelatch.Printable(j.Roots[i].Name))
		}
	}
	var common []string
	t := table{Columns: []column{
		{Head: "VERDICT"},
		{Head: "PHASE"},
		{Head: "ROOT", Least: 12, Middle: true},
		{Head: "STATE", Least: 12},
		{Head: "SERIAL"},
		{Head: "LOCKS"},
		{Head: "DIGEST"},
		{Head: "STORE", Rank: 1},
	}}
	details := make([]string, len(j.Roots))
	for i := range j.Roots {
		r := &j.Roots[i]
		t.Rows = append(t.Rows, []string{
			string(r.Verdict), string(r.Phase), statelatch.Printable(r.Name), cell(r.Ref), serialCell(r.Serial),
			strconv.Itoa(len(r.Locks)), cell(r.Digest), cell(r.Tier),
		})
		for _, text := range slices.Concat(r.InTheWay, r.Notes) {
			switch {
			case wide || len(of[text]) <= shownOf:
				details[i] += "  " + text + "\n"
			case !slices.Contains(common, text):
				common = append(common, text)
			}
		}
	}
	t.Details = func(row int) string { return details[row] }
	term.PrintTable(t)
	for _, text := range common {
		term.Print("%s (%d): %s\n", some(of[text]), len(of[text]), text)
	}
	term.Say("\n%s: %d not ready. Seen were the clients that held a lock just now; checkouts and jobs that did nothing "+
		"were not, and rights were not tried.\n",
		count(len(j.Roots), "root"), bad)
}
