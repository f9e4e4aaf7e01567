package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/safejson"
)

// statesJSON is an inventory.
type statesJSON struct {
	Scope  string          `json:"scope"`
	Scopes []string        `json:"scopes,omitempty"` // where there are several
	States []fleet.State   `json:"states"`
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

// printJSON writes the inventory as it comes: it may be long.
func (o statesOptions) printJSON(
	term terminal, scopes []string, states iter.Seq[fleet.State], totals stateTotalsJSON,
) error {
	head := statesJSON{Scope: strings.Join(scopes, " "), States: []fleet.State{}, Totals: totals}
	if len(scopes) > 1 {
		head.Scopes = scopes
	}
	line, err := safejson.Marshal(head)
	if err != nil {
		return err
	}
	const list = `"states":[`
	at := bytes.Index(line, []byte(list+`],"totals":`)) + len(list)
	out := bufio.NewWriter(term.Out)
	_, _ = out.Write(line[:at]) // it remembers errors
	comma := ""
	for s := range states {
		one, err := safejson.Marshal(s)
		if err != nil {
			return err
		}
		_, _ = out.WriteString(comma)
		_, _ = out.Write(one)
		comma = ","
	}
	_, _ = out.Write(append(line[at:], '\n'))
	return out.Flush()
}

// writeCSV writes one record a state: all columns, whatever was asked for, so that they stay where they are.
func (o statesOptions) writeCSV(out io.Writer, states iter.Seq[fleet.State]) error {
	w := csv.NewWriter(out)
	w.UseCRLF = true
	_ = w.Write([]string{ // w remembers errors
		"key", "workspace", "exists", "size", "written", "locked", "locked_since", "rescued", "snapshots", "versions",
		"version_bytes",
		"format", "serial", "lineage", "terraform_version", "encrypted", "flags", "anomalies", "problem", "bucket",
	})
	for s := range states {
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
			harmless(s.Key), harmless(s.WorkspaceName()), strconv.FormatBool(s.Exists), strconv.FormatInt(s.Size, 10),
			csvTime(s.Written),
			strconv.FormatBool(s.Locked), csvTime(s.LockedSince), strconv.Itoa(s.Rescued), strconv.Itoa(s.Snapshots), versions,
			versionBytes,
		}, header, []string{flagNames(s), strings.Join(anomalies, ", "), harmless(problemOf(s)), s.Bucket}))
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
