//go:build unix

package shim

import (
	"os"
	"syscall"
)

// become turns this process into another program: its ID, its group and its signals stay what they are.
func become(program string, args, env []string) (int, error) {
	return 0, syscall.Exec(program, args, env) //nolint:gosec // to run the engine that was asked for is this package's purpose
}

func link(program, path string) error { return os.Symlink(program, path) }
