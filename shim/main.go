package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/engine"
)

// depthVariable counts shims that started each other. A version manager that looks for "the second in the PATH" could
// find itself for ever.
const (
	depthVariable = "STATELATCH_SHIM_DEPTH"
	maxDepth      = 16
)

// The exit codes of a shim that starts no engine, as shells have them.
const (
	exitCannotRun = 126
	exitNotFound  = 127
)

// inMain: Main was called, so that this program becomes a shim where it is started as one.
var inMain atomic.Bool

// CanServe reports whether this program has called [Main], without which engines would start it again and again.
func CanServe() bool { return inMain.Load() }

// Main is the whole program if it was started as the shim of an engine, and then does not return where an engine takes
// the process over; else it returns with ok false. args[0] is as the process got it.
func Main(args []string) (code int, ok bool) {
	inMain.Store(true)
	if len(args) == 0 || engine.NameOf(args[0]) == "" {
		return 0, false
	}
	own, err := exec.LookPath(args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return 0, false
	}
	dir := filepath.Dir(own)
	if !hasShims(dir) {
		return 0, false // somebody has renamed our program
	}
	s := shim{name: engine.NameOf(args[0]), above: Above{filepath.Dir(dir)}, args: args[1:], env: os.Environ()}
	if s.program, err = s.next(own); err != nil {
		s.say("%v", err)
		return exitNotFound, true
	}
	if err := s.countDepth(); err != nil {
		s.say("%v", err)
		return exitCannotRun, true
	}
	held, code := s.hold(context.Background())
	if code != 0 {
		return code, true
	}
	argv := s.args
	if held {
		argv = s.call().WithoutLock()
	}
	code, err = become(s.program, append([]string{s.program}, argv...), s.env)
	if err != nil {
		s.say("%s: %v", s.program, err)
		return exitCannotRun, true
	}
	return code, true
}

// shim is one call of an engine.
type shim struct {
	name, program string
	above         Above
	args, env     []string
}

func (s *shim) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "statelatch: "+format+"\n", args...)
}

func (s *shim) call() engine.Call { return engine.Parse(s.name, s.args, os.Getenv) }

// next is the engine to become.
func (s *shim) next(own string) (string, error) {
	if path, err := os.ReadFile(own + nextSuffix); err == nil {
		return string(path), nil
	}
	return next(s.name, os.Getenv("PATH"))
}

// next finds an engine in path, shims left out.
func next(name, path string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		if hasShims(dir) {
			continue
		}
		if dir == "" {
			dir = "."
		}
		// A name without a separator would be looked up in the PATH.
		program, err := exec.LookPath(strings.TrimSuffix(dir, string(filepath.Separator)) + string(filepath.Separator) + name)
		if err == nil || errors.Is(err, exec.ErrDot) {
			return program, nil
		}
	}
	return "", fmt.Errorf("%s: %w in the PATH behind the one that statelatch run put there", name, exec.ErrNotFound)
}

func (s *shim) countDepth() error {
	depth, _ := strconv.Atoi(os.Getenv(depthVariable))
	if depth >= maxDepth {
		return fmt.Errorf("%s finds no end: %s, the next in the PATH, starts %s again and again; start the "+
			"engine by its path",
			s.name, s.program, s.name)
	}
	s.env = slices.DeleteFunc(s.env, func(entry string) bool { return strings.HasPrefix(entry, depthVariable+"=") })
	s.env = append(s.env, depthVariable+"="+strconv.Itoa(depth+1))
	return nil
}

// hold reports whether the lock of the call's state is held above. A code that is not 0 ends the call before it begins.
func (s *shim) hold(ctx context.Context) (held bool, code int) {
	call := s.call()
	if call.Locking() == engine.Unlocked {
		return false, 0
	}
	dir, err := os.Getwd()
	if err != nil {
		return false, 0 // the engine has no directory either
	}
	answer, err := s.above.send(ctx, ask{PID: os.Getpid(), Name: s.name, Args: s.args, Dir: dir, Environ: telling(s.env)},
		func(text string) {
			fmt.Fprint(os.Stderr, text)
		})
	if err != nil {
		answer.Why = err.Error()
	}
	if answer.Why != "" {
		s.say("%s keeps its own lock: %s", call, statelatch.Printable(strings.ReplaceAll(answer.Why, "\n", "; ")))
	}
	return answer.Held, answer.ExitCode
}
