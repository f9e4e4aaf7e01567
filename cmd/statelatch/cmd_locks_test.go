package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/identity"
	"github.com/statelatch/statelatch/internal/dynamotest"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/site"
)

// put writes an object into the bucket behind the program's back.
func (s *shell) put(key string, body []byte) {
	s.t.Helper()
	if _, err := s.demoBucket().Put(s.t.Context(), key, strings.NewReader(string(body)), bucket.PutOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shell) demoBucket() bucket.Bucket {
	s.t.Helper()
	b, err := s3bucket.Open(s.t.Context(), "demo", s3bucket.Config{
		Endpoints: s3bucket.Endpoints{S3: s.url}, Region: "us-east-1", AccessKey: "key", SecretKey: "secret-key",
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// stored is the body of an object.
func (s *shell) stored(key string) string {
	s.t.Helper()
	_, body, err := bucket.ReadAll(s.t.Context(), s.demoBucket(), key, 1<<20)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(body)
}

func engineInfo(id string) statelatch.LockInfo {
	return statelatch.LockInfo{ID: id, Who: "bob@\x1b[2Jlaptop", Operation: "OperationTypeApply", Version: "1.11.4", Created: time.Unix(0, 0)}
}

// plainLock is an engine's, managedLock one of ours of another machine.
func (s *shell) plainLock(key, id string) {
	s.t.Helper()
	s.put(key+".tflock", engineInfo(id).Marshal())
}

func (s *shell) managedLock(key, id string, m statelatch.Managed) {
	s.t.Helper()
	m.Nonce = id
	s.put(key+".tflock", engineInfo(id).MarshalManaged(m))
}

// deadClient is a process of this machine that is gone.
func deadClient(t *testing.T) string {
	t.Helper()
	p, err := identity.ParseClient(identity.Client())
	if err != nil || p.Start == "" {
		if runtime.GOOS == "linux" {
			t.Fatalf("this process cannot be looked for: %v", err)
		}
		t.Skip("processes cannot be looked for on this system")
	}
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	p.PID, p.Start = cmd.Process.Pid, "1"
	return p.String()
}

// withTable gives the shell a lock table beside the bucket.
func (s *shell) withTable() *dynamotest.Server {
	s.t.Helper()
	items := dynamotest.NewServer("locks")
	srv := httptest.NewServer(items)
	s.t.Cleanup(srv.Close)
	s.flags[1] = `endpoints={s3="` + s.url + `",dynamodb="` + srv.URL + `"}`
	s.flags = append(s.flags, "-backend-config", "dynamodb_table=locks")
	return items
}

func (s *shell) locksJSON(args ...string) locksJSON {
	s.t.Helper()
	var got locksJSON
	o := s.run(append([]string{"locks", "-json"}, args...)...)
	if err := json.Unmarshal([]byte(o.out), &got); err != nil || o.code != 0 || o.err != "" || strings.Count(o.out, "\n") != 1 {
		s.t.Fatalf("want one line of JSON and nothing on stderr: %+v, %v", o, err)
	}
	return got
}

func TestLocks_Table(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("locks", "s3://demo"), 0, "No locks in s3://demo")
	s.plainLock("app/terraform.tfstate", "engine-id")
	s.managedLock("env:/staging/app/x", "dead-id", statelatch.Managed{TTL: 90 * time.Second, Client: deadClient(t), Reason: "up\x1b[0mgrade"})
	s.put("app/broken.tflock", nil)
	s.want(s.run("lock", "-expires", "2h", "s3://demo/own"), 0)

	o := s.run("locks", "s3://demo")
	s.want(o, 0, "STATE", "engine-id", "unknown", "apply", "plain", "promises nothing", "app/x (staging)", "stale", "90s", "managed", "is gone; its lease",
		"for 2h", "unreadable", "empty", "4 locks in s3://demo: 0 live, 1 stale, 3 unknown",
		"To release what is stale:", "statelatch unlock ", "s3://demo/env:/staging/app/x\n")
	if strings.Contains(o.out+o.err, "\x1b") || strings.Contains(o.out+o.err, "secret-key") {
		t.Errorf("a lock can drive the terminal, or a secret is shown: %q", o.out+o.err)
	}
	s.want(s.run("locks", "-stale", "s3://demo/"), 0, "1 lock in s3://demo: 0 live, 1 stale, 0 unknown")
	s.want(s.run("locks", "-mine", "s3://demo/"), 0, "own ", "1 lock in")
	s.want(s.run("locks", "-older-than", "1h", "s3://demo/app"), 0, "No such lock in s3://demo/app; 3 others")
	s.want(s.run("locks", "-chdir", s.directory("use_lockfile = true")), 0, "4 locks in s3://demo")
	s.want(s.run("locks", "s3://demo", "s3://demo"), 2, "s3://demo is given twice")
	s.want(s.run("locks", "-interval", "1ms", "s3://demo"), 2, "-interval 1ms")
	s.want(s.run("locks", "-older-than=-1s", "s3://demo"), 2, "-older-than -1s")
	s.want(s.run("locks", "s3://nosuchbucket"), 10)
}

func TestLocks_JSON(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	if got := s.locksJSON("s3://demo/none"); got.Scope != "s3://demo/none" || got.Locks == nil || len(got.Locks) != 0 {
		t.Errorf("no locks: got %+v", got)
	}
	s.plainLock("app/terraform.tfstate", "engine-id")
	s.want(s.run("lock", "s3://demo/own"), 0)
	got := s.locksJSON("s3://demo")
	if len(got.Locks) != 2 || got.Totals != (fleet.Totals{Locks: 2, Unknown: 2}) {
		t.Fatalf("got %+v", got)
	}
	plain, own := got.Locks[0], got.Locks[1]
	if plain.Ref != demoRef || !plain.Locked || plain.Mine || plain.Kind != fleet.KindPlain || plain.Verdict != evidence.Unknown || plain.Proof == "" ||
		plain.AgeSeconds == nil || plain.Managed != nil || !own.Mine || own.Kind != fleet.KindManaged || own.Managed == nil {
		t.Errorf("got %+v", got)
	}
	var status statusJSON
	if o := s.run("status", "-json", demoRef); json.Unmarshal([]byte(o.out), &status) != nil || status.Verdict != evidence.Unknown || status.Proof == "" {
		t.Errorf("status: got %+v", o)
	}
	s.want(s.run("status", demoRef), 11, "Verdict: unknown: held for")
}

// B20: items in the table are locks, too, and half a lock is shown as such.
func TestLocks_B20_DynamoDB(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	items := s.withTable()
	s.want(s.run("lock", "s3://demo/both"), 0)
	items.SetItem("locks", dynamotest.StringItem("demo/table", "Info", string(engineInfo("table-id").Marshal())))
	items.SetItem("locks", dynamotest.StringItem("demo/table-md5", "Digest", "0"))
	items.SetItem("locks", dynamotest.StringItem("another/table", "Info", string(engineInfo("x").Marshal())))
	s.plainLock("file", "file-id")
	got := s.locksJSON("s3://demo")
	var kinds []string
	for _, l := range got.Locks {
		kinds = append(kinds, fmt.Sprintf("%s %s %t", l.Ref, l.Kind, l.Half != ""))
	}
	want := "s3://demo/both managed false|s3://demo/file plain true|s3://demo/table dynamodb true"
	if strings.Join(kinds, "|") != want {
		t.Errorf("got %q, want %q", kinds, want)
	}
	s.want(s.run("locks", "s3://demo"), 0, "half a lock: no lock object", "half a lock: no item")

	items.Add(dynamotest.Rule{Op: dynamotest.OpScan, Fault: dynamotest.Answer(400, "AccessDeniedException")})
	s.want(s.run("locks", "s3://demo"), 0, "Warning: locks that are only in the DynamoDB table are not listed", "dynamodb:Scan", "2 locks in")
	if got := s.locksJSON("s3://demo"); !strings.Contains(got.Incomplete, "dynamodb:Scan") || len(got.Locks) != 2 {
		t.Errorf("got %+v, want that it is incomplete", got)
	}
}

// CI is asked only if told to, and only where the environment says.
func TestLocks_AskCI(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	asked := 0
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.URL.Path != "/repos/acme/infra/actions/runs/42/attempts/1" || r.Header.Get("Authorization") != "Bearer t0ken" {
			t.Errorf("got %s with %v", r.URL, r.Header)
		}
		fmt.Fprint(w, `{"id":42,"status":"completed","conclusion":"cancelled"}`)
	}))
	t.Cleanup(api.Close)
	s.env["GITHUB_API_URL"], s.env["GITHUB_TOKEN"] = api.URL, "t0ken"
	s.managedLock("app", "ci-id", statelatch.Managed{TTL: time.Hour, Run: &statelatch.Run{
		System: "github-actions", Repo: "acme/infra", ID: "42", URL: api.URL + "/acme/infra/actions/runs/42",
	}})
	s.want(s.run("locks", "s3://demo"), 0, "1 live, 0 stale")
	if asked != 0 {
		t.Errorf("asked %d times without being told", asked)
	}
	o := s.run("locks", "-ask-ci", "s3://demo")
	s.want(o, 0, "its GitHub run has ended (cancelled); its lease of 1h", "0 live, 0 stale, 1 unknown", "/actions/runs/42\n")
	if asked != 1 || strings.Contains(o.out+o.err, "t0ken") {
		t.Errorf("asked %d times, want once; or the token is shown: %+v", asked, o)
	}
}

// lineWriter gets whole lines, and knows when there are enough.
type lineWriter struct {
	mu    sync.Mutex
	text  strings.Builder
	wrote chan struct{}
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	select {
	case w.wrote <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (w *lineWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// await waits until text was written.
func (w *lineWriter) await(t *testing.T, text string) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for !strings.Contains(w.String(), text) {
		select {
		case <-w.wrote:
		case <-timeout:
			t.Fatalf("never wrote %q: %s", text, w)
		}
	}
}

// Every change is a line; Ctrl-C is the good end.
func TestLocks_Watch(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.plainLock("a", "id-a")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &lineWriter{wrote: make(chan struct{}, 1)}
	code := make(chan int)
	line := append([]string{"statelatch", "locks", "-watch", "-interval", "1s", "-json", "s3://demo"}, s.flags...)
	go func() {
		code <- run(ctx, line, terminal{In: strings.NewReader(""), Out: out, Err: out, Getenv: func(k string) string { return s.env[k] }})
	}()
	out.await(t, `"change":"held"`)
	s.plainLock("b", "id-b")
	out.await(t, `"change":"taken"`)
	s.want(s.run("force-unlock", "-force", "id-b", "s3://demo/b"), 0)
	out.await(t, `"change":"released"`)
	cancel()
	if got := <-code; got != 0 {
		t.Errorf("Ctrl-C: got exit %d, want 0", got)
	}
	for text := range strings.Lines(out.String()) {
		var c change
		if err := json.Unmarshal([]byte(text), &c); err != nil || c.At.IsZero() || c.Lock.Ref == "" {
			t.Errorf("got %q, %v, want a change", text, err)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 3 {
		t.Errorf("got %d lines, want 3: %s", n, out)
	}
}

// What somebody wrote into a lock neither drives the terminal, nor pads every row of the table to its own length; nor
// does a key.
func TestLocks_UntrustedText(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	info := engineInfo("id\x1b[2J'\n")
	info.Who = strings.Repeat("w", 60_000)
	s.put("app/terraform.tfstate.tflock", info.Marshal())
	s.managedLock("evil\u202e/\u009bkey", "x", statelatch.Managed{TTL: time.Hour, Client: deadClient(t), Reason: strings.Repeat("r", 50_000)})
	for _, o := range []outcome{
		s.run("locks", "s3://demo"), s.run("status", demoRef), s.run("unlock", demoRef), s.run("unlock", "-if-older-than", "1ns", "-dry-run", "s3://demo/"),
	} {
		if strings.ContainsAny(o.out+o.err, "\x1b\u202e\u009b") {
			t.Errorf("a lock can drive the terminal: %q", o.out+o.err)
		}
	}
	o := s.run("locks", "s3://demo")
	s.want(o, 0, "www…", "rrr…", `unlock `, `$'s3://demo/evil\u202e/\u009bkey'`)
	if len(o.out) > 5000 {
		t.Errorf("the table has %d bytes", len(o.out))
	}
}

// A table that is longer than the terminal keeps its head and its sum, and long lines do not wrap; what is missing is
// not wiped off.
func TestLockView_Screen(t *testing.T) {
	t.Parallel()
	v := &lockView{term: terminal{}, places: []place{{Site: &site.Site{}, scope: statelatch.Scope{Bucket: "b"}}}, incomplete: statelatch.ErrDenied}
	var locks []fleet.Lock
	for i := range 30 {
		locks = append(locks, fleet.Lock{Held: lock.Held{Ref: statelatch.Ref{Bucket: "b", Key: fmt.Sprint("k", i)}}})
	}
	all := strings.Count(v.screen(locks, 0), "\n")
	for rows, want := range map[int]int{0: all, 5: all, 24: 23, all: all - 1, all + 1: all} {
		got := v.screen(locks, rows)
		if n := strings.Count(got, "\n"); n != want {
			t.Errorf("%d rows: got %d lines, want %d", rows, n, want)
		}
		for _, text := range []string{"STATE", "30 locks in", "are not listed", "Ctrl-C", "\x1b[?7l", "\x1b[?7h"} {
			if !strings.Contains(got, text) {
				t.Errorf("%d rows: it lacks %q: %s", rows, text, got)
			}
		}
		if more := strings.Contains(got, "lines more"); more != (want < all) {
			t.Errorf("%d rows: got more lines %v", rows, more)
		}
	}
}
