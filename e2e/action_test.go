package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v3"
)

// actionFile is what there is in an action.yml.
type actionFile struct {
	Inputs map[string]struct{ Default string }
	Runs   struct {
		Using string
		Steps []actionStep
	}
}

type actionStep struct {
	Name, If, Uses, Shell, Run, ID string
	Env                            map[string]string
	WorkingDirectory               string `yaml:"working-directory"`
}

// gitlabFile is a GitLab template: jobs by name.
type gitlabFile map[string]gitlabJob

type gitlabJob struct {
	Script       []string
	AfterScript  []string `yaml:"after_script"`
	BeforeScript []string `yaml:"before_script"`
}

func parseYAML(t *testing.T, path string, into any) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", path))
	if err == nil {
		err = yaml.Unmarshal(content, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func gitlabTemplate(t *testing.T) (jobs gitlabFile, variables map[string]string) {
	t.Helper()
	var raw map[string]yaml.Node
	parseYAML(t, "ci/gitlab/statelatch.yml", &raw)
	jobs = gitlabFile{}
	for name, node := range raw {
		var err error
		if name == "variables" {
			err = node.Decode(&variables)
		} else {
			var job gitlabJob
			err = node.Decode(&job)
			jobs[name] = job
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return jobs, variables
}

// checkScript has a shell, and shellcheck where there is one, read a script.
func checkScript(t *testing.T, what, shell, script string) {
	t.Helper()
	if strings.Contains(script, "${{") {
		t.Errorf("%s: an expression is put into the script, so that its value is run: pass it through env", what)
	}
	file := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(shell, "-n", file).CombinedOutput(); err != nil {
		t.Errorf("%s: %v: %s", what, err, out)
	}
	if checker, err := exec.LookPath("shellcheck"); err == nil {
		if out, err := exec.Command(checker, "--shell="+shell, "--exclude=SC2086", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", what, out)
		}
	}
}

func TestCI_ScriptsAreSound(t *testing.T) {
	t.Parallel()
	bash := filepath.Base(need(t, "bash"))
	for _, path := range []string{"action.yml", "ci/github/migrate-scan/action.yml"} {
		var action actionFile
		parseYAML(t, path, &action)
		if action.Runs.Using != "composite" || len(action.Runs.Steps) < 3 {
			t.Errorf("%s: got %+v, want a composite action", path, action.Runs)
		}
		for _, step := range action.Runs.Steps {
			if (step.Run == "") == (step.Uses == "") || (step.Run != "") != (step.Shell == "bash") {
				t.Errorf("%s: %s: want either uses, or run with the shell bash", path, step.Name)
			}
			if step.Run != "" {
				checkScript(t, path+": "+step.Name, bash, step.Run)
			}
			for _, name := range regexp.MustCompile(`inputs\.([a-z-]+)`).FindAllStringSubmatch(step.If+strings.Join(values(step.Env), " "), -1) {
				if _, ok := action.Inputs[name[1]]; !ok {
					t.Errorf("%s: %s: there is no input %q", path, step.Name, name[1])
				}
			}
		}
	}
	content, err := os.ReadFile("../ci/install.sh")
	if err != nil {
		t.Fatal(err)
	}
	checkScript(t, "install.sh", bash, string(content))
	jobs, variables := gitlabTemplate(t)
	for name, job := range jobs {
		for _, script := range append(append(job.Script, job.AfterScript...), job.BeforeScript...) {
			checkScript(t, name, "sh", script)
		}
	}
	if len(jobs) != 3 || variables["STATELATCH_TAKEOVER"] != "never" {
		t.Errorf("got %d jobs, variables %v", len(jobs), variables)
	}
}

func values(m map[string]string) (all []string) {
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

// actionRun does what GitHub's runner does with a composite action.
type actionRun struct {
	*rig
	action actionFile
	inputs map[string]string
}

func newActionRun(t *testing.T, inputs map[string]string) *actionRun {
	t.Helper()
	need(t, "bash")
	r := &actionRun{rig: newRig(t, ""), inputs: map[string]string{"statelatch-path": binary}}
	parseYAML(t, "action.yml", &r.action)
	for name, input := range r.action.Inputs {
		if _, ok := r.inputs[name]; !ok {
			r.inputs[name] = input.Default
		}
	}
	r.inputs["working-directory"] = r.dir
	for name, value := range inputs {
		if _, ok := r.inputs[name]; !ok {
			t.Fatalf("there is no input %q", name)
		}
		r.inputs[name] = value
	}
	for _, name := range []string{"GITHUB_PATH", "GITHUB_OUTPUT"} {
		r.env[name] = filepath.Join(r.home, name)
		r.write(r.env[name], "")
	}
	r.env["RUNNER_TEMP"] = r.home
	for k, v := range map[string]string{
		"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/infra", "GITHUB_RUN_ID": "42", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_JOB": "apply",
		"GITHUB_SERVER_URL": "https://github.com", "GITHUB_ACTOR": "octocat",
	} {
		r.env[k] = v
	}
	return r
}

var expression = regexp.MustCompile(`\$\{\{ (\S+) \}\}`)

func (r *actionRun) resolve(s string) string {
	root, err := filepath.Abs("..")
	if err != nil {
		r.t.Fatal(err)
	}
	return expression.ReplaceAllStringFunc(s, func(e string) string {
		name := expression.FindStringSubmatch(e)[1]
		if input, ok := strings.CutPrefix(name, "inputs."); ok {
			return r.inputs[input]
		}
		if name != "github.action_path" {
			r.t.Fatalf("unknown expression %s", e)
		}
		return root
	})
}

// wanted decides the conditions that there are.
func (r *actionRun) wanted(condition string, failed bool) bool {
	switch condition {
	case "":
		return !failed
	case "inputs.statelatch-path == ''":
		return !failed && r.inputs["statelatch-path"] == ""
	case "always() && inputs.read != 'true'":
		return r.inputs["read"] != "true"
	}
	r.t.Fatalf("unknown condition %q", condition)
	return false
}

// steps starts each step that is due, lets during have it where it is the one that runs the command, and returns what
// they left by name.
func (r *actionRun) steps(during func(*process)) map[string]result {
	r.t.Helper()
	results := map[string]result{}
	failed := false
	for _, step := range r.action.Runs.Steps {
		if !r.wanted(step.If, failed) {
			continue
		}
		if step.Uses != "" {
			r.t.Fatalf("step %q is not wanted with statelatch-path", step.Name)
		}
		script := r.file(strings.ReplaceAll(step.Name, " ", "-")+".sh", step.Run)
		dir := r.resolve(step.WorkingDirectory)
		if dir == "" {
			dir = r.home
		}
		p := r.startWith(func(cmd *exec.Cmd) {
			added, err := os.ReadFile(r.env["GITHUB_PATH"])
			if err != nil {
				r.t.Fatal(err)
			}
			cmd.Env = append(cmd.Env, "PATH="+strings.TrimSpace(string(added))+":"+r.env["PATH"])
			for name, value := range step.Env {
				cmd.Env = append(cmd.Env, name+"="+r.resolve(value))
			}
		}, dir, "bash", "--noprofile", "--norc", "-eo", "pipefail", script)
		_ = p.in.Close()
		if step.Name == "Run under the lock" {
			during(p)
		}
		results[step.Name] = p.wait()
		failed = failed || results[step.Name].code != 0
	}
	return results
}

func TestAction_Run(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		inputs map[string]string
		code   int
		texts  []string
	}{
		"the default applies": {nil, 0, []string{"Apply complete!"}},
		"exit codes pass through, also of a pipe": {
			map[string]string{"command": "terraform plan -input=false -detailed-exitcode | cat", "lock-timeout": "5s", "takeover": "expired"}, 2, []string{"to add"},
		},
		"nothing in an input is run but the command": {
			map[string]string{"args": "-reason=$(touch evil) `touch evil`; \"touch\" 'evil'\n\n-lease=30s", "command": "test ! -e evil"}, 0, nil,
		},
		"read":     {map[string]string{"read": "true", "command": "terraform plan -input=false"}, 0, []string{"to add"}},
		"a REF":    {map[string]string{"ref": "s3://terraform-state/a/x s3://terraform-state/*/y", "command": "! statelatch status 's3://terraform-state/*/y'"}, 0, nil},
		"bad flag": {map[string]string{"takeover": "always"}, 2, []string{"want never or expired"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newActionRun(t, tc.inputs)
			got := r.steps(func(*process) {})
			want(t, "install", got["Install statelatch"], 0, "statelatch ")
			want(t, "run", got["Run under the lock"], tc.code, tc.texts...)
			if last, ran := got["Give back what is left"]; ran == (r.inputs["read"] == "true") || last.code != 0 {
				t.Errorf("the step after it: ran %v: %v", ran, last)
			}
			r.wantFree()
		})
	}
}

// A cancelled job: the runner interrupts the step, and kills it if it must.
func TestAction_Cancelled(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"interrupted": syscall.SIGINT, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newActionRun(t, map[string]string{"command": "echo started; exec sleep 600"})
			got := r.steps(func(p *process) {
				p.waitFor("started")
				want(t, "status while it runs", r.statelatch("status", r.ref), 11, "github.com/acme/infra/actions/runs/42")
				p.signal(signal)
			})
			if got["Run under the lock"].code == 0 {
				t.Errorf("run: %v", got["Run under the lock"])
			}
			after, wantText := got["Give back what is left"], "not locked"
			if signal == syscall.SIGKILL {
				wantText = "Released"
			}
			want(t, "the step after it", after, 0, wantText)
			r.wantFree()
		})
	}
}

// Another job of the same workflow run, such as one of a matrix, has the lock: it stays, and this job does not fail for
// it.
func TestAction_LeavesSiblingAlone(t *testing.T) {
	t.Parallel()
	r := newActionRun(t, map[string]string{"command": "true"})
	sibling := r.startWith(func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, "STATELATCH_STATE_DIR="+filepath.Join(r.home, "another-runner"))
	}, r.dir, binary, "run", "--", "bash", "-c", "echo started; exec sleep 600")
	sibling.waitFor("started")
	got := r.steps(func(*process) {})
	want(t, "run", got["Run under the lock"], 11)
	want(t, "the step after it", got["Give back what is left"], 0, "::warning::")
	want(t, "status", r.statelatch("status", r.ref), 11)
	sibling.signal(syscall.SIGINT)
	sibling.wait()
	r.wantFree()
}

// The GitLab jobs' scripts, in a POSIX shell.
func TestGitLab_Run(t *testing.T) {
	t.Parallel()
	jobs, variables := gitlabTemplate(t)
	for name, tc := range map[string]struct {
		command string
		code    int
		kill    bool
		text    string
	}{
		"success": {"terraform apply -input=false -auto-approve", 0, false, "Apply complete!"},
		"failure": {"terraform plan -input=false >/dev/null && exit 3", 3, false, ""},
		"killed":  {"echo started; exec sleep 600", -1, true, "started"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "")
			for k, v := range variables {
				r.env[k] = v
			}
			r.env["CI"], r.env["GITLAB_CI"], r.env["CI_PIPELINE_ID"], r.env["CI_JOB_ID"] = "true", "true", "7", "8"
			r.env["CI_JOB_URL"], r.env["CI_PROJECT_PATH"] = "https://gitlab.example.com/acme/infra/-/jobs/8", "acme/infra"
			r.env["CI_PROJECT_DIR"], r.env["STATELATCH_DIR"], r.env["STATELATCH_COMMAND"] = r.home, r.dir, tc.command
			bin := filepath.Join(r.home, ".statelatch", "bin")
			if err := os.MkdirAll(bin, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(binary, filepath.Join(bin, "statelatch")); err != nil {
				t.Fatal(err)
			}
			job := jobs[".statelatch:run"]
			p := r.startGroup("sh", "-e", r.file("script.sh", strings.Join(job.Script, "\n")))
			_ = p.in.Close()
			if tc.kill {
				p.waitFor("started")
				if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			want(t, "script", p.wait(), tc.code, tc.text)
			want(t, "after_script", r.run(r.home, "sh", "-e", r.file("after.sh", strings.Join(job.AfterScript, "\n"))), 0)
			r.wantFree()
		})
	}
}

// The scans of both templates find a backend with a table, also below a name that a shell would take apart.
func TestCI_MigrateScan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tree := filepath.Join(w.home, "a $(touch evil) b")
	bin := filepath.Join(w.home, ".statelatch", "bin")
	for _, dir := range []string{tree, bin} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(binary, filepath.Join(bin, "statelatch")); err != nil {
		t.Fatal(err)
	}
	w.write(filepath.Join(tree, "main.tf"), "terraform {\n  backend \"s3\" {\n    bucket = \"b\"\n    key = \"k\"\n    dynamodb_table = \"locks\"\n  }\n}\n")
	w.env["PATH"] = bin + ":" + w.env["PATH"]
	w.env["RUNNER_TEMP"], w.env["GITHUB_OUTPUT"], w.env["CI_PROJECT_DIR"] = w.home, filepath.Join(w.home, "output"), w.home
	w.env["STATELATCH_DIRECTORY"], w.env["STATELATCH_SCAN_DIR"] = tree, tree
	var action actionFile
	parseYAML(t, "ci/github/migrate-scan/action.yml", &action)
	for _, step := range action.Runs.Steps {
		if step.ID == "scan" {
			w.must(w.home, need(t, "bash"), "--noprofile", "--norc", "-eo", "pipefail", w.file("scan.sh", step.Run))
		}
	}
	jobs, _ := gitlabTemplate(t)
	sarif := filepath.Join(w.home, "statelatch-migrate.sarif")
	for range 2 {
		content, err := os.ReadFile(sarif)
		if err != nil || !strings.Contains(string(content), `"version":"2.1.0"`) || !strings.Contains(string(content), "main.tf") {
			t.Errorf("SARIF: %v\n%s", err, content)
		}
		_ = os.Remove(sarif)
		w.must(w.home, "sh", "-e", w.file("gitlab.sh", strings.Join(jobs[".statelatch:migrate-scan"].Script, "\n")))
	}
	if _, err := os.Stat(filepath.Join(w.home, "evil")); err == nil {
		t.Error("a name was run")
	}
}
