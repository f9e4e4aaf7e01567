package runner

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a new terminal.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	return master, slave
}

// onTerminal starts this binary's "run" as the foreground of a new terminal.
func onTerminal(t *testing.T, inner string, args ...string) (*transcript, *os.File, *exec.Cmd) {
	t.Helper()
	master, slave := openTerminal(t)
	cmd := exec.Command(self(t), args...)
	cmd.Env = append(os.Environ(), helperVariable+"=run", "RUNNER_TEST_INNER="+inner, "RUNNER_TEST_SUMMARY=yes")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close() // so that the reader ends with the programs
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return newTranscript(t, master), master, cmd
}

func TestRun_Terminal_CtrlCReachesTheCommandOnce(t *testing.T) {
	t.Parallel()
	tr, keys, cmd := onTerminal(t, "parent", self(t))
	tr.wait("parent ", "child ")
	for _, name := range []string{"parent", "child"} {
		if line := tr.find(name + " "); !strings.Contains(line, "foreground=true") {
			t.Errorf("not in the foreground of the terminal: %q", line)
		}
	}
	// Neither Ctrl-Z nor a SIGTSTP of somebody stops us or the command.
	if err := cmd.Process.Signal(unix.SIGTSTP); err != nil {
		t.Fatal(err)
	}
	press(t, keys, "\x1a\x03")
	tr.wait("parent got SIGINT", "child got SIGINT")
	press(t, keys, "\x04") // the end of input for one of them
	tr.wait(" end")
	press(t, keys, "\x04")
	line := tr.wait("summary")
	if want := "summary code=0 signals=0 foreground=true err=<nil>"; !strings.Contains(line, want) {
		t.Errorf("got %q, want %q", line, want)
	}
	if got := tr.count(" got "); got != 2 {
		t.Errorf("got %d signals, want one each: %q", got, tr.seen)
	}
}

// Once only leftovers run, Ctrl-C is ours to pass on.
func TestRun_Terminal_IsTakenBackFromLeftovers(t *testing.T) {
	t.Parallel()
	tr, keys, _ := onTerminal(t, "parent", self(t))
	tr.wait("parent ", "child ")
	if err := unix.Kill(tr.pid("parent"), unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	tr.wait(fmt.Sprintf("event %+v", Event{Step: Linger, Cause: Leftover}))
	press(t, keys, "\x03")
	tr.wait(fmt.Sprintf("event %+v", Event{Step: Interrupt, Cause: Signal}), "child got SIGINT")
	if err := unix.Kill(tr.pid("child"), unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if line := tr.wait("summary"); !strings.Contains(line, "code=7 signals=0 foreground=true") {
		t.Errorf("got %q", line)
	}
	if got := tr.count("child got SIGINT"); got != 1 {
		t.Errorf("got %d interrupts, want 1: %q", got, tr.seen)
	}
}

func TestRun_Terminal_StartErrorTakesItBack(t *testing.T) {
	t.Parallel()
	headless := t.TempDir() + "/headless"
	if err := os.WriteFile(headless, []byte("echo\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	tr, _, _ := onTerminal(t, "", headless)
	if line := tr.wait("summary"); !strings.Contains(line, "code=126 signals=0 foreground=true") {
		t.Errorf("got %q", line)
	}
}

// Ctrl-C, and then somebody loses patience with the wrapper: that is one interrupt, not two.
func TestRun_Terminal_CtrlCThenKilledWrapper(t *testing.T) {
	t.Parallel()
	tr, keys, cmd := onTerminal(t, "report", self(t), "child")
	child := tr.pid("child")
	awaitMember(t, cmd.Process.Pid, child)
	press(t, keys, "\x03")
	tr.wait("child got SIGINT")
	kill9(t, cmd)
	awaitNoWatchdog(t, cmd.Process.Pid)
	if err := unix.Kill(child, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := tr.count("child got SIGINT"); got != 1 {
		t.Errorf("got %d interrupts, want 1: %q", got, tr.seen)
	}
}

func press(t *testing.T, keys *os.File, s string) {
	t.Helper()
	if _, err := keys.WriteString(s); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
}
