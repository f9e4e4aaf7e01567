package shim

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
)

// become runs another program and ends with it: Windows has no exec. Ctrl-C reaches both, and is the other's to answer.
func become(program string, args, env []string) (int, error) {
	signal.Ignore(os.Interrupt)
	cmd := exec.Command(program, args[1:]...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// link makes a second name of a program, or a copy where the file system has none. Symbolic links need a right of their
// own.
func link(program, path string) error {
	if os.Link(program, path) == nil {
		return nil
	}
	from, err := os.Open(program)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}
