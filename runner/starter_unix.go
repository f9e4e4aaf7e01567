//go:build unix

package runner

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// A starter is the command's process before it is the command: this program once more, which waits until the watchdog
// knows the process and then becomes the command. If we die before, the command never starts; there is no moment in
// which it runs unwatched.
type starter struct {
	command string
	ready   *os.File // a byte lets it go on
	failed  *os.File // says why the command could not be started; ends when it was
}

const (
	// starterName is the first argument that makes this program a starter.
	starterName = "run-starter"
	// The files of a starter, after the three that are the command's.
	readyFile, failedFile = 3, 4

	quitIgnored = "quit-ignored" // is Go's to forget, so it is told
)

// holdBack makes a starter of child, which was not started yet.
func holdBack(child *exec.Cmd) (*starter, error) {
	program, err := ourselves()
	if err != nil {
		return nil, err
	}
	theirReady, ready, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	failed, theirFailed, err := os.Pipe()
	if err != nil {
		_, _ = ready.Close(), theirReady.Close()
		return nil, err
	}
	quit := ""
	if signal.Ignored(unix.SIGQUIT) {
		quit = quitIgnored
	}
	s := &starter{command: child.Path, ready: ready, failed: failed}
	child.Args = append([]string{starterName, quit, child.Path}, child.Args...)
	child.Path = program
	child.ExtraFiles = []*os.File{theirReady, theirFailed}
	return s, nil
}

// release returns when the process is the command, or the error that kept it from that.
func (s *starter) release(child *exec.Cmd) error {
	defer s.close(child)
	_, _ = s.ready.WriteString(".") // an error is that of a starter which is gone, and which Wait will tell of
	for _, theirs := range child.ExtraFiles {
		_ = theirs.Close()
	}
	why, err := io.ReadAll(s.failed)
	if err != nil || len(why) == 0 {
		return err
	}
	number, err := strconv.Atoi(string(why))
	if err != nil {
		return err
	}
	return &os.PathError{Op: "exec", Path: s.command, Err: syscall.Errno(number)}
}

func (s *starter) close(child *exec.Cmd) {
	_, _ = s.ready.Close(), s.failed.Close()
	for _, theirs := range child.ExtraFiles {
		_ = theirs.Close()
	}
}

// become waits and makes this process a command. It does not return.
func become(quit, path string, args []string) {
	unix.CloseOnExec(readyFile)
	unix.CloseOnExec(failedFile)
	if n, err := os.NewFile(readyFile, "ready").Read(make([]byte, 1)); n == 0 || err != nil {
		os.Exit(exitCannotRun) // who started this is dead
	}
	if quit == quitIgnored {
		signal.Ignore(unix.SIGQUIT)
	}
	err := syscall.Exec(path, args, os.Environ()) //nolint:gosec // to run what it is given is this package's purpose
	var number syscall.Errno
	_ = errors.As(err, &number)
	_, _ = os.NewFile(failedFile, "failed").WriteString(strconv.Itoa(int(number)))
	os.Exit(exitCannotRun)
}
