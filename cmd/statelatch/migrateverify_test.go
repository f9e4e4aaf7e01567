package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/cutover"
	"github.com/statelatch/statelatch/internal/dynamotest"
	"github.com/statelatch/statelatch/migrate"
)

const otherID = "11111111-2222-3333-4444-555555555555"

// phased writes a tree of roots of the bucket "demo", one for each name, and returns it.
func phased(t *testing.T, arguments string, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("terraform {\n  required_version = \">= 1.10\"\n  backend \"s3\" {\n    bucket = \"demo\"\n    key    = \"%s/terraform.tfstate\"\n%s\n  }\n}\n", name, arguments)
		if err := os.WriteFile(filepath.Join(dir, name, "main.tf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	inTable  = `    dynamodb_table = "locks"`
	inBoth   = "    use_lockfile = true\n" + inTable
	inObject = "    use_lockfile = true"
)

// item puts the lock item of a table-only client.
func (s *tabled) item(key string) statelatch.LockInfo {
	info := statelatch.LockInfo{ID: otherID, Operation: "OperationTypeApply", Who: "ann@elsewhere", Version: "1.10.0", Path: "demo/" + key}
	s.items.SetItem("locks", dynamotest.StringItem("demo/"+key, "Info", string(info.Marshal())))
	return info
}

func (s *tabled) object(key string) {
	info := statelatch.LockInfo{ID: otherID, Operation: "OperationTypeApply", Who: "ann@elsewhere", Version: "1.10.0", Path: "demo/" + key}
	s.put(key+".tflock", info.Marshal())
}

func TestMigrateVerify_Verdicts(t *testing.T) {
	t.Parallel()
	body := stateBody(3, "aaaaaaaa-1", "a")
	both := func(s *tabled) { s.object(demoKey); s.item(demoKey) }
	for name, tc := range map[string]struct {
		arguments string
		before    func(s *tabled)
		code      int
		texts     []string
	}{
		"phase 0":                   {inTable, func(*tabled) {}, 0, []string{"ready for phase 1", "in step"}},
		"phase 0, held":             {inTable, func(s *tabled) { s.item(demoKey) }, 0, []string{"ready for phase 1"}},
		"phase 0, stale":            {inTable, func(s *tabled) { s.set(demoKey, md5Hex("x")) }, 1, []string{"not ready", "not in step (stale)", "statelatch digest fix"}},
		"phase 0, file only client": {inTable, func(s *tabled) { s.object(demoKey) }, 1, []string{"not ready", "the lock object alone"}},
		"phase 1":                   {inBoth, func(*tabled) {}, 0, []string{"ready for phase 2"}},
		"phase 1, held":             {inBoth, both, 0, []string{"ready for phase 2"}},
		"phase 1, client of 0":      {inBoth, func(s *tabled) { s.item(demoKey) }, 1, []string{"not ready", "ann@elsewhere", "still in phase 0"}},
		"phase 1, in a workspace":   {inBoth, func(s *tabled) { s.item("env:/w/" + demoKey) }, 1, []string{"not ready", "s3://demo/env:/w/", "still in phase 0"}},
		"phase 1, another state":    {inBoth, func(s *tabled) { s.item("app2/terraform.tfstate") }, 0, []string{"ready for phase 2"}},
		"phase 1, two holders": {inBoth, func(s *tabled) {
			s.object(demoKey)
			s.items.SetItem("locks", dynamotest.StringItem("demo/"+demoKey, "Info", string(statelatch.LockInfo{ID: "other", Who: "bob"}.Marshal())))
		}, 1, []string{"not ready", "another holder's"}},
		"phase 2":               {inObject, func(s *tabled) { s.set(demoKey, md5Hex("x")) }, 0, []string{"done", "1 digest left in the table"}},
		"phase 2, held":         {inObject, func(s *tabled) { s.object(demoKey) }, 0, []string{"done"}},
		"phase 2, client of 1":  {inObject, both, 1, []string{"not ready", "still in phase 1"}},
		"phase 2, client of 0":  {inObject, func(s *tabled) { s.item(demoKey) }, 1, []string{"not ready", "do not see it"}},
		"no lock":               {"", func(*tabled) {}, 1, []string{"not ready", "it has no lock"}},
		"no state, odd digest":  {inTable, func(s *tabled) { s.remove(demoKey); s.set(demoKey, "bad") }, 1, []string{"not ready", "malformed", "no state yet"}},
		"the table is not told": {"    dynamodb_table = var.table", func(*tabled) {}, 0, []string{"ready for phase 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTabled(t)
			s.put(demoKey, []byte(body))
			s.set(demoKey, md5Hex(body))
			tc.before(s)
			s.want(s.run("migrate", "verify", phased(t, tc.arguments, "app")), tc.code, tc.texts...)
		})
	}
}

func TestMigrateVerify_JSONAndUsage(t *testing.T) {
	t.Parallel()
	s := newTabled(t)
	s.put(demoKey, []byte(stateBody(3, "aaaaaaaa-1", "a")))
	s.item(demoKey)
	dir := phased(t, inBoth, "app", "next")
	o := s.run("migrate", "verify", "-json", dir)
	s.want(o, 1)
	var got verifiedJSON
	if err := json.Unmarshal([]byte(o.out), &got); err != nil || len(got.Roots) != 2 {
		t.Fatalf("got %s (%v)", o.out, err)
	}
	app, next := got.Roots[0], got.Roots[1]
	if app.Verdict != cutover.NotReady || len(app.InTheWay) != 1 || !app.Exists || app.Serial == nil || *app.Serial != 3 || app.Table != "locks" || app.Phase != migrate.PhaseBoth ||
		len(app.Locks) != 1 || app.Locks[0].Where != "table" || app.Locks[0].ID != otherID {
		t.Errorf("got %+v", app)
	}
	if next.Verdict != cutover.ReadyForPhase2 || next.Exists || len(next.Locks) != 0 || len(next.Notes) != 1 {
		t.Errorf("got %+v", next)
	}
	s.set("next/terraform.tfstate", md5Hex("x")) // the next command names that root, not the one that was looked at first
	s.want(s.run("migrate", "verify", dir), 1, "statelatch digest fix -backend-config region=us-east-1 -backend-config dynamodb_table=locks", "s3://demo/next/terraform.tfstate")
	s.items.Add(dynamotest.Rule{Op: dynamotest.OpScan, Fault: dynamotest.Answer(400, "AccessDeniedException")})
	s.want(s.run("migrate", "verify", dir), 1, "the table cannot be listed")
	s.want(s.run("migrate", "verify", t.TempDir()), 0, "No backend")
	s.want(s.run("migrate", "verify", "s3://demo"), 2, "not a bucket")
	s.want(s.runContext(t.Context(), "migrate", "verify", "-h"), 0, "ready for phase 2", "-backend-config", "Examples:")
	if o := s.runContext(t.Context(), "migrate", "verify", "-h"); strings.Contains(o.out, "-chdir") {
		t.Errorf("-chdir makes no sense here: %s", o.out)
	}
}

// Roots with one key and workspaces of their own: a lock in a workspace is that of the root with its prefix.
func TestMigrateVerify_PrefixOfWorkspaces(t *testing.T) {
	t.Parallel()
	s := newTabled(t)
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		text := fmt.Sprintf("terraform {\n  required_version = \">= 1.10\"\n  backend \"s3\" {\n    bucket = \"demo\"\n    key = \"terraform.tfstate\"\n    workspace_key_prefix = \"teams/%s\"\n%s\n  }\n}\n", name, inBoth)
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "main.tf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.item("teams/b/prod/terraform.tfstate") // a client of phase 0
	var got verifiedJSON
	o := s.run("migrate", "verify", "-json", dir)
	s.want(o, 1)
	if err := json.Unmarshal([]byte(o.out), &got); err != nil || len(got.Roots) != 2 {
		t.Fatalf("got %s (%v)", o.out, err)
	}
	if a, b := got.Roots[0], got.Roots[1]; a.Verdict != cutover.ReadyForPhase2 || b.Verdict != cutover.NotReady || len(b.Locks) != 1 {
		t.Errorf("got %s and %s, want the lock to be in the way of b alone", a.Verdict, b.Verdict)
	}
}
