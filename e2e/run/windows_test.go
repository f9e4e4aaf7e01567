package run

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// prng is the one function that Go needs and Debian's wine lacks.
const prng = `#include <windows.h>
#include <ntsecapi.h>
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T n) { return RtlGenRandom(data, n); }
`

// wine is a Windows of its own with the program in it.
type wine struct {
	*rig.World
	program, exe string
}

func newWine(t *testing.T) *wine {
	t.Helper()
	w := &wine{World: rig.NewWorld(t), program: rig.Need(t, "wine")}
	w.exe = filepath.Join(w.Home, "statelatch.exe")
	compiler := rig.Need(t, "x86_64-w64-mingw32-gcc")
	builder := rig.NewWorld(t)
	for _, name := range []string{"HOME", "GOCACHE", "GOMODCACHE", "GOPATH", "GOFLAGS"} {
		builder.Env[name] = os.Getenv(name)
	}
	builder.Env["GOOS"], builder.Env["GOARCH"] = "windows", "amd64"
	builder.Must(".", rig.Need(t, "go"), "build", "-o", w.exe, "github.com/statelatch/statelatch/cmd/statelatch")

	delete(w.Env, "STATELATCH_PROBE")
	w.Env["WINEPREFIX"], w.Env["WINEDEBUG"] = filepath.Join(w.Home, "prefix"), "-all"
	w.Env["WINEDLLOVERRIDES"] = "bcryptprimitives=n;mscoree,mshtml=" // ours; and nothing of what it would offer to fetch
	server := filepath.Join(filepath.Dir(w.program), "wineserver")
	if _, err := os.Stat(server); err != nil {
		server = "/usr/lib/wine/wineserver" // Debian has it outside of PATH
	}
	t.Cleanup(func() {
		w.Run(w.Home, server, "-k")
		w.Run(w.Home, server, "-w")
	})
	w.Must(w.Home, w.program, "wineboot", "--init")
	source := filepath.Join(w.Home, "prng.c")
	w.Write(source, prng)
	w.Must(w.Home, compiler, "-shared", "-o", filepath.Join(w.Env["WINEPREFIX"], "drive_c", "windows", "system32", "bcryptprimitives.dll"), source, "-ladvapi32")
	return w
}

func (w *wine) statelatch(args ...string) rig.Result {
	w.T.Helper()
	return w.Run(w.Home, w.program, append([]string{w.exe}, args...)...)
}

// The essential commands on Windows, with a store elsewhere.
func TestWindows(t *testing.T) {
	t.Parallel()
	w := newWine(t)
	w.Serve()
	const ref, other = "s3://terraform-state/app/terraform.tfstate", "s3://terraform-state/other/terraform.tfstate"

	// What is remembered between two commands, the verdict on the store included.
	rig.Want(t, "lock", w.statelatch("lock", ref), 0, "Probing", "Locked")
	again := w.statelatch("lock", other)
	rig.Want(t, "lock", again, 0, "Locked")
	if strings.Contains(again.Stderr, "Probing") {
		t.Errorf("it probed again: %v", again)
	}
	rig.Want(t, "status", w.statelatch("status", ref), 11, "locked by you")
	rig.Want(t, "unlock", w.statelatch("unlock", ref), 0, "Released")

	state := rig.StateWithSerial(1, "one")
	w.Write(filepath.Join(w.Home, "one.tfstate"), state)
	rig.Want(t, "push", w.statelatch("push", "one.tfstate", ref), 0)
	if got := w.statelatch("pull", ref); got.Stdout != state {
		t.Errorf("pull: got %v, want %s", got, state)
	}

	rig.Want(t, "run", w.statelatch("run", ref, "--", "cmd", "/c", "exit 7"), 7)
	rig.Want(t, "no such command", w.statelatch("run", ref, "--", "no-such-command"), 127, "is it installed")
	rig.Want(t, "status", w.statelatch("status", ref), 0, "not locked")

	// A run that is killed takes its command with it: that waits for a lock which stays, and has the output, too.
	p := w.Start(w.Home, w.program, w.exe, "run", ref, "--", "cmd", "/c", w.exe, "lock", "-lock-timeout", "1h", other)
	p.WaitFor("Waiting up to")
	p.Signal(syscall.SIGKILL)
	p.Wait()
	rig.Want(t, "status", w.statelatch("status", ref), 11, "run cmd")
	rig.Want(t, "unlock", w.statelatch("unlock", other), 0, "Released")
}
