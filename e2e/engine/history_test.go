package engine

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"regexp"
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
