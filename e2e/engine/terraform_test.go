package engine

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/e2e/internal/rig"
	"github.com/statelatch/statelatch/internal/testtls"
)

func TestTerraform_ConflictIsRefusedOnBothSides(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	r.TF("apply", "-auto-approve", "-no-color")
	p, id := r.Holder("b")

	rig.Want(t, "second plan", r.Run(r.Dir, r.Terraform, "plan", "-no-color"), 1,
		"Error acquiring the state lock", "StatusCode: 412", "ID: "+id, "Operation: OperationTypeApply")
	refused := r.Statelatch("lock", r.Ref)
	rig.Want(t, "statelatch lock", refused, 11, "Lock Info:", "ID: "+id, "Operation: OperationTypeApply", "Version: ", "statelatch force-unlock "+id)
	asJSON := r.Statelatch("lock", "-json", r.Ref)
	var failure struct {
		Kind string                   `json:"kind"`
		Lock struct{ ID, Who string } `json:"lock"`
	}
	if err := json.Unmarshal([]byte(asJSON.Stdout), &failure); err != nil || failure.Kind != "locked" || failure.Lock.ID != id || asJSON.Code != 11 {
		t.Fatalf("lock -json: %+v, %v: %v", failure, err, asJSON)
	}
	rig.Want(t, "statelatch unlock of a lock that is not ours", r.Statelatch("unlock", r.Ref), 11, id)

	p.Say("no")
	rig.Want(t, "declined apply", p.Wait(), 1, "Apply cancelled")
	r.WantFree()
	r.Server.WaitFor(`refused +s3://terraform-state/` + rig.StateKey + ` +to .*OperationTypePlan.*held by .*OperationTypeApply, ID ` + id)
	r.Server.WaitFor(`released +s3://terraform-state/` + rig.StateKey + ` +held by .*ID ` + id)
}

func TestTerraform_LockTimeoutWaitsAndSucceeds(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	p, id := r.Holder("b")
	plan := r.Start(r.Dir, r.Terraform, "plan", "-no-color", "-lock-timeout=90s", "-var", "value=b")
	ours := r.Start(r.Home, rig.Binary, "lock", "-lock-timeout=90s", r.Ref)
	ours.WaitFor("Waiting up to 1m30s .*" + id)
	r.Server.WaitFor(`refused .* to .*OperationTypePlan`)
	p.Say("yes")
	rig.Want(t, "apply", p.Wait(), 0, "Apply complete!")
	rig.Want(t, "our wait", ours.Wait(), 0, "Locked "+r.Ref)
	rig.Want(t, "our unlock", r.Statelatch("unlock", r.Ref), 0, "Released")
	rig.Want(t, "terraform's wait", plan.Wait(), 0, "No changes.")
	r.WantFree()
}

func TestTerraform_OurLockBlocksItAndShowsUs(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	taken := r.Statelatch("lock", "-info", "failover until 15:00 <ops>", r.Ref)
	rig.Want(t, "lock", taken, 0, "Locked")
	id := strings.TrimSpace(taken.Stdout)
	rig.Want(t, "plan", r.Run(r.Dir, r.Terraform, "plan", "-no-color"), 1,
		"StatusCode: 412", "ID: "+id, "Path: terraform-state/"+rig.StateKey, "Operation: lock", "Info: failover until 15:00 <ops>")
	rig.Want(t, "status of our own", r.Statelatch("status", r.Ref), 11, "is locked by you", "Held since")
	rig.Want(t, "unlock", r.Statelatch("unlock", r.Ref), 0, "Released")
	rig.Want(t, "unlock again", r.Statelatch("unlock", r.Ref), 10, "not locked")
	r.TF("plan", "-no-color")

	taken = r.Statelatch("lock", "-json", "-chdir", r.Dir) // the working directory decides
	var status struct {
		Ref    string              `json:"ref"`
		Locked bool                `json:"locked"`
		Mine   bool                `json:"mine"`
		Lock   struct{ ID string } `json:"lock"`
	}
	if err := json.Unmarshal([]byte(taken.Stdout), &status); err != nil || !status.Locked || !status.Mine || status.Ref != r.Ref {
		t.Fatalf("lock -json: %v: %v", err, taken)
	}
	rig.Want(t, "terraform force-unlock of ours", r.TF("force-unlock", "-force", status.Lock.ID), 0, "successfully unlocked")
	r.WantFree()
	rig.Want(t, "unlock of what is gone", r.Statelatch("unlock", r.Ref), 10, "not locked")
}

func TestTerraform_KilledHolderIsCleared(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	p, id := r.Holder("b")
	p.Signal(syscall.SIGKILL)
	p.Wait()
	rig.Want(t, "plan against the stale lock", r.Run(r.Dir, r.Terraform, "plan", "-no-color"), 1, id)
	rig.Want(t, "wrong ID", r.Statelatch("force-unlock", "-force", "11111111-2222-3333-4444-555555555555", r.Ref), 11, id)
	rig.Want(t, "no terminal, no -force", r.Statelatch("force-unlock", id, r.Ref), 2, "-force")
	rig.Want(t, "force-unlock", r.Run(r.Dir, rig.Binary, "force-unlock", id, "-force"), 0, "removed")
	rig.Want(t, "force-unlock again", r.Statelatch("force-unlock", "-force", id, r.Ref), 10, "not locked")
	r.TF("apply", "-auto-approve", "-no-color")

	p, id = r.Holder("c") // and the engine's own command, on the engine's own lock
	p.Signal(syscall.SIGKILL)
	p.Wait()
	r.TF("force-unlock", "-force", id)
	r.WantFree()
}

// B17 and W30: a lock on a workspace whose state does not exist cannot be removed by the engine, but by us.
func TestTerraform_B17_LockWithoutStateIsCleared(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	r.Env["TF_WORKSPACE"] = "ghost"
	ref := "s3://terraform-state/env:/ghost/" + rig.StateKey
	taken := r.Statelatch("lock", "-chdir", r.Dir)
	rig.Want(t, "lock", taken, 0, "Locked "+ref)
	id := strings.TrimSpace(taken.Stdout)
	if res := r.Run(r.Dir, r.Terraform, "force-unlock", "-force", id); res.Code == 0 {
		t.Fatalf("terraform can do it now, so this test needs another case: %v", res)
	}
	rig.Want(t, "force-unlock", r.Statelatch("force-unlock", "-force", "-chdir", r.Dir, id), 0, "removed")
	rig.Want(t, "status", r.Statelatch("status", "-chdir", r.Dir), 0, ref+" is not locked")
}

func TestTerraform_Workspaces(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	r.TF("apply", "-auto-approve", "-no-color")
	r.TF("workspace", "new", "staging")
	r.TF("apply", "-auto-approve", "-no-color", "-var", "value=staging")
	rig.Want(t, "workspace list", r.TF("workspace", "list"), 0, "default * staging")

	ours := r.Run(r.Dir, rig.Binary, "lock")
	rig.Want(t, "lock in the workspace", ours, 0, "env:/staging/"+rig.StateKey)
	rig.Want(t, "plan in it", r.Run(r.Dir, r.Terraform, "plan", "-no-color"), 1, strings.TrimSpace(ours.Stdout))
	r.TF("workspace", "select", "default")
	rig.Want(t, "plan beside it", r.TF("plan", "-no-color"), 0, "No changes.")
	rig.Want(t, "output", r.TF("output", "-raw", "value"), 0, "a")
	r.Env["TF_WORKSPACE"] = "staging"
	rig.Want(t, "unlock", r.Run(r.Dir, rig.Binary, "unlock"), 0, "Released")
	delete(r.Env, "TF_WORKSPACE")

	r.TF("workspace", "select", "staging")
	r.TF("destroy", "-auto-approve", "-no-color")
	r.TF("workspace", "select", "default")
	r.TF("workspace", "delete", "staging")
	if list := r.TF("workspace", "list").Stdout; strings.Contains(list, "staging") {
		t.Errorf("staging is still listed: %s", list)
	}
}

// 12 MB go up in parts and come down in parallel ranges.
func TestTerraform_LargeStateRoundTrip(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	r.TF("apply", "-auto-approve", "-no-color", "-var", "chunks=780")
	pulled := r.TF("state", "pull").Stdout
	if len(pulled) < 12_000_000 {
		t.Fatalf("the state has %d bytes, want 12 MB", len(pulled))
	}
	rig.Want(t, "plan", r.TF("plan", "-no-color", "-var", "chunks=780"), 0, "No changes.")
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
	file := filepath.Join(r.Home, "push.tfstate")
	r.Write(file, string(pushed))
	r.TF("state", "push", file)
	h, err = statelatch.ReadStateHeader(strings.NewReader(r.TF("state", "pull").Stdout))
	if err != nil || h.Serial < 7 {
		t.Errorf("after push: header %+v, %v", h, err)
	}
	rig.Want(t, "plan after push", r.TF("plan", "-no-color", "-var", "chunks=780"), 0, "No changes.")
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
			r := rig.NewWorkdir(t, extra)
			r.TF("apply", "-auto-approve", "-no-color", "-var", "value=secret-value", "-var", "chunks=780")
			rig.Want(t, "output", r.TF("output", "-raw", "value"), 0, "secret-value")
			wantNowhereOnDisk(r, "secret-value")

			p := r.Start(r.Dir, r.Terraform, "apply", "-no-color", "-var", "value=b", "-var", "chunks=780")
			p.WaitFor(`Enter a value:`)
			// B22: we can read the holder even with the customer's key, from the directory's configuration.
			status := r.Run(r.Dir, rig.Binary, "status")
			rig.Want(t, "status", status, 11, "Operation: OperationTypeApply")
			p.Say("no")
			p.Wait()

			taken := r.Run(r.Dir, rig.Binary, "lock")
			rig.Want(t, "lock", taken, 0, "Locked")
			if res := r.Run(r.Dir, r.Terraform, "plan", "-no-color"); res.Code != 1 || !strings.Contains(res.Stderr, "412") {
				t.Errorf("plan beside our lock: %v", res)
			}
			r.TF("force-unlock", "-force", strings.TrimSpace(taken.Stdout))
			rig.Want(t, "status", r.Run(r.Dir, rig.Binary, "status"), 0, "not locked")
		})
	}
}

// Over TLS the engine sends its bodies in chunks with the checksum behind them.
func TestTerraform_OverTLS(t *testing.T) {
	t.Parallel()
	cert, key := testtls.SelfSigned(t)
	r := rig.NewWorkdir(t, `custom_ca_bundle = "`+cert+`"`, "-tls-cert", cert, "-tls-key", key)
	if !strings.HasPrefix(r.Server.URL, "https://") {
		t.Fatalf("serve printed %s", r.Server.URL)
	}
	r.Env["AWS_CA_BUNDLE"] = cert
	r.TF("apply", "-auto-approve", "-no-color", "-var", "chunks=780")
	rig.Want(t, "plan", r.TF("plan", "-no-color", "-var", "chunks=780"), 0, "No changes.")
	p, id := r.Holder("b")
	rig.Want(t, "lock", r.Run(r.Dir, rig.Binary, "lock"), 11, id)
	p.Say("no")
	p.Wait()
	r.WantFree()
}

// wantNowhereOnDisk looks for plaintext in everything the store keeps.
func wantNowhereOnDisk(r *rig.Workdir, secret string) {
	r.T.Helper()
	err := filepath.WalkDir(r.Server.Data, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(content), secret) {
			r.T.Errorf("%s holds the plaintext", d.Name())
		}
		return err
	})
	if err != nil {
		r.T.Fatal(err)
	}
}

// Two applies at once, eight times: one at a time gets in, and every acknowledged one is in the state.
func TestTerraform_ParallelAppliesExcludeEachOther(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	second := r.Project(strings.Replace(r.Server.Block, "example/terraform.tfstate", rig.StateKey, 1))
	r.Must(second, r.Terraform, "init", "-input=false")
	for round := range 8 {
		value := string(rune('a' + round))
		a := r.Start(r.Dir, r.Terraform, "apply", "-auto-approve", "-no-color", "-lock-timeout=60s", "-var", "value=one-"+value)
		b := r.Start(second, r.Terraform, "apply", "-auto-approve", "-no-color", "-lock-timeout=60s", "-var", "value=two-"+value)
		ra, rb := a.Wait(), b.Wait()
		// An engine gives up when the lock is released between its refusal and its look (W10); the store cannot help
		// that.
		if ra.Code != 0 && rb.Code != 0 {
			t.Fatalf("round %d: neither got in: %v\n%v", round, ra, rb)
		}
		for _, res := range []rig.Result{ra, rb} {
			if res.Code != 0 && !strings.Contains(res.Stderr, "Error acquiring the state lock") {
				t.Fatalf("round %d: %v", round, res)
			}
		}
	}
	h, err := statelatch.ReadStateHeader(strings.NewReader(r.TF("state", "pull").Stdout))
	if err != nil || h.Serial < 8 {
		t.Errorf("after eight rounds the header is %+v, %v", h, err)
	}
	r.WantFree()
}

// The store accepts and never answers: the first Ctrl-C begins to tidy up, the second one ends it.
func TestLock_SecondInterruptEndsIt(t *testing.T) {
	t.Parallel()
	var last rig.Result
	for range 3 { // it gives up looking after some seconds: on a busy machine that may come before the second signal
		p := interruptedTwice(t)
		if s, ok := p.Cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			return
		}
		last = p.Output()
	}
	t.Errorf("want it ended by the signal: %v", last)
}

// interruptedTwice is a "lock" that was interrupted while it asked a silent store for the lock, and again while it
// looked whether one was left.
func interruptedTwice(t *testing.T) *rig.Process {
	t.Helper()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	w := rig.NewWorld(t)
	w.Env["AWS_ACCESS_KEY_ID"], w.Env["AWS_SECRET_ACCESS_KEY"] = "key", "secret-key"
	w.Env["AWS_ENDPOINT_URL_S3"] = "http://" + silent.Addr().String()
	p := w.Start(w.Home, rig.Binary, "lock", "s3://b/k")
	for range 2 {
		if err := silent.(*net.TCPListener).SetDeadline(time.Now().Add(rig.Patience)); err != nil {
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
		p.Signal(syscall.SIGINT)
	}
	p.Wait()
	return p
}
