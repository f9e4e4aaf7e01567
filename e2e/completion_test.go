package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// The script needs nothing but bash: no start-up files, and no package that brings functions.
func TestCompletion_CleanBash(t *testing.T) {
	t.Parallel()
	bash := need(t, "bash")
	w := newWorld(t)
	w.serve("-bucket", "acme")
	w.env["PATH"] = filepath.Dir(binary) + ":" + w.env["PATH"]
	if r := w.statelatch("lock", "s3://acme/prod/app/terraform.tfstate"); r.code != 0 {
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
		r := w.run(w.home, bash, "--norc", "--noprofile", "-c", script, "bash", line)
		if got, ok := strings.CutPrefix(strings.TrimSpace(r.stdout), "complete -F _statelatch statelatch\n"); !ok || got != want || r.stderr != "" || r.code != 0 {
			t.Errorf("%q: got %q, want %q: %v", line, got, want, r)
		}
	}
}
