package run

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/e2e/internal/rig"
	"github.com/statelatch/statelatch/internal/faultproxy"
)

// underRun are the arguments of "statelatch run" for an engine in a Workdir.
func underRun(r *rig.Workdir, flags []string, args ...string) []string {
	return append(append(append([]string{"run", "-chdir", r.Dir}, flags...), "--", r.Terraform), args...)
}

// gate makes an apply stand still in a provisioner until the returned function is called. It returns the path of
// a file that is there while it stands still.
func gate(r *rig.Workdir) (standing string, open func()) {
	r.T.Helper()
	standing, opened := filepath.Join(r.Home, "standing"), filepath.Join(r.Home, "opened")
	r.Write(filepath.Join(r.Dir, "gate.tf"), fmt.Sprintf(`
resource "terraform_data" "gate" {
  triggers_replace = timestamp()
  provisioner "local-exec" { command = "touch %s; while [ ! -e %s ]; do sleep 0.1; done" }
}
`, standing, opened))
	return standing, func() { r.Write(opened, "") }
}

// await waits for a file.
func await(w *rig.World, path string, p *rig.Process) {
	w.T.Helper()
	for range 6000 {
		if _, err := os.Stat(path); err == nil {
			return
		}
		select {
		case <-p.Done:
			w.T.Fatalf("%s ended before %s was there: %v", p.Name, path, p.Output())
		case <-time.After(20 * time.Millisecond):
		}
	}
	w.T.Fatalf("%s is not there: %v", path, p.Snapshot())
}

// An unmodified engine under run: locked from outside, not by itself; its output and exit code untouched (B28).
func TestRun_Engine(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	standing, open := gate(r)
	p := r.Start(r.Home, rig.Binary, underRun(r, nil, rig.Apply...)...)
	await(r.World, standing, p)
	status := r.Statelatch("status", r.Ref)
	rig.Want(t, "status", status, 11, "lease of 90s", "run "+filepath.Base(r.Terraform)+" apply")
	rig.Want(t, "another engine", r.Run(r.Dir, r.Terraform, rig.Apply...), 1, "Error acquiring the state lock", "run "+filepath.Base(r.Terraform)+" apply")
	rig.Want(t, "another run", r.Statelatch(underRun(r, nil, rig.Apply...)...), 11, "Lock Info:", "stop it, and it releases the lock")
	open()
	done := p.Wait()
	rig.Want(t, "run", done, 0, "Apply complete!")
	if strings.Contains(done.Stdout, "statelatch") || strings.Contains(done.Stdout, "Acquiring state lock") {
		t.Errorf("stdout is not the engine's alone: %s", done.Stdout)
	}
	r.WantFree()
	output := r.Statelatch(underRun(r, nil, "output", "-json")...)
	if output.Code != 0 || !strings.HasPrefix(output.Stdout, "{") {
		t.Errorf("B28: output -json under run: %v", output)
	}
	rig.Want(t, "detailed exit code", r.Statelatch(underRun(r, nil, "plan", "-detailed-exitcode", "-input=false", "-no-color")...), 2)
	rig.Want(t, "failing command", r.Statelatch("run", r.Ref, "--", "sh", "-c", "exit 7"), 7)
	rig.Want(t, "no such command", r.Statelatch("run", r.Ref, "--", "no-such-command"), 127, "no-such-command")
	rig.Want(t, "nested", r.Statelatch("run", r.Ref, "--", rig.Binary, "run", r.Ref, "--", "true"), 2, "leave out the inner one")
	r.WantFree()
}

// B18: the first engine in a new workspace locks unconditionally, unless its state is there already.
func TestRun_B18_NewWorkspace(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	r.Env["TF_WORKSPACE"] = "fresh"
	rig.Want(t, "run", r.Statelatch(underRun(r, nil, rig.Apply...)...), 0, "Apply complete!")
	rig.Want(t, "pull", r.Statelatch("pull", "-chdir", r.Dir), 0, `"terraform_data"`)
	rig.Want(t, "run again", r.Statelatch(underRun(r, nil, "plan", "-detailed-exitcode", "-input=false", "-no-color")...), 0, "No changes")
	delete(r.Env, "TF_WORKSPACE")
	rig.Want(t, "several", r.Statelatch("run", r.Ref, "s3://terraform-state/env:/fresh/"+rig.StateKey, "--", "true"), 0)
	r.WantFree()
}

// B15: whoever is killed, the lock does not stay. The child: it is released. The wrapper: it can be taken over.
func TestRun_B15_Killed(t *testing.T) {
	t.Parallel()
	t.Run("child", func(t *testing.T) {
		t.Parallel()
		f := rig.NewFaulty(t)
		rig.Want(t, "run", f.Statelatch("run", f.Ref, "--", "sh", "-c", "kill -9 $$"), 137)
		rig.Want(t, "status", f.Statelatch("status", f.Ref), 0, "not locked")
	})
	t.Run("wrapper", func(t *testing.T) {
		t.Parallel()
		f := rig.NewFaulty(t)
		rig.Want(t, "push", f.Statelatch("push", f.File("1.tfstate", rig.StateWithSerial(1, "one")), f.Ref), 0)
		before := etag(f)
		p := f.Start(f.Home, rig.Binary, "run", "-lease", "1h", f.Ref, "--", "sh", "-c", "echo started; exec sleep 600")
		p.WaitFor("started")
		p.Signal(syscall.SIGKILL)
		p.Wait()
		rig.Want(t, "status", f.Statelatch("status", f.Ref), 11, "lease of 1h")
		rig.Want(t, "without takeover", f.Statelatch("run", f.Ref, "--", "true"), 11)
		rig.Want(t, "with takeover", f.Statelatch("run", "-takeover=expired", f.Ref, "--", "true"), 0) // its holder is proven to be gone
		rig.Want(t, "status", f.Statelatch("status", f.Ref), 0, "not locked")
		if after := etag(f); after == before {
			t.Errorf("the state was not fenced: its ETag is still %s", after)
		}
		f.WantState("one")
	})
	t.Run("wrapper, then unlock", func(t *testing.T) {
		t.Parallel()
		f := rig.NewFaulty(t)
		p := f.Start(f.Home, rig.Binary, "run", "-lease", "1h", f.Ref, "--", "sh", "-c", "echo started; exec sleep 600")
		p.WaitFor("started")
		rig.Want(t, "unlock of a living run", f.Statelatch("unlock", f.Ref), 11, "still runs")
		p.Signal(syscall.SIGKILL)
		p.Wait()
		rig.Want(t, "unlock", f.Statelatch("unlock", f.Ref), 0, "Released")
		rig.Want(t, "status", f.Statelatch("status", f.Ref), 0, "not locked")
	})
}

// etag is the ETag of the state.
func etag(f *rig.Faulty) string {
	f.T.Helper()
	b, err := s3bucket.Open(f.T.Context(), "terraform-state", s3bucket.Config{
		Endpoints: s3bucket.Endpoints{S3: f.Server.URL}, Region: "us-east-1",
		SharedCredentialsFiles: []string{f.Env["AWS_SHARED_CREDENTIALS_FILE"]}, Profile: f.Env["AWS_PROFILE"],
	})
	if err != nil {
		f.T.Fatal(err)
	}
	obj, err := b.Head(f.T.Context(), rig.StateKey, bucket.ReadOptions{})
	if err != nil {
		f.T.Fatal(err)
	}
	return obj.ETag
}

// A signal is the child's first, and the lock is released when it is gone.
func TestRun_Signals(t *testing.T) {
	t.Parallel()
	f := rig.NewFaulty(t)
	p := f.Start(f.Home, rig.Binary, "run", f.Ref, "--", "sh", "-c", `trap 'echo interrupted; exit 3' INT; echo started; while :; do sleep 0.1; done`)
	p.WaitFor("started")
	p.Signal(syscall.SIGTERM)
	rig.Want(t, "run", p.Wait(), 3, "interrupted")
	rig.Want(t, "status", f.Statelatch("status", f.Ref), 0, "not locked")

	p = f.Start(f.Home, rig.Binary, "run", "-grace", "1s", f.Ref, "--", "sh", "-c", `trap '' INT TERM; echo started; while :; do sleep 0.1; done`)
	p.WaitFor("started")
	p.Signal(syscall.SIGTERM)
	p.WaitFor("interrupted")
	p.Signal(syscall.SIGTERM)
	rig.Want(t, "run", p.Wait(), 137, "killed")
	rig.Want(t, "status", f.Statelatch("status", f.Ref), 0, "not locked")
}

// Acceptance 3. Somebody forces the lock away in the middle of an apply, and writes. The engine is stopped, exit 12.
// What it overwrites is named, with the command that brings it back.
func TestRun_ForcedAway_EngineWrites(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	r.TF(rig.Apply...)
	standing, _ := gate(r)
	p := r.Start(r.Home, rig.Binary, underRun(r, []string{"-lease", "4s"}, rig.Apply...)...)
	await(r.World, standing, p)
	id := rig.LockID.FindStringSubmatch(r.Statelatch("status", r.Ref).Stdout)[1]
	rig.Want(t, "force-unlock", r.Statelatch("force-unlock", "-force", id, r.Ref), 0)
	newer := newer(r, "newer")
	done := p.Wait()
	rig.Want(t, "run", done, 12, "lock was lost", "the command was interrupted", "WARNING: the state was overwritten while it was locked")
	commands := regexp.MustCompile(`(?m)^  statelatch (diff .*)\n  statelatch (rollback .*)$`).FindStringSubmatch(done.Stderr)
	if commands == nil {
		t.Fatalf("no command to bring the newer state back: %v", done)
	}
	rig.Want(t, commands[1], r.Statelatch(strings.Fields(commands[1])...), 0, "newer")
	rig.Want(t, commands[2], r.Statelatch(append(strings.Fields(commands[2]), "-auto-approve")...), 0)
	if got := r.Statelatch("pull", r.Ref); !strings.Contains(got.Stdout, "newer") {
		t.Errorf("the newer state is not back: %v, want %s", got, newer)
	}
	r.WantFree()
}

// newer pushes a state with the next serial, which says value.
func newer(r *rig.Workdir, value string) string {
	r.T.Helper()
	next := rig.Successor(r.T, r.Statelatch("pull", r.Ref).Stdout, value)
	r.Must(r.Home, rig.Binary, "push", r.File("newer.tfstate", next), r.Ref)
	return next
}

// The same, but the engine cannot write: the newer state stays, and the unsaved one is kept and named.
func TestRun_ForcedAway_EngineCannotWrite(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	r.TF(rig.Apply...)
	proxy := rig.StartProxy(t, r.Server.URL)
	r.Env["AWS_ENDPOINT_URL_S3"] = proxy.URL
	r.Reconfigure(proxy.URL)
	standing, _ := gate(r)
	p := r.Start(r.Home, rig.Binary, underRun(r, []string{"-lease", "4s"}, rig.Apply...)...)
	await(r.World, standing, p)
	// Before the lock is gone: on a busy machine the engine is interrupted, and writes, before the newer state is there.
	proxy.Add(faultproxy.Rule{Match: func(req *http.Request) bool {
		return rig.On(http.MethodPut, ".tfstate")(req) && rig.ByEngine(req)
	}, Fault: faultproxy.Answer(403, "AccessDenied")})
	id := rig.LockID.FindStringSubmatch(r.Statelatch("status", r.Ref).Stdout)[1]
	rig.Want(t, "force-unlock", r.Statelatch("force-unlock", "-force", id, r.Ref), 0)
	newer(r, "newer")
	done := p.Wait()
	rig.Want(t, "run", done, 12, "lock was lost", "A copy is kept in the bucket: s3://terraform-state/"+rig.StateKey+".rescue/", "errored.tfstate")
	if got := r.Statelatch("pull", r.Ref); !strings.Contains(got.Stdout, "newer") {
		t.Errorf("the newer state is not intact: %v", got)
	}
	kept := regexp.MustCompile(`s3://terraform-state/\S+\.rescue/\S+`).FindString(done.Stderr)
	rig.Want(t, "the rescued state", r.Statelatch("pull", kept), 0, `"gate"`)
	r.WantFree()
}

// B14, B27: the engine's state write fails for a while; the state it left behind is saved under the same lock.
func TestRun_ErroredStateIsSaved(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	proxy := rig.StartProxy(t, r.Server.URL)
	r.Reconfigure(proxy.URL)
	saves := func(req *http.Request) bool { return rig.On(http.MethodPut, ".tfstate")(req) && rig.ByEngine(req) }
	proxy.Add(faultproxy.Rule{Match: saves, Fault: faultproxy.Answer(403, "AccessDenied")})
	done := r.Statelatch(underRun(r, nil, rig.Apply...)...)
	rig.Want(t, "run", done, 1, "Failed to save state", "it is saved now")
	proxy.Heal()
	if _, err := os.Stat(filepath.Join(r.Dir, "errored.tfstate")); !os.IsNotExist(err) {
		t.Errorf("errored.tfstate is still there: %v", err)
	}
	rig.Want(t, "plan", r.Run(r.Dir, r.Terraform, "plan", "-detailed-exitcode", "-input=false", "-no-color"), 0, "No changes")
	r.WantFree()
}

// Plans under -read neither wait for a lock nor hinder one, and a state that moved meanwhile has an exit code of its
// own.
func TestRun_Read(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	r.TF(rig.Apply...)
	held, _ := r.Holder("b")
	plan := []string{"plan", "-detailed-exitcode", "-input=false", "-no-color"}
	rig.Want(t, "plan while locked", r.Statelatch(underRun(r, []string{"-read"}, plan...)...), 0, "No changes")
	held.Say("no")
	held.Wait()
	rig.Want(t, "moved", r.Statelatch("run", "-read", "-chdir", r.Dir, "--",
		"sh", "-c", r.Terraform+" apply -input=false -no-color -auto-approve -var value=c"), 15, "the state changed while the command ran")
	r.WantFree()
}

// B2: twenty that wait for one lock, each released as soon as it is had. Nobody fails before the deadline.
func TestRun_B2_ReleaseStorm(t *testing.T) {
	t.Parallel()
	f := rig.NewFaulty(t)
	f.Must(f.Home, rig.Binary, "lock", f.Ref)
	var waiters []*rig.Process
	for range 20 {
		p := f.Start(f.Home, rig.Binary, "run", "-lock-timeout", "5m", f.Ref, "--", "true")
		waiters = append(waiters, p)
	}
	for _, p := range waiters {
		p.WaitFor("Waiting up to")
	}
	f.Must(f.Home, rig.Binary, "unlock", f.Ref)
	for _, p := range waiters {
		rig.Want(t, "waiter", p.Wait(), 0)
	}
	rig.Want(t, "status", f.Statelatch("status", f.Ref), 0, "not locked")
}

// A pipe that nobody reads any more ends what writes to it, but not the run before the lock is released.
func TestRun_ClosedPipe(t *testing.T) {
	t.Parallel()
	f := rig.NewFaulty(t)
	script := f.File("pipe.sh", rig.Binary+" run "+f.Ref+" -- sh -c 'trap \"exit 3\" INT; kill -TERM $PPID; while :; do sleep 0.1; done' 2>&1 >/dev/null | true\n")
	f.Must(f.Home, "sh", script)
	rig.Want(t, "status", f.Statelatch("status", f.Ref), 0, "not locked")
}

// Pipelines send TERM soon after INT: the lock is released although one more signal comes while the states are looked
// after.
func TestRun_SignalWhileTidying(t *testing.T) {
	t.Parallel()
	f := rig.NewFaulty(t)
	rig.Want(t, "push", f.Statelatch("push", f.File("1.tfstate", rig.StateWithSerial(1, "one")), f.Ref), 0)
	p := f.Start(f.Home, rig.Binary, "run", f.Ref, "--", "sh", "-c", `trap 'exit 3' INT; echo started; while :; do sleep 0.1; done`)
	p.WaitFor("started")
	tidying, thaw := make(chan struct{}), make(chan struct{})
	reached := sync.OnceFunc(func() { close(tidying) })
	f.Proxy.Add(faultproxy.Rule{Match: func(req *http.Request) bool {
		looks := req.URL.Query().Has("versions")
		if looks {
			reached()
		}
		return looks
	}, Limit: 1, Fault: faultproxy.Hold(thaw)})
	p.Signal(syscall.SIGINT)
	<-tidying
	p.Signal(syscall.SIGTERM)
	p.WaitFor("a signal came: the command is gone")
	close(thaw)
	rig.Want(t, "run", p.Wait(), 3)
	rig.Want(t, "status", f.Statelatch("status", f.Ref), 0, "not locked")
}

// What an engine leaves under several locks goes to the state that it is of, and what cannot be attributed or saved is
// kept beside a state, with the commands that would push it.
func TestRun_ErroredStateOfSeveral(t *testing.T) {
	t.Parallel()
	f := rig.NewFaulty(t)
	other := "s3://terraform-state/other/terraform.tfstate"
	lineage := "5d0d3b8e-2b1c-4d0a-9a54-5f4f5a8c1d10"
	foreign := func(serial int, value string) string {
		return strings.Replace(rig.StateWithSerial(serial, value), lineage, "another", 1)
	}
	rig.Want(t, "push", f.Statelatch("push", f.File("1.tfstate", rig.StateWithSerial(1, "one")), f.Ref), 0)
	rig.Want(t, "push", f.Statelatch("push", f.File("2.tfstate", foreign(2, "two")), other), 0)
	leave := func(state string) rig.Result {
		f.File("left", state)
		return f.Statelatch("run", f.Ref, other, "--", "cp", "left", "errored.tfstate")
	}
	rig.Want(t, "newer", leave(foreign(3, "three")), 0, "it is saved now: "+other)
	rig.Want(t, "pull", f.Statelatch("pull", other), 0, "three")
	file := filepath.Join(f.Home, "errored.tfstate")
	rig.Want(t, "older", leave(foreign(1, "old")), 0, "step back", "A copy is kept in the bucket: "+other+".rescue/", "push "+file+" "+other)
	unclear := leave(strings.Replace(rig.StateWithSerial(9, "new"), lineage, "third", 1))
	rig.Want(t, "unclear", unclear, 0, "not clear", "push "+file+" "+other, "push "+file+" "+f.Ref)
	kept := regexp.MustCompile(`s3://terraform-state/\S+\.rescue/\S+`).FindString(unclear.Stderr)
	rig.Want(t, "the rescued state", f.Statelatch("pull", kept), 0, "third")
}

// terraform -chdir works on another directory's state: that one is locked, and what is printed to paste names it.
func TestRun_EngineChdir(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	dir, err := filepath.Rel(r.Home, r.Dir)
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"run", "--", r.Terraform, "-chdir=" + dir}, rig.Apply...)
	rig.Want(t, "run", r.Statelatch(args...), 0, "Apply complete!")
	r.Must(r.Home, rig.Binary, "lock", r.Ref)
	rig.Want(t, "locked", r.Statelatch(args...), 11, "statelatch unlock -chdir "+dir)
}

// terraform force-unlock deletes the lock and tells nobody. The run says what it met.
func TestRun_LockDeleted(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	p := r.Start(r.Home, rig.Binary, "run", "-lease", "4s", r.Ref, "--", "sh", "-c", "echo started; exec sleep 600")
	p.WaitFor("started")
	id := rig.LockID.FindStringSubmatch(r.Statelatch("status", r.Ref).Stdout)[1]
	r.TF("force-unlock", "-force", id)
	rig.Want(t, "run", p.Wait(), 12, "its lock object is gone", "the command ended with exit code 130")
	r.WantFree()
}

// Who watches a run hears that renewals fail while there is time to do something, not when the lock is lost.
func TestRun_RenewalsFail(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	p := r.Start(r.Dir, rig.Binary, "run", "-lease", "8s", "-grace", "1s", "--", "sh", "-c", "echo started; exec sleep 600")
	p.WaitFor("started")
	r.Server.Signal(syscall.SIGKILL)
	p.WaitFor("the lock cannot be renewed, trying on")
	p.WaitFor("the lock was lost: the command was interrupted")
}

// What run adds to an engine's own requests, without which the engine needs 6 for a plan and 7 for an apply: the lock's
// two, a look at the state before, beside the engine, and one at its versions after.
func TestRun_RequestsOnTheWire(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	proxy := rig.StartProxy(t, r.Server.URL)
	r.Reconfigure(proxy.URL)
	r.TF(rig.Apply...)
	count := func(what string, code int, args []string, want ...string) {
		t.Helper()
		time.Sleep(5 * time.Second) // else what the state replaced would be looked at, too, should the engine be first
		came := make(chan struct{})
		first := sync.OnceFunc(func() { close(came) })
		waits := time.AfterFunc(time.Minute, func() {
			t.Error("the engine waits for what run reads of the state")
			first()
		})
		proxy.Add(faultproxy.Rule{
			Match: func(q *http.Request) bool {
				if rig.ByEngine(q) {
					first()
					return false
				}
				return q.Method == http.MethodGet && strings.HasSuffix(q.URL.Path, rig.StateKey) && !q.URL.Query().Has("versionId")
			},
			Fault: faultproxy.Hold(came),
		})
		before := len(proxy.Requests())
		rig.Want(t, what, r.Statelatch(underRun(r, nil, args...)...), code)
		waits.Stop()
		proxy.Heal()
		var ours []string
		all := proxy.Requests()[before:]
		for _, q := range all {
			if rig.ByEngine(&http.Request{Header: http.Header{"User-Agent": {q.UserAgent}}}) {
				continue
			}
			kind := "state"
			if strings.HasSuffix(q.Path, ".tflock") {
				kind = "lock"
			} else if strings.Contains(q.Query, "versions") {
				kind = "versions"
			}
			ours = append(ours, q.Method+" "+kind)
		}
		if !slices.Equal(ours, want) || len(all) > len(want)+4 {
			t.Errorf("%s: got %q among %d requests, want %q and at most 4 of the engine", what, ours, len(all), want)
		}
	}
	plan := []string{"plan", "-input=false", "-no-color"}
	count("plan", 0, plan, "PUT lock", "GET state", "GET versions", "DELETE lock")
	count("apply", 0, append(rig.Apply, "-var", "value=new"), "PUT lock", "GET state", "GET versions", "GET state", "DELETE lock")
}
