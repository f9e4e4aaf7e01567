package wrap

import (
	"context"
	"errors"
	"testing"

	"github.com/statelatch/statelatch"
)

func TestEngineCall(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		command    []string
		name, call string
	}{
		{[]string{"terraform", "-chdir=infra", "apply", "-var", "password=hunter2"}, "terraform apply", "infra"},
		{[]string{"/usr/bin/tofu", "plan"}, "tofu plan", ""},
		{[]string{"terraform.exe"}, "terraform", ""},
		{[]string{"terragrunt", "apply"}, "terragrunt apply", ""},
		{[]string{"terragrunt", "--auth-token", "hunter2", "apply"}, "terragrunt", ""},
		{[]string{"./deploy.sh", "hunter2"}, "deploy.sh", ""},
	} {
		getenv := func(string) string { return "" }
		if call, _ := EngineCall(tc.command, getenv); call.Chdir != tc.call {
			t.Errorf("%q: got -chdir %q, want %q", tc.command, call.Chdir, tc.call)
		}
		if got := ProgramName(tc.command, getenv); got != tc.name {
			t.Errorf("%q: got %q, want %q: arguments may be secret", tc.command, got, tc.name)
		}
	}
}

// A signal that came while the locks were taken starts nothing.
func TestRun_Start_Interrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := &run{Options: Options{Command: []string{"true"}}, program: "true"}
	if result, err := r.start(ctx, nil, nil); result.ExitCode != interrupted || !errors.Is(err, context.Canceled) {
		t.Errorf("got exit code %d, %v, want %d", result.ExitCode, err, interrupted)
	}
}

func TestRun_Refuses(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{}, {Command: []string{"true"}}} {
		if _, err := Run(t.Context(), o); !errors.Is(err, statelatch.ErrInvalid) {
			t.Errorf("%+v: got %v, want %v", o, err, statelatch.ErrInvalid)
		}
	}
}
