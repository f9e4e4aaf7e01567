package migrate

import (
	"net/url"
	"path"
	"path/filepath"

	"github.com/statelatch/statelatch/internal/sarif"
)

// SARIF is the findings as a SARIF log; version is the program's. Its paths are relative to the current directory if the
// tree was given so, as code scanning wants them; else to the tree.
func (t *Tree) SARIF(version string) sarif.Log {
	results := make([]sarif.Result, 0, len(t.Findings))
	for _, f := range t.Findings {
		text := f.Text
		if f.Fix != "" {
			text += ". Fix: " + f.Fix
		}
		file := f.File
		if filepath.IsLocal(t.Dir) {
			file = path.Join(filepath.ToSlash(t.Dir), file)
		}
		results = append(results, sarif.Result{RuleID: f.ID, Title: titles[f.ID], Level: string(f.Severity), Text: text, URI: (&url.URL{Path: file}).String(), Line: f.Line})
	}
	return sarif.New(version, results)
}
