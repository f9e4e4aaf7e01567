package gateway

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// cli is the aws command behind the gateways, in a world that knows nothing of the store's keys.
type cli struct {
	*rig.World
	program, url string
}

func (e *estate) cli(t *testing.T) *cli {
	t.Helper()
	w := rig.NewWorld(t)
	w.Env["AWS_DEFAULT_REGION"] = "us-east-1" // the other is not the command's
	return &cli{w, rig.Need(t, "aws"), e.door.url}
}

func (c *cli) try(args ...string) rig.Result {
	c.T.Helper()
	return c.Run(c.Home, c.program, append([]string{"--endpoint-url", c.url}, args...)...)
}

// must is try that demands success.
func (c *cli) must(args ...string) rig.Result {
	c.T.Helper()
	r := c.try(args...)
	if r.Code != 0 {
		c.T.Fatalf("aws %s: %v", strings.Join(args, " "), r)
	}
	return r
}

func (c *cli) refused(code string, args ...string) {
	c.T.Helper()
	if r := c.try(args...); r.Code == 0 || !strings.Contains(r.Stderr, code) {
		c.T.Errorf("aws %s: want %s: %v", strings.Join(args, " "), code, r)
	}
}

// use has the command sign with a session.
func (c *cli) use(s sessionKeys) {
	c.Env["AWS_ACCESS_KEY_ID"], c.Env["AWS_SECRET_ACCESS_KEY"] = s.AccessKeyID, s.SecretAccessKey
	c.Env["AWS_SESSION_TOKEN"] = s.SessionToken
}

type sessionKeys struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      time.Time
}

// The aws command takes a session of the STS door, and works within the roles.
func TestIdentity_AWSCommand(t *testing.T) {
	t.Parallel()
	e := newEstate(t, 2)
	if r := e.person("ana").apply("1"); r.Code != 0 {
		t.Fatal(r)
	}
	c := e.cli(t)
	assume := func(token string) []string {
		return []string{
			"sts", "assume-role-with-web-identity", "--role-arn", "arn:aws:iam::123456789012:role/any",
			"--role-session-name", "test", "--output", "json", "--web-identity-token", token,
		}
	}
	for code, token := range map[string]string{
		"ExpiredTokenException": e.issuer.Token(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}),
		"InvalidIdentityToken":  e.issuer.Token(map[string]any{"aud": "elsewhere"}),
	} {
		c.refused(code, assume(token)...)
	}
	c.refused("InvalidIdentityToken", assume(e.issuer.Unsigned(nil))...)
	var out struct {
		Credentials     sessionKeys
		AssumedRoleUser struct{ Arn string }
		Audience        string
		Provider        string
	}
	text := c.must(assume(e.issuer.Token(map[string]any{"team": "plan"}))...).Stdout
	if err := json.Unmarshal([]byte(text), &out); err != nil || out.Provider != e.issuer.URL ||
		time.Until(out.Credentials.Expiration) < 11*time.Hour {
		t.Fatalf("got %s, %v, want a session of 12 h", text, err)
	}
	c.use(out.Credentials)
	var who struct{ Account, Arn, UserID string }
	text = c.must("sts", "get-caller-identity", "--output", "json").Stdout
	if err := json.Unmarshal([]byte(text), &who); err != nil || who.Arn != out.AssumedRoleUser.Arn || who.Account != "000000000000" {
		t.Errorf("got %s, %v, want %s", text, err, out.AssumedRoleUser.Arn)
	}
	// It may read, and nothing else.
	if got := c.must("s3", "ls", "--recursive", "s3://terraform-state").Stdout; !strings.Contains(got, rig.StateKey) {
		t.Errorf("got %s, want the state", got)
	}
	c.must("s3", "cp", ref, filepath.Join(c.Home, "copy"))
	c.refused("AccessDenied", "s3", "cp", filepath.Join(c.Home, "copy"), ref)
	c.refused("AccessDenied", "s3", "rm", ref)

	// Parts of two sessions are none.
	mixed := out.Credentials
	var other struct{ Credentials sessionKeys }
	if err := json.Unmarshal([]byte(c.must(assume(e.issuer.Token(map[string]any{"team": "deploy"}))...).Stdout), &other); err != nil {
		t.Fatal(err)
	}
	mixed.SessionToken = other.Credentials.SessionToken
	c.use(mixed)
	c.refused("InvalidToken", "s3", "ls", "s3://terraform-state")
	mixed = out.Credentials
	mixed.SessionToken = ""
	c.use(mixed)
	c.refused("InvalidAccessKeyId", "s3", "ls", "s3://terraform-state")
}

// A static key becomes a session for each process, by credential_process; and an engine that asks who it is before it
// begins gets an answer.
func TestIdentity_CredentialProcess(t *testing.T) {
	t.Parallel()
	e := newEstate(t, 1)
	w := rig.NewWorld(t)
	w.Write(w.Env["AWS_CONFIG_FILE"], fmt.Sprintf("[profile states]\ncredential_process = %s credentials -gateway %s -key-file %s\n",
		rig.Binary, e.door.url, filepath.Join(e.near.Home, "ana.key")))
	w.Env["AWS_PROFILE"] = "states"
	g := &engine{w, filepath.Join(w.Home, "tf")}
	w.Must(w.Home, "mkdir", g.dir)
	text := fmt.Sprintf(config, rig.StateKey, e.door.url, "")
	for _, check := range []string{"skip_credentials_validation", "skip_requesting_account_id"} {
		text = strings.Replace(text, check, "# "+check, 1)
	}
	w.Write(filepath.Join(g.dir, "main.tf"), text)
	w.Must(g.dir, rig.Engine(), "init", "-input=false", "-no-color")
	p, goOn := g.hold("1")
	// Another process of the same owner has another session: it sees the lock of the first.
	if r := g.run(slices.Concat(rig.Apply, []string{"-var", "value=2"})...); r.Code == 0 || !strings.Contains(r.Stderr, "Error acquiring the state lock") {
		t.Errorf("want the second process refused: %v", r)
	}
	goOn()
	if r := p.Wait(); r.Code != 0 {
		t.Errorf("the first process: %v", r)
	}
	e.wantFree()

	c := e.cli(t)
	c.Env["AWS_CONFIG_FILE"], c.Env["AWS_PROFILE"] = w.Env["AWS_CONFIG_FILE"], "states"
	if got := c.must("sts", "get-caller-identity", "--output", "text").Stdout; !strings.Contains(got, "user/ana") {
		t.Errorf("got %s, want the owner of the key", got)
	}
}
