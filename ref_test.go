package statelatch_test

import (
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
)

func TestParseRef_Valid(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, bucket, key, lock, path, digest string }{
		{
			"s3://b/terraform.tfstate", "b", "terraform.tfstate",
			"terraform.tfstate.tflock", "b/terraform.tfstate", "b/terraform.tfstate-md5",
		},
		{
			"s3://my.bucket-1/env:/dev/path/to/state", "my.bucket-1", "env:/dev/path/to/state",
			"env:/dev/path/to/state.tflock", "my.bucket-1/env:/dev/path/to/state", "my.bucket-1/env:/dev/path/to/state-md5",
		},
		{"s3://b/a b+c%2F=é", "b", "a b+c%2F=é", "a b+c%2F=é.tflock", "b/a b+c%2F=é", "b/a b+c%2F=é-md5"},
		{"s3://b/a/..b/.c/...", "b", "a/..b/.c/...", "a/..b/.c/....tflock", "b/a/..b/.c/...", "b/a/..b/.c/...-md5"},
		// Engines send these as they stand (seen with terraform 1.11.4; "//" with tofu).
		{"s3://b/./terraform.tfstate", "b", "./terraform.tfstate", "./terraform.tfstate.tflock", "b/./terraform.tfstate", "b/./terraform.tfstate-md5"},
		{"s3://b/a/./b", "b", "a/./b", "a/./b.tflock", "b/a/./b", "b/a/./b-md5"},
		{"s3://b/a//b", "b", "a//b", "a//b.tflock", "b/a//b", "b/a//b-md5"},
		{"s3://b/a/../b", "b", "a/../b", "a/../b.tflock", "b/a/../b", "b/a/../b-md5"},
		{
			"s3://arn:aws:s3:us-east-1:123456789012:accesspoint/x/a/k", "arn:aws:s3:us-east-1:123456789012:accesspoint/x", "a/k",
			"a/k.tflock", "arn:aws:s3:us-east-1:123456789012:accesspoint/x/a/k", "arn:aws:s3:us-east-1:123456789012:accesspoint/x/a/k-md5",
		},
		{
			"s3://arn:aws-cn:s3:cn-north-1:123456789012:accesspoint:x/k", "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint:x", "k",
			"k.tflock", "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint:x/k", "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint:x/k-md5",
		},
		{
			"s3://arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap/k", "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap", "k",
			"k.tflock", "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap/k", "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap/k-md5",
		},
		{"s3://x-wp1a-s3alias/k", "x-wp1a-s3alias", "k", "k.tflock", "x-wp1a-s3alias/k", "x-wp1a-s3alias/k-md5"},
		{"s3://state--usw2-az1--x-s3/k", "state--usw2-az1--x-s3", "k", "k.tflock", "state--usw2-az1--x-s3/k", "state--usw2-az1--x-s3/k-md5"},
	} {
		r, err := statelatch.ParseRef(tc.in)
		if err != nil {
			t.Errorf("ParseRef(%q): %v", tc.in, err)
			continue
		}
		got := [...]string{r.Bucket, r.Key, r.LockKey(), r.Path(), r.DynamoDBLockID(), r.DynamoDBDigestID(), r.String()}
		want := [...]string{tc.bucket, tc.key, tc.lock, tc.path, tc.path, tc.digest, tc.in}
		if got != want {
			t.Errorf("ParseRef(%q)\n got %q\nwant %q", tc.in, got, want)
		}
		if got := statelatch.StateKey(r.LockKey()); got != r.Key {
			t.Errorf("StateKey(%q) = %q", r.LockKey(), got)
		}
		if !statelatch.IsLockKey(r.LockKey()) || statelatch.IsLockKey(r.Key) {
			t.Errorf("IsLockKey does not tell %q from %q", r.LockKey(), r.Key)
		}
	}
}

func TestParseRef_Refused(t *testing.T) {
	t.Parallel()
	for in, names := range map[string]string{
		"":                 "s3://BUCKET/KEY",
		"b/k":              "s3://BUCKET/KEY",
		"S3://b/k":         "s3://BUCKET/KEY",
		"s3://b":           "key is missing",
		"s3://b/":          "key is missing",
		"s3:///k":          "bucket",
		"s3://b c/k":       "bucket",
		"s3://../k":        "bucket",
		"s3://b//k":        "start or end",
		"s3://b/k/":        "start or end",
		"s3://b/../k":      "out of the bucket",
		"s3://b/a/../../k": "out of the bucket",
		"s3://arn:aws:s3:us-east-1:123456789012:accesspoint/x":                      "key is missing",
		"s3://arn:aws:s3:us-east-1:123456789012:accesspoint/x/":                     "key is missing",
		"s3://arn:aws:s3:us-east-1:1:accesspoint/x/k":                               "accesspoint",
		"s3://arn:aws:s3:::bucket/k":                                                "accesspoint",
		"s3://arn:aws:s3-outposts:us-east-1:123456789012:outpost/o/accesspoint/x/k": "accesspoint",
		"s3://arn:aws:s3-object-lambda:us-east-1:123456789012:accesspoint/x/k":      "accesspoint",
		"s3://b/k.tflock":                     ".tflock",
		"s3://b/k-md5":                        "-md5",
		"s3://b/a\x00b":                       "control",
		"s3://b/a\nb":                         "control",
		"s3://b/\xff":                         "UTF-8",
		"s3://b/" + strings.Repeat("k", 1018): "1018 bytes",
	} {
		_, err := statelatch.ParseRef(in)
		if !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), names) {
			t.Errorf("ParseRef(%q): got %v, want ErrInvalid naming %q", in, err, names)
		}
	}
	if _, err := statelatch.ParseRef("s3://b/" + strings.Repeat("k", 1017)); err != nil {
		t.Errorf("a key of 1,017 bytes leaves room for the lock suffix, got %v", err)
	}
}

// The keys are those that terraform 1.11.4 was seen to use.
func TestWorkspaceRef_EngineRule(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ prefix, workspace, key, want string }{
		{"env:", "default", "path/to/state.tfstate", "path/to/state.tfstate"},
		{"env:", "dev", "path/to/state.tfstate", "env:/dev/path/to/state.tfstate"},
		{"", "dev", "k", "dev/k"},
		{"teams/a", "x:y@z&=+$._~-", "k", "teams/a/x:y@z&=+$._~-/k"},
		{"env:", "default", "./k", "./k"},
		{"env:", "dev", "./k", "env:/dev/k"},
		{"env:", "dev", "a//b/../c/./d", "env:/dev/a/c/d"},
		{"a//b/./c", "dev", "k", "a/b/c/dev/k"},
	} {
		r, err := statelatch.WorkspaceRef("b", tc.key, tc.prefix, tc.workspace)
		if err != nil || r.Key != tc.want {
			t.Errorf("WorkspaceRef(%q, %q, %q): got %q, %v; want %q", tc.key, tc.prefix, tc.workspace, r.Key, err, tc.want)
		}
	}
}

// W19: terraform lets the workspace ".." alias the default state and its lock.
func TestWorkspaceRef_W19_AliasesRefused(t *testing.T) {
	t.Parallel()
	for _, ws := range []string{"", ".", "..", "a/b", "a b", "a%b", "é"} {
		if r, err := statelatch.WorkspaceRef("b", "k", "env:", ws); !errors.Is(err, statelatch.ErrInvalid) {
			t.Errorf("workspace %q: got %v, %v; want ErrInvalid", ws, r, err)
		}
	}
	for _, prefix := range []string{"/env:", "env:/", "..", "a/../../b"} {
		if r, err := statelatch.WorkspaceRef("b", "k", prefix, "dev"); !errors.Is(err, statelatch.ErrInvalid) {
			t.Errorf("prefix %q: got %v, %v; want ErrInvalid", prefix, r, err)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"s3://b/k", "s3://b/env:/w/k", "s3://b/a//b", "s3://b/..", "s3://b/k.tflock", "s3://"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := statelatch.ParseRef(s)
		if err != nil {
			if !errors.Is(err, statelatch.ErrInvalid) {
				t.Fatalf("ParseRef(%q): %v does not match ErrInvalid", s, err)
			}
			return
		}
		if r.String() != s {
			t.Fatalf("ParseRef(%q).String() = %q", s, r.String())
		}
		if clean := path.Clean(r.Key); clean == ".." || strings.HasPrefix(clean, "../") || strings.HasPrefix(clean, "/") {
			t.Fatalf("ParseRef(%q) let a key through that leads out of the bucket", s)
		}
		if statelatch.IsLockKey(r.Key) || len(r.LockKey()) > 1024 {
			t.Fatalf("ParseRef(%q) let the key %q through", s, r.Key)
		}
	})
}
