package migrate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
)

func TestJudgeEngine_Constraints(t *testing.T) {
	t.Parallel()
	for constraints, want := range map[string]Verdict{
		">= 1.10": EngineKnows, ">= 1.10.0, < 2": EngineKnows, "~> 1.10": EngineKnows, "~> 1.10.3": EngineKnows, "1.11.4": EngineKnows, "= v1.10.0": EngineKnows,
		"> 1.9.8, != 1.9.9": EngineMayBeOld, ">= 1.9": EngineMayBeOld, "~> 1.9": EngineMayBeOld, "~> 1": EngineMayBeOld, "< 2": EngineMayBeOld, "": EngineMayBeOld, "nonsense": EngineMayBeOld,
		">= 1.10.0-rc1": EngineKnows, ">= 2.0": EngineKnows, "nonsense|>= 1.11": EngineMayBeOld,
		"~> 1.9.0": EngineIsTooOld, "< 1.10": EngineIsTooOld, "<= 1.9.9": EngineIsTooOld, "1.5.7": EngineIsTooOld,
		">= 1.3|>= 1.10": EngineKnows, ">= 1.3|< 1.8": EngineIsTooOld,
	} {
		var requires []required
		for text := range strings.SplitSeq(constraints, "|") {
			requires = append(requires, required{text: text})
		}
		if constraints == "" {
			requires = nil
		}
		if got := judgeEngine(requires, nil).Verdict; got != want {
			t.Errorf("%q: got %s, want %s", constraints, got, want)
		}
	}
}

func TestJudgeEngine_Pins(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		file, text, require string
		want                Verdict
	}{
		{".terraform-version", "1.11.4\n", ">= 1.3", EngineKnows},
		{".terraform-version", "1.9.8", ">= 1.3", EngineIsTooOld},
		{".terraform-version", "latest", ">= 1.3", EngineKnows},
		{".terraform-version", "latest:^1.9", ">= 1.3", EngineIsTooOld},
		{".terraform-version", "latest:^1\\.11\\.[0-9]+$", ">= 1.3", EngineKnows},
		{".terraform-version", "latest:^1.1", ">= 1.3", EngineKnows}, // 1.14, say
		{".terraform-version", "latest:(", ">= 1.3", EngineMayBeOld},
		{".terraform-version", "latest-allowed", "~> 1.11", EngineKnows},
		{".terraform-version", "latest-allowed", ">= 1.3", EngineKnows},
		{".terraform-version", "min-required", ">= 1.9", EngineIsTooOld},
		{".terraform-version", "min-required", ">= 1.11", EngineKnows},
		{".terraform-version", "min-required", "", EngineMayBeOld},
		{".terraform-version", "\ufeff1.11.4\r\n", "", EngineKnows},
		{".tool-versions", "opentofu latest:1.9\n", "", EngineIsTooOld},
		{".tool-versions", "terraform system\n", "", EngineMayBeOld},
		{".tfswitch.toml", "product = \"opentofu\"\nversion = \"1.10.1\"\n", "", EngineKnows},
		{"mise.toml", "[tools]\nterraform = \"prefix:1.11\"\n", "", EngineKnows},
		{"mise.local.toml", "[tools]\nterraform = \"1.9\"\n", "", EngineIsTooOld},
		{"mise.ci.toml", "[tools]\nterraform = \"1.9\"\n", "", EngineIsTooOld},
		{".config/mise/conf.d/tools.toml", "[tools]\nterraform = \"1.9\"\n", "", EngineIsTooOld},
		{"mise/mise.toml", "[tools]\nterraform = \"1.11\"\n", "", EngineMayBeOld}, // of that directory
		{"Dockerfile", "ARG VERSION=1.11.4\nFROM docker.io/hashicorp/terraform:${VERSION} AS tools\n", "", EngineKnows},
		{"Makefile", "TAG ?= 1.9.1\nplan:\n\tdocker run hashicorp/terraform:$(TAG) plan\n", "", EngineIsTooOld},
		{"compose.yml", "services:\n  tf:\n    image: \"hashicorp/terraform:${TAG:-1.11.4}\"\n", "", EngineKnows},
		{".gitlab-ci.yml", "variables:\n  TAG: \"1.9.4\"\nplan:\n  image: hashicorp/terraform:${TAG}\n", "", EngineIsTooOld},
		{".gitlab-ci.yml", "variables:\n  TAG:\n    value: \"1.11.4\"\nplan:\n  image: hashicorp/terraform:$TAG\n", "", EngineKnows},
		{".github/workflows/a.yml", "env:\n  TAG: \"1.11.4\"\njobs:\n  a:\n    container: hashicorp/terraform:${{ env.TAG }}\n", "", EngineKnows},
		{".terraform-version", ">= 1.3", "", EngineKnows}, // the newest is taken
		{".opentofu-version", "# ours\n1.10.0", "", EngineKnows},
		{".tool-versions", "terraform 1.11.4\nopentofu 1.9.0\n", "", EngineIsTooOld},
		{".tool-versions", "nodejs 20\n", "", EngineMayBeOld},
		{".terraform-version", "1.11.4", "~> 1.5.0", EngineIsTooOld}, // nothing fits; what is pinned is not what runs there
		{".tfswitchrc", "1.10.2\n", "", EngineKnows},
		{".tfswitch.toml", "bin = \"/x\"\nversion = \"1.9.0\"\n", "", EngineIsTooOld},
		{"mise.toml", "[tools]\nnode = \"20\"\nterraform = \"1.10\"\n", "", EngineKnows},
		{".mise.toml", "[tools]\n\"aqua:hashicorp/terraform\" = {version = \"1.5\"}\n", "", EngineIsTooOld},
		{".config/mise/config.toml", "[tools]\nopentofu = [\"1.11\", \"1.9\"]\n", "", EngineIsTooOld},
		{".config/mise.toml", "[tools]\nterraform = \"1\"\n", "", EngineKnows},
		{"mise.toml", "[tools\n", "", EngineMayBeOld},
		{"mise.toml", "a = " + strings.Repeat("[", 60_000), "", EngineMayBeOld},
		{".env", "TERRAFORM_VERSION=1.11.4\n", "", EngineKnows},
		{"Makefile", "TF_VERSION := 1.5.7\n", "", EngineIsTooOld},
		{"Makefile", "# TF_VERSION := 1.5.7\n", "", EngineMayBeOld},
		{"Dockerfile", "FROM hashicorp/terraform:1.10\n", "", EngineKnows},
		{"Dockerfile", "ARG TERRAFORM_VERSION=1.9.2\nFROM x\n", "", EngineIsTooOld},
		{"Dockerfile.ci", "ENV TOFU_VERSION 1.10.1\n", "", EngineKnows},
		{"Dockerfile", "RUN wget https://releases.hashicorp.com/terraform/1.8.0/terraform_1.8.0_linux_amd64.zip\n", "", EngineIsTooOld},
		{"ci.sh", "tfenv install 1.11.4\n", "", EngineKnows},
		{"ci.sh", "docker run hashicorp/terraform:light fmt\n", "", EngineKnows},
		{".devcontainer/devcontainer.json", "{\n  // ours\n  \"features\": {\"ghcr.io/devcontainers/features/terraform:1\": {\"version\": \"1.9.5\"}}\n}\n", "", EngineIsTooOld},
		{"devbox.json", "{\"packages\": [\"terraform@1.11.2\"]}", "", EngineKnows},
		{".github/workflows/a.yml", "steps:\n- uses: hashicorp/setup-terraform@v3\n  with:\n    terraform_version: 1.11.4\n", "", EngineKnows},
		{".github/workflows/a.yml", "steps:\n- uses: hashicorp/setup-terraform@v3\n  with:\n    terraform_version: 1.10\n", "", EngineIsTooOld}, // the number 1.1
		{".github/workflows/a.yml", "steps:\n- uses: hashicorp/setup-terraform@v3\n  with:\n    terraform_version: \"1.10\"\n", "", EngineKnows},
		{".github/workflows/a.yml", "steps:\n- uses: hashicorp/setup-terraform@v3\n", "", EngineKnows}, // the latest
		{".github/workflows/a.yml", "steps:\n- uses: hashicorp/setup-terraform@v3\n  with: {terraform_version: ~1.5}\n", "", EngineIsTooOld},
		{".github/workflows/a.yml", "steps:\n- uses: hashicorp/setup-terraform@v3\n  with: {terraform_version: ~> 1.5}\n", "", EngineIsTooOld},
		{".github/workflows/a.yml", "steps:\n- uses: hashicorp/setup-terraform@v3\n  with: {terraform_version: ^1.5}\n", "", EngineKnows},
		{".github/workflows/a.yml", "steps:\n- uses: hashicorp/setup-terraform@v3\n  with: {terraform_version: 1.5.x}\n", "", EngineIsTooOld},
		{".github/workflows/a.yml", "env:\n  TF: 1.11.4\njobs:\n  a:\n    steps:\n    - uses: hashicorp/setup-terraform@v3\n      with:\n        terraform_version: ${{ env.TF }}\n", "", EngineKnows},
		{".github/workflows/a.yml", "jobs:\n  a:\n    strategy:\n      matrix:\n        tf: [1.11.4, 1.9.0]\n    steps:\n    - uses: opentofu/setup-opentofu@v1\n      with:\n        tofu_version: ${{ matrix.tf }}\n", "", EngineIsTooOld},
		{".github/workflows/a.yml", "on:\n  workflow_call:\n    inputs:\n      version:\n        default: 1.12.0\njobs:\n  a:\n    steps:\n    - uses: opentofu/setup-opentofu@v1\n      with:\n        tofu_version: ${{ inputs.version }}\n", "", EngineKnows},
		{".github/workflows/a.yml", "steps:\n- uses: hashicorp/setup-terraform@v3\n  with:\n    terraform_version: ${{ vars.TF }}\n", "", EngineMayBeOld},
		{".github/actions/x/action.yml", "runs:\n  steps:\n  - run: install\n    env:\n      TERRAFORM_VERSION: 1.11.4\n", "", EngineKnows},
		{".gitlab-ci.yml", "image:\n  name: hashicorp/terraform:1.9\n  entrypoint: [\"\"]\n", "", EngineIsTooOld},
		{".gitlab-ci.yml", "variables:\n  TF_VERSION: \"1.10.5\"\n", "", EngineKnows},
		{".gitlab-ci.yml", "image: registry.gitlab.com/gitlab-org/terraform-images/releases/1.5:v1\n", "", EngineIsTooOld},
		{"azure-pipelines.yml", "steps:\n- task: TerraformInstaller@1\n  inputs:\n    terraformVersion: '1.11.4'\n", "", EngineKnows},
		{".circleci/config.yml", "jobs:\n  a:\n    docker:\n    - image: docker.mirror.hashicorp.services/hashicorp/terraform:1.5.7\n", "", EngineIsTooOld},
		{"buildspec.yml", "phases:\n  install:\n    commands:\n    - curl https://releases.hashicorp.com/terraform/1.11.0/x.zip\n", "", EngineKnows},
		{"atlantis.yaml", "version: 3\nprojects:\n- dir: .\n  terraform_version: v1.11.4\n- dir: other\n  terraform_version: v0.12.0\n", "", EngineKnows},
		{"atlantis.yaml", "version: 3\nprojects:\n- &a\n  dir: app\n  terraform_version: v1.5.0\n- *a\n", "", EngineIsTooOld},
		{"pipeline.yml", "image_resource:\n  source:\n    repository: hashicorp/terraform\n    tag: 1.5.7\n", "", EngineIsTooOld},
		{"pipeline.yml", "image_resource:\n  source:\n    repository: ghcr.io/opentofu/opentofu\n    tag: \"1.10\"\n", "", EngineKnows},
		{"docs.yml", "see: https://github.com/hashicorp/terraform\nrepo: hashicorp/terraform\n", "", EngineMayBeOld},
		{"Jenkinsfile", "agent { docker { image 'hashicorp/terraform:1.9.5' } }\n", "", EngineIsTooOld},
		{"env0.yml", "terraformVersion: 1.5.7\n", "", EngineIsTooOld},
		{".spacelift/config.yml", "stacks:\n  app:\n    project_root: app\n    terraform_version: \"1.11.0\"\n  other:\n    project_root: other\n    terraform_version: \"1.2.0\"\n", "", EngineKnows},
		{"values.yaml", "defaultTFVersion: 1.5.7\n", "", EngineIsTooOld},
		{"chart.yaml", "{{ if .Values.terraform }}\nTF_VERSION: 1.5.7\n{{ end }}\n", "", EngineIsTooOld},
		{"x.yml", "run: |\n  echo '{\"version\":4,\"terraform_version\":\"1.6.0\"}'\n", "", EngineMayBeOld}, // a state
	} {
		dir := t.TempDir()
		write(t, dir, tc.file, tc.text)
		require := ""
		if tc.require != "" {
			require = "  required_version = \"" + tc.require + "\"\n"
		}
		write(t, dir, "app/main.tf", "terraform {\n"+require+"  backend \"s3\" {\n    bucket = \"b\"\n    key = \"k\"\n    dynamodb_table = \"t\"\n  }\n}\n")
		if got := scan(t, dir).Roots[0].Engine; got.Verdict != tc.want {
			t.Errorf("%s %q with %q: got %s (%q), want %s", tc.file, tc.text, tc.require, got.Verdict, got.Constraints, tc.want)
		}
	}
}

// The nearest directory that says something wins, and the lowest of what it says; the user's word is for the rest, and
// counts more than what jobs and images have.
func TestJudgeEngine_NearestLowestAndTheUsersWord(t *testing.T) {
	t.Parallel()
	const block = "terraform {\nVERSION  backend \"s3\" {\n    bucket = \"b\"\n    key = \"KEY\"\n    dynamodb_table = \"t\"\n  }\n}\n"
	dir := t.TempDir()
	for name, version := range map[string]string{"near": "", "far": "", "module": "", "old": "  required_version = \"~> 1.5.0\"\n", "managed": "", "free": "  required_version = \">= 1.3\"\n"} {
		write(t, dir, "live/"+name+"/main.tf", strings.NewReplacer("VERSION", version, "KEY", name).Replace(block))
	}
	write(t, dir, "live/.github/workflows/ci.yml", "env:\n  TF_VERSION: 1.11.4\n---\nenv:\n  TF_VERSION: 1.9.0\n")
	write(t, dir, ".terraform-version", "1.11.4\n")
	write(t, dir, "live/near/Makefile", "TF_VERSION = 1.12.0\n")
	write(t, dir, "live/managed/.terraform-version", "1.9.0\n")
	write(t, dir, "live/module/m.tf", "module \"a\" {\n  source = \"../../modules/a\"\n}\n")
	write(t, dir, "modules/a/main.tf", "module \"b\" {\n  source = \"../b\"\n}\n")
	write(t, dir, "modules/b/main.tf", "terraform {\n  required_version = \">= 1.10\"\n}\n")
	for engine, want := range map[string]string{
		"":                 "far too-old free too-old managed too-old module ok near ok old too-old",
		"1.11.4":           "far ok free ok managed too-old module ok near ok old too-old",
		"tofu 1.10":        "far ok free ok managed too-old module ok near ok old too-old",
		"1.9":              "far ok free ok managed too-old module ok near ok old too-old",
		"terraform 1.10.5": "far ok free ok managed too-old module ok near ok old too-old",
	} {
		found, err := Scan(t.Context(), dir, Options{Engine: engine})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range found.Roots {
			got = append(got, strings.TrimPrefix(found.Roots[i].Dir, "live/"), string(found.Roots[i].Engine.Verdict))
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("-engine %q: got %s, want %s", engine, text, want)
		}
	}
	for _, engine := range []string{"new", "tofu", "1.x.y.z", "<"} {
		if _, err := Scan(t.Context(), dir, Options{Engine: engine}); !errors.Is(err, statelatch.ErrInvalid) {
			t.Errorf("-engine %q: got %v, want ErrInvalid", engine, err)
		}
	}
	if err := os.Remove(filepath.Join(dir, ".terraform-version")); err != nil {
		t.Fatal(err)
	}
	found, err := Scan(t.Context(), dir, Options{Engine: "1.9"})
	if err != nil || found.Roots[0].Engine.Verdict != EngineIsTooOld {
		t.Errorf("got %+v, %v, want the user's 1.9 to be too old", found.Roots[0].Engine, err)
	}
}

// A version that cannot be read is not that of a directory above.
func TestJudgeEngine_UnreadIsNotWhatIsAbove(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "app/main.tf", "terraform {\n  backend \"s3\" {\n    bucket = \"b\"\n    key = \"k\"\n    dynamodb_table = \"t\"\n  }\n}\n")
	write(t, dir, ".terraform-version", "1.11.4\n")
	for file, text := range map[string]string{".terraform-version": "latest:[", ".opentofu-version": "secret\x1b[31m\n", ".tool-versions": "terraform ref:v1.9.0\n", "mise.toml": "[tools]\nterraform = \"{{ env.TF }}\"\n"} {
		write(t, dir, "app/"+file, text)
		if got := scan(t, dir).Roots[0].Engine; got.Verdict != EngineMayBeOld || got.File != "app/"+file || got.fix != fixUnread || strings.Contains(fmt.Sprint(got), "secret") {
			t.Errorf("%s: got %+v, want that it may be too old, because of the file", file, got)
		}
		if found, err := Scan(t.Context(), dir, Options{Engine: "1.11"}); err != nil || found.Roots[0].Engine.Verdict != EngineKnows {
			t.Errorf("%s: got %+v, %v, want the user's word to count", file, found.Roots[0].Engine, err)
		}
		if err := os.Remove(filepath.Join(dir, "app", file)); err != nil {
			t.Fatal(err)
		}
	}
}

// A version that a file names for OpenTofu is not Terraform's.
func TestJudgeEngine_Distribution(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "app/terragrunt.hcl", "terraform_binary = \"tofu\"\nremote_state {\n  backend = \"s3\"\n  config = {\n    bucket = \"b\"\n    key = \"k\"\n    dynamodb_table = \"t\"\n  }\n}\n")
	write(t, dir, "atlantis.yaml", "projects:\n- dir: app\n  terraform_distribution: opentofu\n  terraform_version: v1.11.0\n")
	if got := scan(t, dir).Roots[0].Engine; got.Verdict != EngineKnows {
		t.Errorf("got %+v, want the version of OpenTofu", got)
	}
}

// Terragrunt says which engine it runs, and only that one's version counts.
func TestJudgeEngine_TerragruntBinary(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, ".tool-versions", "terraform 1.5.7\nopentofu 1.11.0\n")
	const unit = "BINARYremote_state {\n  backend = \"s3\"\n  config = {\n    bucket = \"b\"\n    key = \"KEY\"\n    dynamodb_table = \"t\"\n  }\n}\n"
	for name, binary := range map[string]string{"a": "", "b": "terraform_binary = \"/usr/bin/tofu\"\n", "c": "terraform_binary = \"terraform\"\n"} {
		write(t, dir, name+"/terragrunt.hcl", strings.NewReplacer("BINARY", binary, "KEY", name).Replace(unit))
	}
	for i, want := range []Verdict{EngineIsTooOld, EngineKnows, EngineIsTooOld} {
		if r := scan(t, dir).Roots[i]; r.Engine.Verdict != want {
			t.Errorf("%s: got %s, want %s", r.Name(), r.Engine.Verdict, want)
		}
	}
}
