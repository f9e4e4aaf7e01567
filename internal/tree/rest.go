package tree

import "strings"

// jsons are configurations in JSON.
func jsons() []part {
	const long = `{
  "//": "dynamodb_table is legacy",
  "terraform": {
    "required_version": ">= 1.10",
    "backend": {
      "s3": {
        "//": "keep in step with \"dynamodb_table\": \"wiki\"",
        "bucket": "acme-state",
        "key": "DIR/terraform.tfstate",
        "region": "us-east-1",
        "dynamodb_table": "tf-locks"
      }
    }
  }
}
`
	const short = `{"terraform":[{"required_version":">= 1.10"},{"backend":[{"s3":[{"dynamodb_table":"tf-locks","bucket":"acme-state","key":"DIR/terraform.tfstate","region":"us-east-1"}]}]}]}`
	const two = "{\n\t\"terraform\" : {\n\t\t\"required_version\" : \"~> 1.10\",\n\t\t\"backend\" : { \"s3\" : {\n\t\t\t\"bucket\" : \"acme-state\", \"key\" : \"DIR/terraform.tfstate\",\n\t\t\t\"use_lockfile\" : \"true\",\n\t\t\t\"endpoints\" : { \"dynamodb\" : \"https://dynamodb.us-east-1.amazonaws.com\" },\n\t\t\t\"dynamodb_table\" : \"tf-locks\", \"region\" : \"us-east-1\"\n\t\t} }\n\t}\n}\n"
	return []part{
		{files: map[string]string{"json/long/main.tf.json": fill(long, "json/long")}, roots: []Root{table("json/long")}},
		{files: map[string]string{"json/windows/main.tf.json": crlf(fill(long, "json/windows"))}, roots: []Root{table("json/windows")}},
		{files: map[string]string{"json/short/main.tf.json": fill(short, "json/short")}, roots: []Root{table("json/short")}},
		{
			files: map[string]string{"json/both/backend.tf.json": fill(two, "json/both")}, roots: []Root{both("json/both")},
			findings: []Finding{{"lockfile-string", "json/both/backend.tf.json", 6}},
		},
		{ // comments that JSON does not have: the engines refuse it
			files:    map[string]string{"json/trap/main.tf.json": "{\n  // no comments in JSON\n  \"terraform\": {\"backend\": {\"s3\": {\"dynamodb_table\": \"tf-locks\"}}}\n}\n"},
			findings: []Finding{{"unreadable", "json/trap/main.tf.json", 2}},
		},
	}
}

// partial are configurations that files for -backend-config complete.
func partial() []part {
	const stub = "terraform {\n  required_version = \">= 1.10\"\n  backend \"s3\" {} # see the files beside\n}\n"
	const env = "# ENV\nbucket         = \"acme-ENV\"\nkey            = \"DIR/terraform.tfstate\"\nregion         = \"us-east-1\"\ndynamodb_table = \"tf-locks\" # by the platform team\n"
	one := func(dir, env string) Root {
		return table(dir).with(func(r *Root) {
			r.Variant, r.State = env, "s3://acme-"+env[len(env)-len("prod.tfbackend"):len(env)-len(".tfbackend")]+"/"+dir+"/terraform.tfstate"
		})
	}
	withEnv := func(dir, name string) string { return strings.ReplaceAll(fill(env, dir), "ENV", name) }
	return []part{
		{
			files: map[string]string{"partial/envs/main.tf": stub, "partial/envs/prod.tfbackend": withEnv("partial/envs", "prod"), "partial/envs/test.tfbackend": withEnv("partial/envs", "test")},
			roots: []Root{one("partial/envs", "prod.tfbackend"), one("partial/envs", "test.tfbackend")},
		},
		{
			files: map[string]string{"partial/below/main.tf": stub, "partial/below/config/prod.tfbackend": withEnv("partial/below", "prod"), "partial/below/config/test.tfbackend": crlf(withEnv("partial/below", "test"))},
			roots: []Root{one("partial/below", "config/prod.tfbackend"), one("partial/below", "config/test.tfbackend")},
		},
		{ // given together
			files: map[string]string{
				"partial/stack/main.tf":            "terraform {\n  required_version = \">= 1.10\"\n  backend \"s3\" {\n    key = \"partial/stack/terraform.tfstate\"\n  }\n}\n",
				"partial/stack/backend.hcl":        "bucket = \"acme-state\"\nregion = \"us-east-1\"\n",
				"partial/stack/locks.s3.tfbackend": "dynamodb_table=\"tf-locks\"",
			},
			roots: []Root{table("partial/stack")},
		},
		{ // in JSON
			files: map[string]string{"partial/json/main.tf": stub, "partial/json/backend.json": "{ \"bucket\": \"acme-state\", \"key\": \"partial/json/terraform.tfstate\", \"region\": \"us-east-1\", \"dynamodb_table\": \"tf-locks\" }"},
			roots: []Root{table("partial/json")},
		},
		{ // from a command line
			files:    map[string]string{"partial/cli/main.tf": stub},
			roots:    []Root{table("partial/cli").with(func(r *Root) { r.Phase, r.State, r.Table, r.Plan1, r.NoInit = "unknown", "", "", "refused", true })},
			findings: []Finding{{"incomplete", "partial/cli/main.tf", 3}},
		},
		{ // of no configuration in the tree
			files: map[string]string{"partial-alone/app.tfbackend": withEnv("partial-alone", "prod")},
			roots: []Root{one("partial-alone", "prod.tfbackend").with(func(r *Root) {
				r.Variant, r.Engine, r.Plan1, r.Flagged, r.NoInit = "app.tfbackend", "may-be-too-old", "refused", "edit", true
			})},
			findings: []Finding{{"backend-config-alone", "partial-alone/app.tfbackend", 2}, {"engine-may-be-too-old", "partial-alone/app.tfbackend", 2}},
		},
	}
}

// terragrunt are units of terragrunt.
func terragrunt() []part {
	const parent = `# All units of live.
terraform_version_constraint = ">= 1.10"

remote_state {
  backend = "s3"
  generate = {
    path      = "backend.tf"
    if_exists = "overwrite"
  }
  config = {
    bucket         = "acme-live"
    key            = "${path_relative_to_include()}/terraform.tfstate" # by directory
    region         = "us-east-1"
    encrypt        = true,
    dynamodb_table = "tf-locks", # the lock
  }
}
`
	const unit = "include \"root\" {\n  path = find_in_parent_folders(\"root.hcl\")\n}\n"
	const generated = `# Generated by Terragrunt. Sig: nIlQXj57tbuaRZEa
terraform {
  backend "s3" {
    bucket         = "acme-live"
    dynamodb_table = "tf-locks"
    key            = "a/terraform.tfstate"
    region         = "us-east-1"
  }
}
`
	const generate = `terraform_version_constraint = "~> 1.11"

generate "backend" {
  path      = "backend.tf"
  if_exists = "overwrite_terragrunt"
  contents  = <<-EOF
    # Written by terragrunt.
    terraform {
      backend "s3" {
        bucket         = "acme-state"
        key            = "${path_relative_to_include()}/tg.tfstate"
        region         = "us-east-1"
        dynamodb_table = "tf-locks" # the lock
      }
    }
  EOF
}
`
	const inline = `terraform_version_constraint = ">= 1.11.0"
remote_state {
  backend = "s3"
  config  = { bucket = "acme-state", key = "tg/inline/terraform.tfstate", use_lockfile = true, dynamodb_table = "tf-locks" }
}
`
	const merged = `terraform_version_constraint = ">= 1.11.0"
locals {
  locks = { dynamodb_table = "tf-locks" }
}
remote_state {
  backend = "s3"
  config = merge(local.locks, {
    bucket = "acme-state"
  })
}
`
	child := func(dir, state string) Root {
		return table(dir).with(func(r *Root) { r.State, r.NoInit = state, true })
	}
	live := func(dir string) Root { return child("live/"+dir, "s3://acme-live/"+dir+"/terraform.tfstate") }
	return []part{
		{
			files: map[string]string{
				"live/root.hcl": parent, "live/a/terragrunt.hcl": unit, "live/b/terragrunt.hcl": unit, "live/deep/c/terragrunt.hcl": unit,
				"live/a/backend.tf": generated, "live/a/.terragrunt-cache/x/backend.tf": generated, "live/b/main.tf": "terraform {\n  backend \"s3\" {}\n}\n",
			},
			roots: []Root{live("a"), live("b"), live("deep/c")},
		},
		{
			files: map[string]string{"tg/generate/terragrunt.hcl": generate},
			roots: []Root{child("tg/generate", "s3://acme-state/./tg.tfstate")},
		},
		{files: map[string]string{"tg/inline/terragrunt.hcl": inline}, roots: []Root{both("tg/inline").with(func(r *Root) { r.NoInit = true })}},
		{
			files:    map[string]string{"tg/merged/terragrunt.hcl": merged},
			roots:    []Root{child("tg/merged", "").with(func(r *Root) { r.Phase, r.Plan1, r.Plan2 = "unknown", "manual", "manual" })},
			findings: []Finding{{"incomplete", "tg/merged/terragrunt.hcl", 7}},
		},
		{ // another kind
			files: map[string]string{"tg/gcs/terragrunt.hcl": "remote_state {\n  backend = \"gcs\"\n  config = {\n    bucket = \"x\"\n  }\n}\n"},
		},
	}
}

// engines are roots whose versions differ.
func engines() []part {
	const block = "terraform {\nVERSION  backend \"s3\" {\n    bucket         = \"acme-state\"\n    key            = \"DIR/terraform.tfstate\"\n    region         = \"us-east-1\"\n    dynamodb_table = \"tf-locks\"\n  }\n}\n"
	var all []part
	for _, v := range []struct {
		dir, version, pin, pinned, verdict, at string
		line                                   int
	}{
		{"engines/none", "", "", "", "may-be-too-old", "main.tf", 2},
		{"engines/old", "~> 1.5.0", "", "", "too-old", "main.tf", 2},
		{"engines/wide", ">= 1.3", "", "", "may-be-too-old", "main.tf", 2},
		{"engines/pessimistic", "~> 1.9", "", "", "may-be-too-old", "main.tf", 2},
		{"engines/tfenv", ">= 1.3", ".terraform-version", "1.11.4\n", "ok", "", 0},
		{"engines/asdf", "", ".tool-versions", "nodejs 20.1.0\nterraform 1.9.8 # soon\n", "too-old", ".tool-versions", 2},
		{"engines/tofuenv", "", ".opentofu-version", "1.10.6\n", "ok", "", 0},
	} {
		p := part{files: map[string]string{}}
		text := strings.ReplaceAll(fill(block, v.dir), "VERSION", "")
		if v.version != "" {
			text = strings.ReplaceAll(fill(block, v.dir), "VERSION", "  required_version = \""+v.version+"\"\n\n")
		}
		p.files[v.dir+"/main.tf"] = text
		if v.pin != "" {
			p.files[v.dir+"/"+v.pin] = v.pinned
		}
		r := table(v.dir)
		if r.Engine = v.verdict; v.verdict != "ok" {
			if r.Plan1 = "refused"; v.verdict == "may-be-too-old" {
				r.Flagged = "edit"
			}
			p.findings = []Finding{{"engine-" + v.verdict, v.dir + "/" + v.at, v.line}}
		}
		p.roots = []Root{r}
		all = append(all, p)
	}
	return all
}
