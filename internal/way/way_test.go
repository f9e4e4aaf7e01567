package way

import (
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
)

// The next command to paste must reach the same state: a directory's configuration is not in its REF. It never shows
// what was in a secret.
func TestLine_Again(t *testing.T) {
	t.Parallel()
	env := func(k string) string { return map[string]string{"TF_WORKSPACE": "live"}[k] }
	for want, l := range map[string]Line{
		"TF_WORKSPACE=live |":              {},
		"TF_WORKSPACE=staging | -chdir x":  {Chdir: "x", Workspace: "staging"},
		"TF_WORKSPACE=live | -chdir 'a b'": {Chdir: "a b"},
		"| s3://b/k":                       {Ref: "s3://b/k"},
		"| 's3://b/it'\\''s k'":            {Ref: "s3://b/it's k"},
		"| -backend-config encrypt=true -backend-config secret_key=... -backend-config 'token =...' s3://b/k": {
			Ref: "s3://b/k", BackendConfig: []string{"encrypt=true", "secret_key=hidden", "token = hidden"},
		},
		"| -backend-config http_proxy=... -backend-config external_id=... -backend-config conf/x.backend s3://b/k": {
			Ref: "s3://b/k", BackendConfig: []string{"http_proxy=http://u:hunter2@proxy", "external_id=hunter2", "conf/x.backend"},
		},
		"| -profile p -region r -endpoint ... -expected-bucket-owner 123 s3://b/k": {
			Ref: "s3://b/k", Profile: "p", Region: "r", Endpoint: "https://me:secret@host", Owner: "123",
		},
	} {
		l.Getenv = env
		if before, behind := l.Again(); before+"|"+behind != want {
			t.Errorf("got %q, want %q", before+"|"+behind, want)
		}
	}
}

// One state of a directory's bucket is named with what the directory says of the way there, unless it is its own.
func TestLine_For(t *testing.T) {
	t.Parallel()
	backend := backendconf.Backend{Bucket: "b", Key: "k", Workspace: "default", DynamoDBTable: "locks", DynamoDBEndpoint: "http://d"}
	backend.S3.Region, backend.S3.Endpoints.S3 = "eu-west-1", "http://s"
	l := Line{Chdir: "dir", BackendConfig: []string{"encrypt=true"}, Getenv: func(string) string { return "" }}
	for key, want := range map[string]string{
		"k": " -chdir dir -backend-config encrypt=true",
		"o": " -backend-config region=eu-west-1 -backend-config dynamodb_table=locks " +
			`-backend-config 'endpoints={s3="http://s",dynamodb="http://d"}' -backend-config encrypt=true s3://b/o`,
	} {
		if _, got := l.For(backend, statelatch.Ref{Bucket: "b", Key: key}).Again(); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	l.Ref = "s3://b"
	if _, got := l.For(backend, statelatch.Ref{Bucket: "b", Key: "o"}).Again(); got != " -chdir dir -backend-config encrypt=true s3://b/o" {
		t.Errorf("got %q, want it named as it was", got)
	}
}
