package e2e

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/statelatch/statelatch/dynamo/dynamotest"
)

// B29: after a rollback a real engine finds its infrastructure as the old state says, and goes on from there: its next
// write has a higher serial. With versions and with snapshots, with and without a digest to keep in step.
func TestHistory_RollbackPlansClean(t *testing.T) {
	t.Parallel()
	engine := need(t, engine())
	for _, versioned := range []bool{true, false} {
		for _, table := range []bool{false, true} {
			t.Run(fmt.Sprintf("versioned=%v,table=%v", versioned, table), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.env["STATELATCH_ACCESS_KEY_ID"], w.env["STATELATCH_SECRET_ACCESS_KEY"] = "history-access-key-id", "history-secret-access-key-of-the-tests"
				server := w.serve()
				w.env["AWS_ACCESS_KEY_ID"], w.env["AWS_SECRET_ACCESS_KEY"] = "history-access-key-id", "history-secret-access-key-of-the-tests"
				block := strings.Replace(server.block, "example/terraform.tfstate", stateKey, 1)
				if !versioned {
					plainBucket(t, server.url, "history-access-key-id", "history-secret-access-key-of-the-tests", "plain")
					block = strings.Replace(block, `"terraform-state"`, `"plain"`, 1)
				}
				if table {
					srv := httptest.NewServer(dynamotest.NewServer(lockTable))
					t.Cleanup(srv.Close)
					block = strings.Replace(block, "use_lockfile = true", "use_lockfile = true\ndynamodb_table = \""+lockTable+"\"", 1)
					block = strings.Replace(block, `endpoints                   = { s3 = "`+server.url+`" }`,
						`endpoints                   = { s3 = "`+server.url+`", dynamodb = "`+srv.URL+`" }`, 1)
				}
				dir := w.project(block)
				w.must(dir, engine, "init", "-input=false", "-no-color")
				plan := func(value string) result {
					return w.run(dir, engine, "plan", "-detailed-exitcode", "-input=false", "-no-color", "-var", "value="+value)
				}
				for _, value := range []string{"one", "two"} { // under run, which keeps what the engine replaces
					w.must(dir, binary, "run", "--", engine, "apply", "-input=false", "-no-color", "-auto-approve", "-var", "value="+value)
				}
				want(t, "plan before", plan("one"), 2)
				var rolled struct {
					Serial  uint64
					Lineage string
				}
				r := w.run(dir, binary, "rollback", "-json", "-auto-approve", "previous")
				if err := json.Unmarshal([]byte(r.stdout), &rolled); err != nil || r.code != 0 || rolled.Serial != 3 {
					t.Fatalf("rollback: %v", r)
				}
				want(t, "plan after", plan("one"), 0, "No changes.")
				want(t, "apply", w.run(dir, engine, "apply", "-input=false", "-no-color", "-auto-approve", "-var", "value=three"), 0, "Apply complete!")
				pulled := w.must(dir, binary, "pull").stdout
				if !regexp.MustCompile(`"serial": ?[4-9],`).MatchString(pulled) || !strings.Contains(pulled, rolled.Lineage) {
					t.Errorf("the state after the next apply: %s", pulled)
				}
				want(t, "plan at last", plan("three"), 0, "No changes.")
				want(t, "history", w.run(dir, binary, "history"), 0, "current", rolledBy(versioned))
				want(t, "status", w.run(dir, binary, "status"), 0, "not locked")
			})
		}
	}
}

// rolledBy is what a listing shows that kept versions or snapshots alone can tell.
func rolledBy(versioned bool) string {
	if versioned {
		return "(rollback)"
	}
	return "snapshot"
}

// plainBucket makes a bucket that keeps no versions.
func plainBucket(t *testing.T, url, accessKey, secretKey, name string) {
	t.Helper()
	client := s3.New(s3.Options{
		BaseEndpoint: &url, Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
	})
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(name)}); err != nil {
		t.Fatal(err)
	}
}
