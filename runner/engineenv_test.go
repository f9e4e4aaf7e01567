package runner

import (
	"slices"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
)

func TestEngineEnv_Values(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		env       []string
		mode      Mode
		key, want string
	}{
		"unset":                       {key: "TF_CLI_ARGS_apply", want: "-lock=false"},
		"empty":                       {env: []string{"TF_CLI_ARGS_apply="}, key: "TF_CLI_ARGS_apply", want: "-lock=false"},
		"the user's stay, behind":     {env: []string{"TF_CLI_ARGS_apply=-var a=b;c plan.out"}, key: "TF_CLI_ARGS_apply", want: "-lock=false -var a=b;c plan.out"},
		"the last one counts":         {env: []string{"TF_CLI_ARGS_apply=-a", "TF_CLI_ARGS_apply=-b"}, key: "TF_CLI_ARGS_apply", want: "-lock=false -b"},
		"own -lock=true":              {env: []string{"TF_CLI_ARGS_plan=-no-color -lock=true\t--lock  -lock-timeout=5m"}, key: "TF_CLI_ARGS_plan", want: "-lock=false -no-color -lock=false\t-lock=false  -lock-timeout=5m"},
		"quotes are left alone":       {env: []string{"TF_CLI_ARGS_plan=-var 'x=use -lock here'"}, key: "TF_CLI_ARGS_plan", want: "-lock=false -var 'x=use -lock here'"},
		"all subcommands":             {env: []string{"TF_CLI_ARGS=-no-color -lock=1"}, key: "TF_CLI_ARGS", want: "-no-color -lock=false"},
		"all subcommands, not set":    {key: "TF_CLI_ARGS", want: ""},
		"all subcommands, read":       {env: []string{"TF_CLI_ARGS=-lock=true"}, mode: Read, key: "TF_CLI_ARGS", want: "-lock=true"},
		"read, plan":                  {mode: Read, key: "TF_CLI_ARGS_plan", want: "-lock=false"},
		"read, apply":                 {mode: Read, key: "TF_CLI_ARGS_apply", want: ""},
		"read, refresh":               {mode: Read, key: "TF_CLI_ARGS_refresh", want: ""},
		"a variable of another name":  {env: []string{"TF_CLI_ARGS_apply_x=1"}, key: "TF_CLI_ARGS_apply_x", want: "1"},
		"what has no equals sign":     {env: []string{"TF_CLI_ARGS_apply"}, key: "TF_CLI_ARGS_apply", want: "-lock=false"},
		"a subcommand without a lock": {key: "TF_CLI_ARGS_show", want: ""},
		"console":                     {key: "TF_CLI_ARGS_console", want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := slices.Clone(tc.env)
			got := EngineEnv(tc.env, tc.mode)
			if value := lookup(got, tc.key); value != tc.want {
				t.Errorf("got %s=%q, want %q", tc.key, value, tc.want)
			}
			if !slices.Equal(before, tc.env) {
				t.Errorf("the argument was changed to %q", tc.env)
			}
		})
	}
}

func TestHeldRefs_RoundTrip(t *testing.T) {
	t.Parallel()
	a, b, c := statelatch.Ref{Bucket: "b", Key: "a key, with; signs"}, statelatch.Ref{Bucket: "b", Key: "k"}, statelatch.Ref{Bucket: "c", Key: "k"}
	none := []string{"HOME=/home/x"}
	outer := WithHeld(none, a, b)
	inner := WithHeld(outer, c)
	for _, tc := range []struct {
		env  []string
		want []statelatch.Ref
	}{
		{none, nil},
		{outer, []statelatch.Ref{a, b}},
		{inner, []statelatch.Ref{a, b, c}},
		{[]string{heldVariable + "=nonsense\ns3://b/k\n"}, []statelatch.Ref{b}},
	} {
		got := HeldRefs(func(key string) string { return lookup(tc.env, key) })
		if !slices.Equal(got, tc.want) {
			t.Errorf("%q: got %v, want %v", tc.env, got, tc.want)
		}
	}
	if got := strings.Join(none, ","); got != "HOME=/home/x" {
		t.Errorf("the argument was changed to %q", got)
	}
}
