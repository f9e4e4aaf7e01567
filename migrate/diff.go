package migrate

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/aymanbagabas/go-udiff"
	"github.com/statelatch/statelatch/internal/lazyre"
	"github.com/statelatch/statelatch/internal/secretlike"
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
	before := string(f.Before)
	edits := udiff.Lines(before, string(f.After))
	diff, err := udiff.ToUnifiedDiff(diffName("a/"+f.Path), diffName("b/"+f.Path), before, edits,
		udiff.DefaultContextLines)
	if err != nil {
		panic(err) // the edits were made of this text
	}
	for _, hunk := range diff.Hunks {
		for i := range hunk.Lines {
			hunk.Lines[i].Content = withoutSecrets(hunk.Lines[i].Content)
		}
	}
	return diff.String()
}

// diffName is a file's name as git quotes it.
func diffName(name string) string {
	plain := utf8.ValidString(name) && !strings.ContainsFunc(name,
		func(r rune) bool { return r < ' ' || r == 0x7f || r == '"' || r == '\\' })
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
