package stores

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// The script that bucket init prints does with the real aws command what bucket init does.
func TestBucket_ScriptOfInitWorks(t *testing.T) {
	t.Parallel()
	r := newAWSRig(t)
	rig.Need(t, "bash")
	printed := r.Statelatch("bucket", "init", "-format", "awscli", "-require-conditions", "s3://acme-state")
	if printed.Code != 0 {
		t.Fatal(printed)
	}
	script := filepath.Join(r.Home, "init.sh")
	r.Write(script, printed.Stdout)
	for range 2 { // it can be run again
		r.Must(r.Home, "bash", script)
	}
	again := r.Statelatch("bucket", "init", "-require-conditions", "s3://acme-state")
	if again.Code != 0 || !strings.Contains(again.Stderr, "nothing to do") {
		t.Errorf("bucket init after the script: want nothing to do: %v", again)
	}
	check := r.Statelatch("bucket", "check", "-fail-on", "warning", "s3://acme-state")
	if check.Code != 0 {
		t.Errorf("bucket check after the script: %v", check)
	}
}

// What bucket init prints works as it is pasted, and locks are taken in what it made.
func TestBucket_InitThenTerraform(t *testing.T) {
	t.Parallel()
	w := rig.NewWorld(t)
	terraform := rig.Need(t, "terraform")
	w.Serve()
	made := w.Statelatch("bucket", "init", "-auto-approve", "-require-conditions", "s3://acme-state")
	if made.Code != 0 {
		t.Fatal(made)
	}
	dir := w.Project(made.Stdout)
	w.Must(dir, terraform, "init", "-no-color")
	w.Must(dir, terraform, "apply", "-no-color", "-auto-approve")

	again := w.Run(dir, rig.Binary, "bucket", "init")
	if again.Code != 0 || !strings.Contains(again.Stderr, "nothing to do") {
		t.Errorf("bucket init in the working directory: want nothing to do: %v", again)
	}
	var report struct {
		Worst    string
		Findings []struct{ ID, Severity, What string }
	}
	check := w.Run(dir, rig.Binary, "bucket", "check", "-json")
	if err := json.Unmarshal([]byte(check.Stdout), &report); err != nil || check.Code != 0 || report.Worst != "note" {
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
	made := w.Statelatch("bucket", "init", "-auto-approve", "s3://acme-state")
	if made.Code != 0 || !strings.Contains(made.Stderr, "Skipped: encrypt by default") || !strings.Contains(made.Stderr, "keeps no versions") || !strings.Contains(made.Stdout, "use_lockfile") {
		t.Errorf("want a bucket without versions, and a warning that says so: %v", made)
	}
	check := w.Statelatch("bucket", "check", "s3://acme-state")
	if check.Code != 1 || !strings.Contains(check.Stdout, "versioning is off") || !strings.Contains(check.Stdout, "this store has no default encryption") {
		t.Errorf("want a report about versioning: %v", check)
	}
}
