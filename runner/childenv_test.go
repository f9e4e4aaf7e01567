//go:build unix

package runner

import (
	"slices"
	"testing"
)

func TestChildEnv_HandsOnNoSecret(t *testing.T) {
	t.Parallel()
	kept := []string{
		"PATH=/bin", "AWS_PROFILE=acme", "STATELATCH_HELD=s3://acme-state/k", "STATELATCH_STATE_DIR=/state", "STATELATCH_PROBE=off",
		"STATELATCH_SHIM_SOCKET=/run/x", "STATELATCH_EXPECTED_BUCKET_OWNER=123456789012", "XSTATELATCH_AUDIT_KEY=not ours", "STATELATCH=1",
	}
	secrets := []string{
		"STATELATCH_AUDIT_KEY=s", "STATELATCH_ACCESS_KEY_ID=s", "STATELATCH_SECRET_ACCESS_KEY=s", "STATELATCH_ALERT_WEBHOOK=https://hooks.example/s",
		"STATELATCH_TOKEN=of a later version", "STATELATCH_HELDER=no name of ours",
	}
	env := slices.Concat(secrets, kept, []string{"STATELATCH_AUDIT=s3://log/audit, https://hooks.example/secret,file:/var/log/a"})
	want := slices.Concat(kept, []string{"STATELATCH_AUDIT=s3://log/audit,file:/var/log/a"})
	if got := childEnv(env); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := childEnv([]string{"STATELATCH_AUDIT=HTTPS://hooks.example/secret"}); len(got) != 0 {
		t.Errorf("got %q, want nothing", got)
	}
}

// Our own environment is no way around.
func TestRun_ChildGetsNoSecret(t *testing.T) {
	t.Setenv("STATELATCH_AUDIT_KEY", "secret")
	result, err := Run(t.Context(), Command{Args: []string{"sh", "-c", `test -z "$STATELATCH_AUDIT_KEY"`}}, nil, nil)
	if err != nil || result.ExitCode != 0 {
		t.Errorf("got %+v, %v, want the variable unset", result, err)
	}
}
