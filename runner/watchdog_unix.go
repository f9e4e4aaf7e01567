//go:build unix

package runner

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A watchdog is a process that interrupts the command's group, once, if this process dies without having done so,
// whatever killed it. It is this program once more, and knows of the death by the end of a pipe.
//
// It is a member of the group while the command itself lives. So the number of the group stays the group's, and
// whatever interrupts the whole group, from here or from a terminal, reaches the watchdog too, and then it does
// nothing: a second interrupt makes an engine give up. A parent death signal (Linux) would come once for each thread of
// the parent.
type watchdog struct {
	to   *os.File // its orders, one a line; our end of the pipe
	from *os.File // a byte for every order that is to be waited for
	due  int      // of those bytes
	gone chan struct{}
	proc *os.Process
}

// The orders of a watchdog.
const (
	orderJoin     = "join " // and the number of the group
	orderLeave    = "leave"
	orderAnnounce = "interrupt" // an interrupt from here follows
	orderEnd      = "end"

	obeyed = "." // is the answer to join and leave
)

const (
	// watchdogName is the first argument that makes this program a watchdog. The name of the program is not in it: who
	// ends all processes of that name wants no command left behind.
	watchdogName = "run-watchdog"
	// watchdogDelay is how long a watchdog may take to obey.
	watchdogDelay = 5 * time.Second
	// lateDelay is how long a signal may be on its way that was sent before our death.
	lateDelay = 500 * time.Millisecond
)

// init is the program of a watchdog and of a starter: any program that uses this package can be one, tests included.
func init() {
	switch {
	case len(os.Args) == 0:
	case os.Args[0] == watchdogName:
		watch(os.Stdin, os.Stdout)
		os.Exit(0)
	case os.Args[0] == starterName && len(os.Args) > 3:
		become(os.Args[1], os.Args[2], os.Args[3:])
	}
}

// ourselves is this program.
func ourselves() (string, error) {
	if runtime.GOOS == "linux" {
		return "/proc/self/exe", nil // also if the file was replaced or removed meanwhile
	}
	return os.Executable()
}

// startWatchdog starts one that watches nothing yet.
func startWatchdog() (*watchdog, error) {
	program, err := ourselves()
	if err != nil {
		return nil, err
	}
	orders, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer orders.Close()
	from, answers, err := os.Pipe()
	if err != nil {
		_ = to.Close()
		return nil, err
	}
	defer answers.Close()
	cmd := &exec.Cmd{
		Path: program, Args: []string{watchdogName, strconv.Itoa(os.Getpid())}, Dir: "/", Env: []string{"GOMAXPROCS=1"},
		Stdin: orders, Stdout: answers, SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	if err := cmd.Start(); err != nil {
		_, _ = to.Close(), from.Close()
		return nil, err
	}
	w := &watchdog{to: to, from: from, gone: make(chan struct{}), proc: cmd.Process}
	go func() {
		_ = cmd.Wait()
		close(w.gone)
	}()
	return w, nil
}

// order sends one. A watchdog that is gone needs none.
func (w *watchdog) order(text string) {
	if w != nil {
		_, _ = io.WriteString(w.to, text+"\n")
	}
}

// join does not wait for a watchdog that is still starting.
func (w *watchdog) join(group int) {
	if w != nil {
		w.due++
		w.order(orderJoin + strconv.Itoa(group))
	}
}

// announce returns when the watchdog has joined the group, and so will see the interrupt that follows.
func (w *watchdog) announce() {
	w.settle()
	w.order(orderAnnounce)
}

// leave returns when the watchdog is no member of the group.
func (w *watchdog) leave() {
	if w != nil {
		w.due++
		w.order(orderLeave)
		w.settle()
	}
}

// settle waits until orders are obeyed, and ends a watchdog that does not.
func (w *watchdog) settle() {
	if w == nil || w.due == 0 {
		return
	}
	_ = w.from.SetReadDeadline(time.Now().Add(watchdogDelay))
	if _, err := io.ReadFull(w.from, make([]byte, w.due)); err != nil {
		_ = w.proc.Kill()
		<-w.gone
	}
	w.due = 0
}

// end returns when the watchdog is gone.
func (w *watchdog) end() {
	if w == nil {
		return
	}
	w.order(orderEnd)
	select {
	case <-w.gone:
	case <-time.After(watchdogDelay):
		_ = w.proc.Kill()
		<-w.gone
	}
	_, _ = w.to.Close(), w.from.Close()
}

// watch obeys orders until they end. An end without orderEnd is the death of who gives them.
func watch(orders io.Reader, answers io.Writer) {
	signal.Ignore(unix.SIGPIPE, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM)
	told := make(chan os.Signal, 16) // what the group was told, too
	signal.Notify(told, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	group, member, announced := 0, false, false
	for lines := bufio.NewScanner(orders); lines.Scan(); {
		switch order := lines.Text(); order {
		case orderAnnounce:
			announced = true
		case orderLeave:
			_ = unix.Setpgid(0, 0)
			announced = announced || len(told) > 0
			member = false
			_, _ = io.WriteString(answers, obeyed)
		case orderEnd:
			return
		default:
			group, _ = strconv.Atoi(strings.TrimPrefix(order, orderJoin))
			member = group > 0 && unix.Setpgid(0, group) == nil
			_, _ = io.WriteString(answers, obeyed)
		}
	}
	switch {
	case group <= 0:
		return
	case member:
		select {
		case <-told:
			return
		case <-time.After(lateDelay):
		}
	case announced:
		return
	case unix.Kill(group, 0) == nil:
		// the command itself is gone, so this is another process: nothing of the group is left, and its number is in use
		// again
		return
	}
	_ = unix.Kill(-group, unix.SIGINT)
}
