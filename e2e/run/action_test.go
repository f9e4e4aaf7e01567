package run

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
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
	content, err := os.ReadFile(filepath.Join(rig.Root, path))
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
	bash := filepath.Base(rig.Need(t, "bash"))
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
	content, err := os.ReadFile(filepath.Join(rig.Root, "ci/install.sh"))
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
	*rig.Workdir
	action actionFile
	inputs map[string]string
}

func newActionRun(t *testing.T, inputs map[string]string) *actionRun {
	t.Helper()
	rig.Need(t, "bash")
	r := &actionRun{Workdir: rig.NewWorkdir(t, ""), inputs: map[string]string{"statelatch-path": rig.Binary}}
	parseYAML(t, "action.yml", &r.action)
	for name, input := range r.action.Inputs {
		if _, ok := r.inputs[name]; !ok {
			r.inputs[name] = input.Default
		}
	}
	r.inputs["working-directory"] = r.Dir
	for name, value := range inputs {
		if _, ok := r.inputs[name]; !ok {
			t.Fatalf("there is no input %q", name)
		}
		r.inputs[name] = value
	}
	for _, name := range []string{"GITHUB_PATH", "GITHUB_OUTPUT"} {
		r.Env[name] = filepath.Join(r.Home, name)
		r.Write(r.Env[name], "")
	}
	r.Env["RUNNER_TEMP"] = r.Home
	for k, v := range map[string]string{
		"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/infra", "GITHUB_RUN_ID": "42", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_JOB": "apply",
		"GITHUB_SERVER_URL": "https://github.com", "GITHUB_ACTOR": "octocat",
	} {
		r.Env[k] = v
	}
	return r
}

var expression = regexp.MustCompile(`\$\{\{ (\S+) \}\}`)

func (r *actionRun) resolve(s string) string {
	root, err := filepath.Abs(rig.Root)
	if err != nil {
		r.T.Fatal(err)
	}
	return expression.ReplaceAllStringFunc(s, func(e string) string {
		name := expression.FindStringSubmatch(e)[1]
		if input, ok := strings.CutPrefix(name, "inputs."); ok {
			return r.inputs[input]
		}
		if name != "github.action_path" {
			r.T.Fatalf("unknown expression %s", e)
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
	r.T.Fatalf("unknown condition %q", condition)
	return false
}

// steps starts each step that is due, lets during have it where it is the one that runs the command, and returns what
// they left by name.
func (r *actionRun) steps(during func(*rig.Process)) map[string]rig.Result {
	r.T.Helper()
	results := map[string]rig.Result{}
	failed := false
	for _, step := range r.action.Runs.Steps {
		if !r.wanted(step.If, failed) {
			continue
		}
		if step.Uses != "" {
			r.T.Fatalf("step %q is not wanted with statelatch-path", step.Name)
		}
		script := r.File(strings.ReplaceAll(step.Name, " ", "-")+".sh", step.Run)
		dir := r.resolve(step.WorkingDirectory)
		if dir == "" {
			dir = r.Home
		}
		p := r.StartWith(func(cmd *exec.Cmd) {
			added, err := os.ReadFile(r.Env["GITHUB_PATH"])
			if err != nil {
				r.T.Fatal(err)
			}
			cmd.Env = append(cmd.Env, "PATH="+strings.TrimSpace(string(added))+":"+r.Env["PATH"])
			for name, value := range step.Env {
				cmd.Env = append(cmd.Env, name+"="+r.resolve(value))
			}
		}, dir, "bash", "--noprofile", "--norc", "-eo", "pipefail", script)
		_ = p.In.Close()
		if step.Name == "Run under the lock" {
			during(p)
		}
		results[step.Name] = p.Wait()
		failed = failed || results[step.Name].Code != 0
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
			got := r.steps(func(*rig.Process) {})
			rig.Want(t, "install", got["Install statelatch"], 0, "statelatch ")
			rig.Want(t, "run", got["Run under the lock"], tc.code, tc.texts...)
			if last, ran := got["Release what is left"]; ran == (r.inputs["read"] == "true") || last.Code != 0 {
				t.Errorf("the step after it: ran %v: %v", ran, last)
			}
			r.WantFree()
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
			got := r.steps(func(p *rig.Process) {
				p.WaitFor("started")
				rig.Want(t, "status while it runs", r.Statelatch("status", r.Ref), 11, "github.com/acme/infra/actions/runs/42")
				p.Signal(signal)
			})
			if got["Run under the lock"].Code == 0 {
				t.Errorf("run: %v", got["Run under the lock"])
			}
			after, wantText := got["Release what is left"], "not locked"
			if signal == syscall.SIGKILL {
				wantText = "Released"
			}
			rig.Want(t, "the step after it", after, 0, wantText)
			r.WantFree()
		})
	}
}

// Another job of the same workflow run, such as one of a matrix, has the lock: it stays, and this job does not fail for
// it.
func TestAction_LeavesSiblingAlone(t *testing.T) {
	t.Parallel()
	r := newActionRun(t, map[string]string{"command": "true"})
	sibling := r.StartWith(func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, "STATELATCH_STATE_DIR="+filepath.Join(r.Home, "another-runner"))
	}, r.Dir, rig.Binary, "run", "--", "bash", "-c", "echo started; exec sleep 600")
	sibling.WaitFor("started")
	got := r.steps(func(*rig.Process) {})
	rig.Want(t, "run", got["Run under the lock"], 11)
	rig.Want(t, "the step after it", got["Release what is left"], 0, "::warning::")
	rig.Want(t, "status", r.Statelatch("status", r.Ref), 11)
	sibling.Signal(syscall.SIGINT)
	sibling.Wait()
	r.WantFree()
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
			r := rig.NewWorkdir(t, "")
			for k, v := range variables {
				r.Env[k] = v
			}
			r.Env["CI"], r.Env["GITLAB_CI"], r.Env["CI_PIPELINE_ID"], r.Env["CI_JOB_ID"] = "true", "true", "7", "8"
			r.Env["CI_JOB_URL"], r.Env["CI_PROJECT_PATH"] = "https://gitlab.example.com/acme/infra/-/jobs/8", "acme/infra"
			r.Env["CI_PROJECT_DIR"], r.Env["STATELATCH_DIR"], r.Env["STATELATCH_COMMAND"] = r.Home, r.Dir, tc.command
			bin := filepath.Join(r.Home, ".statelatch", "bin")
			if err := os.MkdirAll(bin, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(rig.Binary, filepath.Join(bin, "statelatch")); err != nil {
				t.Fatal(err)
			}
			job := jobs[".statelatch:run"]
			p := r.StartGroup("sh", "-e", r.File("script.sh", strings.Join(job.Script, "\n")))
			_ = p.In.Close()
			if tc.kill {
				p.WaitFor("started")
				if err := syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			rig.Want(t, "script", p.Wait(), tc.code, tc.text)
			rig.Want(t, "after_script", r.Run(r.Home, "sh", "-e", r.File("after.sh", strings.Join(job.AfterScript, "\n"))), 0)
			r.WantFree()
		})
	}
}

// The scans of both templates find a backend with a table, also below a name that a shell would take apart.
func TestCI_MigrateScan(t *testing.T) {
	t.Parallel()
	w := rig.NewWorld(t)
	tree := filepath.Join(w.Home, "a $(touch evil) b")
	bin := filepath.Join(w.Home, ".statelatch", "bin")
	for _, dir := range []string{tree, bin} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(rig.Binary, filepath.Join(bin, "statelatch")); err != nil {
		t.Fatal(err)
	}
	w.Write(filepath.Join(tree, "main.tf"), "terraform {\n  backend \"s3\" {\n    bucket = \"b\"\n    key = \"k\"\n    dynamodb_table = \"locks\"\n  }\n}\n")
	w.Env["PATH"] = bin + ":" + w.Env["PATH"]
	w.Env["RUNNER_TEMP"], w.Env["GITHUB_OUTPUT"], w.Env["CI_PROJECT_DIR"] = w.Home, filepath.Join(w.Home, "output"), w.Home
	w.Env["STATELATCH_DIRECTORY"], w.Env["STATELATCH_SCAN_DIR"] = tree, tree
	var action actionFile
	parseYAML(t, "ci/github/migrate-scan/action.yml", &action)
	for _, step := range action.Runs.Steps {
		if step.ID == "scan" {
			w.Must(w.Home, rig.Need(t, "bash"), "--noprofile", "--norc", "-eo", "pipefail", w.File("scan.sh", step.Run))
		}
	}
	jobs, _ := gitlabTemplate(t)
	sarif := filepath.Join(w.Home, "statelatch-migrate.sarif")
	for range 2 {
		content, err := os.ReadFile(sarif)
		if err != nil || !strings.Contains(string(content), `"version":"2.1.0"`) || !strings.Contains(string(content), "main.tf") {
			t.Errorf("SARIF: %v\n%s", err, content)
		}
		_ = os.Remove(sarif)
		w.Must(w.Home, "sh", "-e", w.File("gitlab.sh", strings.Join(jobs[".statelatch:migrate-scan"].Script, "\n")))
	}
	if _, err := os.Stat(filepath.Join(w.Home, "evil")); err == nil {
		t.Error("a name was run")
	}
}
