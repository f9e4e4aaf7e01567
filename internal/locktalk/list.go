package locktalk

import (
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/term"
)

// List shows locks in a table.
type List struct {
	WorkspacePrefix string // of the bucket
	Several         bool   // buckets: each lock is named with its own
	Paint           func(term.Color, string) string
}

// StateName is the key of a state, with its workspace in words, and with its bucket where there are several.
func (v List) StateName(ref statelatch.Ref) string {
	key := ref.Key
	if v.Several {
		return statelatch.Printable(ref.String())
	}
	if workspace, of, ok := statelatch.CutWorkspace(key, v.WorkspacePrefix); ok {
		return statelatch.Printable(of + " (" + workspace + ")")
	}
	return statelatch.Printable(key)
}

// Table shows locks to people: a line each, and below it the proof and what else is known.
func (v List) Table(shown []fleet.Lock) term.Table {
	t := term.Table{
		Columns: []term.Column{
			{Head: "STATE", Least: 16, Middle: true},
			{Head: "VERDICT", Paint: VerdictIn(v.Paint)},
			{Head: "AGE"},
			{Head: "HOLDER", Least: 12},
			{Head: "OPERATION", Rank: 1},
			{Head: "LEASE", Rank: 2},
			{Head: "KIND", Rank: 3},
			{Head: "ID", ID: true},
		},
		Details: func(row int) string { return details(shown[row]) },
	}
	for _, l := range shown {
		t.Rows = append(t.Rows, v.cells(l))
	}
	return t
}

func (v List) cells(l fleet.Lock) []string {
	age, lease := "-", "-"
	if !l.Since.IsZero() {
		age = evidence.Span(l.Age)
	}
	if m := l.Managed; m != nil && m.TTL > 0 {
		lease = evidence.Span(m.TTL)
	} else if m != nil && m.Expires > 0 {
		lease = "for " + evidence.Span(m.Expires)
	}
	return []string{
		v.StateName(l.Ref), string(l.Verdict.State), age, term.Cell(l.Info.Who), term.Cell(operation(l.Info)), lease,
		string(l.Kind), term.Cell(l.Info.ID),
	}
}

// operation is what the holder does, in the word that the engines' people know.
func operation(l statelatch.LockInfo) string {
	return strings.ToLower(strings.TrimPrefix(l.Operation, "OperationType"))
}

// details are the lines below the row of l.
func details(l fleet.Lock) string {
	why := l.Verdict.Proof
	if l.Unread != nil {
		why = term.Brief(term.OneLine(l.Unread), term.MaxDetail)
	}
	s := "  " + why + "\n"
	if l.Err != nil {
		s += "  " + term.Brief(term.OneLine(l.Err), term.MaxDetail) + "\n"
	}
	if l.Half != "" {
		s += "  half a lock: " + l.Half + "\n"
	}
	if l.ItemUnread != nil {
		s += "  the DynamoDB table was not looked at: " + term.OneLine(l.ItemUnread) + "\n"
	}
	if m := l.Managed; m != nil {
		for _, text := range [...]string{m.Reason, runURL(m.Run)} {
			if text != "" {
				s += "  " + term.Brief(statelatch.Printable(text), term.MaxDetail) + "\n"
			}
		}
	}
	return s
}
