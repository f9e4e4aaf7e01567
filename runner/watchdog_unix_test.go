//go:build unix

package runner

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// wrapped starts this binary's "run" with a helper below it, so that it can be killed. The input of the helpers stays
// open.
func wrapped(t *testing.T, inner string, args ...string) (*transcript, *exec.Cmd, *os.File) {
	t.Helper()
	stdin, in := pipe(t)
	r, out := pipe(t)
	cmd := exec.Command(self(t), args...)
	cmd.Env = append(os.Environ(), helperVariable+"=run", "RUNNER_TEST_INNER="+inner, "RUNNER_TEST_SUMMARY=yes")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = out.Close(), stdin.Close()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return newTranscript(t, r), cmd, in
}

func kill9(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// wantInterrupts lets the helpers end and reads their output to its end, which a watchdog that holds it would delay.
func wantInterrupts(t *testing.T, tr *transcript, in *os.File, want int) {
	t.Helper()
	_ = in.Close()
	if got := tr.count(" got "); got != want || tr.count(" got SIGINT") != want {
		t.Errorf("got %d signals, want %d interrupts: %q", got, want, tr.seen)
	}
}

// kill -9 of the wrapper: each process of the command is interrupted once, and the lease runs out.
func TestRun_B15_KilledWrapper_InterruptsEachProcessOnce(t *testing.T) {
	t.Parallel()
	tr, cmd, in := wrapped(t, "parent", self(t))
	tr.wait("parent ", "child ")
	kill9(t, cmd)
	tr.wait("parent got SIGINT", "child got SIGINT")
	wantInterrupts(t, tr, in, 2)
}

// However early the wrapper is killed, no command runs on: it was interrupted, or never started.
func TestRun_KilledWrapper_AtAnyMoment(t *testing.T) {
	t.Parallel()
	for i := range 20 {
		tr, cmd, _ := wrapped(t, "", "sleep", "600")
		time.Sleep(time.Duration(i) * 2 * time.Millisecond) // the moment: nothing waits for it
		kill9(t, cmd)
		ended := time.After(patience)
		for open := true; open; {
			select {
			case _, open = <-tr.lines:
			case <-ended:
				t.Fatalf("killed after %d ms, the command runs on", 2*i)
			}
		}
	}
}

func TestRun_KilledWrapper_AfterAnInterrupt_SendsNoSecond(t *testing.T) {
	t.Parallel()
	tr, cmd, in := wrapped(t, "report", self(t), "child")
	tr.wait("child ")
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	tr.wait("child got SIGINT")
	kill9(t, cmd)
	awaitNoWatchdog(t, cmd.Process.Pid)
	wantInterrupts(t, tr, in, 1)
}

// Somebody else interrupted the whole group, as a terminal does.
func TestRun_KilledWrapper_AfterTheGroupWasInterrupted_SendsNoSecond(t *testing.T) {
	t.Parallel()
	tr, cmd, in := wrapped(t, "report", self(t), "child")
	child := tr.pid("child")
	awaitMember(t, cmd.Process.Pid, child)
	if err := unix.Kill(-child, unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	tr.wait("child got SIGINT")
	kill9(t, cmd)
	awaitNoWatchdog(t, cmd.Process.Pid)
	wantInterrupts(t, tr, in, 1)
}

// What the command left behind is interrupted, too, and only if that did not happen before.
func TestRun_KilledWrapper_InterruptsLeftovers(t *testing.T) {
	t.Parallel()
	for name, interrupted := range map[string]bool{"not interrupted": false, "interrupted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr, cmd, in := wrapped(t, "report", "sh", "-c", `exec 3<&0; "$0" child <&3 & exit 4`, self(t))
			tr.wait("child ", fmt.Sprintf("event {Step:%d", Linger))
			if interrupted {
				if err := cmd.Process.Signal(unix.SIGINT); err != nil {
					t.Fatal(err)
				}
				tr.wait("child got SIGINT")
			}
			kill9(t, cmd)
			tr.wait("child got SIGINT")
			awaitNoWatchdog(t, cmd.Process.Pid)
			wantInterrupts(t, tr, in, 1)
		})
	}
}

// A run in a run, both killed: each looks after its own group.
func TestRun_KilledWrappers_Nested(t *testing.T) {
	t.Parallel()
	tr, cmd, in := wrapped(t, "nested", self(t), self(t), "child")
	tr.wait("child ")
	var inner int
	if _, err := fmt.Sscanf(tr.wait("nested "), "nested %d", &inner); err != nil {
		t.Fatal(err)
	}
	kill9(t, cmd)
	_ = unix.Kill(inner, unix.SIGKILL)
	tr.wait("child got SIGINT")
	awaitNoWatchdog(t, cmd.Process.Pid)
	awaitNoWatchdog(t, inner)
	wantInterrupts(t, tr, in, 1)
}

// Without its watchdog a command runs on, and that is told.
func TestRun_KilledWatchdog_IsTold(t *testing.T) {
	t.Parallel()
	tr, cmd, in := wrapped(t, "report", self(t), "child")
	tr.wait("child ")
	for _, pid := range watchdogs(t, cmd.Process.Pid) {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	tr.wait(fmt.Sprintf("event {Step:%d", Unwatched))
	wantInterrupts(t, tr, in, 0)
	tr.wait("summary code=0")
}

// Nothing of a watchdog stays when a command ends by itself.
func TestRun_EndsItsWatchdog(t *testing.T) {
	t.Parallel()
	tr, cmd, in := wrapped(t, "report", self(t), "child")
	tr.wait("child ")
	if got := watchdogs(t, cmd.Process.Pid); len(got) != 1 {
		t.Errorf("got watchdogs %v, want one", got)
	}
	wantInterrupts(t, tr, in, 0)
	_ = cmd.Wait()
	if got := watchdogs(t, cmd.Process.Pid); len(got) != 0 {
		t.Errorf("watchdogs are left: %v", got)
	}
	if tr.find("event ") != "" {
		t.Errorf("got an event: %q", tr.seen)
	}
}

// watchdogs are those of a run, by their arguments.
func watchdogs(t *testing.T, run int) []int {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-o", "pid=,args=").Output()
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for line := range strings.Lines(string(out)) {
		var pid, of int
		if _, err := fmt.Sscanf(line, "%d "+watchdogName+" %d", &pid, &of); err == nil && of == run {
			pids = append(pids, pid)
		}
	}
	return pids
}

func awaitNoWatchdog(t *testing.T, run int) {
	t.Helper()
	eventually(t, "the watchdog is gone", func() bool { return len(watchdogs(t, run)) == 0 })
}

func awaitMember(t *testing.T, run, group int) {
	t.Helper()
	eventually(t, "the watchdog is a member of the group", func() bool {
		dogs := watchdogs(t, run)
		if len(dogs) != 1 {
			return false
		}
		got, err := unix.Getpgid(dogs[0])
		return err == nil && got == group
	})
}
