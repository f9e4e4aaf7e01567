package main

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	storedKey = "app/terraform.tfstate" // of demoRef
	jobURL    = "https://git.example.com/acme/infra/actions/runs/7"
)

// inJob is a CI job of octocat's.
func (s *shell) inJob() {
	maps.Copy(s.env, map[string]string{
		"GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://git.example.com", "GITHUB_REPOSITORY": "acme/infra",
		"GITHUB_RUN_ID": "7", "GITHUB_ACTOR": "octocat",
	})
}

// metadata is what the store keeps beside the newest object at a key.
func (s *shell) metadata(key string) map[string]string {
	s.t.Helper()
	out, err := s.client().HeadObject(s.t.Context(), &s3.HeadObjectInput{Bucket: aws.String("demo"), Key: &key})
	if err != nil {
		s.t.Fatal(err)
	}
	return out.Metadata
}

// wantRecorded compares what is recorded with an object. The lock's ID is compared with what the listing concludes.
func (s *shell) wantRecorded(key, who, run string, locked bool) {
	s.t.Helper()
	got := s.metadata(key)
	if got["statelatch-principal"] != who || got["statelatch-run"] != run || (got["statelatch-lock-id"] != "") != locked {
		s.t.Errorf("recorded with %s: got %q, want %s, %s, and the ID of a lock: %t", key, got, who, run, locked)
	}
}

// Every command that writes a state records whose lock it was, and history tells that from what is concluded.
func TestHistory_StoredBy(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.overwrite(plainState(1, "a", oneResource)) // an engine's, which took no lock
	s.want(s.run("push", "-who", "zoë@laptop", s.file(plainState(2, "a", oneResource)), demoRef), 0)
	s.wantRecorded(storedKey, "=?utf-8?q?zo=C3=AB@laptop?=", "", true)
	s.inJob()
	s.want(s.run("push", s.file(plainState(3, "a", oneResource)), demoRef), 0)
	s.wantRecorded(storedKey, "octocat@github-actions", jobURL, true)
	s.want(s.run("rollback", "-auto-approve", "2", demoRef), 0)
	s.wantRecorded(storedKey, "octocat@github-actions", jobURL, true)

	h := s.history(demoRef).Versions
	if len(h) != 4 || h[3].StoredBy.Basis != "" {
		t.Fatalf("history: %+v", h)
	}
	for i, want := range []string{"octocat@github-actions rollback " + jobURL, "octocat@github-actions push " + jobURL, "zoë@laptop push "} {
		by := h[i].StoredBy
		if got := by.Who + " " + by.Operation + " " + by.RunURL; got != want || by.Basis != "recorded" || by.LockID == "" ||
			by.LockID != h[i].LockID || h[i].Disputed {
			t.Errorf("version %d: got %+v, want %s, recorded and undisputed", i, h[i], want)
		}
	}
	s.want(s.run("history", demoRef), 0, "zoë@laptop (push)", "recorded", "current, recorded")
	s.want(s.run("show", demoRef), 0, "octocat@github-actions (rollback), recorded", jobURL)
	s.want(s.run("diff", "2", "current", demoRef), 0, "by zoë@laptop (push), recorded")
	s.want(s.run("rollback", "-dry-run", "2", demoRef), 0, "zoë@laptop (push)", "octocat@github-actions (rollback)")
}

// A state that was stored while another than is recorded held the lock is marked, and one that an engine stored is not.
func TestHistory_StoredBy_Disputed(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("push", s.file(plainState(1, "a", oneResource)), demoRef), 0)
	s.want(s.run("lock", "-reason", "apply", "-who", "bo@build", demoRef), 0)
	s.overwrite(plainState(2, "a", oneResource))
	_, err := s.client().PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String("demo"), Key: aws.String(storedKey), Body: strings.NewReader(plainState(3, "a", oneResource)),
		Metadata: map[string]string{
			"statelatch-lock-id": "another", "statelatch-principal": "=?utf-8?q?mallory=1B[2J?=", "statelatch-run": "javascript:alert(1)",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	h := s.history(demoRef).Versions
	if by := h[0].StoredBy; !h[0].Disputed || by.Basis != "recorded" || by.Who != `mallory\x1b[2J` || by.LockID != "another" ||
		by.RunURL != "" || h[0].Who != "bo@build" {
		t.Errorf("forged: got %+v", h[0])
	}
	if by := h[1].StoredBy; h[1].Disputed || by.Basis != "concluded" || by.Who != "bo@build" {
		t.Errorf("an engine's: got %+v", h[1])
	}
	s.want(s.run("history", demoRef), 0, "recorded, LOCKED BY ANOTHER: bo@build", `mallory\x1b[2J`)
}

// A workspace is created without a lock.
func TestWorkspace_New_Recorded(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.inJob()
	s.want(s.run("workspace", "new", "staging", demoRef), 0)
	s.wantRecorded("env:/staging/"+storedKey, "octocat@github-actions", jobURL, false)
}

// Not parallel: one command at a time can run below a process.
func TestRun_Recorded(t *testing.T) { //nolint:paralleltest // see above
	s := newShell(t).withStore()
	s.inJob()
	s.want(s.run("push", s.file(plainState(1, "a", "")), demoRef), 0)
	dir := t.TempDir()
	errored := filepath.Join(dir, "errored.tfstate")
	args := append(append([]string{"run", "-chdir", dir}, s.flags...), demoRef, "--", "sh", "-c")
	s.want(s.runContext(t.Context(), append(args, "cp "+s.file(plainState(2, "a", oneResource))+" "+errored+"; exit 1")...), 1, "it is saved now")
	s.wantRecorded(storedKey, "octocat@github-actions", jobURL, true)
	if by := s.history(demoRef).Versions[0].StoredBy; by.Operation != "run sh" || by.Basis != "recorded" {
		t.Errorf("got %+v, want it to be recorded as the run's", by)
	}
	o := s.runContext(t.Context(), append(args, "echo broken > "+errored+"; exit 1")...)
	s.want(o, 1, "A copy is kept in the bucket")
	_, rest, _ := strings.Cut(o.err, "A copy is kept in the bucket: s3://demo/")
	key, _, _ := strings.Cut(rest, "\n")
	s.wantRecorded(key, "octocat@github-actions", jobURL, true)
}
