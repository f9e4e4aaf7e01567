package identity

import (
	"os"
	"os/user"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/statelatch/statelatch"
)

const sha = "83a20ec058e2fb00e7fa4558c4c6e81e2dcf253d"

func getenv(env map[string]string) func(string) string {
	return func(name string) string { return env[name] }
}

func workstation(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username + "@" + host
}

func TestDetect_Workstation(t *testing.T) {
	t.Parallel()
	// Variables that people have at home, too.
	got := Detect(getenv(map[string]string{
		"USER": "nobody-by-that-name", "CI": "", "JENKINS_URL": "https://ci.acme.example/", "BUILD_ID": "1", "GITHUB_ACTIONS": "false",
		"TFC_AGENT_TOKEN": "secret", "ATLANTIS_GH_TOKEN": "secret", "CIRCLE_TOKEN": "secret",
	}))
	if diff := cmp.Diff(Identity{Who: workstation(t)}, got); diff != "" {
		t.Errorf("Detect (-want +got):\n%s", diff)
	}
}

func TestDetect_Overrides(t *testing.T) {
	t.Parallel()
	got := Detect(getenv(map[string]string{
		"STATELATCH_WHO": "  deploy\tbot\n", "STATELATCH_INFO": "ticket 42\x1b[2J", "STATELATCH_REASON": "failover\r\nuntil 15:00",
		"GITLAB_CI": "true", "GITLAB_USER_LOGIN": "mona", "CI_JOB_ID": "7",
	}))
	want := Identity{
		Who: "deploy bot", Info: "ticket 42 [2J", Reason: "failover until 15:00",
		Run: &statelatch.Run{System: "gitlab-ci", Actor: "mona", ID: "7"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Detect (-want +got):\n%s", diff)
	}
}

func TestDetect_Systems(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		env  map[string]string
		who  string // empty: user@host
		info string
		run  statelatch.Run
	}{
		{
			env: map[string]string{
				"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_ACTOR": "octocat", "GITHUB_TRIGGERING_ACTOR": "mona", "GITHUB_SERVER_URL": "https://github.com",
				"GITHUB_REPOSITORY": "acme/infra", "GITHUB_RUN_ID": "1658821493", "GITHUB_RUN_ATTEMPT": "3", "GITHUB_REF_NAME": "main",
				"GITHUB_REF": "refs/heads/main", "GITHUB_SHA": sha, "GITHUB_TOKEN": "secret", "CODEBUILD_BUILD_ID": "runner:1",
			},
			who:  "mona@github-actions",
			info: "https://github.com/acme/infra/actions/runs/1658821493/attempts/3 (commit 83a20ec0)",
			run: statelatch.Run{
				System: "github-actions", Actor: "mona", URL: "https://github.com/acme/infra/actions/runs/1658821493/attempts/3",
				ID: "1658821493", Repo: "acme/infra", Branch: "main", Commit: sha,
			},
		},
		{
			env: map[string]string{
				"GITHUB_ACTIONS": "true", "GITHUB_ACTOR": "octocat", "GITHUB_SERVER_URL": "https://git.acme.example", "GITHUB_REPOSITORY": "acme/infra",
				"GITHUB_RUN_ID": "12", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_REF_NAME": "17/merge", "GITHUB_HEAD_REF": "feature/x", "GITHUB_SHA": sha,
			},
			who:  "octocat@github-actions",
			info: "https://git.acme.example/acme/infra/actions/runs/12 (commit 83a20ec0)",
			run: statelatch.Run{
				System: "github-actions", Actor: "octocat", URL: "https://git.acme.example/acme/infra/actions/runs/12",
				ID: "12", Repo: "acme/infra", Branch: "feature/x", Commit: sha,
			},
		},
		{
			env: map[string]string{
				"CI": "true", "GITLAB_CI": "true", "GITLAB_USER_LOGIN": "mona", "GITLAB_USER_NAME": "Mona Lisa", "CI_JOB_TOKEN": "secret",
				"CI_JOB_URL": "https://gitlab.com/acme/platform/infra/-/jobs/4711", "CI_JOB_ID": "4711", "CI_PROJECT_PATH": "acme/platform/infra",
				"CI_COMMIT_REF_NAME": "main", "CI_COMMIT_SHA": sha, "CI_REPOSITORY_URL": "https://gitlab-ci-token:secret@gitlab.com/acme/platform/infra.git",
			},
			who:  "mona@gitlab-ci",
			info: "https://gitlab.com/acme/platform/infra/-/jobs/4711 (commit 83a20ec0)",
			run: statelatch.Run{
				System: "gitlab-ci", Actor: "mona", URL: "https://gitlab.com/acme/platform/infra/-/jobs/4711",
				ID: "4711", Repo: "acme/platform/infra", Branch: "main", Commit: sha,
			},
		},
		{
			env: map[string]string{
				"CI": "true", "BUILDKITE": "true", "BUILDKITE_BUILD_CREATOR": "Carol Danvers", "BUILDKITE_UNBLOCKER": "Kamala Khan",
				"BUILDKITE_BUILD_URL": "https://buildkite.com/acme-inc/infra/builds/1514", "BUILDKITE_JOB_ID": "e44f9784-e20e-4b93-a21d-f41fd5869db9",
				"BUILDKITE_REPO": "https://bot:secret@github.com/acme/infra.git", "BUILDKITE_BRANCH": "main", "BUILDKITE_COMMIT": "HEAD",
				"BUILDKITE_AGENT_ACCESS_TOKEN": "secret",
			},
			who:  "Kamala Khan@buildkite",
			info: "https://buildkite.com/acme-inc/infra/builds/1514#e44f9784-e20e-4b93-a21d-f41fd5869db9",
			run: statelatch.Run{
				System: "buildkite", Actor: "Kamala Khan", URL: "https://buildkite.com/acme-inc/infra/builds/1514#e44f9784-e20e-4b93-a21d-f41fd5869db9",
				ID: "e44f9784-e20e-4b93-a21d-f41fd5869db9", Repo: "github.com/acme/infra", Branch: "main",
			},
		},
		{
			env: map[string]string{
				"TF_BUILD": "True", "BUILD_REQUESTEDFOR": "Mona Lisa", "SYSTEM_COLLECTIONURI": "https://dev.azure.com/acme/", "SYSTEM_TEAMPROJECT": "Platform Team",
				"BUILD_BUILDID": "21", "BUILD_REPOSITORY_NAME": "infra", "BUILD_SOURCEBRANCH": "refs/heads/release/1", "BUILD_SOURCEVERSION": sha,
				"SYSTEM_ACCESSTOKEN": "secret",
			},
			who:  "Mona Lisa@azure-pipelines",
			info: "https://dev.azure.com/acme/Platform%20Team/_build/results?buildId=21 (commit 83a20ec0)",
			run: statelatch.Run{
				System: "azure-pipelines", Actor: "Mona Lisa", URL: "https://dev.azure.com/acme/Platform%20Team/_build/results?buildId=21",
				ID: "21", Repo: "infra", Branch: "release/1", Commit: sha,
			},
		},
		{
			env: map[string]string{
				"TF_BUILD": "True", "RELEASE_REQUESTEDFOR": "Mona Lisa", "BUILD_REQUESTEDFOR": "Microsoft.VisualStudio.Services.TFS",
				"RELEASE_RELEASEWEBURL": "https://dev.azure.com/acme/f3325c6c/_release?releaseId=13807&_a=release-summary", "RELEASE_RELEASEID": "13807",
				"SYSTEM_COLLECTIONURI": "https://dev.azure.com/acme/", "SYSTEM_TEAMPROJECT": "infra", "BUILD_BUILDID": "21",
			},
			who:  "Mona Lisa@azure-pipelines",
			info: "https://dev.azure.com/acme/f3325c6c/_release?releaseId=13807&_a=release-summary",
			run: statelatch.Run{
				System: "azure-pipelines", Actor: "Mona Lisa", URL: "https://dev.azure.com/acme/f3325c6c/_release?releaseId=13807&_a=release-summary", ID: "13807",
			},
		},
		{
			env: map[string]string{
				"CI": "true", "CIRCLECI": "true", "CIRCLE_USERNAME": "mona", "CIRCLE_BUILD_URL": "https://circleci.com/gh/acme/infra/153", "CIRCLE_BUILD_NUM": "153",
				"CIRCLE_PROJECT_USERNAME": "acme", "CIRCLE_PROJECT_REPONAME": "infra", "CIRCLE_TAG": "v1.2.3", "CIRCLE_SHA1": sha,
			},
			who:  "mona@circleci",
			info: "https://circleci.com/gh/acme/infra/153 (commit 83a20ec0)",
			run: statelatch.Run{
				System: "circleci", Actor: "mona", URL: "https://circleci.com/gh/acme/infra/153", ID: "153", Repo: "acme/infra", Branch: "v1.2.3", Commit: sha,
			},
		},
		{
			env: map[string]string{
				"JENKINS_URL": "https://ci.acme.example/", "BUILD_TAG": "jenkins-infra-main-153", "BUILD_ID": "153", "BUILD_USER_ID": "mona",
				"BUILD_URL": "https://ci.acme.example/job/infra/job/main/153/", "GIT_URL": "git@github.com:acme/infra.git", "GIT_BRANCH": "origin/main", "GIT_COMMIT": sha,
			},
			who:  "mona@jenkins",
			info: "https://ci.acme.example/job/infra/job/main/153/ (commit 83a20ec0)",
			run: statelatch.Run{
				System: "jenkins", Actor: "mona", URL: "https://ci.acme.example/job/infra/job/main/153/", ID: "jenkins-infra-main-153",
				Repo: "github.com:acme/infra", Branch: "main", Commit: sha,
			},
		},
		{ // a Jenkins that does not know its own URL and has no plugin for the user
			env: map[string]string{
				"BUILD_TAG": "jenkins-infra-PR-24-2", "CHANGE_BRANCH": "feature/x", "BRANCH_NAME": "PR-24",
				"GIT_URL": "https://ci:se%zzcret@git.acme.example/infra.git?private_token=secret", "GIT_COMMIT": sha,
			},
			info: "jenkins git.acme.example/infra jenkins-infra-PR-24-2 (commit 83a20ec0)",
			run:  statelatch.Run{System: "jenkins", ID: "jenkins-infra-PR-24-2", Repo: "git.acme.example/infra", Branch: "feature/x", Commit: sha},
		},
		{
			env: map[string]string{
				"ATLANTIS_TERRAFORM_VERSION": "1.13.0", "USER_NAME": "mona", "PULL_URL": "https://github.com/acme/infra/pull/12", "PULL_NUM": "12", "PULL_AUTHOR": "octocat",
				"BASE_REPO_OWNER": "acme", "BASE_REPO_NAME": "infra", "HEAD_BRANCH_NAME": "feature/x", "HEAD_COMMIT": sha, "ATLANTIS_GH_TOKEN": "secret",
			},
			who:  "mona@atlantis",
			info: "https://github.com/acme/infra/pull/12 (commit 83a20ec0)",
			run: statelatch.Run{
				System: "atlantis", Actor: "mona", URL: "https://github.com/acme/infra/pull/12", ID: "12", Repo: "acme/infra", Branch: "feature/x", Commit: sha,
			},
		},
		{
			env: map[string]string{
				"TFC_RUN_ID": "run-ABC123", "TFC_WORKSPACE_SLUG": "acme/prod", "TFC_CONFIGURATION_VERSION_GIT_BRANCH": "main",
				"TFC_CONFIGURATION_VERSION_GIT_COMMIT_SHA": sha, "TFC_WORKLOAD_IDENTITY_TOKEN": "secret",
			},
			info: "hcp-terraform acme/prod run-ABC123 (commit 83a20ec0)",
			run:  statelatch.Run{System: "hcp-terraform", ID: "run-ABC123", Repo: "acme/prod", Branch: "main", Commit: sha},
		},
		{
			env: map[string]string{
				"TF_VAR_spacelift_run_id": "01JKZAHVAQHFM8CC3EA5HWRMP1", "TF_VAR_spacelift_run_trigger": "mona", "TF_VAR_spacelift_repository": "acme/infra",
				"TF_VAR_spacelift_commit_branch": "main", "TF_VAR_spacelift_commit_sha": sha,
			},
			who:  "mona@spacelift",
			info: "spacelift acme/infra 01JKZAHVAQHFM8CC3EA5HWRMP1 (commit 83a20ec0)",
			run:  statelatch.Run{System: "spacelift", Actor: "mona", ID: "01JKZAHVAQHFM8CC3EA5HWRMP1", Repo: "acme/infra", Branch: "main", Commit: sha},
		},
		{
			env: map[string]string{
				"CI": "true", "BITBUCKET_BUILD_NUMBER": "8", "BITBUCKET_REPO_FULL_NAME": "acme/infra", "BITBUCKET_BRANCH": "main", "BITBUCKET_COMMIT": sha,
				"BITBUCKET_STEP_TRIGGERER_UUID": "{deadbeef-cafe-1234-5678-abcdef012345}",
			},
			info: "https://bitbucket.org/acme/infra/pipelines/results/8 (commit 83a20ec0)",
			run: statelatch.Run{
				System: "bitbucket-pipelines", URL: "https://bitbucket.org/acme/infra/pipelines/results/8", ID: "8", Repo: "acme/infra", Branch: "main", Commit: sha,
			},
		},
		{
			env: map[string]string{
				"CI": "true", "DRONE": "true", "DRONE_BUILD_TRIGGER": "@hook", "DRONE_COMMIT_AUTHOR": "mona", "DRONE_BUILD_LINK": "https://drone.acme.example/acme/infra/42",
				"DRONE_BUILD_NUMBER": "42", "DRONE_REPO": "acme/infra", "DRONE_BRANCH": "main", "DRONE_SOURCE_BRANCH": "feature/x", "DRONE_COMMIT_SHA": sha,
			},
			who:  "mona@drone",
			info: "https://drone.acme.example/acme/infra/42 (commit 83a20ec0)",
			run: statelatch.Run{
				System: "drone", Actor: "mona", URL: "https://drone.acme.example/acme/infra/42", ID: "42", Repo: "acme/infra", Branch: "feature/x", Commit: sha,
			},
		},
		{
			env: map[string]string{
				"CI": "woodpecker", "CI_PIPELINE_AUTHOR": "mona", "CI_STEP_URL": "https://ci.acme.example/repos/7/pipeline/8", "CI_PIPELINE_NUMBER": "8",
				"CI_REPO": "acme/infra", "CI_COMMIT_BRANCH": "main", "CI_COMMIT_SHA": sha,
			},
			who:  "mona@woodpecker",
			info: "https://ci.acme.example/repos/7/pipeline/8 (commit 83a20ec0)",
			run: statelatch.Run{
				System: "woodpecker", Actor: "mona", URL: "https://ci.acme.example/repos/7/pipeline/8", ID: "8", Repo: "acme/infra", Branch: "main", Commit: sha,
			},
		},
		{
			env: map[string]string{
				"CI": "true", "TRAVIS": "true", "TRAVIS_JOB_WEB_URL": "https://app.travis-ci.com/acme/infra/jobs/9", "TRAVIS_JOB_ID": "9",
				"TRAVIS_REPO_SLUG": "acme/infra", "TRAVIS_BRANCH": "main", "TRAVIS_PULL_REQUEST_BRANCH": "feature/x", "TRAVIS_COMMIT": sha,
			},
			info: "https://app.travis-ci.com/acme/infra/jobs/9 (commit 83a20ec0)",
			run: statelatch.Run{
				System: "travis-ci", URL: "https://app.travis-ci.com/acme/infra/jobs/9", ID: "9", Repo: "acme/infra", Branch: "feature/x", Commit: sha,
			},
		},
		{
			env: map[string]string{
				"TEAMCITY_VERSION": "2026.1", "TEAMCITY_PROJECT_NAME": "C# services", "TEAMCITY_BUILDCONF_NAME": "Apply", "BUILD_NUMBER": "153", "BUILD_VCS_NUMBER": sha,
			},
			info: "teamcity C# services Apply #153 (commit 83a20ec0)",
			run:  statelatch.Run{System: "teamcity", ID: "Apply #153", Repo: "C# services", Commit: sha},
		},
		{
			env: map[string]string{
				"CODEBUILD_BUILD_ID": "infra:b1e6661e", "CODEBUILD_INITIATOR": "codepipeline/infra", "CODEBUILD_RESOLVED_SOURCE_VERSION": sha,
				"CODEBUILD_BUILD_URL":       "https://eu-west-1.console.aws.amazon.com/codebuild/home?region=eu-west-1#/builds/infra:b1e6661e/view/new",
				"CODEBUILD_SOURCE_REPO_URL": "https://github.com/acme/infra.git", "CODEBUILD_WEBHOOK_HEAD_REF": "refs/heads/main", "AWS_SECRET_ACCESS_KEY": "secret",
			},
			who:  "codepipeline/infra@aws-codebuild",
			info: "https://eu-west-1.console.aws.amazon.com/codebuild/home?region=eu-west-1#/builds/infra:b1e6661e/view/new (commit 83a20ec0)",
			run: statelatch.Run{
				System: "aws-codebuild", Actor: "codepipeline/infra", ID: "infra:b1e6661e", Repo: "github.com/acme/infra", Branch: "main", Commit: sha,
				URL: "https://eu-west-1.console.aws.amazon.com/codebuild/home?region=eu-west-1#/builds/infra:b1e6661e/view/new",
			},
		},
	} {
		t.Run(tc.run.System, func(t *testing.T) {
			t.Parallel()
			read := map[string]bool{}
			got := Detect(func(name string) string {
				read[name] = true
				return tc.env[name]
			})
			want := Identity{Who: tc.who, Info: tc.info, Run: &tc.run}
			if want.Who == "" {
				want.Who = workstation(t)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Detect (-want +got):\n%s", diff)
			}
			for name, value := range tc.env {
				if value == "secret" && read[name] {
					t.Errorf("%s was read; want no secret read", name)
				}
			}
		})
	}
}

// TestDetect_Hostile: a name of a branch or a person is chosen by whoever opened the pull request.
func TestDetect_Hostile(t *testing.T) {
	t.Parallel()
	nasty := "a\r\nID: forged\x1b[31m\u202e\x00\xff" + strings.Repeat("é", 5000)
	for _, s := range systems {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			got := Detect(func(name string) string {
				switch {
				case strings.HasPrefix(name, "STATELATCH_"):
					return ""
				case s.name == "jenkins" && name == "BUILD_TAG":
					return "jenkins-" + nasty
				case s.name == "woodpecker" && name == "CI":
					return "woodpecker"
				}
				// Only the marker of this system, so that no earlier one is found.
				only := func(n string) string {
					if n == name {
						return "true"
					}
					return ""
				}
				for _, other := range systems {
					if other.name != s.name && other.here(only) {
						return ""
					}
				}
				return nasty
			})
			if got.Run == nil || got.Run.System != s.name {
				t.Fatalf("Run: got %+v, want %s", got.Run, s.name)
			}
			for field, value := range map[string]string{
				"Who": got.Who, "Info": got.Info, "Actor": got.Run.Actor, "URL": got.Run.URL,
				"ID": got.Run.ID, "Repo": got.Run.Repo, "Branch": got.Run.Branch, "Commit": got.Run.Commit,
			} {
				if !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("%s: got %q, want one printable line", field, value)
				}
				if n := utf8.RuneCountInString(value); n > maxLine+100 || field != "Info" && field != "URL" && n > maxWord {
					t.Errorf("%s: got %d characters", field, n)
				}
			}
		})
	}
}

func TestLink_NoCredentials(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, want string }{
		{"https://bot:secret@ci.acme.example/job/1?x=1#2", "https://ci.acme.example/job/1?x=1#2"},
		{"https://secret@ci.acme.example/job/1", "https://ci.acme.example/job/1"},
		{"https://bot:se%zzcret@ci.acme.example/", ""},
		{"javascript:alert(1)", ""},
		{"/acme/infra/actions/runs/", ""},
		{"https://ci.acme.example/" + strings.Repeat("x", maxLine), ""},
	} {
		if got := link(tc.in); got != tc.want {
			t.Errorf("link(%q): got %q, want %q", tc.in, got, tc.want)
		}
	}
}

// What is given counts; a reason without a line of its own is what engines show.
func TestIdentity_With(t *testing.T) {
	t.Parallel()
	ci := Identity{Who: "ann@ci", Info: "https://ci/1", Reason: "nightly"}
	for name, tc := range map[string]struct {
		id                Identity
		who, info, reason string
		want              Identity
	}{
		"nothing":         {Identity{Who: "u@h"}, "", "", "", Identity{Who: "u@h"}},
		"reason":          {Identity{Who: "u@h"}, "", "", "r", Identity{Who: "u@h", Info: "r", Reason: "r"}},
		"CI's":            {ci, "", "", "", Identity{Who: "ann@ci", Info: "nightly (https://ci/1)", Reason: "nightly"}},
		"all is given":    {ci, "w", "i", "r", Identity{Who: "w", Info: "i", Reason: "r"}},
		"reason of a job": {ci, "", "", "r", Identity{Who: "ann@ci", Info: "r (https://ci/1)", Reason: "r"}},
	} {
		if got := tc.id.With(tc.who, tc.info, tc.reason); got != tc.want {
			t.Errorf("%s: got %+v, want %+v", name, got, tc.want)
		}
	}
}
