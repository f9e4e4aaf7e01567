package runner

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"unsafe"

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

// job is a job object: the command and everything that it starts, which the system ends if this process dies.
type job struct {
	*os.Process
	handle windows.Handle // 0: there is none, and the command is alone
	err    error          // why
}

// startGroup starts child in a job. It stands still until it is in there, so nothing that it starts gets away.
func startGroup(child *exec.Cmd, _ *terminal) (*job, error) {
	handle, jobErr := newJob()
	child.SysProcAttr.CreationFlags |= windows.CREATE_SUSPENDED
	if err := child.Start(); err != nil {
		_ = windows.CloseHandle(handle)
		return nil, err
	}
	j := &job{Process: child.Process, handle: handle, err: jobErr}
	if jobErr == nil {
		j.err = j.WithHandle(func(process uintptr) {
			jobErr = windows.AssignProcessToJobObject(handle, windows.Handle(process))
		})
	}
	if j.err = errors.Join(j.err, jobErr); j.err != nil {
		_ = windows.CloseHandle(handle)
		j.handle = 0
	}
	if err := resume(uint32(child.Process.Pid)); err != nil {
		_ = child.Process.Kill()
		_ = child.Wait()
		_ = windows.CloseHandle(j.handle)
		return nil, fmt.Errorf("it was started and could not be resumed: %w", err)
	}
	return j, nil
}

// newJob makes a job that ends with its last handle, which is ours.
func newJob() (windows.Handle, error) {
	handle, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return 0, fmt.Errorf("make job object: %w", err)
	}
	if err := endWithUs(handle, true); err != nil {
		_ = windows.CloseHandle(handle)
		return 0, err
	}
	return handle, nil
}

// endWithUs says whether closing the last handle of a job ends its processes. Those that ask to break away may.
func endWithUs(job windows.Handle, ends bool) error {
	limits := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{}
	limits.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_BREAKAWAY_OK
	if ends {
		limits.BasicLimitInformation.LimitFlags |= windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	}
	_, err := windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation, //nolint:gosec // the call takes an address
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)))
	if err != nil {
		return fmt.Errorf("limit job object: %w", err)
	}
	return nil
}

// resume lets the threads of a process go on; one that was started suspended has one.
func resume(pid uint32) error {
	snapshot, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPTHREAD, 0)
	if err != nil {
		return err
	}
	defer func() { _ = windows.CloseHandle(snapshot) }()
	entry := windows.ThreadEntry32{Size: uint32(unsafe.Sizeof(windows.ThreadEntry32{}))}
	for err = windows.Thread32First(snapshot, &entry); err == nil; err = windows.Thread32Next(snapshot, &entry) {
		if entry.OwnerProcessID != pid {
			continue
		}
		thread, err := windows.OpenThread(windows.THREAD_SUSPEND_RESUME, false, entry.ThreadID)
		if err != nil {
			return err
		}
		_, err = windows.ResumeThread(thread)
		return errors.Join(err, windows.CloseHandle(thread))
	}
	return err
}

func (j *job) unwatched() <-chan error {
	c := make(chan error, 1)
	if j.handle == 0 {
		c <- j.err
	}
	return c
}

// close leaves alone what could not be ended.
func (j *job) close() {
	if j.handle != 0 {
		_ = endWithUs(j.handle, false)
		_ = windows.CloseHandle(j.handle)
	}
}

// interrupt sends Ctrl-Break to what shares the console with the child's group; Go programs take it for an interrupt.
func (j *job) interrupt() error {
	return windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(j.Pid))
}

// terminate does nothing: there is no request between Ctrl-Break and the kill.
func (j *job) terminate() error { return nil }

func (j *job) kill() error {
	if j.handle != 0 {
		return windows.TerminateJobObject(j.handle, 1)
	}
	if err := j.Kill(); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (j *job) alive() bool {
	if j.handle == 0 {
		return false
	}
	var counts struct { // JOBOBJECT_BASIC_ACCOUNTING_INFORMATION
		times                                   [4]int64
		faults, total, active, terminatedByThem uint32
	}
	err := windows.QueryInformationJobObject(j.handle, windows.JobObjectBasicAccountingInformation,
		uintptr(unsafe.Pointer(&counts)), uint32(unsafe.Sizeof(counts)), nil)
	return err == nil && counts.active > 0
}

func exitBy(state *os.ProcessState) exit { return exit{code: state.ExitCode()} }

func isFormatError(err error) bool { return errors.Is(err, windows.ERROR_BAD_EXE_FORMAT) }
