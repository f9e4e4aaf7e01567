package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/internal/tree"
)

// wild writes the tree of all kinds of configurations.
func wild(t *testing.T) (dir string, truth tree.Truth) {
	t.Helper()
	dir = t.TempDir()
	truth, err := tree.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, truth
}

func scan(t *testing.T, dir string) *Tree {
	t.Helper()
	found, err := Scan(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestScan_FindsAllAndNoMore(t *testing.T) {
	t.Parallel()
	dir, truth := wild(t)
	found := scan(t, dir)
	if n := len(truth.Roots); n < 60 {
		t.Errorf("the tree has %d roots, want 60 at least", n)
	}
	name := func(dir, variant string) string { return dir + " (" + variant + ")" }
	want := map[string]tree.Root{}
	for _, r := range truth.Roots {
		want[name(r.Dir, r.Variant)] = r
	}
	for i := range found.Roots {
		r := &found.Roots[i]
		w, ok := want[name(r.Dir, r.Variant)]
		delete(want, name(r.Dir, r.Variant))
		if !ok {
			t.Errorf("invented: %s", r.Name())
			continue
		}
		state := ""
		if ref, known := r.Ref(); known {
			state = ref.String()
		}
		got := fmt.Sprint(r.Phase, " ", state, " ", r.Table().Text, " ", r.Engine.Verdict)
		if want := fmt.Sprint(w.Phase, " ", w.State, " ", w.Table, " ", w.Engine); got != want {
			t.Errorf("%s: got %s, want %s", r.Name(), got, want)
		}
	}
	for missed := range want {
		t.Errorf("missed: %s", missed)
	}
}

func TestScan_Findings(t *testing.T) {
	t.Parallel()
	dir, truth := wild(t)
	var got []tree.Finding
	for _, f := range scan(t, dir).Findings {
		if f.ID != "table-only" && f.ID != "both-locks" { // told by the phases
			got = append(got, tree.Finding{ID: f.ID, File: f.File, Line: f.Line})
		}
	}
	order := func(a, b tree.Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), a.Line-b.Line, cmp.Compare(a.ID, b.ID))
	}
	slices.SortFunc(got, order)
	got = slices.Compact(got)
	want := slices.SortedFunc(slices.Values(truth.Findings), order)
	for _, f := range got {
		if !slices.Contains(want, f) {
			t.Errorf("invented: %+v", f)
		}
	}
	for _, f := range want {
		if !slices.Contains(got, f) {
			t.Errorf("missed: %+v", f)
		}
	}
}

func TestScan_Vendored(t *testing.T) {
	t.Parallel()
	dir, _ := wild(t)
	found, err := Scan(t.Context(), dir, Options{Vendored: true})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(found.Roots, func(r Root) bool { return r.Dir == "vendor/x" }) {
		t.Error("vendor/x is missing")
	}
}

func TestScan_Errors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Scan(t.Context(), dir+"/nowhere", Options{}); !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Scan(ctx, dir, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// What a root says is enough to reach its state and its table.
func TestRoot_BackendConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "terragrunt.hcl", `remote_state {
  backend = "s3"
  config = {
    bucket = "b", key = "/k", region = local.region, use_lockfile = "true", dynamodb_table = "t"
    endpoints = { s3 = "https://s3.example", dynamodb = "https://db.example" }
    assume_role = { role_arn = "arn:aws:iam::1:role/r" }
    skip_bucket_versioning = true
  }
}
`)
	found := scan(t, dir)
	r := &found.Roots[0]
	ref, ok := r.Ref()
	if !ok || ref.String() != "s3://b/k" || !r.UseLockfile() {
		t.Fatalf("got %s (%v)", ref, ok)
	}
	b, err := backendconf.ForRef(ref, backendconf.Options{BackendConfig: r.BackendConfig(), Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	if b.DynamoDBTable != "t" || b.DynamoDBEndpoint != "https://db.example" || b.S3.Endpoints.S3 != "https://s3.example" || !b.UseLockfile || b.S3.Region != "" || len(b.S3.AssumeRole) != 1 {
		t.Errorf("got %+v from %q", b, r.BackendConfig())
	}
}

func TestScan_TwoTablesOfOneState(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, table := range map[string]string{"a": "one", "b": "two"} {
		write(t, dir, name+"/main.tf", "terraform {\n  backend \"s3\" {\n    bucket = \"b\"\n    key = \"k\"\n    dynamodb_table = \""+table+"\"\n  }\n}\n")
	}
	if !slices.ContainsFunc(scan(t, dir).Findings, func(f Finding) bool { return f.ID == "two-tables" && f.Severity == Error && f.File == "b/main.tf" }) {
		t.Error("nobody says that two tables do not exclude each other")
	}
}

func findingsOf(t *Tree) string {
	var all []string
	for _, f := range t.Findings {
		all = append(all, fmt.Sprintf("%s %s:%d", f.ID, f.File, f.Line))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// Files for -backend-config may have any name; other programs' .hcl files are none.
func TestScan_BackendConfigOfAnyName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "app/main.tf", "terraform {\n  required_version = \">= 1.10\"\n  backend \"s3\" {}\n}\n")
	for _, env := range []string{"dev", "prod"} {
		write(t, dir, "app/env/"+env+".hcl", "bucket = \"acme-"+env+"\"\nkey = \"app\"\nregion = \"us-east-1\"\ndynamodb_table = \"locks\"\n")
	}
	write(t, dir, "app/env/region.hcl", "region = \"us-east-1\"\n")
	write(t, dir, "app/env/locals.hcl", "locals {\n  bucket = \"x\"\n}\n")
	write(t, dir, "app/env/vault.hcl", "bucket = \"x\"\nui = true\n")
	found := scan(t, dir)
	var names []string
	for i := range found.Roots {
		names = append(names, found.Roots[i].Name()+" "+string(found.Roots[i].Phase))
	}
	if got := strings.Join(names, ", "); got != "app (env/dev.hcl) table, app (env/prod.hcl) table" {
		t.Errorf("got %s", got)
	}
	if p := plan(t, dir, 1); len(p.Files) != 2 {
		t.Errorf("got %d files, want both", len(p.Files))
	}
}

// A module that units of terragrunt take as their source is completed by them and no root of its own.
func TestScan_SourceOfTerragrunt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "modules/app/main.tf", "terraform {\n  required_version = \">= 1.10\"\n  backend \"s3\" {}\n}\n")
	write(t, dir, "live/dev/terragrunt.hcl", "terraform {\n  source = \"../../modules//app\"\n}\nremote_state {\n  backend = \"s3\"\n  config = {\n    bucket = \"b\"\n    key = \"dev\"\n    dynamodb_table = \"t\"\n  }\n}\n")
	found := scan(t, dir)
	if len(found.Roots) != 1 || found.Roots[0].Dir != "live/dev" {
		t.Errorf("got %+v, want live/dev alone", found.Roots)
	}
	if got := findingsOf(found); strings.Contains(got, "incomplete") || strings.Contains(got, "module-backend") {
		t.Errorf("got %s", got)
	}
}

// Whoever reads a state by its table checks it against a digest that nobody writes after phase 2.
func TestScan_RemoteStateWithTable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "main.tf", `data "terraform_remote_state" "net" {
  backend = "s3"
  config = {
    bucket         = "b"
    key            = "net"
    dynamodb_table = "t"
  }
}
data "terraform_remote_state" "fine" {
  backend = "s3"
  config = { bucket = "b", key = "net" }
}
data "terraform_remote_state" "other" {
  backend = "gcs"
  config = { dynamodb_table = "t" }
}
`)
	write(t, dir, "x.tf.json", "{\"data\": {\"terraform_remote_state\": {\"net\": {\"backend\": \"s3\",\n \"config\": {\"key\": \"k\", \"dynamodb_table\": \"${var.t}\"}}}}}")
	found := scan(t, dir)
	if got, want := findingsOf(found), "remote-state-table main.tf:6\nremote-state-table x.tf.json:2"; got != want || len(found.Roots) != 0 {
		t.Errorf("got %s and %d roots, want %s", got, len(found.Roots), want)
	}
	for phase, want := range map[int]int{1: 0, 2: 2} {
		if p := plan(t, dir, phase); len(p.Loose) != want {
			t.Errorf("phase %d: got %d edits by hand, want %d", phase, len(p.Loose), want)
		}
	}
}

func TestScan_CommandLines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, ".envrc", "export TF_CLI_ARGS_init='-backend-config=dynamodb_table=t'\n")
	write(t, dir, "ci/init.py", "run([\n  \"-backend-config=dynamodb_table=t\"])\n")
	write(t, dir, "terragrunt.hcl", "terraform {\n  extra_arguments \"init\" {\n    arguments = [\"-backend-config=dynamodb_table=t\"]\n  }\n}\n")
	write(t, dir, "old/terragrunt.hcl.json", "{\"remote_state\": {\"backend\": \"s3\"}}")
	want := "command-line .envrc:1\ncommand-line ci/init.py:2\ncommand-line terragrunt.hcl:3\nnot-static old/terragrunt.hcl.json:1"
	if got := findingsOf(scan(t, dir)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// The form of nearly every tree of terragrunt: the key is known, and what runs a program or asks AWS is not.
func TestScan_TerragruntKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ran := filepath.Join(dir, "ran")
	write(t, dir, "root.hcl", `locals {
  env = read_terragrunt_config(find_in_parent_folders("env.hcl")).locals
  who = run_cmd("touch", "`+ran+`")
}
remote_state {
  backend = "s3"
  config = merge({
    bucket         = "acme-${local.env.name}"
    key            = "${path_relative_to_include()}/terraform.tfstate"
    dynamodb_table = local.env.table
  }, {})
}
`)
	write(t, dir, "prod/env.hcl", "locals {\n  name  = \"prod\"\n  table = \"locks\"\n}\n")
	write(t, dir, "dev/env.hcl", "locals {\n  name  = get_aws_account_id()\n  table = \"locks\"\n}\n")
	for _, unit := range []string{"prod/app", "prod/db", "dev/app"} {
		write(t, dir, unit+"/terragrunt.hcl", "include \"root\" {\n  path = find_in_parent_folders(\"root.hcl\")\n}\n")
	}
	var got []string
	tree := scan(t, dir)
	for i := range tree.Roots {
		ref, _ := tree.Roots[i].Ref()
		got = append(got, fmt.Sprintf("%s %s %s", tree.Roots[i].Dir, ref, tree.Roots[i].Table().Text))
	}
	want := []string{"dev/app s3:///dev/app/terraform.tfstate locks", "prod/app s3://acme-prod/prod/app/terraform.tfstate locks", "prod/db s3://acme-prod/prod/db/terraform.tfstate locks"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the scan ran a program that the tree names")
	}
}

// The workspaces of roots with one key and prefixes of their own are other objects, and so is a bucket of that name
// elsewhere.
func TestScan_StateIsNotItsKeyAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const block = "terraform {\n  required_version = \"VERSION\"\n  backend \"s3\" {\n    bucket = \"b\"\n    key = \"terraform.tfstate\"\n    dynamodb_table = \"t\"\n    MORE\n  }\n}\n"
	for name, more := range map[string]string{
		"a": `workspace_key_prefix = "accounts/a"`, "b": `workspace_key_prefix = "accounts/b"`, "c": `endpoints = { s3 = "https://minio.example" }`, "d": "",
		"e": `workspace_key_prefix = local.prefix`,
	} {
		version := ">= 1.10"
		if name == "a" {
			version = "~> 1.5.0"
		}
		write(t, dir, name+"/main.tf", strings.NewReplacer("VERSION", version, "MORE", more).Replace(block))
	}
	if got := findingsOf(scan(t, dir)); strings.Contains(got, "shared-state") {
		t.Errorf("got %s, want no shared state", got)
	}
	p := plan(t, dir, 1)
	if len(p.Files) != 4 || p.Moves[0].Status != MoveRefused {
		t.Errorf("got %d files (a: %s), want all but a's: one old root holds back no other", len(p.Files), p.Moves[0].Status)
	}
	write(t, dir, "f/main.tf", strings.NewReplacer("VERSION", ">= 1.10", "MORE", `workspace_key_prefix = "accounts/a"`).Replace(block))
	write(t, dir, "g/main.tf", strings.NewReplacer("VERSION", ">= 1.10", "MORE", `workspace_key_prefix = "env:"`).Replace(block))
	if got := findingsOf(scan(t, dir)); strings.Count(got, "shared-state") != 2 || !strings.Contains(got, "shared-state f/main.tf") || !strings.Contains(got, "shared-state g/main.tf") {
		t.Errorf("got %s, want f and g alone to share a state", got)
	}
	if p := plan(t, dir, 1); len(p.Files) != 5 {
		t.Errorf("got %d files, want f to wait for a", len(p.Files))
	}
	for name, key := range map[string]string{"w": "accounts/a/prod/terraform.tfstate", "x": "accounts/z/prod/terraform.tfstate", "y": "env:/dev/terraform.tfstate"} {
		write(t, dir, name+"/main.tf", strings.NewReplacer("VERSION", ">= 1.10", "MORE", "", `"terraform.tfstate"`, `"`+key+`"`).Replace(block))
	}
	if got := findingsOf(scan(t, dir)); strings.Count(got, "shared-state") != 4 || !strings.Contains(got, "shared-state w/main.tf") || !strings.Contains(got, "shared-state y/main.tf") {
		t.Errorf("got %s, want w and y to be workspaces of others", got)
	}
}

// An include whose path is computed is found as terragrunt finds it.
func TestScan_ComputedInclude(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "root.hcl", "locals {\n  x = 1\n}\n")
	write(t, dir, "_common/state.hcl", "remote_state {\n  backend = \"s3\"\n  config = {\n    bucket = \"b\"\n    key = \"${path_relative_to_include()}/k\"\n    dynamodb_table = \"t\"\n  }\n}\n")
	write(t, dir, "app/terragrunt.hcl", "include \"state\" {\n  path = \"${dirname(find_in_parent_folders(\"root.hcl\"))}/_common/state.hcl\"\n}\n")
	found := scan(t, dir)
	if len(found.Roots) != 1 || found.Roots[0].Dir != "app" || found.Roots[0].Table().Text != "t" || found.Roots[0].Static("key") != "../app/k" {
		t.Errorf("got %+v", found.Roots)
	}
	if got := findingsOf(found); strings.Contains(got, "not-static") {
		t.Errorf("got %s", got)
	}
}
