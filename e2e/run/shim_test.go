package run

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// second makes another root beside the Workdir's, whose state is at the key second/terraform.tfstate, and returns its
// directory and REF.
func second(r *rig.Workdir, name string) (dir, ref string) {
	r.T.Helper()
	key := name + "/terraform.tfstate"
	dir = r.Project(strings.Replace(r.Server.Block, "example/terraform.tfstate", key, 1))
	r.Must(dir, r.Terraform, "init", "-input=false", "-no-color")
	return dir, "s3://terraform-state/" + key
}

// engineName is what scripts call the engine.
func engineName(r *rig.Workdir) string { return filepath.Base(r.Terraform) }

const applyLine = " apply -input=false -no-color -auto-approve"

// whoHolds is a provisioner that asks, in the middle of an apply, who holds the state.
func whoHolds(dir, ref string) string {
	return fmt.Sprintf(`
resource "terraform_data" "who" {
  triggers_replace = timestamp()
  provisioner "local-exec" { command = "%s status %s >%s/who 2>&1 || true" }
}
`, rig.Binary, ref, dir)
}

// wantHeld demands that the last apply in dir ran under a lock with a lease.
func wantHeld(r *rig.Workdir, what, dir string) {
	r.T.Helper()
	who, err := os.ReadFile(filepath.Join(dir, "who"))
	_ = os.Remove(filepath.Join(dir, "who"))
	if err != nil || !strings.Contains(string(who), "lease of") {
		r.T.Errorf("%s: the apply ran without the lock: %s, %v", what, who, err)
	}
}

// The engine's own lock is off only where its own state is held, whatever the command is and wherever the engine works.
func TestShim_StateOfTheCall(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	other, otherRef := second(r, "other")
	r.Write(filepath.Join(other, "who.tf"), whoHolds(other, otherRef))
	inOther := "cd " + other + " && " + engineName(r) + applyLine

	// A REF that is not the engine's: nothing runs.
	wrong := r.Run(other, rig.Binary, append([]string{"run", r.Ref, "--", engineName(r)}, rig.Apply...)...)
	rig.Want(t, "another state's REF", wrong, 2, otherRef, r.Ref)
	rig.Want(t, "a typo", r.Run(other, rig.Binary, append([]string{"run", "s3://terraform-state/typo", "--", r.Terraform}, rig.Apply...)...), 2, otherRef)
	rig.Want(t, "another plan", r.Run(r.Dir, rig.Binary, "run", r.Ref, "--", engineName(r), "-chdir="+other, "plan"), 2, otherRef)

	// An engine below the command, in another directory: its state is locked on demand.
	rig.Want(t, "below sh", r.Run(r.Dir, rig.Binary, "run", "--", "sh", "-c", inOther), 0, "Apply complete!", otherRef+" is locked for")
	wantHeld(r, "below sh", other)
	rig.Want(t, "below sh, with a REF", r.Statelatch("run", r.Ref, "--", "sh", "-c", inOther), 0, "Apply complete!")
	wantHeld(r, "below sh, with a REF", other)
	rig.Want(t, "without any state", r.Statelatch("run", "--", "sh", "-c", inOther), 0, "Apply complete!", "nothing is locked yet")
	wantHeld(r, "without any state", other)
	rig.Want(t, "nothing at all", r.Statelatch("run", "--", "true"), 0, "nothing was locked")

	// Somebody else holds it: the engine does not start, and nobody's lock is touched.
	r.Must(r.Home, rig.Binary, "lock", otherRef)
	refused := r.Run(r.Dir, rig.Binary, "run", "--", "sh", "-c", inOther)
	rig.Want(t, "held by somebody else", refused, 11, "Lock Info:")
	if strings.Contains(refused.Stdout, "Apply complete!") {
		t.Errorf("it was applied under somebody else's lock: %v", refused)
	}
	rig.Want(t, "still held", r.Statelatch("status", otherRef), 11)
	waiting := r.Start(r.Dir, rig.Binary, "run", "--", "sh", "-c", inOther+" -lock-timeout=5m")
	waiting.WaitFor("Waiting up to 5m")
	r.Must(r.Home, rig.Binary, "unlock", otherRef)
	rig.Want(t, "the engine's own timeout", waiting.Wait(), 0, "Apply complete!")
	wantHeld(r, "the engine's own timeout", other)

	// Started by its path, without a PATH, or with one of its own: it keeps its lock, and stops at ours.
	mine := "cd " + r.Dir + " && "
	for name, line := range map[string]string{
		"by its path": mine + r.Terraform + applyLine,
		"own PATH":    mine + "PATH=" + filepath.Dir(r.Terraform) + ":/usr/bin:/bin " + engineName(r) + applyLine,
	} {
		rig.Want(t, name, r.Statelatch("run", r.Ref, "--", "sh", "-c", line), 1, "Error acquiring the state lock", "run sh")
	}
	// Nothing of the environment is needed but the PATH.
	keep := "env -i HOME=$HOME PATH=$PATH AWS_REGION=$AWS_REGION AWS_SHARED_CREDENTIALS_FILE=$AWS_SHARED_CREDENTIALS_FILE AWS_PROFILE=$AWS_PROFILE " +
		"AWS_CONFIG_FILE=$AWS_CONFIG_FILE AWS_ENDPOINT_URL_S3=$AWS_ENDPOINT_URL_S3 AWS_EC2_METADATA_DISABLED=true "
	rig.Want(t, "an empty environment", r.Statelatch("run", r.Ref, "--", "sh", "-c", mine+keep+engineName(r)+applyLine), 0, "Apply complete!")
	rig.Want(t, "-lock=true", r.Statelatch("run", r.Ref, "--", "sh", "-c", mine+engineName(r)+applyLine+" -lock=true"), 0, "Apply complete!")
	r.WantFree()
	rig.Want(t, "free", r.Statelatch("status", otherRef), 0)
}

// A saved plan is applied to the state that it was made for, in whatever directory.
func TestShim_SavedPlan(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	other, otherRef := second(r, "other")
	plan := filepath.Join(other, "saved.plan")
	r.Must(other, r.Terraform, "plan", "-input=false", "-no-color", "-out="+plan)
	rig.Want(t, "with the directory's REF", r.Run(r.Dir, rig.Binary, "run", r.Ref, "--", engineName(r), "apply", plan), 2, otherRef)
	r.Must(r.Home, rig.Binary, "lock", otherRef)
	rig.Want(t, "held", r.Run(r.Dir, rig.Binary, "run", "--", engineName(r), "apply", "-no-color", plan), 11, "Lock Info:")
	rig.Want(t, "held, below sh", r.Run(r.Dir, rig.Binary, "run", "--", "sh", "-c", engineName(r)+" apply -no-color "+plan), 11, "Lock Info:")
	r.Must(r.Home, rig.Binary, "unlock", otherRef)
	rig.Want(t, "free", r.Run(r.Dir, rig.Binary, "run", "--", "sh", "-c", engineName(r)+" apply -no-color "+plan), 0, "Apply complete!", otherRef+" is locked for")
	stranger := []string{"run", "-expected-bucket-owner", "999999999999", "--"}
	for _, command := range [][]string{{engineName(r), "apply", "-no-color", plan}, {"sh", "-c", engineName(r) + " apply -no-color " + plan}} {
		rig.Want(t, "another account's bucket", r.Run(other, rig.Binary, append(stranger, command...)...), 14, "another account")
	}
	// Terraform applies it to the workspace that is selected, whichever it was made in.
	r.Must(other, r.Terraform, "workspace", "new", "blue")
	r.Must(other, r.Terraform, "plan", "-input=false", "-no-color", "-out="+plan)
	r.Must(other, r.Terraform, "workspace", "select", "default")
	r.Must(r.Home, rig.Binary, "lock", otherRef)
	for _, command := range [][]string{{engineName(r), "apply", "-no-color", plan}, {"sh", "-c", engineName(r) + " apply -no-color " + plan}} {
		rig.Want(t, "another workspace's plan", r.Run(other, rig.Binary, append([]string{"run", "s3://terraform-state/env:/blue/other/terraform.tfstate", "--"}, command...)...),
			1, "keeps its own lock", "Error acquiring the state lock")
	}
	r.Must(r.Home, rig.Binary, "unlock", otherRef)
	garbled := r.File("garbled.plan", "{\"meta\":{},\"encrypted_data\":\"\"}")
	rig.Want(t, "a plan that nobody can read", r.Run(r.Dir, rig.Binary, "run", "--", engineName(r), "apply", "-no-color", garbled), 1, "keeps its own lock")
	r.WantFree()
}

// Two stores can have a bucket of the same name: the lock in one is none in the other.
func TestShim_OtherStore(t *testing.T) {
	t.Parallel()
	r, other := rig.NewWorkdir(t, ""), rig.NewWorkdir(t, "")
	other.Must(other.Home, rig.Binary, "lock", other.Ref)
	line := "cd " + other.Dir + " && env"
	for name, value := range other.Env {
		if strings.HasPrefix(name, "AWS_") {
			line += " " + name + "='" + value + "'"
		}
	}
	line += " " + engineName(r) + applyLine
	rig.Want(t, "held in the other store", r.Statelatch("run", r.Ref, "--", "sh", "-c", line), 1, "another store", "Error acquiring the state lock")
	nested := []string{"run", r.Ref, "--", rig.Binary, "run", "s3://terraform-state/mutex", "--", "sh", "-c", line}
	rig.Want(t, "below a run in a run", r.Statelatch(nested...), 11, "Lock Info:")
	other.Must(other.Home, rig.Binary, "unlock", other.Ref)
	rig.Want(t, "below a run in a run, when it is free there", r.Statelatch(nested...), 0, "Apply complete!", "is locked for")
	r.WantFree()
}

// A relative -chdir in a directory that is reached through a symbolic link means what the system makes of it.
func TestShim_SymbolicLink(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	other, otherRef := second(r, "other")
	away := t.TempDir()
	link := filepath.Join(away, "link")
	if err := os.Symlink(r.Dir, link); err != nil {
		t.Fatal(err)
	}
	// What the same words would mean as text: a root whose state is r's.
	decoy := filepath.Join(away, filepath.Base(other))
	if err := os.CopyFS(decoy, os.DirFS(r.Dir)); err != nil {
		t.Fatal(err)
	}
	r.Must(r.Home, rig.Binary, "lock", otherRef)
	line := "cd " + link + " && " + engineName(r) + " -chdir=../" + filepath.Base(other) + applyLine
	rig.Want(t, "held", r.Statelatch("run", r.Ref, "--", "sh", "-c", line), 11, "Lock Info:", otherRef)
}

// The first init moves a local state to the default workspace, whichever is selected.
func TestShim_InitOfWorkspace(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	dir := filepath.Join(r.Home, "local")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.Write(filepath.Join(dir, "main.tf"), `resource "terraform_data" "local" {}`)
	r.Must(dir, r.Terraform, "init", "-input=false", "-no-color")
	r.Must(dir, r.Terraform, rig.Apply...)
	r.Write(filepath.Join(dir, "backend.tf"), strings.Replace(r.Server.Block, "example/terraform.tfstate", rig.StateKey, 1))
	r.Must(r.Home, rig.Binary, "lock", r.Ref)
	line := "cd " + dir + " && TF_WORKSPACE=blue " + engineName(r) + " init -no-color -input=false -force-copy"
	rig.Want(t, "init", r.Statelatch("run", "s3://terraform-state/env:/blue/"+rig.StateKey, "--", "sh", "-c", line), 1, "Error acquiring the state lock")
	rig.Want(t, "nothing moved", r.Statelatch("pull", r.Ref), 10)
}

// An engine that left the command's group is waited for: its own lock is off.
func TestShim_Setsid(t *testing.T) {
	t.Parallel()
	rig.Need(t, "setsid")
	r := rig.NewWorkdir(t, "")
	fifo := filepath.Join(r.Home, "fifo")
	r.Must(r.Home, "mkfifo", fifo)
	r.Write(filepath.Join(r.Dir, "slow.tf"), `
resource "terraform_data" "slow" {
  provisioner "local-exec" { command = "echo x >`+fifo+`; cat `+fifo+`" }
}
`)
	p := r.Start(r.Home, rig.Binary, "run", "--", "sh", "-c", "cd "+r.Dir+" && setsid "+engineName(r)+applyLine+" & cat "+fifo)
	p.WaitFor("waiting for an engine that it left behind")
	rig.Want(t, "meanwhile", r.Statelatch("status", r.Ref), 11)
	r.Must(r.Home, "sh", "-c", "echo y >"+fifo)
	rig.Want(t, "run", p.Wait(), 0, "Apply complete!")
	r.WantFree()
}

// Workspaces and data directories are the call's own.
func TestShim_Workspaces(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	name := engineName(r)
	lines := strings.Join([]string{
		"set -e", "cd " + r.Dir, name + " workspace new blue", name + applyLine, "TF_WORKSPACE=default " + name + applyLine,
		name + " workspace select default", name + " workspace new gone", name + " workspace select default", name + " workspace delete gone",
		"export TF_DATA_DIR=data", name + " init -input=false -no-color", name + applyLine,
	}, "\n")
	done := r.Statelatch("run", "--", "sh", "-c", lines)
	rig.Want(t, "run", done, 0, "s3://terraform-state/env:/blue/"+rig.StateKey+" is locked for", r.Ref+" is locked for")
	rig.Want(t, "blue", r.Statelatch("pull", "s3://terraform-state/env:/blue/"+rig.StateKey), 0, "terraform_data")
	rig.Want(t, "locks", r.Statelatch("locks", "s3://terraform-state"), 0)
	// A workspace without a state: the first engine would lock it by itself (B18).
	r.Env["TF_WORKSPACE"] = "fresh"
	rig.Want(t, "fresh", r.Run(r.Dir, rig.Binary, "run", "s3://terraform-state/some/key", "--", "sh", "-c", name+applyLine), 0, "Apply complete!")
	r.WantFree()
}

// Under -read plans lock nothing, and what is compared is what was read.
func TestShim_Read(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	other, otherRef := second(r, "other")
	r.Must(other, r.Terraform, rig.Apply...)
	r.Must(r.Home, rig.Binary, "lock", otherRef)
	plan := "cd " + other + " && " + engineName(r) + " plan -input=false -no-color -detailed-exitcode"
	rig.Want(t, "plan", r.Run(r.Dir, rig.Binary, "run", "-read", "--", "sh", "-c", plan), 0, "No changes")
	rig.Want(t, "apply", r.Run(r.Dir, rig.Binary, "run", "-read", "--", "sh", "-c", "cd "+other+" && "+engineName(r)+applyLine), 1, "Error acquiring the state lock")
	r.Must(r.Home, rig.Binary, "unlock", otherRef)
	moved := r.Run(r.Dir, rig.Binary, "run", "-read", "--", "sh", "-c", plan+" && "+r.Terraform+applyLine+" -var value=c")
	rig.Want(t, "moved", moved, 15, otherRef)
}

// Programs that stand between a name and an engine: a wrapper script in the PATH that starts another file
// (setup-terraform), shims that go by their own name (mise, asdf), that start the real one by its path (tfenv, tenv),
// and make.
func TestShim_Between(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	r.Write(filepath.Join(r.Dir, "who.tf"), whoHolds(r.Dir, r.Ref))
	name := engineName(r)
	tools := filepath.Join(r.Home, "tools")
	if err := os.Mkdir(tools, 0o755); err != nil {
		t.Fatal(err)
	}
	path := r.Env["PATH"]
	for what, wrapper := range map[string]string{
		"setup-terraform": `exec "$(dirname "$0")/` + name + `-bin" "$@"`,
		"by its name":     `case "$0" in */` + name + `) exec ` + r.Terraform + ` "$@";; *) echo "called as $0"; exit 1;; esac`,
		"PATH again":      `PATH=$(echo "$PATH" | sed "s#` + tools + `:##g"); exec ` + name + ` "$@"`,
	} {
		if err := os.WriteFile(filepath.Join(tools, name), []byte("#!/bin/sh\n"+wrapper+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		_ = os.Symlink(r.Terraform, filepath.Join(tools, name+"-bin"))
		r.Env["PATH"] = tools + ":" + path
		rig.Want(t, what, r.Run(r.Dir, rig.Binary, append([]string{"run", "--", name}, rig.Apply...)...), 0, "Apply complete!")
		wantHeld(r, what, r.Dir)
		rig.Want(t, what+", below sh", r.Statelatch("run", "--", "sh", "-c", "cd "+r.Dir+" && "+name+applyLine), 0, "Apply complete!")
		wantHeld(r, what+", below sh", r.Dir)
	}
	// One that finds itself for ever ends.
	if err := os.WriteFile(filepath.Join(tools, name), []byte("#!/bin/sh\nexec "+name+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	rig.Want(t, "endless", r.Statelatch("run", "--", "sh", "-c", "cd "+r.Dir+" && "+name+applyLine), 126, "finds no end")
	r.Env["PATH"] = path
	if _, err := exec.LookPath("make"); err == nil {
		r.File("Makefile", "all:\n\tcd "+r.Dir+" && "+name+applyLine+"\n")
		rig.Want(t, "make", r.Statelatch("run", "--", "make", "-s", "all"), 0, "Apply complete!")
		wantHeld(r, "make", r.Dir)
	}
	r.WantFree()
}

// A run in a run: what the outer one holds, also since an engine needed it, is held for the inner one's engines, and
// nobody waits for himself.
func TestShim_Nested(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	other, otherRef := second(r, "other")
	inOther := "cd " + other + " && "
	nested := r.Run(r.Dir, rig.Binary, "run", "--", rig.Binary, "run", "s3://terraform-state/mutex", "--", "sh", "-c", engineName(r)+applyLine+" && "+inOther+engineName(r)+applyLine)
	rig.Want(t, "nested", nested, 0, "Apply complete!", otherRef+" is locked for")
	twice := r.Run(r.Dir, rig.Binary, "run", "--", "sh", "-c", inOther+engineName(r)+applyLine+" && "+rig.Binary+" run -- "+engineName(r)+applyLine)
	rig.Want(t, "the state of an engine before", twice, 2, "leave out the inner one")
	r.WantFree()
	rig.Want(t, "free", r.Statelatch("status", otherRef), 0)
}

// An engine without a run above it any more has its own lock.
func TestShim_RunIsGone(t *testing.T) {
	t.Parallel()
	r := rig.NewWorkdir(t, "")
	left := filepath.Join(r.Home, "path")
	rig.Want(t, "run", r.Statelatch("run", r.Ref, "--", "sh", "-c", "echo \"$PATH\" >"+left), 0)
	path, err := os.ReadFile(left)
	if err != nil {
		t.Fatal(err)
	}
	r.Must(r.Home, rig.Binary, "lock", r.Ref)
	r.Env["PATH"] = strings.TrimSpace(string(path))
	rig.Want(t, "later", r.Run(r.Dir, "sh", "-c", engineName(r)+applyLine), 1, "Error acquiring the state lock")
	if dir := filepath.Dir(strings.SplitN(r.Env["PATH"], ":", 2)[0]); !strings.Contains(dir, "statelatch-run-") {
		t.Fatalf("the first in the PATH is %s", dir)
	} else if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is left behind: %v", dir, err)
	}
}

// terragrunt starts an engine for each unit, several at a time: each unit's state is held when it is applied.
func TestShim_Terragrunt(t *testing.T) {
	t.Parallel()
	terragrunt := rig.Need(t, "terragrunt")
	r := rig.NewWorkdir(t, "")
	tree := filepath.Join(r.Home, "tree")
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
	config := strings.NewReplacer("terraform {\n  backend \"s3\" {", "config = {", "example/", "tree/${path_relative_to_include()}/").Replace(r.Server.Block)
	r.Write(filepath.Join(tree, "root.hcl"), "remote_state {\n  backend = \"s3\"\n  generate = {\n    path      = \"backend.tf\"\n    if_exists = \"overwrite\"\n  }\n"+config)
	for _, unit := range units {
		r.Write(filepath.Join(tree, unit, "terragrunt.hcl"), `
include "root" { path = find_in_parent_folders("root.hcl") }
terraform { source = "../module" }
inputs = { unit = "`+unit+`" }
`)
	}
	r.Write(filepath.Join(tree, "module", "main.tf"), `variable "unit" {}`+strings.Replace(whoHolds(filepath.Join(tree, "WHO"), "REF"),
		"REF >"+filepath.Join(tree, "WHO"), "s3://terraform-state/tree/${var.unit}/terraform.tfstate >"+tree+"/${var.unit}", 1))
	r.Env["TG_TF_PATH"] = engineName(r)
	all := []string{"run", "--all", "--non-interactive", "--no-color", "--", "apply", "-auto-approve"}
	for _, refs := range [][]string{nil, {"s3://terraform-state/tree/one/terraform.tfstate"}} {
		args := append(append(append([]string{"run"}, refs...), "--", terragrunt), all...)
		rig.Want(t, "run --all", r.Run(tree, rig.Binary, args...), 0, "two/terraform.tfstate is locked for")
		for _, unit := range units {
			wantHeld(r, unit, filepath.Join(tree, unit))
		}
	}
	r.Must(r.Home, rig.Binary, "lock", "s3://terraform-state/tree/two/terraform.tfstate")
	held := r.Run(tree, rig.Binary, append([]string{"run", "--", terragrunt}, all...)...)
	if held.Code == 0 || !strings.Contains(held.Stdout+held.Stderr, "state is locked: s3://terraform-state/tree/two/terraform.tfstate") {
		t.Errorf("a unit that somebody else holds: %v", held)
	}
	if who, err := os.ReadFile(filepath.Join(tree, "two", "who")); err == nil {
		t.Errorf("two was applied under somebody else's lock: %s", who)
	}
}
