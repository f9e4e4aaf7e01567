package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/cutover"
	"github.com/statelatch/statelatch/internal/dynamotest"
	"github.com/statelatch/statelatch/migrate"
)

func (s *tabled) wantItem(id string, want bool) {
	s.t.Helper()
	if _, got := s.items.Item("locks", "demo/"+id); got != want {
		s.t.Errorf("item %s: got %v, want %v", id, got, want)
	}
}

func TestMigrateClean_Tree(t *testing.T) {
	t.Parallel()
	s := newTabled(t)
	body := stateBody(3, "aaaaaaaa-1", "a")
	dir := phased(t, inObject, "app", "net")
	for _, key := range []string{demoKey, "env:/w/" + demoKey, "net/terraform.tfstate", "other/terraform.tfstate"} {
		s.put(key, []byte(body))
		s.set(key, md5Hex(body))
	}
	s.put(demoKey, []byte(stateBody(4, "aaaaaaaa-1", "b"))) // by a client of phase 2
	s.want(s.run("migrate", "clean", "-dry-run", dir), 0, "TO BE REMOVED", "3 digests and 0 lock items")
	s.want(s.run("migrate", "clean", dir), 2, "-auto-approve")
	s.typed = "no\n"
	s.want(s.run("migrate", "clean", dir), 1, "not confirmed")
	s.wantDigest(demoKey, md5Hex(body))
	s.typed = "yes\n"
	o := s.run("migrate", "clean", dir)
	s.want(o, 0, "Removed 3 digests", "1 item still in the table")
	if strings.Contains(o.out, "delete-table") {
		t.Errorf("the table is not empty, and is to be deleted: %s", o.out)
	}
	s.wantDigest(demoKey, "")
	s.wantDigest("env:/w/"+demoKey, "")
	s.wantDigest("other/terraform.tfstate", md5Hex(body))
	s.typed = ""
	record := filepath.Join(t.TempDir(), "audit.log")
	o = s.run("migrate", "clean", "-auto-approve", "-json", "-audit", "file:"+record, "-audit-required", "s3://demo/other")
	s.want(o, 0)
	events := s.run("audit", "log", "file:"+record)
	s.want(events, 0, "migrate-clean", "intent", "removed 1 digest and 0 lock items")
	var got cutover.Cleaned
	if err := json.Unmarshal([]byte(o.out), &got); err != nil || len(got.Parts) != 1 {
		t.Fatalf("got %s (%v)", o.out, err)
	}
	p := got.Parts[0]
	if len(p.Digests) != 1 || p.Items != 0 || p.Revoke == nil || !strings.Contains(p.DeleteTable, "--table-name locks --region us-east-1 --endpoint-url http") {
		t.Errorf("got %s", o.out)
	}
	s.want(s.run("migrate", "clean", "-auto-approve", dir), 0, "0 digests and 0 lock items", "dynamodb:DescribeTable", "arn:aws:dynamodb:us-east-1:*:table/locks", "delete-table")
	s.want(s.run("status", demoRef), 0)
}

func TestMigrateClean_Refuses(t *testing.T) {
	t.Parallel()
	body := stateBody(3, "aaaaaaaa-1", "a")
	for name, tc := range map[string]struct {
		arguments string
		before    func(s *tabled)
		args      []string
		code      int
		texts     []string
	}{
		"phase 0":         {inTable, func(*tabled) {}, nil, 1, []string{"1 root", "not in phase 2", "app"}},
		"phase 1":         {inBoth, func(*tabled) {}, nil, 1, []string{"not in phase 2"}},
		"held in both":    {inObject, func(s *tabled) { s.object(demoKey); s.item(demoKey) }, nil, 11, []string{"held in both places"}},
		"held by us":      {inObject, func(s *tabled) { s.want(s.run("lock", demoRef), 0) }, nil, 11, []string{"held in both places"}},
		"an item":         {inObject, func(s *tabled) { s.item(demoKey) }, nil, 11, []string{"may be at work", otherID}},
		"an odd item":     {inObject, func(s *tabled) { s.items.SetItem("locks", dynamotest.StringItem("demo/"+demoKey, "Note", "x")) }, nil, 11, []string{"no Info"}},
		"changed between": {inObject, func(s *tabled) { s.raceDigest(body) }, nil, 1, []string{"it changed meanwhile"}},
		"rolled back":     {inObject, func(s *tabled) { s.put(demoKey, []byte(stateBody(2, "aaaaaaaa-1", "z"))) }, nil, 1, []string{"rolled back or lost", "-accept"}},
		"lost":            {inObject, func(s *tabled) { s.put(demoKey, []byte(withResource(body))); s.remove(demoKey) }, nil, 1, []string{"can be brought back", "-accept"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTabled(t)
			s.put(demoKey, []byte(body))
			s.set(demoKey, md5Hex(body))
			tc.before(s)
			s.want(s.run(append([]string{"migrate", "clean", "-auto-approve", phased(t, tc.arguments, "app")}, tc.args...)...), tc.code, tc.texts...)
			s.wantItem(demoKey+"-md5", true)
		})
	}
	s := newTabled(t)
	s.want(s.run("migrate", "clean", "-dir", phased(t, inBoth, "app"), "s3://demo"), 1, "not in phase 2")
	s.want(s.run("migrate", "clean", "-dir", ".", t.TempDir()), 2, "-dir goes with s3://")
	s.want(s.run("migrate", "clean", t.TempDir()), 2, "name the bucket")
	s.flags = s.flags[:len(s.flags)-2]
	s.want(s.run("migrate", "clean", "s3://demo"), 2, "dynamodb_table=NAME")
}

func withResource(body string) string {
	return strings.Replace(body, `"resources":[]`, `"resources":[{"mode":"managed"}]`, 1)
}

// raceDigest lets a client write another digest just before the one that is there is removed.
func (s *tabled) raceDigest(body string) {
	s.items.Add(dynamotest.Rule{Op: dynamotest.OpDeleteItem, Limit: 1, Fault: dynamotest.Answer(400, "ConditionalCheckFailedException")})
	s.set(demoKey, md5Hex(body))
}

// A lock item that was left behind goes with the rest, once a person has seen it.
func TestMigrateClean_LockItems(t *testing.T) {
	t.Parallel()
	s := newTabled(t)
	s.item(demoKey)
	s.item("other/terraform.tfstate")
	dir := phased(t, inObject, "app")
	s.typed = "no\n"
	s.want(s.run("migrate", "clean", dir), 1, "ann@elsewhere", "unknown", "two runs may write one state", "not confirmed")
	s.wantItem(demoKey, true)
	s.typed = "yes\n"
	s.want(s.run("migrate", "clean", dir), 0, "1 lock item")
	s.wantItem(demoKey, false)
	s.wantItem("other/terraform.tfstate", true)
}

// Stopped anywhere, clean goes on where it was; a removal whose answer is lost counts if the item is gone.
func TestMigrateClean_Stopped(t *testing.T) {
	t.Parallel()
	const roots = 4
	for stop := 1; stop <= roots; stop++ {
		s := newTabled(t)
		body := stateBody(3, "aaaaaaaa-1", "a")
		var names []string
		for i := range roots {
			name := fmt.Sprintf("r%d", i)
			names = append(names, name)
			s.put(name+"/terraform.tfstate", []byte(body))
			s.set(name+"/terraform.tfstate", md5Hex(body))
		}
		dir := phased(t, inObject, names...)
		s.items.Add(dynamotest.Rule{Op: dynamotest.OpDeleteItem, Nth: stop, Fault: dynamotest.Answer(400, "AccessDeniedException")})
		s.want(s.run("migrate", "clean", "-auto-approve", dir), 14, fmt.Sprintf("%d of 4 items removed", stop-1), "run it again")
		for i, name := range names {
			s.wantItem(name+"/terraform.tfstate-md5", i >= stop-1)
		}
		s.items.Heal()
		s.items.Add(dynamotest.Rule{Op: dynamotest.OpDeleteItem, Nth: 1, Fault: dynamotest.LoseReply()})
		s.want(s.run("migrate", "clean", "-auto-approve", dir), 0, fmt.Sprintf("Removed %s", count(roots-stop+1, "digest")), "delete-table")
	}
}

// Stopped between two files, apply leaves a mixture that is safe, and a second run makes the rest.
func TestMigrateApply_Stopped(t *testing.T) {
	t.Parallel()
	const roots = 4
	for phase, from := range map[int]string{1: inTable, 2: inBoth} {
		for stop := range roots {
			s := newShell(t)
			dir := phased(t, from, "r0", "r1", "r2", "r3")
			tree, err := migrate.Scan(t.Context(), dir, migrate.Options{})
			if err != nil {
				t.Fatal(err)
			}
			plan, err := tree.Plan(phase)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			written := 0
			if stop == 0 {
				cancel()
			}
			err = plan.Apply(ctx, func(migrate.FileEdit) {
				if written++; written == stop {
					cancel()
				}
			})
			cancel()
			if err == nil || written != stop {
				t.Fatalf("got %d files and %v, want %d", written, err, stop)
			}
			s.want(s.run("migrate", "scan", "-fail-on", "error", dir), 0)
			s.want(s.run("migrate", "apply", "-auto-approve", "-phase", fmt.Sprint(phase), dir), 0,
				fmt.Sprintf("%s in %s to move, %d there already", count(roots-stop, "root"), count(roots-stop, "file"), stop))
			after := map[int]string{1: "4 both", 2: "4 lockfile"}[phase]
			s.want(s.run("migrate", "scan", dir), 0, after)
		}
	}
}
