//go:build unix

package runner

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// prepare gives child a process group of its own, in the foreground of the terminal if we are there.
func prepare(child *exec.Cmd, stdin *os.File) *terminal {
	// Inherited by the child. SIGTTOU must be ignored for taking the terminal back from the background, too.
	signal.Ignore(unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU)
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	prepareSystem(child.SysProcAttr)
	if stdin == nil {
		return nil
	}
	fd := int(stdin.Fd())
	if front, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP); err != nil || front != unix.Getpgrp() {
		return nil
	}
	child.SysProcAttr.Foreground, child.SysProcAttr.Ctty = true, fd
	return &terminal{fd}
}

// terminal is one whose foreground the child was given. Nil: it was not.
type terminal struct{ fd int }

func (t *terminal) given() bool { return t != nil }

// takeBack makes us the foreground again.
func (t *terminal) takeBack() {
	if t != nil {
		// It fails if the terminal is gone, and then nobody misses it.
		_ = unix.IoctlSetPointerInt(t.fd, unix.TIOCSPGRP, unix.Getpgrp())
	}
}

// processGroup is a group by the ID of its first process.
type processGroup int

func groupOf(p *os.Process) group { return processGroup(p.Pid) }

func (g processGroup) interrupt() error { return g.signal(unix.SIGINT) }
func (g processGroup) terminate() error { return g.signal(unix.SIGTERM) }
func (g processGroup) kill() error      { return g.signal(unix.SIGKILL) }

func (g processGroup) signal(sig unix.Signal) error {
	err := unix.Kill(-int(g), sig)
	if errors.Is(err, unix.ESRCH) {
		return nil // gone, as it should be
	}
	return err
}

func (g processGroup) alive() bool {
	// A zombie counts as a member. Orphans are ours to bury on Linux, and wherever we are the first process of a container.
	for {
		pid, err := unix.Wait4(-int(g), nil, unix.WNOHANG, nil)
		if pid <= 0 && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return !errors.Is(unix.Kill(-int(g), 0), unix.ESRCH)
}

func exitOf(state *os.ProcessState) exit {
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return exit{code: state.ExitCode()}
	}
	switch sig := status.Signal(); sig {
	case unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM:
		// Asked to end, and so may have been its children.
		return exit{code: exitSignal + int(sig)}
	default:
		return exit{code: exitSignal + int(sig), killed: true}
	}
}

func isFormatError(err error) bool { return errors.Is(err, unix.ENOEXEC) }
