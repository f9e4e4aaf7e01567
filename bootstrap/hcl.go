package bootstrap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// HCL is a Terraform configuration that makes the bucket as it is wanted, for a new bucket. It needs the AWS provider
// in d.Region. Errors are those of [NewPlan].
func HCL(d Desired) (string, error) {
	if err := d.validate(); err != nil {
		return "", err
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# A state bucket in %s. Import it first if it exists: a policy and lifecycle rules that are there are replaced.",
		d.Region)
	if d.Owner != "" {
		line("# Give the provider allowed_account_ids = [%s], so that it works on no other account's bucket.",
			hclString(d.Owner))
	}
	tags := ""
	if len(d.Tags) > 0 {
		tags = "\n  tags = {\n"
		for _, key := range slices.Sorted(maps.Keys(d.Tags)) {
			tags += fmt.Sprintf("    %s = %s\n", hclString(key), hclString(d.Tags[key]))
		}
		tags += "  }\n"
	}
	line("resource \"aws_s3_bucket\" \"state\" {\n  bucket = %s\n%s\n  lifecycle {\n    prevent_destroy = true\n  }\n}",
		hclString(d.Bucket), tags)
	line("\nresource \"aws_s3_bucket_public_access_block\" \"state\" {\n  bucket                  = " +
		"aws_s3_bucket.state.id\n" +
		"  block_public_acls       = true\n  ignore_public_acls      = true\n  block_public_policy     = true\n  " +
		"restrict_public_buckets = true\n}")
	line("\nresource \"aws_s3_bucket_ownership_controls\" \"state\" {\n  bucket = aws_s3_bucket.state.id\n\n  rule {\n  " +
		"  object_ownership = \"BucketOwnerEnforced\"\n  }\n}")
	line("\nresource \"aws_s3_bucket_server_side_encryption_configuration\" \"state\" {\n  bucket = " +
		"aws_s3_bucket.state.id\n\n  rule {")
	if key := d.kmsKey(); key != "" {
		line("    apply_server_side_encryption_by_default {\n      sse_algorithm     = \"aws:kms\"\n      "+
			"kms_master_key_id = %s\n    }\n    bucket_key_enabled = true\n  }\n}", hclString(key))
	} else {
		line("    apply_server_side_encryption_by_default {\n      sse_algorithm = \"AES256\"\n    }\n  }\n}")
	}
	line("\nresource \"aws_s3_bucket_versioning\" \"state\" {\n  bucket = aws_s3_bucket.state.id\n\n  " +
		"versioning_configuration {\n    status = \"Enabled\"\n  }\n}")
	line(`
# Old versions below %d bytes are locks, or states of hardly any resources: of those the newest %d stay.
resource "aws_s3_bucket_lifecycle_configuration" "state" {
  bucket     = aws_s3_bucket.state.id
  depends_on = [aws_s3_bucket_versioning.state]

  rule {
    id     = %q
    status = "Enabled"

    filter {
      object_size_less_than = %d
    }
    noncurrent_version_expiration {
      noncurrent_days           = %d
      newer_noncurrent_versions = %d
    }
  }

  rule {
    id     = %q
    status = "Enabled"

    filter {}
    expiration {
      expired_object_delete_marker = true
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = %d
    }
  }
}`, LitterBelow, LitterKeep, ruleLitter, LitterBelow, d.LitterDays, LitterKeep, ruleTidyUp, AbortUploadsDays)
	if policy := d.policyJSON(); policy != "" {
		var indented bytes.Buffer
		_ = json.Indent(&indented, []byte(policy), "  ", "  ") // it is our own
		// JSON is an HCL expression, but for the marks of templates, which none of ours has.
		line("\nresource \"aws_s3_bucket_policy\" \"state\" {\n  bucket     = aws_s3_bucket.state.id\n  depends_on = "+
			"[aws_s3_bucket_public_access_block.state]\n\n  policy = jsonencode(%s)\n}", indented.String())
	}
	if d.LogBucket != "" {
		line("\nresource \"aws_s3_bucket_logging\" \"state\" {\n  bucket        = aws_s3_bucket.state.id\n  target_bucket "+
			"= %s\n  target_prefix = %s\n}", hclString(d.LogBucket), hclString(d.LogPrefix))
	}
	return b.String(), nil
}

func (d Desired) kmsKey() string {
	if d.Encryption == aes256 {
		return ""
	}
	return d.Encryption
}

// policyJSON is the policy of a new bucket, empty for none.
func (d Desired) policyJSON() string {
	doc, _ := parsePolicy("")
	for _, s := range d.statements() {
		doc = doc.with(s)
	}
	if len(doc.statements) == 0 {
		return ""
	}
	return doc.String()
}

// hclString quotes s for HCL, whose templates begin with "${" and "%{".
func hclString(s string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(encode(s))
}
