package term

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNear_Typos(t *testing.T) {
	t.Parallel()
	commands := []string{"lock", "unlock", "force-unlock", "status", "locks", "states", "run", "rollback", "history", "help"}
	for word, want := range map[string]string{
		"statsu": "status", "locl": "lock", "lokcs": "locks", "histroy": "history", "roll": "rollback", "state": "states", "forceunlock": "force-unlock",
	} {
		if got := Near(word, commands); len(got) == 0 || !slices.Contains(got, want) {
			t.Errorf("%s: got %q, want %q among them", word, got, want)
		}
	}
	for _, word := range []string{"terraform", "x", "zz", ""} {
		if got := Near(word, commands); len(got) != 0 {
			t.Errorf("%s: got %q, want nothing", word, got)
		}
	}
}

func TestParseDuration_Days(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"2d": 48 * time.Hour, "1d12h": 36 * time.Hour, "0.5d": 12 * time.Hour, "90s": 90 * time.Second, "1d1h1m1s": 25*time.Hour + 61*time.Second,
		"-1d": -24 * time.Hour, "-1d1h": -25 * time.Hour, "0": 0,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "60", "d", "1d-2h", "1d+2h", "1d2", "2dd", "200000d", "1e9d", "1h1d", "soon", "106751d24h"} {
		if got, err := ParseDuration(text); err == nil || !strings.Contains(err.Error(), "1d12h") {
			t.Errorf("%q: got %v, %v, want an error that shows how", text, got, err)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 90 * time.Second: "1m30s", 720 * time.Hour: "30d", 36 * time.Hour: "1d12h", -time.Second: "-1s", time.Minute: "1m", 250 * time.Millisecond: "250ms",
	} {
		got := FormatDuration(d)
		if back, err := ParseDuration(got); got != want || err != nil || back != d {
			t.Errorf("%v: got %q, want %q, and %v, %v back", d, got, want, back, err)
		}
	}
}

func TestWrap_HangingIndents(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"one two three four\n":           "one two\nthree\nfour\n",
		"-a  one two three\n":            "-a  one\n    two\n    three\n",
		"  - one two three":              "  - one\n    two\n    three",
		"short\n\n  kept as it is\n":     "short\n\n  kept\n  as it\n  is\n",
		"averyverylongword and more\n":   "averyverylongword\nand more\n",
		"日本 日本 日本":                       "日本\n日本\n日本",
		"-flag VALUE  explained at last": "-flag\n  VALUE\n  explained\n  at\n  last",
	} {
		if got := Wrap(text, 8); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if text := "as it is, however long"; Wrap(text, 0) != text {
		t.Error("without a width nothing is wrapped")
	}
}

func locksTable(keys ...string) Table {
	table := Table{Columns: []Column{
		{Head: "STATE", Least: 16, Middle: true},
		{Head: "VERDICT", Paint: func(s string) string { return "\033[31m" + s + "\033[0m" }},
		{Head: "HOLDER", Least: 10},
		{Head: "KIND", Rank: 1},
		{Head: "ID", ID: true},
	}}
	for i, key := range keys {
		table.Rows = append(table.Rows, []string{
			key, "unknown", "somebody-with-a-long-name@a-host-with-a-longer-one", "managed", string(rune('a'+i)) + "638e010-8fb0-46cf-966d-21e806602f3a",
		})
	}
	return table
}

func TestTable_FitsAnyWidth(t *testing.T) {
	t.Parallel()
	table := locksTable("prod/network/terraform.tfstate", "日本/ネットワーク/terraform.tfstate", "e\u0301\u0301tat/réseau/terraform.tfstate", "prod/a-very-long-name-indeed/of-a/state/terraform.tfstate")
	for width := 30; width < 200; width++ {
		text, whole := table.Render(width)
		for line := range strings.Lines(text) {
			plain := strings.NewReplacer("\033[31m", "", "\033[0m", "").Replace(strings.TrimRight(line, "\n"))
			if Columns(plain) > width && strings.Contains(text, "VERDICT ") {
				t.Fatalf("width %d: a line of %d columns: %q", width, Columns(plain), line)
			}
		}
		if !whole != (strings.Contains(text, "…") || !strings.Contains(text, "KIND")) {
			t.Fatalf("width %d: whole is %v:\n%s", width, whole, text)
		}
	}
	if text, whole := table.Render(0); !whole || strings.Contains(text, "…") {
		t.Errorf("without a terminal everything is there:\n%s", text)
	}
	if len(table.Columns) != 5 || len(table.Rows[0]) != 5 || strings.Contains(strings.Join(table.Rows[0], ""), "…") {
		t.Error("the table itself was changed")
	}
}

// Columns line up whatever the characters take, and keys that were different stay so.
func TestTable_AlignedAndDistinct(t *testing.T) {
	t.Parallel()
	text, _ := locksTable("日本/terraform.tfstate", "e\u0301tat/terraform.tfstate", "plain/terraform.tfstate").Render(0)
	column := -1
	for line := range strings.Lines(text) {
		before, _, ok := strings.Cut(line, "\033[31m")
		if !ok {
			continue
		}
		if at := Columns(before); column >= 0 && at != column {
			t.Errorf("the second column begins at %d and at %d:\n%s", column, at, text)
		} else {
			column = at
		}
	}
	text, _ = locksTable("a/b/c/d/e/f/g/h/i/j/one/terraform.tfstate", "a/b/c/d/e/f/g/h/i/j/two/terraform.tfstate", "z/b/c/d/e/f/g/h/i/j/two/terraform.tfstate").Render(70)
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		key, _, _ := strings.Cut(line, "  ")
		if key != "" && seen[key] {
			t.Errorf("two rows are called %q:\n%s", key, text)
		}
		seen[key] = true
	}
	if strings.Count(text, "VERDICT") != 1 || !seen["a/b/c/d/e/f/g/h/i/j/one/terraform.tfstate\n"] {
		t.Errorf("want the keys whole, each above its row:\n%s", text)
	}
	table := locksTable("k1", "k2")
	table.Rows[0][4] = "6638e010-8fb0-46cf-966d-21e806602f3a"
	table.Rows[1][4] = "6638e010-8fb0-46cf-0000-21e806602f3a"
	text, _ = table.Render(60)
	if !strings.Contains(text, "6638e010-8fb0-46cf-9…") || !strings.Contains(text, "6638e010-8fb0-46cf-0…") {
		t.Errorf("the IDs cannot be told apart:\n%s", text)
	}
}
