package fleet

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"io"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/safejson"
)

// Inventory is what 'statelatch states' tells, as docs/JSON.md has it.
type Inventory struct {
	Scope  string      `json:"scope"`            // that was listed
	Scopes []string    `json:"scopes,omitempty"` // where there are several
	States []State     `json:"states"`           // see State
	Totals StateTotals `json:"totals"`           // of States
}

// StateTotals sum up states. Objects and Requests are of the whole listing.
type StateTotals struct {
	States       int          `json:"states"`                  // how many
	Locked       int          `json:"locked"`                  // of them
	Flagged      int          `json:"flagged"`                 // of them
	Flags        map[Flag]int `json:"flags"`                   // how many have each
	Bytes        int64        `json:"bytes"`                   // of all
	VersionBytes int64        `json:"version_bytes,omitempty"` // of all their versions
	Objects      int          `json:"objects"`                 // listed
	Requests     int          `json:"requests"`                // of the listing
}

// Add counts one more.
func (t *StateTotals) Add(s State) {
	t.States++
	t.Bytes += s.Size
	t.VersionBytes += s.VersionBytes
	if s.Locked {
		t.Locked++
	}
	if len(s.Flags) > 0 {
		t.Flagged++
		if t.Flags == nil {
			t.Flags = map[Flag]int{}
		}
	}
	for _, f := range s.Flags {
		t.Flags[f]++
	}
}

// WriteInventory writes an [Inventory] of the scopes as it comes: it may be long.
func WriteInventory(to io.Writer, scopes []string, states iter.Seq[State], totals StateTotals) error {
	head := Inventory{Scope: strings.Join(scopes, " "), States: []State{}, Totals: totals}
	if len(scopes) > 1 {
		head.Scopes = scopes
	}
	line, err := safejson.Marshal(head)
	if err != nil {
		return err
	}
	const list = `"states":[`
	at := bytes.Index(line, []byte(list+`],"totals":`)) + len(list)
	out := bufio.NewWriter(to)
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

// WriteInventoryCSV writes one record a state: all columns, whatever was looked at, so that they stay where they are.
// Without versions the columns of those are empty.
func WriteInventoryCSV(out io.Writer, states iter.Seq[State], versions bool) error {
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
		inAll, inAllBytes := "", ""
		if versions {
			inAll, inAllBytes = strconv.Itoa(s.Versions), strconv.FormatInt(s.VersionBytes, 10)
		}
		var anomalies []string
		for _, a := range s.Anomalies {
			anomalies = append(anomalies, string(a.Kind))
		}
		problem := ""
		if s.Problem != nil {
			problem = s.Problem.Error()
		}
		_ = w.Write(slices.Concat([]string{
			harmless(s.Key), harmless(s.WorkspaceName()), strconv.FormatBool(s.Exists), strconv.FormatInt(s.Size, 10),
			csvTime(s.Written),
			strconv.FormatBool(s.Locked), csvTime(s.LockedSince), strconv.Itoa(s.Rescued), strconv.Itoa(s.Snapshots), inAll,
			inAllBytes,
		}, header, []string{s.FlagNames(), strings.Join(anomalies, ", "), harmless(problem), s.Bucket}))
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

// FlagNames are the flags of s, for people.
func (s State) FlagNames() string {
	var names []string
	for _, f := range s.Flags {
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}

// KeyMatches is [path.Match], but that slashes are characters like all others; an empty pattern matches all.
func KeyMatches(pattern, key string) (bool, error) {
	if pattern == "" {
		return true, nil
	}
	const plain = "\uFFFF"
	return path.Match(strings.ReplaceAll(pattern, "/", plain), strings.ReplaceAll(key, "/", plain))
}
