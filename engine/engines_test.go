package engine

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/backendconf"
)

// eachEngine runs a test with every engine that is installed.
func eachEngine(t *testing.T, test func(e *installed)) {
	t.Helper()
	for _, name := range Names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program, err := exec.LookPath(name)
			switch {
			case err != nil && name == "terraform" && os.Getenv("CI") == "true":
				t.Fatalf("%s is not installed, and this is CI", name)
			case err != nil:
				t.Skipf("%s is not installed", name)
			}
			test(&installed{t: t, name: name, program: program, dir: t.TempDir(), env: append(
				os.Environ(), "TF_CLI_CONFIG_FILE="+os.DevNull, "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1",
			)})
		})
	}
}

// installed is a real engine and a directory for it.
type installed struct {
	t                  *testing.T
	name, program, dir string
	env                []string
}

func (e *installed) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(e.t.Context(), e.program, args...)
	cmd.Dir, cmd.Env = e.dir, e.env
	return cmd
}

func (e *installed) must(args ...string) {
	e.t.Helper()
	if out, err := e.command(args...).CombinedOutput(); err != nil {
		e.t.Fatalf("%q: %v: %s", args, err, out)
	}
}

func (e *installed) configure(more string) {
	e.t.Helper()
	if err := os.WriteFile(filepath.Join(e.dir, "main.tf"), []byte(`
variable "value" { default = "a" }
resource "terraform_data" "a" { input = var.value }
resource "terraform_data" "b" {}
output "value" { value = terraform_data.a.output }
`+more), 0o600); err != nil {
		e.t.Fatal(err)
	}
	e.must("init", "-input=false")
}

// hold leaves an apply waiting at its prompt, with the lock.
func (e *installed) hold() {
	e.t.Helper()
	cmd := e.command("apply", "-no-color", "-var=value=b")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "Only 'yes' will be accepted") {
			return
		}
	}
	e.t.Fatal("the apply never asked")
}

// Which subcommands take a lock is proven here: each meets the one that is held, and does not without it.
func TestCall_Engines(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(e *installed) {
		t := e.t
		e.configure("")
		e.must("apply", "-auto-approve")
		e.hold()
		run := func(args []string) (refused bool, out string, err error) {
			text, err := e.command(args...).CombinedOutput()
			return strings.Contains(string(text), "Error acquiring the state lock"), string(text), err
		}
		e.env = append(e.env, "TF_CLI_ARGS_apply=-lock=true -no-color", "TF_CLI_ARGS=-lock=true")
		for _, line := range []string{ // in an order in which each finds what it needs
			"plan", "plan -lock", "apply -auto-approve", "refresh", "taint terraform_data.a", "untaint terraform_data.a",
			"state mv terraform_data.a terraform_data.c", "state mv terraform_data.c terraform_data.a",
			"state replace-provider -auto-approve hashicorp/null hashicorp/other", "state push terraform.tfstate",
			"state rm terraform_data.b", "import terraform_data.b an-id", "destroy -auto-approve",
		} {
			e.env[len(e.env)-1] = "TF_CLI_ARGS=-lock=true"
			args := strings.Fields(line)
			call := Parse(e.name, args, noEnv)
			if kind := call.Locking(); kind != Reads && kind != Writes {
				t.Errorf("%s: got %d, want Reads or Writes", line, kind)
			}
			if refused, out, _ := run(args); !refused {
				t.Errorf("%s: it meets no lock: %s", line, out)
			}
			if refused, out, err := run(call.WithoutLock()); refused || err != nil {
				t.Errorf("%s without its lock: %v: %s", line, err, out)
			}
		}
		e.env[len(e.env)-1] = "TF_CLI_ARGS="
		for _, line := range []string{
			"init -input=false", "workspace new one", "workspace select default", "state list", "state pull", "workspace list",
			"workspace show", "output", "show", "graph", "validate", "get", "providers", "providers schema -json", "version", "fmt", "test",
			"workspace select -or-create three",
		} {
			args := strings.Fields(line)
			if kind := Parse(e.name, args, noEnv).Locking(); kind != Unlocked && kind != Moves {
				t.Errorf("%s: got %d, want Unlocked or Moves", line, kind)
			}
			if refused, out, err := run(args); refused || err != nil {
				t.Errorf("%s: %v: %s", line, err, out)
			}
		}
		if refused, out, err := run(Parse(e.name, strings.Fields("workspace delete one"), noEnv).WithoutLock()); refused || err != nil {
			t.Errorf("workspace delete: %v: %s", err, out)
		}
	})
}

// What a saved plan says of its backend is read as the engines wrote it, with types, nulls and secrets.
func TestReadPlan_Engines(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(e *installed) {
		t := e.t
		e.configure(`
terraform {
  backend "local" {
    path = "elsewhere/a.tfstate"
  }
}`)
		e.must("workspace", "new", "ws")
		e.must("plan", "-out=p")
		got, err := readPlan(filepath.Join(e.dir, "p"))
		if err != nil || got.kind != "local" || got.workspace != "ws" || got.args["path"] != "elsewhere/a.tfstate" {
			t.Errorf("got %+v, %v", got, err)
		}
		if _, err := Parse(e.name, []string{"apply", "p"}, noEnv).State(e.dir, noEnv); !backendconf.IsElsewhere(err) || !errors.Is(err, ErrUnsure) {
			t.Errorf("got %v, want that it is elsewhere", err)
		}
	})
}

func TestReadPlan_Damaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "", "text": "{\"meta\":{}}", "zip": "PK\x03\x04 and no more"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Parse("tofu", []string{"apply", path}, noEnv).State(dir, noEnv)
		if !errors.Is(err, ErrPlan) || !errors.Is(err, ErrUnsure) {
			t.Errorf("%s: got %v, want ErrPlan", name, err)
		}
	}
	for _, message := range []string{"\xff", "\x6a\xff", "\x6a\x05ab", "\x6b"} {
		if _, err := field([]byte(message), fieldPlanBackend); err == nil {
			t.Errorf("%q: no error", message)
		}
	}
}

func FuzzField(f *testing.F) {
	f.Add([]byte("\x6a\x02ab"))
	f.Fuzz(func(_ *testing.T, message []byte) {
		value, _ := field(message, fieldPlanBackend)
		_, _ = unpack(value)
	})
}
