//go:build unix

package runner

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// helperVariable turns this test binary into one of the programs below.
const helperVariable = "RUNNER_TEST_HELPER"

// patience bounds every wait for another process; nothing is measured with it.
const patience = time.Minute

func TestMain(m *testing.M) {
	switch os.Getenv(helperVariable) {
	case "":
		goleak.VerifyTestMain(m)
	case "report":
		report(os.Args[1])
	case "parent":
		parent(nil)
	case "daemon":
		parent(&syscall.SysProcAttr{Setsid: true})
		os.Exit(0)
	case "run":
		runHelper()
	case "nested":
		fmt.Printf("nested %d\n", os.Getpid())
		_ = os.Setenv("RUNNER_TEST_INNER", "report")
		runHelper()
	}
}

// report tells which signals it gets, and ends with its input, or with SIGTERM and code 7.
func report(name string) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	eof := make(chan struct{})
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		if front, ttyErr := unix.IoctlGetInt(0, unix.TIOCGPGRP); err != nil && ttyErr == nil && front != unix.Getpgrp() {
			return // in the background of a terminal a read fails; that is no end of the input
		}
		close(eof)
	}()
	front, _ := unix.IoctlGetInt(1, unix.TIOCGPGRP)
	fmt.Printf("%s %d ready foreground=%t\n", name, os.Getpid(), front == unix.Getpgrp())
	for {
		select {
		case sig := <-signals:
			fmt.Printf("%s got %s\n", name, unix.SignalName(sig.(syscall.Signal)))
			if sig == unix.SIGTERM {
				os.Exit(7)
			}
		case <-eof:
			fmt.Printf("%s end\n", name)
			os.Exit(0)
		}
	}
}

// parent starts a reporter named "child" and, unless that is a daemon, reports itself, too.
func parent(attr *syscall.SysProcAttr) {
	child := exec.Command(os.Args[0], "child")
	child.Env = append(os.Environ(), helperVariable+"=report")
	child.Stdin, child.Stdout, child.Stderr, child.SysProcAttr = os.Stdin, os.Stdout, os.Stderr, attr
	if err := child.Start(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if attr == nil {
		report("parent")
	}
}

// runHelper is a small "statelatch run": the helper it names runs the rest of the command line.
func runHelper() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	_ = os.Setenv(helperVariable, os.Getenv("RUNNER_TEST_INNER"))
	cmd := Command{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	verbose := os.Getenv("RUNNER_TEST_SUMMARY") != ""
	if verbose {
		cmd.Notify = func(e Event) { fmt.Printf("event %+v\n", e) }
	}
	result, err := Run(context.Background(), cmd, nil, signals)
	if verbose {
		front, _ := unix.IoctlGetInt(0, unix.TIOCGPGRP)
		fmt.Printf("summary code=%d signals=%d foreground=%t err=%v\n", result.ExitCode, len(signals), front == unix.Getpgrp(), err)
	}
	os.Exit(result.ExitCode)
}

// transcript collects the lines of helpers.
type transcript struct {
	t     *testing.T
	lines chan string
	seen  []string
}

func newTranscript(t *testing.T, r io.Reader) *transcript {
	t.Helper()
	tr := &transcript{t: t, lines: make(chan string, 256)}
	go func() {
		defer close(tr.lines)
		for sc := bufio.NewScanner(r); sc.Scan(); {
			tr.lines <- sc.Text()
		}
	}()
	return tr
}

// wait waits until all texts have been part of some line, and returns the line of the first.
func (tr *transcript) wait(texts ...string) string {
	tr.t.Helper()
	timeout := time.After(patience)
	for {
		first, missing := "", ""
		for i, text := range texts {
			line := tr.find(text)
			if line == "" {
				missing = text
			}
			if i == 0 {
				first = line
			}
		}
		if missing == "" {
			return first
		}
		select {
		case line, ok := <-tr.lines:
			if !ok {
				tr.t.Fatalf("output ended without %q: %q", missing, tr.seen)
			}
			tr.seen = append(tr.seen, line)
		case <-timeout:
			tr.t.Fatalf("no output had %q: %q", missing, tr.seen)
		}
	}
}

func (tr *transcript) find(text string) string {
	for _, line := range tr.seen {
		if strings.Contains(line, text) {
			return line
		}
	}
	return ""
}

// count reads to the end of the output and returns how often text was in it.
func (tr *transcript) count(text string) int {
	for line := range tr.lines {
		tr.seen = append(tr.seen, line)
	}
	return strings.Count(strings.Join(tr.seen, "\n"), text)
}

// pid is the process that reported itself by name.
func (tr *transcript) pid(name string) int {
	tr.t.Helper()
	var pid int
	line := tr.wait(name + " ")
	_, report, _ := strings.Cut(line, name+" ")
	if _, err := fmt.Sscanf(report, "%d ready", &pid); err != nil {
		tr.t.Fatalf("%q: %v", line, err)
	}
	return pid
}

// job is a Run of a helper.
type job struct {
	*transcript
	in      *os.File // the helpers end with it
	cancel  context.CancelFunc
	signals chan os.Signal
	events  chan Event
	done    chan Result
}

func startJob(t *testing.T, helper string, cmd Command, lease Lease) *job {
	t.Helper()
	stdin, in := pipe(t)
	r, out := pipe(t)
	ctx, cancel := context.WithCancel(t.Context())
	j := &job{
		transcript: newTranscript(t, r), in: in, cancel: cancel,
		signals: make(chan os.Signal, 2), events: make(chan Event, 64), done: make(chan Result, 1),
	}
	cmd.Env = append(os.Environ(), helperVariable+"="+helper)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, out, os.Stderr
	cmd.Notify = func(e Event) { j.events <- e }
	go func() {
		result, err := Run(ctx, cmd, lease, j.signals)
		if err != nil {
			t.Errorf("Run: %v", err)
		}
		_ = out.Close()
		j.done <- result
	}()
	t.Cleanup(func() {
		_ = in.Close()
		cancel()
	})
	return j
}

// end closes the helpers' input and returns what Run returned.
func (j *job) end() Result {
	j.t.Helper()
	_ = j.in.Close()
	return j.result()
}

func (j *job) result() Result {
	j.t.Helper()
	select {
	case result := <-j.done:
		return result
	case <-time.After(patience):
		j.t.Fatalf("Run did not return; output %q", j.seen)
		return Result{}
	}
}

// event waits for the event with a step.
func (j *job) event(step Step) Event {
	j.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-j.events:
			if e.Step == step {
				return e
			}
		case <-timeout:
			j.t.Fatalf("no event had step %d; output %q", step, j.seen)
		}
	}
}

// eventually waits until a condition of other processes holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.Close()
		_ = r.Close()
	})
	return r, w
}

// fakeLease is lost when told so.
type fakeLease struct {
	lost      chan struct{}
	remaining atomic.Int64
}

func newLease(remaining time.Duration) *fakeLease {
	l := &fakeLease{lost: make(chan struct{})}
	l.remaining.Store(int64(remaining))
	return l
}

func (l *fakeLease) Lost() <-chan struct{}    { return l.lost }
func (l *fakeLease) Remaining() time.Duration { return time.Duration(l.remaining.Load()) }

const noEnd = time.Duration(math.MaxInt64)

// self is this test binary.
func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
