package bootstrap

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Script is a shell script that makes the bucket as it is wanted with the aws command. It can be run again; a policy and
// lifecycle rules that are there already it leaves alone and says so, because the aws command can only replace them. Errors are those of [NewPlan].
func Script(d Desired) (string, error) {
	if err := d.validate(); err != nil {
		return "", err
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("#!/usr/bin/env bash\nset -euo pipefail\nbucket=%s\nexport AWS_REGION=%s AWS_PAGER=", quote(d.Bucket), quote(d.Region))
	if d.Endpoint == "" {
		line("s3api() { aws s3api \"$@\" --bucket \"$bucket\"; }")
	} else {
		line("s3api() { aws --endpoint-url %s s3api \"$@\" --bucket \"$bucket\"; }", quote(d.Endpoint))
	}
	create := "s3api create-bucket"
	if l := d.locationConstraint(); l != "" {
		create += " --create-bucket-configuration LocationConstraint=" + quote(l)
	}
	line("\nif ! s3api head-bucket >/dev/null 2>&1; then\n  %s >/dev/null\nfi", create)
	line("s3api put-public-access-block --public-access-block-configuration \\\n  BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true")
	line("s3api put-bucket-ownership-controls --ownership-controls 'Rules=[{ObjectOwnership=BucketOwnerEnforced}]'")
	encryption := map[string]any{"ApplyServerSideEncryptionByDefault": map[string]string{"SSEAlgorithm": aes256}}
	if key := d.kmsKey(); key != "" {
		encryption = map[string]any{"ApplyServerSideEncryptionByDefault": map[string]string{"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}, "BucketKeyEnabled": true}
	}
	line("s3api put-bucket-encryption --server-side-encryption-configuration \\\n  %s", quote(encode(map[string]any{"Rules": []any{encryption}})))
	line("s3api put-bucket-versioning --versioning-configuration Status=Enabled")
	var rules []any
	for _, r := range lifecycleRules(d.LitterDays) {
		rule := generic([]byte(encode(r)))
		rule = pruned(rule).(map[string]any)
		if _, ok := rule["Filter"]; !ok {
			rule["Filter"] = map[string]any{"Prefix": aws.ToString(r.Filter.Prefix)}
		}
		rules = append(rules, rule)
	}
	line(`
if s3api get-bucket-lifecycle-configuration >/dev/null 2>&1; then
  echo "$bucket has lifecycle rules already: they are left as they are" >&2
else
  s3api put-bucket-lifecycle-configuration --lifecycle-configuration \
    %s >/dev/null
fi`, quote(encode(map[string]any{"Rules": rules})))
	if policy := d.policyJSON(); policy != "" {
		line(`if s3api get-bucket-policy >/dev/null 2>&1; then
  echo "$bucket has a policy already: it is left as it is" >&2
else
  s3api put-bucket-policy --policy \
    %s
fi`, quote(policy))
	}
	if d.LogBucket != "" {
		logs := map[string]any{"LoggingEnabled": map[string]string{"TargetBucket": d.LogBucket, "TargetPrefix": d.LogPrefix}}
		line("s3api put-bucket-logging --bucket-logging-status %s", quote(encode(logs)))
	}
	return b.String(), nil
}

// quote makes s one word of a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
