package history

import (
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/safejson"
)

// entryJSON is one version; docs/JSON.md documents it, and fields are only ever added.
type entryJSON struct {
	VersionID     string          `json:"version_id,omitempty"`
	Snapshot      bool            `json:"snapshot"`
	Current       bool            `json:"current"`
	Deleted       bool            `json:"deleted"`
	Serial        *uint64         `json:"serial,omitempty"`
	Lineage       string          `json:"lineage,omitempty"`
	EngineVersion string          `json:"engine_version,omitempty"`
	Encrypted     bool            `json:"encrypted"`
	Size          int64           `json:"size"`
	LastModified  time.Time       `json:"last_modified"`
	ETag          string          `json:"etag,omitempty"`
	Unreadable    string          `json:"unreadable,omitempty"`
	Unchanged     bool            `json:"unchanged"`
	Anomaly       string          `json:"anomaly,omitempty"`
	Who           string          `json:"who,omitempty"`
	Operation     string          `json:"operation,omitempty"`
	LockID        string          `json:"lock_id,omitempty"`
	Run           *statelatch.Run `json:"run,omitempty"`
	StoredBy      *StoredBy       `json:"stored_by,omitempty"`
	Disputed      bool            `json:"disputed,omitempty"`
}

// MarshalJSON implements [json.Marshaler]: a version as docs/JSON.md has it.
func (e Entry) MarshalJSON() ([]byte, error) {
	one := entryJSON{
		VersionID: e.VersionID, Snapshot: e.Snapshot, Current: e.Current, Deleted: !e.Exists,
		Lineage: e.Header.Lineage, EngineVersion: e.Header.TerraformVersion, Encrypted: e.Header.Encrypted(),
		Size: e.Size, LastModified: e.LastModified.UTC(), ETag: e.ETag, Unchanged: e.Unchanged, Anomaly: string(e.Anomaly),
		Serial: e.Serial(), StoredBy: e.StoredBy(), Disputed: e.Disputed(),
	}
	if e.Err != nil {
		one.Unreadable = e.Err.Error()
	}
	if e.Holder != nil {
		one.Who, one.Operation, one.LockID, one.Run = e.Holder.Who, e.Holder.Operation, e.Holder.ID, e.Holder.Run
	}
	return safejson.Marshal(one)
}
