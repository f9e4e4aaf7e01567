package identity

import (
	"cmp"
	"net/url"
	"strings"

	"github.com/statelatch/statelatch"
)

type environment func(string) string

// system is a CI system: how to know it and what it says about the job, as documented by its makers.
type system struct {
	name string
	here func(environment) bool
	run  func(environment) statelatch.Run
}

// systems in the order in which they are looked for. Those that run engines on behalf of others come first:
// they may themselves live in one of the others. GitHub's runners live in CodeBuild, too.
var systems = [...]system{
	{"atlantis", set("ATLANTIS_TERRAFORM_VERSION"), atlantis},
	{"hcp-terraform", set("TFC_RUN_ID"), hcpTerraform},
	{"spacelift", set("TF_VAR_spacelift_run_id"), spacelift},
	{"github-actions", set("GITHUB_ACTIONS"), githubActions},
	{"gitlab-ci", set("GITLAB_CI"), gitlabCI},
	{"buildkite", set("BUILDKITE"), buildkite},
	{"azure-pipelines", set("TF_BUILD"), azurePipelines},
	{"circleci", set("CIRCLECI"), circleCI},
	{"bitbucket-pipelines", set("BITBUCKET_BUILD_NUMBER"), bitbucketPipelines},
	{"drone", set("DRONE"), drone},
	{"woodpecker", func(env environment) bool { return env("CI") == "woodpecker" }, woodpecker},
	{"travis-ci", set("TRAVIS"), travisCI},
	{"teamcity", set("TEAMCITY_VERSION"), teamCity},
	{"aws-codebuild", set("CODEBUILD_BUILD_ID"), awsCodeBuild},
	// JENKINS_URL is no sign of a job: people set it for Jenkins' own command line.
	{"jenkins", func(env environment) bool { return strings.HasPrefix(env("BUILD_TAG"), "jenkins-") }, jenkins},
}

func set(name string) func(environment) bool {
	return func(env environment) bool {
		v := env(name)
		return v != "" && !strings.EqualFold(v, "false")
	}
}

// detectRun recognises the CI job, nil if there is none. What a system says is not trusted to be well-formed.
func detectRun(env environment) *statelatch.Run {
	for _, s := range systems {
		if !s.here(env) {
			continue
		}
		r := s.run(env)
		return &statelatch.Run{
			System: s.name,
			Actor:  line(r.Actor, maxWord-1-len(s.name)),
			URL:    link(r.URL),
			ID:     line(r.ID, maxWord),
			Repo:   repository(r.Repo),
			Branch: branch(r.Branch),
			Commit: commit(r.Commit),
		}
	}
	return nil
}

func githubActions(env environment) statelatch.Run {
	address := env("GITHUB_SERVER_URL") + "/" + env("GITHUB_REPOSITORY") + "/actions/runs/" + env("GITHUB_RUN_ID")
	if attempt := env("GITHUB_RUN_ATTEMPT"); attempt != "" && attempt != "1" {
		address += "/attempts/" + attempt
	}
	return statelatch.Run{
		// The actor started the first attempt; who started this one is the other.
		Actor: cmp.Or(env("GITHUB_TRIGGERING_ACTOR"), env("GITHUB_ACTOR")),
		URL:   address, ID: env("GITHUB_RUN_ID"), Repo: env("GITHUB_REPOSITORY"),
		Branch: cmp.Or(env("GITHUB_HEAD_REF"), env("GITHUB_REF_NAME")), Commit: env("GITHUB_SHA"),
	}
}

func gitlabCI(env environment) statelatch.Run {
	return statelatch.Run{
		Actor: env("GITLAB_USER_LOGIN"), URL: env("CI_JOB_URL"), ID: env("CI_JOB_ID"),
		Repo: env("CI_PROJECT_PATH"), Branch: env("CI_COMMIT_REF_NAME"), Commit: env("CI_COMMIT_SHA"),
	}
}

func buildkite(env environment) statelatch.Run {
	return statelatch.Run{
		// Who let a blocked build go on wanted it to run now.
		Actor: cmp.Or(env("BUILDKITE_UNBLOCKER"), env("BUILDKITE_BUILD_CREATOR")),
		URL:   env("BUILDKITE_BUILD_URL") + "#" + env("BUILDKITE_JOB_ID"), ID: env("BUILDKITE_JOB_ID"),
		Repo:   env("BUILDKITE_REPO"),
		Branch: cmp.Or(env("BUILDKITE_TAG"), env("BUILDKITE_BRANCH")), Commit: env("BUILDKITE_COMMIT"),
	}
}

// azurePipelines also serves classic releases, whose build variables tell of the build that they release.
func azurePipelines(env environment) statelatch.Run {
	address := strings.TrimSuffix(env("SYSTEM_COLLECTIONURI"), "/") + "/" + url.PathEscape(env("SYSTEM_TEAMPROJECT")) +
		"/_build/results?buildId=" + url.QueryEscape(env("BUILD_BUILDID"))
	return statelatch.Run{
		Actor: cmp.Or(env("RELEASE_REQUESTEDFOR"), env("BUILD_REQUESTEDFOR")),
		URL:   cmp.Or(env("RELEASE_RELEASEWEBURL"), address),
		ID:    cmp.Or(env("RELEASE_RELEASEID"), env("BUILD_BUILDID")),
		Repo:  env("BUILD_REPOSITORY_NAME"), Branch: env("BUILD_SOURCEBRANCH"), Commit: env("BUILD_SOURCEVERSION"),
	}
}

func circleCI(env environment) statelatch.Run {
	return statelatch.Run{
		Actor: env("CIRCLE_USERNAME"), URL: env("CIRCLE_BUILD_URL"), ID: env("CIRCLE_BUILD_NUM"),
		Repo:   strings.Trim(env("CIRCLE_PROJECT_USERNAME")+"/"+env("CIRCLE_PROJECT_REPONAME"), "/"),
		Branch: cmp.Or(env("CIRCLE_TAG"), env("CIRCLE_BRANCH")), Commit: env("CIRCLE_SHA1"),
	}
}

func jenkins(env environment) statelatch.Run {
	return statelatch.Run{
		Actor: env("BUILD_USER_ID"), // of the build user vars plugin
		URL:   env("BUILD_URL"), ID: env("BUILD_TAG"), Repo: env("GIT_URL"),
		Branch: cmp.Or(env("CHANGE_BRANCH"), env("BRANCH_NAME"), strings.TrimPrefix(env("GIT_BRANCH"), "origin/")),
		Commit: env("GIT_COMMIT"),
	}
}

// atlantis tells all this only to custom run steps.
func atlantis(env environment) statelatch.Run {
	return statelatch.Run{
		Actor: env("USER_NAME"), URL: env("PULL_URL"), ID: env("PULL_NUM"),
		Repo:   strings.Trim(env("BASE_REPO_OWNER")+"/"+env("BASE_REPO_NAME"), "/"),
		Branch: env("HEAD_BRANCH_NAME"), Commit: env("HEAD_COMMIT"),
	}
}

// hcpTerraform has no URL: the run is not told on which host its service is.
func hcpTerraform(env environment) statelatch.Run {
	return statelatch.Run{
		ID: env("TFC_RUN_ID"), Repo: env("TFC_WORKSPACE_SLUG"),
		Branch: cmp.Or(env("TFC_CONFIGURATION_VERSION_GIT_TAG"), env("TFC_CONFIGURATION_VERSION_GIT_BRANCH")),
		Commit: env("TFC_CONFIGURATION_VERSION_GIT_COMMIT_SHA"),
	}
}

// spacelift has no URL for the same reason.
func spacelift(env environment) statelatch.Run {
	return statelatch.Run{
		Actor: env("TF_VAR_spacelift_run_trigger"), ID: env("TF_VAR_spacelift_run_id"),
		Repo: env("TF_VAR_spacelift_repository"), Branch: env("TF_VAR_spacelift_commit_branch"),
		Commit: env("TF_VAR_spacelift_commit_sha"),
	}
}

// bitbucketPipelines names its actor only by a UUID.
func bitbucketPipelines(env environment) statelatch.Run {
	repo, number := env("BITBUCKET_REPO_FULL_NAME"), env("BITBUCKET_BUILD_NUMBER")
	return statelatch.Run{
		URL: "https://bitbucket.org/" + repo + "/pipelines/results/" + number, ID: number, Repo: repo,
		Branch: cmp.Or(env("BITBUCKET_TAG"), env("BITBUCKET_BRANCH")), Commit: env("BITBUCKET_COMMIT"),
	}
}

func drone(env environment) statelatch.Run {
	actor := env("DRONE_BUILD_TRIGGER")
	if strings.HasPrefix(actor, "@") { // a hook or a schedule, nobody
		actor = env("DRONE_COMMIT_AUTHOR")
	}
	return statelatch.Run{
		Actor: actor, URL: env("DRONE_BUILD_LINK"), ID: env("DRONE_BUILD_NUMBER"), Repo: env("DRONE_REPO"),
		Branch: cmp.Or(env("DRONE_TAG"), env("DRONE_SOURCE_BRANCH"), env("DRONE_BRANCH")), Commit: env("DRONE_COMMIT_SHA"),
	}
}

func woodpecker(env environment) statelatch.Run {
	return statelatch.Run{
		Actor: env("CI_PIPELINE_AUTHOR"), URL: cmp.Or(env("CI_STEP_URL"), env("CI_PIPELINE_URL")),
		ID:   env("CI_PIPELINE_NUMBER"),
		Repo: env("CI_REPO"), Branch: cmp.Or(env("CI_COMMIT_TAG"), env("CI_COMMIT_BRANCH")), Commit: env("CI_COMMIT_SHA"),
	}
}

func travisCI(env environment) statelatch.Run {
	return statelatch.Run{
		URL: env("TRAVIS_JOB_WEB_URL"), ID: env("TRAVIS_JOB_ID"), Repo: env("TRAVIS_REPO_SLUG"),
		Branch: cmp.Or(env("TRAVIS_PULL_REQUEST_BRANCH"), env("TRAVIS_BRANCH")), Commit: env("TRAVIS_COMMIT"),
	}
}

func teamCity(env environment) statelatch.Run {
	return statelatch.Run{
		ID: env("TEAMCITY_BUILDCONF_NAME") + " #" + env("BUILD_NUMBER"), Repo: env("TEAMCITY_PROJECT_NAME"),
		Commit: env("BUILD_VCS_NUMBER"),
	}
}

func awsCodeBuild(env environment) statelatch.Run {
	return statelatch.Run{
		Actor: env("CODEBUILD_INITIATOR"), URL: env("CODEBUILD_BUILD_URL"), ID: env("CODEBUILD_BUILD_ID"),
		Repo: env("CODEBUILD_SOURCE_REPO_URL"), Branch: env("CODEBUILD_WEBHOOK_HEAD_REF"),
		Commit: env("CODEBUILD_RESOLVED_SOURCE_VERSION"),
	}
}
