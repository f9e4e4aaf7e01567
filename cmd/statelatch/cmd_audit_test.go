package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
)

// events reads a log with 'audit log -json'.
func (s *shell) events(args ...string) []audit.Event {
	s.t.Helper()
	o := s.run(append([]string{"audit", "log", "-json"}, args...)...)
	if o.code == exitNotFound { // nothing was recorded yet
		return nil
	}
	var result struct{ Events []audit.Event }
	if err := json.Unmarshal([]byte(o.out), &result); err != nil || o.code != 0 {
		s.t.Fatalf("audit log: %v: %+v", err, o)
	}
	return result.Events
}

// auditedShell records to the bucket and to a file.
func auditedShell(t *testing.T) (s *shell, locations [2]string) {
	t.Helper()
	s = newShell(t).withStore()
	locations = [2]string{"s3://demo/audit", "file:" + filepath.Join(t.TempDir(), "audit.log")}
	s.env["STATELATCH_AUDIT"] = locations[0] + ", " + locations[1]
	s.env["STATELATCH_REASON"] = "a reason"
	return s, locations
}

// brief is what a table says of an event: ACTION OUTCOME REF, and what else tells that it is about the right thing.
func brief(e audit.Event) string {
	b := fmt.Sprintf("%s %s %s", e.Action, e.Outcome, e.Ref)
	if e.SerialBefore != nil || e.SerialAfter != nil {
		b += " " + e.Serials()
	}
	if e.PrevLockID != "" {
		b += " " + e.PrevLockID + " of " + e.Holder
	}
	return b
}

// act runs a command and returns what it recorded, the same in all locations.
func (s *shell) act(locations [2]string, code int, args ...string) []audit.Event {
	s.t.Helper()
	var before [2]int
	for i, location := range locations {
		before[i] = len(s.events(location))
	}
	o := s.run(args...)
	s.want(o, code)
	if strings.Contains(o.err, "audit") {
		s.t.Errorf("%q: %s", args, o.err)
	}
	var recorded [2][]audit.Event
	for i, location := range locations {
		recorded[i] = s.events(location)[before[i]:]
	}
	if !slices.EqualFunc(recorded[0], recorded[1], func(a, b audit.Event) bool { return a.ID == b.ID && brief(a) == brief(b) }) {
		s.t.Errorf("%q: %+v in the bucket, %+v in the file", args, recorded[0], recorded[1])
	}
	return recorded[0]
}

// Every command that changes something does it for real, and is found in the log.
func TestAudit_EveryCommand(t *testing.T) {
	t.Parallel()
	s, locations := auditedShell(t)
	const leased, other, workspace = "s3://demo/leased/terraform.tfstate", "s3://demo/other/terraform.tfstate", "s3://demo/env:/staging/app/terraform.tfstate"
	one, two := s.file(plainState(1, "a", oneResource)), s.file(plainState(2, "a", oneResource))
	plain := func() { s.plainLock("other/terraform.tfstate", "id-p") }
	dead := func() {
		s.managedLock("leased/terraform.tfstate", "id-l", statelatch.Managed{Expires: time.Second})
	}
	steps := []struct {
		before func()
		args   []string
		code   int
		want   []string
	}{
		{nil, []string{"lock", demoRef}, 0, []string{"lock ok " + demoRef}},
		{nil, []string{"lock", demoRef}, 11, nil},
		{nil, []string{"status", demoRef}, 11, nil},
		{nil, []string{"unlock", demoRef}, 0, []string{"unlock ok " + demoRef}},
		{nil, []string{"lock", demoRef, other}, 0, []string{"lock ok " + demoRef, "lock ok " + other}},
		{nil, []string{"unlock", "-mine", "s3://demo/"}, 0, []string{"unlock ok " + demoRef, "unlock ok " + other}},
		{plain, []string{"force-unlock", "-force", "id-p", other}, 0, []string{"force-unlock ok " + other + " id-p of bob@\\x1b[2Jlaptop"}},
		{plain, []string{"unlock", "-auto-approve", other}, 0, []string{"force-unlock ok " + other + " id-p of bob@\\x1b[2Jlaptop"}},
		{nil, []string{"push", one, demoRef}, 0, []string{"push ok " + demoRef + " none -> 1"}},
		{nil, []string{"push", two, demoRef}, 0, []string{"push ok " + demoRef + " 1 -> 2"}},
		{nil, []string{"push", one, demoRef}, 2, nil},
		{nil, []string{"rollback", "-auto-approve", "2", demoRef}, 0, nil}, // it is there already
		{nil, []string{"rollback", "-dry-run", "1", demoRef}, 0, nil},
		{nil, []string{"push", "-force", s.file(plainState(3, "a", "")), demoRef}, 0, []string{"push ok " + demoRef + " 2 -> 3"}},
		{nil, []string{"rollback", "-auto-approve", "1", demoRef}, 0, []string{"rollback ok " + demoRef + " 3 -> 4"}},
		{nil, []string{"workspace", "new", "staging", demoRef}, 0, []string{"workspace-new ok " + workspace + " none -> 1"}},
		{nil, []string{"workspace", "new", "staging", demoRef}, 1, nil},
		{nil, []string{"workspace", "delete", "staging", demoRef}, 0, []string{"workspace-delete ok " + workspace + " 1 -> none"}},
		{nil, []string{"gc", "-older-than", "0s", "-auto-approve", "s3://demo/app"}, 0, []string{"gc ok s3://demo/app"}},
		{nil, []string{"gc", "-older-than", "0s", "-auto-approve", "s3://demo/app"}, 0, nil},
		{nil, []string{"bucket", "init", "-auto-approve", "s3://new"}, 0, []string{"bucket-init ok s3://new"}},
		{nil, []string{"bucket", "init", "-auto-approve", "s3://new"}, 0, nil},
		{func() { dead(); s.laterBy(time.Minute) }, []string{"lock", "-takeover", "expired", leased, demoRef}, 0, []string{
			"takeover ok " + leased + " id-l of bob@\\x1b[2Jlaptop", "lock ok " + demoRef, "lock ok " + leased,
		}},
		{dead, []string{"push", "-takeover", "expired", one, leased}, 0, []string{"takeover ok " + leased + " id-l of bob@\\x1b[2Jlaptop", "push ok " + leased + " none -> 1"}},
		{dead, []string{"unlock", "-expired", leased}, 0, []string{"force-unlock ok " + leased + " id-l of bob@\\x1b[2Jlaptop"}},
	}
	for _, step := range steps {
		if step.before != nil {
			step.before()
		}
		var got []string
		for _, e := range s.act(locations, step.code, step.args...) {
			got = append(got, brief(e))
			if !strings.HasSuffix(e.Who, "@"+host(t)) || e.Reason != "a reason" || e.Client == "" || e.Tool == "" || time.Since(e.Time) > time.Hour {
				t.Errorf("%q: what all events have is missing: %+v", step.args, e)
			}
		}
		slices.Sort(got)
		slices.Sort(step.want)
		if !slices.Equal(got, step.want) {
			t.Errorf("%q: got %q, want %q", step.args, got, step.want)
		}
	}
	for _, location := range locations {
		s.want(s.run("audit", "verify", location), 0, "is intact", "sha256")
	}
	// States and locks of the bucket are what they were: the log is neither.
	if o := s.run("states", "-json", "s3://demo"); strings.Contains(o.out, `"audit/`) || o.code != 0 {
		t.Errorf("the audit log is taken for a state: %+v", o)
	}
}

func host(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// Not parallel: one command at a time can run below a process.
func TestAudit_Run(t *testing.T) { //nolint:paralleltest // see above
	s, locations := auditedShell(t)
	s.want(s.run("push", s.file(plainState(1, "a", "")), demoRef), 0)
	args := append(append([]string{"run", "-audit", locations[0]}, s.flags...), demoRef, "--")
	dir := t.TempDir()
	state, errored := s.file(plainState(2, "a", oneResource)), filepath.Join(dir, "errored.tfstate")
	for _, tc := range []struct {
		command []string
		code    int
		want    []string
	}{
		{[]string{"true"}, 0, []string{"run started " + demoRef, "run released " + demoRef + " 1"}},
		{[]string{"false"}, 1, []string{"run started " + demoRef, "run released " + demoRef + " 1"}},
		{[]string{"/no/such/program"}, 127, []string{"run started " + demoRef, "run released " + demoRef}},
		{[]string{"sh", "-c", "cp " + state + " " + errored + "; exit 1"}, 1, []string{
			"run started " + demoRef, "rescue ok " + demoRef + " 1 -> 2", "run released " + demoRef + " 1 -> 2",
		}},
		{[]string{"sh", "-c", "echo broken > " + errored + "; exit 1"}, 1, []string{
			"run started " + demoRef, "rescue kept " + demoRef, "run released " + demoRef + " 2",
		}},
	} {
		before := len(s.events(locations[0]))
		o := s.runContext(t.Context(), slices.Concat(args[:1], []string{"-chdir", dir}, args[1:], tc.command)...)
		s.want(o, tc.code)
		var got []string
		for _, e := range s.events(locations[0])[before:] {
			got = append(got, brief(e))
			if e.LockID == "" || e.Action == audit.Run && e.Outcome == audit.Released && !strings.HasPrefix(e.Detail, fmt.Sprintf("exit code %d", tc.code)) {
				t.Errorf("%q: got %+v", tc.command, e)
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%q: got %q, want %q", tc.command, got, tc.want)
		}
	}
}

// With -audit-required nothing is done that is not recorded before.
func TestAudit_Required_RefusesBeforeAnyWrite(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.plainLock("other/terraform.tfstate", "id-p")
	s.want(s.run("push", s.file(plainState(1, "a", "")), demoRef), 0)
	s.want(s.run("push", s.file(plainState(2, "a", oneResource)), demoRef), 0)
	writes := s.countWrites()
	const other = "s3://demo/other/terraform.tfstate"
	for _, args := range [][]string{
		{"lock", demoRef},
		{"force-unlock", "-force", "id-p", other},
		{"unlock", "-auto-approve", other},
		{"unlock", "-id", "id-p", other},
		{"push", s.file(plainState(3, "a", oneResource)), demoRef},
		{"rollback", "-auto-approve", "previous", demoRef},
		{"workspace", "new", "staging", demoRef},
		{"workspace", "delete", "staging", demoRef},
		{"gc", "-older-than", "0s", "-auto-approve", "s3://demo"},
		{"bucket", "init", "-auto-approve", "s3://new"},
		{"run", demoRef, "--", "touch", filepath.Join(t.TempDir(), "never")},
	} {
		flags := append([]string{"-audit-required", "-audit", "file:" + filepath.Join(t.TempDir(), "none", "x")}, s.flags...)
		at := 1
		if args[0] == "workspace" || args[0] == "bucket" {
			at = 2
		}
		o := s.runContext(t.Context(), slices.Concat(args[:at], flags, args[at:])...)
		t.Logf("%q", args)
		s.want(o, exitError, "-audit-required", "nothing was done")
		if n := writes.Load(); n != 0 {
			t.Fatalf("%q: %d write requests, want none", args, n)
		}
	}
	s.want(s.run("lock", "-audit-required", demoRef), exitUsage, "no location")
	s.env["STATELATCH_AUDIT_REQUIRED"] = "perhaps"
	s.want(s.run("lock", "-audit", "file:x", demoRef), exitUsage, "perhaps")
	for _, location := range []string{"s3://demo", "audit.log", "http://example.com/x", "https://169.254.169.254/", "s3://demo/app/terraform.tfstate"} {
		delete(s.env, "STATELATCH_AUDIT_REQUIRED")
		s.want(s.run("lock", "-audit", location, demoRef), exitUsage, "audit location")
	}
}

// An intent is followed by what became of it, also if that is nothing.
func TestAudit_Required_Intents(t *testing.T) {
	t.Parallel()
	s, locations := auditedShell(t)
	s.env["STATELATCH_AUDIT_REQUIRED"] = "true"
	check := func(code int, args []string, want ...string) {
		t.Helper()
		var got []string
		for _, e := range s.act(locations, code, args...) {
			got = append(got, brief(e))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", args, got, want)
		}
	}
	check(0, []string{"lock", demoRef}, "lock intent "+demoRef, "lock ok "+demoRef)
	check(11, []string{"push", s.file(plainState(1, "a", "")), demoRef}, "push intent "+demoRef, "push failed "+demoRef)
	check(0, []string{"unlock", demoRef}, "unlock intent "+demoRef, "unlock ok "+demoRef)
	check(10, []string{"unlock", demoRef})
	check(0, []string{"bucket", "init", "-auto-approve", "s3://new"}, "bucket-init intent s3://new", "bucket-init ok s3://new")
	s.plainLock("app/terraform.tfstate", "id-p")
	s.typed = "no\n"
	check(1, []string{"force-unlock", "id-p", demoRef}) // a no is no act
}

// Without -audit-required a location that does not work costs a warning: the act and its exit code stay.
func TestAudit_BrokenLocationOnlyWarns(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	srv := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(srv.Close)
	s.env["STATELATCH_AUDIT"] = "file:" + filepath.Join(t.TempDir(), "none", "x") + "," + srv.URL + "/secret?token=secret,s3://no-such-bucket/audit"
	for _, step := range []struct {
		code int
		args []string
	}{{0, []string{"lock", demoRef}}, {11, []string{"push", s.file(plainState(1, "a", "")), demoRef}}, {0, []string{"unlock", demoRef}}} {
		o := s.run(step.args...)
		s.want(o, step.code)
		warnings := 3
		if step.code != 0 {
			warnings = 0 // nothing was done
		}
		if got := strings.Count(o.err, "Warning: 1 event may be missing from the audit log"); got != warnings || strings.Contains(o.err, "secret?") {
			t.Errorf("%q: got %d warnings, want %d: %s", step.args, got, warnings, o.err)
		}
	}
}

// The lock is released while a webhook still keeps its event waiting.
func TestAudit_ReleaseDoesNotWait(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	var once sync.Once
	free := make(chan bool, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		once.Do(func() {
			deadline := time.Now().Add(4 * time.Second) // below what a webhook may take
			for time.Now().Before(deadline) {
				_, err := s.client().HeadObject(r.Context(), &s3.HeadObjectInput{Bucket: new("demo"), Key: new("app/terraform.tfstate.tflock")})
				if err != nil {
					free <- true
					return
				}
			}
			free <- false
		})
	}))
	t.Cleanup(srv.Close)
	s.env["STATELATCH_AUDIT"] = srv.URL
	s.want(s.run("push", s.file(plainState(1, "a", "")), demoRef), 0)
	if !<-free {
		t.Error("the lock was held until the event was stored")
	}
}

func TestAudit_Webhook(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	var mu sync.Mutex
	var signatures, bodies []string
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body := make([]byte, audit.MaxEvent)
		n, _ := r.Body.Read(body)
		signatures, bodies = append(signatures, r.Header.Get(audit.SignatureHeader)), append(bodies, string(body[:n]))
	}))
	t.Cleanup(srv.Close)
	s.env["STATELATCH_AUDIT_KEY"] = "0123456789abcdef0123456789abcdef"
	s.want(s.run("lock", "-audit", srv.URL, demoRef), 0)
	if len(bodies) != 1 || !strings.Contains(bodies[0], `"action":"lock"`) || !strings.HasPrefix(signatures[0], "sha256=") {
		t.Errorf("got %q, signed %q", bodies, signatures)
	}
	for _, args := range [][]string{{"audit", "log", srv.URL + "/T0KEN"}, {"audit", "verify", "hooks.example.com/T0KEN"}} {
		o := s.run(args...)
		s.want(o, exitUsage)
		if strings.Contains(o.out+o.err, "T0KEN") {
			t.Errorf("%q shows what admits to the webhook: %s%s", args[:2], o.out, o.err)
		}
	}
	s.want(s.run("audit", "log", srv.URL), exitUsage, "cannot be read back")
}

func TestAudit_LogAndVerify(t *testing.T) {
	t.Parallel()
	s, locations := auditedShell(t)
	s.want(s.run("audit", "verify"), 10, "nothing was ever recorded")
	s.want(s.run("audit", "log", locations[1]), 10)
	s.env["STATELATCH_REASON"] = "evil\x1b[2J"
	s.want(s.run("push", s.file(plainState(1, "a", "")), demoRef), 0)
	s.want(s.run("lock", "-who", "Mallory", "s3://demo/x"), 0)
	s.want(s.run("unlock", "s3://demo/x"), 0)
	for _, location := range locations {
		o := s.run("audit", "log", location)
		s.want(o, 0, "EVENT", "none -> 1", "Mallory")
		if strings.Contains(o.out, "\x1b") || strings.Count(o.out, "\n") != 4 {
			t.Errorf("audit log: %q", o.out)
		}
		for want, args := range map[int][]string{
			1: {"-ref", demoRef}, 3: {"-ref", "s3://demo/"}, 2: {"-who", "mallory"}, 0: {"-since", "2099-01-01"},
		} {
			if got := s.events(append(args, location)...); len(got) != want {
				t.Errorf("audit log %q: got %d events, want %d", args, len(got), want)
			}
		}
		if got := s.events("-action", "unlock", "-since", "1h", location); len(got) != 1 || got[0].Holder != "Mallory" {
			t.Errorf("got %+v, want the unlock", got)
		}
	}
	s.want(s.run("audit", "log", "-who", "nobody-else"), 0, "No such event", "of 3")

	// What was kept elsewhere shows that a log was written anew as a whole.
	var whole audit.Verified
	if err := json.Unmarshal([]byte(s.run("audit", "verify", "-json", locations[1]).out), &whole); err != nil || !whole.Intact {
		t.Fatalf("audit verify -json: %v, %+v", err, whole)
	}
	s.want(s.run("audit", "verify", "-known", "3:"+strings.ToUpper(whole.LastHash), locations[1]), 0, "is intact")
	s.want(s.run("audit", "verify", "-known", "3:"+whole.LastHash, locations[0]), exitError, "broken at event 3", whole.LastHash)
	s.want(s.run("audit", "verify", "-known", "4:"+whole.LastHash, locations[1]), exitError, "broken at event 4")
	s.want(s.run("audit", "verify", "-known", "3:abc", locations[1]), exitUsage, "EVENT:SHA256")

	// Somebody covers the tracks.
	path := strings.TrimPrefix(locations[1], "file:")
	content, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, []byte(strings.Replace(string(content), "Mallory", "nobody", 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.client().DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: new("demo"), Key: new("audit/00000000000000000003.json")}); err != nil {
		t.Fatal(err)
	}
	s.want(s.run("audit", "verify", locations[0]), exitError, "broken at event 3", "cut tail")
	s.want(s.run("audit", "verify", locations[1]), exitError, "broken at event 2", "edited")
	o := s.run("audit", "verify", "-json", locations[1])
	var report audit.Verified
	if err := json.Unmarshal([]byte(o.out), &report); err != nil || o.code != exitError || report.Intact || report.Events != 3 || report.Findings[0].Event != 2 || o.err != "" {
		t.Errorf("audit verify -json: %v: %+v", err, o)
	}
	s.want(s.run("audit", "verify", "-expected-bucket-owner", "123456789012", locations[0]), exitDenied)
	for _, args := range [][]string{
		{"log", "a", "b"}, {"log", "-since", "soon", locations[0]}, {"verify", "s3://demo"}, {"verify", "syslog:"}, {"prove"},
	} {
		s.want(s.run(append([]string{"audit"}, args...)...), exitUsage)
	}
	delete(s.env, "STATELATCH_AUDIT")
	s.want(s.run("audit", "verify"), exitUsage, "STATELATCH_AUDIT")
}

// Who wrote a signed log anew without the key leaves events that are not signed, which a client with the key goes on
// from: that is told, as it may also be from before there was a key.
func TestAudit_VerifyTellsWhatIsNotSigned(t *testing.T) {
	t.Parallel()
	s, locations := auditedShell(t)
	s.act(locations, 0, "lock", demoRef)
	s.env["STATELATCH_AUDIT_KEY"] = "0123456789abcdef0123456789abcdef"
	s.act(locations, 0, "unlock", demoRef)
	for _, at := range locations {
		s.want(s.run("audit", "verify", at), 0, "nothing before the first signature is signed (1 event)", "is intact")
		s.want(s.run("audit", "verify", "-json", at), 0, `"signed":1,"unsigned_first":1`)
	}
}
