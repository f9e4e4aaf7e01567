package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/state"
	"github.com/statelatch/statelatch/wrap"
)

// Inside a run a command that needs the run's own lock would wait for itself, or be told to force it away.
func TestNested_Refused(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.env["STATELATCH_HELD"] = demoRef + "\t" + s.url + "\ns3://demo/env:/staging/app/terraform.tfstate\t" + s.url
	for _, args := range [][]string{
		{"lock", demoRef},
		{"push", s.file(plainState(1, "a", "")), demoRef},
		{"workspace", "delete", "staging", demoRef},
	} {
		s.want(s.run(args...), 2, "around this command")
	}
	s.want(s.run("lock", "s3://demo/other"), 0)
	s.env["STATELATCH_HELD"] = demoRef + "\thttp://elsewhere" // a bucket of the same name in another store
	s.want(s.run("lock", demoRef), 0)
}

// What is printed to paste is about the workspace that is locked, not about the default one.
func TestWorkspaceDelete_LockedNextCommand(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("workspace", "new", "staging", demoRef), 0)
	staging := "s3://demo/env:/staging/app/terraform.tfstate"
	s.want(s.run("lock", staging), 0)
	home := s.env["HOME"]
	s.env["HOME"] = t.TempDir() // somebody else
	s.want(s.run("workspace", "delete", "staging", demoRef), 11, staging+"\nWait for it")
	dir := s.directory("use_lockfile = true")
	s.want(s.run("workspace", "delete", "staging", "-chdir", dir), 11, "TF_WORKSPACE=staging statelatch status -chdir "+dir)
	s.env["TF_WORKSPACE"], s.env["HOME"] = "staging", home
	s.want(s.run("status", "-chdir", dir), 11, "TF_WORKSPACE=staging statelatch unlock -chdir "+dir)
}

// The first Ctrl-C counts also while a person, or a pipe, has not answered yet, and leaves no copy of a state behind.
func TestTyped_Interrupted(t *testing.T) {
	t.Parallel()
	for name, args := range map[string]func(s *shell) []string{
		"push -": func(*shell) []string { return []string{"push", "-", demoRef} },
		"force-unlock": func(s *shell) []string {
			return []string{"force-unlock", s.run("lock", demoRef).out[:36], demoRef}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShell(t).withStore()
			line := append(append([]string{"statelatch"}, args(s)...), s.flags...)
			ctx, cancel := context.WithCancel(t.Context())
			in, w := io.Pipe()
			t.Cleanup(func() { _ = w.Close() })
			asked := readerFunc(func(p []byte) (int, error) {
				cancel()
				return in.Read(p)
			})
			if code := run(ctx, line, terminal{
				In: asked, Out: io.Discard, Err: io.Discard, Interactive: true, Getenv: func(k string) string { return s.env[k] },
			}); code != exitInterrupted {
				t.Errorf("got exit code %d, want %d", code, exitInterrupted)
			}
			if left, _ := filepath.Glob(filepath.Join(s.env["HOME"], ".local/state/statelatch/unsaved/*")); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// An unknown outcome of the digest is none of the state.
func TestWriteUnknown(t *testing.T) {
	t.Parallel()
	for want, err := range map[bool]error{
		false: &state.DigestError{Err: statelatch.ErrAmbiguous},
		true:  &state.ChangedError{Unknown: true},
	} {
		if got := writeUnknown(err); got != want {
			t.Errorf("%v: got %t, want %t", err, got, want)
		}
	}
}

// The push that repeats one with an unknown outcome meets that one's lock.
func TestPushAgain(t *testing.T) {
	t.Parallel()
	unknown := &state.ChangedError{Unknown: true}
	if got, want := wrap.PushAgain("/a b", true, unknown), "push -takeover expired -force '/a b'"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := wrap.PushAgain("/a", false, statelatch.ErrLockLost), "push /a"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A key without a state is said to be one, with those that are near, and is no failure.
func TestMissingState(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("push", s.file(plainState(1, "a", oneResource)), demoRef), 0)
	typo := "s3://demo/app/terraform.tfsate"
	said := []string{"there is no state at " + typo, "Did you mean", "  " + demoRef + "\n"}
	s.want(s.run("status", typo), 0, append(said, "is not locked")...)
	s.want(s.run("lock", typo), 0, append(said, "Locked")...)
	s.want(s.run("status", typo), 11, said...)
	s.want(s.run("status", "s3://demo/deploys/prod"), 0, "there is no state at s3://demo/deploys/prod.\n")
	run := append(append([]string{"run"}, s.flags...), typo, "--", "true")
	s.want(s.run("unlock", typo), 0)
	s.want(s.runContext(t.Context(), run...), 0, said...)
	if o := s.run("status", demoRef); strings.Contains(o.err, "no state") {
		t.Errorf("a state that is there: %s", o.err)
	}
	var status struct {
		Missing bool
		Near    []string
	}
	o := s.run("status", "-json", "s3://demo/app/teraform.tfstate")
	if err := json.Unmarshal([]byte(o.out), &status); err != nil || o.err != "" || !status.Missing || !slices.Equal(status.Near, []string{demoRef}) {
		t.Errorf("-json: got %+v, %v", o, err)
	}
	s.want(s.run("status", "s3://nosuch/app"), 10, "nosuch")

	proxy := s.behindProxy()
	proxy.Add(deny(http.MethodGet, "/demo", "list-type"))
	if o := s.run("status", "s3://demo/app/teraform.tfstate"); o.code != 0 || strings.Contains(o.err, "denied") {
		t.Errorf("may not list: %+v", o)
	}
	proxy.Add(deny(http.MethodHead, "/demo/app/teraform.tfstate", ""))
	if o := s.run("status", "s3://demo/app/teraform.tfstate"); o.code != 0 || o.err != "" {
		t.Errorf("may not look: %+v, want no word of it", o)
	}
}

// What is said of a lock's age, its verdict and 'unlock -expired' agree at once, and none invents an age.
func TestStatus_ExpiresAgrees(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.managedLock("app/terraform.tfstate", "an-id", statelatch.Managed{Expires: 30 * time.Second})
	s.laterBy(32 * time.Second)
	s.want(s.run("status", demoRef), 11, "It expired", "Verdict: stale: it was taken for 30s")
	s.want(s.run("unlock", "-expired", "-dry-run", demoRef), 0, "Would release")
	s.want(s.run("unlock", "-expired", demoRef), 0, "Released")

	for name, m := range map[string]*statelatch.Managed{"an engine's": nil, "expires": {Expires: time.Hour}, "a lease": {TTL: time.Hour}, "neither": {}} {
		t.Log(name)
		s := newShell(t).withStore()
		if s.managedLock("app/terraform.tfstate", "an-id", statelatch.Managed{}); m == nil {
			s.plainLock("app/terraform.tfstate", "an-id")
		} else {
			s.managedLock("app/terraform.tfstate", "an-id", *m)
		}
		if o := s.run("status", demoRef); m == nil || m.TTL == 0 { // told once, with a lease by the verdict alone
			if said := strings.ToLower(o.out); strings.Count(said, "held for") != 1 || strings.Count(said, "held since") != 1 {
				t.Errorf("got %s", o.out)
			}
		} else if strings.Count(strings.ToLower(o.out), "its lease") != 1 {
			t.Errorf("got %s", o.out)
		}
		s.withoutLastModified()
		o := s.run("status", demoRef)
		s.want(o, 11, "tells no age")
		if strings.Contains(strings.ToLower(o.out), "held ") || strings.Contains(o.out, " ago") || strings.Contains(o.out, "2562047") {
			t.Errorf("got %s", o.out)
		}
		s.want(s.run("locks", "s3://demo"), 0, "tells no age")
		s.want(s.run("unlock", "-if-older-than", "1h", "-auto-approve", demoRef), 11, "age is not known")
		if m != nil && m.TTL == 0 {
			s.want(s.run("unlock", "-expired", demoRef), 11, "not over")
		}
	}
}

// A lease needs no watching where its holder was a process of this machine and is gone.
func TestTakeOver_ProvenGone(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("push", s.file(plainState(1, "a", oneResource)), demoRef), 0)
	for _, args := range [][]string{
		{"push", "-takeover", "expired", s.file(plainState(2, "a", oneResource)), demoRef},
		{"unlock", "-expired", demoRef},
	} {
		s.managedLock("app/terraform.tfstate", "an-id", statelatch.Managed{TTL: time.Hour, Client: deadClient(t)})
		s.want(s.run(args...), 0)
		s.want(s.run("status", demoRef), 0)
	}
	s.managedLock("app/terraform.tfstate", "an-id", statelatch.Managed{TTL: time.Hour, Client: deadClient(t)})
	s.want(s.run("unlock", "-expired", "-dry-run", demoRef), 0, "Would release")
}

// A bucket that is not there is named, with what makes it, by every command.
func TestNoBucket(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	for _, args := range [][]string{
		{"status", "s3://dmo/k"},
		{"lock", "s3://dmo/k"},
		{"locks", "s3://dmo"},
		{"states", "s3://dmo"},
		{"history", "s3://dmo/k"},
		{"pull", "s3://dmo/k"},
		{"unlock", "s3://dmo/k"},
		{"probe", "s3://dmo"},
		{"gc", "s3://dmo"},
		{"run", "s3://dmo/k", "--", "true"},
	} {
		command := args[0]
		if args[0] == "run" { // its flags stand before --
			args = append([]string{"run"}, append(s.flags, args[1:]...)...)
			s.want(s.runContext(t.Context(), args...), exitNotFound, "Error: there is no bucket dmo\n", "statelatch bucket init s3://dmo")
			continue
		}
		o := s.run(args...)
		if s.want(o, exitNotFound, "Error: there is no bucket dmo\n", "statelatch bucket init s3://dmo"); t.Failed() {
			t.Fatal(command)
		}
	}
}
