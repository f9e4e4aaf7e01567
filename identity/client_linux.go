package identity

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// scope is the boot ID and the PID namespace; empty if the kernel does not tell.
func scope() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, err := os.Readlink("/proc/self/ns/pid") // such as pid:[4026531836]
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + "." + strings.Trim(namespace, "pid:[]")
}

// started reads when a process began and the letter of its state.
func started(pid int) (start string, state byte, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, err
	}
	// The second field is the program's name, which may contain anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return "", 0, fmt.Errorf("%w: /proc/%d/stat has %d fields", errors.ErrUnsupported, pid, len(fields))
	}
	return string(fields[19]), fields[0][0], nil // fields 22 and 3
}

func (p Process) look() Liveness {
	// Asked first, because /proc may hide the processes of others.
	if errors.Is(syscall.Kill(p.PID, 0), syscall.ESRCH) {
		return Dead
	}
	start, state, err := started(p.PID)
	switch {
	case err != nil:
		return Unknown
	case start != p.Start, state == 'Z', state == 'X': // a zombie does nothing any more
		return Dead
	}
	return Alive
}
