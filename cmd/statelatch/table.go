package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// table aligns rows below head. Below each row stands what details has to say of it, whole lines that are no columns.
func table(head []string, rows [][]string, details func(row int) string) string {
	var lines strings.Builder
	w := tabwriter.NewWriter(&lines, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(head, "\t"))
	for _, cells := range rows {
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	_ = w.Flush() // memory
	var b strings.Builder
	row := -1
	for line := range strings.Lines(lines.String()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
		if row >= 0 {
			b.WriteString(details(row))
		}
		row++
	}
	return b.String()
}
