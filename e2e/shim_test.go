package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// second makes another root beside the rig's, whose state is at the key second/terraform.tfstate, and returns its
// directory and REF.
func (r *rig) second(name string) (dir, ref string) {
	r.t.Helper()
	key := name + "/terraform.tfstate"
	dir = r.project(strings.Replace(r.server.block, "example/terraform.tfstate", key, 1))
	r.must(dir, r.terraform, "init", "-input=false", "-no-color")
	return dir, "s3://terraform-state/" + key
}

// engineName is what scripts call the engine.
func (r *rig) engineName() string { return filepath.Base(r.terraform) }

const applyLine = " apply -input=false -no-color -auto-approve"

// whoHolds is a provisioner that asks, in the middle of an apply, who holds the state.
func whoHolds(dir, ref string) string {
	return fmt.Sprintf(`
resource "terraform_data" "who" {
  triggers_replace = timestamp()
  provisioner "local-exec" { command = "%s status %s >%s/who 2>&1 || true" }
}
`, binary, ref, dir)
}

// wantHeld demands that the last apply in dir ran under a lock with a lease.
func (r *rig) wantHeld(what, dir string) {
	r.t.Helper()
	who, err := os.ReadFile(filepath.Join(dir, "who"))
	_ = os.Remove(filepath.Join(dir, "who"))
	if err != nil || !strings.Contains(string(who), "lease of") {
		r.t.Errorf("%s: the apply ran without the lock: %s, %v", what, who, err)
	}
}

// The engine's own lock is off only where its own state is held, whatever the command is and wherever the engine works.
func TestShim_StateOfTheCall(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	other, otherRef := r.second("other")
	r.write(filepath.Join(other, "who.tf"), whoHolds(other, otherRef))
	inOther := "cd " + other + " && " + r.engineName() + applyLine

	// A REF that is not the engine's: nothing runs.
	wrong := r.run(other, binary, append([]string{"run", r.ref, "--", r.engineName()}, apply...)...)
	want(t, "another state's REF", wrong, 2, otherRef, r.ref)
	want(t, "a typo", r.run(other, binary, append([]string{"run", "s3://terraform-state/typo", "--", r.terraform}, apply...)...), 2, otherRef)
	want(t, "another plan", r.run(r.dir, binary, "run", r.ref, "--", r.engineName(), "-chdir="+other, "plan"), 2, otherRef)

	// An engine below the command, in another directory: its state is locked on demand.
	want(t, "below sh", r.run(r.dir, binary, "run", "--", "sh", "-c", inOther), 0, "Apply complete!", otherRef+" is locked for")
	r.wantHeld("below sh", other)
	want(t, "below sh, with a REF", r.statelatch("run", r.ref, "--", "sh", "-c", inOther), 0, "Apply complete!")
	r.wantHeld("below sh, with a REF", other)
	want(t, "without any state", r.statelatch("run", "--", "sh", "-c", inOther), 0, "Apply complete!", "nothing is locked yet")
	r.wantHeld("without any state", other)
	want(t, "nothing at all", r.statelatch("run", "--", "true"), 0, "nothing was locked")

	// Somebody else holds it: the engine does not start, and nobody's lock is touched.
	r.must(r.home, binary, "lock", otherRef)
	refused := r.run(r.dir, binary, "run", "--", "sh", "-c", inOther)
	want(t, "held by somebody else", refused, 11, "Lock Info:")
	if strings.Contains(refused.stdout, "Apply complete!") {
		t.Errorf("it was applied under somebody else's lock: %v", refused)
	}
	want(t, "still held", r.statelatch("status", otherRef), 11)
	waiting := r.start(r.dir, binary, "run", "--", "sh", "-c", inOther+" -lock-timeout=5m")
	waiting.waitFor("Waiting up to 5m")
	r.must(r.home, binary, "unlock", otherRef)
	want(t, "the engine's own timeout", waiting.wait(), 0, "Apply complete!")
	r.wantHeld("the engine's own timeout", other)

	// Started by its path, without a PATH, or with one of its own: it keeps its lock, and stops at ours.
	mine := "cd " + r.dir + " && "
	for name, line := range map[string]string{
		"by its path": mine + r.terraform + applyLine,
		"own PATH":    mine + "PATH=" + filepath.Dir(r.terraform) + ":/usr/bin:/bin " + r.engineName() + applyLine,
	} {
		want(t, name, r.statelatch("run", r.ref, "--", "sh", "-c", line), 1, "Error acquiring the state lock", "run sh")
	}
	// Nothing of the environment is needed but the PATH.
	keep := "env -i HOME=$HOME PATH=$PATH AWS_REGION=$AWS_REGION AWS_SHARED_CREDENTIALS_FILE=$AWS_SHARED_CREDENTIALS_FILE AWS_PROFILE=$AWS_PROFILE " +
		"AWS_CONFIG_FILE=$AWS_CONFIG_FILE AWS_ENDPOINT_URL_S3=$AWS_ENDPOINT_URL_S3 AWS_EC2_METADATA_DISABLED=true "
	want(t, "an empty environment", r.statelatch("run", r.ref, "--", "sh", "-c", mine+keep+r.engineName()+applyLine), 0, "Apply complete!")
	want(t, "-lock=true", r.statelatch("run", r.ref, "--", "sh", "-c", mine+r.engineName()+applyLine+" -lock=true"), 0, "Apply complete!")
	r.wantFree()
	want(t, "free", r.statelatch("status", otherRef), 0)
}

// A saved plan is applied to the state that it was made for, in whatever directory.
func TestShim_SavedPlan(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	other, otherRef := r.second("other")
	plan := filepath.Join(other, "saved.plan")
	r.must(other, r.terraform, "plan", "-input=false", "-no-color", "-out="+plan)
	want(t, "with the directory's REF", r.run(r.dir, binary, "run", r.ref, "--", r.engineName(), "apply", plan), 2, otherRef)
	r.must(r.home, binary, "lock", otherRef)
	want(t, "held", r.run(r.dir, binary, "run", "--", r.engineName(), "apply", "-no-color", plan), 11, "Lock Info:")
	want(t, "held, below sh", r.run(r.dir, binary, "run", "--", "sh", "-c", r.engineName()+" apply -no-color "+plan), 11, "Lock Info:")
	r.must(r.home, binary, "unlock", otherRef)
	want(t, "free", r.run(r.dir, binary, "run", "--", "sh", "-c", r.engineName()+" apply -no-color "+plan), 0, "Apply complete!", otherRef+" is locked for")
	stranger := []string{"run", "-expected-bucket-owner", "999999999999", "--"}
	for _, command := range [][]string{{r.engineName(), "apply", "-no-color", plan}, {"sh", "-c", r.engineName() + " apply -no-color " + plan}} {
		want(t, "another account's bucket", r.run(other, binary, append(stranger, command...)...), 14, "another account")
	}
	// Terraform applies it to the workspace that is selected, whichever it was made in.
	r.must(other, r.terraform, "workspace", "new", "blue")
	r.must(other, r.terraform, "plan", "-input=false", "-no-color", "-out="+plan)
	r.must(other, r.terraform, "workspace", "select", "default")
	r.must(r.home, binary, "lock", otherRef)
	for _, command := range [][]string{{r.engineName(), "apply", "-no-color", plan}, {"sh", "-c", r.engineName() + " apply -no-color " + plan}} {
		want(t, "another workspace's plan", r.run(other, binary, append([]string{"run", "s3://terraform-state/env:/blue/other/terraform.tfstate", "--"}, command...)...),
			1, "keeps its own lock", "Error acquiring the state lock")
	}
	r.must(r.home, binary, "unlock", otherRef)
	garbled := r.file("garbled.plan", "{\"meta\":{},\"encrypted_data\":\"\"}")
	want(t, "a plan that nobody can read", r.run(r.dir, binary, "run", "--", r.engineName(), "apply", "-no-color", garbled), 1, "keeps its own lock")
	r.wantFree()
}

// Two stores can have a bucket of the same name: the lock in one is none in the other.
func TestShim_OtherStore(t *testing.T) {
	t.Parallel()
	r, other := newRig(t, ""), newRig(t, "")
	other.must(other.home, binary, "lock", other.ref)
	line := "cd " + other.dir + " && env"
	for name, value := range other.env {
		if strings.HasPrefix(name, "AWS_") {
			line += " " + name + "='" + value + "'"
		}
	}
	line += " " + r.engineName() + applyLine
	want(t, "held in the other store", r.statelatch("run", r.ref, "--", "sh", "-c", line), 1, "another store", "Error acquiring the state lock")
	nested := []string{"run", r.ref, "--", binary, "run", "s3://terraform-state/mutex", "--", "sh", "-c", line}
	want(t, "below a run in a run", r.statelatch(nested...), 11, "Lock Info:")
	other.must(other.home, binary, "unlock", other.ref)
	want(t, "below a run in a run, when it is free there", r.statelatch(nested...), 0, "Apply complete!", "is locked for")
	r.wantFree()
}

// A relative -chdir in a directory that is reached through a symbolic link means what the system makes of it.
func TestShim_SymbolicLink(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	other, otherRef := r.second("other")
	away := t.TempDir()
	link := filepath.Join(away, "link")
	if err := os.Symlink(r.dir, link); err != nil {
		t.Fatal(err)
	}
	// What the same words would mean as text: a root whose state is r's.
	decoy := filepath.Join(away, filepath.Base(other))
	if err := os.CopyFS(decoy, os.DirFS(r.dir)); err != nil {
		t.Fatal(err)
	}
	r.must(r.home, binary, "lock", otherRef)
	line := "cd " + link + " && " + r.engineName() + " -chdir=../" + filepath.Base(other) + applyLine
	want(t, "held", r.statelatch("run", r.ref, "--", "sh", "-c", line), 11, "Lock Info:", otherRef)
}

// The first init moves a local state to the default workspace, whichever is selected.
func TestShim_InitOfWorkspace(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	dir := filepath.Join(r.home, "local")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.write(filepath.Join(dir, "main.tf"), `resource "terraform_data" "local" {}`)
	r.must(dir, r.terraform, "init", "-input=false", "-no-color")
	r.must(dir, r.terraform, apply...)
	r.write(filepath.Join(dir, "backend.tf"), strings.Replace(r.server.block, "example/terraform.tfstate", stateKey, 1))
	r.must(r.home, binary, "lock", r.ref)
	line := "cd " + dir + " && TF_WORKSPACE=blue " + r.engineName() + " init -no-color -input=false -force-copy"
	want(t, "init", r.statelatch("run", "s3://terraform-state/env:/blue/"+stateKey, "--", "sh", "-c", line), 1, "Error acquiring the state lock")
	want(t, "nothing moved", r.statelatch("pull", r.ref), 10)
}

// An engine that left the command's group is waited for: its own lock is off.
func TestShim_Setsid(t *testing.T) {
	t.Parallel()
	need(t, "setsid")
	r := newRig(t, "")
	fifo := filepath.Join(r.home, "fifo")
	r.must(r.home, "mkfifo", fifo)
	r.write(filepath.Join(r.dir, "slow.tf"), `
resource "terraform_data" "slow" {
  provisioner "local-exec" { command = "echo x >`+fifo+`; cat `+fifo+`" }
}
`)
	p := r.start(r.home, binary, "run", "--", "sh", "-c", "cd "+r.dir+" && setsid "+r.engineName()+applyLine+" & cat "+fifo)
	p.waitFor("waiting for an engine that it left behind")
	want(t, "meanwhile", r.statelatch("status", r.ref), 11)
	r.must(r.home, "sh", "-c", "echo y >"+fifo)
	want(t, "run", p.wait(), 0, "Apply complete!")
	r.wantFree()
}

// Workspaces and data directories are the call's own.
func TestShim_Workspaces(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	name := r.engineName()
	lines := strings.Join([]string{
		"set -e", "cd " + r.dir, name + " workspace new blue", name + applyLine, "TF_WORKSPACE=default " + name + applyLine,
		name + " workspace select default", name + " workspace new gone", name + " workspace select default", name + " workspace delete gone",
		"export TF_DATA_DIR=data", name + " init -input=false -no-color", name + applyLine,
	}, "\n")
	done := r.statelatch("run", "--", "sh", "-c", lines)
	want(t, "run", done, 0, "s3://terraform-state/env:/blue/"+stateKey+" is locked for", r.ref+" is locked for")
	want(t, "blue", r.statelatch("pull", "s3://terraform-state/env:/blue/"+stateKey), 0, "terraform_data")
	want(t, "locks", r.statelatch("locks", "s3://terraform-state"), 0)
	// A workspace without a state: the first engine would lock it by itself (B18).
	r.env["TF_WORKSPACE"] = "fresh"
	want(t, "fresh", r.run(r.dir, binary, "run", "s3://terraform-state/some/key", "--", "sh", "-c", name+applyLine), 0, "Apply complete!")
	r.wantFree()
}

// Under -read plans lock nothing, and what is compared is what was read.
func TestShim_Read(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	other, otherRef := r.second("other")
	r.must(other, r.terraform, apply...)
	r.must(r.home, binary, "lock", otherRef)
	plan := "cd " + other + " && " + r.engineName() + " plan -input=false -no-color -detailed-exitcode"
	want(t, "plan", r.run(r.dir, binary, "run", "-read", "--", "sh", "-c", plan), 0, "No changes")
	want(t, "apply", r.run(r.dir, binary, "run", "-read", "--", "sh", "-c", "cd "+other+" && "+r.engineName()+applyLine), 1, "Error acquiring the state lock")
	r.must(r.home, binary, "unlock", otherRef)
	moved := r.run(r.dir, binary, "run", "-read", "--", "sh", "-c", plan+" && "+r.terraform+applyLine+" -var value=c")
	want(t, "moved", moved, 15, otherRef)
}

// Programs that stand between a name and an engine: a wrapper script in the PATH that starts another file
// (setup-terraform), shims that go by their own name (mise, asdf), that start the real one by its path (tfenv, tenv),
// and make.
func TestShim_Between(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	r.write(filepath.Join(r.dir, "who.tf"), whoHolds(r.dir, r.ref))
	name := r.engineName()
	tools := filepath.Join(r.home, "tools")
	if err := os.Mkdir(tools, 0o755); err != nil {
		t.Fatal(err)
	}
	path := r.env["PATH"]
	for what, wrapper := range map[string]string{
		"setup-terraform": `exec "$(dirname "$0")/` + name + `-bin" "$@"`,
		"by its name":     `case "$0" in */` + name + `) exec ` + r.terraform + ` "$@";; *) echo "called as $0"; exit 1;; esac`,
		"PATH again":      `PATH=$(echo "$PATH" | sed "s#` + tools + `:##g"); exec ` + name + ` "$@"`,
	} {
		if err := os.WriteFile(filepath.Join(tools, name), []byte("#!/bin/sh\n"+wrapper+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		_ = os.Symlink(r.terraform, filepath.Join(tools, name+"-bin"))
		r.env["PATH"] = tools + ":" + path
		want(t, what, r.run(r.dir, binary, append([]string{"run", "--", name}, apply...)...), 0, "Apply complete!")
		r.wantHeld(what, r.dir)
		want(t, what+", below sh", r.statelatch("run", "--", "sh", "-c", "cd "+r.dir+" && "+name+applyLine), 0, "Apply complete!")
		r.wantHeld(what+", below sh", r.dir)
	}
	// One that finds itself for ever ends.
	if err := os.WriteFile(filepath.Join(tools, name), []byte("#!/bin/sh\nexec "+name+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	want(t, "endless", r.statelatch("run", "--", "sh", "-c", "cd "+r.dir+" && "+name+applyLine), 126, "finds no end")
	r.env["PATH"] = path
	if _, err := exec.LookPath("make"); err == nil {
		r.file("Makefile", "all:\n\tcd "+r.dir+" && "+name+applyLine+"\n")
		want(t, "make", r.statelatch("run", "--", "make", "-s", "all"), 0, "Apply complete!")
		r.wantHeld("make", r.dir)
	}
	r.wantFree()
}

// A run in a run: what the outer one holds, also since an engine needed it, is held for the inner one's engines, and
// nobody waits for himself.
func TestShim_Nested(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	other, otherRef := r.second("other")
	inOther := "cd " + other + " && "
	nested := r.run(r.dir, binary, "run", "--", binary, "run", "s3://terraform-state/mutex", "--", "sh", "-c", r.engineName()+applyLine+" && "+inOther+r.engineName()+applyLine)
	want(t, "nested", nested, 0, "Apply complete!", otherRef+" is locked for")
	twice := r.run(r.dir, binary, "run", "--", "sh", "-c", inOther+r.engineName()+applyLine+" && "+binary+" run -- "+r.engineName()+applyLine)
	want(t, "the state of an engine before", twice, 2, "leave out the inner one")
	r.wantFree()
	want(t, "free", r.statelatch("status", otherRef), 0)
}

// An engine without a run above it any more has its own lock.
func TestShim_RunIsGone(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	left := filepath.Join(r.home, "path")
	want(t, "run", r.statelatch("run", r.ref, "--", "sh", "-c", "echo \"$PATH\" >"+left), 0)
	path, err := os.ReadFile(left)
	if err != nil {
		t.Fatal(err)
	}
	r.must(r.home, binary, "lock", r.ref)
	r.env["PATH"] = strings.TrimSpace(string(path))
	want(t, "later", r.run(r.dir, "sh", "-c", r.engineName()+applyLine), 1, "Error acquiring the state lock")
	if dir := filepath.Dir(strings.SplitN(r.env["PATH"], ":", 2)[0]); !strings.Contains(dir, "statelatch-run-") {
		t.Fatalf("the first in the PATH is %s", dir)
	} else if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is left behind: %v", dir, err)
	}
}

// terragrunt starts an engine for each unit, several at a time: each unit's state is held when it is applied.
func TestShim_Terragrunt(t *testing.T) {
	t.Parallel()
	terragrunt := need(t, "terragrunt")
	r := newRig(t, "")
	tree := filepath.Join(r.home, "tree")
	dirs := []string{tree, filepath.Join(tree, "module")}
	units := []string{"one", "two", "three"}
	for _, unit := range units {
		dirs = append(dirs, filepath.Join(tree, unit))
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config := strings.NewReplacer("terraform {\n  backend \"s3\" {", "config = {", "example/", "tree/${path_relative_to_include()}/").Replace(r.server.block)
	r.write(filepath.Join(tree, "root.hcl"), "remote_state {\n  backend = \"s3\"\n  generate = {\n    path      = \"backend.tf\"\n    if_exists = \"overwrite\"\n  }\n"+config)
	for _, unit := range units {
		r.write(filepath.Join(tree, unit, "terragrunt.hcl"), `
include "root" { path = find_in_parent_folders("root.hcl") }
terraform { source = "../module" }
inputs = { unit = "`+unit+`" }
`)
	}
	r.write(filepath.Join(tree, "module", "main.tf"), `variable "unit" {}`+strings.Replace(whoHolds(filepath.Join(tree, "WHO"), "REF"),
		"REF >"+filepath.Join(tree, "WHO"), "s3://terraform-state/tree/${var.unit}/terraform.tfstate >"+tree+"/${var.unit}", 1))
	r.env["TG_TF_PATH"] = r.engineName()
	all := []string{"run", "--all", "--non-interactive", "--no-color", "--", "apply", "-auto-approve"}
	for _, refs := range [][]string{nil, {"s3://terraform-state/tree/one/terraform.tfstate"}} {
		args := append(append(append([]string{"run"}, refs...), "--", terragrunt), all...)
		want(t, "run --all", r.run(tree, binary, args...), 0, "two/terraform.tfstate is locked for")
		for _, unit := range units {
			r.wantHeld(unit, filepath.Join(tree, unit))
		}
	}
	r.must(r.home, binary, "lock", "s3://terraform-state/tree/two/terraform.tfstate")
	held := r.run(tree, binary, append([]string{"run", "--", terragrunt}, all...)...)
	if held.code == 0 || !strings.Contains(held.stdout+held.stderr, "state is locked: s3://terraform-state/tree/two/terraform.tfstate") {
		t.Errorf("a unit that somebody else holds: %v", held)
	}
	if who, err := os.ReadFile(filepath.Join(tree, "two", "who")); err == nil {
		t.Errorf("two was applied under somebody else's lock: %s", who)
	}
}
