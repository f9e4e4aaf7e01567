package main

import (
	"fmt"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/digest"
)

// print shows what was found to people.
func (d *digests) print(term terminal) {
	term.PrintTable(d.table(func(*digestRow) bool { return true }, (*digestRow).details))
	wrong, summary := d.wrong(), count(d.items(), "digest")+" in "+d.where
	if wrong > 0 {
		summary += fmt.Sprintf(": %d not in step", wrong)
	} else {
		summary = "All in step: " + summary
	}
	if d.without > 0 {
		summary += fmt.Sprintf("; %s without one, which engines do not check", count(d.without, "state"))
	}
	term.Say("%s.\n", summary)
}

// items are how many digests there are.
func (d *digests) items() int {
	return d.count(func(f *digestRow) bool { return f.Status != digest.None })
}

// tellPlan shows what a fix is going to change, and what it leaves alone.
func (d *digests) tellPlan(term terminal) {
	if d.wrong() == 0 {
		term.Say("Nothing to do: all digests in %s are in step.\n", d.where)
		return
	}
	term.SayTable(d.table((*digestRow).wrong, func(f *digestRow) string {
		s := f.details()
		switch {
		case !f.planned && f.Fixable():
			return s + "  left alone without -accept\n"
		case !f.planned:
			return s + "  left alone\n"
		case f.Reading.Want() == "":
			return s + "  to be removed\n"
		}
		return s + "  to be set to " + f.Reading.Want() + "\n"
	}))
}

// table shows findings: a line each, and below it what needs more words.
func (d *digests) table(shows func(*digestRow) bool, details func(*digestRow) string) table {
	var shown []*digestRow
	t := table{
		Columns: []column{
			{Head: "STATE", Least: 20, Middle: true},
			{Head: "DIGEST"},
			{Head: "STORED", ID: true},
			{Head: "STATE'S MD5", ID: true},
			{Head: "SERIAL"},
			{Head: "WRITTEN (UTC)", Rank: 1},
		},
		Details: func(row int) string { return details(shown[row]) },
	}
	for _, f := range d.found {
		if !shows(f) {
			continue
		}
		shown = append(shown, f)
		t.Rows = append(t.Rows, []string{
			statelatch.Printable(f.Ref.Key), string(f.Status), orDash(f.Reading.Stored), orDash(f.Reading.Want()),
			serialCell(serialOf(f.Reading.Now)),
			timeOf(f.Reading.Now.LastModified),
		})
	}
	return t
}

func (f *digestRow) details() string {
	s := ""
	for _, text := range [...]string{f.Meaning, f.doubt()} {
		if text != "" {
			s += "  " + statelatch.Printable(text) + "\n"
		}
	}
	return s
}

// digestsJSON is the result of check and of fix.
type digestsJSON struct {
	Scope   string       `json:"scope"`
	Table   string       `json:"table"`
	Digests []digestJSON `json:"digests"`
	Totals  struct {
		Digests int `json:"digests"`
		Wrong   int `json:"wrong"`
		Without int `json:"without"`
	} `json:"totals"`
}

type digestJSON struct {
	Key          string             `json:"key"`
	Status       digest.Status      `json:"status"`
	MD5          string             `json:"md5,omitempty"` // of the stored bytes; empty where engines see no state
	Stored       string             `json:"stored,omitempty"`
	Serial       *uint64            `json:"serial,omitempty"` // of the stored state; nil: there is none
	LastModified *time.Time         `json:"last_modified,omitempty"`
	BelongsTo    *digestVersionJSON `json:"belongs_to,omitempty"`
	Reading      string             `json:"reading,omitempty"`
	Accept       string             `json:"accept,omitempty"` // why fix wants -accept; empty if it does not
	Fixed        bool               `json:"fixed,omitempty"`
	Error        string             `json:"error,omitempty"`
}

type digestVersionJSON struct {
	VersionID    string    `json:"version_id"`
	Serial       uint64    `json:"serial"`
	LastModified time.Time `json:"last_modified"`
}

func (d *digests) toJSON() digestsJSON {
	out := digestsJSON{Scope: d.where, Table: d.all.Backend.DynamoDBTable, Digests: []digestJSON{}}
	for _, f := range d.found {
		j := digestJSON{
			Key: f.Ref.Key, Status: f.Status, MD5: f.Reading.Want(), Stored: f.Reading.Stored, Serial: serialOf(f.Reading.Now),
			LastModified: nonZero(f.Reading.Now.LastModified), Reading: f.Meaning, Accept: f.doubt(), Fixed: f.fixed,
		}
		if v := f.BelongsTo; v != nil {
			j.BelongsTo = &digestVersionJSON{VersionID: v.VersionID, Serial: v.Header.Serial, LastModified: v.LastModified.UTC()}
		}
		if f.err != nil {
			j.Error = f.err.Error()
		}
		out.Digests = append(out.Digests, j)
	}
	out.Totals.Digests, out.Totals.Wrong, out.Totals.Without = d.items(), d.wrong(), d.without
	return out
}
