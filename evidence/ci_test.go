package evidence_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
)

const secret = "s3cr3t-token"

// api is a CI system's API that gives one answer, and what it was asked.
type api struct {
	url string
	mu  sync.Mutex
	got []*http.Request
}

func serve(t *testing.T, answer http.HandlerFunc) *api {
	t.Helper()
	a := &api{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.got = append(a.got, r)
		a.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(srv.Close)
	a.url = srv.URL
	return a
}

func (a *api) requests() []*http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]*http.Request(nil), a.got...)
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func (a *api) env(more map[string]string) func(string) string {
	env := map[string]string{"GITHUB_API_URL": a.url, "CI_API_V4_URL": a.url + "/api/v4"}
	for k, v := range more {
		env[k] = v
	}
	return func(k string) string { return env[k] }
}

func (a *api) githubRun(id string) statelatch.Run {
	return statelatch.Run{System: "github-actions", Repo: "acme/infra", ID: id, URL: a.url + "/acme/infra/actions/runs/" + id}
}

func (a *api) gitlabRun(id string) statelatch.Run {
	return statelatch.Run{System: "gitlab-ci", Repo: "acme/team/infra", ID: id, URL: a.url + "/acme/team/infra/-/jobs/" + id}
}

func TestCI_Ask_Answers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
		lab    bool
		want   evidence.RunState
		left   bool
		words  string
	}{
		"hub ended":        {200, `{"id":42,"status":"completed","conclusion":"timed_out"}`, false, evidence.RunEnded, false, "has ended (timed out)"},
		"hub running":      {200, `{"id":42,"status":"in_progress","conclusion":null}`, false, evidence.RunGoesOn, false, "goes on (in progress)"},
		"hub new word":     {200, `{"id":42,"status":"levitating"}`, false, "", false, "can be understood"},
		"hub another run":  {200, `{"id":43,"status":"completed"}`, false, "", false, "can be understood"},
		"hub evil word":    {200, `{"id":42,"status":"completed","conclusion":"\u001b[2Jx"}`, false, evidence.RunEnded, false, "has ended"},
		"lab ended":        {200, `{"id":42,"status":"canceled","pipeline":{"status":"failed"}}`, true, evidence.RunEnded, false, "job has ended (canceled)"},
		"lab jobs left":    {200, `{"id":42,"status":"success","pipeline":{"status":"running"}}`, true, evidence.RunEnded, true, "its pipeline has not"},
		"lab waits for us": {200, `{"id":42,"status":"success","pipeline":{"status":"manual"}}`, true, evidence.RunEnded, true, "its pipeline has not"},
		"lab running":      {200, `{"id":42,"status":"running","pipeline":{"status":"running"}}`, true, evidence.RunGoesOn, false, "goes on (running)"},
		"not found":        {404, `{}`, false, "", false, "does not know its run"},
		"unauthorized":     {401, `{}`, true, "", false, "does not accept the token (GITLAB_TOKEN)"},
		"forbidden":        {403, `{}`, false, "", false, "does not let this token see"},
		"too many":         {429, `{}`, true, "", false, "no more requests"},
		"broken":           {502, `oops`, false, "", false, "status 502"},
		"garbage":          {200, `<html>`, false, "", false, "can be understood"},
		"empty":            {200, ``, true, "", false, "can be understood"},
		"huge":             {200, `{"id":42,"status":"completed","x":"` + strings.Repeat("x", 1<<20) + `"}`, false, "", false, "no whole answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serve(t, says(tc.status, tc.body))
			run := a.githubRun("42")
			if tc.lab {
				run = a.gitlabRun("42")
			}
			got := evidence.NewCI(a.env(nil)).Ask(t.Context(), run)
			if got.State != tc.want || got.JobsLeft != tc.left || !strings.Contains(got.Detail, tc.words) || strings.ContainsAny(got.Detail, "\x1b\n") {
				t.Errorf("got %+v, want %q, jobs left %t, with %q", got, tc.want, tc.left, tc.words)
			}
		})
	}
}

// What is asked, and with which token.
func TestCI_Ask_Requests(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		env          map[string]string
		lab          bool
		link         string
		path         string
		header, want string
	}{
		"hub":           {nil, false, "", "/repos/acme/infra/actions/runs/42/attempts/1", "Authorization", ""},
		"hub, attempt":  {nil, false, "/attempts/3", "/repos/acme/infra/actions/runs/42/attempts/3", "Authorization", ""},
		"hub, climbing": {nil, false, "/attempts/3/../4", "/repos/acme/infra/actions/runs/42/attempts/1", "Authorization", ""},
		"hub, token":    {map[string]string{"GITHUB_TOKEN": secret}, false, "", "/repos/acme/infra/actions/runs/42/attempts/1", "Authorization", "Bearer " + secret},
		"hub, gh token": {map[string]string{"GH_TOKEN": secret}, false, "", "/repos/acme/infra/actions/runs/42/attempts/1", "Authorization", "Bearer " + secret},
		"lab":           {nil, true, "", "/api/v4/projects/acme%2Fteam%2Finfra/jobs/42", "Authorization", ""},
		"lab, token":    {map[string]string{"GITLAB_TOKEN": secret, "CI_JOB_TOKEN": "x"}, true, "", "/api/v4/projects/acme%2Fteam%2Finfra/jobs/42", "Authorization", "Bearer " + secret},
		"lab, job":      {map[string]string{"CI_JOB_TOKEN": secret}, true, "", "/api/v4/projects/acme%2Fteam%2Finfra/jobs/42", "Job-Token", secret},
		"lab, host": {
			map[string]string{"CI_API_V4_URL": "", "GITLAB_HOST": "self", "CI_JOB_TOKEN": secret},
			true, "",
			"/api/v4/projects/acme%2Fteam%2Finfra/jobs/42", "Job-Token", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serve(t, says(404, ""))
			if tc.env["GITLAB_HOST"] != "" {
				tc.env["GITLAB_HOST"] = a.url + "/"
			}
			run := a.githubRun("42")
			if tc.lab {
				run = a.gitlabRun("42")
			}
			run.URL += tc.link
			evidence.NewCI(a.env(tc.env)).Ask(t.Context(), run)
			got := a.requests()
			if len(got) != 1 {
				t.Fatalf("got %d requests, want 1", len(got))
			}
			if got[0].URL.EscapedPath() != tc.path || got[0].Header.Get(tc.header) != tc.want {
				t.Errorf("got %s with %q, want %s with %q", got[0].URL.EscapedPath(), got[0].Header, tc.path, tc.want)
			}
		})
	}
}

// A lock is untrusted: what it says of its run never chooses who is asked, or climbs out of the path.
func TestCI_Ask_SendsNothing(t *testing.T) {
	t.Parallel()
	a := serve(t, says(200, `{"id":42,"status":"completed"}`))
	other := serve(t, says(200, `{"id":42,"status":"completed"}`))
	for name, change := range map[string]func(*statelatch.Run){
		"another host":      func(r *statelatch.Run) { r.URL = other.url + "/acme/infra/actions/runs/42" },
		"host in user part": func(r *statelatch.Run) { r.URL = "https://" + strings.TrimPrefix(a.url, "http://") + "@evil.example/" },
		"no link":           func(r *statelatch.Run) { r.URL = "" },
		"another system":    func(r *statelatch.Run) { r.System = "jenkins" },
		"no system":         func(r *statelatch.Run) { r.System = "" },
		"dots":              func(r *statelatch.Run) { r.Repo = "acme/.." },
		"one name":          func(r *statelatch.Run) { r.Repo = "acme" },
		"three names":       func(r *statelatch.Run) { r.Repo = "acme/infra/x" },
		"query":             func(r *statelatch.Run) { r.Repo = "acme/infra?x" },
		"escape":            func(r *statelatch.Run) { r.Repo = "acme/%2e%2e" },
		"ID climbs":         func(r *statelatch.Run) { r.ID = "42/../43" },
		"ID empty":          func(r *statelatch.Run) { r.ID = "" },
		"ID no number":      func(r *statelatch.Run) { r.ID = "4x" },
	} {
		run := a.githubRun("42")
		change(&run)
		if got := evidence.NewCI(a.env(map[string]string{"GITHUB_TOKEN": secret})).Ask(t.Context(), run); got.State != "" || got.Detail == "" {
			t.Errorf("%s: got %+v, want that it cannot be asked", name, got)
		}
	}
	for name, address := range map[string]string{
		"no TLS": "http://ci.example", "credentials": "https://u:p@ci.example", "nonsense": "::", "no host": "https://", "a file": "file:///etc",
	} {
		run := a.githubRun("42")
		run.URL = "https://ci.example/x"
		got := evidence.NewCI(a.env(map[string]string{"GITHUB_API_URL": address, "GITHUB_TOKEN": secret})).Ask(t.Context(), run)
		if got.State != "" || !strings.Contains(got.Detail, "GITHUB_API_URL") {
			t.Errorf("%s: got %+v, want that GITHUB_API_URL is wrong", name, got)
		}
	}
	if n := len(a.requests()) + len(other.requests()); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
}

// The public services' links are not at the API's host.
func TestCI_Ask_PublicHosts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ api, link string }{
		{"https://api.github.com", "https://evil.example/a/b"},
		{"https://api.acme.ghe.com", "https://github.com/a/b"},
	} {
		ci := evidence.NewCI(func(k string) string { return map[string]string{"GITHUB_API_URL": tc.api}[k] })
		got := ci.Ask(t.Context(), statelatch.Run{System: "github-actions", Repo: "a/b", ID: "1", URL: tc.link})
		if !strings.Contains(got.Detail, strings.TrimPrefix(tc.api, "https://")) {
			t.Errorf("%s for %s: got %+v, want that it is another's", tc.api, tc.link, got)
		}
	}
}

// A token must not follow a redirect to somebody else.
func TestCI_Ask_Redirects(t *testing.T) {
	t.Parallel()
	other := serve(t, says(200, `{"id":42,"status":"completed"}`))
	away := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.url, http.StatusFound) })
	got := evidence.NewCI(away.env(map[string]string{"CI_JOB_TOKEN": secret})).Ask(t.Context(), away.gitlabRun("42"))
	if got.State != "" || len(other.requests()) != 0 {
		t.Errorf("got %+v and %d requests elsewhere, want none", got, len(other.requests()))
	}
	renamed := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/renamed" {
			http.Redirect(w, r, "/renamed", http.StatusMovedPermanently)
			return
		}
		fmt.Fprint(w, `{"id":42,"status":"completed"}`)
	})
	if got := evidence.NewCI(renamed.env(nil)).Ask(t.Context(), renamed.githubRun("42")); got.State != evidence.RunEnded {
		t.Errorf("a repository that was renamed: got %+v, want that its run has ended", got)
	}
	circle := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) })
	if got := evidence.NewCI(circle.env(nil)).Ask(t.Context(), circle.githubRun("42")); got.State != "" || len(circle.requests()) > 5 {
		t.Errorf("a circle: got %+v after %d requests", got, len(circle.requests()))
	}
}

// Of many locks each run is asked about once, and a service that refuses is left alone.
func TestCI_Ask_Remembers(t *testing.T) {
	t.Parallel()
	a := serve(t, says(200, `{"id":42,"status":"completed"}`))
	ci := evidence.NewCI(a.env(nil))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if got := ci.Ask(t.Context(), a.githubRun("42")); got.State != evidence.RunEnded {
				t.Errorf("got %+v, want ended", got)
			}
		})
	}
	all.Wait()
	if n := len(a.requests()); n != 1 {
		t.Errorf("got %d requests, want 1", n)
	}

	limited := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.WriteHeader(http.StatusForbidden)
	})
	ci = evidence.NewCI(limited.env(nil))
	for i := range 20 {
		if got := ci.Ask(t.Context(), limited.githubRun(fmt.Sprint(i))); !strings.Contains(got.Detail, "no more requests") {
			t.Errorf("got %+v, want that it wants no more", got)
		}
	}
	if n := len(limited.requests()); n != 1 {
		t.Errorf("got %d requests, want 1", n)
	}
}

// answers is a service without a network, for tests of time.
type answers func(*http.Request) (*http.Response, error)

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

// Time: a slow service is given up, and what may change is asked again after a minute.
func TestCI_Ask_Time(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := statelatch.Run{System: "github-actions", Repo: "a/b", ID: "1", URL: "https://github.com/a/b/actions/runs/1"}
		slow := evidence.NewCIWith(answers(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}), func(string) string { return "" })
		start := time.Now()
		if got := slow.Ask(t.Context(), run); !strings.Contains(got.Detail, "did not answer") || time.Since(start) != 5*time.Second {
			t.Errorf("got %+v after %v, want no answer after 5s", got, time.Since(start))
		}

		var asked atomic.Int32
		status := "in_progress"
		ci := evidence.NewCIWith(answers(func(*http.Request) (*http.Response, error) {
			asked.Add(1)
			w := httptest.NewRecorder()
			fmt.Fprintf(w, `{"id":1,"status":%q}`, status)
			return w.Result(), nil
		}), func(string) string { return "" })
		for _, step := range []struct {
			wait  time.Duration
			asked int32
			want  evidence.RunState
		}{
			{0, 1, evidence.RunGoesOn},
			{59 * time.Second, 1, evidence.RunGoesOn},
			{time.Second, 2, evidence.RunEnded},
			{time.Hour, 2, evidence.RunEnded},
		} {
			time.Sleep(step.wait)
			if got := ci.Ask(t.Context(), run); got.State != step.want || asked.Load() != step.asked {
				t.Errorf("after %v more: got %q after %d requests, want %q after %d", step.wait, got.State, asked.Load(), step.want, step.asked)
			}
			status = "completed"
		}
	})
}
