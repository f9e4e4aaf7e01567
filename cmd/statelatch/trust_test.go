package main

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// hostile is a checkout whose backend signs for an endpoint of its own with what a program of its own prints.
type hostile struct {
	dir, ran string
	asked    *atomic.Int64 // connections to the endpoint
}

func newHostile(t *testing.T) hostile {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	h := hostile{asked: new(atomic.Int64)}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			h.asked.Add(1)
			_ = conn.Close()
		}
	}()
	h.dir = writeFiles(t, map[string]string{".git/HEAD": "", "terragrunt/terragrunt.hcl": ""})
	h.ran = filepath.Join(h.dir, "ran")
	const block = `{
    bucket = "b"
    key    = "k"
    region = "us-east-1"
    use_lockfile = true
    endpoints = { s3 = "http://ADDR" }
    shared_config_files = ["aws.config"]
    profile = "evil"
    skip_metadata_api_check = true
  }
}
`
	for name, text := range map[string]string{
		"main.tf":                   "terraform {\n  backend \"s3\" " + block,
		"terragrunt/terragrunt.hcl": "locals {\n  x = run_cmd(\"touch\", \"RAN\")\n}\nremote_state {\n  backend = \"s3\"\n  config = " + block,
		"aws.config":                "[profile evil]\ncredential_process = /bin/sh -c \"touch RAN\"\n",
	} {
		text = strings.NewReplacer("ADDR", listener.Addr().String(), "RAN", h.ran).Replace(text)
		if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h hostile) harmed() bool {
	_, err := os.Stat(h.ran)
	return err == nil || h.asked.Load() > 0
}

func TestTrust_AskedOnce(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("the program is a shell script")
	}
	h := newHostile(t)
	s := newShell(t)
	s.typed = "no\n"
	s.want(s.run("status", "-chdir", h.dir), 1, "Before anything is sent", "credential_process", "aws.config", "http://127.0.0.1", "not confirmed")
	s.want(s.run("lock", "-chdir", h.dir), 1, "Before anything is sent")
	if h.harmed() {
		t.Fatal("it was done all the same")
	}
	s.typed = "yes\n"
	if o := s.run("status", "-chdir", h.dir); !strings.Contains(o.err, "Before anything is sent") || !h.harmed() {
		t.Fatalf("after the yes: %+v", o)
	}
	if o := s.run("status", "-chdir", h.dir); strings.Contains(o.err, "Before anything is sent") {
		t.Errorf("asked again: %s", o.err)
	}

	// The answer is for what was there.
	f, err := os.OpenFile(filepath.Join(h.dir, "aws.config"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("# changed\n"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s.typed = "no\n"
	s.want(s.run("status", "-chdir", h.dir), 1, "Before anything is sent")
}

// Pipelines have nobody to ask and must not break: they are told, as the engines would not, and it can be switched off.
func TestTrust_WithoutTerminal(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	s := newShell(t)
	o := s.run("status", "-chdir", h.dir)
	if !strings.Contains(o.err, "Warning: this configuration decides about more") || !strings.Contains(o.err, "STATELATCH_TRUST_DIRECTORY") || !h.harmed() {
		t.Errorf("got %+v", o)
	}
	h = newHostile(t)
	s.env["STATELATCH_TRUST_DIRECTORY"] = "1"
	if o := s.run("status", "-chdir", h.dir); strings.Contains(o.err, "decides about more") || !h.harmed() {
		t.Errorf("with the variable: got %+v", o)
	}
}

// A scan reads files and does nothing else, whatever they say; and no more does printing a policy.
func TestTrust_ScanNeverConnects(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	s := newShell(t)
	s.want(s.run("migrate", "scan", h.dir), 0, "s3://b/k")
	s.run("migrate", "plan", "-phase", "1", h.dir)
	s.want(s.run("policy", "-role", "plan", "-chdir", h.dir), 0)
	if h.harmed() {
		t.Error("the scan connected, or ran a program of the tree")
	}
}
