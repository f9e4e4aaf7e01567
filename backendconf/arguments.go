package backendconf

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/s3bucket"
)

// arguments are the arguments of a backend by name. Values are what JSON knows; nil is
// the same as absent.
type arguments map[string]any

// kind is the type of an argument.
type kind int

const (
	kindString kind = iota
	kindBool
	kindNumber
	kindStrings // a set or a list
	kindMap     // of strings
	kindObject
)

func (k kind) scalar() bool { return k <= kindNumber }

// kinds are all arguments that any version of either engine knows.
var kinds = func() map[string]kind {
	m := map[string]kind{}
	for k, names := range map[kind][]string{
		kindString: {
			"access_key", "acl", "assume_role_policy", "bucket", "custom_ca_bundle", "dynamodb_endpoint", "dynamodb_table",
			"ec2_metadata_service_endpoint", "ec2_metadata_service_endpoint_mode", "endpoint", "external_id",
			"http_proxy", "https_proxy", "iam_endpoint", "key", "kms_key_id", "no_proxy", "profile", "region", "retry_mode",
			"role_arn",
			"secret_key", "session_name", "shared_credentials_file", "sse_customer_key", "sts_endpoint", "sts_region",
			"token", "workspace_key_prefix",
		},
		kindBool: {
			"encrypt", "force_path_style", "insecure", "skip_credentials_validation", "skip_metadata_api_check",
			"skip_region_validation",
			"skip_requesting_account_id", "skip_s3_checksum", "use_dualstack_endpoint", "use_fips_endpoint", "use_lockfile",
			"use_path_style",
		},
		kindNumber: {"assume_role_duration_seconds", "max_retries"},
		kindStrings: {
			"allowed_account_ids", "assume_role_policy_arns", "assume_role_transitive_tag_keys", "forbidden_account_ids",
			"shared_config_files", "shared_credentials_files",
		},
		kindMap:    {"assume_role_tags", "lock_tags", "state_tags"},
		kindObject: {"assume_role", "assume_role_with_web_identity", "endpoints"},
	} {
		for _, name := range names {
			m[name] = k
		}
	}
	return m
}()

// Known reports whether backend "s3" has, or had, an argument of that name.
func Known(name string) bool { _, known := kinds[name]; return known }

// decode makes a Backend of its arguments. Unknown ones are passed over: the key sets of
// the engines' versions differ.
func decode(args arguments) (Backend, error) {
	r := reader{args: args}
	endpoints := r.object("endpoints")
	b := Backend{
		Bucket:             r.string("bucket"),
		Key:                r.string("key"),
		WorkspaceKeyPrefix: statelatch.DefaultWorkspaceKeyPrefix,
		UseLockfile:        r.bool("use_lockfile"),
		DynamoDBTable:      r.string("dynamodb_table"),
		DynamoDBEndpoint:   r.alias(endpoints.string("dynamodb"), "endpoints.dynamodb", "dynamodb_endpoint"),
		S3: s3bucket.Config{
			Region: r.string("region"),
			Endpoints: s3bucket.Endpoints{
				S3:  r.alias(endpoints.string("s3"), "endpoints.s3", "endpoint"),
				STS: r.alias(endpoints.string("sts"), "endpoints.sts", "sts_endpoint"),
				IAM: r.alias(endpoints.string("iam"), "endpoints.iam", "iam_endpoint"),
				SSO: endpoints.string("sso"),
			},
			UsePathStyle:                   r.bool("use_path_style") || r.bool("force_path_style"),
			UseFIPSEndpoint:                r.bool("use_fips_endpoint"),
			UseDualStackEndpoint:           r.bool("use_dualstack_endpoint"),
			SkipRegionValidation:           r.bool("skip_region_validation"),
			AccessKey:                      r.string("access_key"),
			SecretKey:                      r.string("secret_key"),
			Token:                          r.string("token"),
			Profile:                        r.string("profile"),
			SharedConfigFiles:              r.strings("shared_config_files"),
			SharedCredentialsFiles:         r.strings("shared_credentials_files"),
			AssumeRole:                     r.assumeRole(),
			AssumeRoleWithWebIdentity:      r.webIdentity(),
			AllowedAccountIDs:              r.strings("allowed_account_ids"),
			ForbiddenAccountIDs:            r.strings("forbidden_account_ids"),
			STSRegion:                      r.string("sts_region"),
			EC2MetadataServiceEndpoint:     r.string("ec2_metadata_service_endpoint"),
			EC2MetadataServiceEndpointMode: r.string("ec2_metadata_service_endpoint_mode"),
			MaxRetries:                     r.int("max_retries"),
			RetryMode:                      r.string("retry_mode"),
			CustomCABundle:                 r.string("custom_ca_bundle"),
			Insecure:                       r.bool("insecure"),
			HTTPProxy:                      r.string("http_proxy"),
			HTTPSProxy:                     r.string("https_proxy"),
			NoProxy:                        r.string("no_proxy"),
			ObjectOptions: s3bucket.ObjectOptions{
				Encrypt:        r.bool("encrypt"),
				KMSKeyID:       r.string("kms_key_id"),
				SSECustomerKey: r.string("sse_customer_key"),
				ACL:            r.string("acl"),
				StateTags:      r.stringMap("state_tags"),
				LockTags:       r.stringMap("lock_tags"),
				SkipS3Checksum: r.bool("skip_s3_checksum"),
			},
		},
	}
	if r.given("workspace_key_prefix") {
		b.WorkspaceKeyPrefix = r.string("workspace_key_prefix") // may be empty
	}
	if r.given("skip_metadata_api_check") {
		skip := r.bool("skip_metadata_api_check")
		b.S3.SkipMetadataAPICheck = &skip
	}
	r.exclusive("use_path_style", "force_path_style")
	r.exclusive("shared_credentials_files", "shared_credentials_file")
	if file := r.string("shared_credentials_file"); file != "" {
		b.S3.SharedCredentialsFiles = []string{file}
	}
	err := cmp.Or(r.err, endpoints.err)
	for _, need := range [...]struct{ name, value string }{{"bucket", b.Bucket}, {"key", b.Key}} {
		if err == nil && need.value == "" {
			err = fmt.Errorf("%w argument %s: the backend \"s3\" has none; give -backend-config=%[2]s=VALUE, or run "+
				"`terraform init` (or `tofu init`) with it", statelatch.ErrInvalid, need.name)
		}
	}
	return b, err
}

// flatRole are OpenTofu's deprecated arguments of assume_role.
var flatRole = []string{
	"role_arn", "session_name", "external_id", "assume_role_duration_seconds", "assume_role_policy",
	"assume_role_policy_arns", "assume_role_tags", "assume_role_transitive_tag_keys",
}

func (r *reader) assumeRole() []s3bucket.AssumeRole {
	if !r.given("assume_role") {
		if !r.given("role_arn") {
			return nil
		}
		return []s3bucket.AssumeRole{{
			RoleARN:           r.string("role_arn"),
			Duration:          time.Duration(r.int("assume_role_duration_seconds")) * time.Second,
			ExternalID:        r.string("external_id"),
			Policy:            r.string("assume_role_policy"),
			PolicyARNs:        r.strings("assume_role_policy_arns"),
			SessionName:       r.string("session_name"),
			Tags:              r.stringMap("assume_role_tags"),
			TransitiveTagKeys: r.strings("assume_role_transitive_tag_keys"),
		}}
	}
	for _, name := range flatRole {
		r.exclusive("assume_role", name)
	}
	o := r.object("assume_role")
	role := s3bucket.AssumeRole{
		RoleARN:           o.string("role_arn"),
		Duration:          o.duration("duration"),
		ExternalID:        o.string("external_id"),
		Policy:            o.string("policy"),
		PolicyARNs:        o.strings("policy_arns"),
		SessionName:       o.string("session_name"),
		SourceIdentity:    o.string("source_identity"),
		Tags:              o.stringMap("tags"),
		TransitiveTagKeys: o.strings("transitive_tag_keys"),
	}
	r.err = cmp.Or(r.err, o.err)
	return []s3bucket.AssumeRole{role}
}

func (r *reader) webIdentity() *s3bucket.AssumeRoleWithWebIdentity {
	const name = "assume_role_with_web_identity"
	if !r.given(name) {
		return nil
	}
	o := r.object(name)
	role := &s3bucket.AssumeRoleWithWebIdentity{
		RoleARN:              o.string("role_arn"),
		Duration:             o.duration("duration"),
		Policy:               o.string("policy"),
		PolicyARNs:           o.strings("policy_arns"),
		SessionName:          o.string("session_name"),
		WebIdentityToken:     o.string("web_identity_token"),
		WebIdentityTokenFile: o.string("web_identity_token_file"),
	}
	r.err = cmp.Or(r.err, o.err)
	return role
}

// reader takes values from arguments as the engines convert them, a boolean or a
// number from its text included (B26), and keeps the first error.
type reader struct {
	args arguments
	path string // of the object that args belong to, with a dot
	err  error
}

func (r *reader) given(name string) bool { return r.args[name] != nil }

// fail notes a wrong type. It never shows the value: it may be a secret.
func (r *reader) fail(name, want string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w argument %s: want %s; correct it, or run `terraform init` (or `tofu init`) again",
			statelatch.ErrInvalid, r.path+name, want)
	}
}

func (r *reader) string(name string) string {
	s, ok := text(r.args[name])
	if !ok {
		r.fail(name, "a string")
	}
	return s
}

// text converts a scalar; nil becomes empty.
func text(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

func (r *reader) bool(name string) bool {
	switch v := r.args[name].(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		switch v { // what the engines' language converts
		case "true", "1":
			return true
		case "false", "0":
			return false
		}
	}
	r.fail(name, "true or false")
	return false
}

func (r *reader) int(name string) int {
	s, ok := text(r.args[name])
	if ok && s == "" && !r.given(name) {
		return 0
	}
	n, err := strconv.Atoi(s)
	if !ok || err != nil || n < 0 {
		r.fail(name, "a whole number, not negative")
		return 0
	}
	return n
}

func (r *reader) duration(name string) time.Duration {
	s := r.string(name)
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		r.fail(name, `a duration such as "1h30m"`)
		return 0
	}
	return d
}

func (r *reader) strings(name string) []string {
	if !r.given(name) {
		return nil
	}
	list, ok := r.args[name].([]any)
	if !ok {
		r.fail(name, "a list of strings")
		return nil
	}
	all := make([]string, 0, len(list))
	for _, v := range list {
		s, ok := text(v)
		if !ok || v == nil {
			r.fail(name, "a list of strings")
			return nil
		}
		all = append(all, s)
	}
	return slices.Clip(all)
}

func (r *reader) stringMap(name string) map[string]string {
	if !r.given(name) {
		return nil
	}
	m, ok := r.args[name].(map[string]any)
	if !ok {
		r.fail(name, "a map of strings")
		return nil
	}
	all := make(map[string]string, len(m))
	for k, v := range m {
		s, ok := text(v)
		if !ok || v == nil {
			r.fail(name, "a map of strings")
			return nil
		}
		all[k] = s
	}
	return all
}

func (r *reader) object(name string) *reader {
	o := &reader{path: r.path + name + "."}
	if !r.given(name) {
		return o
	}
	m, ok := r.args[name].(map[string]any)
	if !ok {
		r.fail(name, "an object")
	}
	o.args = m
	return o
}

// alias returns the value that an argument or its deprecated alias gives.
func (r *reader) alias(value, name, old string) string {
	v := r.string(old)
	if v != "" && value != "" {
		r.both(name, old)
	}
	return cmp.Or(value, v)
}

func (r *reader) exclusive(name, old string) {
	if r.given(name) && r.given(old) {
		r.both(name, old)
	}
}

func (r *reader) both(name, old string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w arguments %s and %s: the second is an old name of the first; keep the first",
			statelatch.ErrInvalid, name, old)
	}
}
