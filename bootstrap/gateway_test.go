package bootstrap

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/iampolicy"
)

const gatewayRole = "arn:aws:iam::123456789012:role/ops/statelatch"

// guarded is a bucket of AWS that a gateway alone writes to.
func guarded() Desired {
	d := desired()
	d.Endpoint, d.Gateway = "", gatewayRole
	return d
}

// The role of the gateway may write whatever else allows it to; everybody else reads at most, and can still change the
// policy.
func TestGatewayOnly_Decides(t *testing.T) {
	t.Parallel()
	policy, err := iampolicy.ParseResource([]byte(guarded().policyJSON()))
	if err != nil {
		t.Fatal(err)
	}
	const object, bucket = "arn:aws:s3:::acme-state/env:/dev/app/tf", "arn:aws:s3:::acme-state"
	writes := []string{"s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:ReplicateObject", "s3:ReplicateDelete"}
	for who, denied := range map[string]bool{
		gatewayRole: false,
		"arn:aws:iam::123456789012:role/ops/statelatch2": true,
		"arn:aws:iam::123456789012:role/statelatch":      true,
		"arn:aws:iam::210987654321:role/ops/statelatch":  true,
		"arn:aws:iam::123456789012:user/ana":             true,
		"arn:aws:iam::123456789012:root":                 true,
		"":                                               true, // a service of AWS, or nobody
	} {
		ask := func(action, resource string) iampolicy.Decision {
			r := iampolicy.Request{Action: action, Resource: resource, Context: map[string][]string{"aws:SecureTransport": {"true"}}}
			if who != "" {
				r.By.ARN, r.Context["aws:PrincipalArn"] = who, []string{who}
			}
			return policy.Decide(r)
		}
		for _, action := range writes {
			for _, key := range []string{object, object + ".tflock"} {
				if got := ask(action, key); got == iampolicy.Allowed || (got == iampolicy.Denied) != denied {
					t.Errorf("%q: %s on %s: got decision %d, want denied: %t, and never allowed", who, action, key, got, denied)
				}
			}
		}
		for action, on := range map[string]string{
			"s3:GetObject": object, "s3:GetObjectVersion": object, "s3:ListBucket": bucket, "s3:PutBucketPolicy": bucket,
			"s3:DeleteBucketPolicy": bucket, "s3:GetBucketPolicy": bucket, "s3:PutLifecycleConfiguration": bucket,
		} {
			if got := ask(action, on); got != iampolicy.Silent {
				t.Errorf("%q: %s: got decision %d, want none", who, action, got)
			}
		}
	}
}

// It joins a policy that is there, once; another role takes its place, and it stays if it is not asked for again.
func TestApply_Gateway(t *testing.T) {
	t.Parallel()
	c, w := newClient(t)
	d := guarded()
	without := d
	without.Gateway = ""
	apply(t, c, without)
	const foreign = `{"Sid":"Audit","Effect":"Deny","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"s3:DeleteBucket","Resource":"arn:aws:s3:::acme-state"}`
	if _, err := c.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{
		Bucket: &d.Bucket, Policy: aws.String(`{"Version":"2012-10-17","Statement":[` + foreign + `,` + encode(tlsOnly(d.arn())) + `]}`),
	}); err != nil {
		t.Fatal(err)
	}
	p, _ := plan(t, c, d)
	if got := strings.Join(ids(p), ","); got != "policy" || !strings.Contains(p.String(), "- GatewayOnly: absent") ||
		!strings.Contains(p.String(), gatewayRole) || !strings.Contains(p.String(), "may change this policy") {
		t.Errorf("got the steps %q and\n%s", got, p)
	}
	apply(t, c, d)
	before := len(w.took())
	for _, again := range []Desired{d, without} {
		if p, _ := plan(t, c, again); len(p.Steps) > 0 {
			t.Errorf("the second time, for %q, there is to do: %v", again.Gateway, ids(p))
		}
	}
	other := d
	other.Gateway = gatewayRole + "-2"
	apply(t, c, other)
	_, a := plan(t, c, other)
	for _, want := range []string{`"Audit"`, sidTLSOnly, other.Gateway} {
		if strings.Count(a.Policy.Value, want) != 1 {
			t.Errorf("%s is in the policy %d times, want once: %s", want, strings.Count(a.Policy.Value, want), a.Policy.Value)
		}
	}
	if strings.Contains(a.Policy.Value, gatewayRole+`"`) || len(w.took()) != before+1 {
		t.Errorf("want one write for another role, got %v, and the policy %s", w.took()[before:], a.Policy.Value)
	}
	// The embedded store enforces it. Its root is no role, but can take it back.
	put := &s3.PutObjectInput{Bucket: &d.Bucket, Key: aws.String("app/terraform.tfstate"), Body: strings.NewReader("x")}
	if _, err := c.PutObject(t.Context(), put); err == nil || !strings.Contains(err.Error(), "explicit deny") {
		t.Errorf("a write beside the gateway: got %v, want it denied", err)
	}
	if _, err := c.DeleteBucketPolicy(t.Context(), &s3.DeleteBucketPolicyInput{Bucket: &d.Bucket}); err != nil {
		t.Errorf("the root cannot take the policy back: %v", err)
	}
	put.Body = strings.NewReader("x")
	if _, err := c.PutObject(t.Context(), put); err != nil {
		t.Error(err)
	}
}

func TestNewPlan_GatewayRefusals(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ endpoint, region, gateway, text string }{
		{"", "eu-central-1", "statelatch", "ARN"},
		{"", "eu-central-1", "arn:aws:iam::123456789012:role/*", "ARN"},
		{"", "eu-central-1", "arn:aws:iam::123456789012:user/ana", "ARN"},
		{"", "eu-central-1", "arn:aws:sts::123456789012:assumed-role/statelatch/i-0", "session"},
		{"", "eu-central-1", "arn:aws:iam::123456789012:role/${aws:username}", "ARN"},
		{"", "cn-north-1", gatewayRole, "aws-cn"},
		{tlsEndpoint, "eu-central-1", gatewayRole, "is not AWS"},
	} {
		d := guarded()
		d.Endpoint, d.Region, d.Gateway = tc.endpoint, tc.region, tc.gateway
		_, err := NewPlan(d, Actual{})
		if !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), tc.text) || !strings.Contains(err.Error(), tc.gateway) {
			t.Errorf("%q at %q in %s: got %v, want %v that tells of %q", tc.gateway, tc.endpoint, tc.region, err, statelatch.ErrInvalid, tc.text)
		}
	}
	for _, render := range []func(Desired) (string, error){HCL, Script} {
		text, err := render(guarded())
		if err != nil || !strings.Contains(text, gatewayRole) {
			t.Errorf("got %v and %s, want the role in it", err, text)
		}
	}
}

func TestCheck_Gateway(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		policy   string
		severity Severity
		text     string
	}{
		"none":          {desired().policyJSON(), OK, "no gateway"},
		"no policy":     {"", OK, "no gateway"},
		"as it was set": {guarded().policyJSON(), OK, "only " + gatewayRole},
		"renamed":       {strings.Replace(guarded().policyJSON(), `"GatewayOnly"`, `"Ours"`, 1), OK, "only " + gatewayRole},
		"some deletes are missing": {
			strings.Replace(guarded().policyJSON(), `"s3:DeleteObject",`, "", 1), Warning, "bucket init -gateway " + gatewayRole,
		},
		"for one prefix": {
			strings.Replace(guarded().policyJSON(), `"GatewayOnly","Effect":"Deny","Principal":"*","Action":["s3:PutObject","s3:DeleteObject","s3:DeleteObjectVersion","s3:ReplicateObject","s3:ReplicateDelete"],"Resource":["arn:aws:s3:::acme-state/*"]`,
				`"GatewayOnly","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::acme-state/prod/*"]`, 1),
			Warning, "bucket init -gateway " + gatewayRole,
		},
		"for two roles": {
			strings.Replace(guarded().policyJSON(), `"`+gatewayRole+`"`, `["`+gatewayRole+`","arn:aws:iam::123456789012:role/x"]`, 1),
			Warning, "bucket init -gateway ROLE_ARN",
		},
	} {
		s := subject()
		s.Endpoint, s.Bucket.Policy.Value = "", tc.policy
		if got := guarded().policyJSON(); name != "none" && name != "no policy" && name != "as it was set" && tc.policy == got {
			t.Fatalf("%s: nothing was changed in %s", name, got)
		}
		found := false
		for _, f := range Check(s) {
			if f.ID == "gateway-only" {
				found = true
				if f.Severity != tc.severity || !strings.Contains(f.What+f.Fix, tc.text) {
					t.Errorf("%s: got %+v, want %s and %q", name, f, tc.severity, tc.text)
				}
			}
		}
		if !found {
			t.Errorf("%s: nothing is said", name)
		}
	}
}
