package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/internal/tree"
	"github.com/statelatch/statelatch/migrate"
)

const migrateBlock = `terraform {
  required_version = ">= 1.10"

  backend "s3" {
    bucket         = "acme-state"
    key            = "app/terraform.tfstate"
    region         = "us-east-1"
    secret_key     = "hush"
    dynamodb_table = "locks" # ours
  }
}
`

func oneRoot(t *testing.T) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	file = filepath.Join(dir, "main.tf")
	if err := os.WriteFile(file, []byte(migrateBlock), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, file
}

func TestMigrate_Usage(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	dir, _ := oneRoot(t)
	for _, tc := range []struct {
		args  []string
		code  int
		texts []string
	}{
		{[]string{"migrate", "-h"}, 0, []string{"scan", "plan", "apply"}},
		{[]string{"migrate", "undo"}, 2, []string{`"undo"`}},
		{[]string{"migrate", "scan", "-h"}, 0, []string{"Examples:", "-format sarif"}},
		{[]string{"migrate", "scan", "a", "b"}, 2, []string{"one directory"}},
		{[]string{"migrate", "scan", "s3://b"}, 2, []string{"not a bucket"}},
		{[]string{"migrate", "scan", filepath.Join(dir, "nowhere")}, 2, []string{"nowhere"}},
		{[]string{"migrate", "scan", filepath.Join(dir, "main.tf")}, 2, []string{"it is a file"}},
		{[]string{"migrate", "scan", "-fail-on", "bad", dir}, 2, []string{"-fail-on", "bad"}},
		{[]string{"migrate", "scan", "-format", "xml", dir}, 2, []string{"sarif"}},
		{[]string{"migrate", "scan", "-engine", "new", dir}, 2, []string{`"new"`, "1.11.4"}},
		{[]string{"migrate", "plan", dir}, 2, []string{"-phase is missing"}},
		{[]string{"migrate", "plan", "-phase", "3", dir}, 2, []string{"-phase 3"}},
		{[]string{"migrate", "apply", "-h"}, 0, []string{"-auto-approve", "-phase 1|2", "Examples:"}},
		{[]string{"migrate", "apply", "-phase", "1", dir}, 2, []string{"-auto-approve"}},
	} {
		t.Logf("%q", tc.args)
		s.want(s.runContext(t.Context(), tc.args...), tc.code, tc.texts...)
	}
}

func TestMigrateScan_Outputs(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	dir, _ := oneRoot(t)
	o := s.run("migrate", "scan", dir)
	s.want(o, 0, "table", "s3://acme-state/app/terraform.tfstate", "main.tf:4", "main.tf:9", "1 root: 1 table", "plan -phase 1")
	s.want(s.run("migrate", "scan", "-fail-on", "error", dir), 0)
	s.want(s.run("migrate", "scan", "-fail-on", "warning", dir), 1)
	s.want(s.run("migrate", "scan", t.TempDir()), 0, "No backend")

	o = s.run("migrate", "scan", "-json", dir)
	s.want(o, 0)
	type value struct {
		Value string
		Line  int
	}
	var got struct {
		Roots []struct {
			Ref         string
			Table       *value `json:"dynamodb_table"`
			UseLockfile *value `json:"use_lockfile"`
		}
		Findings []migrate.Finding
	}
	if err := json.Unmarshal([]byte(o.out), &got); err != nil || len(got.Roots) != 1 || len(got.Findings) != 1 {
		t.Fatalf("got %s (%v)", o.out, err)
	}
	if r := got.Roots[0]; r.Table == nil || r.Table.Value != "locks" || r.Table.Line != 9 || r.UseLockfile != nil || r.Ref != "s3://acme-state/app/terraform.tfstate" {
		t.Errorf("got %+v", r)
	}
	if strings.Contains(o.out, "hush") {
		t.Error("the output has a secret")
	}

	o = s.run("migrate", "scan", "-format", "sarif", dir)
	var log struct {
		Version string
		Runs    []struct {
			Results []struct {
				RuleID    string
				Level     string
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(o.out), &log); err != nil || log.Version != "2.1.0" || len(log.Runs) != 1 || len(log.Runs[0].Results) != 1 {
		t.Fatalf("got %s (%v)", o.out, err)
	}
	r := log.Runs[0].Results[0]
	if at := r.Locations[0].PhysicalLocation; r.RuleID != "table-only" || r.Level != "warning" || at.ArtifactLocation.URI != "main.tf" || at.Region.StartLine != 9 {
		t.Errorf("got %+v", r)
	}
}

func TestMigrate_PlanAndApply(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	dir, file := oneRoot(t)
	wantFile := func(want string) {
		t.Helper()
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Fatalf("got %s (%v), want %s", got, err, want)
		}
	}
	const line = "    dynamodb_table = \"locks\" # ours\n"
	phase1 := strings.Replace(migrateBlock, line, line+"    use_lockfile   = true\n", 1)
	o := s.run("migrate", "plan", "-phase", "1", dir)
	s.want(o, 0, "+++ b/main.tf", "+    use_lockfile   = true", "1 root in 1 file")
	if strings.Contains(o.out, "hush") {
		t.Errorf("the diff has a secret: %s", o.out)
	}
	if strings.Contains(o.out, "Phase 1") {
		t.Errorf("stdout is not the diff alone: %s", o.out)
	}
	s.want(s.run("migrate", "plan", "-phase", "2", dir), 0, "not in phase 1 yet", "0 roots in 0 files")
	s.want(s.run("migrate", "apply", "-phase", "1", "-dry-run", dir), 0, "+    use_lockfile   = true")
	wantFile(migrateBlock)

	s.typed = "no\n"
	s.want(s.run("migrate", "apply", "-phase", "1", dir), 1, "not confirmed")
	wantFile(migrateBlock)
	s.typed = "yes\n"
	s.want(s.run("migrate", "apply", "-phase", "1", dir), 0, "Edited: main.tf", "init -reconfigure", "init-phase-1.sh", "migrate verify")
	wantFile(phase1)
	s.typed = ""
	s.want(s.run("migrate", "apply", "-phase", "1", dir), 0, "1 there already")

	o = s.run("migrate", "apply", "-phase", "2", "-auto-approve", "-json", dir)
	s.want(o, 0)
	var got struct {
		Roots   []struct{ Status string }
		Files   []struct{ Diff string }
		Written []string
		Script  string
	}
	if err := json.Unmarshal([]byte(o.out), &got); err != nil || len(got.Written) != 1 || got.Written[0] != "main.tf" || got.Roots[0].Status != "edit" || !strings.Contains(got.Files[0].Diff, "-    dynamodb_table") {
		t.Fatalf("got %s (%v)", o.out, err)
	}
	if got.Script == "" || got.Script != filepath.Join(dir, "init-phase-2.sh") {
		t.Errorf("got script %q", got.Script)
	}
	s.want(s.run("migrate", "scan", "-fail-on", "note", dir), 0, "1 lockfile")
}

// The plan of the whole tree tells of everything that stays behind.
func TestMigratePlan_TellsWhatStays(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	dir := t.TempDir()
	truth, err := tree.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := s.run("migrate", "plan", "-phase", "1", "-wide", dir)
	s.want(o, 0, "notes/Makefile:3")
	for _, r := range truth.Roots {
		if stays := r.Plan1 == "refused" || r.Plan1 == "manual"; stays != (strings.Contains(o.err, "moved: "+r.Dir) || strings.Contains(o.err, "hand: "+r.Dir)) {
			t.Errorf("%s is %s, and the plan does not say so, or says otherwise", r.Dir, r.Plan1)
		}
	}
}

// Hundreds of roots of which the same is to be said fill a line or two.
func TestMigrate_Groups(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	dir := t.TempDir()
	for i := range 60 {
		sub := filepath.Join(dir, fmt.Sprintf("r%02d", i))
		text := strings.NewReplacer("app/", fmt.Sprintf("r%02d/", i), "  required_version = \">= 1.10\"\n", "").Replace(migrateBlock)
		if err := errors.Join(os.Mkdir(sub, 0o700), os.WriteFile(filepath.Join(sub, "main.tf"), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	o := s.run("migrate", "scan", dir)
	s.want(o, 0, "table-only (60)", "r00/main.tf:8, r01/main.tf:8, r02/main.tf:8 and 57 more", "engine-may-be-too-old (60)", "-engine VERSION")
	if n := strings.Count(o.out, "\n"); n > 60+12 {
		t.Errorf("got %d lines for 60 roots", n)
	}
	if n := strings.Count(s.run("migrate", "scan", "-wide", dir).out, "table-only"); n != 60 {
		t.Errorf("got %d lines of table-only with -wide, want 60", n)
	}
	o = s.run("migrate", "plan", "-phase", "1", dir)
	s.want(o, 0, "Not moved (60): r00, r01, r02 and 57 more", "-engine VERSION", "0 roots in 0 files")
	if n := strings.Count(o.err, "\n"); n > 4 {
		t.Errorf("got %d lines: %s", n, o.err)
	}
	s.want(s.run("migrate", "plan", "-phase", "1", "-engine", "1.11.4", dir), 0, "60 roots in 60 files to move")
	o = s.run("migrate", "apply", "-phase", "1", "-engine", "tofu 1.10", "-auto-approve", dir)
	s.want(o, 0, "init-phase-1.sh", "60 roots", "and 57 more")
}
