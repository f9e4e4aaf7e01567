package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Workdir is a running store and an initialised Terraform directory on it.
type Workdir struct {
	*World
	Server    *Server
	Terraform string // the program
	Dir       string
	Ref       string
}

// Engine is terraform, or what STATELATCH_ENGINE names, such as tofu.
func Engine() string {
	if program := os.Getenv("STATELATCH_ENGINE"); program != "" {
		return program
	}
	return "terraform"
}

// StateKey is the key of the state of a Workdir.
const StateKey = "app/terraform.tfstate"

// Apply are the arguments of an apply that asks nothing.
var Apply = []string{"apply", "-input=false", "-no-color", "-auto-approve"}

// LockID finds the lock's ID in a block of lock info.
var LockID = regexp.MustCompile(`ID:\s+([0-9a-f]{8}-[0-9a-f-]{27})`)

// NewWorkdir starts the store and runs terraform init with the backend block that serve printed, plus extra arguments.
func NewWorkdir(t *testing.T, extra string, serveArgs ...string) *Workdir {
	t.Helper()
	r := &Workdir{World: NewWorld(t), Terraform: Need(t, Engine())}
	r.Server = r.Serve(serveArgs...)
	block := strings.Replace(r.Server.Block, "example/terraform.tfstate", StateKey, 1)
	block = strings.Replace(block, "use_lockfile = true\n", "use_lockfile = true\n"+extra+"\n", 1)
	r.Dir = r.Project(block)
	r.Ref = "s3://terraform-state/" + StateKey
	r.TF("init", "-input=false", "-no-color")
	return r
}

// TF runs terraform and demands success.
func (r *Workdir) TF(args ...string) Result {
	r.T.Helper()
	return r.Must(r.Dir, r.Terraform, args...)
}

// Holder starts an apply that waits at its prompt, holding the lock, and returns it with its lock ID.
func (r *Workdir) Holder(value string) (*Process, string) {
	r.T.Helper()
	p := r.Start(r.Dir, r.Terraform, "apply", "-no-color", "-var", "value="+value)
	p.WaitFor(`Enter a value:`)
	status := r.Statelatch("status", r.Ref)
	m := LockID.FindStringSubmatch(status.Stdout)
	if status.Code != 11 || m == nil {
		r.T.Fatalf("status while terraform holds the lock: %v", status)
	}
	return p, m[1]
}

// Reconfigure points the directory's backend at another endpoint.
func (r *Workdir) Reconfigure(url string) {
	r.T.Helper()
	path := filepath.Join(r.Dir, "main.tf")
	config, err := os.ReadFile(path)
	if err != nil {
		r.T.Fatal(err)
	}
	changed := strings.ReplaceAll(string(config), r.Server.URL, url)
	if changed == string(config) {
		r.T.Fatalf("the endpoint %s is not in %s", r.Server.URL, config)
	}
	r.Write(path, changed)
	r.TF("init", "-input=false", "-no-color", "-reconfigure")
}

// WantFree demands that nobody holds the state.
func (r *Workdir) WantFree() {
	r.T.Helper()
	if s := r.Statelatch("status", r.Ref); s.Code != 0 || !strings.Contains(s.Stdout, "not locked") {
		r.T.Fatalf("want the state free: %v", s)
	}
}

// Want demands an exit code, and texts in the output, whose white space does not count.
func Want(t *testing.T, what string, r Result, code int, texts ...string) {
	t.Helper()
	all := strings.Join(strings.Fields(r.Stdout+r.Stderr), " ")
	for _, text := range texts {
		if !strings.Contains(all, text) {
			t.Errorf("%s: the output lacks %q", what, text)
		}
	}
	if r.Code != code || t.Failed() {
		t.Fatalf("%s: want exit %d: %v", what, code, r)
	}
}

// StateWithSerial is a small state that terraform reads.
func StateWithSerial(serial int, value string) string {
	return fmt.Sprintf(`{
  "version": 4,
  "terraform_version": "1.11.4",
  "serial": %d,
  "lineage": "5d0d3b8e-2b1c-4d0a-9a54-5f4f5a8c1d10",
  "outputs": {"value": {"value": %q, "type": "string"}},
  "resources": [],
  "check_results": null
}
`, serial, value)
}

// Successor is a state with the next serial and value in place of "a". terraform indents its states, tofu does not.
func Successor(tb testing.TB, state, value string) string {
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
