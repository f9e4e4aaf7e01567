package gateway

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statelatch/statelatch/e2e/internal/rig"
	"github.com/statelatch/statelatch/internal/faultproxy"
)

// serials are the serials of all versions of the state, oldest first, and what their output is.
func (e *estate) versions() (serials []uint64, values []string) {
	e.t.Helper()
	var history struct {
		Versions []struct {
			Version string  `json:"version_id"`
			Serial  *uint64 `json:"serial"`
		} `json:"versions"`
	}
	out := e.near.Must(e.near.Home, rig.Binary, "history", "-limit", "0", "-json", ref)
	if err := json.Unmarshal([]byte(out.Stdout), &history); err != nil {
		e.t.Fatal(err)
	}
	for i := len(history.Versions) - 1; i >= 0; i-- {
		v := history.Versions[i]
		if v.Serial == nil {
			continue
		}
		state := e.near.Must(e.near.Home, rig.Binary, "pull", "-version", v.Version, ref).Stdout
		var body struct {
			Outputs map[string]struct{ Value string }
		}
		if err := json.Unmarshal([]byte(state), &body); err != nil {
			e.t.Fatal(err)
		}
		serials, values = append(serials, *v.Serial), append(values, body.Outputs["value"].Value)
	}
	return serials, values
}

func (e *estate) wantFree() {
	e.t.Helper()
	if s := e.near.Statelatch("status", ref); s.Code != 0 || !strings.Contains(s.Stdout, "not locked") {
		e.t.Errorf("want the state free: %v", s)
	}
}

// Writers that never stop, through two gateways of which one is killed and started again and again: no update is lost,
// nobody is stuck.
func TestGateway_NoUpdateLost(t *testing.T) {
	t.Parallel()
	e := newEstate(t, 2)
	applies := 5
	if rig.Full() {
		applies = 25
	}
	stop := make(chan struct{})
	var killing sync.WaitGroup
	killing.Go(func() {
		for kills := 0; ; kills++ {
			select {
			case <-stop:
				t.Logf("%d gateways were killed", kills)
				return
			case <-time.After(time.Duration(500+rand.IntN(1500)) * time.Millisecond):
			}
			e.mu.Lock()
			victim := e.open[rand.IntN(len(e.open))]
			e.mu.Unlock()
			e.kill(victim)
			e.addGateway()
		}
	})
	var failed atomic.Int64
	done := make(map[string]bool)
	var mu sync.Mutex
	var writing sync.WaitGroup
	for writer := range 4 {
		g := e.pipeline("deploy")
		writing.Go(func() {
			for i := range applies {
				value := fmt.Sprintf("w%d-%d", writer, i)
				r := g.apply(value, "-lock-timeout=120s")
				if r.Code != 0 {
					failed.Add(1)
					t.Logf("apply %s: %v", value, r)
					continue
				}
				mu.Lock()
				done[value] = true
				mu.Unlock()
			}
		})
	}
	writing.Wait()
	close(stop)
	killing.Wait()
	e.wantFree()
	serials, values := e.versions()
	seen := map[string]int{}
	for i, value := range values {
		if i > 0 && serials[i] != serials[i-1] && serials[i] != serials[i-1]+1 {
			t.Errorf("serial %d follows on %d", serials[i], serials[i-1])
		}
		if i > 0 && serials[i] == serials[i-1] && value != values[i-1] {
			t.Errorf("serial %d was written twice: %s, %s", serials[i], values[i-1], value)
		}
		if i == 0 || values[i-1] != value {
			seen[value]++
		}
	}
	for value := range done {
		if seen[value] != 1 {
			t.Errorf("the apply of %s, which succeeded, is in %d versions", value, seen[value])
		}
	}
	t.Logf("%d applies, %d failed, %d versions", 4*applies, failed.Load(), len(values))
	if n := failed.Load(); n > 0 {
		t.Errorf("%d applies failed", n)
	}
}

// A client on the bucket itself and one behind the gateway exclude each other, and each shows who has the lock.
func TestGateway_BesideTheBucket(t *testing.T) {
	t.Parallel()
	e := newEstate(t, 1)
	behind, direct := e.pipeline("deploy"), e.direct()
	first, goOn := behind.hold("1")
	rig.Want(t, "direct", direct.apply("2"), 1, "Error acquiring the state lock", "OperationTypeApply")
	goOn()
	rig.Want(t, "behind", first.Wait(), 0)
	second, goOn := direct.hold("2")
	r := behind.apply("3")
	rig.Want(t, "behind while direct has it", r, 1, "Error acquiring the state lock", "OperationTypeApply")
	goOn()
	rig.Want(t, "direct", second.Wait(), 0)
	rig.Want(t, "behind", behind.apply("3"), 0)
	e.wantFree()
}

// A session whose lock was forced away writes nothing any more, at once or in parts: its state is kept for it, and the
// newer one stays.
func TestGateway_ForcedAway(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"at once": 0, "in parts": 4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t, 2)
			zombie, other, op := e.pipeline("deploy"), e.pipeline("deploy"), e.person("op")
			rig.Want(t, "first", other.apply("0"), 0)
			if size > 0 {
				zombie.Env["TF_VAR_big"] = zombie.big(size)
			}
			p, goOn := zombie.hold("zombie")
			id := rig.LockID.FindStringSubmatch(e.near.Statelatch("status", ref).Stdout)
			if id == nil {
				t.Fatal("nobody holds it")
			}
			rig.Want(t, "without the right", other.run("force-unlock", "-force", id[1]), 1, "AccessDenied", "force-unlock")
			rig.Want(t, "force-unlock", op.run("force-unlock", "-force", id[1]), 0)
			rig.Want(t, "other", other.apply("newer"), 0)
			goOn()
			rig.Want(t, "zombie", p.Wait(), 1, "PreconditionFailed", "was taken from this process")
			if _, err := os.Stat(filepath.Join(zombie.dir, "errored.tfstate")); err != nil {
				t.Errorf("the zombie's state is not kept: %v", err)
			}
			if _, values := e.versions(); values[len(values)-1] != "newer" {
				t.Errorf("got %v, want newer at the end", values)
			}
			e.wantFree()
		})
	}
}

// With the right to lock and read a real plan runs, and nothing can be written.
func TestGateway_PlanRole(t *testing.T) {
	t.Parallel()
	e := newEstate(t, 1)
	deploy, pull := e.pipeline("deploy"), e.pipeline("pull-request")
	rig.Want(t, "apply", deploy.apply("1"), 0)
	rig.Want(t, "plan", pull.run("plan", "-input=false", "-no-color", "-var", "value=2"), 0, "1 to change")
	e.wantFree()
	rig.Want(t, "apply with the right to plan", pull.apply("2"), 1, "AccessDenied", "pull requests plan", "write")
	e.wantFree()
	if _, values := e.versions(); values[len(values)-1] != "1" {
		t.Errorf("got %v, want what was there", values)
	}
	rig.Want(t, "another state", e.pipelineAt("deploy", "db/terraform.tfstate").run("plan", "-input=false", "-no-color"), 1,
		"AccessDenied")
}

// pipelineAt is pipeline on another state.
func (e *estate) pipelineAt(team, key string) *engine {
	e.t.Helper()
	g := e.pipeline(team)
	path := filepath.Join(g.dir, "main.tf")
	text, err := os.ReadFile(path)
	if err != nil {
		e.t.Fatal(err)
	}
	g.Write(path, strings.Replace(string(text), rig.StateKey, key, 1))
	g.run("init", "-input=false", "-no-color", "-reconfigure")
	return g
}

// What reaches the store.
func TestGateway_Requests(t *testing.T) {
	t.Parallel()
	e := newEstate(t, 1)
	g := e.pipeline("deploy")
	rig.Want(t, "first", g.apply("0"), 0)
	big := "big=" + g.big(10)
	for _, tc := range []struct {
		what string
		do   func() rig.Result
		most int
	}{
		{"plan", func() rig.Result { return g.run("plan", "-input=false", "-no-color") }, 4},
		{"apply", func() rig.Result { return g.apply("1") }, 6},
		{"apply of 20 MB", func() rig.Result { return g.apply("2", "-var", big) }, 11},
		{"plan of 20 MB", func() rig.Result {
			return g.run("plan", "-input=false", "-no-color", "-var", "value=2", "-var", big)
		}, 4},
	} {
		before := len(e.wire.Requests())
		rig.Want(t, tc.what, tc.do(), 0)
		asked := e.wire.Requests()[before:]
		t.Logf("%s: %d requests to the store", tc.what, len(asked))
		if len(asked) > tc.most {
			for _, r := range asked {
				t.Logf("%s %s?%s %s", r.Method, r.Path, r.Query, r.UserAgent)
			}
			t.Errorf("%s: %d requests to the store, want at most %d", tc.what, len(asked), tc.most)
		}
		for _, r := range asked {
			if (r.Method == http.MethodPut || r.Method == http.MethodDelete) && r.IfMatch == "" && r.IfNoneMatch == "" {
				t.Errorf("%s: a write without a condition: %s %s", tc.what, r.Method, r.Path)
			}
		}
	}
}

// A gateway that dies at any request to the store, while the engine's retry reaches the other one.
func TestGateway_DiesAtEveryRequest(t *testing.T) {
	t.Parallel()
	e := newEstate(t, 1)
	g := e.pipeline("deploy")
	rig.Want(t, "first", g.apply("0"), 0)
	for _, fault := range []string{"before", "after"} {
		for n := 1; n <= 6; n++ {
			value := fmt.Sprintf("%s-%d", fault, n)
			e.mu.Lock()
			victim := e.open[0]
			e.mu.Unlock()
			e.addGateway()
			e.door.only(victim)
			seen := make(chan struct{})
			held := faultproxy.LoseRequest()
			if fault == "after" {
				held = faultproxy.LoseReply()
			}
			var once sync.Once
			count := 0
			var mu sync.Mutex
			e.wire.Add(faultproxy.Rule{Fault: held, Match: func(*http.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				if count++; count == n {
					once.Do(func() { close(seen) })
					return true
				}
				return false
			}})
			killed := make(chan struct{})
			go func() {
				defer close(killed)
				<-seen
				e.kill(victim)
				e.door.all()
			}()
			r := g.apply(value)
			e.wire.Heal()
			select {
			case <-seen:
			default:
				close(seen) // fewer requests than n
			}
			<-killed
			if r.Code != 0 {
				t.Errorf("%s request %d: %v", fault, n, r)
			}
			e.wantFree()
			if _, values := e.versions(); r.Code == 0 && values[len(values)-1] != value {
				t.Errorf("%s request %d: got %v", fault, n, values)
			}
		}
	}
}

// Statelatch's own commands go through a gateway as engines do, and exclude them.
func TestGateway_OwnCommands(t *testing.T) {
	t.Parallel()
	e := newEstate(t, 2)
	ana, other := e.person("ana"), e.pipeline("deploy")
	own := func(args ...string) rig.Result { return ana.Run(ana.dir, rig.Binary, args...) }
	apply := func(value string) []string {
		return append([]string{"run", "--", rig.Engine()}, append(rig.Apply, "-var", "value="+value)...)
	}
	rig.Want(t, "run", own(apply("1")...), 0)
	rig.Want(t, "run", own(apply("2")...), 0)
	rig.Want(t, "lock", own("lock", "-reason", "a look by hand"), 0)
	rig.Want(t, "an engine beside it", other.apply("3"), 1, "Error acquiring the state lock", "a look by hand")
	rig.Want(t, "status", own("status"), 11, "a look by hand")
	rig.Want(t, "unlock", own("unlock"), 0)
	rig.Want(t, "an engine", other.apply("3"), 0)
	p, goOn := other.hold("4")
	rig.Want(t, "run beside an engine", own(apply("5")...), 11, "OperationTypeApply")
	goOn()
	rig.Want(t, "the engine", p.Wait(), 0)
	rig.Want(t, "history", own("history"), 0, "current")
	rig.Want(t, "rollback", own("rollback", "-auto-approve", "previous"), 0)
	if _, values := e.versions(); values[len(values)-1] != "3" {
		t.Errorf("got %v, want the one before the last at the end", values)
	}
	e.wantFree()
}

// What a network between engine and gateway does to one request after the other: every apply ends well.
func TestGateway_FaultsBeforeIt(t *testing.T) {
	t.Parallel()
	e := newEstate(t, 2)
	front := rig.StartProxy(t, e.door.url)
	e.door.url = front.URL
	g := e.pipeline("deploy")
	rig.Want(t, "first", g.apply("0"), 0)
	for name, fault := range map[string]faultproxy.Fault{
		"lose request": faultproxy.LoseRequest(), "lose reply": faultproxy.LoseReply(), "twice": faultproxy.Duplicate(),
		"503": faultproxy.Answer(503, "SlowDown"), "500 after": faultproxy.AnswerAfter(500, "InternalError"),
	} {
		for what, match := range map[string]func(*http.Request) bool{
			"lock": rig.On("PUT", ".tflock"), "read": rig.On("HEAD", "tfstate"), "write": rig.On("PUT", ".tfstate"),
			"read lock": rig.On("GET", ".tflock"), "unlock": rig.On("DELETE", ".tflock"),
		} {
			value := name + " " + what
			front.Add(faultproxy.Rule{Match: match, Nth: 1, Fault: fault})
			before := front.Count(nil)
			rig.Want(t, value, g.apply(value), 0)
			if front.Count(nil) == before {
				t.Fatalf("%s: nothing passed the proxy", value)
			}
			front.Heal()
			e.wantFree()
			if _, values := e.versions(); values[len(values)-1] != value {
				t.Errorf("%s: got %v at the end", value, values[len(values)-1])
			}
		}
	}
}
