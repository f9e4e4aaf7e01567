package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const unitRoot = `remote_state {
  backend = "s3"
  config = {
    bucket       = "demo"
    key          = "${path_relative_to_include()}/terraform.tfstate"
    region       = "us-east-1"
    use_lockfile = true
  }
}
`

func writeFiles(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestUnit_CommandsFindItsState(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	dir := writeFiles(t, map[string]string{
		"root.hcl":                  unitRoot,
		"live/app/terragrunt.hcl":   "include \"root\" {\n  path = find_in_parent_folders(\"root.hcl\")\n}\n",
		"live/terragrunt.stack.hcl": "",
	})
	unit := filepath.Join(dir, "live", "app")
	s.want(s.run("lock", "-chdir", unit), 0, "Locked s3://demo/live/app/terraform.tfstate")
	s.want(s.run("status", "-chdir", unit), 11, "s3://demo/live/app/terraform.tfstate", "locked by you")
	s.want(s.run("unlock", "-chdir", unit), 0)
	s.want(s.run(append(append([]string{"run", "-chdir", unit}, s.flags...), "--", "sh", "-c", "exit 3", "sh")...), 3)
	s.want(s.run("history", "-chdir", unit), 10, "s3://demo/live/app/terraform.tfstate")
	s.want(s.run("locks", "-chdir", unit), 0, "s3://demo")
	s.want(s.run("policy", "-role", "plan", "-chdir", unit), 0, "live/app/terraform.tfstate")
	s.env["TF_WORKSPACE"] = "dev"
	s.want(s.run("status", "-chdir", unit), 0, "s3://demo/env:/dev/live/app/terraform.tfstate")
	s.want(s.run("status", "-chdir", filepath.Join(dir, "live")), 2, "stack", ".terragrunt-stack")
}

// Not known is said, with the reason and its place, and nothing is sent.
func TestUnit_NotKnown(t *testing.T) {
	s := newShell(t).withStore()
	t.Setenv("PATH", t.TempDir())
	dir := writeFiles(t, map[string]string{"terragrunt.hcl": strings.Replace(unitRoot, `"demo"`, `run_cmd("./bucket.sh")`, 1)})
	s.want(s.run("status", "-chdir", dir), 2, "the backend's bucket is not known", "run_cmd at terragrunt.hcl:4", "s3://BUCKET/KEY")
	s.want(s.run("status", "-chdir", dir, "-backend-config", "bucket=demo"), 0, "s3://demo/./terraform.tfstate is not locked")
}
