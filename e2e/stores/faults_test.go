package stores

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch/e2e/internal/rig"
	"github.com/statelatch/statelatch/internal/faultproxy"
)

// Acceptance 1: whatever happens once to the request that matters, each command ends right, no lock is left and nothing
// is lost.
func TestFaults_EveryCommandEndsRight(t *testing.T) {
	t.Parallel()
	const lockKey, state = ".tflock", ".tfstate"
	script := filepath.Join(t.TempDir(), "touched")
	commands := []struct {
		name, method, key string // the request that suffers
		before            func(f *rig.Faulty)
		args              func(f *rig.Faulty) []string
		after             func(f *rig.Faulty)
	}{
		{
			"lock", http.MethodPut, lockKey, nil,
			func(f *rig.Faulty) []string { return []string{"lock", "-lock-timeout", "1m", f.Ref} },
			func(f *rig.Faulty) { rig.Want(f.T.(*testing.T), "unlock", f.Statelatch("unlock", f.Ref), 0) },
		},
		{
			"unlock", http.MethodDelete, lockKey,
			func(f *rig.Faulty) { f.Must(f.Home, rig.Binary, "lock", f.Ref) },
			func(f *rig.Faulty) []string { return []string{"unlock", f.Ref} }, nil,
		},
		{
			"push: state", http.MethodPut, state,
			func(f *rig.Faulty) {
				f.Must(f.Home, rig.Binary, "push", f.File("one.tfstate", rig.StateWithSerial(1, "one")), f.Ref)
			},
			func(f *rig.Faulty) []string {
				return []string{"push", "-lock-timeout", "1m", f.File("two.tfstate", rig.StateWithSerial(2, "two")), f.Ref}
			},
			func(f *rig.Faulty) { f.WantState("two") },
		},
		{
			"push: first state", http.MethodPut, state, nil,
			func(f *rig.Faulty) []string {
				return []string{"push", "-lock-timeout", "1m", f.File("two.tfstate", rig.StateWithSerial(2, "two")), f.Ref}
			},
			func(f *rig.Faulty) { f.WantState("two") },
		},
		{
			"push: unlock", http.MethodDelete, lockKey, nil,
			func(f *rig.Faulty) []string {
				return []string{"push", "-lock-timeout", "1m", f.File("two.tfstate", rig.StateWithSerial(2, "two")), f.Ref}
			},
			func(f *rig.Faulty) { f.WantState("two") },
		},
		{
			"run: lock", http.MethodPut, lockKey, nil,
			func(f *rig.Faulty) []string {
				return []string{"run", "-lock-timeout", "1m", f.Ref, "--", "touch", script}
			},
			func(f *rig.Faulty) {
				if _, err := os.Stat(script); err != nil {
					f.T.Errorf("the command did not run: %v", err)
				}
			},
		},
		{
			"run: unlock", http.MethodDelete, lockKey, nil,
			func(f *rig.Faulty) []string { return []string{"run", f.Ref, "--", "true"} }, nil,
		},
	}
	faults := []struct {
		name  string
		limit int
		fault faultproxy.Fault
	}{
		{"reply dropped", 1, faultproxy.LoseReply()},
		{"500 after processing", 1, faultproxy.AnswerAfter(500, "InternalError")},
		{"409", 1, faultproxy.Answer(409, "ConditionalRequestConflict")},
		{"503 burst", 4, faultproxy.Answer(503, "SlowDown")},
		{"412, which is not so", 1, faultproxy.Answer(412, "PreconditionFailed")},
		{"request dropped", 1, faultproxy.LoseRequest()},
		{"sent twice on the way", 1, faultproxy.Duplicate()},
	}
	for _, c := range commands {
		for _, x := range faults {
			t.Run(c.name+", "+x.name, func(t *testing.T) {
				t.Parallel()
				f := rig.NewFaulty(t)
				if c.before != nil {
					c.before(f)
				}
				f.Proxy.Add(faultproxy.Rule{Match: rig.On(c.method, c.key), Limit: x.limit, Fault: x.fault})
				rig.Want(t, c.name, f.Statelatch(c.args(f)...), 0)
				if n := f.Proxy.Count(func(r faultproxy.Request) bool { return r.Fault != "" }); n == 0 {
					t.Error("the fault met no request")
				}
				f.Proxy.Heal()
				if c.after != nil {
					c.after(f)
				}
				rig.Want(t, "status", f.Statelatch("status", f.Ref), 0, "not locked")
			})
		}
	}
}

// A store that stands still for 30 s is outlasted: by a lock, by a write, and by a run whose renewal is due meanwhile.
func TestFaults_Freeze(t *testing.T) {
	t.Parallel()
	freeze := 3 * time.Second
	if rig.Full() {
		freeze = 30 * time.Second
	}
	for name, args := range map[string]func(f *rig.Faulty) []string{
		"push": func(f *rig.Faulty) []string {
			return []string{"push", f.File("s.tfstate", rig.StateWithSerial(1, "one")), f.Ref}
		},
		"run": func(f *rig.Faulty) []string {
			return []string{"run", "-lease", fmt.Sprint(3 * freeze), f.Ref, "--", "sleep", fmt.Sprint((freeze * 3 / 2).Seconds())}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := rig.NewFaulty(t)
			thaw := make(chan struct{})
			// The first write after the lock was taken: the state of push, the renewal of run.
			f.Proxy.Add(
				faultproxy.Rule{Match: rig.On(http.MethodPut, ".tflock"), Nth: 1},
				faultproxy.Rule{Match: func(r *http.Request) bool {
					return r.Method == http.MethodPut && r.Header.Get("If-None-Match") == "" || strings.HasSuffix(r.URL.Path, ".tfstate") && r.Method == http.MethodPut
				}, Fault: faultproxy.Hold(thaw)},
			)
			p := f.Start(f.Home, rig.Binary, args(f)...)
			time.AfterFunc(freeze, func() { close(thaw) })
			rig.Want(t, name, p.Wait(), 0)
			f.Proxy.Heal()
			rig.Want(t, "status", f.Statelatch("status", f.Ref), 0, "not locked")
		})
	}
}

// Acceptance 5: the requests of the undisturbed case, counted on the wire.
func TestFaults_RequestsOnTheWire(t *testing.T) {
	t.Parallel()
	f := rig.NewFaulty(t)
	count := func(what string, wants map[string]int, args ...string) {
		t.Helper()
		before := len(f.Proxy.Requests())
		rig.Want(t, what, f.Statelatch(args...), 0)
		got := map[string]int{}
		for _, r := range f.Proxy.Requests()[before:] {
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
	one, two := f.File("1.tfstate", rig.StateWithSerial(1, "one")), f.File("2.tfstate", rig.StateWithSerial(2, "two"))
	tenure := map[string]int{"PUT lock": 1, "GET state": 1, "GET lock": 1, "PUT state": 1, "DELETE lock": 1}
	count("first push", tenure, "push", one, f.Ref)
	count("lock", map[string]int{"PUT lock": 1, "HEAD state": 1}, "lock", f.Ref) // is there a state at that key?
	count("unlock", map[string]int{"GET lock": 1, "DELETE lock": 1}, "unlock", f.Ref)
	count("push", tenure, "push", two, f.Ref)
	count("pull", map[string]int{"GET state": 1}, "pull", f.Ref)
}
