package e2e

import (
	"strings"
	"testing"

	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
)

// W21: a client that locks by file alone leaves the table behind; engines with the table refuse the state until it is
// mended.
func TestDigest_W21_FileOnlyWriter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := need(t, engine())
	w.env["STATELATCH_ACCESS_KEY_ID"], w.env["STATELATCH_SECRET_ACCESS_KEY"] = "digest-access-key-id", "digest-secret-access-key-of-the-tests"
	server := w.serve()
	w.env["AWS_ACCESS_KEY_ID"], w.env["AWS_SECRET_ACCESS_KEY"] = "digest-access-key-id", "digest-secret-access-key-of-the-tests"
	url := w.dynalite()
	dirs := map[string]string{}
	for name, arguments := range map[string]string{"both": "use_lockfile = true\ndynamodb_table = \"locks\"", "file": "use_lockfile = true"} {
		block := strings.Replace(server.block, "use_lockfile = true", arguments, 1)
		block = strings.Replace(block, `endpoints                   = { s3 = "`+server.url+`" }`,
			`endpoints                   = { s3 = "`+server.url+`", dynamodb = "`+url+`" }`, 1)
		dirs[name] = w.project(block)
		w.must(dirs[name], engine, "init", "-input=false", "-no-color")
	}
	w.must(dirs["both"], engine, apply...)
	want(t, "check", w.statelatch("digest", "check", "-chdir", dirs["both"]), 0, "in step")

	w.must(dirs["file"], engine, append(apply, "-var", "value=b")...)
	refused := w.run(dirs["both"], engine, "plan", "-input=false", "-no-color")
	want(t, "engine with a stale digest", refused, 1, "does not have the expected content")
	want(t, "check of a stale digest", w.statelatch("digest", "check", "-chdir", dirs["both"]), 1, "stale", "locks by file alone", "serial 1")
	want(t, "fix", w.statelatch("digest", "fix", "-auto-approve", "-chdir", dirs["both"]), 0, "Set the digest")
	want(t, "engine after fix", w.run(dirs["both"], engine, "plan", "-input=false", "-no-color", "-detailed-exitcode", "-var", "value=b"), 0)

	// The state steps back behind the table, as if a copy from before had been put in its place: not to be blessed.
	b, err := s3bucket.Open(t.Context(), "terraform-state", s3bucket.Config{
		Endpoints: s3bucket.Endpoints{S3: server.url}, Region: "us-east-1", UsePathStyle: true, AccessKey: "digest-access-key-id", SecretKey: "digest-secret-access-key-of-the-tests",
	})
	if err != nil {
		t.Fatal(err)
	}
	older := w.statelatch("pull", "-version", "previous", "-chdir", dirs["both"]).stdout
	if _, err := b.Put(t.Context(), "example/terraform.tfstate", strings.NewReader(older), bucket.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	want(t, "engine with an older state", w.run(dirs["both"], engine, "plan", "-input=false", "-no-color"), 1, "does not have the expected content")
	want(t, "fix of an older state", w.statelatch("digest", "fix", "-auto-approve", "-chdir", dirs["both"]), 1, "rolled back or lost", "statelatch rollback")
	scope := []string{
		"digest", "check", "-json", "-backend-config", "dynamodb_table=locks",
		"-backend-config", `endpoints={s3="` + server.url + `",dynamodb="` + url + `"}`, "s3://terraform-state",
	}
	want(t, "check of the bucket", w.statelatch(scope...), 1, `"status":"stale"`, `"wrong":1`)
	scope[1] = "fix"
	want(t, "accepted", w.statelatch(append(scope[:2:2], append([]string{"-accept", "-auto-approve"}, scope[2:]...)...)...), 0, `"fixed":true`)
	want(t, "engine after an accepted fix", w.run(dirs["both"], engine, "plan", "-input=false", "-no-color"), 0)
}
