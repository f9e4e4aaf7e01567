package migrate

import (
	"slices"
	"strings"
	"testing"
)

// A file for -backend-config may have any name: a command line names it, or its content does.
func TestScan_PartialConfiguration(t *testing.T) {
	t.Parallel()
	const stub = "terraform {\n  required_version = \">= 1.10\"\n  backend \"s3\" {\n    key = \"k\"\n  }\n}\n"
	const part = "bucket = \"b\"\nregion = \"us-east-1\"\ndynamodb_table = \"t\"\n"
	const short = "profile = \"p\"\nbucket = \"b\"\n" // tells nothing by itself
	other := func(bucket string) string { return strings.Replace(part, `"b"`, `"`+bucket+`"`, 1) }
	for name, tc := range map[string]struct {
		files map[string]string
		want  string // roots with their phases
	}{
		"README":                   {map[string]string{"README.md": "    terraform init -backend-config=./x.backend\n", "x.backend": part, "main.tf": stub}, ". table"},
		"README, of a root below":  {map[string]string{"README.md": "`terraform -chdir=app init -backend-config=../x.s3`\n", "x.s3": part, "app/main.tf": stub}, "app table"},
		"Makefile":                 {map[string]string{"Makefile": "init:\n\tterraform init -backend-config=$(ENV).backend\n", "dev.backend": other("dev"), "prod.backend": other("prod"), "main.tf": stub}, ". (dev.backend) table, . (prod.backend) table"},
		"Makefile, short":          {map[string]string{"Makefile": "init:\n\tterraform init -backend-config=\"backends/$(ENV)\" -backend-config=key=x\n", "backends/dev": short + "dynamodb_table = \"t\"\n", "main.tf": stub}, ". table"},
		"CI":                       {map[string]string{".github/workflows/a.yml": "- run: terraform init -backend-config=${{ inputs.env }}/s3.conf\n", "dev/s3.conf": part, "main.tf": stub}, ". table"},
		"CI, JSON":                 {map[string]string{".gitlab-ci.yml": "- terraform init -backend-config 'cfg/prod.json'\n", "cfg/prod.json": `{"bucket": "b", "region": "r", "dynamodb_table": "t"}`, "main.tf": stub}, ". table"},
		"script in another place":  {map[string]string{"ci/init.sh": "cd ../app && terraform init -backend-config=../settings/${ENV}.tfvars\n", "settings/prod.tfvars": part, "app/main.tf": stub}, "app table"},
		"Python":                   {map[string]string{"run.py": "run([\"terraform\", \"init\", \"-backend-config\", \"x.any\"])\n", "x.any": short + "dynamodb_table = \"t\"\n", "main.tf": stub}, ". table"},
		"variables that are named": {map[string]string{"README.md": "terraform init -backend-config=terraform.tfvars\n", "terraform.tfvars": part, "main.tf": stub}, ". table"},
		"variables":                {map[string]string{"terraform.tfvars": part, "a.auto.tfvars": part, "main.tf": stub}, ". unknown"},
		"content":                  {map[string]string{"where.state": part, "main.tf": stub}, ". table"},
		"content, without a name":  {map[string]string{"prod": part, "main.tf": stub}, ". table"},
		"content, of others":       {map[string]string{"app.conf": part + "port = 80\n", "short.conf": short, "x.json": `{"bucket": "b", "region": "r", "dynamodb_table": "t"}`, "main.tf": stub}, ". unknown"},
		"content, of no root":      {map[string]string{"app/app.conf": part, "other/main.tf": stub}, "other unknown"},
		"settings beside":          {map[string]string{"acc/config/backend.tfvars": part, "acc/region/net/main.tf": stub, "acc/region/app/main.tf": stub, "other/main.tf": stub}, "acc/region/app table, acc/region/net table, other unknown"},
		"settings in settings":     {map[string]string{"acc/tfvars/backends/a.tfvars": part, "acc/app/main.tf": stub}, "acc/app table"},
		"named, with little in it": {map[string]string{"init.sh": "terraform init -backend-config ${HOME}/x/y.tfvars\n", "x/y.tfvars": "bucket = \"b\"\n", "z/main.tf": "\n"}, ""},
		"settings without a lock":  {map[string]string{"config/a.tfvars": "bucket = \"b\"\nregion = \"r\"\n", "app/main.tf": stub}, "app unknown"},
		"settings of one alone":    {map[string]string{"config/a.tfvars": part + "key = \"k\"\n", "app/main.tf": stub, "b/main.tf": stub}, "app unknown, b unknown, config (a.tfvars) table"},
		"settings as an example":   {map[string]string{"example.tfvars": part, "config/a.tfvars": strings.Replace(part, `"b"`, `"<BUCKET>"`, 1), "app/main.tf": stub}, "app unknown"},
		"settings, the nearest":    {map[string]string{"config/s3.tfvars": other("far"), "acc/config/s3.tfvars": other("near"), "acc/app/main.tf": stub, "b/main.tf": stub}, "acc/app table, b table"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, text := range tc.files {
				write(t, dir, name, text)
			}
			found := scan(t, dir)
			var got []string
			for i := range found.Roots {
				got = append(got, found.Roots[i].Name()+" "+string(found.Roots[i].Phase))
			}
			if text := strings.Join(got, ", "); text != tc.want {
				t.Errorf("got %s, want %s\n%s", text, tc.want, findingsOf(found))
			}
			assumed := slices.ContainsFunc(found.Findings, func(f Finding) bool { return f.ID == "backend-config-near" })
			if want := strings.HasPrefix(name, "settings") && !strings.Contains(name, " of ") && !strings.Contains(name, " as "); assumed != want {
				t.Errorf("says what it takes for granted: %v, want %v", assumed, want)
			}
			for _, m := range plan(t, dir, 1).Moves {
				if strings.HasSuffix(m.Root.Dir, "app") && m.Root.Phase == PhaseTable && m.Status != MoveEdit {
					t.Errorf("%s does not move: %s", m.Root.Name(), m.Why)
				}
			}
		})
	}
}
