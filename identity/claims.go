package identity

import (
	"net/url"
	"strings"

	"github.com/statelatch/statelatch"
)

// FromClaims recognises the CI job whose OpenID Connect token has these claims, nil if it is of no system that tells
// its jobs: GitHub Actions and GitLab do. What a token says is not trusted to be well-formed.
func FromClaims(claims map[string]string) *statelatch.Run {
	var env map[string]string
	switch {
	case claims["repository"] != "" && claims["run_id"] != "" && claims["event_name"] != "":
		env = map[string]string{
			"GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": githubServer(claims["iss"]),
			"GITHUB_REPOSITORY": claims["repository"],
			"GITHUB_RUN_ID":     claims["run_id"], "GITHUB_RUN_ATTEMPT": claims["run_attempt"],
			"GITHUB_ACTOR": claims["actor"], "GITHUB_HEAD_REF": claims["head_ref"], "GITHUB_REF_NAME": refName(claims["ref"]),
			"GITHUB_SHA": claims["sha"],
		}
	case claims["project_path"] != "" && claims["job_id"] != "" && claims["pipeline_id"] != "":
		env = map[string]string{
			"GITLAB_CI": "true", "GITLAB_USER_LOGIN": claims["user_login"], "CI_JOB_ID": claims["job_id"],
			"CI_JOB_URL": strings.TrimSuffix(claims["iss"], "/") + "/" + claims["project_path"] + "/-/jobs/" +
				claims["job_id"],
			"CI_PROJECT_PATH": claims["project_path"], "CI_COMMIT_REF_NAME": claims["ref"], "CI_COMMIT_SHA": claims["sha"],
		}
	}
	return detectRun(func(name string) string { return env[name] })
}

// githubServer is the server of the repositories that an issuer of GitHub signs tokens for: github.com, a subdomain of
// ghe.com, or an Enterprise Server, whose issuer is below it.
func githubServer(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	switch domain, ok := strings.CutPrefix(u.Host, "token.actions."); {
	case ok && domain == "githubusercontent.com":
		u.Host = "github.com"
	case ok:
		u.Host = domain
	}
	return u.Scheme + "://" + u.Host
}

// refName is the name of a branch, tag or pull request.
func refName(ref string) string {
	for _, kind := range []string{"refs/heads/", "refs/tags/", "refs/pull/"} {
		if name, ok := strings.CutPrefix(ref, kind); ok {
			return name
		}
	}
	return ref
}
