package engine

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// The script needs nothing but bash: no start-up files, and no package that brings functions.
func TestCompletion_CleanBash(t *testing.T) {
	t.Parallel()
	bash := rig.Need(t, "bash")
	w := rig.NewWorld(t)
	w.Serve("-bucket", "acme")
	w.Env["PATH"] = filepath.Dir(rig.Binary) + ":" + w.Env["PATH"]
	if r := w.Statelatch("lock", "s3://acme/prod/app/terraform.tfstate"); r.Code != 0 {
		t.Fatal(r)
	}
	const script = `source <(statelatch completion bash) || exit
complete -p statelatch
COMP_LINE=$1 COMP_POINT=${#1}
COMP_WORDS=(statelatch) COMP_CWORD=1
_statelatch
printf '%s\n' "${COMPREPLY[@]}"`
	for line, want := range map[string]string{
		"statelatch stat":                      "status\nstates",
		"statelatch unlock -m":                 "-mine",
		"statelatch policy -role ap":           "apply",
		"statelatch lock -takeover=ex":         "expired", // what is behind the last = of the word
		"statelatch status s3://acme/pr":       "//acme/prod/app/terraform.tfstate\n//acme/prod/",
		"statelatch status s3://acme/prod/app": "//acme/prod/app/terraform.tfstate\n//acme/prod/app/",
	} {
		r := w.Run(w.Home, bash, "--norc", "--noprofile", "-c", script, "bash", line)
		if got, ok := strings.CutPrefix(strings.TrimSpace(r.Stdout), "complete -F _statelatch statelatch\n"); !ok || got != want || r.Stderr != "" || r.Code != 0 {
			t.Errorf("%q: got %q, want %q: %v", line, got, want, r)
		}
	}
}
