package tree

import "strings"

// stated is a block that says no version.
const stated = `terraform {
  backend "s3" {
    bucket         = "acme-state"
    key            = "DIR/terraform.tfstate"
    region         = "us-east-1"
    dynamodb_table = "tf-locks"
  }
}
`

// teams are trees as several teams keep them: one key with prefixes of their own, versions that CI alone has, and parts
// of configurations under names of their own.
func teams() []part {
	return append(append(prefixes(), versions()...), shared()...)
}

// prefixes are roots of one key, told apart by the prefixes of their workspaces.
func prefixes() []part {
	account := func(name, version string) part {
		dir := "accounts/" + name
		return part{
			files: map[string]string{dir + "/main.tf": `terraform {
  required_version = "` + version + `"
  backend "s3" {
    bucket               = "acme-state"
    key                  = "accounts.tfstate"
    workspace_key_prefix = "accounts/` + name + `"
    region               = "us-east-1"
    dynamodb_table       = "tf-locks"
  }
}
`},
			roots: []Root{table(dir).with(func(r *Root) { r.State = "s3://acme-state/accounts.tfstate" })},
		}
	}
	old := account("old", "~> 1.5.0")
	old.roots[0].Engine, old.roots[0].Plan1 = "too-old", "refused"
	old.findings = []Finding{{"engine-too-old", "accounts/old/main.tf", 2}}
	return []part{account("a", ">= 1.10"), account("b", ">= 1.10"), old}
}

// versions are roots whose engines CI, an image or a manager's file says.
func versions() []part {
	var all []part
	for _, v := range []struct {
		name, file, text string
		line             int // that is too old; 0: none
	}{
		{"github", ".github/workflows/apply.yml", "env:\n  TF: 1.11.4\njobs:\n  apply:\n    steps:\n      - uses: hashicorp/setup-terraform@v3\n        with:\n          terraform_version: ${{ env.TF }}\n", 0},
		{"matrix", ".github/workflows/test.yaml", "jobs:\n  test:\n    strategy:\n      matrix:\n        version: [1.12.0, 1.8.5]\n    steps:\n      - uses: hashicorp/setup-terraform@v3\n        with:\n          terraform_version: ${{ matrix.version }}\n", 5},
		{"number", ".github/workflows/plan.yml", "steps:\n  - uses: hashicorp/setup-terraform@v3\n    with:\n      terraform_version: 1.10\n", 4},
		{"gitlab", ".gitlab-ci.yml", "image:\n  name: hashicorp/terraform:1.10.5\n", 0},
		{"docker", "Dockerfile", "FROM hashicorp/terraform:1.9\n", 1},
		{"mise", "mise.toml", "[tools]\nterraform = \"1.11\"\n", 0},
		{"atlantis", "atlantis.yaml", "version: 3\nprojects:\n  - dir: .\n    terraform_version: v1.11.0\n  - dir: elsewhere\n    terraform_version: v0.13.0\n", 0},
		{"script", "ci.sh", "tfenv install 1.5.7\n", 1},
	} {
		dir := "ci/" + v.name
		p := part{files: map[string]string{dir + "/main.tf": fill(stated, dir), dir + "/" + v.file: v.text}, roots: []Root{table(dir)}}
		if v.line > 0 {
			p.roots[0].Engine, p.roots[0].Plan1, p.roots[0].Flagged = "too-old", "refused", "edit"
			p.findings = []Finding{{"engine-too-old", dir + "/" + v.file, v.line}}
		}
		all = append(all, p)
	}
	return all
}

// shared are configurations whose other part has a name of its own.
func shared() []part {
	const stub = "terraform {\n  required_version = \">= 1.10\"\n  backend \"s3\" {\n    key = \"DIR/terraform.tfstate\"\n  }\n}\n"
	const rest = "bucket         = \"acme-state\"\nregion         = \"us-east-1\"\ndynamodb_table = \"tf-locks\"\n"
	root := func(dir string) Root { return table(dir).with(func(r *Root) { r.NoInit = true }) }
	return []part{
		{ // that a README names
			files: map[string]string{"teams/named/main.tf": fill(stub, "teams/named"), "teams/named/x.backend": rest, "teams/named/README.md": "# Run\n\n    terraform init -backend-config=./x.backend\n"},
			roots: []Root{root("teams/named")},
		},
		{ // that its content names
			files: map[string]string{"teams/content/main.tf": fill(stub, "teams/content"), "teams/content/where": rest},
			roots: []Root{root("teams/content")},
		},
		{ // for all below; one of them is old
			files: map[string]string{
				"org/config/common.tfvars": rest, "org/one/main.tf": fill(stub, "org/one"), "org/two/main.tf": fill(stub, "org/two"),
				"org/old/main.tf": strings.ReplaceAll(fill(stub, "org/old"), ">= 1.10", "~> 1.6.0"),
			},
			roots: []Root{
				root("org/one"), root("org/two"),
				root("org/old").with(func(r *Root) { r.Engine, r.Plan1 = "too-old", "refused" }),
			},
			findings: []Finding{
				{"engine-too-old", "org/old/main.tf", 2},
				{"backend-config-near", "org/old/main.tf", 3},
				{"backend-config-near", "org/one/main.tf", 3},
				{"backend-config-near", "org/two/main.tf", 3},
			},
		},
		{ // what nobody can read
			files: map[string]string{
				"hostile/brackets/main.tf":  fill(stated, "hostile/brackets") + "locals {\n  a = " + strings.Repeat("[", 2000) + "\n}\n",
				"hostile/json/main.tf.json": `{"terraform": {"backend": {"s3": {"bucket": ` + strings.Repeat("[", 2000) + "}}}}",
			},
			findings: []Finding{{"unreadable", "hostile/brackets/main.tf", 10}, {"unreadable", "hostile/json/main.tf.json", 1}},
		},
	}
}
