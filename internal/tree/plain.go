package tree

import "fmt"

// formatted is a block as the engines format it.
const formatted = `# The state of DIR.
terraform {
  required_version = ">= 1.10.0, < 2.0.0"

  backend "s3" {
    bucket         = "acme-state" # shared by all teams
    key            = "DIR/terraform.tfstate"
    region         = "us-east-1"
    dynamodb_table = "tf-locks" # one writer at a time
    encrypt        = true
  }
}

locals {
  text = "backend \"s3\" { dynamodb_table = \"not-this\" }" # dynamodb_table = "nor this"
}
`

// odd is one as nobody formats it.
const odd = `/* Copyright */ terraform {
	// tabs
	required_version="~> 1.11"
	backend   "s3"{
	  bucket="acme-state"
		key =    "DIR/terraform.tfstate"
	    region = "us-east-1"
		# the table
		dynamodb_table="tf-locks"	// locks
		dynamodb_endpoint = "https://dynamodb.us-east-1.amazonaws.com" /* old */
	}
}
`

// phase1 is a block with both locks.
const phase1 = `terraform {
  required_version = "~> 1.11.0"

  backend "s3" {
    bucket = "acme-state"
    key    = "DIR/terraform.tfstate"
    region = "us-east-1"

    # Locks.
    use_lockfile   = true
    dynamodb_table = "tf-locks"
    endpoints = {
      s3       = "https://s3.us-east-1.amazonaws.com" # the store
      dynamodb = "https://dynamodb.us-east-1.amazonaws.com"
    }
  }
}
`

// phase2 is a block that has moved.
const phase2 = `terraform {
  required_version = ">= 1.10"
  backend "s3" {
    bucket       = "acme-state"
    key          = "DIR/terraform.tfstate"
    region       = "us-east-1"
    use_lockfile = true
    # dynamodb_table = "tf-locks"
  }
}
`

const resources = `resource "terraform_data" "this" {
  input = <<-EOT
    terraform {
      backend "s3" {
        dynamodb_table = "in-a-heredoc"
      }
    }
  EOT
}
`

// parts are all parts of the tree.
func parts() []part {
	var all []part
	plain := func(dir, text string, r Root) {
		all = append(all, part{files: map[string]string{dir + "/main.tf": fill(text, dir), dir + "/resources.tf": resources}, roots: []Root{r}})
	}
	for i := range 8 {
		dir := fmt.Sprintf("services/formatted-%d", i)
		plain(dir, formatted, table(dir))
	}
	for i := range 4 {
		dir := fmt.Sprintf("services/odd-%d", i)
		plain(dir, odd, table(dir))
	}
	for i := range 5 {
		dir := fmt.Sprintf("services/both-%d", i)
		plain(dir, phase1, both(dir))
	}
	for i := range 4 {
		dir := fmt.Sprintf("services/moved-%d", i)
		plain(dir, phase2, lockfile(dir))
	}
	for _, dir := range []string{"windows/a", "windows/b"} {
		plain(dir, crlf(formatted), table(dir))
	}
	plain("windows/both", crlf(phase1), both("windows/both"))
	all = append(all, special()...)
	all = append(all, jsons()...)
	all = append(all, partial()...)
	all = append(all, terragrunt()...)
	all = append(all, engines()...)
	return append(all, teams()...)
}

// special are blocks in unusual places.
func special() []part {
	const block = `terraform {
  backend "s3" {
    bucket         = "acme-state"
    key            = "DIR/terraform.tfstate"
    region         = "us-east-1"
    dynamodb_table = "tf-locks"
  }
}
`
	const version = "terraform {\n  required_version = \">= 1.10\"\n}\n"
	const tableOnly = "terraform {\n  backend \"s3\" { dynamodb_table = \"tf-locks\" }\n}\n"
	return []part{
		{ // the terraform block in several files, the backend in an odd one
			files: map[string]string{"odd/split/versions.tf": version, "odd/split/zz-state.tf": fill(block, "odd/split"), "odd/split/main.tf": "terraform {}\n"},
			roots: []Root{table("odd/split")},
		},
		{ // no newline at the end, and a value that is an expression
			files: map[string]string{"odd/computed/main.tofu": "variable \"table\" { default = \"t\" }\nterraform {\n  required_version = \">= 1.10\"\n  backend \"s3\" {\n    bucket = \"acme-state\"\n    key = \"odd/computed/terraform.tfstate\"\n    dynamodb_table = var.table # computed\n  }\n}"},
			roots: []Root{table("odd/computed").with(func(r *Root) { r.Table = "" })}, findings: []Finding{{"not-static", "odd/computed/main.tofu", 7}},
		},
		{ // use_lockfile is computed
			files: map[string]string{"odd/switch/main.tofu": "terraform {\n  required_version = \">= 1.10\"\n  backend \"s3\" {\n    bucket = \"acme-state\"\n    key = \"odd/switch/terraform.tfstate\"\n    use_lockfile = var.lock\n    dynamodb_table = \"tf-locks\"\n  }\n}\n"},
			roots: []Root{table("odd/switch").with(func(r *Root) { r.Phase, r.Plan1, r.Plan2 = "unknown", "manual", "manual" })}, findings: []Finding{{"not-static", "odd/switch/main.tofu", 6}},
		},
		{ // switched off, and a null
			files: map[string]string{"odd/off/main.tf": version + "terraform {\n  backend \"s3\" {\n    bucket         = \"acme-state\"\n    key            = \"odd/off/terraform.tfstate\"\n    region         = \"us-east-1\"\n    use_lockfile   = false # not yet\n    dynamodb_table = \"tf-locks\"\n    kms_key_id     = null\n  }\n}\n"},
			roots: []Root{table("odd/off")},
		},
		{ // a string where a boolean belongs (B26)
			files:    map[string]string{"odd/string/main.tf": version + "terraform {\n  backend \"s3\" {\n    bucket         = \"acme-state\"\n    key            = \"odd/string/terraform.tfstate\"\n    region         = \"us-east-1\"\n    use_lockfile   = \"true\"\n    dynamodb_table = \"tf-locks\"\n  }\n}\n"},
			roots:    []Root{both("odd/string")},
			findings: []Finding{{"lockfile-string", "odd/string/main.tf", 9}},
		},
		{ // an override replaces the whole block
			files: map[string]string{"odd/override/main.tf": version + fill(block, "odd/elsewhere"), "odd/override/backend_override.tf": fill(block, "odd/override")},
			roots: []Root{table("odd/override")},
		},
		{ // ... with a backend of another kind
			files:    map[string]string{"odd/local/main.tf": fill(block, "odd/local"), "odd/local/override.tf": "terraform {\n  backend \"local\" {}\n}\n"},
			findings: []Finding{{"overridden", "odd/local/main.tf", 2}},
		},
		{ // a symbolic link to a file, one to a directory, and one to nothing
			files: map[string]string{"odd/shared/backend.txt": version + fill(block, "odd/linked")},
			links: map[string]string{"odd/linked/backend.tf": "../shared/backend.txt", "odd/loop/again": "..", "odd/loop/gone.tf": "nothing.tf"},
			roots: []Root{table("odd/linked")},
		},
		{ // another engine's file beside it
			files: map[string]string{"odd/twin/backend.tf": version + fill(block, "odd/twin"), "odd/twin/backend.tofu": version + fill(phase2, "odd/twin")},
			roots: []Root{
				table("odd/twin").with(func(r *Root) { r.Variant = "terraform" }),
				lockfile("odd/twin").with(func(r *Root) { r.Variant = "tofu" }),
			},
			findings: []Finding{{"mixed-phases", "odd/twin/backend.tofu", 8}},
		},
		{ // a block on one line, the rest in a file
			files: map[string]string{
				"odd/oneline/main.tf": version + tableOnly, "odd/oneline/rest.tfbackend": "bucket = \"acme-state\"\nkey    = \"odd/oneline/terraform.tfstate\"\nregion = \"us-east-1\"\n",
			},
			roots: []Root{table("odd/oneline")},
		},
		{ // generated by a program
			files: map[string]string{"odd/generated/main.tf": "// Code generated by acme-gen. DO NOT EDIT.\n" + version + fill(block, "odd/generated")},
			roots: []Root{table("odd/generated").with(func(r *Root) { r.Plan1 = "manual" })}, findings: []Finding{{"generated", "odd/generated/main.tf", 6}},
		},
		{ // a module that is called, copies of others, and what engines do not read
			files: map[string]string{
				"modules/net/main.tf": fill(block, "modules/net"), "services/moved-0/net.tf": "module \"net\" {\n  source = \"../../modules/net\"\n}\n",
				"services/moved-1/.terraform/modules/x/main.tf": fill(block, "cached"), "vendor/x/main.tf": fill(block, "vendored"),
				"services/moved-2/.hidden.tf": fill(block, "hidden"), "services/moved-2/main.tf.bak": fill(block, "bak"), "services/moved-2/main.tf~": fill(block, "tilde"),
				".git/main.tf": fill(block, "git"), "node_modules/y/main.tf": fill(block, "node"),
				"local/main.tf": "terraform {\n  backend \"local\" {\n    path = \"x\"\n  }\n}\n", "cloud/main.tf": "terraform {\n  cloud {\n    organization = \"acme\"\n  }\n}\n",
				"notes/backend.hcl": "job \"backend\" {\n  datacenters = [\"dynamodb_table\"]\n}\n", "notes/backend.json": `{"bucket": "assets", "dynamodb_table": "x", "port": 80}`,
				"notes/azure.tfbackend": "resource_group_name = \"rg\"\ncontainer_name = \"c\"\nkey = \"k\"\n", "notes/Makefile": "init:\n\t# terraform init -backend-config=dynamodb_table=old\n\tterraform init -backend-config=\"dynamodb_table=tf-locks\"\n",
			},
			findings: []Finding{{"module-backend", "modules/net/main.tf", 2}, {"command-line", "notes/Makefile", 3}},
		},
		{ // no lock at all
			files: map[string]string{"odd/unlocked/main.tf": version + "terraform {\n  backend \"s3\" {\n    bucket = \"acme-state\"\n    key = \"odd/unlocked/terraform.tfstate\"\n  }\n}\n"},
			roots: []Root{table("odd/unlocked").with(func(r *Root) { r.Phase, r.Table, r.Plan1 = "none", "", "refused" })}, findings: []Finding{{"no-lock", "odd/unlocked/main.tf", 5}},
		},
		{ // two roots write one state: one has moved, the other has not
			files: map[string]string{"conflict/old/main.tf": version + fill(block, "conflict"), "conflict/new/main.tf": fill(phase2, "conflict")},
			roots: []Root{
				table("conflict/old").with(func(r *Root) { r.State = ref("conflict") }),
				lockfile("conflict/new").with(func(r *Root) { r.State = ref("conflict") }),
			},
			findings: []Finding{{"mixed-phases", "conflict/old/main.tf", 7}, {"shared-state", "conflict/old/main.tf", 7}},
		},
	}
}
