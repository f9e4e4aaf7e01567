package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/internal/dynamotest"
	"github.com/statelatch/statelatch/internal/faultproxy"
)

// A denied call is explained by what denied it, and an IAM policy is printed only where one helps.
func TestDenied_AdviceFitsTheCause(t *testing.T) {
	t.Parallel()
	const (
		user = "User: arn:aws:sts::111122223333:assumed-role/ci/run-1 is not authorized to perform: "
		put  = user + `s3:PutObject on resource: "arn:aws:s3:::demo/app/terraform.tfstate.tflock" `
		key  = "arn:aws:kms:us-east-1:111122223333:key/1234"
		kms  = user + "kms:GenerateDataKey on resource: " + key + " "

		grants = "This IAM policy grants what was denied:"
	)
	for _, tc := range []struct {
		name          string
		status        int
		code, message string
		reason        string
		grant         bool
		want, never   []string
	}{
		{"identity", 403, "AccessDenied", put + "because no identity-based policy allows the s3:PutObject action", "no_allow", true, []string{grants, "No identity-based policy allows s3:PutObject"}, []string{"guess"}},
		{
			"resource", 403, "AccessDenied", put + "because no resource-based policy allows the s3:PutObject action", "no_allow", false,
			[]string{"the policy of the bucket demo", `"Principal"`, "arn:aws:iam::111122223333:role/ci"},
			nil,
		},
		{"explicit identity", 403, "AccessDenied", put + "with an explicit deny in an identity-based policy: arn:aws:iam::aws:policy/X", "explicit_deny", false, []string{"by an identity-based policy (arn:aws:iam::aws:policy/X)"}, nil},
		{"explicit bucket", 403, "AccessDenied", put + "with an explicit deny in a resource-based policy", "explicit_deny", false, []string{"the policy of the bucket demo", "encrypt, kms_key_id, acl"}, nil},
		{"SCP", 403, "AccessDenied", put + "with an explicit deny in a service control policy", "explicit_deny", false, []string{"service control policy", "administrators of the AWS organization"}, []string{"kms_key_id"}},
		{"RCP", 403, "AccessDenied", put + "with an explicit deny in a resource control policy", "explicit_deny", false, []string{"resource control policy", "organization that owns the resource"}, nil},
		{"boundary", 403, "AccessDenied", put + "because no permissions boundary allows the s3:PutObject action", "no_allow", false, []string{"No permissions boundary allows"}, nil},
		{"session", 403, "AccessDenied", put + "because no session policy allows the s3:PutObject action", "no_allow", false, []string{"policy_arns in assume_role"}, nil},
		{"VPC endpoint", 403, "AccessDenied", put + "because no VPC endpoint policy allows the s3:PutObject action", "no_allow", false, []string{"the policy of the VPC endpoint"}, nil},
		{
			"KMS identity", 403, "AccessDenied", kms + "because no identity-based policy allows the kms:GenerateDataKey action", "no_allow", true,
			[]string{grants, `"kms:GenerateDataKey"`, key, "The policy of the key must allow it, too"},
			[]string{`"s3:PutObject"`, "need s3:PutObject"},
		},
		{"KMS key policy", 403, "AccessDenied", kms + "because no resource-based policy allows the kms:GenerateDataKey action", "no_allow", false, []string{"the policy of the encryption key " + key, `"Principal"`}, []string{"s3:PutObject"}},
		{
			"KMS of another account", 403, "AccessDenied",
			kms + "because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access", "no_allow", false,
			[]string{"the policy of the encryption key " + key, `"Principal"`},
			[]string{"s3:PutObject"},
		},
		{"encoded", 403, "AccessDenied", "You are not authorized to perform this operation. Encoded authorization failure message: abc", "unknown", true, []string{"decode-authorization-message"}, nil},
		{"KMS disabled", 400, "KMS.DisabledException", key + " is disabled.", "kms_key", false, []string{"The encryption key cannot be used"}, []string{"s3:PutObject"}},
		{"no reason", 403, "AccessDenied", "Access Denied", "unknown", true, []string{grants, "a guess", "encrypt, kms_key_id, acl"}, nil},
		{"key ID", 403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", "credentials", false, []string{"AWS_ACCESS_KEY_ID"}, []string{"s3:PutObject"}},
		{"signature", 403, "SignatureDoesNotMatch", "The request signature we calculated does not match", "credentials", false, []string{"AWS_SECRET_ACCESS_KEY"}, []string{"s3:PutObject"}},
		{"expired", 400, "ExpiredToken", "The provided token has expired.", "credentials", false, []string{"have expired"}, []string{"s3:PutObject"}},
		{"clock", 403, "RequestTimeTooSkewed", "The difference between the request time and the server's time is too large.", "clock", false, []string{"Set the clock"}, []string{"s3:PutObject"}},
		{"account", 403, "AllAccessDisabled", "All access to this object has been disabled", "account", false, []string{"The account cannot use the service"}, []string{"s3:PutObject"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newShell(t).withStore()
			s.behindProxy().Add(faultproxy.Rule{Fault: faultproxy.Refuse(tc.status, tc.code, tc.message), Match: func(r *http.Request) bool {
				return r.Method == http.MethodPut && r.URL.Path == "/demo/app/terraform.tfstate.tflock"
			}})
			o := s.run("lock", demoRef)
			s.want(o, exitDenied, tc.want...)
			never := append([]string{"it needs"}, tc.never...)
			if !tc.grant {
				never = append(never, grants, "policy -role")
			}
			for _, words := range never {
				if strings.Contains(o.err, words) {
					t.Errorf("%q is wrong here: %s", words, o.err)
				}
			}
			o = s.run("lock", "-json", demoRef)
			var out failureJSON
			if err := json.Unmarshal([]byte(o.out), &out); err != nil || o.code != exitDenied {
				t.Fatalf("exit %d, %v: %s", o.code, err, o.out)
			}
			if len(out.Denied) != 1 || string(out.Denied[0].Reason) != tc.reason || (out.Grant != nil) != tc.grant {
				t.Errorf("-json: got %+v and grant %v, want reason %q and grant %v", out.Denied, out.Grant != nil, tc.reason, tc.grant)
			}
		})
	}
}

// The first lock's probe does not send people to IAM for a key that nobody knows.
func TestDenied_ProbeWithWrongCredentials(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.env["STATELATCH_PROBE"] = "on"
	s.behindProxy().Add(faultproxy.Rule{Fault: faultproxy.Answer(http.StatusForbidden, "InvalidAccessKeyId")})
	o := s.run("lock", demoRef)
	s.want(o, exitDenied, "the probe of the store was denied", "The credentials are not known there")
	if strings.Contains(o.err, "policy'") || strings.Contains(o.err, "policy -role") {
		t.Errorf("a policy cannot help: %s", o.err)
	}
}

func TestDenied_LockTablePolicy(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	items := dynamotest.NewServer("locks")
	srv := httptest.NewServer(items)
	t.Cleanup(srv.Close)
	s.flags = append(s.flags, "-backend-config", "dynamodb_table=locks", "-backend-config", "dynamodb_endpoint="+srv.URL)
	items.Add(dynamotest.Rule{Op: dynamotest.OpPutItem, Fault: dynamotest.Refuse(http.StatusBadRequest, "AccessDeniedException",
		"User: arn:aws:iam::111122223333:user/ci is not authorized to perform: dynamodb:PutItem on resource: "+
			"arn:aws:dynamodb:us-east-1:111122223333:table/locks with an explicit deny in a resource-based policy")})
	o := s.run("lock", demoRef)
	s.want(o, exitDenied, "the policy of the DynamoDB table locks")
	if strings.Contains(o.err, "This IAM policy grants") {
		t.Errorf("an IAM policy cannot help: %s", o.err)
	}
}
