package term

import (
	"bufio"
	"iter"
	"strings"
)

// PrintRows is PrintTable of rows that come with what stands below each, and that can be asked for again. Where there
// is room for any width they are written as they come, and no more than one is held.
func (t Terminal) PrintRows(tab Table, rows iter.Seq2[[]string, string]) {
	if t.OutWidth() > 0 {
		var details []string
		for cells, below := range rows {
			tab.Rows, details = append(tab.Rows, cells), append(details, below)
		}
		tab.Details = func(row int) string { return details[row] }
		t.PrintTable(tab)
		return
	}
	widths := tab.natural()
	for cells := range rows {
		for i, cell := range cells {
			widths[i] = max(widths[i], Columns(cell))
		}
	}
	out := bufio.NewWriter(t.Results())
	write := func(text string) { _, _ = out.WriteString(text) } // it remembers errors, as Results does
	write(tab.draw(widths, 0))
	indent := strings.Repeat(" ", tab.Indent)
	for cells, below := range rows {
		write(tab.line(indent, cells, widths, true) + below)
	}
	_ = out.Flush()
}
