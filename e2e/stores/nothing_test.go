//go:build linux

package stores

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/e2e/internal/rig"
	"github.com/statelatch/statelatch/internal/faultproxy"
	"golang.org/x/sys/unix"
)

// A refused command changes nothing: neither one whose plan is declined, nor one that nobody can be asked about, nor
// any on a store of tier none or in somebody else's bucket.
func TestNothingChanges(t *testing.T) {
	t.Parallel()
	s := newStillness(t)

	asking := map[string][]string{
		"unlock":          {"unlock", s.locked},
		"unlock many":     {"unlock", "-if-older-than", "1s", s.versioned + "/"},
		"force-unlock":    {"force-unlock", s.id, s.locked},
		"rollback":        {"rollback", "previous", s.app},
		"gc":              {"gc", "-older-than", "0s", s.versioned},
		"gc of snapshots": {"gc", "-keep-snapshots", "1", s.plain},
		"bucket init":     {"bucket", "init", s.versioned},
		"bucket init new": {"bucket", "init", "s3://not-there-yet"},
	}
	for name, args := range asking {
		for answer, code := range map[string]int{"no\n": 1, "y\n": 1, "YES\n": 1, "\n": 1, "\x04": 1, ctrlC: 130} {
			s.expect(t, fmt.Sprintf("%s, answered with %q", name, answer), s.answer(answer, args...), code, "nothing was changed")
		}
		code, says := 2, "no terminal to confirm on"
		if name == "unlock" { // it is somebody else's lock, which is the more useful thing to say
			code, says = 11, "Lock Info"
		}
		s.expect(t, name+", nobody to ask", s.Statelatch(args...), code, says)
	}

	locking := map[string][]string{
		"lock":             {"lock", s.app},
		"run":              {"run", s.app, "--", "touch", filepath.Join(s.Home, "ran")},
		"push":             {"push", "-force", s.newer, s.app},
		"rollback":         {"rollback", "-auto-approve", "previous", s.app},
		"workspace new":    {"workspace", "new", "fresh", s.app},
		"workspace there":  {"workspace", "new", "staging", s.app}, // without conditions it would replace that one's state
		"workspace delete": {"workspace", "delete", "-force", "staging", s.app},
		"gc":               {"gc", "-older-than", "0s", "-auto-approve", s.versioned},
		"gc of snapshots":  {"gc", "-keep-snapshots", "1", "-auto-approve", s.plain},
	}
	mending := map[string][]string{ // what is allowed on a store of tier none: it gets one out of there
		"unlock":       {"unlock", "-auto-approve", s.locked},
		"unlock -id":   {"unlock", "-id", s.id, s.locked},
		"unlock many":  {"unlock", "-if-older-than", "1s", "-auto-approve", s.versioned + "/"},
		"unlock -mine": {"unlock", "-mine", s.versioned + "/"},
		"force-unlock": {"force-unlock", "-force", s.id, s.locked},
		"bucket init":  {"bucket", "init", "-auto-approve", s.versioned},
		"probe":        {"probe", "-clients", "2", "-rounds", "1", s.versioned},
	}
	for _, commands := range []map[string][]string{locking, mending} {
		for name, args := range commands {
			at := slices.Index(args, "--") // flags stand before it
			if at < 0 {
				at = len(args)
			}
			args = slices.Insert(slices.Clone(args), at, "-expected-bucket-owner", "999999999999")
			s.expect(t, name+", another account's bucket", s.Statelatch(args...), 14, "denied")
		}
	}

	delete(s.Env, "STATELATCH_PROBE")
	s.proxy.Add(faultproxy.Rule{Fault: faultproxy.IgnoreCondition(s.store.accessKey, s.store.secretKey)})
	for _, b := range []string{s.versioned, s.plain} {
		if v, r := probe(s.World, b); r.Code != 13 || v.Tier != "none" {
			t.Fatalf("probe: got %v, want tier none", r)
		}
	}
	s.seen = len(s.proxy.Requests()) // the probes' own
	for name, args := range locking {
		s.expect(t, name+", tier none", s.Statelatch(args...), 13, "statelatch probe s3://")
	}
	if _, err := os.Stat(filepath.Join(s.Home, "ran")); err == nil {
		t.Error("the command of run was started")
	}
}

// stillness is two buckets full of things that commands could change, behind a proxy that records every request.
type stillness struct {
	*rig.World
	store   *store
	proxy   *faultproxy.Proxy
	seen    int // of the proxy's log
	buckets []bucket.Bucket
	was     []string // what the buckets hold

	versioned, plain string // buckets, as s3://BUCKET
	app, locked      string // states
	id               string // of the lock of locked, which somebody else took
	newer            string // a file to push
}

func newStillness(t *testing.T) *stillness {
	t.Helper()
	s := &stillness{store: embeddedStore(t)}
	s.World = userOf(t, s.store)
	s.Env["STATELATCH_PROBE"] = "off"
	s.buckets = []bucket.Bucket{s.store.bucket(t, true), s.store.bucket(t, false)}
	s.versioned, s.plain = "s3://"+s.buckets[0].Name(), "s3://"+s.buckets[1].Name()
	s.app, s.locked = s.versioned+"/"+rig.StateKey, s.versioned+"/locked/terraform.tfstate"

	s.Env["STATELATCH_STATE_DIR"] = t.TempDir()
	s.id = strings.TrimSpace(s.Must(s.Home, rig.Binary, "lock", "-who", "somebody@else", s.locked).Stdout)
	s.Env["STATELATCH_STATE_DIR"] = t.TempDir()
	for serial := range 3 {
		s.newer = filepath.Join(s.Home, fmt.Sprintf("%d.tfstate", serial))
		s.Write(s.newer, fmt.Sprintf(`{"version":4,"serial":%d,"lineage":"x","outputs":{"n":{"value":%[1]d,"type":"number"}},"resources":[]}`, serial+1))
		if serial < 2 {
			s.Must(s.Home, rig.Binary, "push", s.newer, s.app)
		}
		s.Must(s.Home, rig.Binary, "push", s.newer, s.plain+"/"+rig.StateKey) // keeps a snapshot of the one before
	}
	s.Must(s.Home, rig.Binary, "workspace", "new", "staging", s.app)
	for deadline := time.Now().Add(rig.Patience); ; { // by the store's clock, of whole seconds
		var status struct {
			Age float64 `json:"age_seconds"`
		}
		r := s.Statelatch("status", "-json", s.locked)
		if err := json.Unmarshal([]byte(r.Stdout), &status); err != nil || time.Now().After(deadline) {
			t.Fatalf("status: %v: %v", err, r)
		}
		if status.Age >= 1 {
			break
		}
	}

	var err error
	if s.proxy, err = faultproxy.Start(s.store.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.proxy.Close() })
	s.Env["AWS_ENDPOINT_URL_S3"] = s.proxy.URL
	s.was = s.contents(t)
	if len(s.was) < 11 {
		t.Fatalf("got %q, want more that could be changed", s.was)
	}
	return s
}

// contents is every version and marker of every object, with what tells that it was not replaced.
func (s *stillness) contents(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, b := range s.buckets {
		for o, err := range b.ListVersions(t.Context(), bucket.ListOptions{}) {
			if err != nil {
				t.Fatal(err)
			}
			if isVerdict(o.Key) {
				continue // a probe's own
			}
			all = append(all, fmt.Sprintf("%s/%s %s %s %d %v %v %v", b.Name(), o.Key, o.VersionID, o.ETag, o.Size, o.IsLatest, o.DeleteMarker, o.LastModified))
		}
	}
	return all
}

// expect checks how a command was refused, that the store accepted no write of it, and that the buckets are what they
// were.
func (s *stillness) expect(t *testing.T, what string, r rig.Result, code int, says string) {
	t.Helper()
	if r.Code != code || !strings.Contains(r.Stdout+r.Stderr, says) {
		t.Errorf("%s: got %v, want exit %d and %q", what, r, code, says)
	}
	log := s.proxy.Requests()
	asked := 0
	for _, q := range log[s.seen:] {
		asked++
		if q.Method != http.MethodGet && q.Method != http.MethodHead && q.Stored != http.StatusForbidden {
			t.Errorf("%s: sent %s %s?%s, which the store answered with %d", what, q.Method, q.Path, q.Query, q.Stored)
		}
	}
	s.seen = len(log)
	if code != 13 && asked == 0 {
		t.Errorf("%s: nothing was asked, so this proves nothing", what)
	}
	if is := s.contents(t); !slices.Equal(is, s.was) {
		t.Fatalf("%s: the buckets hold\n%s\nwant\n%s", what, strings.Join(is, "\n"), strings.Join(s.was, "\n"))
	}
}

const ctrlC = "\x03"

// answer runs the program with a terminal to type on, and types once it is asked.
func (s *stillness) answer(text string, args ...string) rig.Result {
	s.T.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		s.T.Skipf("no pseudo-terminals here: %v", err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		s.T.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		s.T.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		s.T.Fatal(err)
	}
	defer slave.Close()
	p := s.StartWith(func(cmd *exec.Cmd) { cmd.Stdin = slave }, s.Home, rig.Binary, args...)
	p.WaitFor(`Enter a value:`)
	if text == ctrlC {
		p.Signal(syscall.SIGINT) // the terminal is nobody's session, and would send none
	} else if _, err := master.WriteString(text); err != nil {
		s.T.Fatal(err)
	}
	return p.Wait()
}
