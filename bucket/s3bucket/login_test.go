package s3bucket

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials/ssocreds"
	"github.com/aws/smithy-go"

	"github.com/statelatch/statelatch"
)

const ssoConfig = `[profile legacy]
sso_start_url = https://example.awsapps.com/start
sso_region = us-east-1
sso_account_id = 123456789012
sso_role_name = Admin

[profile session]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = Admin

[sso-session corp]
sso_start_url = https://example.awsapps.com/start
sso_region = us-east-1

[profile role]
role_arn = arn:aws:iam::123456789012:role/x
source_profile = session

[profile keys]
aws_access_key_id = key
aws_secret_access_key = secret
`

// A session that is over or was never begun is answered with the command that begins one, for the profile that has it.
func TestOpen_SSOSessionOver(t *testing.T) { // not parallel: it sets variables
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "credentials"))
	if err := os.WriteFile(filepath.Join(home, "config"), []byte(ssoConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(home, ".aws", "sso", "cache")
	for _, expired := range []bool{false, true} {
		if expired {
			if err := os.MkdirAll(cache, 0o700); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"corp", "https://example.awsapps.com/start"} {
				sum := sha1.Sum([]byte(name))
				token := `{"accessToken":"t","expiresAt":"2020-01-01T00:00:00Z","startUrl":"https://example.awsapps.com/start","region":"us-east-1"}`
				if err := os.WriteFile(filepath.Join(cache, hex.EncodeToString(sum[:])+".json"), []byte(token), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		for profile, login := range map[string]string{"legacy": "legacy", "session": "session", "role": "session"} {
			_, err := Open(t.Context(), "b", Config{Profile: profile, Region: "us-east-1"})
			if !errors.Is(err, statelatch.ErrDenied) || !strings.Contains(err.Error(), "aws sso login --profile "+login+" (") {
				t.Errorf("%s, expired %v: got %v", profile, expired, err)
			}
		}
	}
	_, err := Open(t.Context(), "b", Config{Profile: "nosuch", Region: "us-east-1"})
	if !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), `"nosuch"`) || !strings.Contains(err.Error(), "list-profiles") {
		t.Errorf("no such profile: got %v", err)
	}
	// What has another cause keeps it.
	cfg := Config{Profile: "session", Region: "us-east-1"}
	for _, err := range []error{
		&smithy.GenericAPIError{Code: "ForbiddenException", Message: "No access"}, context.DeadlineExceeded, nil,
	} {
		got := cfg.loginAdvice(t.Context(), err)
		if got != err { //nolint:errorlint // the very same
			t.Errorf("%v: got %v", err, got)
		}
	}
	for _, err := range []error{&smithy.GenericAPIError{Code: "UnauthorizedException"}, &ssocreds.InvalidTokenError{}} {
		if got := cfg.loginAdvice(t.Context(), err); !strings.Contains(got.Error(), "aws sso login --profile session") {
			t.Errorf("%v: got %v", err, got)
		}
	}
	keys := Config{Profile: "keys", Region: "us-east-1"}
	if got := keys.loginAdvice(t.Context(), errors.New("anything")); strings.Contains(got.Error(), "sso") {
		t.Errorf("a profile with keys: got %v", got)
	}
}
