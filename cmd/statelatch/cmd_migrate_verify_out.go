package main

import (
	"slices"
	"strconv"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/cutover"
)

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
