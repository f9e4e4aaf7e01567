package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/testtls"
)

var lockID = regexp.MustCompile(`ID:\s+([0-9a-f]{8}-[0-9a-f-]{27})`)

// rig is a running store and an initialised Terraform directory on it.
type rig struct {
	*world
	server    *server
	terraform string // the program
	dir       string
	ref       string
}

// engine is terraform, or what STATELATCH_ENGINE names, such as tofu.
func engine() string {
	if program := os.Getenv("STATELATCH_ENGINE"); program != "" {
		return program
	}
	return "terraform"
}

const stateKey = "app/terraform.tfstate"

// newRig starts the store and runs terraform init with the backend block that serve printed, plus extra arguments.
func newRig(t *testing.T, extra string, serveArgs ...string) *rig {
	t.Helper()
	r := &rig{world: newWorld(t), terraform: need(t, engine())}
	r.server = r.serve(serveArgs...)
	block := strings.Replace(r.server.block, "example/terraform.tfstate", stateKey, 1)
	block = strings.Replace(block, "use_lockfile = true\n", "use_lockfile = true\n"+extra+"\n", 1)
	r.dir = r.project(block)
	r.ref = "s3://terraform-state/" + stateKey
	r.tf("init", "-input=false", "-no-color")
	return r
}

// tf runs terraform and demands success.
func (r *rig) tf(args ...string) result {
	r.t.Helper()
	return r.must(r.dir, r.terraform, args...)
}

// holder starts an apply that waits at its prompt, holding the lock, and returns it with its lock ID.
func (r *rig) holder(value string) (*process, string) {
	r.t.Helper()
	p := r.start(r.dir, r.terraform, "apply", "-no-color", "-var", "value="+value)
	p.waitFor(`Enter a value:`)
	status := r.statelatch("status", r.ref)
	m := lockID.FindStringSubmatch(status.stdout)
	if status.code != 11 || m == nil {
		r.t.Fatalf("status while terraform holds the lock: %v", status)
	}
	return p, m[1]
}

func (r *rig) wantFree() {
	r.t.Helper()
	if s := r.statelatch("status", r.ref); s.code != 0 || !strings.Contains(s.stdout, "not locked") {
		r.t.Fatalf("want the state free: %v", s)
	}
}

func want(t *testing.T, what string, r result, code int, texts ...string) {
	t.Helper()
	all := strings.Join(strings.Fields(r.stdout+r.stderr), " ")
	for _, text := range texts {
		if !strings.Contains(all, text) {
			t.Errorf("%s: the output lacks %q", what, text)
		}
	}
	if r.code != code || t.Failed() {
		t.Fatalf("%s: want exit %d: %v", what, code, r)
	}
}

func TestTerraform_ConflictIsRefusedOnBothSides(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	r.tf("apply", "-auto-approve", "-no-color")
	p, id := r.holder("b")

	want(t, "second plan", r.run(r.dir, r.terraform, "plan", "-no-color"), 1,
		"Error acquiring the state lock", "StatusCode: 412", "ID: "+id, "Operation: OperationTypeApply")
	refused := r.statelatch("lock", r.ref)
	want(t, "statelatch lock", refused, 11, "Lock Info:", "ID: "+id, "Operation: OperationTypeApply", "Version: ", "statelatch force-unlock "+id)
	asJSON := r.statelatch("lock", "-json", r.ref)
	var failure struct {
		Kind string                   `json:"kind"`
		Lock struct{ ID, Who string } `json:"lock"`
	}
	if err := json.Unmarshal([]byte(asJSON.stdout), &failure); err != nil || failure.Kind != "locked" || failure.Lock.ID != id || asJSON.code != 11 {
		t.Fatalf("lock -json: %+v, %v: %v", failure, err, asJSON)
	}
	want(t, "statelatch unlock of a lock that is not ours", r.statelatch("unlock", r.ref), 11, id)

	p.say("no")
	want(t, "declined apply", p.wait(), 1, "Apply cancelled")
	r.wantFree()
	r.server.waitFor(`refused +s3://terraform-state/` + stateKey + ` +to .*OperationTypePlan.*held by .*OperationTypeApply, ID ` + id)
	r.server.waitFor(`released +s3://terraform-state/` + stateKey + ` +held by .*ID ` + id)
}

func TestTerraform_LockTimeoutWaitsAndSucceeds(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	p, id := r.holder("b")
	plan := r.start(r.dir, r.terraform, "plan", "-no-color", "-lock-timeout=90s", "-var", "value=b")
	ours := r.start(r.home, binary, "lock", "-lock-timeout=90s", r.ref)
	ours.waitFor("Waiting up to 1m30s .*" + id)
	r.server.waitFor(`refused .* to .*OperationTypePlan`)
	p.say("yes")
	want(t, "apply", p.wait(), 0, "Apply complete!")
	want(t, "our wait", ours.wait(), 0, "Locked "+r.ref)
	want(t, "our unlock", r.statelatch("unlock", r.ref), 0, "Released")
	want(t, "terraform's wait", plan.wait(), 0, "No changes.")
	r.wantFree()
}

func TestTerraform_OurLockBlocksItAndShowsUs(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	taken := r.statelatch("lock", "-info", "failover until 15:00 <ops>", r.ref)
	want(t, "lock", taken, 0, "Locked")
	id := strings.TrimSpace(taken.stdout)
	want(t, "plan", r.run(r.dir, r.terraform, "plan", "-no-color"), 1,
		"StatusCode: 412", "ID: "+id, "Path: terraform-state/"+stateKey, "Operation: lock", "Info: failover until 15:00 <ops>")
	want(t, "status of our own", r.statelatch("status", r.ref), 11, "is locked by you", "Held since")
	want(t, "unlock", r.statelatch("unlock", r.ref), 0, "Released")
	want(t, "unlock again", r.statelatch("unlock", r.ref), 10, "not locked")
	r.tf("plan", "-no-color")

	taken = r.statelatch("lock", "-json", "-chdir", r.dir) // the working directory decides
	var status struct {
		Ref    string              `json:"ref"`
		Locked bool                `json:"locked"`
		Mine   bool                `json:"mine"`
		Lock   struct{ ID string } `json:"lock"`
	}
	if err := json.Unmarshal([]byte(taken.stdout), &status); err != nil || !status.Locked || !status.Mine || status.Ref != r.ref {
		t.Fatalf("lock -json: %v: %v", err, taken)
	}
	want(t, "terraform force-unlock of ours", r.tf("force-unlock", "-force", status.Lock.ID), 0, "successfully unlocked")
	r.wantFree()
	want(t, "unlock of what is gone", r.statelatch("unlock", r.ref), 10, "not locked")
}

func TestTerraform_KilledHolderIsCleared(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	p, id := r.holder("b")
	p.signal(syscall.SIGKILL)
	p.wait()
	want(t, "plan against the stale lock", r.run(r.dir, r.terraform, "plan", "-no-color"), 1, id)
	want(t, "wrong ID", r.statelatch("force-unlock", "-force", "11111111-2222-3333-4444-555555555555", r.ref), 11, id)
	want(t, "no terminal, no -force", r.statelatch("force-unlock", id, r.ref), 2, "-force")
	want(t, "force-unlock", r.run(r.dir, binary, "force-unlock", id, "-force"), 0, "removed")
	want(t, "force-unlock again", r.statelatch("force-unlock", "-force", id, r.ref), 10, "not locked")
	r.tf("apply", "-auto-approve", "-no-color")

	p, id = r.holder("c") // and the engine's own command, on the engine's own lock
	p.signal(syscall.SIGKILL)
	p.wait()
	r.tf("force-unlock", "-force", id)
	r.wantFree()
}

// B17 and W30: a lock on a workspace whose state does not exist cannot be removed by the engine, but by us.
func TestTerraform_B17_LockWithoutStateIsCleared(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	r.env["TF_WORKSPACE"] = "ghost"
	ref := "s3://terraform-state/env:/ghost/" + stateKey
	taken := r.statelatch("lock", "-chdir", r.dir)
	want(t, "lock", taken, 0, "Locked "+ref)
	id := strings.TrimSpace(taken.stdout)
	if res := r.run(r.dir, r.terraform, "force-unlock", "-force", id); res.code == 0 {
		t.Fatalf("terraform can do it now, so this test needs another case: %v", res)
	}
	want(t, "force-unlock", r.statelatch("force-unlock", "-force", "-chdir", r.dir, id), 0, "removed")
	want(t, "status", r.statelatch("status", "-chdir", r.dir), 0, ref+" is not locked")
}

func TestTerraform_Workspaces(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	r.tf("apply", "-auto-approve", "-no-color")
	r.tf("workspace", "new", "staging")
	r.tf("apply", "-auto-approve", "-no-color", "-var", "value=staging")
	want(t, "workspace list", r.tf("workspace", "list"), 0, "default * staging")

	ours := r.run(r.dir, binary, "lock")
	want(t, "lock in the workspace", ours, 0, "env:/staging/"+stateKey)
	want(t, "plan in it", r.run(r.dir, r.terraform, "plan", "-no-color"), 1, strings.TrimSpace(ours.stdout))
	r.tf("workspace", "select", "default")
	want(t, "plan beside it", r.tf("plan", "-no-color"), 0, "No changes.")
	want(t, "output", r.tf("output", "-raw", "value"), 0, "a")
	r.env["TF_WORKSPACE"] = "staging"
	want(t, "unlock", r.run(r.dir, binary, "unlock"), 0, "Released")
	delete(r.env, "TF_WORKSPACE")

	r.tf("workspace", "select", "staging")
	r.tf("destroy", "-auto-approve", "-no-color")
	r.tf("workspace", "select", "default")
	r.tf("workspace", "delete", "staging")
	if list := r.tf("workspace", "list").stdout; strings.Contains(list, "staging") {
		t.Errorf("staging is still listed: %s", list)
	}
}

// 12 MB go up in parts and come down in parallel ranges.
func TestTerraform_LargeStateRoundTrip(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	r.tf("apply", "-auto-approve", "-no-color", "-var", "chunks=780")
	pulled := r.tf("state", "pull").stdout
	if len(pulled) < 12_000_000 {
		t.Fatalf("the state has %d bytes, want 12 MB", len(pulled))
	}
	want(t, "plan", r.tf("plan", "-no-color", "-var", "chunks=780"), 0, "No changes.")
	h, err := statelatch.ReadStateHeader(strings.NewReader(pulled))
	if err != nil || h.Serial != 1 || h.TerraformVersion == "" {
		t.Errorf("header %+v, %v", h, err)
	}

	var state map[string]any
	if err := json.Unmarshal([]byte(pulled), &state); err != nil {
		t.Fatal(err)
	}
	state["serial"] = 7
	pushed, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.home, "push.tfstate")
	r.write(file, string(pushed))
	r.tf("state", "push", file)
	h, err = statelatch.ReadStateHeader(strings.NewReader(r.tf("state", "pull").stdout))
	if err != nil || h.Serial < 7 {
		t.Errorf("after push: header %+v, %v", h, err)
	}
	want(t, "plan after push", r.tf("plan", "-no-color", "-var", "chunks=780"), 0, "No changes.")
}

func TestTerraform_Encrypted(t *testing.T) {
	t.Parallel()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	customer := base64.StdEncoding.EncodeToString(key)
	for name, extra := range map[string]string{
		"SSE-S3": "encrypt = true",
		"SSE-C":  `encrypt = true` + "\n" + `sse_customer_key = "` + customer + `"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, extra)
			r.tf("apply", "-auto-approve", "-no-color", "-var", "value=secret-value", "-var", "chunks=780")
			want(t, "output", r.tf("output", "-raw", "value"), 0, "secret-value")
			r.wantNowhereOnDisk("secret-value")

			p := r.start(r.dir, r.terraform, "apply", "-no-color", "-var", "value=b", "-var", "chunks=780")
			p.waitFor(`Enter a value:`)
			// B22: we can read the holder even with the customer's key, from the directory's configuration.
			status := r.run(r.dir, binary, "status")
			want(t, "status", status, 11, "Operation: OperationTypeApply")
			p.say("no")
			p.wait()

			taken := r.run(r.dir, binary, "lock")
			want(t, "lock", taken, 0, "Locked")
			if res := r.run(r.dir, r.terraform, "plan", "-no-color"); res.code != 1 || !strings.Contains(res.stderr, "412") {
				t.Errorf("plan beside our lock: %v", res)
			}
			r.tf("force-unlock", "-force", strings.TrimSpace(taken.stdout))
			want(t, "status", r.run(r.dir, binary, "status"), 0, "not locked")
		})
	}
}

// Over TLS the engine sends its bodies in chunks with the checksum behind them.
func TestTerraform_OverTLS(t *testing.T) {
	t.Parallel()
	cert, key := testtls.SelfSigned(t)
	r := newRig(t, `custom_ca_bundle = "`+cert+`"`, "-tls-cert", cert, "-tls-key", key)
	if !strings.HasPrefix(r.server.url, "https://") {
		t.Fatalf("serve printed %s", r.server.url)
	}
	r.env["AWS_CA_BUNDLE"] = cert
	r.tf("apply", "-auto-approve", "-no-color", "-var", "chunks=780")
	want(t, "plan", r.tf("plan", "-no-color", "-var", "chunks=780"), 0, "No changes.")
	p, id := r.holder("b")
	want(t, "lock", r.run(r.dir, binary, "lock"), 11, id)
	p.say("no")
	p.wait()
	r.wantFree()
}

// wantNowhereOnDisk looks for plaintext in everything the store keeps.
func (r *rig) wantNowhereOnDisk(secret string) {
	r.t.Helper()
	err := filepath.WalkDir(r.server.data, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(content), secret) {
			r.t.Errorf("%s holds the plaintext", d.Name())
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// Two applies at once, eight times: one at a time gets in, and every acknowledged one is in the state.
func TestTerraform_ParallelAppliesExcludeEachOther(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	second := r.project(strings.Replace(r.server.block, "example/terraform.tfstate", stateKey, 1))
	r.must(second, r.terraform, "init", "-input=false")
	for round := range 8 {
		value := string(rune('a' + round))
		a := r.start(r.dir, r.terraform, "apply", "-auto-approve", "-no-color", "-lock-timeout=60s", "-var", "value=one-"+value)
		b := r.start(second, r.terraform, "apply", "-auto-approve", "-no-color", "-lock-timeout=60s", "-var", "value=two-"+value)
		ra, rb := a.wait(), b.wait()
		// An engine gives up when the lock is released between its refusal and its look (W10); the store cannot help
		// that.
		if ra.code != 0 && rb.code != 0 {
			t.Fatalf("round %d: neither got in: %v\n%v", round, ra, rb)
		}
		for _, res := range []result{ra, rb} {
			if res.code != 0 && !strings.Contains(res.stderr, "Error acquiring the state lock") {
				t.Fatalf("round %d: %v", round, res)
			}
		}
	}
	h, err := statelatch.ReadStateHeader(strings.NewReader(r.tf("state", "pull").stdout))
	if err != nil || h.Serial < 8 {
		t.Errorf("after eight rounds the header is %+v, %v", h, err)
	}
	r.wantFree()
}

// The store accepts and never answers: the first Ctrl-C begins to tidy up, the second one ends it.
func TestLock_SecondInterruptEndsIt(t *testing.T) {
	t.Parallel()
	var last result
	for range 3 { // it gives up looking after some seconds: on a busy machine that may come before the second signal
		p := interruptedTwice(t)
		if s, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			return
		}
		last = p.output()
	}
	t.Errorf("want it ended by the signal: %v", last)
}

// interruptedTwice is a "lock" that was interrupted while it asked a silent store for the lock, and again while it
// looked whether one was left.
func interruptedTwice(t *testing.T) *process {
	t.Helper()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	w := newWorld(t)
	w.env["AWS_ACCESS_KEY_ID"], w.env["AWS_SECRET_ACCESS_KEY"] = "key", "secret-key"
	w.env["AWS_ENDPOINT_URL_S3"] = "http://" + silent.Addr().String()
	p := w.start(w.home, binary, "lock", "s3://b/k")
	for range 2 {
		if err := silent.(*net.TCPListener).SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		conn, err := silent.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		p.signal(syscall.SIGINT)
	}
	p.wait()
	return p
}
