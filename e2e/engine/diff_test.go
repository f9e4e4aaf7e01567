package engine

import (
	"strings"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// show and diff of what a real engine wrote: nothing that it calls sensitive, or that has such a name, is shown unless asked for.
func TestDiff_OfARealEngine(t *testing.T) {
	t.Parallel()
	engine := rig.Need(t, rig.Engine())
	w := rig.NewWorld(t)
	server := w.Serve()
	dir := w.Project(server.Block)
	w.Write(dir+"/more.tf", `
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
	w.Must(dir, engine, "init", "-input=false", "-no-color")
	apply := func(args ...string) {
		w.Must(dir, engine, append([]string{"apply", "-input=false", "-no-color", "-auto-approve"}, args...)...)
	}
	apply()
	apply("-var", "pin=declared-2", "-var", "value=b", "-var", "replace=b")
	hidden := func(what string, r rig.Result) {
		for _, secret := range []string{"declared-", "named-"} {
			if strings.Contains(r.Stdout+r.Stderr, secret) {
				t.Errorf("%s shows a secret: %v", what, r)
			}
		}
	}

	for _, args := range [][]string{{"show"}, {"show", "-json"}, {"show", "-address", "terraform_data.secret"}, {"diff", "1"}, {"diff", "-json", "1", "2"}} {
		r := w.Must(dir, rig.Binary, args...)
		hidden(strings.Join(args, " "), r)
	}
	rig.Want(t, "show", w.Run(dir, rig.Binary, "show"), 0, "Resources: 4 (4 terraform_data)", `terraform_data.each["a b"]`, `value = "b"`, "pin = (sensitive)")
	rig.Want(t, "show", w.Run(dir, rig.Binary, "show", "-reveal", "-address", "terraform_data.secret"), 0, "declared-2", "named-1")
	rig.Want(t, "diff", w.Run(dir, rig.Binary, "diff", "previous"), 0, `-/+ terraform_data.each["a b"] (replaced: another id)`,
		"~ terraform_data.secret", "(sensitive, changed)", `~ value: "a" → "b"`, "~ pin: (sensitive, changed)", "2 changed, 2 replaced, 2 outputs changed.")
	rig.Want(t, "diff", w.Run(dir, rig.Binary, "diff", "-reveal", "1"), 0, `"declared-1" → "declared-2"`)
	rig.Want(t, "diff", w.Run(dir, rig.Binary, "diff", "current"), 0, "No differences")
}
