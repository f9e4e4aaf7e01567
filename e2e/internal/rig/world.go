package rig

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// World is a temporary home with an environment that knows nothing of the machine's own credentials.
type World struct {
	T    testing.TB
	Home string
	Env  map[string]string
}

// seeSources lets 'go test' know what the program is made of: it would call a result still true although that has
// changed.
var seeSources = sync.OnceValue(func() error {
	return filepath.WalkDir(Root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == ".git" {
			return filepath.SkipDir
		}
		if err == nil && !d.IsDir() && !strings.HasSuffix(path, "_test.go") {
			_, err = os.Stat(path)
		}
		return err
	})
})

// NewWorld makes a world that is removed when the test ends.
func NewWorld(tb testing.TB) *World {
	tb.Helper()
	if err := seeSources(); err != nil {
		tb.Fatal(err)
	}
	w := &World{T: tb, Home: tb.TempDir(), Env: map[string]string{}}
	rc := filepath.Join(w.Home, "terraformrc")
	w.Write(rc, "disable_checkpoint = true\n")
	for k, v := range map[string]string{
		"HOME": w.Home, "PATH": os.Getenv("PATH"), "TMPDIR": os.TempDir(),
		"TF_CLI_CONFIG_FILE": rc, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1",
		"STATELATCH_PROBE":          "off", // its requests would be among those that tests count
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_PAGER": "", "AWS_REGION": "us-east-1",
		"AWS_CONFIG_FILE": filepath.Join(w.Home, "aws-config"),
	} {
		w.Env[k] = v
	}
	// pyenv's shims, where the aws command is one, find their interpreters by this.
	if root := os.Getenv("PYENV_ROOT"); root != "" {
		w.Env["PYENV_ROOT"] = root
	}
	return w
}

// Write writes a file that only its owner reads.
func (w *World) Write(path, content string) {
	w.T.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		w.T.Fatal(err)
	}
}

// File writes a file in the world's home and returns its path.
func (w *World) File(name, content string) string {
	w.T.Helper()
	path := filepath.Join(w.Home, name)
	w.Write(path, content)
	return path
}

// Run runs a program to its end, with nothing on its standard input.
func (w *World) Run(dir, program string, args ...string) Result {
	w.T.Helper()
	p := w.Start(dir, program, args...)
	_ = p.In.Close()
	return p.Wait()
}

// Must is Run that demands success.
func (w *World) Must(dir, program string, args ...string) Result {
	w.T.Helper()
	r := w.Run(dir, program, args...)
	if r.Code != 0 {
		w.T.Fatalf("%s %s: %v", filepath.Base(program), strings.Join(args, " "), r)
	}
	return r
}

// Statelatch runs the program under test.
func (w *World) Statelatch(args ...string) Result {
	w.T.Helper()
	return w.Run(w.Home, Binary, args...)
}

// Project writes a Terraform configuration around a backend block. Its one resource has no provider to fetch.
func (w *World) Project(block string) string {
	w.T.Helper()
	dir, err := os.MkdirTemp(w.Home, "project-")
	if err != nil {
		w.T.Fatal(err)
	}
	w.Write(filepath.Join(dir, "main.tf"), block+`
variable "value" { default = "a" }
variable "chunks" { default = 1 }
locals { chunk = join("", [for i in range(512) : "0123456789abcdef"]) } # 8 KiB
resource "terraform_data" "x" { input = { value = var.value, bulk = [for i in range(var.chunks) : local.chunk] } }
output "value" { value = terraform_data.x.output.value }
`)
	return dir
}
