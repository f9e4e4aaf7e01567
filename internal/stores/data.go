package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// pageData is all that the page says about stores.
type pageData struct {
	Measured []measurement
	Priors   []prior
}

// measurement is what the probe said of one version of one store, in one run or in several.
type measurement struct {
	Name        string  `json:"name"`    // as in known
	Title       string  `json:"title"`   // for people
	Version     string  `json:"version"` // of the store, as its program or package says
	Date        string  `json:"date"`    // of the last run, 2006-01-02
	Runs        int     `json:"runs"`
	Install     string  `json:"install"`
	Start       string  `json:"start"` // the command that serves
	Unversioned report  `json:"unversioned"`
	Versioned   *report `json:"versioned,omitempty"`
	NoVersions  string  `json:"no_versions,omitempty"` // why there is no versioned bucket
}

func (m measurement) versionedTier() string {
	if m.Versioned == nil {
		return "-"
	}
	return m.Versioned.Tier
}

// report is what is kept of the output of "statelatch probe -json" (docs/JSON.md).
type report struct {
	Tier    string  `json:"tier"`
	Clients int     `json:"clients"`
	Rounds  int     `json:"rounds"`
	Checks  []check `json:"checks"`
}

type check struct {
	Name        string `json:"name"`
	RequiredFor string `json:"required_for"`
	Outcome     string `json:"outcome"`
	Evidence    string `json:"evidence"`
}

// with gives the checks of one outcome: passed, failed or undecided.
func (r report) with(outcome string) []check {
	return slices.DeleteFunc(slices.Clone(r.Checks), func(c check) bool { return c.Outcome != outcome })
}

// prior is what others say about a store that nobody could start here.
type prior struct {
	Store   string   `json:"store"`
	Create  string   `json:"create"` // PUT If-None-Match: *; one of answers
	Swap    string   `json:"swap"`   // PUT If-Match
	Delete  string   `json:"delete"` // DELETE If-Match
	Basis   string   `json:"basis"`  // one of bases
	AsOf    string   `json:"as_of"`  // the newest source: 2006, 2006-01 or 2006-01-02
	Sources []string `json:"sources"`
	Note    string   `json:"note,omitempty"`
}

// The words of priors.json. "ignored" is the dangerous one: the condition is accepted and does nothing.
var (
	answers = []string{"yes", "no", "ignored", "varies", "?"}
	bases   = []string{"vendor", "measured", "reported", "none"}
)

func (p prior) check() error {
	for field, value := range map[string]string{"create": p.Create, "swap": p.Swap, "delete": p.Delete} {
		if !slices.Contains(answers, value) {
			return fmt.Errorf("%q: %s is %q, want one of %s", p.Store, field, value, strings.Join(answers, ", "))
		}
	}
	if !slices.Contains(bases, p.Basis) {
		return fmt.Errorf("%q: basis is %q, want one of %s", p.Store, p.Basis, strings.Join(bases, ", "))
	}
	if (p.Basis == "none") != (len(p.Sources) == 0) || (p.Basis == "none") != (p.AsOf == "") {
		return fmt.Errorf("%q: basis %q with as_of %q and %d sources: every basis but none has both", p.Store, p.Basis,
			p.AsOf, len(p.Sources))
	}
	for _, s := range p.Sources {
		if !strings.HasPrefix(s, "https://") {
			return fmt.Errorf("%q: source %q is no https address", p.Store, s)
		}
	}
	return nil
}

func measuredFile(docs string) string { return filepath.Join(docs, "stores", "measured.json") }

func load(docs string) (pageData, error) {
	var d pageData
	for file, into := range map[string]any{
		measuredFile(docs): &d.Measured, filepath.Join(docs, "stores", "priors.json"): &d.Priors,
	} {
		content, err := os.ReadFile(file)
		if err != nil {
			return d, err
		}
		if err := json.Unmarshal(content, into); err != nil {
			return d, fmt.Errorf("%s: %w", file, err)
		}
	}
	for _, p := range d.Priors {
		if err := p.check(); err != nil {
			return d, fmt.Errorf("priors.json: %w", err)
		}
	}
	return d, nil
}

func (d *pageData) save(docs string) error {
	content, err := json.MarshalIndent(d.Measured, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(measuredFile(docs), append(content, '\n'), 0o644) //nolint:gosec // documentation
}

// record puts m in the place of an older measurement of the same store, in the order of known. A race that was
// lost once was not lost by chance, so of one version the worst that any run saw stays.
func (d *pageData) record(m measurement) {
	for _, old := range d.Measured {
		if old.Name == m.Name && old.Version == m.Version && m.Version != thisVersion {
			m.Runs += old.Runs
			m.Unversioned = worse(old.Unversioned, m.Unversioned)
			if old.Versioned != nil && m.Versioned != nil {
				both := worse(*old.Versioned, *m.Versioned)
				m.Versioned = &both
			}
		}
	}
	d.Measured = slices.DeleteFunc(d.Measured, func(old measurement) bool { return old.Name == m.Name })
	d.Measured = append(d.Measured, m)
	order := knownNames()
	slices.SortStableFunc(d.Measured, func(a, b measurement) int {
		return slices.Index(order, a.Name) - slices.Index(order, b.Name)
	})
}

// worse takes the lower tier, and of each check the outcome that says most: failed, then passed, then undecided.
func worse(old, latest report) report {
	tiers := []string{"none", "cas", "full"}
	latest.Tier = tiers[max(0, min(slices.Index(tiers, old.Tier), slices.Index(tiers, latest.Tier)))]
	latest.Checks = slices.Clone(latest.Checks)
	for i, c := range latest.Checks {
		for _, before := range old.Checks {
			if before.Name == c.Name && (before.Outcome == "failed" || c.Outcome == "undecided") {
				latest.Checks[i] = before
			}
		}
	}
	return latest
}
