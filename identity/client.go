package identity

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/statelatch/statelatch"
)

// Liveness is what can be told from here about a process.
type Liveness string

// The verdicts of [Process.Alive].
const (
	Unknown Liveness = "unknown" // it is, or may be, out of sight: another host, boot or PID namespace
	Alive   Liveness = "alive"   // certainly
	Dead    Liveness = "dead"    // certainly: its PID is free, or belongs to a later process
)

// Process is what runs a Statelatch command, as a lock names it. Its text form is
//
//	HOST/PID/START/SCOPE
//
// where START is when the process began, in clock ticks since the boot, and SCOPE is the kernel's boot ID and
// PID namespace, the bounds within which PID and START mean one process. START and SCOPE are
// empty on systems other than Linux.
type Process struct {
	Host  string // for people; the SCOPE tells hosts apart
	PID   int    // in its namespace
	Start string // see above; empty: not known
	Scope string // see above; empty: not known
}

// Client is the text form of this process.
func Client() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	host = strings.ReplaceAll(line(host, maxWord), "/", "-")
	p := Process{Host: host, PID: os.Getpid()}
	if start, _, err := started(p.PID); err == nil {
		p.Start, p.Scope = start, scope()
	}
	return p.String()
}

// String is the text form.
func (p Process) String() string {
	return strings.Join([]string{p.Host, strconv.Itoa(p.PID), p.Start, p.Scope}, "/")
}

// ParseClient reads the text form. The error matches [statelatch.ErrInvalid].
func ParseClient(s string) (Process, error) {
	fields := strings.Split(s, "/")
	if len(fields) != 4 {
		return Process{}, fmt.Errorf("%w client %q: want HOST/PID/START/SCOPE", statelatch.ErrInvalid, s)
	}
	pid, err := strconv.ParseInt(fields[1], 10, 32)
	if err != nil || pid <= 0 {
		return Process{}, fmt.Errorf("%w client %q: %q is no process ID", statelatch.ErrInvalid, s, fields[1])
	}
	if _, err := strconv.ParseUint(cmp.Or(fields[2], "0"), 10, 64); err != nil {
		return Process{}, fmt.Errorf("%w client %q: %q is no start time", statelatch.ErrInvalid, s, fields[2])
	}
	return Process{Host: fields[0], PID: int(pid), Start: fields[2], Scope: fields[3]}, nil
}

// Alive looks for p. It says [Dead] only if that is certain: an equal host name proves
// nothing, as containers and cloned machines share one.
func (p Process) Alive() Liveness {
	if p.Start == "" || p.Scope == "" || p.Scope != scope() {
		return Unknown
	}
	return p.look()
}
