package run

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

const auditLog = "s3://terraform-state/audit"

// auditEvent is what the tests look at of an event.
type auditEvent struct {
	Seq             uint64
	Action, Outcome string
	LockID          string `json:"lock_id"`
	PrevLockID      string `json:"prev_lock_id"`
	SerialBefore    *int   `json:"serial_before"`
	SerialAfter     *int   `json:"serial_after"`
	Detail          string
}

func audited(w *rig.World, location string) []auditEvent {
	w.T.Helper()
	var result struct{ Events []auditEvent }
	if err := json.Unmarshal([]byte(w.Must(w.Home, rig.Binary, "audit", "log", "-json", location).Stdout), &result); err != nil {
		w.T.Fatal(err)
	}
	return result.Events
}

// Processes that write one log at the same time, one of them a real engine's run, miss no number and lose no event; a run that loses
// its lock to a force-unlock says so.
func TestAudit_Processes(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	file := filepath.Join(r.Home, "audit.log")
	r.Env["STATELATCH_AUDIT"] = auditLog + ",file:" + file
	rig.Want(t, "run", r.Statelatch(underRun(r, nil, rig.Apply...)...), 0)
	started := audited(r.World, auditLog)
	if len(started) != 2 || started[0].Outcome != "started" || started[1].Outcome != "released" || started[0].LockID != started[1].LockID ||
		started[1].SerialAfter == nil || *started[1].SerialAfter < 1 {
		t.Fatalf("got %+v, want the start and the end of a run that wrote the state", started)
	}

	p := r.Start(r.Home, rig.Binary, "run", "-lease", "4s", r.Ref, "--", "sh", "-c", "echo started; exec sleep 600")
	p.WaitFor("started")
	id := rig.LockID.FindStringSubmatch(r.Statelatch("status", r.Ref).Stdout)[1]
	rig.Want(t, "force-unlock", r.Statelatch("force-unlock", "-force", id, r.Ref), 0)
	rig.Want(t, "run", p.Wait(), 12)
	const processes = 8
	var running sync.WaitGroup
	for i := range processes {
		running.Go(func() {
			ref := fmt.Sprintf("s3://terraform-state/many/%d", i)
			rig.Want(t, "lock", r.Statelatch("lock", ref), 0)
			rig.Want(t, "unlock", r.Statelatch("unlock", ref), 0)
		})
	}
	running.Wait()

	for _, location := range []string{auditLog, "file:" + file} {
		all := audited(r.World, location)
		if len(all) != 2+3+2*processes {
			t.Errorf("%s: got %d events, want %d: %+v", location, len(all), 2+3+2*processes, all)
		}
		outcomes := map[string]int{}
		for i, e := range all {
			outcomes[e.Action+" "+e.Outcome]++
			if e.Seq != uint64(i)+1 {
				t.Errorf("%s: event %d has number %d", location, i+1, e.Seq)
			}
			if e.Action == "force-unlock" && e.PrevLockID != id || e.Outcome == "lost" && (e.LockID != id || !strings.Contains(e.Detail, "exit code")) {
				t.Errorf("%s: got %+v, want it to be about lock %s", location, e, id)
			}
		}
		if outcomes["run lost"] != 1 || outcomes["force-unlock ok"] != 1 || outcomes["lock ok"] != processes || outcomes["unlock ok"] != processes {
			t.Errorf("%s: got %v", location, outcomes)
		}
		rig.Want(t, "verify", r.Statelatch("audit", "verify", location), 0, "is intact")
	}

	// An edit, as anybody with a text editor makes it.
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r.Write(file, strings.Replace(string(content), "force-unlock", "unlock", 1))
	broken := r.Statelatch("audit", "verify", "file:"+file)
	rig.Want(t, "verify", broken, 1, "edited")
	if !regexp.MustCompile(`broken at event \d+`).MatchString(broken.Stderr) {
		t.Errorf("the event is not named: %v", broken)
	}
}

// A crash of a process, wherever it is, leaves a log that is whole and that the next one goes on with.
func TestAudit_Killed(t *testing.T) {
	t.Parallel()
	w := rig.NewWorld(t)
	w.Serve()
	file := filepath.Join(w.Home, "audit.log")
	w.Env["STATELATCH_AUDIT"] = auditLog + ",file:" + file
	for i := range 12 {
		p := w.Start(w.Home, rig.Binary, "run", "-lease", "2s", fmt.Sprintf("s3://terraform-state/killed/%d", i), "--", "echo", "running")
		if i%3 > 0 {
			p.WaitFor("running") // its events are under way
		}
		_ = p.Cmd.Process.Kill()
		<-p.Done
	}
	rig.Want(t, "lock", w.Statelatch("lock", "s3://terraform-state/last"), 0)
	for _, location := range []string{auditLog, "file:" + file} {
		rig.Want(t, "verify", w.Statelatch("audit", "verify", location), 0, "is intact")
		if all := audited(w, location); all[len(all)-1].Action != "lock" {
			t.Errorf("%s: got %+v last, want the lock", location, all[len(all)-1])
		}
	}
}
