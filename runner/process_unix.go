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
	prepareSystem()
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

// startGroup starts child as the first of its group, watched if that is possible.
func startGroup(child *exec.Cmd, tty *terminal) (*processGroup, error) {
	if !tty.given() && signal.Ignored(unix.SIGINT) {
		// Caught here means at its default there.
		caught := make(chan os.Signal, 1)
		signal.Notify(caught, unix.SIGINT)
		defer signal.Stop(caught)
	}
	if child.Err != nil {
		return nil, child.Err
	}
	g := &processGroup{}
	if g.watchdog, g.watchErr = startWatchdog(); g.watchErr != nil {
		err := child.Start()
		if err == nil {
			g.id = child.Process.Pid
		}
		return g, err
	}
	start, err := holdBack(child)
	if err != nil {
		g.close()
		return nil, err
	}
	if err := child.Start(); err != nil {
		start.close(child)
		g.close()
		return nil, err
	}
	g.id = child.Process.Pid
	g.watchdog.join(g.id)
	if err := start.release(child); err != nil {
		_ = child.Wait()
		g.close()
		return nil, err
	}
	return g, nil
}

// processGroup is a group by the ID of its first process.
type processGroup struct {
	id       int
	watchdog *watchdog // nil: none could be started
	watchErr error     // why
	left     bool      // the watchdog, because the command itself is gone
}

func (g *processGroup) unwatched() <-chan error {
	c := make(chan error, 1)
	if g.watchdog == nil {
		c <- g.watchErr
		return c
	}
	go func() {
		<-g.watchdog.gone
		c <- nil
	}()
	return c
}

func (g *processGroup) close() { g.watchdog.end() }

func (g *processGroup) interrupt() error {
	g.watchdog.announce()
	return g.signal(unix.SIGINT)
}

func (g *processGroup) terminate() error { return g.signal(unix.SIGTERM) }
func (g *processGroup) kill() error      { return g.signal(unix.SIGKILL) }

func (g *processGroup) signal(sig unix.Signal) error {
	err := unix.Kill(-g.id, sig)
	if err == nil { // it reached one of the group, which may be the watchdog: may it reach the command?
		err = unix.Kill(g.id, 0)
	}
	if errors.Is(err, unix.ESRCH) {
		return nil // gone, as it should be
	}
	return err
}

func (g *processGroup) alive() bool {
	if !g.left {
		g.left = true
		g.watchdog.leave()
	}
	// A zombie counts as a member. Orphans are ours to reap on Linux, and wherever we are the first process of a
	// container.
	for {
		pid, err := unix.Wait4(-g.id, nil, unix.WNOHANG, nil)
		if pid <= 0 && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return !errors.Is(unix.Kill(-g.id, 0), unix.ESRCH)
}

func exitBy(state *os.ProcessState) exit {
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
