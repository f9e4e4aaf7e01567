package main

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFailures_ListsEveryBucket(t *testing.T) {
	t.Parallel()
	broken := report{Tier: "none", Checks: []check{
		{Name: "create", Outcome: "failed", Evidence: "a *second* one of <32> was accepted"},
		{Name: "race/create", Outcome: "undecided"},
		{Name: "etag", Outcome: "passed"},
	}}
	sound := report{Tier: "full", Checks: []check{{Name: "create", Outcome: "passed"}}}
	got := failures([]measurement{
		{Title: "A", Version: "1", Install: "i", Start: "a serve", Unversioned: broken, Versioned: &broken},
		{Title: "B", Version: "2", Install: "i", Start: "b serve", Unversioned: sound, Versioned: &broken},
	})
	want := "**A** 1\n- from: i\n- run: `a serve`\n- unversioned:\n" +
		"  - create only if absent (`create`): a \\*second\\* one of &lt;32> was accepted\n" +
		"  - not decided: `race/create`\n- versioned: the same\n\n" +
		"**B** 2\n- from: i\n- run: `b serve`\n- unversioned: every check passed\n- versioned:\n" +
		"  - create only if absent (`create`): a \\*second\\* one of &lt;32> was accepted\n" +
		"  - not decided: `race/create`"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestLinks_OneLabelOneAddress(t *testing.T) {
	t.Parallel()
	l := &links{labels: map[string]string{}}
	for _, c := range []struct{ address, want string }{
		{"https://github.com/minio/minio/issues/21677", "[minio#21677]"},
		{"https://www.example.com/a", "[example.com]"},
		{"https://www.example.com/b", "[example.com (2)]"},
		{"https://www.example.com/a", "[example.com]"},
	} {
		if got := l.to(c.address); got != c.want {
			t.Errorf("%s: got %s, want %s", c.address, got, c.want)
		}
	}
	want := "[example.com]: https://www.example.com/a\n[example.com (2)]: https://www.example.com/b\n[minio#21677]: https://github.com/minio/minio/issues/21677"
	if got := l.definitions(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestTable_CanBeReadRaw(t *testing.T) {
	t.Parallel()
	got := table([][]string{{"store", "x"}, {"é", "long cell"}})
	want := "| store | x |\n| ----- | --- |\n| é     | long cell |"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestWrap_BreaksBetweenWords(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("word ", 60)
	got := wrap("- ", "  ", text)
	if fields := strings.Fields(strings.TrimPrefix(got, "- ")); len(fields) != 60 {
		t.Errorf("got %d words, want 60", len(fields))
	}
	for line := range strings.Lines(got) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
			t.Errorf("a line of %d characters, want at most %d: %q", n, width, line)
		}
	}
}
