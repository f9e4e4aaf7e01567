package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/statelatch/statelatch/internal/faultproxy"
)

func (s *shell) client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(s.url), Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret-key", ""),
	})
}

// plainBucket makes a bucket that keeps no versions.
func (s *shell) plainBucket(name string) {
	s.t.Helper()
	if _, err := s.client().CreateBucket(s.t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		s.t.Fatal(err)
	}
}

// historyRead is what a program reads of 'history -json'.
type historyRead struct {
	Ref      string
	Versions []struct {
		VersionID     string `json:"version_id"`
		Serial        *uint64
		Lineage       string
		EngineVersion string `json:"engine_version"`
		Operation     string
		LockID        string `json:"lock_id"`
		Who           string
		Anomaly       string
		LastModified  time.Time `json:"last_modified"`
		Current       bool
		Deleted       bool
		Snapshot      bool
		Encrypted     bool
		Unchanged     bool
		Disputed      bool
		StoredBy      struct {
			Basis, Who, Operation string
			LockID                string `json:"lock_id"`
			RunURL                string `json:"run_url"`
		} `json:"stored_by"`
	}
	More bool
}

// history reads 'history -json'.
func (s *shell) history(args ...string) historyRead {
	s.t.Helper()
	var h historyRead
	o := s.run(append([]string{"history", "-json"}, args...)...)
	if err := json.Unmarshal([]byte(o.out), &h); err != nil || o.code != 0 {
		s.t.Fatalf("history: %v: %+v", err, o)
	}
	return h
}

func encryptedState(serial int, data string) string {
	return fmt.Sprintf(`{"serial":%d,"lineage":"a","meta":{"key_provider.pbkdf2.k":"x"},"encrypted_data":%q,"encryption_version":"v0"}`, serial, data)
}

func TestHistory_Rollback(t *testing.T) {
	t.Parallel()
	for _, bucket := range []string{"demo", "plain"} { // the second keeps snapshots instead of versions
		t.Run(bucket, func(t *testing.T) {
			t.Parallel()
			s := newShell(t).withStore()
			s.plainBucket("plain")
			ref := "s3://" + bucket + "/app/terraform.tfstate"
			s.want(s.run("history", ref), 10, "no state yet")
			s.want(s.run("rollback", "-auto-approve", "previous", ref), 10, "no state yet")
			one, two := plainState(1, "a", oneResource), plainState(2, "a", "")
			s.want(s.run("push", s.file(one), ref), 0)
			s.want(s.run("rollback", "-auto-approve", "previous", ref), 10, "previous")
			s.want(s.run("push", "-force", "-who", "mallory\x1b[2J", s.file(two), ref), 0)
			s.want(s.run("push", s.file(plainState(3, "a", oneResource+","+oneResource)), ref), 0)

			o := s.run("history", ref)
			s.want(o, 0, "SERIAL", "current", "1.11.4")
			if strings.Contains(o.out, "\x1b") || strings.Count(o.out, "\n") != 4 {
				t.Errorf("history: %q", o.out)
			}
			h := s.history(ref)
			if v := h.Versions; len(v) != 3 || *v[0].Serial != 3 || *v[2].Serial != 1 || !v[0].Current || v[1].Current || v[2].VersionID == "" ||
				v[2].Snapshot != (bucket == "plain") || v[0].Lineage != "a" || v[0].EngineVersion != "1.11.4" || h.More {
				t.Fatalf("history: %+v", h)
			}
			if bucket == "demo" && (h.Versions[0].Operation != "push" || h.Versions[0].LockID == "") {
				t.Errorf("who: %+v", h.Versions[0])
			}
			if h := s.history("-limit", "2", ref); len(h.Versions) != 2 || !h.More {
				t.Errorf("history -limit 2: %+v", h)
			}
			for selector, want := range map[string]string{"1": one, "2": two, "previous": two, h.Versions[2].VersionID: one} {
				if o := s.run("pull", "-version", selector, ref); o.out != want || o.code != 0 {
					t.Errorf("pull -version %s: %+v", selector, o)
				}
			}

			// Nothing changes before it was said so.
			s.want(s.run("rollback", "1", ref), 2, "-auto-approve", "Plan: roll back")
			s.typed = "no\n"
			s.want(s.run("rollback", "1", ref), 1, "nothing was changed")
			s.typed = ""
			s.want(s.run("rollback", "-dry-run", "1", ref), 0, "from", "to", "new")
			s.want(s.run("rollback", "-auto-approve", "-keep-serial", "1", ref), 2, "-keep-serial")
			s.want(s.run("rollback", "-auto-approve", "7", ref), 10, "7")
			s.want(s.run("rollback", "-auto-approve", "current", ref), 0, "Nothing to do")
			if got := s.history(ref); len(got.Versions) != 3 {
				t.Fatalf("something was written: %+v", got)
			}

			s.typed = "yes\n"
			s.want(s.run("rollback", "1", ref), 0, "serial is 4", "terraform plan")
			s.typed = ""
			if o := s.run("pull", ref); o.out != plainState(4, "a", oneResource) {
				t.Errorf("after the rollback: %+v", o)
			}
			if got := s.history(ref); len(got.Versions) != 4 {
				t.Errorf("history: %+v", got)
			}
			s.want(s.run("status", ref), 0, "not locked")
			var result rollbackJSON
			o = s.run("rollback", "-json", "-auto-approve", h.Versions[1].VersionID, ref)
			if h.Versions[1].VersionID == "" {
				t.Fatal("no ID")
			}
			if json.Unmarshal([]byte(o.out), &result) != nil || result.Serial != 5 || result.RolledBackTo != h.Versions[1].VersionID ||
				result.FromSerial != 4 || result.ToSerial != 2 || result.Unchanged || result.ETag == "" {
				t.Errorf("rollback -json: %+v", o)
			}
		})
	}
}

// What was deleted comes back, and what was emptied.
func TestRollback_OfNothing(t *testing.T) {
	t.Parallel()
	for _, bucket := range []string{"demo", "plain"} {
		t.Run(bucket, func(t *testing.T) {
			t.Parallel()
			s := newShell(t).withStore()
			s.plainBucket("plain")
			base, staging := "s3://"+bucket+"/app/terraform.tfstate", "s3://"+bucket+"/env:/staging/app/terraform.tfstate"
			s.want(s.run("push", s.file(plainState(7, "a", oneResource)), staging), 0)
			s.want(s.run("workspace", "delete", "-force", "staging", base), 0)
			s.want(s.run("pull", staging), 10)
			s.want(s.run("history", staging), 0)
			s.want(s.run("rollback", "-auto-approve", "previous", staging), 0, "serial is 8", "no state")
			s.want(s.run("pull", staging), 0, `"serial": 8,`)
		})
	}
}

func TestRollback_Guards(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("push", s.file(plainState(1, "other", oneResource)), demoRef), 0)
	s.want(s.run("push", "-force", s.file(encryptedState(3, "old")), demoRef), 0)
	s.want(s.run("push", s.file(encryptedState(5, "new")), demoRef), 0)
	s.want(s.run("rollback", "-auto-approve", "1", demoRef), 2, "lineage", "-force")
	s.want(s.run("rollback", "-auto-approve", "3", demoRef), 2, "encrypted", "-keep-serial")
	s.want(s.run("history", demoRef), 0, "encrypted", "LINEAGE CHANGED")
	s.want(s.run("rollback", "-auto-approve", "-keep-serial", "3", demoRef), 0, "serial is 3 now", "saved plan")
	if o := s.run("pull", demoRef); strings.TrimSpace(o.out) != encryptedState(3, "old") || o.out == encryptedState(3, "old") {
		t.Errorf("encrypted: got %q, want the old bytes with fresh blanks (R12)", o.out)
	}
	s.want(s.run("rollback", "-auto-approve", "-keep-serial", "current", demoRef), 0, "Nothing to do")
	s.want(s.run("rollback", "-auto-approve", "-keep-serial", "3", demoRef), 2, "by its ID")
	s.want(s.run("rollback", "-auto-approve", "-force", "1", demoRef), 0, "serial is 6")
	s.want(s.run("lock", "-reason", "freeze", demoRef), 0)
	s.want(s.run("rollback", "-auto-approve", "-keep-serial", "-force", "5", demoRef), 11, "freeze")
}

// An update was lost: two versions have one serial, and neither is taken for the other.
func TestRollback_AmbiguousSerial(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("push", s.file(plainState(1, "a", oneResource)), demoRef), 0)
	s.overwrite(plainState(1, "a", ""))
	h := s.history(demoRef)
	if h.Versions[0].Anomaly != "same serial, different content" {
		t.Errorf("got %+v", h.Versions[0])
	}
	s.want(s.run("rollback", "-auto-approve", "1", demoRef), 2, h.Versions[0].VersionID, h.Versions[1].VersionID)
	s.want(s.run("rollback", "-auto-approve", h.Versions[1].VersionID, demoRef), 0, "serial is 2")
}

// overwrite stores a state as an engine does that looks at nothing.
func (s *shell) overwrite(content string) {
	s.t.Helper()
	s.overwriteIn("demo", content)
}

func (s *shell) overwriteIn(bucket, content string) {
	s.t.Helper()
	_, err := s.client().PutObject(s.t.Context(), &s3.PutObjectInput{
		Bucket: &bucket, Key: aws.String("app/terraform.tfstate"), Body: strings.NewReader(content),
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// answer is a person who types yes, but not before something happened.
type answer struct {
	first func()
	rest  *strings.Reader
}

func (a *answer) Read(p []byte) (int, error) {
	if a.first != nil {
		a.first()
		a.first = nil
	}
	return a.rest.Read(p)
}

// What is approved is what was shown.
func TestRollback_ChangedSinceShown(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	for serial := range 3 {
		s.want(s.run("push", s.file(plainState(serial+1, "a", oneResource)), demoRef), 0)
	}
	newer := plainState(4, "a", oneResource+","+oneResource)
	var errs bytes.Buffer
	code := run(t.Context(), append([]string{"statelatch", "rollback", "1", demoRef}, s.flags...), terminal{
		In: &answer{func() { s.overwrite(newer) }, strings.NewReader("yes\n")}, Out: &errs, Err: &errs, Interactive: true,
		Getenv: func(k string) string { return s.env[k] },
	})
	s.want(outcome{code, "", errs.String()}, 1, "was written since the plan was shown")
	if o := s.run("pull", demoRef); o.out != newer {
		t.Errorf("got %+v, want what was written meanwhile", o)
	}
	s.want(s.run("status", demoRef), 0, "not locked")
}

// 'previous' is the one before what is rolled back, also when somebody writes while it is looked for.
func TestRollback_ChangedWhileListed(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	for serial := range 2 {
		s.want(s.run("push", s.file(plainState(serial+1, "a", oneResource)), demoRef), 0)
	}
	direct := *s
	newer := plainState(3, "a", "")
	var once sync.Once
	s.behindProxy().Add(faultproxy.Rule{Match: func(r *http.Request) bool {
		if r.Method == http.MethodGet && r.URL.Path == "/demo/app/terraform.tfstate" && !r.URL.Query().Has("versionId") {
			once.Do(func() { direct.overwrite(newer) })
		}
		return false
	}})
	s.want(s.run("rollback", "-auto-approve", "previous", demoRef), 1, "while its versions were listed")
	if o := s.run("pull", demoRef); o.out != newer {
		t.Errorf("got %+v, want what was written meanwhile", o)
	}
}

// Who may not store a snapshot learns which right is missing.
func TestPush_SnapshotDenied(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.plainBucket("plain")
	ref := "s3://plain/app/terraform.tfstate"
	one := plainState(1, "a", oneResource)
	s.want(s.run("push", s.file(one), ref), 0)
	s.behindProxy().Add(faultproxy.Rule{
		Match: func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, ".history/")
		},
		Fault: faultproxy.Answer(http.StatusForbidden, "AccessDenied"),
	})
	next := s.file(plainState(2, "a", oneResource))
	s.want(s.run("push", next, ref), 14, "a snapshot", "s3:PutObject", "terraform.tfstate.history/")
	if o := s.run("pull", ref); o.out != one {
		t.Errorf("got %+v, want it unchanged", o)
	}
	s.want(s.run("status", ref), 0, "not locked")
	args := append([]string{"run"}, s.flags...)
	s.want(s.runContext(t.Context(), append(args, ref, "--", "true")...), 0, "nothing to roll back to")
}

// What an engine replaces below run is kept too, and a run that changes nothing keeps nothing twice.
func TestRun_Snapshot(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.plainBucket("plain")
	ref := "s3://plain/app/terraform.tfstate"
	s.want(s.run("push", s.file(plainState(1, "a", oneResource)), ref), 0)
	for range 2 {
		args := append([]string{"run"}, s.flags...)
		s.want(s.runContext(t.Context(), append(args, ref, "--", "true")...), 0)
	}
	if h := s.history(ref); len(h.Versions) != 1 {
		t.Errorf("a snapshot of the current version is no other version: %+v", h)
	}
	s.overwriteIn("plain", plainState(2, "a", ""))
	if h := s.history(ref); len(h.Versions) != 2 || !h.Versions[1].Snapshot || *h.Versions[1].Serial != 1 {
		t.Errorf("what the engine replaced is not kept: %+v", h)
	}
}

func TestHistory_Usage(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, tc := range []struct {
		args  []string
		code  int
		texts []string
	}{
		{[]string{"history", "-h"}, 0, []string{"[REF]", "-limit N", "Examples:", "-limit N"}},
		{[]string{"rollback", "-h"}, 0, []string{"VERSION [REF]", "-keep-serial", "-auto-approve", "Examples:"}},
		{[]string{"history", "-limit=-1", demoRef}, 2, []string{"-limit -1"}},
		{[]string{"history", demoRef, demoRef}, 2, []string{"one REF"}},
		{[]string{"rollback"}, 2, []string{"VERSION [REF]"}},
		{[]string{"rollback", demoRef}, 2, []string{"VERSION [REF]"}},
		{[]string{"rollback", "previous", "not-a-ref"}, 2, []string{"not-a-ref"}},
	} {
		s.want(s.runContext(t.Context(), tc.args...), tc.code, tc.texts...)
	}
}

// A small question about a long history is asked with few requests, and a listing is asked for once.
func TestHistory_SmallQuestions_Requests(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	const versions = 150
	for i := range versions {
		s.overwrite(plainState(i+1, "a", oneResource))
	}
	proxy := s.behindProxy()
	count := func(args ...string) (gets, listings int) {
		t.Helper()
		before := len(proxy.Requests())
		s.want(s.run(append(args, demoRef)...), 0)
		for _, r := range proxy.Requests()[before:] {
			listed := strings.Contains(r.Query, "prefix=")
			switch {
			case listed && strings.Contains(r.Query, "versions") && !strings.Contains(r.Query, "tflock"):
				listings++
			case r.Method == http.MethodGet && !listed:
				gets++
			}
		}
		return gets, listings
	}
	for _, tc := range []struct {
		args       []string
		gets, most int
	}{
		{[]string{"show"}, 1, 1},
		{[]string{"show", "-version", "previous"}, 25, 1},
		{[]string{"pull", "-version", "previous"}, 25, 1},
		{[]string{"diff", "previous"}, 25, 2}, // and where the current one is
		{[]string{"show", "-version", "1"}, versions + 1, 1},
		{[]string{"rollback", "-dry-run", "previous"}, dryRunVersions + 3, 1},
		{[]string{"rollback", "-auto-approve", "previous"}, versions + 10, 1},
	} {
		gets, listings := count(tc.args...)
		if gets > tc.gets || listings > tc.most {
			t.Errorf("%v: %d reads and %d listings of versions, want at most %d and %d", tc.args, gets, listings, tc.gets, tc.most)
		}
	}
	file, before := s.file("mine"), len(proxy.Requests())
	s.want(s.run("pull", "-out", file, demoRef), 1, "exists")
	if content, err := os.ReadFile(file); string(content) != "mine" || err != nil || len(proxy.Requests()) != before {
		t.Errorf("pull -out of a file that is there: %d requests, and it has %q, %v", len(proxy.Requests())-before, content, err)
	}
}

// A rollback reads the state that it replaces once.
func TestRollback_ReadsTheStateOnce(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	for i := range 3 {
		s.overwrite(plainState(i+1, "a", oneResource))
	}
	proxy := s.behindProxy()
	s.want(s.run("rollback", "-auto-approve", "previous", demoRef), 0)
	reads := proxy.Count(func(r faultproxy.Request) bool {
		return r.Method == http.MethodGet && r.Path == "/demo/app/terraform.tfstate" && !strings.Contains(r.Query, "versionId")
	})
	if reads != 1 {
		t.Errorf("it read the current state %d times, want once", reads)
	}
}

// Where the bucket keeps no versions what is replaced is kept as a snapshot, of the bytes that were read for the write.
func TestPush_PlainBucket_ReadsTheStateOnce(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.plainBucket("plain")
	ref := "s3://plain/app/terraform.tfstate"
	s.want(s.run("push", s.file(plainState(1, "a", oneResource)), ref), 0)
	proxy := s.behindProxy()
	s.want(s.run("push", s.file(plainState(2, "a", oneResource)), ref), 0)
	reads := proxy.Count(func(r faultproxy.Request) bool {
		return r.Method == http.MethodGet && r.Path == "/plain/app/terraform.tfstate"
	})
	if reads != 1 {
		t.Errorf("it read the state %d times, want once", reads)
	}
	if h := s.history(ref); len(h.Versions) != 2 || !h.Versions[1].Snapshot {
		t.Errorf("got %+v, want the state and a snapshot", h.Versions)
	}
}
