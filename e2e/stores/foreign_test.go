package stores

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// On a store that is not ours, has no versions and deletes without looking, an operator has every command all the same,
// with real engines beside.
func TestForeign_Versitygw(t *testing.T) {
	t.Parallel()
	engine := rig.Need(t, rig.Engine())
	s := startVersitygw(t)
	w := userOf(t, s)
	b := s.bucket(t, false)
	scope := "s3://" + b.Name()
	ref := scope + "/" + rig.StateKey
	dir := w.Project(`terraform {
  backend "s3" {
    bucket                      = "` + b.Name() + `"
    key                         = "` + rig.StateKey + `"
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
	here := func(args ...string) rig.Result { return w.Run(dir, rig.Binary, args...) }

	if v, r := probe(w, scope); r.Code != 0 || v.Tier != "cas" {
		t.Fatalf("probe: got %v, want tier cas", r)
	}
	rig.Want(t, "bucket check", here("bucket", "check"), 1, "versioning is off", "0 warnings")
	w.Must(dir, engine, "init", "-input=false", "-no-color")
	w.Must(dir, engine, rig.Apply...)

	locked := here("lock", "-reason", "a look at it")
	rig.Want(t, "lock", locked, 0)
	rig.Want(t, "status", here("status"), 11, "is locked by you")
	rig.Want(t, "locks", here("locks"), 0, rig.StateKey, strings.TrimSpace(locked.Stdout), "a look at it")
	refused := w.Run(dir, engine, append(rig.Apply, "-var", "value=b")...)
	rig.Want(t, "the engine beside the lock", refused, 1, strings.TrimSpace(locked.Stdout))
	rig.Want(t, "unlock", here("unlock"), 0, "weak release")
	w.Must(dir, engine, append(rig.Apply, "-var", "value=b")...) // nothing of its own is kept: the store has no versions

	next := filepath.Join(w.Home, "next.tfstate")
	w.Write(next, rig.Successor(t, strings.ReplaceAll(here("pull").Stdout, `"b"`, `"a"`), "c"))
	rig.Want(t, "push", here("push", next), 0)
	rig.Want(t, "run", here("run", "--", engine, "apply", "-input=false", "-no-color", "-auto-approve", "-var", "value=d"), 0)

	history := here("history")
	rig.Want(t, "history", history, 0, "keeps no versions", "snapshot", "current")
	snapshots := regexp.MustCompile(`(?m)snapshot(?:, recorded)? +(\S+)$`).FindAllStringSubmatch(history.Stdout, -1)
	if len(snapshots) != 2 {
		t.Fatalf("history: got %v, want snapshots of what push and run replaced", history)
	}
	oldest := snapshots[1][1]
	rig.Want(t, "show", here("show", "-version", oldest, "-address", "terraform_data.x"), 0, `input.value.value = "b"`)
	rig.Want(t, "diff", here("diff", "previous"), 0, `value: "c" → "d"`)
	rig.Want(t, "rollback, dry run", here("rollback", "-dry-run", "previous"), 0, "Plan: roll back "+ref)
	rig.Want(t, "rollback", here("rollback", "-auto-approve", oldest), 0, "Rolled back")
	w.Must(dir, engine, "plan", "-input=false", "-no-color", "-detailed-exitcode", "-var", "value=b")
	rig.Want(t, "history afterwards", here("history"), 0, oldest)
	rig.Want(t, "states", here("states", "-headers", "-versions"), 0, rig.StateKey, "unversioned")
	rig.Want(t, "gc of locks", here("gc", "-older-than", "0s", "-auto-approve"), 0, "no old versions of locks")
	rig.Want(t, "gc of snapshots", here("gc", "-keep-snapshots", "1", "-auto-approve"), 0, "Removed 2 snapshots")

	var left []string
	for o, err := range b.List(t.Context(), bucket.ListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(o.Key, statelatch.ProbePrefix) { // the probe's verdict stays
			left = append(left, o.Key)
		}
	}
	if len(left) != 2 || left[0] != rig.StateKey || !strings.HasPrefix(left[1], rig.StateKey+".history/") {
		t.Errorf("got %q left, want the state and one snapshot", left)
	}
}
