package cutover

import "github.com/statelatch/statelatch/policy"

// Cleaned is what a cleaning found and did, as docs/JSON.md has it.
type Cleaned struct {
	DryRun bool          `json:"dry_run"` // nothing was removed
	Parts  []CleanedPart `json:"parts"`   // each with its table
}

// CleanedPart is about a bucket, or the part of one, and its table.
type CleanedPart struct {
	Scope   string `json:"scope"` // as it was named: a tree, or a bucket or prefix
	Table   string `json:"table"` // its name
	Removed        // or what would be
	Left    []Left `json:"left,omitempty"` // alone
	// Items are how many items, of all states, the table has at the end.
	Items       int              `json:"table_items"`
	Revoke      *policy.Document `json:"revoke,omitempty"`       // the rights that can go
	DeleteTable string           `json:"delete_table,omitempty"` // the command; only if the table is empty
}
