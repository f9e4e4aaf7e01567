package terragrunt_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf/terragrunt"
)

const rootHCL = `
remote_state {
  backend = "s3"
  config = {
    bucket = "acme"
    key    = "${path_relative_to_include()}/terraform.tfstate"
    region = "eu-central-1"
  }
}
`

// newUnit makes a tree with a unit a/u, below a root.hcl with this text.
func newUnit(t *testing.T, root string, env ...string) (terragrunt.Options, string) {
	t.Helper()
	tree, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(tree, "root.hcl"), root)
	dir := filepath.Join(tree, "a", "u")
	write(t, filepath.Join(dir, "terragrunt.hcl"), "include \"root\" {\n  path = find_in_parent_folders(\"root.hcl\")\n}\n")
	c := testCase{dir: dir, tree: tree, env: map[string]string{}}
	for _, item := range env {
		k, v, _ := strings.Cut(item, "=")
		c.env[k] = v
	}
	return c.options(), tree
}

func initialize(t *testing.T, dir, key string) {
	t.Helper()
	write(t, filepath.Join(dir, ".terraform", "terraform.tfstate"),
		fmt.Sprintf(`{"version":3,"backend":{"type":"s3","config":{"bucket":"acme","key":%q}}}`, key))
}

func resolve(t *testing.T, opts terragrunt.Options) string {
	t.Helper()
	b, err := terragrunt.Resolve(opts)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := b.Ref()
	if err != nil {
		t.Fatal(err)
	}
	return ref.String()
}

func wantInvalid(t *testing.T, opts terragrunt.Options, texts ...string) {
	t.Helper()
	b, err := terragrunt.Resolve(opts)
	if !errors.Is(err, statelatch.ErrInvalid) {
		t.Fatalf("got %v and error %v, want an ErrInvalid", b.Key, err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error lacks %q: %v", text, err)
		}
	}
}

func TestResolve_WorkingCopies(t *testing.T) {
	t.Parallel()
	opts, _ := newUnit(t, rootHCL)
	if got, want := resolve(t, opts), "s3://acme/a/u/terraform.tfstate"; got != want {
		t.Errorf("never initialized: got %s, want %s", got, want)
	}
	old := filepath.Join(opts.Dir, ".terragrunt-cache", "h1", "h2", "app")
	initialize(t, old, "old/terraform.tfstate")
	wantInvalid(t, opts, "s3://acme/a/u/terraform.tfstate", "s3://acme/old/terraform.tfstate", "terragrunt init")
	now := filepath.Join(opts.Dir, ".terragrunt-cache", "h3", "h4", "app")
	initialize(t, now, "a/u/terraform.tfstate")
	if got, want := resolve(t, opts), "s3://acme/a/u/terraform.tfstate"; got != want {
		t.Errorf("with the copy of another version beside it: got %s, want %s", got, want)
	}

	write(t, filepath.Join(now, ".terraform", "environment"), "dev")
	wantInvalid(t, opts, "different workspaces", "default, dev", "TF_WORKSPACE")
	if err := os.RemoveAll(old); err != nil {
		t.Fatal(err)
	}
	if got, want := resolve(t, opts), "s3://acme/env:/dev/a/u/terraform.tfstate"; got != want {
		t.Errorf("in a workspace: got %s, want %s", got, want)
	}
	opts.Workspace = "stage"
	if got, want := resolve(t, opts), "s3://acme/env:/stage/a/u/terraform.tfstate"; got != want {
		t.Errorf("in a workspace that is given: got %s, want %s", got, want)
	}
	if got := terragrunt.UnitFile(now, nil); got != "" {
		t.Errorf("a working copy is taken for the unit %s", got)
	}
}

func TestResolve_NotKnown(t *testing.T) {
	t.Parallel()
	account := strings.Replace(rootHCL, `"acme"`, `"state-${get_aws_account_id()}"`, 1)
	opts, _ := newUnit(t, account)
	initialize(t, filepath.Join(opts.Dir, ".terragrunt-cache", "h1", "h2"), "a/u/terraform.tfstate")
	wantInvalid(t, opts, "the backend's bucket is not known", "get_aws_account_id at root.hcl:5", "it was initialized for s3://acme/a/u/terraform.tfstate")
	opts.BackendConfig = []string{"bucket=state-1"}
	if err := os.RemoveAll(filepath.Join(opts.Dir, ".terragrunt-cache")); err != nil {
		t.Fatal(err)
	}
	if got, want := resolve(t, opts), "s3://state-1/a/u/terraform.tfstate"; got != want {
		t.Errorf("with what is missing: got %s, want %s", got, want)
	}

	opts, tree := newUnit(t, strings.Replace(rootHCL, `"acme"`, `get_env("B", "none")`, 1), "B=")
	if unit, err := terragrunt.Evaluate(opts); err != nil || unit.Args["bucket"].Value != "" {
		t.Errorf("a variable that is set to nothing: got %+v, %v", unit.Args["bucket"], err)
	}
	opts.LookupEnv = nil
	wantInvalid(t, opts, "get_env of B")

	opts = terragrunt.Options{Dir: filepath.Join(tree, "stack"), Tree: tree}
	write(t, filepath.Join(opts.Dir, "terragrunt.stack.hcl"), "")
	if !terragrunt.IsStack(opts.Dir) {
		t.Error("a stack is not taken for one")
	}
	wantInvalid(t, opts, "stack", ".terragrunt-stack")
}

// What is outside of the tree is never read, and no tree takes long or ends the program.
func TestResolve_HostileTree(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "secret")
	write(t, outside, "secret")
	locals := func(text string) string {
		return "locals {\n" + text + "\n}\n" + strings.Replace(rootHCL, `"acme"`, `local.x`, 1)
	}
	var bomb strings.Builder
	bomb.WriteString("a0 = \"0123456789\"\n")
	for i := range 40 {
		fmt.Fprintf(&bomb, "a%d = \"${local.a%d}${local.a%[2]d}\"\n", i+1, i)
	}
	for name, root := range map[string]string{
		"outside":      locals(fmt.Sprintf("x = file(%q)", outside)),
		"outside, try": locals(fmt.Sprintf("x = try(file(%q), \"acme\")", outside)),
		"link":         locals(`x = file("link")`),
		"fifo":         locals(`x = file("fifo")`),
		"device":       locals(`x = file("/dev/zero")`),
		"home":         locals(`x = file("~/.ssh/id_rsa")`),
		"cycle":        locals("x = local.y\ny = local.x"),
		"read itself":  locals(`x = read_terragrunt_config("../../root.hcl").locals.x`),
		"bomb":         locals(bomb.String() + "x = local.a40"),
		"loops":        locals(`x = join("", flatten([for a in range(1000) : [for b in range(1000) : [for c in range(1000) : "${a}${b}${c}"]]]))`),
		"replace":      locals("a = \"" + strings.Repeat("a", 100_000) + "\"\nx = replace(local.a, \"\", local.a)"),
		"many tries":   locals("x = " + strings.Repeat("try(", 40) + "local.none.x" + strings.Repeat(")", 40)),
		"number":       locals(`x = 1e999999999`),
		"json":         locals(`x = jsondecode(file("deep"))[0]`),
		"yaml":         locals(`x = yamldecode(file("deep"))[0]`),
		"yaml, list":   locals(`x = yamldecode(file("list"))[0]`),
		"yaml, bomb":   locals(`x = try(yamldecode(file("bomb")).x, "acme")`),
		"tfvars":       locals(`x = jsondecode(read_tfvars_file("../../deep.tfvars"))`),
		"format":       locals(`x = format("%999999999s", "x")`),
		"formatlist":   locals(`x = formatlist("%200000s", range(1000))[0]`),
		"distinct":     locals(`x = distinct(split("[", file("deep")))[0]`),
		"regexall":     locals(`x = regexall("[^x]*x|[[]", file("deep"))[0]`),
		"pattern":      locals(`x = replace(file("deep"), "/[^x]*x|[[]/", "b")`),
		"newer":        locals(`x = try(function_of_tomorrow(), "acme")`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts, tree := newUnit(t, root)
			if err := os.Symlink(outside, filepath.Join(tree, "link")); err != nil {
				t.Fatal(err)
			}
			deep := strings.Repeat("[", 100_000)
			bomb := "a0: &a0 [x, x]\n"
			for i := range 60 {
				bomb += fmt.Sprintf("a%d: &a%[1]d [*a%d, *a%[2]d]\n", i+1, i)
			}
			for name, text := range map[string]string{
				"deep": deep + strings.Repeat("]", len(deep)), "deep.tfvars": "a = " + deep, "list": strings.Repeat("- ", len(deep)), "bomb": bomb,
			} {
				write(t, filepath.Join(tree, name), text)
			}
			if runtime.GOOS != "windows" {
				if out, err := exec.CommandContext(t.Context(), "mkfifo", filepath.Join(tree, "fifo")).CombinedOutput(); err != nil {
					t.Fatalf("mkfifo: %v: %s", err, out)
				}
			}
			wantInvalid(t, opts, "the backend's bucket is not known")
		})
	}
}

// A unit that is reached through a symbolic link has the state of the path that it was reached by (seen with terragrunt
// 1.1.3).
func TestResolve_LinkedUnit(t *testing.T) {
	t.Parallel()
	opts, tree := newUnit(t, rootHCL)
	if err := os.Symlink(filepath.Join(tree, "a"), filepath.Join(tree, "b")); err != nil {
		t.Fatal(err)
	}
	opts.Dir = filepath.Join(tree, "b", "u")
	if got, want := resolve(t, opts), "s3://acme/b/u/terraform.tfstate"; got != want {
		t.Errorf("with a link in the tree: got %s, want %s", got, want)
	}
	link := filepath.Join(t.TempDir(), "tree")
	if err := os.Symlink(tree, link); err != nil {
		t.Fatal(err)
	}
	opts.Dir, opts.Tree = filepath.Join(link, "a", "u"), link
	if got, want := resolve(t, opts), "s3://acme/a/u/terraform.tfstate"; got != want {
		t.Errorf("with a link to the whole tree: got %s, want %s", got, want)
	}
}

// Terragrunt assumes a role before it starts the engine, so whoever works on the unit's state does, too.
func TestResolve_Role(t *testing.T) {
	t.Parallel()
	const role = "arn:aws:iam::123456789012:role/"
	opts, _ := newUnit(t, "iam_role = \""+role+"${path_relative_to_include()}\"\n"+rootHCL)
	b, err := terragrunt.Resolve(opts)
	if err != nil || len(b.S3.AssumeRole) != 1 || b.S3.AssumeRole[0].RoleARN != role+"a/u" {
		t.Errorf("got %+v, %v", b.S3.AssumeRole, err)
	}
	opts, _ = newUnit(t, "iam_role = get_env(\"R\", \"x\")\n"+rootHCL, "TG_IAM_ASSUME_ROLE="+role+"env")
	b, err = terragrunt.Resolve(opts)
	if err != nil || len(b.S3.AssumeRole) != 1 || b.S3.AssumeRole[0].RoleARN != role+"env" {
		t.Errorf("by the environment: got %+v, %v", b.S3.AssumeRole, err)
	}
	opts, _ = newUnit(t, "iam_role = run_cmd(\"x\")\n"+rootHCL)
	if b, err = terragrunt.Resolve(opts); err != nil || len(b.S3.AssumeRole) != 0 {
		t.Errorf("not known: got %+v, %v", b.S3.AssumeRole, err)
	}
}

func TestTreeOf_OutermostRepository(t *testing.T) {
	t.Parallel()
	opts, tree := newUnit(t, rootHCL)
	if got, err := terragrunt.TreeOf(opts.Dir); err != nil || got != tree {
		t.Errorf("got %q, %v, want %q", got, err, tree)
	}
}

// program makes a terragrunt that prints text.
func program(t *testing.T, text string, code int) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "terragrunt")
	write(t, name, fmt.Sprintf("#!/bin/sh\necho \"{ $*\"\ncat <<'EOS'\n%s\nEOS\necho failed >&2\nexit %d\n", text, code))
	if err := os.Chmod(name, 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestRender_FillsInWhatIsUnknown(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("the program is a shell script")
	}
	opts, _ := newUnit(t, strings.Replace(rootHCL, `"acme"`, `run_cmd("echo", "acme")`, 1))
	answer := func(bucket, key string) string {
		return fmt.Sprintf(`{"generate":{},"remote_state":{"backend":"s3","config":{"bucket":%q,"key":%q,"region":"eu-central-1"},"generate":null}}`, bucket, key)
	}
	for name, tc := range map[string]struct {
		text string
		code int
		want string // a REF or, without s3:, a part of the error
	}{
		"filled in":          {answer("acme", "a/u/terraform.tfstate"), 0, "s3://acme/a/u/terraform.tfstate"},
		"disagrees":          {answer("acme", "elsewhere"), 0, "another key"},
		"left empty":         {answer("", "a/u/terraform.tfstate"), 0, "could not evaluate bucket"},
		"fails":              {"", 1, "failed"},
		"is another program": {"hello", 0, "did not end with JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := terragrunt.Render(t.Context(), opts, program(t, tc.text, tc.code))
			if strings.HasPrefix(tc.want, "s3:") {
				if ref, refErr := b.Ref(); err != nil || refErr != nil || ref.String() != tc.want {
					t.Errorf("got %v, %v, %v, want %s", ref, err, refErr, tc.want)
				}
				return
			}
			if !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want an ErrInvalid with %q", err, tc.want)
			}
		})
	}

	// Outputs of dependencies may be mocks.
	dependent, _ := newUnit(t, "dependency \"d\" {\n  config_path = \"../d\"\n}\n"+strings.Replace(rootHCL, `"acme"`, `dependency.d.outputs.bucket`, 1))
	_, err := terragrunt.Render(t.Context(), dependent, program(t, answer("mock", "a/u/terraform.tfstate"), 0))
	var unknown *terragrunt.UnknownError
	if !errors.As(err, &unknown) {
		t.Errorf("an output of a dependency: got error %v, want an UnknownError", err)
	}
}
