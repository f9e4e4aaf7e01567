package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/embedded"
	"github.com/statelatch/statelatch/internal/dynamotest"
	"github.com/urfave/cli/v3"
)

// outcome is what a run of the program left.
type outcome struct {
	code     int
	out, err string
}

// shell runs the program in this process with an environment of its own.
type shell struct {
	t     *testing.T
	env   map[string]string
	flags []string // reach the store
	url   string   // of the store
	typed string   // by the person at the terminal; empty: nobody is there
	width int      // of that terminal; 0: there is none
	color bool     // it has colours
}

func newShell(t *testing.T) *shell {
	t.Helper()
	return &shell{t: t, env: map[string]string{"HOME": t.TempDir(), "USER": "tester", "STATELATCH_PROBE": "off"}}
}

// withStore gives the shell an embedded store with the bucket "demo", and the flags to reach it.
func (s *shell) withStore() *shell {
	s.t.Helper()
	store, err := embedded.Open(embedded.Config{Dir: s.t.TempDir(), AccessKeyID: "key", SecretAccessKey: "secret-key"})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := store.EnsureBucket(s.t.Context(), "demo"); err != nil {
		s.t.Fatal(err)
	}
	srv := httptest.NewServer(store.Handler())
	s.t.Cleanup(func() {
		srv.Close()
		if err := store.Close(); err != nil {
			s.t.Error(err)
		}
	})
	s.url = srv.URL
	s.flags = []string{
		"-backend-config", `endpoints={s3="` + srv.URL + `"}`, "-backend-config", "region=us-east-1",
		"-backend-config", "access_key=key", "-backend-config", "secret_key=secret-key",
	}
	return s
}

// run runs a command, with the flags that reach the store.
func (s *shell) run(args ...string) outcome {
	s.t.Helper()
	return s.runContext(s.t.Context(), append(args, s.flags...)...)
}

func (s *shell) runContext(ctx context.Context, args ...string) outcome {
	s.t.Helper()
	var out, errs bytes.Buffer
	code := run(ctx, append([]string{"statelatch"}, args...), terminal{
		In: strings.NewReader(s.typed), Out: &out, Err: &errs, Interactive: s.typed != "",
		Getenv: func(k string) string { return s.env[k] }, View: &view{OutWidth: s.width, ErrWidth: s.width, OutColor: s.color, ErrColor: s.color},
	})
	return outcome{code, out.String(), errs.String()}
}

func (s *shell) want(o outcome, code int, texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		if !strings.Contains(o.out+o.err, text) {
			s.t.Errorf("the output lacks %q", text)
		}
	}
	if o.code != code || s.t.Failed() {
		s.t.Fatalf("got exit %d, want %d\n--- stdout\n%s--- stderr\n%s", o.code, code, o.out, o.err)
	}
}

const demoRef = "s3://demo/app/terraform.tfstate"

// Every flag of every command stands in docs/CLI.md.
func TestHelp_FlagsAreDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/CLI.md")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	var check func(c *cli.Command)
	check = func(c *cli.Command) {
		for _, f := range c.Flags {
			checked++
			if name := "-" + f.Names()[0]; !strings.Contains(string(page), name) {
				t.Errorf("%s: docs/CLI.md has no %s", c.Name, name)
			}
		}
		for _, sub := range c.Commands {
			check(sub)
		}
	}
	check(app(terminal{Getenv: func(string) string { return "" }}))
	if checked < 100 {
		t.Errorf("got %d flags, want those of all commands", checked)
	}
}

func TestRun_Usage(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, tc := range []struct {
		args  []string
		code  int
		texts []string
	}{
		{[]string{}, 0, []string{"Usage: statelatch COMMAND", "force-unlock", "Exit codes:", "locked by someone else"}},
		{[]string{"-h"}, 0, []string{"Locks:", "completion"}},
		{[]string{"--help"}, 0, []string{"Locks:"}},
		{[]string{"lock", "-h"}, 0, []string{"Usage: statelatch lock [flags] [REF...]", "-lock-timeout DURATION", "Examples:"}},
		{[]string{"unlock", "--help"}, 0, []string{"-id ID", "Examples:"}},
		{[]string{"force-unlock", "-h"}, 0, []string{"LOCK_ID [REF]", "-force", "Examples:"}},
		{[]string{"status", "-h"}, 0, []string{"-json", "-chdir DIR", "Examples:"}},
		{[]string{"serve", "-h"}, 0, []string{"-addr HOST:PORT", "(default 127.0.0.1:9820)", "Examples:"}},
		{[]string{"version"}, 0, []string{"statelatch "}},
		{[]string{"locl"}, 2, []string{`"locl"`, "statelatch -h"}},
		{[]string{"lock", "-nosuch"}, 2, []string{"nosuch"}},
		{[]string{"lock", "-lock-timeout"}, 2, []string{"lock-timeout"}},
		{[]string{"lock", "-lock-timeout", "soon", demoRef}, 2, []string{"lock-timeout", "soon"}},
		{[]string{"lock", "-lock-timeout=-1s", demoRef}, 2, []string{"-1s", "negative"}},
		{[]string{"lock", demoRef, demoRef}, 2, []string{"given twice"}},
		{[]string{"unlock", "-id", "x", demoRef, demoRef + "2"}, 2, []string{"one REF"}},
		{[]string{"status", demoRef, demoRef}, 2, []string{"one REF"}},
		{[]string{"lock", "demo/app"}, 2, []string{"s3://BUCKET/KEY", "demo/app"}},
		{[]string{"status", "s3://demo/a/../../b"}, 2, []string{`".."`}},
		{[]string{"status", demoRef + ".tflock"}, 2, []string{".tflock"}},
		{[]string{"lock", "-takeover", "always", demoRef}, 2, []string{"takeover", "always", "expired"}},
		{[]string{"lock", "-expires=-1h", demoRef}, 2, []string{"expires", "positive"}},
		{[]string{"unlock", "-id", "x", "-expired", demoRef}, 2, []string{"-id and -expired"}},
		{[]string{"run", "-h"}, 0, []string{"[REF...] -- COMMAND", "-lease DURATION", "-read", "15", "Examples:"}},
		{[]string{"run"}, 2, []string{"no command"}},
		{[]string{"run", demoRef}, 2, []string{"no command"}},
		{[]string{"run", "-lease", "100ms", demoRef, "--", "true"}, 2, []string{"-lease 100ms"}},
		{[]string{"run", "-read", "-takeover=expired", demoRef, "--", "true"}, 2, []string{"-read takes no lock"}},
		{[]string{"run", "-read", "-fence=always", demoRef, "--", "true"}, 2, []string{"-read takes no lock"}},
		{[]string{"run", demoRef, "terraform", "apply", "-auto-approve"}, 2, []string{"auto-approve", "write -- before COMMAND"}},
		{[]string{"run", "-chdir", "no-such-dir", demoRef, "--", "true"}, 2, []string{"no-such-dir"}},
		{[]string{"run", "-backend-config", "no-such-file.hcl", "--", "true"}, 2, []string{"no Terraform or OpenTofu backend"}},
		{[]string{"run", demoRef, demoRef, "--", "true"}, 2, []string{"given twice"}},
		{[]string{"pull", "-h"}, 0, []string{"-version VERSION", "-out FILE"}},
		{[]string{"push", "-h"}, 0, []string{"FILE [REF]", "-force"}},
		{[]string{"push"}, 2, []string{"FILE [REF]"}},
		{[]string{"push", demoRef}, 2, []string{"FILE [REF]"}},
		{[]string{"push", "no-such-file", demoRef}, 2, []string{"no-such-file"}},
		{[]string{"workspace", "-h"}, 0, []string{"list", "new", "delete"}},
		{[]string{"workspace"}, 2, []string{"list, new or delete"}},
		{[]string{"workspace", "rename"}, 2, []string{"rename"}},
		{[]string{"workspace", "new"}, 2, []string{"NAME [REF]"}},
		{[]string{"workspace", "new", "a/b", demoRef}, 2, []string{"a/b"}},
		{[]string{"workspace", "delete", "-h"}, 0, []string{"-force", "-lock-timeout"}},
		{[]string{"force-unlock"}, 2, []string{"LOCK_ID", "status"}},
		{[]string{"force-unlock", demoRef}, 2, []string{"LOCK_ID"}},
		{[]string{"force-unlock", "a", "b", "c"}, 2, []string{"LOCK_ID"}},
		{[]string{"status", "-chdir", t.TempDir()}, 2, []string{"terraform init"}},
		{[]string{"serve", "extra"}, 2, []string{"extra"}},
	} {
		o := s.runContext(t.Context(), tc.args...)
		t.Logf("%q", tc.args)
		s.want(o, tc.code, tc.texts...)
		if tc.code == 0 && o.err != "" || tc.code == 2 && o.out != "" {
			t.Errorf("%q: help belongs on stdout, errors on stderr: stdout %q, stderr %q", tc.args, o.out, o.err)
		}
	}
}

func TestRun_Completion(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, sh := range []string{"bash", "zsh", "fish", "pwsh"} {
		if o := s.runContext(t.Context(), "completion", sh); o.code != 0 || !strings.Contains(o.out, "statelatch") && sh != "pwsh" || o.out == "" {
			t.Errorf("completion %s: %+v", sh, o)
		}
	}
}

func TestLock_UnlockNeedsNoID(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("status", demoRef), 0, "is not locked")
	s.want(s.run("unlock", demoRef), 10, "not locked")

	o := s.run("lock", "-info", "freeze", demoRef)
	s.want(o, 0, "Locked "+demoRef, "statelatch unlock")
	id := strings.TrimSpace(o.out)
	if len(id) != 36 {
		t.Fatalf("stdout is %q, want the lock ID alone", o.out)
	}
	s.want(s.run("status", demoRef), 11, "is locked by you", "ID:        "+id, "Operation: lock", "Info:      freeze", "Held since")
	refused := s.run("lock", demoRef)
	s.want(refused, 11, "Lock Info:", id, "It is yours, since", "statelatch unlock ", demoRef+"\n")
	if strings.Contains(o.err+refused.err, "secret-key") {
		t.Error("the advice shows the secret")
	}

	stranger := newShell(t)
	stranger.flags = s.flags
	stranger.want(stranger.run("unlock", demoRef), 11, id)
	stranger.want(stranger.run("status", demoRef), 11, demoRef+" is locked.")
	stranger.want(stranger.run("unlock", "-id", "wrong", demoRef), 11, id)

	s.want(s.run("unlock", demoRef), 0, "Released")
	s.want(s.run("status", demoRef), 0, "is not locked")

	id = strings.TrimSpace(s.run("lock", demoRef).out)
	stranger.want(stranger.run("unlock", "--id", id, demoRef), 0, "Released")
}

// A value is one value, whatever commas are in it, as for the engines' -backend-config.
func TestTargetFlags_CommaInBackendConfig(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.flags = append(s.flags, "-backend-config", `endpoints={s3="`+s.url+`",dynamodb="http://127.0.0.1:1"}`)
	s.want(s.run("status", demoRef), 0, "is not locked")
}

// directory makes a working directory whose backend has these arguments beside bucket and key.
func (s *shell) directory(arguments string) string {
	s.t.Helper()
	dir := s.t.TempDir()
	config := `terraform {
  backend "s3" {
    bucket = "demo"
    key    = "app/terraform.tfstate"
    ` + arguments + `
  }
}`
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(config), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

// A lock that the directory's engines would ignore is refused.
func TestLock_DirectoryWithoutLocking(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	for _, arguments := range []string{``, `use_lockfile = false`} {
		dir := s.directory(arguments)
		s.want(s.run("lock", "-chdir", dir), 2, "does not lock", "use_lockfile = true", "statelatch lock "+demoRef)
		s.want(s.run("status", "-chdir", dir), 0, "does not lock", "is not locked")
	}
}

// Where a table is configured lock object and item are taken, whatever use_lockfile says: engines of either kind are excluded.
func TestLock_DynamoDB(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	items := dynamotest.NewServer("locks")
	srv := httptest.NewServer(items)
	t.Cleanup(srv.Close)
	s.flags[1] = `endpoints={s3="` + s.url + `",dynamodb="` + srv.URL + `"}`
	for _, arguments := range []string{`dynamodb_table = "locks"`, "use_lockfile = true\ndynamodb_table = \"locks\""} {
		dir := s.directory(arguments)
		s.want(s.run("status", "-chdir", dir), 0, "is not locked")
		id := strings.TrimSpace(s.run("lock", "-chdir", dir).out)
		item, ok := items.Item("locks", "demo/app/terraform.tfstate")
		if !ok || !strings.Contains(fmt.Sprint(item), id) {
			t.Errorf("the table holds %v, want the ID %s", item, id)
		}
		s.want(s.run("status", "-chdir", dir), 11, `The DynamoDB table "locks" has the same lock`)
		s.want(s.run("lock", "-chdir", dir), 11, id)
		// Whoever names the state outright does not know the table, but is told.
		s.want(s.run("unlock", "-chdir", dir), 0)
		if _, ok := items.Item("locks", "demo/app/terraform.tfstate"); ok {
			t.Error("the item is left behind")
		}
	}
}

// tofu#2132: an empty lock object has no ID; the advice names it by its ETag, and that works.
func TestForceUnlock_EmptyLockObject(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	b, err := s3bucket.Open(t.Context(), "demo", s3bucket.Config{
		Endpoints: s3bucket.Endpoints{S3: s.url}, Region: "us-east-1", AccessKey: "key", SecretKey: "secret-key",
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), "app/terraform.tfstate.tflock", strings.NewReader(""), bucket.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	o := s.run("lock", demoRef)
	s.want(o, 11, "cannot be read", "empty")
	m := regexp.MustCompile(`statelatch force-unlock '("[0-9a-f]+")'`).FindStringSubmatch(o.err)
	if m == nil {
		t.Fatalf("no advice: %s", o.err)
	}
	s.want(s.run("force-unlock", "-force", "wrong", demoRef), 11)
	s.want(s.run("force-unlock", "-force", m[1], demoRef), 0, "removed")
	s.want(s.run("status", demoRef), 0)
}

func TestForceUnlock_AsksAndObeys(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	id := strings.TrimSpace(s.run("lock", demoRef).out)
	s.want(s.run("force-unlock", id, demoRef), 2, "-force")
	s.typed = "no\n"
	s.want(s.run("force-unlock", id, demoRef), 1, "Lock Info:", id, "not confirmed")
	s.typed = "y\n"
	s.want(s.run("force-unlock", id, demoRef), 1, "not confirmed")
	s.want(s.run("force-unlock", "other", demoRef), 11, id)
	s.want(s.run("status", demoRef), 11, id)
	s.typed = "yes\n"
	s.want(s.run("force-unlock", demoRef, id), 0, "removed")
	s.want(s.run("status", demoRef), 0)
	s.want(s.run("force-unlock", "-force", id, demoRef), 10, "not locked")
}

func TestJSON_Results(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	parse := func(o outcome, code int) (m map[string]any) {
		t.Helper()
		if o.code != code {
			t.Fatalf("exit %d, want %d: %+v", o.code, code, o)
		}
		if err := json.Unmarshal([]byte(o.out), &m); err != nil || strings.Count(o.out, "\n") != 1 || o.err != "" {
			t.Fatalf("want one line of JSON and nothing on stderr: %+v", o)
		}
		return m
	}
	free := parse(s.run("status", "-json", demoRef), 0)
	if free["locked"] != false || free["ref"] != demoRef || free["lock"] != nil {
		t.Errorf("free: %v", free)
	}
	taken := parse(s.run("lock", "--json", demoRef), 0)
	info, _ := taken["lock"].(map[string]any)
	if taken["locked"] != true || taken["mine"] != true || info["ID"] == "" || info["Path"] != "demo/app/terraform.tfstate" {
		t.Errorf("lock: %v", taken)
	}
	held := parse(s.run("status", "-json", demoRef), 11)
	if held["age_seconds"] == nil || held["since"] == nil || held["etag"] == "" {
		t.Errorf("status: %v", held)
	}
	refused := parse(s.run("lock", "-json", demoRef), 11)
	if refused["kind"] != "locked" || refused["exit_code"] != 11.0 || refused["lock"] == nil {
		t.Errorf("refused: %v", refused)
	}
	gone := parse(s.run("unlock", "-json", demoRef), 0)
	if gone["released"] != true || gone["weak"] != false {
		t.Errorf("unlock: %v", gone)
	}
	invalid := parse(s.run("status", "-json", "s3://demo/../b"), 2)
	if invalid["kind"] != "usage" || invalid["exit_code"] != 2.0 {
		t.Errorf("invalid REF: %v", invalid)
	}
	nowhere := parse(s.run("lock", "-json", "-chdir", t.TempDir()), 2)
	if nowhere["kind"] != "usage" {
		t.Errorf("no backend: %v", nowhere)
	}
	absent := parse(s.run("unlock", "-json", demoRef), 10)
	if absent["kind"] != "not_locked" {
		t.Errorf("unlock of nothing: %v", absent)
	}
}

func TestRun_DeniedAndUnreachable(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.flags = append(s.flags, "-backend-config", "secret_key=wrong-secret")
	o := s.run("lock", demoRef)
	s.want(o, 14, "SignatureDoesNotMatch")
	if strings.Contains(o.err, "wrong-secret") {
		t.Error("the error shows the secret")
	}
	s.flags = append(s.flags, "-backend-config", `endpoints={s3="http://127.0.0.1:1"}`)
	s.want(s.run("lock", demoRef), 1, "127.0.0.1:1")

	s = newShell(t).withStore()
	s.want(s.run("lock", "s3://nosuchbucket/k"), 10, "there is no bucket nosuchbucket")
	if left, err := filepath.Glob(filepath.Join(s.env["HOME"], ".local/state/statelatch/locks/*")); err != nil || len(left) != 0 {
		t.Errorf("a lock that was not taken is remembered: %v, %v", left, err)
	}
}

func TestClaims_PrivateAndOptional(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.env["STATELATCH_STATE_DIR"] = filepath.Join(t.TempDir(), "deep", "state")
	s.want(s.run("lock", demoRef), 0)
	files, err := filepath.Glob(filepath.Join(s.env["STATELATCH_STATE_DIR"], "locks", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("claims: %v, %v", files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("claim: %v, %v", info.Mode(), err)
	}
	s.want(s.run("unlock", demoRef), 0)

	s.env = map[string]string{}
	o := s.run("lock", demoRef)
	s.want(o, 0, "Warning", "keep its ID")
	s.want(s.run("unlock", demoRef), 11, "not known")
	s.want(s.run("unlock", "-id", strings.TrimSpace(o.out), demoRef), 0)
}
