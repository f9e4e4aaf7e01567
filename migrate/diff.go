package migrate

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/statelatch/statelatch/internal/lazyre"
	"github.com/statelatch/statelatch/internal/secretlike"
)

const (
	diffContext = 3       // lines that are shown around a change
	maxCompared = 1 << 24 // pairs of lines; what is longer is shown as replaced
)

const hidden = `"(sensitive)"`

// assigned is an argument with a string.
var assigned = lazyre.New(`([A-Za-z0-9_-]+)("?\s*[=:]\s*)"((?:[^"\\]|\\.)*)"`)

// withoutSecrets hides the values of arguments that are secrets by their names or looks: a diff is for logs and
// reviews.
func withoutSecrets(line string) string {
	return assigned.ReplaceAllStringFunc(line, func(argument string) string {
		m := assigned.FindStringSubmatch(argument)
		if !secretlike.Named(m[1], m[3]) {
			return argument
		}
		return m[1] + m[2] + hidden
	})
}

// Diff is the edit as a unified diff. git apply and patch take it, unless a line of it has a secret: the value is not
// shown.
func (f FileEdit) Diff() string {
	a, b := lines(f.Before), lines(f.After)
	ops := compare(a, b)
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", diffName("a/"+f.Path), diffName("b/"+f.Path))
	for from := 0; from < len(ops); {
		first := from
		for first < len(ops) && ops[first].sign == ' ' {
			first++
		}
		if first == len(ops) {
			break
		}
		last, same := first, 0
		for i := first; i < len(ops) && same <= 2*diffContext; i++ {
			if same++; ops[i].sign != ' ' {
				last, same = i, 0
			}
		}
		hunk := ops[max(from, first-diffContext):min(len(ops), last+diffContext+1)]
		from = last + 1
		hunkTo(&out, hunk)
	}
	return out.String()
}

// diffName is a file's name as git quotes it.
func diffName(name string) string {
	plain := utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '"' || r == '\\' })
	if plain {
		return name
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(name) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, "\\%03o", c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// op is a line of a comparison: ' ' of both, '-' of the first, '+' of the second; a and b are how many of each are
// before it.
type op struct {
	sign byte
	text string
	a, b int
}

func hunkTo(out *strings.Builder, hunk []op) {
	na, nb := 0, 0
	for _, o := range hunk {
		if o.sign != '+' {
			na++
		}
		if o.sign != '-' {
			nb++
		}
	}
	start := func(before, n int) int { // an empty side is named by the line before it
		if n == 0 {
			return before
		}
		return before + 1
	}
	fmt.Fprintf(out, "@@ -%d,%d +%d,%d @@\n", start(hunk[0].a, na), na, start(hunk[0].b, nb), nb)
	for _, o := range hunk {
		out.WriteByte(o.sign)
		out.WriteString(withoutSecrets(o.text))
		if !strings.HasSuffix(o.text, "\n") {
			out.WriteString("\n\\ No newline at end of file\n")
		}
	}
}

func lines(data []byte) []string {
	all := strings.SplitAfter(string(data), "\n")
	if all[len(all)-1] == "" {
		all = all[:len(all)-1]
	}
	return all
}

// compare finds the longest common subsequence of what is left without the same beginning and end.
func compare(a, b []string) []op {
	var ops []op
	add := func(sign byte, text string, i, j int) { ops = append(ops, op{sign, text, i, j}) }
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		add(' ', a[head], head, head)
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	x, y := a[head:len(a)-tail], b[head:len(b)-tail]
	if len(x)*len(y) > maxCompared {
		x, y = nil, nil
		for i := head; i < len(a)-tail; i++ {
			add('-', a[i], i, head)
		}
		for j := head; j < len(b)-tail; j++ {
			add('+', b[j], len(a)-tail, j)
		}
	}
	common := make([][]int, len(x)+1) // of x[i:] and y[j:]
	for i := range slices.Backward(common) {
		common[i] = make([]int, len(y)+1)
		if i == len(x) {
			continue
		}
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(x) || j < len(y); {
		switch {
		case i < len(x) && j < len(y) && x[i] == y[j]:
			add(' ', x[i], head+i, head+j)
			i, j = i+1, j+1
		case i < len(x) && (j == len(y) || common[i+1][j] >= common[i][j+1]):
			add('-', x[i], head+i, head+j)
			i++
		default:
			add('+', y[j], head+i, head+j)
			j++
		}
	}
	for k := range tail {
		add(' ', a[len(a)-tail+k], len(a)-tail+k, len(b)-tail+k)
	}
	return ops
}
