package backendconf

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/s3bucket"
)

const secret = "secretexample" // in every value that must not be told

// directory makes a working directory of files.
func directory(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// env is an environment for Options.Getenv.
func env(kv map[string]string) func(string) string {
	return func(name string) string { return kv[name] }
}

func load(t *testing.T, opts Options) Backend {
	t.Helper()
	if opts.Getenv == nil {
		opts.Getenv = env(nil)
	}
	b, err := Load(opts)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return b
}

// refuse checks that Load fails with ErrInvalid, naming every want and no secret.
func refuse(t *testing.T, opts Options, want ...string) {
	t.Helper()
	if opts.Getenv == nil {
		opts.Getenv = env(nil)
	}
	_, err := Load(opts)
	if !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not name %q", err, w)
		}
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("error tells a secret: %v", err)
	}
}

func golden(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func ref(t *testing.T, b Backend) string {
	t.Helper()
	r, err := b.Ref()
	if err != nil {
		t.Fatalf("Ref: %v", err)
	}
	return r.String()
}

// The caches in testdata were written by terraform 1.11.4; tofu.json has the shape that OpenTofu writes.
func TestLoad_Cache_Golden(t *testing.T) {
	t.Parallel()
	yes := true
	for name, tc := range map[string]struct {
		workspace, ref string
		want           Backend
	}{
		"terraform-full.json": {"dev", "s3://bkt/spaces/dev/team/app/terraform.tfstate", Backend{
			Bucket: "bkt", Key: "team/app/terraform.tfstate", WorkspaceKeyPrefix: "spaces", UseLockfile: true,
			DynamoDBTable: "locks", DynamoDBEndpoint: "http://127.0.0.1:9000",
			S3: s3bucket.Config{
				Region:               "eu-central-1",
				Endpoints:            s3bucket.Endpoints{S3: "http://127.0.0.1:9000", STS: "http://127.0.0.1:9000"},
				UsePathStyle:         true,
				SharedConfigFiles:    []string{"~/aws/config"},
				AllowedAccountIDs:    []string{"123456789012"},
				SkipMetadataAPICheck: &yes, MaxRetries: 3, RetryMode: "adaptive",
				AssumeRole: []s3bucket.AssumeRole{{
					RoleARN: "arn:aws:iam::123456789012:role/state", Duration: 90 * time.Minute, ExternalID: "ext",
					PolicyARNs: []string{"arn:aws:iam::123456789012:policy/p"}, SessionName: "statelatch",
					Tags: map[string]string{"team": "core"}, TransitiveTagKeys: []string{"team"},
				}},
				ObjectOptions: s3bucket.ObjectOptions{Encrypt: true, KMSKeyID: "alias/state", ACL: "bucket-owner-full-control", SkipS3Checksum: true},
			},
		}},
		"terraform-minimal.json": {"dev", "s3://bkt/env:/dev/min.tfstate", Backend{
			Bucket: "bkt", Key: "min.tfstate", WorkspaceKeyPrefix: "env:", UseLockfile: true,
			S3: s3bucket.Config{Region: "us-east-1", Endpoints: s3bucket.Endpoints{S3: "http://127.0.0.1:9000"}, UsePathStyle: true},
		}},
		"terraform-legacy.json": {"", "s3://bkt/legacy.tfstate", Backend{
			Bucket: "bkt", Key: "legacy.tfstate", WorkspaceKeyPrefix: "env:", UseLockfile: true,
			DynamoDBTable: "locks", DynamoDBEndpoint: "http://127.0.0.1:9000",
			S3: s3bucket.Config{
				Region:    "us-east-1",
				Endpoints: s3bucket.Endpoints{S3: "http://127.0.0.1:9000", STS: "http://127.0.0.1:9000"}, UsePathStyle: true,
				AccessKey: "AKIDEXAMPLE", SecretKey: secret, SharedCredentialsFiles: []string{"/dev/null"}, MaxRetries: 2,
				ObjectOptions: s3bucket.ObjectOptions{Encrypt: true},
			},
		}},
		"tofu.json": {"prod", "s3://bkt/prod/tofu/terraform.tfstate", Backend{
			Bucket: "bkt", Key: "tofu/terraform.tfstate", WorkspaceKeyPrefix: "", UseLockfile: true,
			S3: s3bucket.Config{
				Region: "garage", Endpoints: s3bucket.Endpoints{S3: "http://127.0.0.1:9000"}, UsePathStyle: true, SkipRegionValidation: true,
				AssumeRole: []s3bucket.AssumeRole{{
					RoleARN: "arn:aws:iam::123456789012:role/state", Duration: time.Hour, ExternalID: "ext",
					PolicyARNs: []string{"arn:aws:iam::123456789012:policy/p"}, SessionName: "statelatch",
					Tags: map[string]string{"team": "core"}, TransitiveTagKeys: []string{"team"},
				}},
				AssumeRoleWithWebIdentity: &s3bucket.AssumeRoleWithWebIdentity{
					RoleARN: "arn:aws:iam::123456789012:role/web", WebIdentityTokenFile: "/var/run/token",
				},
				ObjectOptions: s3bucket.ObjectOptions{
					Encrypt: true, SSECustomerKey: "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
					StateTags: map[string]string{"kind": "state"}, LockTags: map[string]string{"kind": "lock"},
				},
			},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{
				".terraform/terraform.tfstate": golden(t, name),
				"main.tf":                      `terraform { backend "s3" { bucket = "changed since init" } }`,
			}
			if tc.workspace != "" {
				files[".terraform/environment"] = tc.workspace
			}
			dir := directory(t, files)
			got := load(t, Options{Dir: dir})
			tc.want.Type, tc.want.Workspace, tc.want.Initialized = "s3", tc.workspace, true
			if tc.workspace == "" {
				tc.want.Workspace = "default"
			}
			tc.want.Source = filepath.Join(dir, ".terraform", "terraform.tfstate")
			diff(t, "backend", reflect.ValueOf(got), reflect.ValueOf(tc.want))
			if got := ref(t, got); got != tc.ref {
				t.Errorf("ref: got %s, want %s", got, tc.ref)
			}
		})
	}
}

// diff reports fields that differ, so that a failure names them.
func diff(t *testing.T, path string, got, want reflect.Value) {
	t.Helper()
	if got.Kind() == reflect.Struct {
		for i := range got.NumField() {
			if !got.Type().Field(i).IsExported() {
				continue
			}
			diff(t, path+"."+got.Type().Field(i).Name, got.Field(i), want.Field(i))
		}
		return
	}
	if !reflect.DeepEqual(got.Interface(), want.Interface()) {
		t.Errorf("%s: got %v, want %v", path, got, want)
	}
}

// Every argument that either engine has must end up somewhere: a cache that sets it changes the result.
func TestDecode_EveryArgumentCounts(t *testing.T) {
	t.Parallel()
	without := []string{"skip_credentials_validation", "skip_requesting_account_id"} // nothing to skip
	values := map[kind]any{
		kindString: "x", kindBool: true, kindNumber: "7", kindStrings: []any{"x"}, kindMap: map[string]any{"k": "v"},
	}
	base := arguments{"bucket": "b", "key": "k"}
	plain, err := decode(base)
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range kinds {
		args := maps.Clone(base)
		switch {
		case name == "endpoints":
			args[name] = map[string]any{"s3": "http://x"}
		case k == kindObject:
			args[name] = map[string]any{"role_arn": "x"}
		default:
			args[name] = values[k]
		}
		if slices.Contains(flatRole, name) {
			args["role_arn"] = "x"
		}
		got, err := decode(args)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if slices.Contains(flatRole, name) && name != "role_arn" {
			with, _ := decode(arguments{"bucket": "b", "key": "k", "role_arn": "x"})
			plainRole := with
			if reflect.DeepEqual(got, plainRole) {
				t.Errorf("%s: it changes nothing", name)
			}
			continue
		}
		if same := reflect.DeepEqual(got, plain); same != slices.Contains(without, name) {
			t.Errorf("%s: changes nothing: got %v, want %v", name, same, !same)
		}
	}
}

// The converters of wrappers write booleans and numbers as strings.
func TestLoad_B26_ConfigTyping(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		value string
		want  bool
	}{{`"true"`, true}, {`true`, true}, {`"1"`, true}, {`"false"`, false}, {`false`, false}, {`null`, false}} {
		cache := fmt.Sprintf(`{"version":3,"backend":{"type":"s3","config":{"bucket":"b","key":"k","use_lockfile":%s,"max_retries":"4"}}}`, tc.value)
		got := load(t, Options{Dir: directory(t, map[string]string{".terraform/terraform.tfstate": cache})})
		if got.UseLockfile != tc.want || got.S3.MaxRetries != 4 {
			t.Errorf("cache, %s: got %v, %d, want %v, 4", tc.value, got.UseLockfile, got.S3.MaxRetries, tc.want)
		}
		block := fmt.Sprintf("terraform {\n backend \"s3\" {\n bucket = \"b\"\n key = \"k\"\n use_lockfile = %s\n max_retries = \"4\"\n}\n}", tc.value)
		got = load(t, Options{Dir: directory(t, map[string]string{"main.tf": block})})
		if got.UseLockfile != tc.want || got.S3.MaxRetries != 4 {
			t.Errorf("block, %s: got %v, %d, want %v, 4", tc.value, got.UseLockfile, got.S3.MaxRetries, tc.want)
		}
	}
	for argument, value := range map[string]string{
		"use_lockfile": `"yes"`, "encrypt": `"secretexample"`, "max_retries": `"many"`, "bucket": `["secretexample"]`,
		"allowed_account_ids": `"1"`, "state_tags": `["a"]`, "endpoints": `"http://x"`, "assume_role": `{"duration":"long","role_arn":"x"}`,
	} {
		cache := fmt.Sprintf(`{"version":3,"backend":{"type":"s3","config":{"key":"k",%q:%s}}}`, argument, value)
		refuse(t, Options{Dir: directory(t, map[string]string{".terraform/terraform.tfstate": cache})}, argument, "want")
	}
}

func TestLoad_Cache_Refused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cache string
		want  []string
	}{
		"local":         {`{"version":3,"backend":{"type":"local","config":{"path":null}}}`, []string{`"local"`, "s3://BUCKET/KEY"}},
		"remote":        {`{"version":3,"backend":{"type":"remote","config":{"token":"secretexample"}}}`, []string{`"remote"`, "s3://BUCKET/KEY"}},
		"cloud":         {`{"version":3,"backend":{"type":"cloud","config":{}}}`, []string{"HCP Terraform", "s3://BUCKET/KEY"}},
		"state_store":   {`{"version":3,"state_store":{"type":"x","provider":{}}}`, []string{"state_store", "s3://BUCKET/KEY"}},
		"not JSON":      {`secretexample`, []string{"not JSON", "init"}},
		"cut":           {`{"version":3,"backend":{"type":"s3"`, []string{"not JSON", "init"}},
		"other version": {`{"version":4,"serial":1}`, []string{"version 4", "init"}},
		"other shape":   {`{"version":3,"backend":{"type":"s3","config":"secretexample"}}`, []string{"backend.config", "init"}},
		"no bucket":     {`{"version":3,"backend":{"type":"s3","config":{"key":"k"}}}`, []string{"bucket"}},
		"no config":     {`{"version":3,"backend":{"type":"s3"}}`, []string{"bucket"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuse(t, Options{Dir: directory(t, map[string]string{".terraform/terraform.tfstate": tc.cache})}, tc.want...)
		})
	}
}

// A cache without a backend is what the engines leave where none was configured: the block counts.
func TestLoad_Cache_WithoutBackend(t *testing.T) {
	t.Parallel()
	for _, cache := range []string{`{"version":3,"terraform_version":"1.11.4"}`, `{"version":3,"backend":null,"state_store":null}`} {
		got := load(t, Options{Dir: directory(t, map[string]string{".terraform/terraform.tfstate": cache, "main.tf": block})})
		if got := ref(t, got); got != "s3://b/k" {
			t.Errorf("ref: got %s, want s3://b/k", got)
		}
	}
}

func TestLoad_Nothing(t *testing.T) {
	t.Parallel()
	dir := directory(t, map[string]string{"main.tf": "resource \"null_resource\" \"a\" {}\nterraform {\n  required_version = \">= 1\"\n}\n"})
	refuse(t, Options{Dir: dir}, dir, "s3://BUCKET/KEY", "terraform init")
	refuse(t, Options{Dir: filepath.Join(dir, "absent")}, "absent")
}

func TestLoad_DataDir(t *testing.T) {
	t.Parallel()
	elsewhere := directory(t, map[string]string{"terraform.tfstate": golden(t, "terraform-minimal.json"), "environment": "abs"})
	dir := directory(t, map[string]string{
		".tfdata/terraform.tfstate": golden(t, "terraform-minimal.json"), ".tfdata/environment": "rel\n",
	})
	for name, tc := range map[string]struct {
		opts Options
		want string
	}{
		"environment, relative to Dir": {Options{Dir: dir, Getenv: env(map[string]string{"TF_DATA_DIR": ".tfdata"})}, "rel"},
		"environment, absolute":        {Options{Dir: dir, Getenv: env(map[string]string{"TF_DATA_DIR": elsewhere})}, "abs"},
	} {
		if got := load(t, tc.opts).Workspace; got != tc.want {
			t.Errorf("%s: workspace: got %q, want %q", name, got, tc.want)
		}
	}
}

func TestLoad_Workspace(t *testing.T) {
	t.Parallel()
	dir := directory(t, map[string]string{"main.tf": block, ".terraform/environment": " staging\n"})
	bare := directory(t, map[string]string{"main.tf": block, ".terraform/environment": "\n"})
	variable := env(map[string]string{"TF_WORKSPACE": "ci"})
	for name, tc := range map[string]struct {
		opts      Options
		want, ref string
	}{
		"selected":       {Options{Dir: dir}, "staging", "s3://b/env:/staging/k"},
		"variable":       {Options{Dir: dir, Getenv: variable}, "ci", "s3://b/env:/ci/k"},
		"given":          {Options{Dir: dir, Getenv: variable, Workspace: "mine"}, "mine", "s3://b/env:/mine/k"},
		"given, default": {Options{Dir: dir, Getenv: variable, Workspace: "default"}, "default", "s3://b/k"},
		"empty file":     {Options{Dir: bare}, "default", "s3://b/k"},
	} {
		got := load(t, tc.opts)
		if got.Workspace != tc.want || ref(t, got) != tc.ref {
			t.Errorf("%s: got %q, %s, want %q, %s", name, got.Workspace, ref(t, got), tc.want, tc.ref)
		}
	}
	refuse(t, Options{Dir: dir, Workspace: ".."}, "workspace", `".."`)
	refuse(t, Options{Dir: dir, Getenv: env(map[string]string{"TF_WORKSPACE": "a/b"})}, "TF_WORKSPACE", `"a/b"`)
	refuse(t, Options{Dir: directory(t, map[string]string{"main.tf": block, ".terraform/environment": ".."})}, "environment", `".."`)
}

func TestForRef_OnlyWhatIsGiven(t *testing.T) {
	t.Parallel()
	dir := directory(t, map[string]string{
		".terraform/terraform.tfstate": golden(t, "terraform-full.json"), ".terraform/environment": "dev", "aws.hcl": `profile = "team"`,
	})
	named := statelatch.Ref{Bucket: "b", Key: "env:/dev/k"}
	got, err := ForRef(named, Options{Dir: dir, BackendConfig: []string{"aws.hcl", "bucket=other"}, Getenv: env(map[string]string{"TF_WORKSPACE": "ci"})})
	if err != nil {
		t.Fatal(err)
	}
	want := Backend{Type: "s3", Bucket: "b", Key: "env:/dev/k", WorkspaceKeyPrefix: "env:", Workspace: "default", Source: named.String(), S3: s3bucket.Config{Profile: "team"}}
	diff(t, "backend", reflect.ValueOf(got), reflect.ValueOf(want))
	if got := ref(t, got); got != named.String() {
		t.Errorf("ref: got %s, want %s", got, named)
	}
	if _, err := ForRef(named, Options{BackendConfig: []string{"nosuch=1"}}); !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("unknown argument: got %v, want ErrInvalid", err)
	}
}

func TestBackend_Format_TellsNoSecret(t *testing.T) {
	t.Parallel()
	b := load(t, Options{Dir: directory(t, map[string]string{".terraform/terraform.tfstate": golden(t, "terraform-legacy.json")})})
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		if got := fmt.Sprintf(verb, b); strings.Contains(got, secret) {
			t.Errorf("%s tells a secret: %s", verb, got)
		}
	}
}
