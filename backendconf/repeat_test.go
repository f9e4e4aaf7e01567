package backendconf_test

import (
	"testing"

	"github.com/statelatch/statelatch/backendconf"
)

// What is printed to paste names every argument, and shows the values of harmless ones alone.
func TestRepeatable(t *testing.T) {
	t.Parallel()
	for item, want := range map[string]string{
		"region=eu-central-1":                    "",
		"key=a/b.tfstate":                        "",
		"workspace_key_prefix=":                  "",
		"dynamodb_table=locks":                   "",
		"use_path_style=true":                    "",
		"max_retries=5":                          "",
		"endpoint=http://127.0.0.1:9820":         "",
		`endpoints={s3="http://127.0.0.1:9820"}`: "",
		"conf/prod.s3.tfbackend":                 "",
		"access_key=hunter2":                     "access_key=...",
		"secret_key=a=b":                         "secret_key=...",
		"http_proxy=http://u:hunter2@proxy":      "http_proxy=...",
		"https_proxy=http://proxy":               "https_proxy=...",
		"external_id=hunter2":                    "external_id=...",
		"custom_ca_bundle=hunter2":               "custom_ca_bundle=...",
		"encrypt=hunter2":                        "encrypt=...",
		"endpoint=https://u:hunter2@h":           "endpoint=...",
		"endpoint=https://h/?token=hunter2":      "endpoint=...",
		"endpoint=https://h/hunter2":             "endpoint=...",
		`endpoints={s3="https://u:hunter2@h"}`:   "endpoints=...",
		"endpoints={s3=\"http://h\"} # hunter2":  "endpoints=...",
		`assume_role={external_id="hunter2"}`:    "assume_role=...",
		`state_tags={a="hunter2"}`:               "state_tags=...",
		"brand_new=hunter2":                      "brand_new=...",
		" token =hunter2":                        " token =...",
		"hunter2 hunter2=hunter2":                "?=...",
		"bucket=AK" + "IAIOSFODNN7EXAMPLE":       "bucket=...",
	} {
		if want == "" {
			want = item
		}
		if got := backendconf.Repeatable(item); got != want {
			t.Errorf("%s: got %s, want %s", item, got, want)
		}
	}
}
