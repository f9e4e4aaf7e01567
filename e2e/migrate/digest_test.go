package migrate

import (
	"strings"
	"testing"

	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// W21: a client that locks by file alone leaves the table behind; engines with the table refuse the state until it is
// mended.
func TestDigest_W21_FileOnlyWriter(t *testing.T) {
	t.Parallel()
	w := rig.NewWorld(t)
	engine := rig.Need(t, rig.Engine())
	w.Env["STATELATCH_ACCESS_KEY_ID"], w.Env["STATELATCH_SECRET_ACCESS_KEY"] = "digest-access-key-id", "digest-secret-access-key-of-the-tests"
	server := w.Serve()
	w.Env["AWS_ACCESS_KEY_ID"], w.Env["AWS_SECRET_ACCESS_KEY"] = "digest-access-key-id", "digest-secret-access-key-of-the-tests"
	url := w.Dynalite()
	dirs := map[string]string{}
	for name, arguments := range map[string]string{"both": "use_lockfile = true\ndynamodb_table = \"locks\"", "file": "use_lockfile = true"} {
		block := strings.Replace(server.Block, "use_lockfile = true", arguments, 1)
		block = strings.Replace(block, `endpoints                   = { s3 = "`+server.URL+`" }`,
			`endpoints                   = { s3 = "`+server.URL+`", dynamodb = "`+url+`" }`, 1)
		dirs[name] = w.Project(block)
		w.Must(dirs[name], engine, "init", "-input=false", "-no-color")
	}
	w.Must(dirs["both"], engine, rig.Apply...)
	rig.Want(t, "check", w.Statelatch("digest", "check", "-chdir", dirs["both"]), 0, "in step")

	w.Must(dirs["file"], engine, append(rig.Apply, "-var", "value=b")...)
	refused := w.Run(dirs["both"], engine, "plan", "-input=false", "-no-color")
	rig.Want(t, "engine with a stale digest", refused, 1, "does not have the expected content")
	rig.Want(t, "check of a stale digest", w.Statelatch("digest", "check", "-chdir", dirs["both"]), 1, "stale", "locks by file alone", "serial 1")
	rig.Want(t, "fix", w.Statelatch("digest", "fix", "-auto-approve", "-chdir", dirs["both"]), 0, "Set the digest")
	rig.Want(t, "engine after fix", w.Run(dirs["both"], engine, "plan", "-input=false", "-no-color", "-detailed-exitcode", "-var", "value=b"), 0)

	// The state steps back behind the table, as if a copy from before had been put in its place: not to be blessed.
	b, err := s3bucket.Open(t.Context(), "terraform-state", s3bucket.Config{
		Endpoints: s3bucket.Endpoints{S3: server.URL}, Region: "us-east-1", UsePathStyle: true, AccessKey: "digest-access-key-id", SecretKey: "digest-secret-access-key-of-the-tests",
	})
	if err != nil {
		t.Fatal(err)
	}
	older := w.Statelatch("pull", "-version", "previous", "-chdir", dirs["both"]).Stdout
	if _, err := b.Put(t.Context(), "example/terraform.tfstate", strings.NewReader(older), bucket.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	rig.Want(t, "engine with an older state", w.Run(dirs["both"], engine, "plan", "-input=false", "-no-color"), 1, "does not have the expected content")
	rig.Want(t, "fix of an older state", w.Statelatch("digest", "fix", "-auto-approve", "-chdir", dirs["both"]), 1, "rolled back or lost", "statelatch rollback")
	scope := []string{
		"digest", "check", "-json", "-backend-config", "dynamodb_table=locks",
		"-backend-config", `endpoints={s3="` + server.URL + `",dynamodb="` + url + `"}`, "s3://terraform-state",
	}
	rig.Want(t, "check of the bucket", w.Statelatch(scope...), 1, `"status":"stale"`, `"wrong":1`)
	scope[1] = "fix"
	rig.Want(t, "accepted", w.Statelatch(append(scope[:2:2], append([]string{"-accept", "-auto-approve"}, scope[2:]...)...)...), 0, `"fixed":true`)
	rig.Want(t, "engine after an accepted fix", w.Run(dirs["both"], engine, "plan", "-input=false", "-no-color"), 0)
}
