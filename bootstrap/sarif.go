package bootstrap

import (
	"net/url"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/sarif"
)

// SARIF is findings as a SARIF log; version is the program's. A finding without fault has the kind "pass".
func SARIF(findings []Finding, scope statelatch.Scope, version string) sarif.Log {
	results := make([]sarif.Result, 0, len(findings))
	at := (&url.URL{Scheme: "s3", Host: scope.Bucket, Path: scope.Prefix}).String()
	for _, f := range findings {
		r := sarif.Result{RuleID: f.ID, Title: titles[f.ID], Level: f.Severity.String(), Text: f.Text(), URI: at}
		if f.Severity == OK {
			r.Level = ""
		}
		results = append(results, r)
	}
	return sarif.New(version, results)
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
