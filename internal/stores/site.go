package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// site is where one store runs: a directory of its own, and processes that end with it.
type site struct {
	dir        string
	statelatch string // the built program
	access     string // the key pair; start of a store may choose another
	secret     string
	env        []string
	served     string // the command line of the process that serves, with names for what differs from run to run
	processes  []*process
}

type process struct {
	name string
	out  bytes.Buffer
	done chan struct{} // closed when it ended and out is complete
}

func newSite(dir, statelatch string) *site {
	s := &site{
		dir: dir, statelatch: statelatch, access: "stores-access-keyid",
		secret: "stores-secret-access-key-of-the-site",
	}
	for _, name := range []string{"PATH", "PYENV_ROOT", "PYENV_VERSION"} {
		// pyenv's shims find their interpreters by the latter two
		if v := os.Getenv(name); v != "" {
			s.env = append(s.env, name+"="+v)
		}
	}
	s.env = append(s.env, "HOME="+dir, "TMPDIR="+dir, "AWS_EC2_METADATA_DISABLED=true")
	return s
}

// mkdir makes directories below the site's.
func (s *site) mkdir(names ...string) error {
	var err error
	for _, name := range names {
		err = errors.Join(err, os.MkdirAll(filepath.Join(s.dir, name), 0o700))
	}
	return err
}

// port asks the kernel for a free one. Another process may take it before it is used.
func (s *site) port(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// serve starts the program that speaks S3 on port, and remembers how.
func (s *site) serve(
	ctx context.Context, env []string, port, program string, args ...string,
) (endpoint string, err error) {
	names := strings.NewReplacer(s.dir, "DIR", port, "PORT", s.access, "KEY", s.secret, "SECRET")
	shown := filepath.Base(program)
	for _, arg := range args {
		shown += " " + names.Replace(arg)
	}
	s.served = shown
	return "http://127.0.0.1:" + port, s.spawn(ctx, env, program, args...)
}

// spawn starts a process that is killed when ctx is done.
func (s *site) spawn(ctx context.Context, env []string, program string, args ...string) error {
	p := &process{name: filepath.Base(program), done: make(chan struct{})}
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // the programs of known
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, slices.Concat(s.env, env), &p.out, &p.out
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	s.processes = append(s.processes, p)
	return nil
}

// output runs a program to its end.
func (s *site) output(ctx context.Context, env []string, program string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // the programs of known
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, slices.Concat(s.env, env), &out, &errs
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", filepath.Base(program), err, bytes.TrimSpace(errs.Bytes()))
	}
	return out.String(), nil
}

// ended says which process is no longer there, and what it said.
func (s *site) ended() error {
	for _, p := range s.processes {
		select {
		case <-p.done:
			out := bytes.TrimSpace(p.out.Bytes())
			return fmt.Errorf("%s ended: %s", p.name, out[max(0, len(out)-2000):])
		default:
		}
	}
	return nil
}

// wait returns when all processes have ended; ctx of spawn must be done by then.
func (s *site) wait() {
	for _, p := range s.processes {
		<-p.done
	}
}
