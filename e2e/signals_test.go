package e2e

import (
	"strings"
	"syscall"
	"testing"
)

// ignoring starts the program with signals ignored, as nohup and background jobs of a script are started.
func (w *world) ignoring(signals string, args ...string) *process {
	w.t.Helper()
	return w.start(w.home, "sh", append([]string{"-c", "trap '' " + signals + `; exec "$0" "$@"`, binary}, args...)...)
}

// What was ignored at the start ends nothing; what was not ends a run as Ctrl-C does, and never leaves its lock.
func TestSignals_Run(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
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
			ref := strings.Replace(f.ref, stateKey, strings.NewReplacer(" ", "-", ",", "").Replace(name)+"/"+stateKey, 1)
			p := f.ignoring(tc.ignored, "run", ref, "--", "sh", "-c", child)
			p.waitFor("started")
			for _, s := range tc.sent {
				p.signal(s)
			}
			code, text := 0, "went on"
			if tc.ends {
				code, text = 3, "interrupted"
				p.waitFor(text)
			}
			_ = p.in.Close()
			done := p.wait()
			want(t, "run", done, code, text)
			if strings.Contains(done.stderr, "goroutine ") {
				t.Errorf("the program crashed: %v", done)
			}
			want(t, "status", f.statelatch("status", ref), 0, "not locked")
		})
	}
}

// The command inherits what is ignored, but can be interrupted by us where no terminal does.
func TestSignals_Run_Child(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	run := func(ignored, signal string) result {
		p := f.ignoring(ignored, "run", f.ref, "--", "sh", "-c", "kill -"+signal+" $$; echo went on")
		_ = p.in.Close()
		return p.wait()
	}
	want(t, "HUP", run("HUP", "HUP"), 0, "went on")
	want(t, "QUIT", run("INT QUIT", "QUIT"), 0, "went on")
	want(t, "INT", run("INT QUIT", "INT"), 130)
}

// The same for who waits for a lock.
func TestSignals_Lock(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.must(f.home, binary, "lock", f.ref)
	wait := []string{"lock", "-lock-timeout", "10m", f.ref}
	patient := f.ignoring("HUP INT QUIT", wait...)
	patient.waitFor("Waiting up to")
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		patient.signal(s)
		p := f.start(f.home, binary, wait...)
		p.waitFor("Waiting up to")
		p.signal(s)
		done := p.wait()
		want(t, s.String(), done, 130, "Interrupted.")
		if strings.Contains(done.stderr, "goroutine ") {
			t.Errorf("%v: the program crashed: %v", s, done)
		}
	}
	f.must(f.home, binary, "unlock", f.ref)
	want(t, "who ignores them", patient.wait(), 0, "Locked")
}

func TestSignals_Serve(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.ignoring("HUP INT QUIT", "serve", "-data", w.home+"/data", "-addr", "127.0.0.1:0")
	url := p.waitFor(`serves (http://\S+)`)
	p.waitFor("Lock events")
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		p.signal(s)
	}
	if got := httpGet(t, url[1]); !strings.HasPrefix(got, "403") {
		t.Errorf("it does not serve any more: %s", got)
	}
	p.signal(syscall.SIGTERM)
	want(t, "serve", p.wait(), 0, "Stopping.")
}
