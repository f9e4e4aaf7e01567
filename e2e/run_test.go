package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/internal/faultproxy"
)

// underRun are the arguments of "statelatch run" for an engine in the rig's directory.
func (r *rig) underRun(flags []string, args ...string) []string {
	return append(append(append([]string{"run", "-chdir", r.dir}, flags...), "--", r.terraform), args...)
}

var apply = []string{"apply", "-input=false", "-no-color", "-auto-approve"}

// gate makes the rig's apply stand still in a provisioner until the returned function is called. It returns the path of
// a file that is there while it stands still.
func (r *rig) gate() (standing string, open func()) {
	r.t.Helper()
	standing, opened := filepath.Join(r.home, "standing"), filepath.Join(r.home, "opened")
	r.write(filepath.Join(r.dir, "gate.tf"), fmt.Sprintf(`
resource "terraform_data" "gate" {
  triggers_replace = timestamp()
  provisioner "local-exec" { command = "touch %s; while [ ! -e %s ]; do sleep 0.1; done" }
}
`, standing, opened))
	return standing, func() { r.write(opened, "") }
}

// await waits for a file.
func (w *world) await(path string, p *process) {
	w.t.Helper()
	for range 6000 {
		if _, err := os.Stat(path); err == nil {
			return
		}
		select {
		case <-p.done:
			w.t.Fatalf("%s ended before %s was there: %v", p.name, path, p.output())
		case <-time.After(20 * time.Millisecond):
		}
	}
	w.t.Fatalf("%s is not there: %v", path, p.snapshot())
}

// An unmodified engine under run: locked from outside, not by itself; its output and exit code untouched (B28).
func TestRun_Engine(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	standing, open := r.gate()
	p := r.start(r.home, binary, r.underRun(nil, apply...)...)
	r.await(standing, p)
	status := r.statelatch("status", r.ref)
	want(t, "status", status, 11, "lease of 90s", "run "+filepath.Base(r.terraform)+" apply")
	want(t, "another engine", r.run(r.dir, r.terraform, apply...), 1, "Error acquiring the state lock", "run "+filepath.Base(r.terraform)+" apply")
	want(t, "another run", r.statelatch(r.underRun(nil, apply...)...), 11, "Lock Info:", "stop it, and it gives the lock back")
	open()
	done := p.wait()
	want(t, "run", done, 0, "Apply complete!")
	if strings.Contains(done.stdout, "statelatch") || strings.Contains(done.stdout, "Acquiring state lock") {
		t.Errorf("stdout is not the engine's alone: %s", done.stdout)
	}
	r.wantFree()
	output := r.statelatch(r.underRun(nil, "output", "-json")...)
	if output.code != 0 || !strings.HasPrefix(output.stdout, "{") {
		t.Errorf("B28: output -json under run: %v", output)
	}
	want(t, "detailed exit code", r.statelatch(r.underRun(nil, "plan", "-detailed-exitcode", "-input=false", "-no-color")...), 2)
	want(t, "failing command", r.statelatch("run", r.ref, "--", "sh", "-c", "exit 7"), 7)
	want(t, "no such command", r.statelatch("run", r.ref, "--", "no-such-command"), 127, "no-such-command")
	want(t, "nested", r.statelatch("run", r.ref, "--", binary, "run", r.ref, "--", "true"), 2, "leave out the inner one")
	r.wantFree()
}

// B18: the first engine in a new workspace locks unconditionally, unless its state is there already.
func TestRun_B18_NewWorkspace(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	r.env["TF_WORKSPACE"] = "fresh"
	want(t, "run", r.statelatch(r.underRun(nil, apply...)...), 0, "Apply complete!")
	want(t, "pull", r.statelatch("pull", "-chdir", r.dir), 0, `"terraform_data"`)
	want(t, "run again", r.statelatch(r.underRun(nil, "plan", "-detailed-exitcode", "-input=false", "-no-color")...), 0, "No changes")
	delete(r.env, "TF_WORKSPACE")
	want(t, "several", r.statelatch("run", r.ref, "s3://terraform-state/env:/fresh/"+stateKey, "--", "true"), 0)
	r.wantFree()
}

// B15: whoever is killed, the lock does not stay. The child: it is released. The wrapper: it can be taken over.
func TestRun_B15_Killed(t *testing.T) {
	t.Parallel()
	t.Run("child", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		want(t, "run", f.statelatch("run", f.ref, "--", "sh", "-c", "kill -9 $$"), 137)
		want(t, "status", f.statelatch("status", f.ref), 0, "not locked")
	})
	t.Run("wrapper", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		want(t, "push", f.statelatch("push", f.file("1.tfstate", stateWithSerial(1, "one")), f.ref), 0)
		before := f.etag()
		p := f.start(f.home, binary, "run", "-lease", "1h", f.ref, "--", "sh", "-c", "echo started; exec sleep 600")
		p.waitFor("started")
		p.signal(syscall.SIGKILL)
		p.wait()
		want(t, "status", f.statelatch("status", f.ref), 11, "lease of 1h")
		want(t, "without takeover", f.statelatch("run", f.ref, "--", "true"), 11)
		want(t, "with takeover", f.statelatch("run", "-takeover=expired", f.ref, "--", "true"), 0) // its holder is proven to be gone
		want(t, "status", f.statelatch("status", f.ref), 0, "not locked")
		if after := f.etag(); after == before {
			t.Errorf("the state was not fenced: its ETag is still %s", after)
		}
		f.wantState("one")
	})
	t.Run("wrapper, then unlock", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		p := f.start(f.home, binary, "run", "-lease", "1h", f.ref, "--", "sh", "-c", "echo started; exec sleep 600")
		p.waitFor("started")
		want(t, "unlock of a living run", f.statelatch("unlock", f.ref), 11, "still runs")
		p.signal(syscall.SIGKILL)
		p.wait()
		want(t, "unlock", f.statelatch("unlock", f.ref), 0, "Released")
		want(t, "status", f.statelatch("status", f.ref), 0, "not locked")
	})
}

// etag is the ETag of the state.
func (f *faulty) etag() string {
	f.t.Helper()
	b, err := s3bucket.Open(f.t.Context(), "terraform-state", s3bucket.Config{
		Endpoints: s3bucket.Endpoints{S3: f.server.url}, Region: "us-east-1",
		SharedCredentialsFiles: []string{f.env["AWS_SHARED_CREDENTIALS_FILE"]}, Profile: f.env["AWS_PROFILE"],
	})
	if err != nil {
		f.t.Fatal(err)
	}
	obj, err := b.Head(f.t.Context(), stateKey, bucket.ReadOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	return obj.ETag
}

// A signal is the child's first, and the lock is given back when it is gone.
func TestRun_Signals(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	p := f.start(f.home, binary, "run", f.ref, "--", "sh", "-c", `trap 'echo interrupted; exit 3' INT; echo started; while :; do sleep 0.1; done`)
	p.waitFor("started")
	p.signal(syscall.SIGTERM)
	want(t, "run", p.wait(), 3, "interrupted")
	want(t, "status", f.statelatch("status", f.ref), 0, "not locked")

	p = f.start(f.home, binary, "run", "-grace", "1s", f.ref, "--", "sh", "-c", `trap '' INT TERM; echo started; while :; do sleep 0.1; done`)
	p.waitFor("started")
	p.signal(syscall.SIGTERM)
	p.waitFor("interrupted")
	p.signal(syscall.SIGTERM)
	want(t, "run", p.wait(), 137, "killed")
	want(t, "status", f.statelatch("status", f.ref), 0, "not locked")
}

// Acceptance 3. Somebody forces the lock away in the middle of an apply, and writes. The engine is stopped, exit 12.
// What it overwrites is named, with the command that brings it back.
func TestRun_ForcedAway_EngineWrites(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	r.tf(apply...)
	standing, _ := r.gate()
	p := r.start(r.home, binary, r.underRun([]string{"-lease", "4s"}, apply...)...)
	r.await(standing, p)
	id := lockID.FindStringSubmatch(r.statelatch("status", r.ref).stdout)[1]
	want(t, "force-unlock", r.statelatch("force-unlock", "-force", id, r.ref), 0)
	newer := r.newer("newer")
	done := p.wait()
	want(t, "run", done, 12, "lock was lost", "the command was interrupted", "WARNING: the state was overwritten while it was locked")
	commands := regexp.MustCompile(`(?m)^  statelatch (diff .*)\n  statelatch (rollback .*)$`).FindStringSubmatch(done.stderr)
	if commands == nil {
		t.Fatalf("no command to bring the newer state back: %v", done)
	}
	want(t, commands[1], r.statelatch(strings.Fields(commands[1])...), 0, "newer")
	want(t, commands[2], r.statelatch(append(strings.Fields(commands[2]), "-auto-approve")...), 0)
	if got := r.statelatch("pull", r.ref); !strings.Contains(got.stdout, "newer") {
		t.Errorf("the newer state is not back: %v, want %s", got, newer)
	}
	r.wantFree()
}

// newer pushes a state with the next serial, which says value.
func (r *rig) newer(value string) string {
	r.t.Helper()
	next := successor(r.t, r.statelatch("pull", r.ref).stdout, value)
	r.must(r.home, binary, "push", r.file("newer.tfstate", next), r.ref)
	return next
}

// successor is a state with the next serial and value in place of "a". terraform indents its states, tofu does not.
func successor(tb testing.TB, state, value string) string {
	tb.Helper()
	serial := regexp.MustCompile(`("serial": ?)(\d+)`).FindStringSubmatch(state)
	if serial == nil {
		tb.Fatalf("no serial in %s", state)
	}
	n, err := strconv.Atoi(serial[2])
	if err != nil {
		tb.Fatal(err)
	}
	next := strings.Replace(state, serial[0], serial[1]+strconv.Itoa(n+1), 1)
	return regexp.MustCompile(`("value": ?)"a"`).ReplaceAllString(next, `${1}"`+value+`"`)
}

// The same, but the engine cannot write: the newer state stays, and the unsaved one is kept and named.
func TestRun_ForcedAway_EngineCannotWrite(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	r.tf(apply...)
	proxy := startProxy(t, r.server.url)
	r.env["AWS_ENDPOINT_URL_S3"] = proxy.URL
	r.reconfigure(proxy.URL)
	standing, _ := r.gate()
	p := r.start(r.home, binary, r.underRun([]string{"-lease", "4s"}, apply...)...)
	r.await(standing, p)
	id := lockID.FindStringSubmatch(r.statelatch("status", r.ref).stdout)[1]
	want(t, "force-unlock", r.statelatch("force-unlock", "-force", id, r.ref), 0)
	r.newer("newer")
	proxy.Add(faultproxy.Rule{Match: func(req *http.Request) bool {
		return on(http.MethodPut, ".tfstate")(req) && byEngine(req)
	}, Fault: faultproxy.Answer(403, "AccessDenied")})
	done := p.wait()
	want(t, "run", done, 12, "lock was lost", "A copy is kept in the bucket: s3://terraform-state/"+stateKey+".rescue/", "errored.tfstate")
	if got := r.statelatch("pull", r.ref); !strings.Contains(got.stdout, "newer") {
		t.Errorf("the newer state is not intact: %v", got)
	}
	kept := regexp.MustCompile(`s3://terraform-state/\S+\.rescue/\S+`).FindString(done.stderr)
	want(t, "the rescued state", r.statelatch("pull", kept), 0, `"gate"`)
	r.wantFree()
}

// reconfigure points the rig's backend at another endpoint.
func (r *rig) reconfigure(url string) {
	r.t.Helper()
	path := filepath.Join(r.dir, "main.tf")
	config, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(config), r.server.url, url)
	if changed == string(config) {
		r.t.Fatalf("the endpoint %s is not in %s", r.server.url, config)
	}
	r.write(path, changed)
	r.tf("init", "-input=false", "-no-color", "-reconfigure")
}

// B14, B27: the engine's state write fails for a while; the state it left behind is saved under the same lock.
func TestRun_ErroredStateIsSaved(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	proxy := startProxy(t, r.server.url)
	r.reconfigure(proxy.URL)
	saves := func(req *http.Request) bool { return on(http.MethodPut, ".tfstate")(req) && byEngine(req) }
	proxy.Add(faultproxy.Rule{Match: saves, Fault: faultproxy.Answer(403, "AccessDenied")})
	done := r.statelatch(r.underRun(nil, apply...)...)
	want(t, "run", done, 1, "Failed to save state", "it is saved now")
	proxy.Heal()
	if _, err := os.Stat(filepath.Join(r.dir, "errored.tfstate")); !os.IsNotExist(err) {
		t.Errorf("errored.tfstate is still there: %v", err)
	}
	want(t, "plan", r.run(r.dir, r.terraform, "plan", "-detailed-exitcode", "-input=false", "-no-color"), 0, "No changes")
	r.wantFree()
}

// Plans under -read neither wait for a lock nor hinder one, and a state that moved meanwhile has an exit code of its
// own.
func TestRun_Read(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	r.tf(apply...)
	held, _ := r.holder("b")
	plan := []string{"plan", "-detailed-exitcode", "-input=false", "-no-color"}
	want(t, "plan while locked", r.statelatch(r.underRun([]string{"-read"}, plan...)...), 0, "No changes")
	held.say("no")
	held.wait()
	want(t, "moved", r.statelatch("run", "-read", "-chdir", r.dir, "--",
		"sh", "-c", r.terraform+" apply -input=false -no-color -auto-approve -var value=c"), 15, "the state changed while the command ran")
	r.wantFree()
}

// B2: twenty that wait for one lock, each released as soon as it is had. Nobody fails before the deadline.
func TestRun_B2_ReleaseStorm(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.must(f.home, binary, "lock", f.ref)
	var waiters []*process
	for range 20 {
		p := f.start(f.home, binary, "run", "-lock-timeout", "5m", f.ref, "--", "true")
		waiters = append(waiters, p)
	}
	for _, p := range waiters {
		p.waitFor("Waiting up to")
	}
	f.must(f.home, binary, "unlock", f.ref)
	for _, p := range waiters {
		want(t, "waiter", p.wait(), 0)
	}
	want(t, "status", f.statelatch("status", f.ref), 0, "not locked")
}

// A pipe that nobody reads any more ends what writes to it, but not the run before the lock is given back.
func TestRun_ClosedPipe(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	script := f.file("pipe.sh", binary+" run "+f.ref+" -- sh -c 'trap \"exit 3\" INT; kill -TERM $PPID; while :; do sleep 0.1; done' 2>&1 >/dev/null | true\n")
	f.must(f.home, "sh", script)
	want(t, "status", f.statelatch("status", f.ref), 0, "not locked")
}

// Pipelines send TERM soon after INT: the lock is given back although one more signal comes while the states are looked
// after.
func TestRun_SignalWhileTidying(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	want(t, "push", f.statelatch("push", f.file("1.tfstate", stateWithSerial(1, "one")), f.ref), 0)
	p := f.start(f.home, binary, "run", f.ref, "--", "sh", "-c", `trap 'exit 3' INT; echo started; while :; do sleep 0.1; done`)
	p.waitFor("started")
	tidying, thaw := make(chan struct{}), make(chan struct{})
	reached := sync.OnceFunc(func() { close(tidying) })
	f.proxy.Add(faultproxy.Rule{Match: func(req *http.Request) bool {
		head := on(http.MethodHead, ".tfstate")(req)
		if head {
			reached()
		}
		return head
	}, Limit: 1, Fault: faultproxy.Freeze(thaw)})
	p.signal(syscall.SIGINT)
	<-tidying
	p.signal(syscall.SIGTERM)
	p.waitFor("a signal came: the command is gone")
	close(thaw)
	want(t, "run", p.wait(), 3)
	want(t, "status", f.statelatch("status", f.ref), 0, "not locked")
}

// What an engine leaves under several locks goes to the state that it is of, and what cannot be attributed or saved is
// kept beside a state, with the commands that would push it.
func TestRun_ErroredStateOfSeveral(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	other := "s3://terraform-state/other/terraform.tfstate"
	lineage := "5d0d3b8e-2b1c-4d0a-9a54-5f4f5a8c1d10"
	foreign := func(serial int, value string) string {
		return strings.Replace(stateWithSerial(serial, value), lineage, "another", 1)
	}
	want(t, "push", f.statelatch("push", f.file("1.tfstate", stateWithSerial(1, "one")), f.ref), 0)
	want(t, "push", f.statelatch("push", f.file("2.tfstate", foreign(2, "two")), other), 0)
	leave := func(state string) result {
		f.file("left", state)
		return f.statelatch("run", f.ref, other, "--", "cp", "left", "errored.tfstate")
	}
	want(t, "newer", leave(foreign(3, "three")), 0, "it is saved now: "+other)
	want(t, "pull", f.statelatch("pull", other), 0, "three")
	file := filepath.Join(f.home, "errored.tfstate")
	want(t, "older", leave(foreign(1, "old")), 0, "step back", "A copy is kept in the bucket: "+other+".rescue/", "push "+file+" "+other)
	unclear := leave(strings.Replace(stateWithSerial(9, "new"), lineage, "third", 1))
	want(t, "unclear", unclear, 0, "not clear", "push "+file+" "+other, "push "+file+" "+f.ref)
	kept := regexp.MustCompile(`s3://terraform-state/\S+\.rescue/\S+`).FindString(unclear.stderr)
	want(t, "the rescued state", f.statelatch("pull", kept), 0, "third")
}

// terraform -chdir works on another directory's state: that one is locked, and what is printed to paste names it.
func TestRun_EngineChdir(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	dir, err := filepath.Rel(r.home, r.dir)
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"run", "--", r.terraform, "-chdir=" + dir}, apply...)
	want(t, "run", r.statelatch(args...), 0, "Apply complete!")
	r.must(r.home, binary, "lock", r.ref)
	want(t, "locked", r.statelatch(args...), 11, "statelatch unlock -chdir "+dir)
}

// terraform force-unlock deletes the lock and tells nobody. The run says what it met.
func TestRun_LockDeleted(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	p := r.start(r.home, binary, "run", "-lease", "4s", r.ref, "--", "sh", "-c", "echo started; exec sleep 600")
	p.waitFor("started")
	id := lockID.FindStringSubmatch(r.statelatch("status", r.ref).stdout)[1]
	r.tf("force-unlock", "-force", id)
	want(t, "run", p.wait(), 12, "its lock object is gone", "the command ended with exit code 130")
	r.wantFree()
}

// Who watches a run hears that renewals fail while there is time to do something, not when the lock is lost.
func TestRun_RenewalsFail(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	p := r.start(r.dir, binary, "run", "-lease", "8s", "-grace", "1s", "--", "sh", "-c", "echo started; exec sleep 600")
	p.waitFor("started")
	r.server.signal(syscall.SIGKILL)
	p.waitFor("the lock cannot be renewed, trying on")
	p.waitFor("the lock was lost: the command was interrupted")
}
