package fleet

import (
	"cmp"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/safejson"
	"github.com/statelatch/statelatch/state"
)

// stateJSON is one state of an inventory; docs/JSON.md documents it, and fields are only ever added.
type stateJSON struct {
	Ref          string        `json:"ref"`
	Key          string        `json:"key"`
	Workspace    string        `json:"workspace"`
	Exists       bool          `json:"exists"`
	Size         int64         `json:"size"`
	Written      *time.Time    `json:"written,omitempty"`
	ETag         string        `json:"etag,omitempty"`
	VersionID    string        `json:"version_id,omitempty"`
	Locked       bool          `json:"locked"`
	LockedSince  *time.Time    `json:"locked_since,omitempty"`
	Rescued      int           `json:"rescued,omitempty"`
	Snapshots    int           `json:"snapshots,omitempty"`
	Versions     int           `json:"versions,omitempty"`
	VersionBytes int64         `json:"version_bytes,omitempty"`
	Header       *headerJSON   `json:"header,omitempty"`
	Problem      string        `json:"problem,omitempty"`
	Anomalies    []anomalyJSON `json:"anomalies,omitempty"`
	Flags        []Flag        `json:"flags"`
}

type headerJSON struct {
	Format           uint64 `json:"format,omitempty"`
	Serial           uint64 `json:"serial"`
	Lineage          string `json:"lineage,omitempty"`
	TerraformVersion string `json:"terraform_version,omitempty"`
	Encrypted        bool   `json:"encrypted"`
}

// anomalyJSON is two versions of which one never follows on the other under the lock.
type anomalyJSON struct {
	Kind   state.AnomalyKind `json:"kind"`
	Before sideJSON          `json:"before"`
	After  sideJSON          `json:"after"`
}

type sideJSON struct {
	VersionID string     `json:"version_id,omitempty"`
	Exists    bool       `json:"exists"`
	Serial    uint64     `json:"serial"`
	Lineage   string     `json:"lineage,omitempty"`
	Written   *time.Time `json:"written,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (st State) MarshalJSON() ([]byte, error) {
	one := stateJSON{
		Ref: st.Ref().String(), Key: st.Key, Workspace: st.WorkspaceName(),
		Exists: st.Exists, Size: st.Size, Written: told(st.Written), ETag: st.ETag, VersionID: st.VersionID,
		Locked: st.Locked, LockedSince: told(st.LockedSince), Rescued: st.Rescued, Snapshots: st.Snapshots,
		Versions: st.Versions, VersionBytes: st.VersionBytes, Flags: append([]Flag{}, st.Flags...),
	}
	if st.Problem != nil {
		one.Problem = st.Problem.Error()
	}
	if h := st.Header; h != nil {
		one.Header = &headerJSON{
			Format: h.Version, Serial: h.Serial, Lineage: h.Lineage, TerraformVersion: h.TerraformVersion,
			Encrypted: h.Encrypted(),
		}
	}
	for _, a := range st.Anomalies {
		one.Anomalies = append(one.Anomalies, anomalyJSON{Kind: a.Kind, Before: sideOf(a.Before), After: sideOf(a.After)})
	}
	return safejson.Marshal(one)
}

func sideOf(v state.Version) sideJSON {
	return sideJSON{
		VersionID: v.VersionID, Exists: v.Exists, Serial: v.Header.Serial, Lineage: v.Header.Lineage,
		Written: told(v.LastModified),
	}
}

func told(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// Ref is the address of the state.
func (st State) Ref() statelatch.Ref { return statelatch.Ref{Bucket: st.Bucket, Key: st.Key} }

// WorkspaceName is the name of its workspace, also of the default one.
func (st State) WorkspaceName() string { return cmp.Or(st.Workspace, statelatch.DefaultWorkspace) }
