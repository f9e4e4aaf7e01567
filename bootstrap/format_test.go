package bootstrap

import (
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

func TestHCL_Parses(t *testing.T) {
	t.Parallel()
	full := desired()
	full.Encryption = "arn:aws:kms:eu-central-1:123456789012:key/k"
	full.RequireConditions, full.LogBucket, full.LogPrefix = true, "logs", `a"${x}%{y}`
	http := desired()
	http.Endpoint = "http://127.0.0.1:1"
	for name, tc := range map[string]struct {
		desired Desired
		want    []string // besides those that are always there
	}{
		"plain": {desired(), []string{"aws_s3_bucket_policy"}},
		"full":  {full, []string{"aws_s3_bucket_policy", "aws_s3_bucket_logging"}},
		"http":  {http, nil},
	} {
		text, err := HCL(tc.desired)
		if err != nil {
			t.Fatal(err)
		}
		file, diags := hclsyntax.ParseConfig([]byte(text), name, hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatalf("%s: %v\n%s", name, diags, text)
		}
		got := map[string]bool{}
		for _, b := range file.Body.(*hclsyntax.Body).Blocks {
			got[b.Labels[0]] = true
		}
		want := append([]string{
			"aws_s3_bucket", "aws_s3_bucket_public_access_block", "aws_s3_bucket_ownership_controls",
			"aws_s3_bucket_server_side_encryption_configuration", "aws_s3_bucket_versioning", "aws_s3_bucket_lifecycle_configuration",
		}, tc.want...)
		for _, w := range want {
			if !got[w] {
				t.Errorf("%s: no %s", name, w)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
		for _, b := range file.Body.(*hclsyntax.Body).Blocks {
			prefix, ok := b.Body.Attributes["target_prefix"]
			if !ok {
				continue
			}
			if v, diags := prefix.Expr.Value(nil); diags.HasErrors() || v.AsString() != full.LogPrefix {
				t.Errorf("log prefix: got %v (%v), want %q", v, diags, full.LogPrefix)
			}
		}
	}
}

func TestScript_Quotes(t *testing.T) {
	t.Parallel()
	d := desired()
	d.LogBucket, d.LogPrefix = "logs", "it's $(x)"
	text, err := Script(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`it'\''s $(x)`, "set -euo pipefail", "LocationConstraint='eu-central-1'", "TlsOnly", `"ObjectSizeLessThan":2048`} {
		if !strings.Contains(text, want) {
			t.Errorf("the script lacks %q:\n%s", want, text)
		}
	}
}
