package gateway

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// The real aws command gets a session, and does within its role what the engines do.
func TestGateway_AWS(t *testing.T) {
	t.Parallel()
	e := newEstate(t, 2)
	aws := rig.Need(t, "aws")
	refused := func(what string, r rig.Result, text string) {
		t.Helper()
		rig.Want(t, what, r, max(r.Code, 1), text) // versions of aws disagree on the code
	}
	deploy := e.pipeline("deploy")
	rig.Want(t, "apply", deploy.apply("1"), 0)
	e.near.Must(e.near.Home, rig.Binary, "push", "-force", e.near.File("other", rig.StateWithSerial(1, "b")),
		"s3://terraform-state/db/terraform.tfstate")

	w := rig.NewWorld(t)
	w.Env["AWS_DEFAULT_REGION"], w.Env["AWS_ENDPOINT_URL"] = "us-east-1", e.door.url
	assume := func(token string) rig.Result {
		return w.Run(w.Home, aws, "sts", "assume-role-with-web-identity", "--role-arn",
			"arn:aws:iam::000000000000:role/any", "--role-session-name", "me", "--web-identity-token", token)
	}
	refused("a token of nobody", assume("a.b.c"), "InvalidIdentityToken")
	r := assume(e.issuer.Token(map[string]any{"team": "deploy"}))
	rig.Want(t, "assume-role-with-web-identity", r, 0, "SessionToken")
	var got struct {
		Credentials struct{ AccessKeyID, SecretAccessKey, SessionToken string }
	}
	if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil {
		t.Fatal(err)
	}
	w.Env["AWS_ACCESS_KEY_ID"], w.Env["AWS_SECRET_ACCESS_KEY"] = got.Credentials.AccessKeyID, got.Credentials.SecretAccessKey
	w.Env["AWS_SESSION_TOKEN"] = got.Credentials.SessionToken
	rig.Want(t, "get-caller-identity", w.Run(w.Home, aws, "sts", "get-caller-identity"), 0, "Arn")
	listing := w.Run(w.Home, aws, "s3", "ls", "--recursive", "s3://terraform-state")
	rig.Want(t, "ls", listing, 0, rig.StateKey)
	if strings.Contains(listing.Stdout, "db/") {
		t.Errorf("ls shows what may not be read: %s", listing.Stdout)
	}
	state := filepath.Join(w.Home, "state")
	rig.Want(t, "cp", w.Run(w.Home, aws, "s3", "cp", "s3://terraform-state/"+rig.StateKey, state), 0)
	rig.Want(t, "cp of another", w.Run(w.Home, aws, "s3", "cp", "s3://terraform-state/db/terraform.tfstate", state), 1, "403")
	rig.Want(t, "cp without the lock", w.Run(w.Home, aws, "s3", "cp", state, "s3://terraform-state/"+rig.StateKey), 1,
		"nobody holds its lock")
	refused("what is not served", w.Run(w.Home, aws, "s3api", "get-bucket-versioning", "--bucket", "terraform-state"),
		"NotImplemented")
	w.Env["AWS_SESSION_TOKEN"] = strings.ToUpper(got.Credentials.SessionToken)
	refused("a token that was changed", w.Run(w.Home, aws, "s3", "ls", "s3://terraform-state"), "InvalidToken")

	// A session from a static key, by credential_process.
	p := rig.NewWorld(t)
	p.Env["AWS_DEFAULT_REGION"], p.Env["AWS_ENDPOINT_URL"] = "us-east-1", e.door.url
	p.Env["AWS_CONFIG_FILE"] = p.File("config", fmt.Sprintf("[default]\ncredential_process = %s credentials -gateway %s -key-file %s\n",
		rig.Binary, e.door.url, filepath.Join(e.near.Home, "ana.key")))
	rig.Want(t, "credential_process", p.Run(p.Home, aws, "s3", "ls", "--recursive", "s3://terraform-state"), 0, rig.StateKey)
	identity := p.Run(p.Home, aws, "sts", "get-caller-identity")
	rig.Want(t, "get-caller-identity", identity, 0, "ana")
}
