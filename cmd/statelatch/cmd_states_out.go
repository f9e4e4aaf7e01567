package main

import (
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/state"
)

// statesJSON is an inventory.
type statesJSON struct {
	Scope  string          `json:"scope"`
	Scopes []string        `json:"scopes,omitempty"` // where there are several
	States []stateJSON     `json:"states"`
	Totals stateTotalsJSON `json:"totals"`
}

// stateTotalsJSON sums up the states shown. Objects and Requests are of the whole listing.
type stateTotalsJSON struct {
	States       int                `json:"states"`
	Locked       int                `json:"locked"`
	Flagged      int                `json:"flagged"`
	Flags        map[fleet.Flag]int `json:"flags"`
	Bytes        int64              `json:"bytes"`
	VersionBytes int64              `json:"version_bytes,omitempty"`
	Objects      int                `json:"objects"`
	Requests     int                `json:"requests"`
}

// stateJSON is one state of an inventory.
type stateJSON struct {
	Ref          string             `json:"ref"`
	Key          string             `json:"key"`
	Workspace    string             `json:"workspace"`
	Exists       bool               `json:"exists"`
	Size         int64              `json:"size"`
	Written      *time.Time         `json:"written,omitempty"`
	ETag         string             `json:"etag,omitempty"`
	VersionID    string             `json:"version_id,omitempty"`
	Locked       bool               `json:"locked"`
	LockedSince  *time.Time         `json:"locked_since,omitempty"`
	Rescued      int                `json:"rescued,omitempty"`
	Snapshots    int                `json:"snapshots,omitempty"`
	Versions     int                `json:"versions,omitempty"`
	VersionBytes int64              `json:"version_bytes,omitempty"`
	Header       *stateHeaderJSON   `json:"header,omitempty"`
	Problem      string             `json:"problem,omitempty"`
	Anomalies    []stateAnomalyJSON `json:"anomalies,omitempty"`
	Flags        []fleet.Flag       `json:"flags"`
}

type stateHeaderJSON struct {
	Format           uint64 `json:"format,omitempty"`
	Serial           uint64 `json:"serial"`
	Lineage          string `json:"lineage,omitempty"`
	TerraformVersion string `json:"terraform_version,omitempty"`
	Encrypted        bool   `json:"encrypted"`
}

// stateAnomalyJSON is two versions of which one never follows on the other under the lock.
type stateAnomalyJSON struct {
	Kind   state.AnomalyKind `json:"kind"`
	Before anomalySideJSON   `json:"before"`
	After  anomalySideJSON   `json:"after"`
}

type anomalySideJSON struct {
	VersionID string     `json:"version_id,omitempty"`
	Exists    bool       `json:"exists"`
	Serial    uint64     `json:"serial"`
	Lineage   string     `json:"lineage,omitempty"`
	Written   *time.Time `json:"written,omitempty"`
}

func statesJSONOf(scopes []string, states []bucketState, totals stateTotalsJSON) statesJSON {
	out := statesJSON{Scope: strings.Join(scopes, " "), States: make([]stateJSON, 0, len(states)), Totals: totals}
	if len(scopes) > 1 {
		out.Scopes = scopes
	}
	for _, s := range states {
		one := stateJSON{
			Ref: statelatch.Ref{Bucket: s.bucket, Key: s.Key}.String(), Key: s.Key, Workspace: workspaceName(s.State),
			Exists: s.Exists, Size: s.Size, Written: nonZero(s.Written), ETag: s.ETag, VersionID: s.VersionID,
			Locked: s.Locked, LockedSince: nonZero(s.LockedSince), Rescued: s.Rescued, Snapshots: s.Snapshots,
			Versions: s.Versions, VersionBytes: s.VersionBytes, Problem: problemOf(s.State),
			Flags: append([]fleet.Flag{}, s.Flags...),
		}
		if h := s.Header; h != nil {
			one.Header = &stateHeaderJSON{
				Format: h.Version, Serial: h.Serial, Lineage: h.Lineage, TerraformVersion: h.TerraformVersion,
				Encrypted: h.Encrypted(),
			}
		}
		for _, a := range s.Anomalies {
			one.Anomalies = append(one.Anomalies,
				stateAnomalyJSON{Kind: a.Kind, Before: anomalySide(a.Before), After: anomalySide(a.After)})
		}
		out.States = append(out.States, one)
	}
	return out
}

func anomalySide(v state.Version) anomalySideJSON {
	return anomalySideJSON{
		VersionID: v.VersionID, Exists: v.Exists, Serial: v.Header.Serial, Lineage: v.Header.Lineage,
		Written: nonZero(v.LastModified),
	}
}

// writeCSV writes one record a state: all columns, whatever was asked for, so that they stay where they are.
func (o statesOptions) writeCSV(out io.Writer, states []bucketState) error {
	w := csv.NewWriter(out)
	w.UseCRLF = true
	_ = w.Write([]string{ // w remembers errors
		"key", "workspace", "exists", "size", "written", "locked", "locked_since", "rescued", "snapshots", "versions",
		"version_bytes",
		"format", "serial", "lineage", "terraform_version", "encrypted", "flags", "anomalies", "problem", "bucket",
	})
	for _, s := range states {
		header := []string{"", "", "", "", ""}
		if h := s.Header; h != nil {
			header = []string{
				strconv.FormatUint(h.Version, 10), strconv.FormatUint(h.Serial, 10), harmless(h.Lineage),
				harmless(h.TerraformVersion), strconv.FormatBool(h.Encrypted()),
			}
		}
		versions, versionBytes := "", ""
		if o.versions {
			versions, versionBytes = strconv.Itoa(s.Versions), strconv.FormatInt(s.VersionBytes, 10)
		}
		var anomalies []string
		for _, a := range s.Anomalies {
			anomalies = append(anomalies, string(a.Kind))
		}
		_ = w.Write(slices.Concat([]string{
			harmless(s.Key), harmless(workspaceName(s.State)), strconv.FormatBool(s.Exists), strconv.FormatInt(s.Size, 10),
			csvTime(s.Written),
			strconv.FormatBool(s.Locked), csvTime(s.LockedSince), strconv.Itoa(s.Rescued), strconv.Itoa(s.Snapshots), versions,
			versionBytes,
		}, header, []string{flagNames(s.State), strings.Join(anomalies, ", "), harmless(problemOf(s.State)), s.bucket}))
	}
	w.Flush()
	return w.Error()
}

func csvTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// harmless is somebody else's text in a cell: neither a terminal nor a spreadsheet does anything but show it.
func harmless(s string) string {
	s = statelatch.Printable(s)
	if s != "" && strings.ContainsRune("=+-@", rune(s[0])) {
		return "'" + s
	}
	return s
}
