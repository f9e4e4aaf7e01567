package identity

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/statelatch/statelatch"
)

func TestFromClaims(t *testing.T) {
	t.Parallel()
	const sha = "0123456789abcdef0123456789abcdef01234567"
	github := map[string]string{
		"iss": "https://token.actions.githubusercontent.com", "repository": "acme/infra", "run_id": "42", "run_attempt": "1",
		"event_name": "push", "actor": "octocat", "ref": "refs/heads/feat/x", "sha": sha,
	}
	with := func(change ...string) map[string]string {
		out := map[string]string{}
		for name, value := range github {
			out[name] = value
		}
		for i := 0; i < len(change); i += 2 {
			out[change[i]] = change[i+1]
		}
		return out
	}
	run := func(url, branch string) *statelatch.Run {
		return &statelatch.Run{
			System: "github-actions", Actor: "octocat", URL: url, ID: "42", Repo: "acme/infra", Branch: branch, Commit: sha,
		}
	}
	const at = "https://github.com/acme/infra/actions/runs/42"
	for _, tt := range []struct {
		name   string
		claims map[string]string
		want   *statelatch.Run
	}{
		{"github", github, run(at, "feat/x")},
		{"tag", with("ref", "refs/tags/v1"), run(at, "v1")},
		{"again", with("run_attempt", "3"), run(at+"/attempts/3", "feat/x")},
		{"pull request", with("ref", "refs/pull/7/merge", "head_ref", "feat/x"), run(at, "feat/x")},
		{"pull request without its branch", with("ref", "refs/pull/7/merge"), run(at, "7/merge")},
		{"data residency", with("iss", "https://token.actions.acme.ghe.com"), run("https://acme.ghe.com/acme/infra/actions/runs/42", "feat/x")},
		{"enterprise server", with("iss", "https://git.example.com/_services/token"), run("https://git.example.com/acme/infra/actions/runs/42", "feat/x")},
		{"enterprise's own path", with("iss", "https://token.actions.githubusercontent.com/acme"), run(at, "feat/x")},
		{"gitlab", map[string]string{
			"iss": "https://gitlab.example.com", "project_path": "acme/group/infra", "job_id": "7", "pipeline_id": "6", "user_login": "ana",
			"ref": "main", "sha": sha,
		}, &statelatch.Run{
			System: "gitlab-ci", Actor: "ana", URL: "https://gitlab.example.com/acme/group/infra/-/jobs/7", ID: "7",
			Repo: "acme/group/infra", Branch: "main", Commit: sha,
		}},
		{"a person", map[string]string{"iss": "https://login.example.com", "sub": "ana", "repository": "acme/infra"}, nil},
		{"none", nil, nil},
	} {
		if diff := cmp.Diff(tt.want, FromClaims(tt.claims)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	// What cannot be a link or a line is none.
	if got := FromClaims(with("iss", "javascript:alert(1)", "sha", "x\ny")); got.URL != "" || got.Commit != "" {
		t.Errorf("got %+v, want neither a link nor a commit", got)
	}
}
