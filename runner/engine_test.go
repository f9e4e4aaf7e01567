//go:build unix

package runner

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// eachEngine runs a test with every engine that is installed.
func eachEngine(t *testing.T, test func(e *engine)) {
	t.Helper()
	for _, name := range []string{"terraform", "tofu"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program, err := exec.LookPath(name)
			if err != nil {
				t.Skipf("%s is not installed", name)
			}
			test(&engine{t: t, program: program, dir: t.TempDir(), env: append(
				os.Environ(), "TF_CLI_CONFIG_FILE="+os.DevNull, "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1",
			)})
		})
	}
}

// engine is a directory to run an engine in.
type engine struct {
	t       *testing.T
	program string
	dir     string
	env     []string
}

func (e *engine) write(config string) {
	e.t.Helper()
	if err := os.WriteFile(filepath.Join(e.dir, "main.tf"), []byte(config), 0o600); err != nil {
		e.t.Fatal(err)
	}
}

// run runs a subcommand under Run with env and returns its exit code and its output.
func (e *engine) run(env []string, args ...string) (int, string) {
	e.t.Helper()
	var out bytes.Buffer
	cmd := Command{Args: append([]string{e.program}, args...), Dir: e.dir, Env: env, Stdout: &out, Stderr: &out}
	result, err := Run(e.t.Context(), cmd, newLease(noEnd), nil)
	if err != nil {
		e.t.Fatal(err)
	}
	return result.ExitCode, out.String()
}

func (e *engine) must(env []string, args ...string) {
	e.t.Helper()
	if code, out := e.run(env, args...); code != 0 {
		e.t.Fatalf("%q: exit code %d: %s", args, code, out)
	}
}

const twoResources = `
variable "value" { default = "a" }
resource "terraform_data" "a" { input = var.value }
resource "terraform_data" "b" {}
output "value" { value = terraform_data.a.output }
`

// Terraform gets one interrupt, also through a shell and make, saves its state, and Run waits for that.
func TestRun_B15_B27_Engine_InterruptedApplySavesItsState(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(e *engine) {
		t := e.t
		e.write(`
resource "terraform_data" "first" {}
resource "terraform_data" "slow" {
  depends_on = [terraform_data.first]
  provisioner "local-exec" { command = "trap '' INT TERM; echo has started; read line < ` + filepath.Join(e.dir, "fifo") + `" }
}`)
		if err := unix.Mkfifo(filepath.Join(e.dir, "fifo"), 0o600); err != nil {
			t.Fatal(err)
		}
		e.must(e.env, "init", "-input=false")
		for _, wrapped := range [][]string{
			{e.program, "apply", "-auto-approve", "-no-color"},
			{"sh", "-c", `"$0" apply -auto-approve -no-color; exit $?`, e.program},
			{"make", "-s", "-f", "-", "ENGINE=" + e.program},
		} {
			if _, err := exec.LookPath(wrapped[0]); err != nil {
				continue
			}
			state := filepath.Join(e.dir, "terraform.tfstate")
			_ = os.Remove(state)
			fifo, err := os.OpenFile(filepath.Join(e.dir, "fifo"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			stdin, in := pipe(t)
			fmt.Fprint(in, "all:\n\t$(ENGINE) apply -auto-approve -no-color\n")
			_ = in.Close()
			r, out := pipe(t)
			tr := newTranscript(t, r)
			signals, done := make(chan os.Signal), make(chan Result, 1)
			go func() {
				result, err := Run(t.Context(), Command{Args: wrapped, Dir: e.dir, Env: e.env, Stdin: stdin, Stdout: out, Stderr: out}, newLease(noEnd), signals)
				if err != nil {
					t.Error(err)
				}
				_ = out.Close()
				done <- result
			}()
			tr.wait("(local-exec): has started")
			signals <- unix.SIGTERM
			tr.wait("Stopping operation")
			// The engine saves now what it has; only then may the provisioner end.
			waitForState(t, state, `"name": "first"`)
			_, _ = fifo.WriteString("go\n")
			result := <-done
			_ = fifo.Close()
			if result.Killed || result.Leftover {
				t.Errorf("%q: got %+v: %q", wrapped, result, tr.seen)
			}
			if got := tr.count("Interrupt received"); got != 1 || strings.Contains(strings.Join(tr.seen, "\n"), "Two interrupts") {
				t.Errorf("%q: got %d interrupts, want 1: %q", wrapped, got, tr.seen)
			}
			// Tofu 1.12.6-dev, run by hand with its own lock, sometimes leaves an empty local state and exit code 0
			// here (4 of 160 interrupted applies; terraform 1.11.4: 0 of 160), so for tofu only what it saved above is
			// asked for.
			if filepath.Base(e.program) == "terraform" && !stateHas(state, `"name": "slow"`) {
				t.Errorf("%q: the state was not saved before Run returned: %q", wrapped, tr.seen)
			}
		}
	})
}

func waitForState(t *testing.T, path, text string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for timeout := time.After(patience); !stateHas(path, text); {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("the state never had %q", text)
		}
	}
}

// stateHas reports whether the state is all there, with text in it.
func stateHas(path, text string) bool {
	content, err := os.ReadFile(path)
	return err == nil && json.Valid(content) && bytes.Contains(content, []byte(text))
}

// A backend that takes nothing makes the engine leave its state on the disk.
func TestErroredStates_Engines(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(e *engine) {
		t := e.t
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if r.Method == http.MethodGet {
				w.WriteHeader(http.StatusNoContent)
			} else {
				w.WriteHeader(http.StatusForbidden)
			}
		}))
		defer srv.Close()
		e.write(twoResources + fmt.Sprintf(`
terraform {
  backend "http" {
    address   = %q
    retry_max = 0
  }
}`, srv.URL))
		e.must(e.env, "init", "-input=false")
		sub := e.dir
		e.dir = filepath.Dir(sub)
		apply := []string{"-chdir=" + filepath.Base(sub), "apply", "-auto-approve"}
		snapshot, err := SnapshotErrored(sub)
		if err != nil {
			t.Fatal(err)
		}
		if code, out := e.run(e.env, apply...); code != 1 {
			t.Fatalf("apply: exit code %d: %s", code, out)
		}
		got, err := snapshot.New()
		if want := []string{filepath.Join(sub, erroredName)}; err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	})
}
