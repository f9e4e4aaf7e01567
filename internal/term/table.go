package term

import (
	"cmp"
	"slices"
	"strings"
)

// Column is a column of a table, and what may become of it where the table is wider than the terminal.
type Column struct {
	Head string
	// ID says that the cells are identifiers. Narrow, the column shows as much of their beginnings as tells them apart.
	ID bool
	// Least is how narrow the column may become; what does not fit is cut off. 0: it stays as wide as its cells.
	Least int
	// Middle says that it is cut out of the middle, and that cells that were different stay so: if need be they get a
	// line of their own.
	Middle bool
	// Rank orders the columns that are left out if need be, the highest first. 0: it is always there.
	Rank int
	// Paint colours a cell; nil: it does not. It may add nothing that takes room.
	Paint func(cell string) string
}

// Table is rows below heads, if there are any. Its text has nothing in it that drives a terminal; that is for the
// caller to see to.
type Table struct {
	Columns []Column
	Rows    [][]string
	Details func(row int) string // what stands below a row: whole lines that are no columns; nil: nothing
	Indent  int                  // of every line
	titles  []string             // of the rows, each a line above its row; nil: none
}

const (
	gap     = 2 // between columns
	shortID = 8 // characters of an identifier, at least
)

// Render returns t for a terminal of so many columns, 0 for any width. Whole is false if something is cut or left out.
func (t Table) Render(width int) (text string, whole bool) {
	widths, ok := t.fits(width)
	if ok {
		return t.draw(widths, width), true
	}
	t.Rows = slices.Clone(t.Rows)
	for i, c := range t.Columns {
		if c.ID {
			t.shorten(i)
		}
	}
	all := t
	all.Rows = slices.Clone(t.Rows)
	for {
		widths, ok := t.squeeze(width)
		if column := t.clip(widths); ok && column < 0 {
			return t.draw(widths, width), false
		} else if ok { // there is more room without that column
			head := t.Columns[column].Head
			t = all
			t.Rows = slices.Clone(all.Rows)
			t.lift(slices.IndexFunc(t.Columns, func(c Column) bool { return c.Head == head }))
			all = t
			all.Rows = slices.Clone(t.Rows)
			continue
		}
		last := 0
		for i, c := range t.Columns {
			if c.Rank > t.Columns[last].Rank {
				last = i
			}
		}
		if t.Columns[last].Rank == 0 {
			return t.records(width), false
		}
		t.leaveOut(last)
	}
}

// natural is how wide each column is.
func (t Table) natural() []int {
	widths := make([]int, len(t.Columns))
	for i, c := range t.Columns {
		widths[i] = Columns(c.Head)
		for _, row := range t.Rows {
			widths[i] = max(widths[i], Columns(row[i]))
		}
	}
	return widths
}

func (t Table) fits(width int) ([]int, bool) {
	widths := t.natural()
	return widths, width <= 0 || t.sum(widths) <= width
}

func (t Table) sum(widths []int) int {
	total := t.Indent + gap*(len(widths)-1)
	if t.titles != nil {
		total += 2
	}
	for _, w := range widths {
		total += w
	}
	return total
}

// squeeze makes columns narrower until the table fits, the widest first.
func (t Table) squeeze(width int) ([]int, bool) {
	widths := t.natural()
	for t.sum(widths) > width {
		widest := -1
		for i, c := range t.Columns {
			if c.Least > 0 && widths[i] > max(c.Least, Columns(c.Head)) && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return nil, false
		}
		widths[widest]--
	}
	return widths, true
}

// clip cuts the cells to the widths, or returns the column whose different cells would not stay so, -1 if there is
// none.
func (t *Table) clip(widths []int) int {
	rows := make([][]string, len(t.Rows))
	for i := range rows {
		rows[i] = slices.Clone(t.Rows[i])
	}
	for i := range widths {
		cell := func(s string) string { return Clip(s, widths[i]) }
		if t.Columns[i].Middle {
			if cell = t.distinct(i, widths[i]); cell == nil {
				return i
			}
		}
		for _, row := range rows {
			row[i] = cell(row[i])
		}
	}
	t.Rows = rows
	return -1
}

// distinct is a cut out of the middle that keeps all cells of a column different; nil: there is none.
func (t Table) distinct(column, width int) func(string) string {
	different := func(cell func(string) string) int {
		seen := map[string]bool{}
		for _, row := range t.Rows {
			seen[cell(row[column])] = true
		}
		return len(seen)
	}
	want := different(func(s string) string { return s })
	for _, end := range [...]float64{0.4, 0.6, 0.2, 0.8, 0, 1} {
		cell := func(s string) string { return Middle(s, width, end) }
		if different(cell) == want {
			return cell
		}
	}
	return nil
}

// lift makes a column the titles of the rows.
func (t *Table) lift(column int) {
	t.titles = []string{t.Columns[column].Head}
	for _, row := range t.Rows {
		t.titles = append(t.titles, row[column])
	}
	t.leaveOut(column)
}

// shorten leaves of the identifiers in a column what tells them apart.
func (t *Table) shorten(column int) {
	most := shortID
	var ids []string
	for _, row := range t.Rows {
		ids = append(ids, row[column])
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	for i := 1; i < len(ids); i++ {
		same := 0
		for same < min(len(ids[i-1]), len(ids[i])) && ids[i-1][same] == ids[i][same] {
			same++
		}
		most = max(most, same+1)
	}
	for i, row := range t.Rows {
		if Columns(row[column]) > most+1 && !strings.Contains(row[column], " ") { // words are no identifier
			row = slices.Clone(row)
			row[column] = cut(row[column], most) + "…"
			t.Rows[i] = row
		}
	}
}

func (t *Table) leaveOut(column int) {
	t.Columns = slices.Delete(slices.Clone(t.Columns), column, column+1)
	for i, row := range t.Rows {
		t.Rows[i] = slices.Delete(slices.Clone(row), column, column+1)
	}
}

// draw aligns the cells.
func (t Table) draw(widths []int, width int) string {
	var b strings.Builder
	line := func(cells []string, title int, paint bool) {
		indent := strings.Repeat(" ", t.Indent)
		if t.titles != nil {
			b.WriteString(indent + t.titles[title] + "\n")
			indent += "  "
		}
		b.WriteString(t.line(indent, cells, widths, paint))
	}
	heads := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		heads[i] = c.Head
	}
	if strings.Join(heads, "") != "" || t.titles != nil {
		line(heads, 0, false)
	}
	for i, row := range t.Rows {
		line(row, i+1, true)
		b.WriteString(t.details(i, width))
	}
	return b.String()
}

// line is a row, aligned, behind an indent.
func (t Table) line(indent string, cells []string, widths []int, paint bool) string {
	text := indent
	for i, cell := range cells {
		shown := cell
		if c := t.Columns[i]; paint && c.Paint != nil {
			shown = c.Paint(cell)
		}
		text += shown + strings.Repeat(" ", widths[i]-Columns(cell)+gap)
	}
	return strings.TrimRight(text, " ") + "\n"
}

func (t Table) details(row, width int) string {
	if t.Details == nil {
		return ""
	}
	return Wrap(t.Details(row), width)
}

// records shows a row as lines, for a terminal that is too narrow for any table.
func (t Table) records(width int) string {
	var b strings.Builder
	for i, row := range t.Rows {
		if t.titles != nil {
			b.WriteString(strings.Repeat(" ", t.Indent) + t.titles[i+1] + "\n")
		}
		for j, c := range t.Columns {
			lead := "  "
			if j == 0 && t.titles == nil {
				lead = ""
			}
			name := cmp.Or(strings.TrimSpace(c.Head), "-")
			b.WriteString(Wrap(strings.Repeat(" ", t.Indent)+lead+name+": "+row[j]+"\n", width))
		}
		b.WriteString(t.details(i, width))
	}
	return b.String()
}
