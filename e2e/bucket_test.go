package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// The script that bucket init prints does with the real aws command what bucket init does.
func TestBucket_ScriptOfInitWorks(t *testing.T) {
	t.Parallel()
	r := newAWSRig(t)
	need(t, "bash")
	printed := r.statelatch("bucket", "init", "-format", "awscli", "-require-conditions", "s3://acme-state")
	if printed.code != 0 {
		t.Fatal(printed)
	}
	script := filepath.Join(r.home, "init.sh")
	r.write(script, printed.stdout)
	for range 2 { // it can be run again
		r.must(r.home, "bash", script)
	}
	again := r.statelatch("bucket", "init", "-require-conditions", "s3://acme-state")
	if again.code != 0 || !strings.Contains(again.stderr, "nothing to do") {
		t.Errorf("bucket init after the script: want nothing to do: %v", again)
	}
	check := r.statelatch("bucket", "check", "-fail-on", "warning", "s3://acme-state")
	if check.code != 0 {
		t.Errorf("bucket check after the script: %v", check)
	}
}

// What bucket init prints works as it is pasted, and locks are taken in what it made.
func TestBucket_InitThenTerraform(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	terraform := need(t, "terraform")
	w.serve()
	made := w.statelatch("bucket", "init", "-auto-approve", "-require-conditions", "s3://acme-state")
	if made.code != 0 {
		t.Fatal(made)
	}
	dir := w.project(made.stdout)
	w.must(dir, terraform, "init", "-no-color")
	w.must(dir, terraform, "apply", "-no-color", "-auto-approve")

	again := w.run(dir, binary, "bucket", "init")
	if again.code != 0 || !strings.Contains(again.stderr, "nothing to do") {
		t.Errorf("bucket init in the working directory: want nothing to do: %v", again)
	}
	var report struct {
		Worst    string
		Findings []struct{ ID, Severity, What string }
	}
	check := w.run(dir, binary, "bucket", "check", "-json")
	if err := json.Unmarshal([]byte(check.stdout), &report); err != nil || check.code != 0 || report.Worst != "note" {
		t.Errorf("bucket check: %v (%v)", check, err)
	}
	for _, f := range report.Findings {
		if f.ID == "lock-litter" && f.What != "2 old versions and delete markers of locks" {
			t.Errorf("litter of one apply: %q, want a version and a marker", f.What)
		}
	}
}

// A store that has half of the settings at most.
func TestBucket_Versitygw(t *testing.T) {
	t.Parallel()
	w := userOf(t, startVersitygw(t))
	made := w.statelatch("bucket", "init", "-auto-approve", "s3://acme-state")
	if made.code != 0 || !strings.Contains(made.stderr, "Skipped: encrypt by default") || !strings.Contains(made.stderr, "keeps no versions") || !strings.Contains(made.stdout, "use_lockfile") {
		t.Errorf("want a bucket without versions, and a warning that says so: %v", made)
	}
	check := w.statelatch("bucket", "check", "s3://acme-state")
	if check.code != 1 || !strings.Contains(check.stdout, "versioning is off") || !strings.Contains(check.stdout, "this store has no default encryption") {
		t.Errorf("want a report about versioning: %v", check)
	}
}
