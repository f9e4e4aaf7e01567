package backendconf

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const block = "terraform {\n  backend \"s3\" {\n    bucket = \"b\"\n    key    = \"k\"\n  }\n}\n"

// keyed is a configuration whose backend has that key.
func keyed(key string) string { return strings.Replace(block, `"k"`, `"`+key+`"`, 1) }

func TestLoad_Configuration_Files(t *testing.T) {
	t.Parallel()
	const jsonBlock = `{"terraform":{"backend":{"s3":{"bucket":"b","key":"json"}}}}`
	for name, tc := range map[string]struct {
		files     map[string]string
		want, src string
	}{
		"tf":                 {map[string]string{"z.tf": keyed("tf")}, "tf", "z.tf"},
		"tf.json":            {map[string]string{"main.tf.json": jsonBlock}, "json", "main.tf.json"},
		"tf.json, lists":     {map[string]string{"main.tf.json": `{"terraform":[{"backend":[{"s3":[{"bucket":"b","key":"lists"}]}]}]}`}, "lists", "main.tf.json"},
		"tofu":               {map[string]string{"main.tofu": keyed("tofu")}, "tofu", "main.tofu"},
		"tofu.json":          {map[string]string{"main.tofu.json": jsonBlock}, "json", "main.tofu.json"},
		"tofu in place":      {map[string]string{"main.tofu": keyed("tofu"), "main.tf": keyed("tf")}, "tofu", "main.tofu"},
		"tofu.json in place": {map[string]string{"main.tofu.json": jsonBlock, "main.tf.json": "{"}, "json", "main.tofu.json"},
		"override":           {map[string]string{"main.tf": keyed("tf"), "override.tf": keyed("over")}, "over", "override.tf"},
		"override of cloud":  {map[string]string{"main.tf": "terraform {\n cloud {}\n}", "x_override.tf": keyed("over")}, "over", "x_override.tf"},
		"last override wins": {map[string]string{"a_override.tf": keyed("a"), "b_override.tf.json": jsonBlock}, "json", "b_override.tf.json"},
		"others ignored": {map[string]string{
			"main.tf": keyed("tf"), ".hidden.tf": keyed("x"), "main.tf~": keyed("x"), "main.tf.bak": keyed("x"), "sub/main.tf": keyed("x"),
			"vars.tf": "variable \"x\" {}\nterraform {\n required_providers {}\n}\n", "dir.tf/x": "x",
		}, "tf", "main.tf"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := directory(t, tc.files)
			got := load(t, Options{Dir: dir})
			if want := filepath.Join(dir, tc.src); got.Key != tc.want || got.Source != want || got.Type != "s3" {
				t.Errorf("got key %q of %s, want %q of %s", got.Key, got.Source, tc.want, want)
			}
		})
	}
}

// An override replaces the block, it does not add to it (so does terraform 1.11.4).
func TestLoad_Configuration_OverrideReplaces(t *testing.T) {
	t.Parallel()
	dir := directory(t, map[string]string{
		"main.tf":     "terraform {\n backend \"s3\" {\n bucket = \"b\"\n key = \"k\"\n region = \"eu-west-1\"\n }\n}",
		"override.tf": "terraform {\n backend \"s3\" {\n bucket = \"other\"\n }\n}",
	})
	refuse(t, Options{Dir: dir}, "argument key", "-backend-config")
	got := load(t, Options{Dir: dir, BackendConfig: []string{"key=k2"}})
	if got.Bucket != "other" || got.Key != "k2" || got.S3.Region != "" {
		t.Errorf("got %s/%s in %q, want other/k2 in no region", got.Bucket, got.Key, got.S3.Region)
	}
}

func TestLoad_Configuration_Refused(t *testing.T) {
	t.Parallel()
	argument := func(line string) map[string]string {
		return map[string]string{"main.tf": "terraform {\n backend \"s3\" {\n bucket = \"b\"\n key = \"k\"\n" + line + "\n }\n}\n"}
	}
	for name, tc := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"cloud":          {map[string]string{"main.tf": "terraform {\n cloud {\n organization = \"o\"\n }\n}"}, []string{"main.tf", "HCP Terraform", "s3://BUCKET/KEY"}},
		"state_store":    {map[string]string{"main.tf": "terraform {\n state_store \"x\" {}\n}"}, []string{"state_store"}},
		"gcs":            {map[string]string{"main.tf": "terraform {\n backend \"gcs\" {\n bucket = var.b\n }\n}"}, []string{`"gcs"`, "s3://BUCKET/KEY"}},
		"two files":      {map[string]string{"a.tf": block, "b.tf": block}, []string{"a.tf", "b.tf"}},
		"two blocks":     {map[string]string{"a.tf": block + block}, []string{"a.tf", "more than one"}},
		"variable":       {argument(`region = var.secretexample`), []string{"argument region", "terraform init", "main.tf:5"}},
		"interpolation":  {argument(`region = "${local.secretexample}-1"`), []string{"argument region", "terraform init"}},
		"function":       {argument(`region = lower("SECRETEXAMPLE")`), []string{"argument region", "terraform init"}},
		"nested":         {argument(`endpoints = { s3 = var.x }`), []string{"argument endpoints", "terraform init"}},
		"JSON variable":  {map[string]string{"main.tf.json": `{"terraform":{"backend":{"s3":{"bucket":"b","key":"${var.x}"}}}}`}, []string{"argument key", "terraform init"}},
		"block":          {argument("assume_role {\n role_arn = \"secretexample\"\n }"), []string{"main.tf:5"}},
		"syntax":         {map[string]string{"main.tf": block, "bad.tf": "secretexample = \"secretexample\n"}, []string{"bad.tf:1"}},
		"JSON syntax":    {map[string]string{"main.tf": block, "bad.tf.json": `{"secretexample"`}, []string{"bad.tf.json"}},
		"old name, both": {argument("endpoint = \"http://a\"\nendpoints = { s3 = \"http://b\" }"), []string{"endpoints.s3", "endpoint"}},
		"path style":     {argument("use_path_style = true\nforce_path_style = true"), []string{"use_path_style", "force_path_style"}},
		"credentials":    {argument("shared_credentials_file = \"a\"\nshared_credentials_files = [\"b\"]"), []string{"shared_credentials_files", "shared_credentials_file"}},
		"role":           {argument("role_arn = \"a\"\nassume_role = { role_arn = \"b\" }"), []string{"assume_role", "role_arn"}},
		"DynamoDB":       {argument("dynamodb_endpoint = \"http://a\"\nendpoints = { dynamodb = \"http://b\" }"), []string{"endpoints.dynamodb", "dynamodb_endpoint"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuse(t, Options{Dir: directory(t, tc.files)}, tc.want...)
		})
	}
}

// Arguments that this version does not know are the engine's to judge.
func TestLoad_Configuration_UnknownArgument(t *testing.T) {
	t.Parallel()
	dir := directory(t, map[string]string{"main.tf": strings.Replace(block, "bucket", "brand_new = 1\n bucket", 1)})
	if got := load(t, Options{Dir: dir}); got.Bucket != "b" {
		t.Errorf("bucket: got %q, want b", got.Bucket)
	}
}

func TestLoad_BackendConfig(t *testing.T) {
	t.Parallel()
	dir := directory(t, map[string]string{
		"main.tf":         "terraform {\n backend \"s3\" {\n bucket = \"b\"\n region = \"eu-west-1\"\n }\n}",
		"conf/prod.hcl":   "key = \"file\"\nuse_lockfile = true\nassume_role = {\n role_arn = \"arn\"\n duration = \"30m\"\n}\n",
		"conf/prod.json":  `{"key": "json", "max_retries": 2}`,
		"conf/bad.hcl":    "nosuch = 1\n",
		"conf/vars.hcl":   "key = var.secretexample\n",
		"conf/broken.hcl": "key = \n",
	})
	for name, tc := range map[string]struct {
		items []string
		check func(Backend) bool
	}{
		"file": {[]string{"conf/prod.hcl"}, func(b Backend) bool {
			return b.Key == "file" && b.UseLockfile && b.S3.Region == "eu-west-1" &&
				b.S3.AssumeRole[0].RoleARN == "arn" && b.S3.AssumeRole[0].Duration == 30*time.Minute
		}},
		"absolute file": {[]string{filepath.Join(dir, "conf/prod.json")}, func(b Backend) bool { return b.Key == "json" && b.S3.MaxRetries == 2 }},
		"last wins":     {[]string{"conf/prod.hcl", "key=pair", "conf/prod.json"}, func(b Backend) bool { return b.Key == "json" && b.UseLockfile }},
		"pair wins":     {[]string{"conf/prod.hcl", "key=pair"}, func(b Backend) bool { return b.Key == "pair" }},
		"over block":    {[]string{"key=k", "region=eu-west-2"}, func(b Backend) bool { return b.S3.Region == "eu-west-2" }},
		// As terraform 1.11.4 takes them: nothing is trimmed or unquoted in a string.
		"string as it is": {[]string{"key=k", `profile="a" = b`}, func(b Backend) bool { return b.S3.Profile == `"a" = b` }},
		"space kept":      {[]string{"key= k"}, func(b Backend) bool { return b.Key == " k" }},
		"bool and number": {[]string{"key=k", "use_lockfile=true", "max_retries=7"}, func(b Backend) bool { return b.UseLockfile && b.S3.MaxRetries == 7 }},
		"object": {[]string{"key=k", `endpoints={s3="http://127.0.0.1:9000", sts = "http://b"}`}, func(b Backend) bool {
			return b.S3.Endpoints.S3 == "http://127.0.0.1:9000" && b.S3.Endpoints.STS == "http://b"
		}},
		"list": {[]string{"key=k", `allowed_account_ids=["1", "2"]`}, func(b Backend) bool {
			return reflect.DeepEqual(b.S3.AllowedAccountIDs, []string{"1", "2"})
		}},
		"map": {[]string{"key=k", `lock_tags={a = "b", c = 1}`}, func(b Backend) bool {
			return reflect.DeepEqual(b.S3.LockTags, map[string]string{"a": "b", "c": "1"})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := load(t, Options{Dir: dir, BackendConfig: tc.items}); !tc.check(got) {
				t.Errorf("got %+v", got)
			}
		})
	}
	refuse(t, Options{Dir: dir}, "argument key", "-backend-config=key=VALUE")
	for item, want := range map[string]string{
		"nosuch=1":                       "nosuch",
		"endpoints.s3=http://x":          "endpoints.s3",
		"conf/bad.hcl":                   "nosuch",
		"conf/absent.hcl":                "absent.hcl",
		"conf/vars.hcl":                  "argument key",
		"conf/broken.hcl":                "broken.hcl:1",
		`use_lockfile="true"`:            "use_lockfile",
		"endpoints=secretexample":        "endpoints",
		`endpoints={s3="secretexample`:   "endpoints",
		`assume_role={role_arn=var.arn}`: "assume_role",
	} {
		refuse(t, Options{Dir: dir, BackendConfig: []string{"key=k", item}}, want)
	}
}

// Given beside a cache, -backend-config counts as it would at the next init.
func TestLoad_BackendConfig_OnCache(t *testing.T) {
	t.Parallel()
	dir := directory(t, map[string]string{".terraform/terraform.tfstate": golden(t, "terraform-minimal.json")})
	got := load(t, Options{Dir: dir, BackendConfig: []string{"key=other.tfstate"}})
	if got.Bucket != "bkt" || got.Key != "other.tfstate" {
		t.Errorf("got %s/%s, want bkt/other.tfstate", got.Bucket, got.Key)
	}
}
