package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/plural"
)

func stateBody(serial int, lineage, output string) string {
	return fmt.Sprintf(`{"version":4,"terraform_version":"1.9.0","serial":%d,"lineage":%q,"outputs":{"x":{"value":%q,"type":"string"}},"resources":[]}`,
		serial, lineage, output)
}

func stockedShell(t *testing.T) *shell {
	t.Helper()
	s := newShell(t).withStore()
	for _, o := range [][2]string{
		{"prod/a.tfstate", stateBody(1, "aaaaaaaa-1", "a")},
		{"prod/a.tfstate", stateBody(1, "aaaaaaaa-1", "lost")},
		{"prod/a.tfstate.tflock", "{}"},
		{"dev/b.tfstate", ""},
		{"=HYPERLINK(1).tfstate", "hello"},
		{"readme\x1b[31m.txt", "hello"},
	} {
		s.put(o[0], []byte(o[1]))
	}
	return s
}

func TestStates_Table(t *testing.T) {
	t.Parallel()
	s := stockedShell(t)
	o := s.run("states", "s3://demo")
	s.want(o, 0, "prod/a.tfstate", "zero bytes", "3 states in s3://demo", "1 locked, 1 flagged", "in 1 request")
	if strings.Contains(o.out, "readme") || strings.Contains(o.out, "SERIAL") || strings.Contains(o.out, "flagged") {
		t.Errorf("got\n%s\nwant neither what is no state, nor what was not asked for, nor talk", o.out)
	}
	s.want(s.run("states", "-all", "s3://demo"), 0, `readme\x1b[31m.txt`, "4 states")
	s.want(s.run("states", "-headers", "s3://demo"), 0, "aaaaaaaa", "1.9.0", "unreadable\n  invalid state: not a JSON object")
	s.want(s.run("states", "-versions", "s3://demo"), 0, "never locked", "in all versions")
	o = s.run("states", "-anomalies", "-fail-on-flags", "-match", "*/a.*", "s3://demo")
	s.want(o, 1, "serial anomaly", "same serial, different content", "overwritten version", "1 state in s3://demo")
	o = s.run("states", "-flagged", "s3://demo")
	if s.want(o, 0, "dev/b.tfstate", "1 state in"); strings.Contains(o.out, "prod/") {
		t.Errorf("-flagged shows a state without a flag:\n%s", o.out)
	}
	o = s.run("states", "-locked", "s3://demo")
	if s.want(o, 0, "prod/a.tfstate", "1 state in"); strings.Contains(o.out, "dev/") {
		t.Errorf("-locked shows a state that is not locked:\n%s", o.out)
	}
	o = s.run("states", "-fail-on-flags", "s3://demo/nothing")
	if s.want(o, 0, "0 states in s3://demo/nothing"); o.out != "" {
		t.Errorf("no states: got %q", o.out)
	}
	s.want(s.run("states", "s3://nosuch"), 10, "there is no bucket")
}

// statesRead is what a program reads of an inventory.
type statesRead struct {
	Scope  string
	States []struct {
		Ref, Key    string
		Locked      bool
		LockedSince *time.Time `json:"locked_since"`
		Header      struct{ Serial uint64 }
		Versions    int
		Anomalies   []struct {
			Before struct {
				VersionID string `json:"version_id"`
			}
		}
	}
	Totals fleet.StateTotals
}

func TestStates_JSON(t *testing.T) {
	t.Parallel()
	s := stockedShell(t)
	o := s.run("states", "-json", "-anomalies", "s3://demo/prod")
	s.want(o, 0)
	var got statesRead
	if err := json.Unmarshal([]byte(o.out), &got); err != nil || strings.Count(o.out, "\n") != 1 || o.err != "" {
		t.Fatalf("not one line of JSON alone: %v: %s%s", err, o.out, o.err)
	}
	if len(got.States) != 1 || got.Scope != "s3://demo/prod" || got.Totals.States != 1 || got.Totals.Locked != 1 || got.Totals.Flags["serial anomaly"] != 1 {
		t.Fatalf("got %s", o.out)
	}
	st := got.States[0]
	if st.Key != "prod/a.tfstate" || !st.Locked || st.LockedSince == nil || st.Header.Serial != 1 || st.Versions != 2 ||
		len(st.Anomalies) != 1 || st.Anomalies[0].Before.VersionID == "" {
		t.Errorf("got %s", o.out)
	}
	s.want(s.run("states", "-json", "s3://demo/none"), 0, `"states":[]`)
}

func TestStates_CSV(t *testing.T) {
	t.Parallel()
	s := stockedShell(t)
	o := s.run("states", "-csv", "-all", "-headers", "s3://demo")
	s.want(o, 0)
	records, err := csv.NewReader(strings.NewReader(o.out)).ReadAll()
	if err != nil || len(records) != 5 || records[0][0] != "key" || !strings.Contains(o.out, "\r\n") {
		t.Fatalf("got %v: %q", err, o.out)
	}
	if got, want := records[1][0], "'=HYPERLINK(1).tfstate"; got != want {
		t.Errorf("a key that is a formula: got %q, want %q", got, want)
	}
	if got, want := records[4][0], `readme\x1b[31m.txt`; got != want {
		t.Errorf("a key that drives terminals: got %q, want %q", got, want)
	}
}

func TestStates_Usage(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.want(s.run("states", "-h"), 0, "statelatch states [flags] [s3://BUCKET[/PREFIX]]", "-match GLOB", "Examples:")
	s.want(s.run("states", "-csv", "-json", "s3://demo"), 2, "exclude")
	s.want(s.run("states", "-match", "[", "s3://demo"), 2, `-match "["`)
	s.want(s.run("states", "s3://demo", "s3://demo"), 2, "given twice")
}

func TestKeyMatches_Table(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern, key string
		want         bool
	}{
		{"", "x", true},
		{"*.tfstate", "a/b/c.tfstate", true},
		{"*.tfstate", "a/b/c.tfstate.bak", false},
		{"prod/*", "prod/a/b", true},
		{"prod/*", "env:/dev/prod/a", false},
		{"a?c", "a/c", true},
		{"a[b/]c", "a/c", true},
		{`\*`, "*", true},
	} {
		if got, err := fleet.KeyMatches(tc.pattern, tc.key); got != tc.want || err != nil {
			t.Errorf("fleet.KeyMatches(%q, %q) = %t, %v, want %t", tc.pattern, tc.key, got, err, tc.want)
		}
	}
}

func TestStates_Progress_OnTerminalsOnly(t *testing.T) {
	t.Parallel()
	s := stockedShell(t)
	for _, live := range []bool{true, false} {
		var out, errs bytes.Buffer
		args := append([]string{"statelatch", "states", "-headers", "s3://demo"}, s.flags...)
		code := run(context.Background(), args, terminal{In: strings.NewReader(""), Out: &out, Err: &errs, Live: live, Getenv: func(string) string { return "" }})
		if shown := strings.Contains(errs.String(), "Reading states"); code != 0 || shown != live || strings.Contains(out.String(), "\r") {
			t.Errorf("live %t: exit %d, stderr %q", live, code, errs.String())
		}
	}
}

func TestByteSize_Table(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.0 MiB", 1<<63 - 1: "8.0 EiB"} {
		if got := plural.Bytes(n); got != want {
			t.Errorf("plural.Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}
