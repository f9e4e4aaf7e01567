package run

import (
	"strings"
	"syscall"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// ignoring starts the program with signals ignored, as nohup and background jobs of a script are started.
func ignoring(w *rig.World, signals string, args ...string) *rig.Process {
	w.T.Helper()
	return w.Start(w.Home, "sh", append([]string{"-c", "trap '' " + signals + `; exec "$0" "$@"`, rig.Binary}, args...)...)
}

// What was ignored at the start ends nothing; what was not ends a run as Ctrl-C does, and never leaves its lock.
func TestSignals_Run(t *testing.T) {
	t.Parallel()
	f := rig.NewFaulty(t)
	const child = `trap 'echo interrupted; exit 3' INT; trap 'echo hung up; exit 4' HUP; echo started; read line; echo "went on"`
	for name, tc := range map[string]struct {
		ignored string
		sent    []syscall.Signal
		ends    bool
	}{
		"nohup":            {"HUP", []syscall.Signal{syscall.SIGHUP}, false},
		"background job":   {"INT QUIT", []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT}, false},
		"nohup, then TERM": {"HUP", []syscall.Signal{syscall.SIGTERM}, true},
		"job, then TERM":   {"INT QUIT", []syscall.Signal{syscall.SIGTERM}, true},
		"job, then HUP":    {"INT QUIT", []syscall.Signal{syscall.SIGHUP}, true},
		"QUIT":             {"USR1", []syscall.Signal{syscall.SIGQUIT}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ref := strings.Replace(f.Ref, rig.StateKey, strings.NewReplacer(" ", "-", ",", "").Replace(name)+"/"+rig.StateKey, 1)
			p := ignoring(f.World, tc.ignored, "run", ref, "--", "sh", "-c", child)
			p.WaitFor("started")
			for _, s := range tc.sent {
				p.Signal(s)
			}
			code, text := 0, "went on"
			if tc.ends {
				code, text = 3, "interrupted"
				p.WaitFor(text)
			}
			_ = p.In.Close()
			done := p.Wait()
			rig.Want(t, "run", done, code, text)
			if strings.Contains(done.Stderr, "goroutine ") {
				t.Errorf("the program crashed: %v", done)
			}
			rig.Want(t, "status", f.Statelatch("status", ref), 0, "not locked")
		})
	}
}

// The command inherits what is ignored, but can be interrupted by us where no terminal does.
func TestSignals_Run_Child(t *testing.T) {
	t.Parallel()
	f := rig.NewFaulty(t)
	run := func(ignored, signal string) rig.Result {
		p := ignoring(f.World, ignored, "run", f.Ref, "--", "sh", "-c", "kill -"+signal+" $$; echo went on")
		_ = p.In.Close()
		return p.Wait()
	}
	rig.Want(t, "HUP", run("HUP", "HUP"), 0, "went on")
	rig.Want(t, "QUIT", run("INT QUIT", "QUIT"), 0, "went on")
	rig.Want(t, "INT", run("INT QUIT", "INT"), 130)
}

// The same for who waits for a lock.
func TestSignals_Lock(t *testing.T) {
	t.Parallel()
	f := rig.NewFaulty(t)
	f.Must(f.Home, rig.Binary, "lock", f.Ref)
	wait := []string{"lock", "-lock-timeout", "10m", f.Ref}
	patient := ignoring(f.World, "HUP INT QUIT", wait...)
	patient.WaitFor("Waiting up to")
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		patient.Signal(s)
		p := f.Start(f.Home, rig.Binary, wait...)
		p.WaitFor("Waiting up to")
		p.Signal(s)
		done := p.Wait()
		rig.Want(t, s.String(), done, 130, "Interrupted.")
		if strings.Contains(done.Stderr, "goroutine ") {
			t.Errorf("%v: the program crashed: %v", s, done)
		}
	}
	f.Must(f.Home, rig.Binary, "unlock", f.Ref)
	rig.Want(t, "who ignores them", patient.Wait(), 0, "Locked")
}

func TestSignals_Serve(t *testing.T) {
	t.Parallel()
	w := rig.NewWorld(t)
	p := ignoring(w, "HUP INT QUIT", "serve", "-data", w.Home+"/data", "-addr", "127.0.0.1:0")
	url := p.WaitFor(`serves (http://\S+)`)
	p.WaitFor("Lock events")
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		p.Signal(s)
	}
	if got := rig.HTTPGet(t, url[1]); !strings.HasPrefix(got, "403") {
		t.Errorf("it does not serve any more: %s", got)
	}
	p.Signal(syscall.SIGTERM)
	rig.Want(t, "serve", p.Wait(), 0, "Stopping.")
}
