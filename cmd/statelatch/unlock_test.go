package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/identity"
	"github.com/statelatch/statelatch/internal/dynamotest"
)

// Somebody else's lock is shown with its evidence and removed only if a person says so.
func TestUnlock_AsksAndObeys(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.plainLock("app/terraform.tfstate", "engine-id")
	s.want(s.run("unlock", demoRef), 11, "engine-id", "statelatch force-unlock engine-id")
	for _, answer := range []string{"no\n", "y\n", "\n"} {
		s.typed = answer
		s.want(s.run("unlock", demoRef), 1, "Lock Info:", "engine-id", "Verdict: unknown", "promises nothing", "two runs may write", "not confirmed")
	}
	s.want(s.run("status", demoRef), 11)
	s.typed = "yes\n"
	s.want(s.run("unlock", demoRef), 0, "Verdict: unknown", "Released the lock of "+demoRef)
	s.want(s.run("unlock", demoRef), 10, "not locked")

	s.managedLock("app/terraform.tfstate", "live-id", statelatch.Managed{TTL: time.Hour})
	s.typed = "no\n"
	s.want(s.run("unlock", demoRef), 1, "Verdict: live", "A HOLDER IS ALIVE")

	// An unreadable lock, too, and several with one question.
	s.put("app/terraform.tfstate.tflock", nil)
	s.plainLock("b", "b-id")
	s.typed = "yes\n"
	s.want(s.run("unlock", demoRef, "s3://demo/b"), 0, "cannot be read", "these 2 locks", "Released the lock of "+demoRef, "Released the lock of s3://demo/b")
}

// What is removed is what was shown: a lock that changes hands meanwhile stays.
func TestUnlock_ChangedMeanwhile(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.plainLock("app/terraform.tfstate", "first-id")
	var out, errs strings.Builder
	code := run(t.Context(), append([]string{"statelatch", "unlock", demoRef}, s.flags...), terminal{
		in: readerFunc(func(p []byte) (int, error) {
			s.plainLock("app/terraform.tfstate", "second-id")
			return copy(p, "yes\n"), nil
		}),
		out: &out, err: &errs, interactive: true, getenv: func(k string) string { return s.env[k] },
	})
	if code != exitLocked || !strings.Contains(errs.String(), "second-id") {
		t.Errorf("got exit %d, want %d and the new holder: %s", code, exitLocked, &errs)
	}
	s.want(s.run("status", demoRef), 11, "second-id")
}

func TestUnlock_AutoApprove(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.plainLock("app/terraform.tfstate", "engine-id")
	s.want(s.run("unlock", "-auto-approve", "-if-older-than", "1h", demoRef), 11, "younger than 1h", "engine-id")
	s.want(s.run("unlock", "-auto-approve", demoRef), 0, "Verdict: unknown", "Released")
	s.managedLock("app/terraform.tfstate", "live-id", statelatch.Managed{TTL: time.Hour})
	s.want(s.run("unlock", "-auto-approve", demoRef), 11, "its holder is alive: its lease of 1h")
	s.managedLock("app/terraform.tfstate", "dead-id", statelatch.Managed{TTL: time.Hour, Client: deadClient(t)})
	s.want(s.run("unlock", "-auto-approve", demoRef), 0, "Verdict: stale", "Released")
	s.want(s.run("status", demoRef), 0)
}

// A dry run says what would be done, by a person at a terminal where that takes one, and does nothing.
func TestUnlock_DryRun(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("unlock", "-dry-run", demoRef), 10)
	s.plainLock("app/terraform.tfstate", "engine-id")
	s.want(s.run("unlock", "-dry-run", demoRef), 0, "Would release the lock of "+demoRef, "engine-id", "once that is confirmed")
	s.want(s.run("unlock", "-dry-run", "-json", demoRef), 0, `"would_release":true`, `"asks":true`)
	s.want(s.run("unlock", demoRef), 11, "engine-id") // there is nobody to ask
	s.want(s.run("unlock", "-dry-run", "-expired", demoRef), 11, "engine-id")
	s.want(s.run("unlock", "-dry-run", "-if-older-than", "1h", "-auto-approve", demoRef), 11, "younger")
	s.want(s.run("unlock", "-dry-run", "-auto-approve", demoRef), 0, "Would release the lock of "+demoRef, "Verdict: unknown")
	s.want(s.run("unlock", "-dry-run", "-id", "engine-id", demoRef), 0, "Would release")
	s.want(s.run("unlock", "-dry-run", "-id", "wrong", demoRef), 11)
	s.want(s.run("unlock", "-dry-run", "-mine", demoRef), 0, "is not yours")
	o := s.run("unlock", "-dry-run", "-json", "-auto-approve", demoRef)
	var p struct {
		Ref            string
		WouldRelease   bool `json:"would_release"`
		Verdict, Proof string
		Lock           map[string]any
	}
	if err := json.Unmarshal([]byte(o.out), &p); err != nil || o.code != 0 || p.Ref != demoRef || !p.WouldRelease || p.Verdict != "unknown" || p.Lock["ID"] != "engine-id" {
		t.Errorf("got %+v, %v", o, err)
	}
	s.typed = "yes\n"
	s.want(s.run("unlock", "-dry-run", demoRef), 0, "Would release")
	s.want(s.run("status", demoRef), 11, "engine-id")
}

// For the end of a CI job: what this user or this very run took, nothing else, and no question.
func TestUnlock_Mine(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("unlock", "-mine", demoRef), 0, "is not locked")
	s.want(s.run("lock", demoRef), 0)
	s.want(s.run("unlock", "-mine", demoRef), 0, "Released")
	s.plainLock("app/terraform.tfstate", "engine-id")
	s.want(s.run("unlock", "-mine", demoRef), 0, "is not yours")
	s.want(s.run("status", demoRef), 11, "engine-id")
	if o := s.run("unlock", "-mine", "-json", demoRef); o.code != 0 || !strings.Contains(o.out, `"released":false`) {
		t.Errorf("got %+v, want released false", o)
	}

	for k, v := range map[string]string{
		"GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "acme/infra", "GITHUB_RUN_ID": "42",
	} {
		s.env[k] = v
	}
	ours := statelatch.Run{System: "github-actions", Repo: "acme/infra", ID: "42"}
	for name, tc := range map[string]struct {
		m    statelatch.Managed
		code int
		text string
	}{
		"same run":              {statelatch.Managed{Run: &ours}, 0, "Released"},
		"same run, dead":        {statelatch.Managed{Run: &ours, TTL: time.Hour, Client: deadClient(t)}, 0, "Released"},
		"same run, another job": {statelatch.Managed{Run: &ours, TTL: time.Hour, Client: "host/1/1/elsewhere"}, 11, "another job of this CI run"},
		"same run, alive":       {statelatch.Managed{Run: &ours, TTL: time.Hour, Client: identity.Client()}, 11, "another job"},
		"another run":           {statelatch.Managed{Run: &statelatch.Run{System: ours.System, Repo: ours.Repo, ID: "43"}}, 0, "is not yours"},
		"another repo":          {statelatch.Managed{Run: &statelatch.Run{System: ours.System, Repo: "acme/other", ID: "42"}}, 0, "is not yours"},
		"another system":        {statelatch.Managed{Run: &statelatch.Run{System: "gitlab-ci", Repo: ours.Repo, ID: "42"}}, 0, "is not yours"},
		"empty run":             {statelatch.Managed{Run: &statelatch.Run{}}, 0, "is not yours"},
	} {
		t.Log(name)
		s.managedLock("app/terraform.tfstate", "an-id", tc.m)
		s.want(s.run("unlock", "-mine", demoRef), tc.code, tc.text)
		left := 11
		if tc.text == "Released" {
			left = 0
		}
		s.want(s.run("status", demoRef), left)
	}
}

// A run that still goes on keeps its lock, also from its own user.
func TestUnlock_OwnButAlive(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	mine, err := openClaims(func(k string) string { return s.env[k] })
	if err != nil {
		t.Fatal(err)
	}
	ref := statelatch.Ref{Bucket: "demo", Key: "app/terraform.tfstate"}
	if err := mine.remember(ref, "own-id", time.Now()); err != nil {
		t.Fatal(err)
	}
	s.managedLock(ref.Key, "own-id", statelatch.Managed{TTL: time.Hour, Client: identity.Client()})
	s.typed = "yes\n"
	for _, flags := range [][]string{{}, {"-mine"}, {"-auto-approve"}} {
		s.want(s.run(append(append([]string{"unlock"}, flags...), demoRef)...), 11, "still runs")
	}
	s.want(s.run("unlock", "-mine", "s3://demo/"), 11, "Left alone: ", "still runs")
	s.managedLock(ref.Key, "own-id", statelatch.Managed{TTL: time.Hour, Client: deadClient(t)})
	s.want(s.run("unlock", demoRef), 0, "Released")
}

// Without the right to delete, a lock stays as it was found, to the byte, and whose it is stays known.
func TestUnlock_Denied(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	for k, v := range map[string]string{
		"GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "acme/infra", "GITHUB_RUN_ID": "42",
	} {
		s.env[k] = v
	}
	key := "app/terraform.tfstate"
	run := statelatch.Run{System: "github-actions", Repo: "acme/infra", ID: "42", URL: "https://github.com/acme/infra/actions/runs/42"}
	mine, err := openClaims(func(k string) string { return s.env[k] })
	if err != nil {
		t.Fatal(err)
	}
	direct := *s
	direct.flags = slices.Clone(s.flags)
	s.want(s.run("lock", "-reason", "freeze", "s3://demo/manual"), 0)
	manual := direct.run("status", "-json", "s3://demo/manual")
	s.behindProxy().Add(deny(http.MethodDelete, "/demo/"+key+".tflock", ""), deny(http.MethodDelete, "/demo/manual.tflock", ""))
	for name, tc := range map[string]struct {
		m    statelatch.Managed
		args []string
	}{
		"mine, of this CI run": {statelatch.Managed{Run: &run, TTL: time.Hour, Client: deadClient(t)}, []string{"unlock", "-mine", demoRef}},
		"mine, below a prefix": {statelatch.Managed{Run: &run, TTL: time.Hour, Client: deadClient(t)}, []string{"unlock", "-mine", "s3://demo/app/"}},
		"of a dead process":    {statelatch.Managed{TTL: time.Hour, Client: deadClient(t)}, []string{"unlock", "-auto-approve", demoRef}},
		"force-unlock":         {statelatch.Managed{Run: &run, TTL: time.Hour}, []string{"force-unlock", "-force", "an-id", demoRef}},
		"over":                 {statelatch.Managed{Run: &run, TTL: time.Second}, []string{"unlock", "-expired", demoRef}},
		"takeover":             {statelatch.Managed{Run: &run, TTL: time.Second}, []string{"lock", "-takeover", "expired", demoRef}},
	} {
		t.Log(name)
		s.managedLock(key, "an-id", tc.m)
		ref := statelatch.Ref{Bucket: "demo", Key: key}
		if err := mine.remember(ref, "an-id", time.Now()); err != nil {
			t.Fatal(err)
		}
		s.want(s.run(tc.args...), 14, "as it was", "s3:DeleteObject")
		if got, want := s.stored(key+".tflock"), engineInfo("an-id").MarshalManaged(nonced(tc.m, "an-id")); got != string(want) {
			t.Errorf("the lock was\n%s\nand is\n%s", want, got)
		}
		if !mine.has(ref, "an-id") {
			t.Error("it was forgotten whose it is")
		}
	}
	s.want(s.run("unlock", "s3://demo/manual"), 14, "s3:DeleteObject")
	if now := direct.run("status", "-json", "s3://demo/manual"); withoutAge(now.out) != withoutAge(manual.out) {
		t.Errorf("the lock was\n%s\nand is\n%s", manual.out, now.out)
	}
}

// nonced is m as managedLock stores it.
func nonced(m statelatch.Managed, id string) statelatch.Managed {
	m.Nonce = id
	return m
}

var ages = regexp.MustCompile(`"(age_seconds|proof)":("[^"]*"|[0-9]+)`)

func withoutAge(status string) string { return ages.ReplaceAllString(status, "") }

// laterBy puts the clock of the store ahead of its own Last-Modified, as if so much time had passed.
func (s *shell) laterBy(d time.Duration) {
	s.t.Helper()
	s.answering(func(h http.Header) { h.Set("Date", time.Now().Add(d).UTC().Format(http.TimeFormat)) })
}

// withoutLastModified makes the store one that tells no age.
func (s *shell) withoutLastModified() {
	s.t.Helper()
	s.answering(func(h http.Header) { h.Del("Last-Modified") })
}

// answering puts a proxy before the store that changes the headers of its answers.
func (s *shell) answering(change func(http.Header)) {
	s.t.Helper()
	to, err := url.Parse(s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // it is signed
		},
		ModifyResponse: func(r *http.Response) error {
			change(r.Header)
			return nil
		},
	}
	srv := httptest.NewServer(proxy)
	s.t.Cleanup(srv.Close)
	for i := range s.flags {
		s.flags[i] = strings.ReplaceAll(s.flags[i], s.url, srv.URL)
	}
}

// Many at once: listed first, one question, and only what the flags mean.
func TestUnlock_Scope(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	items := s.withTable()
	for _, args := range [][]string{
		{"unlock", "s3://demo"},
		{"unlock", "s3://demo/app/"},
		{"unlock", "-auto-approve", "s3://demo"},
		{"unlock", "-id", "x", "-if-older-than", "1h", "s3://demo/"},
		{"unlock", "-mine", "s3://demo/", demoRef},
		{"unlock", "-if-older-than", "0s", "s3://demo/"},
		{"unlock", "-id", "x", "-mine", demoRef},
	} {
		s.want(s.run(args...), 2, "Error: ")
	}
	s.want(s.run("unlock", "-expired", "s3://demo"), 0, "no such lock to release in s3://demo, of 0 locks")

	old := func(key, id string) { s.managedLock(key, id, statelatch.Managed{Expires: time.Second}) }
	old("app/a", "id-a")
	old("app/b", "id-b")
	old("elsewhere", "id-c")
	s.plainLock("app/plain", "id-p")
	s.managedLock("app/leased", "id-l", statelatch.Managed{TTL: time.Hour})
	s.want(s.run("lock", "s3://demo/app/own"), 0)
	items.SetItem("locks", dynamotest.StringItem("demo/app/item", "Info", string(engineInfo("id-i").Marshal())))
	s.laterBy(time.Minute)

	s.want(s.run("unlock", "-expired", "s3://demo/app/"), 2, "app/a", "app/b", "-auto-approve")
	s.typed = "no\n"
	s.want(s.run("unlock", "-expired", "s3://demo/app/"), 1, "these 2 locks", "not confirmed")
	s.typed = ""
	o := s.run("unlock", "-expired", "-dry-run", "s3://demo/app/")
	s.want(o, 0, "Would release the lock of s3://demo/app/a", "Would release the lock of s3://demo/app/b")
	if strings.Contains(o.out, "plain") || strings.Contains(o.out, "own") || strings.Contains(o.out, "elsewhere") {
		t.Errorf("too much would be released: %s", o.out)
	}
	s.want(s.run("status", "s3://demo/app/a"), 11)
	s.want(s.run("unlock", "-expired", "-auto-approve", "s3://demo/app/"), 0, "Released the lock of s3://demo/app/a", "Released the lock of s3://demo/app/b")
	for ref, code := range map[string]int{"app/a": 0, "app/b": 0, "elsewhere": 11, "app/plain": 11, "app/leased": 11, "app/own": 11, "app/item": 11} {
		s.want(s.run("status", "s3://demo/"+ref), code)
	}

	// By age: anybody's, but no live lease and nothing of unknown age. Live ones are left alone, and said so.
	o = s.run("unlock", "-if-older-than", "50s", "-auto-approve", "-json", "s3://demo/app/")
	if o.code != 11 || strings.Count(o.out, `"released":true`) != 2 || !strings.Contains(o.out, "its holder is alive") {
		t.Errorf("got %+v, want two released and the leased one left alone", o)
	}
	for ref, code := range map[string]int{"app/plain": 0, "app/own": 0, "app/leased": 11, "app/item": 11, "elsewhere": 11} {
		s.want(s.run("status", "s3://demo/"+ref), code)
	}
}

// -expired watches a lease for its whole time: one that is renewed meanwhile stays.
func TestUnlock_ScopeLeases(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	for _, key := range []string{"a", "b", "c"} {
		s.managedLock(key, "id-"+key, statelatch.Managed{TTL: time.Second})
	}
	s.laterBy(time.Minute)
	var out, errs strings.Builder
	code := run(t.Context(), append([]string{"statelatch", "unlock", "-expired", "s3://demo/"}, s.flags...), terminal{
		in: readerFunc(func(p []byte) (int, error) {
			s.managedLock("b", "id-b", statelatch.Managed{TTL: time.Second, Seq: 2}) // its holder woke up
			return copy(p, "yes\n"), nil
		}),
		out: &out, err: &errs, interactive: true, getenv: func(k string) string { return s.env[k] },
	})
	if code != exitLocked || strings.Count(errs.String(), "Released the lock of") != 2 || !strings.Contains(errs.String(), "Left alone: state is locked: s3://demo/b: it is not over") {
		t.Errorf("got exit %d, want %d, two released and one left alone: %s", code, exitLocked, &errs)
	}
	s.want(s.run("status", "s3://demo/b"), 11)
}

// What is not over is left alone with the reason and the next step, not with the advice to try what was just tried.
func TestUnlock_NotOver(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	for name, tc := range map[string]struct {
		m     statelatch.Managed
		words []string
	}{
		"lease kept":    {statelatch.Managed{TTL: time.Hour}, []string{"its lease of 1h was renewed", "without -dry-run it is watched for up to 1h"}},
		"process gone":  {statelatch.Managed{Client: deadClient(t)}, []string{"is gone", "without -expired it is released at once: statelatch unlock", demoRef}},
		"process runs":  {statelatch.Managed{TTL: time.Hour, Client: identity.Client()}, []string{"still runs", "stop that"}},
		"expires later": {statelatch.Managed{Expires: time.Hour}, []string{"it expires in"}},
		"promises none": {statelatch.Managed{}, []string{"-expired is for a lease"}},
	} {
		t.Log(name)
		s.managedLock("app/terraform.tfstate", "an-id", tc.m)
		o := s.run("unlock", "-expired", "-dry-run", demoRef)
		s.want(o, 11, append(tc.words, "Left alone: ", "an-id")...)
		if strings.Contains(o.err, "If it is over") {
			t.Errorf("it advises itself: %s", o.err)
		}
		if tc.m.TTL == 0 {
			s.want(s.run("unlock", "-expired", demoRef), 11, tc.words...)
		}
	}
	if o := s.run("unlock", "-expired", "-dry-run", "-json", demoRef); o.code != 11 || !strings.Contains(o.out, "it is not over") {
		t.Errorf("got %+v, want the reason", o)
	}
}

// A claim may be of a run that is out of sight, as with one home for many machines, or on a system that does not show
// processes: while its lease is kept it is not taken without a question.
func TestUnlock_OwnOutOfSight(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	mine, err := openClaims(func(k string) string { return s.env[k] })
	if err != nil {
		t.Fatal(err)
	}
	ref := statelatch.Ref{Bucket: "demo", Key: "app/terraform.tfstate"}
	if err := mine.remember(ref, "own-id", time.Now()); err != nil {
		t.Fatal(err)
	}
	s.managedLock(ref.Key, "own-id", statelatch.Managed{TTL: time.Hour, Client: "elsewhere/1//"})
	s.want(s.run("unlock", demoRef), 11, "own-id")
	s.want(s.run("unlock", "-mine", demoRef), 11, "its lease of 1h was renewed")
	s.want(s.run("unlock", "-auto-approve", demoRef), 11, "its holder is alive")
	if o := s.run("status", demoRef); strings.Contains(o.out, "Release it with") {
		t.Errorf("it advises to release a live lease: %s", o.out)
	}
	s.typed = "no\n"
	s.want(s.run("unlock", demoRef), 1, "A HOLDER IS ALIVE")
	s.want(s.run("unlock", "-id", "own-id", demoRef), 0, "Released")
}

// A dry run leaves the claims, too, and with -json says also what it would not release.
func TestUnlock_DryRunChangesNothing(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	mine, err := openClaims(func(k string) string { return s.env[k] })
	if err != nil {
		t.Fatal(err)
	}
	ref := statelatch.Ref{Bucket: "demo", Key: "app/terraform.tfstate"}
	if err := mine.remember(ref, "own-id", time.Now()); err != nil {
		t.Fatal(err)
	}
	s.want(s.run("unlock", "-dry-run", demoRef), 10)
	if o := s.run("unlock", "-dry-run", "-mine", "-json", demoRef); o.code != 0 || o.out != `{"ref":"`+demoRef+`","would_release":false}`+"\n" {
		t.Errorf("got %+v, want that nothing would be released", o)
	}
	if !mine.has(ref, "own-id") {
		t.Error("the claim is gone")
	}
}

// A lock that could be taken by half and not be released is remembered: somebody has to release it later.
func TestLock_HalfDeniedIsRemembered(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	items := s.withTable()
	items.Add(dynamotest.Rule{Op: dynamotest.OpPutItem, Fault: dynamotest.Answer(400, "AccessDeniedException")})
	s.behindProxy().Add(deny(http.MethodDelete, "/demo/app/terraform.tfstate.tflock", ""))
	s.want(s.run("lock", demoRef), 14, "dynamodb:PutItem")
	left, err := statelatch.ParseLockInfo([]byte(s.stored("app/terraform.tfstate.tflock")))
	if err != nil {
		t.Fatal(err)
	}
	mine, err := openClaims(func(k string) string { return s.env[k] })
	if err != nil || !mine.has(statelatch.Ref{Bucket: "demo", Key: "app/terraform.tfstate"}, left.ID) {
		t.Errorf("the lock with ID %s is forgotten (%v)", left.ID, err)
	}
}

func TestIsScope(t *testing.T) {
	t.Parallel()
	const ap = "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/x"
	for ref, want := range map[string]bool{
		"s3://b": true, "s3://b/": true, "s3://b/team/": true, "s3://b/team": false, "s3://b/./k": false, ap: true, ap + "/": true, ap + "/team/": true, ap + "/k": false, "b": false,
	} {
		if got := isScope(ref); got != want {
			t.Errorf("%s: got %v, want %v", ref, got, want)
		}
	}
}
