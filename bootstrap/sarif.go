package bootstrap

import (
	"net/url"

	"github.com/statelatch/statelatch"
)

// SARIF 2.1.0, as far as findings need it.

// SARIFLog is a SARIF log with one run, ready to be encoded.
type SARIFLog struct {
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
	Level     string          `json:"level"`
	Message   sarifText       `json:"message"`
	Locations []sarifLocation `json:"locations"`
}

type sarifLocation struct {
	PhysicalLocation struct {
		ArtifactLocation struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
	} `json:"physicalLocation"`
}

// SARIF is findings as a SARIF log; version is the program's. A finding without fault has the kind "pass".
func SARIF(findings []Finding, scope statelatch.Scope, version string) SARIFLog {
	var run sarifRun
	run.Results = []sarifResult{}
	run.Tool.Driver = sarifDriver{Name: "statelatch", Version: version, InformationURI: "https://github.com/statelatch/statelatch", Rules: []sarifRule{}}
	index := map[string]int{}
	for _, f := range findings {
		i, known := index[f.ID]
		if !known {
			i = len(run.Tool.Driver.Rules)
			index[f.ID] = i
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{ID: f.ID, ShortDescription: sarifText{titles[f.ID]}})
		}
		r := sarifResult{RuleID: f.ID, RuleIndex: i, Kind: "fail", Level: f.Severity.String(), Message: sarifText{statelatch.Printable(f.Text())}}
		if f.Severity == OK {
			r.Kind, r.Level = "pass", "none" // the standard knows no other level for it
		}
		var at sarifLocation
		at.PhysicalLocation.ArtifactLocation.URI = (&url.URL{Scheme: "s3", Host: scope.Bucket, Path: scope.Prefix}).String()
		r.Locations = []sarifLocation{at}
		run.Results = append(run.Results, r)
	}
	return SARIFLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
}

// Text is a finding in one line.
func (f Finding) Text() string {
	s := f.What
	if f.Why != "" {
		s += ": " + f.Why
	}
	if f.Fix != "" {
		s += ". Fix: " + f.Fix
	}
	return s
}

// titles are what findings are about.
var titles = map[string]string{
	"plain-http":                "Requests are encrypted on their way",
	idVersioning:                "Old versions are kept",
	"mfa-delete":                "Deleting a version needs MFA",
	idEncryption:                "Objects are encrypted by default",
	"acl-public":                "The bucket's ACL lets no strangers in",
	idPublicAccess:              "Public access is blocked",
	idPolicy:                    "The bucket policy can be read",
	"policy-public":             "The bucket policy lets no strangers in",
	"policy-tls":                "The bucket policy refuses requests without TLS",
	"object-lock":               "Object Lock does not keep the versions of locks",
	idLifecycle:                 "Lifecycle rules can be read",
	"lifecycle-expires-states":  "No lifecycle rule deletes states",
	"lifecycle-archives-states": "No lifecycle rule archives states",
	"lifecycle-short-history":   "Old versions are kept long enough",
	"lifecycle-litter":          "A lifecycle rule removes the old versions of locks",
	"replication":               "Locks are not replicated",
	"requester-pays":            "The bucket's owner pays",
	"stale-locks":               "No lock is older than a day",
	"lock-litter":               "Few old versions of locks are left",
}
