package main

import (
	"slices"
	"strconv"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/migrate"
)

// verifiedJSON is the result of verify.
type verifiedJSON struct {
	Dir   string             `json:"dir"`
	Roots []verifiedRootJSON `json:"roots"`
}

type verifiedRootJSON struct {
	Dir     string        `json:"dir"`
	Variant string        `json:"variant,omitempty"`
	Phase   migrate.Phase `json:"phase"`
	Ref     string        `json:"ref,omitempty"`
	Table   string        `json:"dynamodb_table,omitempty"`
	Verdict string        `json:"verdict"`
	troubles
	Exists  bool               `json:"exists"`
	Serial  uint64             `json:"serial,omitempty"`
	Digests int                `json:"digests"`
	Tier    string             `json:"tier,omitempty"`
	Locks   []verifiedLockJSON `json:"locks"`

	name   string
	ref    statelatch.Ref
	digest string // for people
}

// verifiedLockJSON is a lock of a root's state, or of one of its named workspaces.
type verifiedLockJSON struct {
	Ref     string         `json:"ref"`
	Kind    fleet.Kind     `json:"kind"`
	Where   string         `json:"where"` // "both", "table" or "object"
	ID      string         `json:"id,omitempty"`
	Who     string         `json:"who,omitempty"`
	Verdict evidence.State `json:"verdict"`
	Proof   string         `json:"proof"`
}

// print shows verdicts to people.
func (j *verifiedJSON) print(term terminal, bad int) {
	if len(j.Roots) == 0 {
		term.print("No backend \"s3\" in %s.\n", statelatch.Printable(j.Dir))
		return
	}
	t := table{
		Columns: []column{
			{Head: "VERDICT"},
			{Head: "PHASE"},
			{Head: "ROOT", Least: 12, Middle: true},
			{Head: "STATE", Least: 12},
			{Head: "SERIAL"},
			{Head: "LOCKS"},
			{Head: "DIGEST"},
			{Head: "STORE", Rank: 1},
		},
		Details: func(row int) string {
			text := ""
			for _, line := range slices.Concat(j.Roots[row].InTheWay, j.Roots[row].Notes) {
				text += "  " + line + "\n"
			}
			return text
		},
	}
	for i := range j.Roots {
		r := &j.Roots[i]
		serial := "-"
		if r.Exists {
			serial = strconv.FormatUint(r.Serial, 10)
		}
		t.Rows = append(t.Rows, []string{
			r.Verdict, string(r.Phase), statelatch.Printable(r.name), cell(r.Ref), serial, strconv.Itoa(len(r.Locks)), cell(r.digest), cell(r.Tier),
		})
	}
	term.printTable(t)
	term.say("\n%s: %d not ready. Seen were the clients that held a lock just now; checkouts and jobs that did nothing were not, and rights were not tried.\n",
		count(len(j.Roots), "root"), bad)
}
