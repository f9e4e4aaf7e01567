//go:build unix

package runner

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"golang.org/x/sys/unix"
)

func TestRun_ExitCodes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, tc := range map[string]struct {
		cmd   Command
		code  int
		error string // part of it; empty: none
	}{
		"success":         {cmd: Command{Args: []string{"true"}}},
		"own code":        {cmd: Command{Args: []string{"sh", "-c", "exit 7"}}, code: 7},
		"terminated":      {cmd: Command{Args: []string{"sh", "-c", "kill -TERM $$"}}, code: 143},
		"B15 killed":      {cmd: Command{Args: []string{"sh", "-c", "kill -KILL $$"}}, code: 137},
		"in a directory":  {cmd: Command{Args: []string{"sh", "-c", `test "$(pwd -P)" = "$(cd "$0" && pwd -P)"`, dir}, Dir: dir}},
		"no command":      {code: 127, error: "give the program to run"},
		"empty name":      {cmd: Command{Args: []string{""}}, code: 127, error: "it is empty"},
		"not found":       {cmd: Command{Args: []string{"no-such-program"}}, code: 127, error: "is it installed and in PATH?"},
		"no such file":    {cmd: Command{Args: []string{dir + "/nothing"}}, code: 127, error: "does not exist"},
		"no interpreter":  {cmd: Command{Args: []string{write("bad", "#!/no/such/sh\n", 0o700)}}, code: 127, error: "interpreter"},
		"not executable":  {cmd: Command{Args: []string{write("plain", "#!/bin/sh\n", 0o600)}}, code: 126, error: "is it an executable file?"},
		"a directory":     {cmd: Command{Args: []string{dir}}, code: 126, error: "is it an executable file?"},
		"no first line":   {cmd: Command{Args: []string{write("headless", "echo hello\n", 0o700)}}, code: 126, error: "#!/bin/sh"},
		"no directory":    {cmd: Command{Args: []string{"true"}, Dir: dir + "/nothing"}, code: 126, error: `directory "` + dir},
		"not a directory": {cmd: Command{Args: []string{"true"}, Dir: write("file", "", 0o600)}, code: 126, error: "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Run(t.Context(), tc.cmd, nil, nil)
			if want := (Result{ExitCode: tc.code}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			switch {
			case tc.error == "" && err != nil:
				t.Errorf("got error %v, want none", err)
			case tc.error != "" && (!errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), tc.error)):
				t.Errorf("got error %v, want ErrInvalid with %q", err, tc.error)
			}
		})
	}
}

func TestRun_LeaseIsOverBeforeTheStart(t *testing.T) {
	t.Parallel()
	lost := newLease(noEnd)
	close(lost.lost)
	for name, lease := range map[string]*fakeLease{"lost": lost, "ran out": newLease(0)} {
		marker := filepath.Join(t.TempDir(), "ran")
		got, err := Run(t.Context(), Command{Args: []string{"touch", marker}}, lease, nil)
		if !errors.Is(err, statelatch.ErrLockLost) || !got.Lost {
			t.Errorf("%s: got %+v, %v, want ErrLockLost", name, got, err)
		}
		if _, err := os.Stat(marker); err == nil {
			t.Errorf("%s: the command was run", name)
		}
	}
}

// The command's output, and nothing else, is on our stdout and stderr.
func TestRun_B28_OutputIsUntouched(t *testing.T) {
	t.Parallel()
	const out, talk = "{\"value\":\x00\xff 1}", "a warning"
	cmd := exec.Command(self(t), "sh", "-c", `printf '{"value":\000\377 1}'; printf 'a warning' >&2; cat; exit 3`)
	cmd.Env = append(os.Environ(), helperVariable+"=run")
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("input"), &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("got %v, want exit code 3", err)
	}
	if got, want := stdout.String(), out+"input"; got != want {
		t.Errorf("stdout: got %q, want %q", got, want)
	}
	if got := stderr.String(); got != talk {
		t.Errorf("stderr: got %q, want %q", got, talk)
	}
}

func TestRun_OutputToAWriter(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	got, err := Run(t.Context(), Command{Args: []string{"sh", "-c", "seq 20000; echo talk >&2"}, Stdout: &stdout, Stderr: &stderr}, nil, nil)
	if err != nil || got != (Result{}) || !strings.HasSuffix(stdout.String(), "\n20000\n") || stderr.String() != "talk\n" {
		t.Errorf("got %+v, %v, %d bytes, %q", got, err, stdout.Len(), stderr.String())
	}
}

// A daemon that left the group may hold the pipe of a writer for ever.
func TestRun_OutputToAWriter_HeldByADaemon(t *testing.T) {
	t.Parallel()
	stdin, in := pipe(t)
	var stdout bytes.Buffer
	cmd := Command{Args: []string{self(t)}, Env: append(os.Environ(), helperVariable+"=daemon"), Stdin: stdin, Stdout: &stdout}
	got, err := Run(t.Context(), cmd, nil, nil)
	if err != nil || got != (Result{}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if strings.Contains(stdout.String(), "end") {
		t.Error("Run waited for the daemon")
	}
	_ = in.Close()
}

func TestRun_FirstSignal_InterruptsEachProcessOnce(t *testing.T) {
	t.Parallel()
	for _, sig := range []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			j := startJob(t, "parent", Command{Args: []string{self(t)}}, nil)
			j.wait("parent ", "child ")
			j.signals <- sig
			if e := j.event(Interrupt); e != (Event{Step: Interrupt, Cause: Signal}) {
				t.Errorf("got event %+v", e)
			}
			j.wait("parent got SIGINT", "child got SIGINT")
			if got := j.end(); got != (Result{}) {
				t.Errorf("got %+v, want exit code 0", got)
			}
			if got := j.count(" got "); got != 2 {
				t.Errorf("got %d signals, want one each: %q", got, j.seen)
			}
		})
	}
}

func TestRun_SecondSignal_TerminatesAfterGrace(t *testing.T) {
	t.Parallel()
	j := startJob(t, "parent", Command{Args: []string{self(t)}, Grace: time.Millisecond}, nil)
	j.wait("parent ", "child ")
	j.signals <- unix.SIGINT
	j.wait("parent got SIGINT", "child got SIGINT")
	j.signals <- unix.SIGTERM
	if got := j.result(); got != (Result{ExitCode: 7}) {
		t.Errorf("got %+v, want exit code 7", got)
	}
	if got := j.count(" got SIGTERM"); got != 2 {
		t.Errorf("got %d SIGTERM, want one each: %q", got, j.seen)
	}
}

func TestRun_EndOfContext_InterruptsAndTerminates(t *testing.T) {
	t.Parallel()
	j := startJob(t, "parent", Command{Args: []string{self(t)}, Grace: time.Millisecond}, nil)
	j.wait("parent ", "child ")
	j.cancel()
	if e := j.event(Interrupt); e != (Event{Step: Interrupt, Cause: Cancelled, Wait: time.Millisecond}) {
		t.Errorf("got event %+v", e)
	}
	if got := j.result(); got != (Result{ExitCode: 7}) {
		t.Errorf("got %+v, want exit code 7", got)
	}
	if got := j.count("got SIGTERM"); got != 2 {
		t.Errorf("got %d SIGTERM, want one each: %q", got, j.seen)
	}
}

// What a command leaves running in its group is waited for.
func TestRun_B15_BackgroundProcess_IsWaitedFor(t *testing.T) {
	t.Parallel()
	// A shell gives the null device to what it starts in the background.
	j := startJob(t, "report", Command{Args: []string{"sh", "-c", `exec 3<&0; "$0" child <&3 & exit 4`, self(t)}}, nil)
	if e := j.event(Linger); e.Cause != Leftover || e.Wait != defaultGrace {
		t.Errorf("got event %+v", e)
	}
	j.wait("child ")
	select {
	case got := <-j.done:
		t.Fatalf("Run returned %+v while a process of the group ran", got)
	default:
	}
	if got := j.end(); got != (Result{ExitCode: 4}) {
		t.Errorf("got %+v, want exit code 4", got)
	}
	if j.count("child end") != 1 || j.count(" got ") != 0 {
		t.Errorf("the process was not left in peace: %q", j.seen)
	}
}

// One that does not end by itself is ended; nobody closes its input here.
func TestRun_B15_BackgroundProcess_IsEndedAfterGrace(t *testing.T) {
	t.Parallel()
	j := startJob(t, "report", Command{Args: []string{"sh", "-c", `exec 3<&0; "$0" child <&3 & exit 4`, self(t)}, Grace: time.Millisecond}, nil)
	if e := j.event(Interrupt); e.Cause != Leftover {
		t.Errorf("got event %+v", e)
	}
	if got := j.result(); got != (Result{ExitCode: 4}) {
		t.Errorf("got %+v, want exit code 4", got)
	}
}

// After kill -9 of the command, what it started is stopped, and only then Run returns.
func TestRun_B15_KilledCommand_StopsItsChildren(t *testing.T) {
	t.Parallel()
	j := startJob(t, "parent", Command{Args: []string{self(t)}}, nil)
	j.wait("child ")
	if err := unix.Kill(j.pid("parent"), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := j.event(Interrupt); e.Cause != Leftover || e.Wait != defaultGrace {
		t.Errorf("got event %+v", e)
	}
	j.wait("child got SIGINT")
	if got := j.end(); got != (Result{ExitCode: 137}) {
		t.Errorf("got %+v, want exit code 137", got)
	}
	if got := j.count(" got "); got != 1 {
		t.Errorf("got %d signals, want 1: %q", got, j.seen)
	}
}

func TestRun_B8_LostLease_Interrupts(t *testing.T) {
	t.Parallel()
	lease := newLease(noEnd)
	j := startJob(t, "parent", Command{Args: []string{self(t)}}, lease)
	j.wait("parent ", "child ")
	close(lease.lost)
	j.wait("parent got SIGINT", "child got SIGINT")
	j.signals <- unix.SIGINT // must not be a second interrupt
	if got := j.end(); got != (Result{Lost: true}) {
		t.Errorf("got %+v, want Lost and exit code 0", got)
	}
	if got := j.count(" got "); got != 2 {
		t.Errorf("got %d signals, want one each: %q", got, j.seen)
	}
}

// As after a sleep of the machine: the lease is over, and nobody said that it was lost.
func TestRun_B8_LeaseRanOut_Kills(t *testing.T) {
	t.Parallel()
	lease := newLease(noEnd)
	j := startJob(t, "parent", Command{Args: []string{self(t)}}, lease)
	j.wait("parent ", "child ")
	lease.remaining.Store(-1)
	if got := j.result(); got != (Result{ExitCode: 137, Lost: true, Killed: true}) {
		t.Errorf("got %+v, want Lost, Killed and exit code 137", got)
	}
	if got := j.count(" end"); got != 0 {
		t.Errorf("%d processes ended by themselves: %q", got, j.seen)
	}
}
