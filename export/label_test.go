package export

import (
	"strings"
	"testing"
	"unicode"
)

// A label shows what it is made of, and different keys have different labels.
func TestLabel(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, s := range []string{"", "a/b", "é 日本", "a\u202eb", `a\u202eb`, `"a\u202eb"`, "a\u009bb", "a\x1bb", "a\xffb", "a\u200bb", "a\ufffdb", `"`, `"\""`} {
		got := label(s)
		if other, taken := seen[got]; taken {
			t.Errorf("%q and %q have the same label %q", s, other, got)
		}
		if seen[got] = s; strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q: got %q, want what can be printed", s, got)
		}
	}
}
