package e2e

import (
	"strings"
	"testing"
)

// show and diff of what a real engine wrote: nothing that it calls sensitive, or that has such a name, is shown unless asked for.
func TestDiff_OfARealEngine(t *testing.T) {
	t.Parallel()
	engine := need(t, engine())
	w := newWorld(t)
	server := w.serve()
	dir := w.project(server.block)
	w.write(dir+"/more.tf", `
variable "pin" {
  default   = "declared-1"
  sensitive = true
}
variable "replace" { default = "a" }
resource "terraform_data" "secret" { input = { anything = var.pin, db_password = "named-1" } }
resource "terraform_data" "each" {
  for_each         = toset(["a b", "c"])
  triggers_replace = var.replace
}
output "pin" {
  value     = var.pin
  sensitive = true
}
`)
	w.must(dir, engine, "init", "-input=false", "-no-color")
	apply := func(args ...string) {
		w.must(dir, engine, append([]string{"apply", "-input=false", "-no-color", "-auto-approve"}, args...)...)
	}
	apply()
	apply("-var", "pin=declared-2", "-var", "value=b", "-var", "replace=b")
	hidden := func(what string, r result) {
		for _, secret := range []string{"declared-", "named-"} {
			if strings.Contains(r.stdout+r.stderr, secret) {
				t.Errorf("%s shows a secret: %v", what, r)
			}
		}
	}

	for _, args := range [][]string{{"show"}, {"show", "-json"}, {"show", "-address", "terraform_data.secret"}, {"diff", "1"}, {"diff", "-json", "1", "2"}} {
		r := w.must(dir, binary, args...)
		hidden(strings.Join(args, " "), r)
	}
	want(t, "show", w.run(dir, binary, "show"), 0, "Resources: 4 (4 terraform_data)", `terraform_data.each["a b"]`, `value = "b"`, "pin = (sensitive)")
	want(t, "show", w.run(dir, binary, "show", "-reveal", "-address", "terraform_data.secret"), 0, "declared-2", "named-1")
	want(t, "diff", w.run(dir, binary, "diff", "previous"), 0, `-/+ terraform_data.each["a b"] (replaced: another id)`,
		"~ terraform_data.secret", "(sensitive, changed)", `~ value: "a" → "b"`, "~ pin: (sensitive, changed)", "2 changed, 2 replaced, 2 outputs changed.")
	want(t, "diff", w.run(dir, binary, "diff", "-reveal", "1"), 0, `"declared-1" → "declared-2"`)
	want(t, "diff", w.run(dir, binary, "diff", "current"), 0, "No differences")
}
