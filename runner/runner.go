// Package runner runs a command under a lock.
//
// What it guarantees: the command's output is not touched and nothing is added to it (B28); its exit code is
// handed on; Run returns when the command and every process that it left in its process group are gone, so that the
// lock is not released over the head of one that still writes (B15, B27), or it says what is left; each process gets at
// most one interrupt from here, because a second one makes terraform give up without saving; and when the lease of the
// lock is lost the command is stopped before the lease is over (B8), also after a sleep of the machine.
//
// What it does not: stop processes that left the process group (setsid, a daemon) or that run as somebody else (sudo);
// keep the lock when this process itself is killed: then the lease runs out.
//
// # Our own death
//
// Whatever ends this process, kill -9 and a panic included, the command's group gets one SIGINT, unless it got one
// before: a watchdog sees to it, a process that is this program once more and ends with Run. If that one is killed,
// [Unwatched] tells it and the command runs on. On Windows a job object stands for the group, and kills it when we die.
//
// # Signals
//
// A signal that was ignored when this process started stays ignored, see [EndSignals], and the command inherits that.
// One exception: SIGINT is at its default for a command that is not in the foreground of a terminal, where no Ctrl-C
// reaches it, because SIGINT is how it is asked to end.
//
// The first signal is passed on as SIGINT to the whole process group, once, whichever it was: that is what a terminal
// does, so nothing between us and the engine (sh, make, terragrunt) passes it on a second time, as some do with
// SIGTERM, and shells wait for their command instead of leaving it behind. The command may then take as long as it
// needs. A second signal limits that to [Command.Grace]; after it the group gets SIGTERM, and 10 s later SIGKILL. The
// end of the context does both at once.
//
// If standard input is a terminal and we are in its foreground, the command's group becomes the foreground: Ctrl-C
// reaches it from the terminal and does not reach us, until the command itself is gone. A hang-up of that terminal
// reaches the group from the kernel, too, as it would without us. SIGTSTP, SIGTTIN and SIGTTOU are ignored by us and,
// by inheritance, by the command: nobody can stop the renewal of the lease with Ctrl-Z, and a command in the background
// that reads from the terminal gets an error instead of standing still with the lock in its hand. A program that shares
// a pipe with us and reads the terminal itself, such as less, should be given a file.
package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"time"

	"github.com/statelatch/statelatch"
)

const (
	defaultGrace = 30 * time.Second
	// killDelay is between SIGTERM and SIGKILL. On its second signal terraform waits up to 5 s for what it was doing,
	// and then saves.
	killDelay = 10 * time.Second
	// goneDelay is how long a killed process may take to vanish. One that hangs in the kernel never does.
	goneDelay = 10 * time.Second
	// outputDelay is how long output is still copied once the group is gone: a daemon that left it may hold the pipe
	// for ever.
	outputDelay = time.Second
)

// The exit codes of a command that could not be started, as shells have them.
const (
	exitCannotRun = 126
	exitNotFound  = 127
	exitSignal    = 128 // plus the number of the signal that ended the command
)

// Lease is the lock that a command runs under, as far as the command is concerned.
type Lease interface {
	// Lost is closed when the lock is known to be lost or will soon be.
	Lost() <-chan struct{}
	// Remaining is how long nobody else can have the lock, on a clock that runs while the machine sleeps. Very long
	// without a lease.
	Remaining() time.Duration
}

// Command is what to run. Args is required; the other zero values are good.
type Command struct {
	Args []string // the program, looked up in PATH, and its arguments
	Dir  string   // empty: the current directory
	Env  []string // nil: our own; of our own variables, STATELATCH_..., only some are handed on, and no secret

	// Stdin is handed to the command as it is. Nil: the null device. Stdout and Stderr are too if they are files, so
	// that a terminal stays one; anything else is copied to through a pipe. Nil: the null device.
	Stdin          *os.File
	Stdout, Stderr io.Writer // see Stdin

	// Grace is how long the command may take to end once it must. 0: 30 s.
	Grace time.Duration
	// Notify is told what is done to the command, for people. It must not block. Nil: nobody is told.
	Notify func(Event)
}

// Event is something that Run did to the command or noticed.
type Event struct {
	Step  Step  // what was done
	Cause Cause // why
	// Wait is how long until the next, harder step. 0: as long as it takes.
	Wait time.Duration
	// Err says why a signal could not be delivered.
	Err error
}

// Step is what happens to a command, in the order of hardness.
type Step int

// The steps. Linger does nothing yet: the command is gone, processes of its group are not, and they are waited for.
const (
	Linger    Step = iota // see above
	Interrupt             // the signal of Ctrl-C was sent
	Limit                 // nothing is sent, but the time until Terminate runs from now
	Terminate             // SIGTERM was sent
	Kill                  // the command and its group were killed
	// nothing is sent, but the death of this process would leave the command without an interrupt; Err may say why
	Unwatched
)

// Cause is why.
type Cause int

// The causes. Leftover: processes that the command left behind do not end by themselves.
const (
	Signal    Cause = iota // we were sent one
	Cancelled              // the context ended
	LeaseLost              // the lock is lost, or will be before the command could end
	Leftover               // see above
)

// Result is how a command ended.
type Result struct {
	// ExitCode is the command's own; 128 + n if signal n ended it; 127 if it was not found, 126 if it could not be run.
	ExitCode int
	// Lost: the lease was lost while the command or something it left still ran.
	Lost bool
	// Killed: the group got SIGKILL.
	Killed bool
	// Leftover: processes of the group could not be ended and still run. The lock should not be released.
	Leftover bool
}

// Run runs cmd and returns when it and its process group are gone. See the package comment for what signals do. A nil
// lease is none. At most one Run at a time: the terminal, the handling of job control signals and, on Linux, the
// adoption of orphans belong to the whole process, and the last two stay as they are after Run.
//
// An error means that the command did not start: ErrLockLost if the lease was over already, else ErrInvalid with an
// ExitCode of 126 or 127. How it ended is no error.
func Run(ctx context.Context, cmd Command, lease Lease, signals <-chan os.Signal) (Result, error) {
	if len(cmd.Args) == 0 || cmd.Args[0] == "" {
		return Result{ExitCode: exitNotFound},
			fmt.Errorf("%w command %q: it is empty; give the program to run", statelatch.ErrInvalid, cmd.Args)
	}
	if lease != nil && isLost(lease) {
		return Result{ExitCode: exitCannotRun, Lost: true},
			fmt.Errorf("%w before %s was started; nothing was run", statelatch.ErrLockLost, cmd.Args[0])
	}
	if cmd.Dir != "" {
		if info, err := os.Stat(cmd.Dir); err != nil {
			return Result{ExitCode: exitCannotRun}, fmt.Errorf("%w directory %q: %w", statelatch.ErrInvalid, cmd.Dir, err)
		} else if !info.IsDir() {
			return Result{ExitCode: exitCannotRun},
				fmt.Errorf("%w directory %q: it is not a directory", statelatch.ErrInvalid, cmd.Dir)
		}
	}
	if cmd.Grace == 0 {
		cmd.Grace = defaultGrace
	}

	// The end of ctx is a request to stop, not a kill.
	child := exec.CommandContext(context.WithoutCancel(ctx), cmd.Args[0], cmd.Args[1:]...) //nolint:gosec // to run what it is given is this package's purpose
	child.Dir, child.Env = cmd.Dir, childEnv(cmd.Env)
	child.Stdout, child.Stderr = cmd.Stdout, cmd.Stderr
	child.WaitDelay = outputDelay
	if cmd.Stdin != nil {
		child.Stdin = cmd.Stdin
	}
	tty := prepare(child, cmd.Stdin)
	group, err := startGroup(child, tty)
	if err != nil {
		tty.takeBack()
		return startError(cmd.Args[0], err)
	}
	defer group.close()

	s := supervisor{
		cmd: cmd, group: group, exited: exitOf(child.Process), unwatched: group.unwatched(), terminal: tty,
		lease: lease, signals: signals,
	}
	result := s.run(ctx)
	tty.takeBack()
	if !result.Leftover {
		// The process was waited for already; this waits for the copying of output, within outputDelay.
		_ = child.Wait()
	}
	return result, nil
}

// exitOf returns where it will be said how p ended.
func exitOf(p *os.Process) <-chan exit {
	exited := make(chan exit, 1)
	go func() {
		state, err := p.Wait()
		if err != nil {
			// Only somebody else's wait in this process can cause this; how the child ended is not known.
			exited <- exit{code: exitCannotRun}
			return
		}
		exited <- exitBy(state)
	}()
	return exited
}

func startError(name string, err error) (Result, error) {
	code, hint := exitCannotRun, ""
	switch {
	case errors.Is(err, exec.ErrNotFound):
		code, hint = exitNotFound, "; is it installed and in PATH?"
	case errors.Is(err, fs.ErrNotExist):
		code, hint = exitNotFound, "; the file, or the interpreter that its first line names, does not exist"
	case errors.Is(err, exec.ErrDot):
		hint = "; to run a program of the current directory, write its path, such as ./" + name
	case errors.Is(err, fs.ErrPermission):
		hint = "; is it an executable file?"
	case isFormatError(err):
		hint = "; a script needs a first line such as #!/bin/sh"
	}
	return Result{ExitCode: code}, fmt.Errorf("%w command %q: %w%s", statelatch.ErrInvalid, name, err, hint)
}
