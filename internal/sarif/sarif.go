// Package sarif writes findings as SARIF 2.1.0, as far as code scanning needs it: one run, rules, results with a place.
package sarif

import (
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/lazyre"
)

// Log is a SARIF log with one run, ready to be encoded.
type Log struct {
	Schema  string `json:"$schema"`
	Version string `json:"version"`
	Runs    []run  `json:"runs"`
}

// Result is one finding.
type Result struct {
	RuleID string
	Title  string // of the rule
	Level  string // "error", "warning" or "note"; empty: there is nothing wrong
	Text   string
	URI    string
	Line   int // 0: the whole of it
}

type run struct {
	Tool struct {
		Driver driver `json:"driver"`
	} `json:"tool"`
	Results []result `json:"results"`
}

type driver struct {
	Name           string `json:"name"`
	Version        string `json:"version"`
	InformationURI string `json:"informationUri"`
	Rules          []rule `json:"rules"`
}

type text struct {
	Text string `json:"text"`
}

type rule struct {
	ID               string `json:"id"`
	ShortDescription text   `json:"shortDescription"`
}

type result struct {
	RuleID    string     `json:"ruleId"`
	RuleIndex int        `json:"ruleIndex"`
	Kind      string     `json:"kind"`
	Level     string     `json:"level"`
	Message   text       `json:"message"`
	Locations []location `json:"locations"`
}

type location struct {
	PhysicalLocation struct {
		ArtifactLocation struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region *region `json:"region,omitempty"`
	} `json:"physicalLocation"`
}

type region struct {
	StartLine int `json:"startLine"`
}

// New makes a log; version is the program's.
func New(version string, results []Result) Log {
	var r run
	r.Results = []result{}
	r.Tool.Driver = driver{Name: "statelatch", Version: version, InformationURI: "https://github.com/statelatch/statelatch", Rules: []rule{}}
	index := map[string]int{}
	for _, f := range results {
		i, known := index[f.RuleID]
		if !known {
			i = len(r.Tool.Driver.Rules)
			index[f.RuleID] = i
			r.Tool.Driver.Rules = append(r.Tool.Driver.Rules, rule{ID: f.RuleID, ShortDescription: text{f.Title}})
		}
		one := result{RuleID: f.RuleID, RuleIndex: i, Kind: "fail", Level: f.Level, Message: text{plain(f.Text)}}
		if f.Level == "" {
			one.Kind, one.Level = "pass", "none" // the standard knows no other level for it
		}
		var at location
		at.PhysicalLocation.ArtifactLocation.URI = f.URI
		if f.Line > 0 {
			at.PhysicalLocation.Region = &region{f.Line}
		}
		one.Locations = []location{at}
		r.Results = append(r.Results, one)
	}
	return Log{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []run{r}}
}

var placeholder = lazyre.New(`\{(\d+)\}`)

// plain is a text that a viewer shows as it is. SARIF makes a link of [text](target) and a placeholder of {0} (3.11.5
// and 3.11.6), also where a key or the name of a file is all that they come from.
func plain(s string) string {
	s = placeholder.ReplaceAllString(statelatch.Printable(s), "{{$1}}")
	if !strings.Contains(s, "](") {
		return s
	}
	return strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`).Replace(s)
}
