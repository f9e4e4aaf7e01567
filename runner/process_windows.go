package runner

import (
	"errors"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// prepare keeps Ctrl-C from child, which gets Ctrl-Break from us instead.
func prepare(child *exec.Cmd, _ *os.File) *terminal {
	child.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
	return nil
}

// terminal is nothing here: a console has no foreground group.
type terminal struct{}

func (*terminal) given() bool { return false }
func (*terminal) takeBack()   {}

// process is the child alone: Windows does not keep the processes that it starts together.
type process struct{ *os.Process }

func groupOf(p *os.Process) group { return process{p} }

// interrupt sends Ctrl-Break to what shares the console with the child's group; Go programs take it for an interrupt.
func (p process) interrupt() error {
	return windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(p.Pid))
}

// terminate does nothing: there is no request between Ctrl-Break and the kill.
func (p process) terminate() error { return nil }

func (p process) kill() error {
	if err := p.Kill(); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (p process) alive() bool { return false }

func exitOf(state *os.ProcessState) exit { return exit{code: state.ExitCode()} }

func isFormatError(err error) bool { return errors.Is(err, windows.ERROR_BAD_EXE_FORMAT) }
