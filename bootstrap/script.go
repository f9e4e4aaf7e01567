package bootstrap

import (
	"fmt"
	"strings"

	"github.com/statelatch/statelatch/bucket/s3bucket"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Script is a shell script that makes the bucket as it is wanted with the aws command. It can be run again; a policy
// and lifecycle rules that are there already it leaves alone and says so, because the aws command can only replace
// them. Errors are those of [NewPlan].
func Script(d Desired) (string, error) {
	if err := d.validate(); err != nil {
		return "", err
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("#!/usr/bin/env bash\nset -euo pipefail\nbucket=%s\nexport AWS_REGION=%[2]s AWS_DEFAULT_REGION=%[2]s AWS_PAGER=",
		quote(d.Bucket), quote(d.Region))
	command, owner, whoami := "aws s3api", "", ""
	if d.Endpoint != "" {
		command = "aws --endpoint-url " + quote(d.Endpoint) + " s3api"
	}
	if d.Owner != "" {
		owner = " --expected-bucket-owner " + quote(d.Owner)
		if s3bucket.OnAWS(d.Endpoint) {
			whoami = fmt.Sprintf("  [ \"$(aws sts get-caller-identity --query Account --output text)\" = %s ] ||\n"+
				"    { echo \"these credentials create no bucket in account %s\" >&2; exit 1; }\n", quote(d.Owner), d.Owner)
		}
	}
	line("s3api() { %s \"$@\" --bucket \"$bucket\"%s; }", command, owner)
	line("%s", absent)
	create := command + " create-bucket --bucket \"$bucket\"" // nobody owns it yet
	if l := d.locationConstraint(); l != "" {
		create += " --create-bucket-configuration LocationConstraint=" + quote(l)
	}
	line("\nif absent '(404)' head-bucket; then\n%s  %s >/dev/null\nfi", whoami, create)
	line("s3api put-public-access-block --public-access-block-configuration \\\n  " +
		"BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true")
	line("s3api put-bucket-ownership-controls --ownership-controls 'Rules=[{ObjectOwnership=BucketOwnerEnforced}]'")
	encryption := map[string]any{"ApplyServerSideEncryptionByDefault": map[string]string{"SSEAlgorithm": aes256}}
	if key := d.kmsKey(); key != "" {
		encryption = map[string]any{"ApplyServerSideEncryptionByDefault": map[string]string{
			"SSEAlgorithm":   "aws:kms",
			"KMSMasterKeyID": key,
		}, "BucketKeyEnabled": true}
	}
	line("s3api put-bucket-encryption --server-side-encryption-configuration \\\n  %s",
		quote(encode(map[string]any{"Rules": []any{encryption}})))
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
if absent NoSuchLifecycleConfiguration get-bucket-lifecycle-configuration; then
  s3api put-bucket-lifecycle-configuration --lifecycle-configuration \
    %s >/dev/null
else
  echo "$bucket has lifecycle rules already: they are left as they are" >&2
fi`, quote(encode(map[string]any{"Rules": rules})))
	if policy := d.policyJSON(); policy != "" {
		line(`if absent NoSuchBucketPolicy get-bucket-policy; then
  s3api put-bucket-policy --policy \
    %s
else
  echo "$bucket has a policy already: it is left as it is" >&2
fi`, quote(policy))
	}
	if d.LogBucket != "" {
		logs := map[string]any{"LoggingEnabled": map[string]string{"TargetBucket": d.LogBucket, "TargetPrefix": d.LogPrefix}}
		line("s3api put-bucket-logging --bucket-logging-status %s", quote(encode(logs)))
	}
	if len(d.Tags) > 0 {
		var tags []map[string]string
		for _, t := range tagSet(d.Tags) {
			tags = append(tags, map[string]string{"Key": *t.Key, "Value": *t.Value})
		}
		line(`if absent NoSuchTagSet get-bucket-tagging; then
  s3api put-bucket-tagging --tagging \
    %s
else
  echo "$bucket has tags already: they are left as they are" >&2
fi`, quote(encode(map[string]any{"TagSet": tags})))
	}
	return b.String(), nil
}

// absent is a function for scripts: whether a request is answered that there is no such thing. What cannot be seen ends
// the script, lest something is replaced.
const absent = `absent() { # CODE REQUEST...
  local code=$1 answer
  shift
  if answer=$(s3api "$@" 2>&1); then return 1; fi
  case $answer in *"$code"*) return 0 ;; esac
  printf '%s\n' "$answer" >&2
  exit 1
}`

// quote makes s one word of a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
