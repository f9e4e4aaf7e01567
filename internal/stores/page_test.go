package main

import (
	"strings"
	"testing"
)

func TestRenderPage_ListsEveryBucket(t *testing.T) {
	t.Parallel()
	broken := report{Tier: "none", Checks: []check{
		{Name: "create", Outcome: "failed", Evidence: "a *second* one of <32> was accepted"},
		{Name: "race/create", Outcome: "undecided"},
		{Name: "etag", Outcome: "passed"},
	}}
	sound := report{Tier: "full", Checks: []check{{Name: "create", Outcome: "passed"}}}
	page, err := renderPage(pageData{
		Measured: []measurement{
			{Title: "A", Version: "1", Install: "i", Start: "a serve", Unversioned: broken, Versioned: &broken},
			{Title: "B", Version: "2", Install: "i", Start: "b serve", Unversioned: sound, Versioned: &broken},
			{Title: "C", Version: "3", Install: "i", Start: "c serve", Unversioned: sound, NoVersions: "keeps no versions"},
		},
		Priors: []prior{{Store: "P", Create: "yes", Swap: "ignored", Delete: "?", Basis: "vendor", AsOf: "2026-01", Note: "beware", Sources: []string{
			"https://github.com/minio/minio/issues/21677", "https://www.example.com/a",
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| A | 1 |  | 0 | `none` | `none` |\n", "| C | 3 |  | 0 | `full` | keeps no versions |\n",
		"**A** 1\n- from: i\n- run: `a serve`\n- unversioned:\n" +
			"  - `create`: a \\*second\\* one of &lt;32> was accepted\n" +
			"  - not decided: `race/create`\n- versioned: the same\n\n" +
			"**B** 2\n- from: i\n- run: `b serve`\n- unversioned: every check passed\n- versioned:\n" +
			"  - `create`: a \\*second\\* one of &lt;32> was accepted\n" +
			"  - not decided: `race/create`\n\n" +
			"**C** 3\n- from: i\n- run: `c serve`\n- unversioned: every check passed\n\n",
		"| P | yes | **ignored** | ? | vendor | 2026-01 | [minio#21677](https://github.com/minio/minio/issues/21677) [example.com](https://www.example.com/a) |\n",
		"\n- P: beware.\n",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks:\n%s\nit is:\n%s", want, page)
		}
	}
}
