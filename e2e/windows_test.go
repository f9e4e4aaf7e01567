package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// prng is the one function that Go needs and Debian's wine lacks.
const prng = `#include <windows.h>
#include <ntsecapi.h>
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T n) { return RtlGenRandom(data, n); }
`

// wine is a Windows of its own with the program in it.
type wine struct {
	*world
	program, exe string
}

func newWine(t *testing.T) *wine {
	t.Helper()
	w := &wine{world: newWorld(t), program: need(t, "wine")}
	w.exe = filepath.Join(w.home, "statelatch.exe")
	compiler := need(t, "x86_64-w64-mingw32-gcc")
	builder := newWorld(t)
	for _, name := range []string{"HOME", "GOCACHE", "GOMODCACHE", "GOPATH", "GOFLAGS"} {
		builder.env[name] = os.Getenv(name)
	}
	builder.env["GOOS"], builder.env["GOARCH"] = "windows", "amd64"
	builder.must(".", need(t, "go"), "build", "-o", w.exe, "github.com/statelatch/statelatch/cmd/statelatch")

	delete(w.env, "STATELATCH_PROBE")
	w.env["WINEPREFIX"], w.env["WINEDEBUG"] = filepath.Join(w.home, "prefix"), "-all"
	w.env["WINEDLLOVERRIDES"] = "bcryptprimitives=n;mscoree,mshtml=" // ours; and nothing of what it would offer to fetch
	server := filepath.Join(filepath.Dir(w.program), "wineserver")
	if _, err := os.Stat(server); err != nil {
		server = "/usr/lib/wine/wineserver" // Debian has it outside of PATH
	}
	t.Cleanup(func() {
		w.run(w.home, server, "-k")
		w.run(w.home, server, "-w")
	})
	w.must(w.home, w.program, "wineboot", "--init")
	source := filepath.Join(w.home, "prng.c")
	w.write(source, prng)
	w.must(w.home, compiler, "-shared", "-o", filepath.Join(w.env["WINEPREFIX"], "drive_c", "windows", "system32", "bcryptprimitives.dll"), source, "-ladvapi32")
	return w
}

func (w *wine) statelatch(args ...string) result {
	w.t.Helper()
	return w.run(w.home, w.program, append([]string{w.exe}, args...)...)
}

// The essential commands on Windows, with a store elsewhere.
func TestWindows(t *testing.T) {
	t.Parallel()
	w := newWine(t)
	w.serve()
	const ref, other = "s3://terraform-state/app/terraform.tfstate", "s3://terraform-state/other/terraform.tfstate"

	// What is remembered between two commands, the verdict on the store included.
	want(t, "lock", w.statelatch("lock", ref), 0, "Probing", "Locked")
	again := w.statelatch("lock", other)
	want(t, "lock", again, 0, "Locked")
	if strings.Contains(again.stderr, "Probing") {
		t.Errorf("it probed again: %v", again)
	}
	want(t, "status", w.statelatch("status", ref), 11, "locked by you")
	want(t, "unlock", w.statelatch("unlock", ref), 0, "Released")

	state := stateWithSerial(1, "one")
	w.write(filepath.Join(w.home, "one.tfstate"), state)
	want(t, "push", w.statelatch("push", "one.tfstate", ref), 0)
	if got := w.statelatch("pull", ref); got.stdout != state {
		t.Errorf("pull: got %v, want %s", got, state)
	}

	want(t, "run", w.statelatch("run", ref, "--", "cmd", "/c", "exit 7"), 7)
	want(t, "no such command", w.statelatch("run", ref, "--", "no-such-command"), 127, "is it installed")
	want(t, "status", w.statelatch("status", ref), 0, "not locked")

	// A run that is killed takes its command with it: that waits for a lock which stays, and has the output, too.
	p := w.start(w.home, w.program, w.exe, "run", ref, "--", "cmd", "/c", w.exe, "lock", "-lock-timeout", "1h", other)
	p.waitFor("Waiting up to")
	p.signal(syscall.SIGKILL)
	p.wait()
	want(t, "status", w.statelatch("status", ref), 11, "run cmd")
	want(t, "unlock", w.statelatch("unlock", other), 0, "Released")
}
