package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
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

func (w *world) audited(location string) []auditEvent {
	w.t.Helper()
	var result struct{ Events []auditEvent }
	if err := json.Unmarshal([]byte(w.must(w.home, binary, "audit", "log", "-json", location).stdout), &result); err != nil {
		w.t.Fatal(err)
	}
	return result.Events
}

// Processes that write one log at the same time, one of them a real engine's run, miss no number and lose no event; a run that loses
// its lock to a force-unlock says so.
func TestAudit_Processes(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	file := filepath.Join(r.home, "audit.log")
	r.env["STATELATCH_AUDIT"] = auditLog + ",file:" + file
	want(t, "run", r.statelatch(r.underRun(nil, apply...)...), 0)
	started := r.audited(auditLog)
	if len(started) != 2 || started[0].Outcome != "started" || started[1].Outcome != "released" || started[0].LockID != started[1].LockID ||
		started[1].SerialAfter == nil || *started[1].SerialAfter < 1 {
		t.Fatalf("got %+v, want the start and the end of a run that wrote the state", started)
	}

	p := r.start(r.home, binary, "run", "-lease", "4s", r.ref, "--", "sh", "-c", "echo started; exec sleep 600")
	p.waitFor("started")
	id := lockID.FindStringSubmatch(r.statelatch("status", r.ref).stdout)[1]
	want(t, "force-unlock", r.statelatch("force-unlock", "-force", id, r.ref), 0)
	want(t, "run", p.wait(), 12)
	const processes = 8
	var running sync.WaitGroup
	for i := range processes {
		running.Go(func() {
			ref := fmt.Sprintf("s3://terraform-state/many/%d", i)
			want(t, "lock", r.statelatch("lock", ref), 0)
			want(t, "unlock", r.statelatch("unlock", ref), 0)
		})
	}
	running.Wait()

	for _, location := range []string{auditLog, "file:" + file} {
		all := r.audited(location)
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
		want(t, "verify", r.statelatch("audit", "verify", location), 0, "is intact")
	}

	// An edit, as anybody with a text editor makes it.
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r.write(file, strings.Replace(string(content), "force-unlock", "unlock", 1))
	broken := r.statelatch("audit", "verify", "file:"+file)
	want(t, "verify", broken, 1, "edited")
	if !regexp.MustCompile(`broken at event \d+`).MatchString(broken.stderr) {
		t.Errorf("the event is not named: %v", broken)
	}
}

// A crash of a process, wherever it is, leaves a log that is whole and that the next one goes on with.
func TestAudit_Killed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve()
	file := filepath.Join(w.home, "audit.log")
	w.env["STATELATCH_AUDIT"] = auditLog + ",file:" + file
	for i := range 12 {
		p := w.start(w.home, binary, "run", "-lease", "2s", fmt.Sprintf("s3://terraform-state/killed/%d", i), "--", "echo", "running")
		if i%3 > 0 {
			p.waitFor("running") // its events are under way
		}
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	want(t, "lock", w.statelatch("lock", "s3://terraform-state/last"), 0)
	for _, location := range []string{auditLog, "file:" + file} {
		want(t, "verify", w.statelatch("audit", "verify", location), 0, "is intact")
		if all := w.audited(location); all[len(all)-1].Action != "lock" {
			t.Errorf("%s: got %+v last, want the lock", location, all[len(all)-1])
		}
	}
}
