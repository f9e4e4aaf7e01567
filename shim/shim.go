// Package shim puts a program of ours in front of terraform and tofu for everything that a command starts, so that an
// engine's own lock is switched off only where the process that started the command holds the lock of that very state.
//
// The command gets a PATH whose first directory has our program under the engines' names. Started so, it ([Main]) finds
// out which state the call is about, asks the process above over a local socket to hold it ([Dir.Serve]), and becomes
// the next engine in the PATH with -lock=false. In every other case the engine's own lock stays on: where the state is
// not known, where nobody answers, where the call takes no lock, and where an engine is started by its path or with a
// PATH of its own. Such an engine stops at the lock that is held.
package shim

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/engine"
)

// The layout of a shim's directory.
const (
	binDir     = "bin"    // first in the PATH: a link to our program for each engine
	directDir  = "direct" // links for engines that are started by their path, each beside a file that says which
	nextSuffix = ".next"
	socketName = "statelatch.sock"
)

// maxSocketPath is how long the path of a socket may be on every system.
const maxSocketPath = 100

// Request is an engine that is about to start and whose lock may be switched off.
type Request struct {
	Call  engine.Call  // the command line; zero: it is not known
	State engine.State // its Ref alone where OnlyIfHeld is true and there is no Call
	Dir   string       // that the engine works in
	PID   int          // of the engine
	// Store is where the bucket is, as s3bucket.Bucket.Store names it, where there is no Call.
	Store string
	// Environ is the engine's environment, as far as it says how to reach a bucket and which state is meant.
	Environ []string
	// OnlyIfHeld: nothing may be locked for it, but if the state is locked already the answer is yes.
	OnlyIfHeld bool
}

// Answer is what becomes of a Request.
type Answer struct {
	Held     bool // the lock of the state is held, so that the engine's may be switched off
	ExitCode int  // if not 0, the engine must not be started, and the shim ends with it
	// Why the engine keeps its own lock, to be said; empty: that goes without saying.
	Why string
}

// Holder holds locks for engines. Its ctx ends when the shim that asks is gone, and what is said by say is shown by the
// shim. It is called by several shims at a time.
type Holder func(ctx context.Context, r Request, say func(text string)) Answer

// Dir is a directory of shims and the socket at which they ask. Close removes it.
type Dir struct {
	path     string
	self     string
	listener net.Listener
	token    string // that who asks must know; empty where only this user can ask
	open     sync.WaitGroup
	closing  sync.Once
	closed   error
}

// Open makes a directory of shims for the engines in path, a list as in PATH. An engine that is not there gets none:
// programs such as terragrunt look which one is installed. Errors match [statelatch.ErrInvalid].
func Open(ctx context.Context, path string) (*Dir, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("%w program: where it is cannot be told: %w", statelatch.ErrInvalid, err)
	}
	dir, err := makeDir()
	if err != nil {
		return nil, fmt.Errorf("%w temporary directory: %w; set TMPDIR to one that can be written", statelatch.ErrInvalid,
			err)
	}
	d := &Dir{path: dir, self: self}
	if err := d.fill(ctx, path); err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("%w temporary directory %s: %w", statelatch.ErrInvalid, dir, err)
	}
	return d, nil
}

// makeDir makes a directory that only this user can enter, with a path short enough for a socket in it.
func makeDir() (string, error) {
	const pattern = "statelatch-run-"
	dir, err := os.MkdirTemp("", pattern)
	if err != nil || len(filepath.Join(dir, socketName)) <= maxSocketPath || runtime.GOOS == "windows" {
		return dir, err
	}
	_ = os.Remove(dir)
	return os.MkdirTemp("/tmp", pattern)
}

func (d *Dir) fill(ctx context.Context, path string) error {
	for _, sub := range []string{binDir, directDir} {
		if err := os.Mkdir(filepath.Join(d.path, sub), 0o700); err != nil {
			return err
		}
	}
	for _, name := range engine.Names {
		if _, err := next(name, path); err != nil {
			continue
		}
		if err := link(d.self, filepath.Join(d.path, binDir, programName(name))); err != nil {
			return err
		}
	}
	var err error
	d.listener, d.token, err = listen(ctx, filepath.Join(d.path, socketName))
	return err
}

func programName(name string) string {
	if runtime.GOOS == "windows" {
		return name + ".exe"
	}
	return name
}

// Env returns env with the shims in front of its PATH.
func (d *Dir) Env(env []string) []string {
	env = slices.Clone(env)
	bin := filepath.Join(d.path, binDir)
	for i, entry := range slices.Backward(env) {
		name, value, _ := strings.Cut(entry, "=")
		if name == "PATH" || runtime.GOOS == "windows" && strings.EqualFold(name, "PATH") {
			env[i] = strings.TrimSuffix(name+"="+bin+string(os.PathListSeparator)+value, string(os.PathListSeparator))
			return env
		}
	}
	return append(env, "PATH="+bin)
}

// Program is what to start in place of an engine: its shim, also for one that is named by its path.
func (d *Dir) Program(program string) (string, error) {
	name := engine.NameOf(program)
	if name == "" {
		return program, nil
	}
	if filepath.Base(program) == program {
		shim := filepath.Join(d.path, binDir, programName(name))
		if _, err := os.Stat(shim); err != nil {
			return program, nil //nolint:nilerr // it is not in the PATH; whoever starts it will say so
		}
		return shim, nil
	}
	path, err := filepath.Abs(program)
	if err != nil {
		return "", err
	}
	if _, err := exec.LookPath(path); err != nil {
		return program, nil //nolint:nilerr // as above
	}
	shim := filepath.Join(d.path, directDir, programName(name))
	if err := link(d.self, shim); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return shim, os.WriteFile(shim+nextSuffix, []byte(path), 0o600)
}

// Serve answers shims until Close or the end of ctx.
func (d *Dir) Serve(ctx context.Context, hold Holder) {
	d.open.Go(func() {
		for {
			conn, err := d.listener.Accept()
			if err != nil {
				return
			}
			d.open.Go(func() {
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				defer conn.Close()
				stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
				defer stop()
				d.serve(ctx, cancel, conn, hold)
			})
		}
	})
}

// serve answers one shim.
func (d *Dir) serve(ctx context.Context, gone func(), conn net.Conn, hold Holder) {
	var a ask
	in := json.NewDecoder(conn)
	if err := in.Decode(&a); err != nil || subtle.ConstantTimeCompare([]byte(a.Token), []byte(d.token)) == 0 {
		return
	}
	go func() {
		var more json.RawMessage
		_ = in.Decode(&more) // it sends nothing more: this ends with the shim
		gone()
	}()
	var mu sync.Mutex
	out := json.NewEncoder(conn)
	answer := a.decide(ctx, hold, func(text string) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(message{Say: text}) // if the shim is gone, ctx ends
	})
	mu.Lock()
	defer mu.Unlock()
	_ = out.Encode(message{Answer: &answer})
}

// Close lets no more shims ask, waits until those that do are answered, which the end of Serve's ctx hurries, and
// removes the directory. It may be called again.
func (d *Dir) Close() error {
	d.closing.Do(func() {
		err := d.listener.Close()
		d.open.Wait()
		d.closed = errors.Join(err, os.RemoveAll(d.path))
	})
	return d.closed
}
