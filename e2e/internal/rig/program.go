// Package rig is what the end-to-end tests share: the built program, servers, the engines' directories, proxies, and a
// world that knows nothing of the machine's own credentials. A package of such tests calls Main in its TestMain.
package rig

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Full reports whether the long forms of the tests were asked for, as .ci/run does.
func Full() bool { return os.Getenv("STATELATCH_FULL") != "" }

// Patience bounds every wait for another process; nothing is measured with it.
const Patience = 2 * time.Minute

// Binary is the built program.
var Binary string

// Root is the root of the repository, seen from the directory of a package of tests.
const Root = "../.."

// Main builds the program, runs the tests and ends the process.
func Main(m *testing.M) {
	for _, ignored := range []os.Signal{os.Interrupt, syscall.SIGQUIT, syscall.SIGHUP} {
		if signal.Ignored(ignored) {
			// By nohup, or a shell that started the tests in the background. What they start must not inherit that.
			signal.Notify(make(chan os.Signal, 1), ignored)
		}
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "statelatch-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		Binary = filepath.Join(dir, "statelatch")
		// Without a version from git: the tutorial shows one, and the page is compared.
		build := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", Binary,
			"github.com/statelatch/statelatch/cmd/statelatch")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build statelatch:", err)
			return 1
		}
		return m.Run()
	}())
}

// Need skips the test unless a program is installed; on CI its absence is a failure.
func Need(tb testing.TB, program string) string {
	tb.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		tb.Fatalf("%s is not installed, and this is CI", program)
	}
	tb.Skipf("%s is not installed", program)
	return ""
}
