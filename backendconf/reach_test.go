package backendconf_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/backendconf"
)

func reaches(t *testing.T, arguments string, env map[string]string, given ...string) []string {
	t.Helper()
	dir := t.TempDir()
	text := "terraform {\n  backend \"s3\" {\n    bucket = \"b\"\n    key = \"k\"\n" + arguments + "\n  }\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	getenv := func(name string) string { return env[name] }
	b, err := backendconf.Load(backendconf.Options{Dir: dir, BackendConfig: given, Getenv: getenv})
	if err != nil {
		t.Fatal(err)
	}
	typed, err := backendconf.ParseArguments(dir, given)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, r := range b.Reaches(dir, getenv, typed) {
		all = append(all, fmt.Sprint(r.Argument, " ", strings.ReplaceAll(r.Target, dir, "DIR"), " ", r.File, r.Local))
	}
	return all
}

func TestBackend_Reaches(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		arguments string
		env       map[string]string
		given     []string
		want      []string
	}{
		"AWS": {arguments: `region = "eu-central-1"
			endpoints = { s3 = "https://s3.eu-central-1.amazonaws.com", sts = "https://sts.cn-north-1.amazonaws.com.cn", dynamodb = "dynamodb.eu-west-1.api.aws" }
			profile = "prod"
			shared_config_files = ["~/.aws/config", "/etc/aws/config"]
			assume_role = { role_arn = "arn:aws:iam::123456789012:role/r" }`},
		"AWS's machines, which anybody can rent": {
			arguments: `endpoints = { s3 = "https://ec2-192-0-2-1.compute-1.amazonaws.com", sts = "https://x.execute-api.us-east-1.amazonaws.com", iam = "https://sts.evil.s3.amazonaws.com", dynamodb = "https://lb-1.us-east-1.elb.amazonaws.com" }`,
			want: []string{
				"endpoints.s3 https://ec2-192-0-2-1.compute-1.amazonaws.com false false", "endpoints.sts https://x.execute-api.us-east-1.amazonaws.com false false",
				"endpoints.iam https://sts.evil.s3.amazonaws.com false false", "endpoints.dynamodb https://lb-1.us-east-1.elb.amazonaws.com false false",
			},
		},
		"AWS's other endpoints": {arguments: `endpoints = { s3 = "https://bucket.vpce-1a2b-3c.s3.us-east-1.vpce.amazonaws.com", sts = "https://sts-fips.us-gov-west-1.amazonaws.com", iam = "https://iam.amazonaws.com", sso = "https://portal.sso.eu-west-1.amazonaws.com", dynamodb = "https://dynamodb.us-iso-east-1.c2s.ic.gov" }`},
		"S3's other endpoints":  {arguments: `endpoint = "https://s3-fips.dualstack.ap-southeast-2.amazonaws.com"`},
		"S3's old endpoints":    {arguments: `endpoint = "https://s3-eu-west-1.amazonaws.com"`},
		"endpoints": {
			arguments: `endpoints = { s3 = "https://evil.example", sts = "http://127.0.0.1:1", dynamodb = "https://amazonaws.com.evil.example" }`,
			want: []string{
				"endpoints.s3 https://evil.example false false", "endpoints.sts http://127.0.0.1:1 false true",
				"endpoints.dynamodb https://amazonaws.com.evil.example false false",
			},
		},
		"the environment's endpoint": {
			arguments: `endpoint = "https://minio.example"`,
			env:       map[string]string{"AWS_ENDPOINT_URL_S3": "https://minio.example/"},
		},
		"typed": {
			arguments: `endpoint = "https://evil.example"`, given: []string{`endpoints={s3="https://mine.example"}`, "endpoint="},
		},
		"typed by its old name": {
			arguments: `shared_credentials_file = "x"`, given: []string{"endpoint=https://mine.example", "shared_credentials_file=y"},
		},
		"files": {
			arguments: `shared_credentials_files = ["aws/creds"]
				shared_config_files = ["./c", "~/.aws/config"]
				custom_ca_bundle = "ca.pem"
				assume_role_with_web_identity = { role_arn = "arn:aws:iam::123456789012:role/r", web_identity_token_file = "/etc/shadow" }`,
			want: []string{
				"shared_config_files DIR/c true false", "shared_credentials_files DIR/aws/creds true false",
				"custom_ca_bundle DIR/ca.pem true false", "assume_role_with_web_identity /etc/shadow true false",
			},
		},
		"ways": {
			arguments: `https_proxy = "http://user:secret@proxy.example"
				insecure = true
				ec2_metadata_service_endpoint = "http://metadata.example"`,
			want: []string{
				"ec2_metadata_service_endpoint http://metadata.example false false", "https_proxy http://user:secret@proxy.example false false", "insecure true false false",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := reaches(t, tc.arguments, tc.env, tc.given...); !slices.Equal(got, tc.want) {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

// A link out of the tree, or into it, makes no file anybody else's.
func TestBackend_Reaches_Links(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree, outside := filepath.Join(dir, "tree"), filepath.Join(dir, "outside")
	for _, d := range []string{tree, outside} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(tree, "config"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	into := filepath.Join(outside, "link")
	if err := os.Symlink(filepath.Join(tree, "config"), into); err != nil {
		t.Fatal(err)
	}
	b := backendconf.Backend{}
	b.S3.SharedConfigFiles = []string{into, filepath.Join(outside, "own")}
	got := b.Reaches(tree, func(string) string { return "" }, nil)
	if len(got) != 1 || got[0].Target != into {
		t.Errorf("got %+v, want the link alone", got)
	}
}

// Without a .git or the like a tree seems to be its directory alone; a file that is named from there came with it all the same.
func TestBackend_Reaches_FilesAbove(t *testing.T) {
	t.Parallel()
	if got, want := reaches(t, `shared_config_files = ["../../aws/config"]`, nil), "shared_config_files"; len(got) != 1 || !strings.HasPrefix(got[0], want) {
		t.Errorf("got %q, want %s", got, want)
	}
}
