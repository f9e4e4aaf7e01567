package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const docs = "../../docs"

func TestRun_CheckAcceptsThePage(t *testing.T) {
	t.Parallel()
	if err := run(t.Context(), []string{"-docs", docs, "-check"}, io.Discard); err != nil {
		t.Error(err)
	}
}

func TestRun_CheckNoticesAChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(docs)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "stores", "priors.json")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(content, []byte(`"create": "ignored"`), []byte(`"create": "yes"`), 1)
	if err := os.WriteFile(file, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"-docs", dir, "-check"}, io.Discard); err == nil {
		t.Error("-check accepted a page that is not what the data gives")
	}
	if err := run(t.Context(), []string{"-docs", dir, "-render"}, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"-docs", dir, "-check"}, io.Discard); err != nil {
		t.Errorf("after -render: %v", err)
	}
}

func TestRun_UnknownStore(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), []string{"-docs", docs, "nimbus"}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), `"nimbus"`) || !strings.Contains(err.Error(), "embedded") {
		t.Errorf("got %v, want an error with the name and the known ones", err)
	}
}

// The page claims what the probe says today, of the stores that CI has.
func TestMeasure_TiersAreAsRecorded(t *testing.T) {
	t.Parallel()
	data, err := load(docs)
	if err != nil {
		t.Fatal(err)
	}
	statelatch, err := buildStatelatch(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, meanings, _ := strings.Cut(pageTemplate, "### What each failed check means")
	for _, name := range []string{"embedded", "versitygw"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chosen, err := choose([]string{name})
			if err != nil {
				t.Fatal(err)
			}
			if missing := chosen[0].missing(); missing != "" {
				if os.Getenv("CI") == "true" {
					t.Fatalf("%s is not installed, and this is CI", missing)
				}
				t.Skipf("%s is not installed", missing)
			}
			got, err := measure(t.Context(), chosen[0], statelatch, 10)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(data.Measured, func(m measurement) bool { return m.Name == name })
			if i < 0 {
				t.Fatalf("%s has no record: run go run ./internal/stores %s", name, name)
			}
			want := data.Measured[i]
			if got.Unversioned.Tier != want.Unversioned.Tier || got.versionedTier() != want.versionedTier() {
				t.Errorf("%s %s: got tiers %s and %s, recorded for %s are %s and %s; run go run ./internal/stores %s\n%+v", name, got.Version,
					got.Unversioned.Tier, got.versionedTier(), want.Version, want.Unversioned.Tier, want.versionedTier(), name, got)
			}
			if listed := regexp.MustCompile(`- .([a-z/-]+). \(`).FindAllStringSubmatch(meanings, -1); len(listed) != len(got.Unversioned.Checks) {
				t.Errorf("the probe has %d checks, the page explains %d", len(got.Unversioned.Checks), len(listed))
			}
			for _, c := range got.Unversioned.Checks {
				costs := map[string]string{"cas": "; without it tier `none`)", "full": "; without it tier `cas`)", "": ")"}[c.RequiredFor]
				if !regexp.MustCompile("- `" + c.Name + "` \\([^;)]*" + regexp.QuoteMeta(costs)).MatchString(strings.Join(strings.Fields(meanings), " ")) {
					t.Errorf("the page does not explain the check %s, required for %q", c.Name, c.RequiredFor)
				}
			}
		})
	}
}

func TestMeasure_StoreThatEnds(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("go")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	_, err = measure(t.Context(), store{
		name: "gone", version: []string{program, "version"},
		start: func(ctx context.Context, s *site) (string, error) {
			return s.serve(ctx, nil, "1", program, "no-such-command")
		},
	}, "statelatch", 1)
	if err == nil || !strings.Contains(err.Error(), "no-such-command") {
		t.Errorf("got %v, want what the store said when it ended", err)
	}
}

func TestPageData_RecordReplacesAndOrders(t *testing.T) {
	t.Parallel()
	data := pageData{Measured: []measurement{{Name: "versitygw", Version: "1"}, {Name: "moto", Version: "1"}}}
	data.record(measurement{Name: "moto", Version: "2"})
	data.record(measurement{Name: "embedded", Version: "1"})
	var got []string
	for _, m := range data.Measured {
		got = append(got, m.Name+m.Version)
	}
	if want := []string{"embedded1", "moto2", "versitygw1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPageData_RecordKeepsALostRace(t *testing.T) {
	t.Parallel()
	lost := report{Tier: "none", Checks: []check{{Name: "a", Outcome: "failed", Evidence: "lost"}, {Name: "b", Outcome: "passed"}, {Name: "c", Outcome: "undecided"}}}
	won := report{Tier: "full", Checks: []check{{Name: "a", Outcome: "passed"}, {Name: "b", Outcome: "undecided"}, {Name: "c", Outcome: "failed"}}}
	for _, c := range []struct {
		version, outcomes, tier string
		runs                    int
	}{
		{"1", "failed passed failed", "none", 2},
		{"2", "passed undecided failed", "full", 1},
	} {
		data := pageData{Measured: []measurement{{Name: "moto", Version: "1", Runs: 1, Unversioned: lost, Versioned: &lost}}}
		data.record(measurement{Name: "moto", Version: c.version, Runs: 1, Unversioned: won, Versioned: &won})
		for _, got := range []report{data.Measured[0].Unversioned, *data.Measured[0].Versioned} {
			var outcomes []string
			for _, check := range got.Checks {
				outcomes = append(outcomes, check.Outcome)
			}
			if got.Tier != c.tier || strings.Join(outcomes, " ") != c.outcomes || data.Measured[0].Runs != c.runs {
				t.Errorf("version %s: got %s, %v, %d runs; want %s, %s, %d", c.version, got.Tier, outcomes, data.Measured[0].Runs, c.tier, c.outcomes, c.runs)
			}
		}
	}
}

func TestPrior_Check(t *testing.T) {
	t.Parallel()
	good := prior{Store: "x", Create: "yes", Swap: "ignored", Delete: "?", Basis: "vendor", AsOf: "2026-01", Sources: []string{"https://example.com/a"}}
	if err := good.check(); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for name, spoil := range map[string]func(*prior){
		"answer": func(p *prior) { p.Delete = "maybe" },
		"basis":  func(p *prior) { p.Basis = "rumour" },
		"source": func(p *prior) { p.Sources = nil },
		"date":   func(p *prior) { p.AsOf = "" },
		"plain":  func(p *prior) { p.Sources = []string{"example.com"} },
		"none":   func(p *prior) { p.Basis = "none" },
	} {
		bad := good
		spoil(&bad)
		if err := bad.check(); err == nil {
			t.Errorf("%s: %+v was accepted", name, bad)
		}
	}
}
