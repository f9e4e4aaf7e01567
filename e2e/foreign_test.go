package e2e

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// On a store that is not ours, has no versions and deletes without looking, an operator has every command all the same,
// with real engines beside.
func TestForeign_Versitygw(t *testing.T) {
	t.Parallel()
	engine := need(t, engine())
	s := startVersitygw(t)
	w := userOf(t, s)
	b := s.bucket(t, false)
	scope := "s3://" + b.Name()
	ref := scope + "/" + stateKey
	dir := w.project(`terraform {
  backend "s3" {
    bucket                      = "` + b.Name() + `"
    key                         = "` + stateKey + `"
    region                      = "us-east-1"
    use_lockfile                = true
    endpoints                   = { s3 = "` + s.url + `" }
    use_path_style              = true
    skip_credentials_validation = true
    skip_requesting_account_id  = true
    skip_metadata_api_check     = true
  }
}
`)
	here := func(args ...string) result { return w.run(dir, binary, args...) }

	if v, r := w.probe(scope); r.code != 0 || v.Tier != "cas" {
		t.Fatalf("probe: got %v, want tier cas", r)
	}
	want(t, "bucket check", here("bucket", "check"), 1, "versioning is off", "0 warnings")
	w.must(dir, engine, "init", "-input=false", "-no-color")
	w.must(dir, engine, apply...)

	locked := here("lock", "-reason", "a look at it")
	want(t, "lock", locked, 0)
	want(t, "status", here("status"), 11, "is locked by you")
	want(t, "locks", here("locks"), 0, stateKey, strings.TrimSpace(locked.stdout), "a look at it")
	refused := w.run(dir, engine, append(apply, "-var", "value=b")...)
	want(t, "the engine beside the lock", refused, 1, strings.TrimSpace(locked.stdout))
	want(t, "unlock", here("unlock"), 0, "weak release")
	w.must(dir, engine, append(apply, "-var", "value=b")...) // nothing of its own is kept: the store has no versions

	next := filepath.Join(w.home, "next.tfstate")
	w.write(next, successor(t, strings.ReplaceAll(here("pull").stdout, `"b"`, `"a"`), "c"))
	want(t, "push", here("push", next), 0)
	want(t, "run", here("run", "--", engine, "apply", "-input=false", "-no-color", "-auto-approve", "-var", "value=d"), 0)

	history := here("history")
	want(t, "history", history, 0, "keeps no versions", "snapshot", "current")
	snapshots := regexp.MustCompile(`(?m)snapshot +(\S+)$`).FindAllStringSubmatch(history.stdout, -1)
	if len(snapshots) != 2 {
		t.Fatalf("history: got %v, want snapshots of what push and run replaced", history)
	}
	oldest := snapshots[1][1]
	want(t, "show", here("show", "-version", oldest, "-address", "terraform_data.x"), 0, `input.value.value = "b"`)
	want(t, "diff", here("diff", "previous"), 0, `value: "c" → "d"`)
	want(t, "rollback, dry run", here("rollback", "-dry-run", "previous"), 0, "Plan: roll back "+ref)
	want(t, "rollback", here("rollback", "-auto-approve", oldest), 0, "Rolled back")
	w.must(dir, engine, "plan", "-input=false", "-no-color", "-detailed-exitcode", "-var", "value=b")
	want(t, "history afterwards", here("history"), 0, oldest)
	want(t, "states", here("states", "-headers", "-versions"), 0, stateKey, "unversioned")
	want(t, "gc of locks", here("gc", "-older-than", "0s", "-auto-approve"), 0, "no old versions of locks")
	want(t, "gc of snapshots", here("gc", "-keep-snapshots", "1", "-auto-approve"), 0, "Removed 2 snapshots")

	var left []string
	for o, err := range b.List(t.Context(), bucket.ListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(o.Key, statelatch.ProbePrefix) { // the probe's verdict stays
			left = append(left, o.Key)
		}
	}
	if len(left) != 2 || left[0] != stateKey || !strings.HasPrefix(left[1], stateKey+".history/") {
		t.Errorf("got %q left, want the state and one snapshot", left)
	}
}
