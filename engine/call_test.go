package engine

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func noEnv(string) string { return "" }

func env(entries map[string]string) func(string) string {
	return func(key string) string { return entries[key] }
}

func TestNameOf(t *testing.T) {
	t.Parallel()
	for program, want := range map[string]string{
		"terraform": "terraform", "/usr/bin/tofu": "tofu", "./Terraform.EXE": "terraform", "terragrunt": "", "terraform-bin": "", "": "",
	} {
		if got := NameOf(program); got != want {
			t.Errorf("%q: got %q, want %q", program, got, want)
		}
	}
}

func TestParse_Locking(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]Locking{
		"":                               Unlocked,
		"version":                        Unlocked,
		"output -json":                   Unlocked,
		"state list":                     Unlocked,
		"state pull":                     Unlocked,
		"workspace new x":                Unlocked,
		"force-unlock -force id":         Unlocked,
		"a-later-one":                    Unlocked,
		"-help apply":                    Unlocked,
		"apply -help":                    Unlocked,
		"-version":                       Unlocked,
		"plan":                           Reads,
		"plan -lock=false":               Reads,
		"apply":                          Writes,
		"-chdir=x apply -auto-approve p": Writes,
		"destroy":                        Writes,
		"import a.b id":                  Writes,
		"state mv a b":                   Writes,
		"state rm -dry-run a":            Writes,
		"state mv -state=f a b":          Unlocked,
		"state rm -state f a":            Unlocked,
		"taint -state=f a":               Unlocked,
		"apply -state=f":                 Writes,
		"state replace-provider a b":     Writes,
		"init -reconfigure":              Moves,
		"workspace delete x":             Deletes,
		"env delete x":                   Deletes,
		"console":                        Fixed,
	} {
		if got := Parse("terraform", strings.Fields(line), noEnv).Locking(); got != want {
			t.Errorf("%q: got %d, want %d", line, got, want)
		}
	}
	if got := Parse("tofu", []string{"console"}, noEnv).Locking(); got != Reads {
		t.Errorf("tofu console: got %d, want %d", got, Reads)
	}
	inEnv := env(map[string]string{"TF_CLI_ARGS_state_mv": "-state=f"})
	if got := Parse("terraform", []string{"state", "mv", "a", "b"}, inEnv).Locking(); got != Unlocked {
		t.Errorf("-state in the environment: got %d, want %d", got, Unlocked)
	}
}

func TestCall_WithoutLock(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"apply":                           "apply -lock=false",
		"-chdir=x apply -auto-approve":    "-chdir=x apply -lock=false -auto-approve",
		"state mv a b":                    "state mv -lock=false a b",
		"apply -lock=true p":              "apply -lock=false p",
		"apply -lock -no-color":           "apply -lock=false -no-color",
		"apply --lock=1 -lock-timeout 5m": "apply -lock=false -lock-timeout 5m",
		"apply -var -lock -input=false":   "apply -lock=false -var -lock -input=false",
		"import a.b -lock=true":           "import -lock=false a.b -lock=true", // an ID
		"apply -- -lock=true":             "apply -lock=false -- -lock=true",
	} {
		args := strings.Fields(line)
		before := slices.Clone(args)
		if got := strings.Join(Parse("terraform", args, noEnv).WithoutLock(), " "); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
		if !slices.Equal(args, before) {
			t.Errorf("%q: the arguments were changed to %q", line, args)
		}
	}
}

func TestCall_Flags(t *testing.T) {
	t.Parallel()
	c := Parse("terraform", strings.Fields("apply -lock-timeout 5m"), env(map[string]string{
		"TF_CLI_ARGS": "-lock=false", "TF_CLI_ARGS_apply": "-lock=true -lock-timeout=1h", "TF_CLI_ARGS_plan": "-lock=true",
	}))
	if !c.LockOff() { // TF_CLI_ARGS stands behind TF_CLI_ARGS_apply
		t.Error("-lock=false in TF_CLI_ARGS does not count")
	}
	if got := c.LockTimeout(); got != 5*time.Minute {
		t.Errorf("got a lock timeout of %v, want that of the command line", got)
	}
	for _, value := range []string{"nonsense", "-5m", ""} {
		if got := Parse("terraform", []string{"apply", "-lock-timeout=" + value}, noEnv).LockTimeout(); got != 0 {
			t.Errorf("%q: got %v, want 0", value, got)
		}
	}
	for chdir, want := range map[string]string{"": "base", "sub": "base/sub", "a/../b": "base/b", "/abs": "/abs"} {
		args := []string{"-chdir=" + chdir, "plan"}
		if chdir == "" {
			args = args[1:]
		}
		if got := Parse("terraform", args, noEnv).Dir("base"); got != want {
			t.Errorf("-chdir=%s: got %q, want %q", chdir, got, want)
		}
	}
}

// The saved plan decides which state is written, so it must not be missed, nor anything else be taken for one.
func TestCall_Plan(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ line, env, want string }{
		{"apply", "", ""},
		{"apply -auto-approve", "", ""},
		{"apply p", "", "p"},
		{"apply -input=false -parallelism 3 p", "", "p"},
		{"apply -var a=b -var-file f", "", ""},
		{"apply -- p", "", "p"},
		{"apply", "-no-color p", "p"},
		{"apply", "'a plan'", "a plan"},
		{"apply -new-switch -no-color", "", ""},
		{"apply -new-flag value", "", "unclear"},
		{"apply -no-color", "-new-flag value", "unclear"},
		{"plan -new-flag value", "", ""},
	} {
		c := Parse("terraform", strings.Fields(tc.line), env(map[string]string{"TF_CLI_ARGS_apply": tc.env}))
		got, err := c.plan()
		if err != nil {
			got = "unclear"
		}
		if got != tc.want {
			t.Errorf("%q, %q: got %q, want %q", tc.line, tc.env, got, tc.want)
		}
	}
}

// The system goes through a symbolic link before it goes up.
func TestCall_Dir_SymbolicLinks(t *testing.T) {
	t.Parallel()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"a/live", "a/other", "other"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(root, "a", "live"), filepath.Join(root, "link")); err != nil {
		if runtime.GOOS == "windows" { // where it takes a right that few have
			t.Skip(err)
		}
		t.Fatal(err)
	}
	want := filepath.Join(root, "a", "other")
	for _, tc := range []struct{ dir, chdir string }{{filepath.Join(root, "link"), "../other"}, {root, "link/../other"}, {"", root + "/link/../other"}} {
		if got := Parse("terraform", []string{"-chdir=" + tc.chdir, "apply"}, noEnv).Dir(tc.dir); got != want {
			t.Errorf("%s in %s: got %q, want %q", tc.chdir, tc.dir, got, want)
		}
	}
}
