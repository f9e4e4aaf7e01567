package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch/internal/faultproxy"
)

// faulty is a store behind a proxy that misbehaves for the clients that go through it.
type faulty struct {
	*world
	server *server
	proxy  *faultproxy.Proxy
	ref    string
}

func newFaulty(t *testing.T, rules ...faultproxy.Rule) *faulty {
	t.Helper()
	f := &faulty{world: newWorld(t), ref: "s3://terraform-state/" + stateKey}
	f.server = f.serve()
	f.proxy = startProxy(t, f.server.url, rules...)
	f.env["AWS_ENDPOINT_URL_S3"] = f.proxy.URL
	return f
}

func startProxy(t *testing.T, upstream string, rules ...faultproxy.Rule) *faultproxy.Proxy {
	t.Helper()
	proxy, err := faultproxy.Start(upstream, rules...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	return proxy
}

// on matches requests with a method for a key that ends like that.
func on(method, suffix string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == method && strings.HasSuffix(r.URL.Path, suffix) }
}

// byEngine matches requests of terraform and tofu.
func byEngine(r *http.Request) bool {
	return strings.Contains(r.UserAgent(), "HashiCorp") || strings.Contains(r.UserAgent(), "OpenTofu")
}

// stateWithSerial is a small state that terraform reads.
func stateWithSerial(serial int, value string) string {
	return fmt.Sprintf(`{
  "version": 4,
  "terraform_version": "1.11.4",
  "serial": %d,
  "lineage": "5d0d3b8e-2b1c-4d0a-9a54-5f4f5a8c1d10",
  "outputs": {"value": {"value": %q, "type": "string"}},
  "resources": [],
  "check_results": null
}
`, serial, value)
}

// file writes a file in the world's home and returns its path.
func (w *world) file(name, content string) string {
	w.t.Helper()
	path := filepath.Join(w.home, name)
	w.write(path, content)
	return path
}

// Acceptance 1: whatever happens once to the request that matters, each command ends right, no lock is left and nothing
// is lost.
func TestFaults_EveryCommandEndsRight(t *testing.T) {
	t.Parallel()
	const lockKey, state = ".tflock", ".tfstate"
	script := filepath.Join(t.TempDir(), "touched")
	commands := []struct {
		name, method, key string // the request that suffers
		before            func(f *faulty)
		args              func(f *faulty) []string
		after             func(f *faulty)
	}{
		{
			"lock", http.MethodPut, lockKey, nil,
			func(f *faulty) []string { return []string{"lock", "-lock-timeout", "1m", f.ref} },
			func(f *faulty) { want(f.t.(*testing.T), "unlock", f.statelatch("unlock", f.ref), 0) },
		},
		{
			"unlock", http.MethodDelete, lockKey,
			func(f *faulty) { f.must(f.home, binary, "lock", f.ref) },
			func(f *faulty) []string { return []string{"unlock", f.ref} }, nil,
		},
		{
			"push: state", http.MethodPut, state,
			func(f *faulty) {
				f.must(f.home, binary, "push", f.file("one.tfstate", stateWithSerial(1, "one")), f.ref)
			},
			func(f *faulty) []string {
				return []string{"push", "-lock-timeout", "1m", f.file("two.tfstate", stateWithSerial(2, "two")), f.ref}
			},
			func(f *faulty) { f.wantState("two") },
		},
		{
			"push: first state", http.MethodPut, state, nil,
			func(f *faulty) []string {
				return []string{"push", "-lock-timeout", "1m", f.file("two.tfstate", stateWithSerial(2, "two")), f.ref}
			},
			func(f *faulty) { f.wantState("two") },
		},
		{
			"push: unlock", http.MethodDelete, lockKey, nil,
			func(f *faulty) []string {
				return []string{"push", "-lock-timeout", "1m", f.file("two.tfstate", stateWithSerial(2, "two")), f.ref}
			},
			func(f *faulty) { f.wantState("two") },
		},
		{
			"run: lock", http.MethodPut, lockKey, nil,
			func(f *faulty) []string {
				return []string{"run", "-lock-timeout", "1m", f.ref, "--", "touch", script}
			},
			func(f *faulty) {
				if _, err := os.Stat(script); err != nil {
					f.t.Errorf("the command did not run: %v", err)
				}
			},
		},
		{
			"run: unlock", http.MethodDelete, lockKey, nil,
			func(f *faulty) []string { return []string{"run", f.ref, "--", "true"} }, nil,
		},
	}
	faults := []struct {
		name  string
		limit int
		fault faultproxy.Fault
	}{
		{"reply dropped", 1, faultproxy.DropReply()},
		{"500 after processing", 1, faultproxy.ReplyWith(500, "InternalError")},
		{"409", 1, faultproxy.Answer(409, "ConditionalRequestConflict")},
		{"503 burst", 4, faultproxy.Answer(503, "SlowDown")},
		{"412, which is not so", 1, faultproxy.Answer(412, "PreconditionFailed")},
		{"request dropped", 1, faultproxy.DropRequest()},
		{"sent twice on the way", 1, faultproxy.Duplicate()},
	}
	for _, c := range commands {
		for _, x := range faults {
			t.Run(c.name+", "+x.name, func(t *testing.T) {
				t.Parallel()
				f := newFaulty(t)
				if c.before != nil {
					c.before(f)
				}
				f.proxy.Add(faultproxy.Rule{Match: on(c.method, c.key), Limit: x.limit, Fault: x.fault})
				want(t, c.name, f.statelatch(c.args(f)...), 0)
				if n := f.proxy.Count(func(r faultproxy.Request) bool { return r.Fault != "" }); n == 0 {
					t.Error("the fault met no request")
				}
				f.proxy.Heal()
				if c.after != nil {
					c.after(f)
				}
				want(t, "status", f.statelatch("status", f.ref), 0, "not locked")
			})
		}
	}
}

// wantState checks the output "value" of the state.
func (f *faulty) wantState(value string) {
	f.t.Helper()
	if r := f.statelatch("pull", f.ref); r.code != 0 || !strings.Contains(r.stdout, `"`+value+`"`) {
		f.t.Errorf("want the state %q: %v", value, r)
	}
}

// A store that stands still for 30 s is outlasted: by a lock, by a write, and by a run whose renewal is due meanwhile.
func TestFaults_Freeze(t *testing.T) {
	t.Parallel()
	freeze := 3 * time.Second
	if full() {
		freeze = 30 * time.Second
	}
	for name, args := range map[string]func(f *faulty) []string{
		"push": func(f *faulty) []string {
			return []string{"push", f.file("s.tfstate", stateWithSerial(1, "one")), f.ref}
		},
		"run": func(f *faulty) []string {
			return []string{"run", "-lease", fmt.Sprint(3 * freeze), f.ref, "--", "sleep", fmt.Sprint((freeze * 3 / 2).Seconds())}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			thaw := make(chan struct{})
			// The first write after the lock was taken: the state of push, the renewal of run.
			f.proxy.Add(
				faultproxy.Rule{Match: on(http.MethodPut, ".tflock"), Nth: 1},
				faultproxy.Rule{Match: func(r *http.Request) bool {
					return r.Method == http.MethodPut && r.Header.Get("If-None-Match") == "" || strings.HasSuffix(r.URL.Path, ".tfstate") && r.Method == http.MethodPut
				}, Fault: faultproxy.Freeze(thaw)},
			)
			p := f.start(f.home, binary, args(f)...)
			time.AfterFunc(freeze, func() { close(thaw) })
			want(t, name, p.wait(), 0)
			f.proxy.Heal()
			want(t, "status", f.statelatch("status", f.ref), 0, "not locked")
		})
	}
}

// Acceptance 5: the requests of the undisturbed case, counted on the wire.
func TestFaults_RequestsOnTheWire(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	count := func(what string, wants map[string]int, args ...string) {
		t.Helper()
		before := len(f.proxy.Requests())
		want(t, what, f.statelatch(args...), 0)
		got := map[string]int{}
		for _, r := range f.proxy.Requests()[before:] {
			kind := "state"
			if strings.HasSuffix(r.Path, ".tflock") {
				kind = "lock"
			}
			got[r.Method+" "+kind]++
		}
		if fmt.Sprint(got) != fmt.Sprint(wants) {
			t.Errorf("%s: got %v, want %v", what, got, wants)
		}
	}
	one, two := f.file("1.tfstate", stateWithSerial(1, "one")), f.file("2.tfstate", stateWithSerial(2, "two"))
	tenure := map[string]int{"PUT lock": 1, "GET state": 1, "GET lock": 1, "PUT state": 1, "DELETE lock": 1}
	count("first push", tenure, "push", one, f.ref)
	count("lock", map[string]int{"PUT lock": 1, "HEAD state": 1}, "lock", f.ref) // is there a state at that key?
	count("unlock", map[string]int{"GET lock": 1, "DELETE lock": 1}, "unlock", f.ref)
	count("push", tenure, "push", two, f.ref)
	count("pull", map[string]int{"GET state": 1}, "pull", f.ref)
}
