package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// plainState is a state as terraform writes it.
func plainState(serial int, lineage, resources string) string {
	return fmt.Sprintf(`{
  "version": 4,
  "terraform_version": "1.11.4",
  "serial": %d,
  "lineage": %q,
  "outputs": {},
  "resources": [%s],
  "check_results": null
}
`, serial, lineage, resources)
}

const oneResource = `{"mode": "managed", "type": "terraform_data", "name": "x", "provider": "provider[\"terraform.io/builtin/terraform\"]", "instances": []}`

// file writes a file and returns its path.
func (s *shell) file(content string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "some.tfstate")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func TestPushPull_GuardsAndForce(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("pull", demoRef), 10, "no state yet")
	first := plainState(3, "a", oneResource)
	s.want(s.run("push", s.file(first), demoRef), 0, "serial 3")
	if o := s.run("pull", demoRef); o.code != 0 || o.out != first {
		t.Errorf("pull: %+v, want the bytes that were pushed", o)
	}
	s.want(s.run("push", s.file(first), demoRef), 0, "serial 3") // once more is no change
	for _, tc := range []struct{ body, text string }{
		{plainState(2, "a", oneResource), "step back"},
		{plainState(3, "a", oneResource+","+oneResource), "serial 3"},
		{plainState(4, "b", oneResource), "lineage"},
		{plainState(4, "a", ""), "has none"},
		{"", "zero bytes"},
		{"{}", "not a state"},
		{"no json", "JSON"},
		{strings.Replace(plainState(4, "a", oneResource), `"version": 4`, `"version": 5`, 1), "format is 5"},
		{`{"version":3,"serial":4,"lineage":"a","modules":[{"path":["root"],"outputs":{},"resources":{"a.b":{}}}]}`, "older than the stored state's, 4"},
		{`{"version":3,"terraform_version":"1.11.4","backend":{"type":"s3","config":{},"hash":1}}`, "the backend file of a working directory"},
		{plainState(4, "a", strings.Replace(oneResource, `"x"`, "\"caf\xe9\"", 1)), "UTF-8"},
		{plainState(4, "a", oneResource+","), "a value is missing"},
	} {
		s.want(s.run("push", s.file(tc.body), demoRef), 2, tc.text)
		s.want(s.run("status", demoRef), 0, "not locked")
	}
	if o := s.run("pull", demoRef); o.out != first {
		t.Errorf("a refused push changed the state to %s", o.out)
	}
	s.want(s.run("push", "-force", s.file(plainState(1, "a", "")), demoRef), 0, "serial 4") // B29
	if o := s.run("pull", demoRef); !strings.Contains(o.out, `"serial": 4,`) {
		t.Errorf("pull after -force: %s", o.out)
	}
}

func TestPush_Stdin(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.typed = plainState(1, "a", oneResource)
	s.want(s.run("push", "-", demoRef), 0, "serial 1")
	if o := s.run("pull", demoRef); o.out != s.typed {
		t.Errorf("pull: %+v", o)
	}
	if left, err := filepath.Glob(filepath.Join(s.env["HOME"], ".local/state/statelatch/unsaved/*")); err != nil || len(left) != 0 {
		t.Errorf("a copy of the input is left: %v, %v", left, err)
	}
}

// What a push that was killed leaves is named by status and push, and goes when it, or something newer, is stored.
func TestPush_Killed(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	keep := func(name, body string, age time.Duration) string {
		dir := filepath.Join(s.env["HOME"], ".local/state/statelatch/unsaved")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
		return path
	}
	mine := unsavedOf(statelatch.Ref{Bucket: "demo", Key: "app/terraform.tfstate"}, terminal{getenv: func(k string) string { return s.env[k] }}).state
	left := keep(mine+"1.tfstate", plainState(4, "a", oneResource), time.Hour)
	half := keep(mine+"2.tfstate.partial", `{"version": 4, "ser`, time.Hour)
	old := keep("push-other-3.tfstate", plainState(1, "b", oneResource), 31*24*time.Hour)
	other := keep("push-other-4.tfstate", plainState(1, "b", oneResource), time.Hour)
	s.want(s.run("status", demoRef), 0, half, "not all", left, "statelatch push "+left+" ", "serial 4")
	if o := s.run("status", "-json", demoRef); !strings.Contains(o.out, `"unsaved":[{"path":"`+left) {
		t.Errorf("got %s, want what is left", o.out)
	}
	s.want(s.run("push", s.file(plainState(3, "a", oneResource)), demoRef), 0, left)
	if _, err := os.Stat(left); err != nil {
		t.Errorf("it is newer than what is stored: %v", err)
	}
	s.want(s.run("push", left, demoRef), 0, "serial 4", "Removed "+left)
	for path, stays := range map[string]bool{left: false, half: false, old: false, other: true} {
		if _, err := os.Stat(path); (err == nil) != stays {
			t.Errorf("%s: got %v, want it to stay: %t", path, err, stays)
		}
	}
	if o := s.run("status", demoRef); strings.Contains(o.err, "unsaved") {
		t.Errorf("got %s, want nothing left", o.err)
	}
}

func TestPush_Locked(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("lock", "-reason", "freeze", demoRef), 0)
	s.want(s.run("push", s.file(plainState(1, "a", "")), demoRef), 11, "freeze")
	s.want(s.run("pull", demoRef), 10)
}

func TestPull_ToFile(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	body := plainState(1, "a", oneResource)
	s.want(s.run("push", s.file(body), demoRef), 0)
	out := filepath.Join(t.TempDir(), "out.tfstate")
	s.want(s.run("pull", "-out", out, demoRef), 0)
	got, err := os.ReadFile(out)
	if info, statErr := os.Stat(out); err != nil || statErr != nil || string(got) != body || info.Mode().Perm() != 0o600 {
		t.Errorf("got %q, %v, %v", got, err, statErr)
	}
	s.want(s.run("pull", "-out", out, demoRef), 1, "exists")
	s.want(s.run("pull", "-version", "nosuch", demoRef), 10, "nosuch")
}

func TestWorkspace_Commands(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("workspace", "new", "staging", demoRef), 0, "env:/staging/app/terraform.tfstate")
	s.want(s.run("workspace", "new", "staging", demoRef), 1, "exists already")
	if o := s.run("workspace", "list", demoRef); o.out != "default\nstaging\n" {
		t.Errorf("list: %+v", o)
	}
	var all struct{ Workspaces []string }
	if o := s.run("workspace", "list", "-json", demoRef); json.Unmarshal([]byte(o.out), &all) != nil || len(all.Workspaces) != 2 {
		t.Errorf("list -json: %+v", o)
	}
	staging := "s3://demo/env:/staging/app/terraform.tfstate"
	empty := s.run("pull", staging)
	s.want(empty, 0, `"serial":1`)
	s.want(s.run("lock", staging), 0)
	s.want(s.run("workspace", "delete", "staging", demoRef), 11)
	s.want(s.run("unlock", staging), 0)
	s.want(s.run("push", "-force", s.file(plainState(2, "a", oneResource)), staging), 0)
	s.want(s.run("workspace", "delete", "staging", demoRef), 2, "resources", "force")
	s.want(s.run("workspace", "delete", "-force", "staging", demoRef), 0, "Deleted")
	s.want(s.run("workspace", "delete", "staging", demoRef), 10)
	s.want(s.run("workspace", "delete", "default", demoRef), 2, "default")
	s.want(s.run("status", staging), 0, "not locked")
	if o := s.run("workspace", "list", demoRef); o.out != "default\n" {
		t.Errorf("list: %+v", o)
	}
}

// A freeze says why, and may be ended by anybody once its time has passed.
func TestLock_Expires(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("lock", "-reason", "failover", "-expires", "2h", demoRef), 0, "unlock -expired")
	s.want(s.run("status", demoRef), 11, "Reason: failover", "it expires in", "Info:      failover")
	s.want(s.run("unlock", "-expired", demoRef), 11, "failover")
	s.want(s.run("lock", "-takeover=expired", demoRef), 11)
	var status struct {
		Managed struct {
			ExpiresSeconds int64 `json:"expires_seconds"`
			Reason         string
		}
	}
	if o := s.run("status", "-json", demoRef); json.Unmarshal([]byte(o.out), &status) != nil ||
		status.Managed.ExpiresSeconds != 7200 || status.Managed.Reason != "failover" {
		t.Errorf("status -json: %+v", o)
	}
}

// Several are all or none; each has an ID of its own and is released by it.
func TestLock_Several(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	a, b := "s3://demo/a/terraform.tfstate", "s3://demo/b/terraform.tfstate"
	s.want(s.run("lock", b), 0)
	s.want(s.run("lock", a, b), 11, b)
	s.want(s.run("status", a), 0, "not locked")
	s.want(s.run("unlock", b), 0)
	o := s.run("lock", b, a)
	s.want(o, 0, "statelatch unlock", a, b)
	ids := strings.Fields(o.out)
	if len(ids) != 2 || ids[0] == ids[1] {
		t.Fatalf("IDs: %q", ids)
	}
	s.want(s.run("status", b), 11, ids[0])
	s.want(s.run("unlock", a, b, "s3://demo/c/terraform.tfstate"), 10, "Released the lock of "+a, "Released the lock of "+b)
	s.want(s.run("status", a), 0, "not locked")
}

// The workspace that a directory is on is marked, and is not deleted in passing.
func TestWorkspace_TheOneInUse(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	dir := s.directory("use_lockfile = true")
	s.want(s.run("workspace", "new", "-chdir", dir, "stage"), 0)
	s.want(s.run("workspace", "new", "-chdir", dir, "other"), 0)
	s.env["TF_WORKSPACE"] = "stage"
	if o := s.run("workspace", "list", "-chdir", dir); o.out != "  default\n  other\n* stage\n" {
		t.Errorf("got %+v", o)
	}
	var all struct {
		Workspaces []string
		Current    string
	}
	if o := s.run("workspace", "list", "-json", "-chdir", dir); json.Unmarshal([]byte(o.out), &all) != nil || all.Current != "stage" || len(all.Workspaces) != 3 {
		t.Errorf("got %+v", o)
	}
	s.want(s.run("workspace", "delete", "-chdir", dir, "stage"), 2, "-auto-approve")
	s.typed = "no\n"
	s.want(s.run("workspace", "delete", "-chdir", dir, "stage"), 1, `on the workspace "stage"`, "nothing was changed")
	s.typed = ""
	s.want(s.run("workspace", "delete", "-chdir", dir, "other"), 0) // it is not the one in use
	s.want(s.run("workspace", "list", "-chdir", dir), 0, "* stage")
	s.want(s.run("workspace", "delete", "-auto-approve", "-chdir", dir, "stage"), 0, "Deleted", "still on it")
	s.want(s.run("workspace", "new", "stage", demoRef), 0)
	s.want(s.run("workspace", "delete", "stage", demoRef), 0) // a REF names no directory
}

// R10: where an engine removes locks under their holders, a late write of such a holder fails under the next one.
func TestLock_R10_FenceAlways(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("push", s.file(plainState(1, "a", oneResource)), demoRef), 0, "serial 1")
	objects, key := s.demoBucket(), strings.TrimPrefix(demoRef, "s3://demo/")
	for _, tc := range []struct {
		args []string
		want bool
	}{{nil, false}, {[]string{"-fence", "takeover"}, false}, {[]string{"-fence", "always"}, true}} {
		before, err := objects.Head(t.Context(), key, bucket.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s.want(s.run(append(append([]string{"lock"}, tc.args...), demoRef)...), 0)
		_, err = objects.Put(t.Context(), key, strings.NewReader(plainState(2, "a", "")), bucket.PutOptions{If: bucket.IfMatch(before.ETag)})
		if refused := errors.Is(err, statelatch.ErrPreconditionFailed); refused != tc.want {
			t.Errorf("lock %q: a late write got %v, want it refused: %v", tc.args, err, tc.want)
		}
		s.want(s.run("unlock", "-auto-approve", demoRef), 0)
	}
}
