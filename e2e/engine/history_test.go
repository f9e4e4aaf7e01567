package engine

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
	"github.com/statelatch/statelatch/internal/dynamotest"
)

// B29: after a rollback a real engine finds its infrastructure as the old state says, and goes on from there: its next
// write has a higher serial. With versions and with snapshots, with and without a digest to keep in step.
func TestHistory_RollbackPlansClean(t *testing.T) {
	t.Parallel()
	engine := rig.Need(t, rig.Engine())
	for _, versioned := range []bool{true, false} {
		for _, table := range []bool{false, true} {
			t.Run(fmt.Sprintf("versioned=%v,table=%v", versioned, table), func(t *testing.T) {
				t.Parallel()
				w := rig.NewWorld(t)
				w.Env["STATELATCH_ACCESS_KEY_ID"], w.Env["STATELATCH_SECRET_ACCESS_KEY"] = "history-access-key-id", "history-secret-access-key-of-the-tests"
				server := w.Serve()
				w.Env["AWS_ACCESS_KEY_ID"], w.Env["AWS_SECRET_ACCESS_KEY"] = "history-access-key-id", "history-secret-access-key-of-the-tests"
				block := strings.Replace(server.Block, "example/terraform.tfstate", rig.StateKey, 1)
				if !versioned {
					rig.PlainBucket(t, server.URL, "history-access-key-id", "history-secret-access-key-of-the-tests", "plain")
					block = strings.Replace(block, `"terraform-state"`, `"plain"`, 1)
				}
				if table {
					srv := httptest.NewServer(dynamotest.NewServer(rig.LockTable))
					t.Cleanup(srv.Close)
					block = strings.Replace(block, "use_lockfile = true", "use_lockfile = true\ndynamodb_table = \""+rig.LockTable+"\"", 1)
					block = strings.Replace(block, `endpoints                   = { s3 = "`+server.URL+`" }`,
						`endpoints                   = { s3 = "`+server.URL+`", dynamodb = "`+srv.URL+`" }`, 1)
				}
				dir := w.Project(block)
				w.Must(dir, engine, "init", "-input=false", "-no-color")
				plan := func(value string) rig.Result {
					return w.Run(dir, engine, "plan", "-detailed-exitcode", "-input=false", "-no-color", "-var", "value="+value)
				}
				for _, value := range []string{"one", "two"} { // under run, which keeps what the engine replaces
					w.Must(dir, rig.Binary, "run", "--", engine, "apply", "-input=false", "-no-color", "-auto-approve", "-var", "value="+value)
				}
				rig.Want(t, "plan before", plan("one"), 2)
				var rolled struct {
					Serial  uint64
					Lineage string
				}
				r := w.Run(dir, rig.Binary, "rollback", "-json", "-auto-approve", "previous")
				if err := json.Unmarshal([]byte(r.Stdout), &rolled); err != nil || r.Code != 0 || rolled.Serial != 3 {
					t.Fatalf("rollback: %v", r)
				}
				rig.Want(t, "plan after", plan("one"), 0, "No changes.")
				rig.Want(t, "apply", w.Run(dir, engine, "apply", "-input=false", "-no-color", "-auto-approve", "-var", "value=three"), 0, "Apply complete!")
				pulled := w.Must(dir, rig.Binary, "pull").Stdout
				if !regexp.MustCompile(`"serial": ?[4-9],`).MatchString(pulled) || !strings.Contains(pulled, rolled.Lineage) {
					t.Errorf("the state after the next apply: %s", pulled)
				}
				rig.Want(t, "plan at last", plan("three"), 0, "No changes.")
				rig.Want(t, "history", w.Run(dir, rig.Binary, "history"), 0, "current", rolledBy(versioned))
				rig.Want(t, "status", w.Run(dir, rig.Binary, "status"), 0, "not locked")
			})
		}
	}
}

// rolledBy is what a listing shows that kept versions or snapshots alone can tell.
func rolledBy(versioned bool) string {
	if versioned {
		return "(rollback)"
	}
	return "snapshot"
}

// A real engine does not notice what is recorded with a state: it plans and applies on what push wrote. Its own write
// has nothing recorded, so of that the lock tells.
func TestHistory_RecordedAndConcluded(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	apply := func(value string) { r.TF(append(slices.Clone(rig.Apply), "-var", "value="+value)...) }
	apply("one")
	pulled := r.Must(r.Dir, rig.Binary, "pull").Stdout
	r.Must(r.Dir, rig.Binary, "push", "-who", "ana@laptop", r.File("next.tfstate", rig.Successor(t, pulled, "one")))
	rig.Want(t, "plan on what push wrote", r.Run(r.Dir, r.Terraform, "plan", "-detailed-exitcode", "-input=false", "-no-color",
		"-var", "value=one"), 0, "No changes.")
	apply("two")

	var h struct {
		Versions []struct {
			Serial   int
			Disputed bool
			LockID   string `json:"lock_id"`
			StoredBy struct {
				Basis, Who, Operation string
				LockID                string `json:"lock_id"`
			} `json:"stored_by"`
		}
	}
	if err := json.Unmarshal([]byte(r.Must(r.Dir, rig.Binary, "history", "-json").Stdout), &h); err != nil || len(h.Versions) != 3 {
		t.Fatalf("history: %v, %+v", err, h)
	}
	for i, want := range []string{"concluded OperationTypeApply", "recorded push", "concluded OperationTypeApply"} {
		v := h.Versions[i]
		if got := v.StoredBy.Basis + " " + v.StoredBy.Operation; got != want || v.StoredBy.LockID == "" ||
			v.StoredBy.LockID != v.LockID || v.Disputed {
			t.Errorf("serial %d: got %+v, want it to be %s", v.Serial, v, want)
		}
	}
	rig.Want(t, "history", r.Run(r.Dir, rig.Binary, "history"), 0, "ana@laptop (push) recorded", "(Apply) current")
}
