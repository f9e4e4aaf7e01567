package rig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Result is what a finished program left.
type Result struct {
	Stdout, Stderr string
	Code           int
}

func (r Result) String() string {
	return fmt.Sprintf("exit %d\n--- stdout\n%s--- stderr\n%s", r.Code, r.Stdout, r.Stderr)
}

// Process is a running program.
type Process struct {
	t    testing.TB
	Name string // the command line, for messages
	Cmd  *exec.Cmd
	In   io.WriteCloser
	Done chan struct{} // closed at its end

	mu       sync.Mutex
	out, err bytes.Buffer
	grew     chan struct{} // gets a value, if there is room, whenever output grew
}

// Start runs a program in dir. It is killed when the test ends, if it is still there.
func (w *World) Start(dir, program string, args ...string) *Process {
	w.T.Helper()
	return w.StartWith(func(*exec.Cmd) {}, dir, program, args...)
}

// StartWith is Start for a command that prepare changes first.
func (w *World) StartWith(prepare func(*exec.Cmd), dir, program string, args ...string) *Process {
	w.T.Helper()
	p := &Process{
		t: w.T, Name: filepath.Base(program) + " " + strings.Join(args, " "),
		Cmd: exec.Command(program, args...), Done: make(chan struct{}), grew: make(chan struct{}, 1),
	}
	p.Cmd.Dir = dir
	for k, v := range w.Env {
		p.Cmd.Env = append(p.Cmd.Env, k+"="+v)
	}
	p.Cmd.Stdout, p.Cmd.Stderr = &tap{p, &p.out}, &tap{p, &p.err}
	var err error
	if p.In, err = p.Cmd.StdinPipe(); err != nil {
		w.T.Fatal(err)
	}
	prepare(p.Cmd)
	if err := p.Cmd.Start(); err != nil {
		w.T.Fatal(err)
	}
	go func() {
		_ = p.Cmd.Wait()
		close(p.Done)
	}()
	w.T.Cleanup(func() {
		_ = p.Cmd.Process.Kill()
		<-p.Done
	})
	return p
}

// tap keeps one stream of a process and tells WaitFor when it grows.
type tap struct {
	p   *Process
	buf *bytes.Buffer
}

func (t *tap) Write(b []byte) (int, error) {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.buf.Write(b)
	select {
	case t.p.grew <- struct{}{}:
	default:
	}
	return len(b), nil
}

// Output is what an ended process left.
func (p *Process) Output() Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	code := -1
	if p.Cmd.ProcessState != nil {
		code = p.Cmd.ProcessState.ExitCode()
	}
	return Result{p.out.String(), p.err.String(), code}
}

// WaitFor waits until the output matches a regular expression, and returns the match with its groups.
func (p *Process) WaitFor(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(Patience)
	for {
		r := p.Snapshot()
		if m := re.FindStringSubmatch(r.Stdout + r.Stderr); m != nil {
			return m
		}
		select {
		case <-p.grew:
		case <-p.Done:
			r := p.Output()
			if m := re.FindStringSubmatch(r.Stdout + r.Stderr); m != nil {
				return m
			}
			p.t.Fatalf("%s ended before its output matched %q: %v", p.Name, pattern, r)
		case <-timeout:
			p.t.Fatalf("%s: no output matched %q: %v", p.Name, pattern, r)
		}
	}
}

// Snapshot is the output until now; its code is -1.
func (p *Process) Snapshot() Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Result{p.out.String(), p.err.String(), -1}
}

// Say writes a line to the standard input.
func (p *Process) Say(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.In, line+"\n"); err != nil {
		p.t.Fatalf("%s: %v", p.Name, err)
	}
}

// Signal sends a signal; a process that has ended gets none.
func (p *Process) Signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.Cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("%s: %v", p.Name, err)
	}
}

// Wait waits for the end.
func (p *Process) Wait() Result {
	p.t.Helper()
	select {
	case <-p.Done:
		return p.Output()
	case <-time.After(Patience):
		p.t.Fatalf("%s did not end: %v", p.Name, p.Snapshot())
		return Result{}
	}
}

// AwaitPort waits until a foreign server accepts connections.
func AwaitPort(tb testing.TB, p *Process, port string) {
	tb.Helper()
	deadline := time.Now().Add(Patience)
	for time.Now().Before(deadline) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-p.Done:
			tb.Fatalf("%s ended: %v", p.Name, p.Output())
		case <-time.After(20 * time.Millisecond):
		}
	}
	tb.Fatalf("%s does not listen on port %s: %v", p.Name, port, p.Snapshot())
}
