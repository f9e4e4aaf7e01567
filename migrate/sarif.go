package migrate

import (
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/lazyre"
	"github.com/statelatch/statelatch/internal/safejson"
)

// SARIFLog is a SARIF 2.1.0 log with one run, ready to be encoded, as far as code scanning needs it.
type SARIFLog struct{ log sarifLog }

// MarshalJSON implements [json.Marshaler].
func (l SARIFLog) MarshalJSON() ([]byte, error) { return safejson.Marshal(l.log) }

type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool struct {
		Driver sarifDriver `json:"driver"`
	} `json:"tool"`
	Results []sarifResult `json:"results"`
}

type sarifDriver struct {
	Name           string      `json:"name"`
	Version        string      `json:"version"`
	InformationURI string      `json:"informationUri"`
	Rules          []sarifRule `json:"rules"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifRule struct {
	ID               string    `json:"id"`
	ShortDescription sarifText `json:"shortDescription"`
}

type sarifResult struct {
	RuleID    string          `json:"ruleId"`
	RuleIndex int             `json:"ruleIndex"`
	Kind      string          `json:"kind"`
	Level     Severity        `json:"level"`
	Message   sarifText       `json:"message"`
	Locations []sarifLocation `json:"locations"`
}

type sarifLocation struct {
	PhysicalLocation struct {
		ArtifactLocation struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region *sarifRegion `json:"region,omitempty"`
	} `json:"physicalLocation"`
}

type sarifRegion struct {
	StartLine int `json:"startLine"`
}

// SARIF is the findings as a SARIF log; version is the program's. Its paths are relative to the current directory if
// the tree was given so, as code scanning wants them; else to the tree.
func (t *Tree) SARIF(version string) SARIFLog {
	run := sarifRun{Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{
		Name: "statelatch", Version: version,
		InformationURI: "https://github.com/statelatch/statelatch", Rules: []sarifRule{},
	}
	index := map[string]int{}
	for _, f := range t.Findings {
		text := f.Text
		if f.Fix != "" {
			text += ". Fix: " + f.Fix
		}
		file := f.File
		if filepath.IsLocal(t.Dir) {
			file = path.Join(filepath.ToSlash(t.Dir), file)
		}
		i, known := index[f.ID]
		if !known {
			i = len(run.Tool.Driver.Rules)
			index[f.ID] = i
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{f.ID, sarifText{titles[f.ID]}})
		}
		var at sarifLocation
		at.PhysicalLocation.ArtifactLocation.URI = (&url.URL{Path: file}).String()
		if f.Line > 0 {
			at.PhysicalLocation.Region = &sarifRegion{f.Line}
		}
		run.Results = append(run.Results, sarifResult{
			f.ID, i, "fail", f.Severity,
			sarifText{sarifPlain(text)},
			[]sarifLocation{at},
		})
	}
	return SARIFLog{sarifLog{
		Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0",
		Runs: []sarifRun{run},
	}}
}

var sarifPlaceholder = lazyre.New(`\{(\d+)\}`)

// sarifPlain is a text that a viewer shows as it is. SARIF makes a link of [text](target) and a placeholder of {0}
// (3.11.5 and 3.11.6), also where a key or the name of a file is all that they come from.
func sarifPlain(s string) string {
	s = sarifPlaceholder.ReplaceAllString(statelatch.Printable(s), "{{$1}}")
	if !strings.Contains(s, "](") {
		return s
	}
	return strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`).Replace(s)
}
