package bootstrap

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/statelatch/statelatch"
)

// complete is a bucket with nothing left to do.
func complete(d Desired) Actual {
	a := Actual{Exists: true, Region: d.Region}
	a.Versioning.Value.Status = "Enabled"
	a.Encryption.Value.Algorithm = aes256
	a.PublicAccess.Value = allBlocked
	a.Ownership.Value = "BucketOwnerEnforced"
	a.Policy.Value = d.policyJSON()
	a.Lifecycle.Value.Rules = lifecycleRules(d.LitterDays)
	return a
}

func TestNewPlan_Changes(t *testing.T) {
	t.Parallel()
	const key = "arn:aws:kms:eu-central-1:123456789012:key/k"
	for _, tc := range []struct {
		name    string
		change  func(*Desired, *Actual)
		want    string // ids
		texts   []string
		skipped string
	}{
		{"nothing", func(*Desired, *Actual) {}, "", nil, ""},
		{"KMS is not replaced unasked", func(_ *Desired, a *Actual) {
			a.Encryption.Value = Encryption{Algorithm: "aws:kms", KMSKey: "other"}
		}, "", nil, ""},
		{"KMS is replaced if asked", func(d *Desired, a *Actual) {
			d.Encryption, a.Encryption.Value = aes256, Encryption{Algorithm: "aws:kms", KMSKey: "other"}
		}, "encryption", []string{"aws:kms with other", aes256}, ""},
		{"KMS", func(d *Desired, _ *Actual) { d.Encryption = key }, "encryption", []string{key}, ""},
		{"KMS without bucket key", func(d *Desired, a *Actual) {
			d.Encryption, a.Encryption.Value = key, Encryption{Algorithm: "aws:kms", KMSKey: key}
		}, "encryption", nil, ""},
		{"KMS as it is", func(d *Desired, a *Actual) {
			d.Encryption, a.Encryption.Value = key, Encryption{Algorithm: "aws:kms", KMSKey: key, BucketKey: true}
		}, "", nil, ""},
		{"half blocked", func(_ *Desired, a *Actual) { a.PublicAccess.Value.BlockPolicy = false }, "public-access", nil, ""},
		{"no TLS on plain HTTP", func(d *Desired, a *Actual) { d.Endpoint, a.Policy.Value = "http://127.0.0.1:1", "" }, "", nil, "policy"},
		{"conditions on plain HTTP", func(d *Desired, a *Actual) {
			d.Endpoint, d.RequireConditions, a.Policy.Value = "http://127.0.0.1:1", true, ""
		}, "policy", []string{sidLockOnlyConditional}, "policy"},
		{"a statement of ours that differs", func(_ *Desired, a *Actual) {
			a.Policy.Value = strings.Replace(a.Policy.Value, `"Deny"`, `"Allow"`, 1)
		}, "policy", []string{`"Effect":"Allow"`, `"Effect":"Deny"`}, ""},
		{"another rule", func(_ *Desired, a *Actual) {
			a.Lifecycle.Value.Rules[0].NoncurrentVersionExpiration.NoncurrentDays = aws.Int32(3)
		}, "lifecycle", []string{"after 3 days", "after 30 days"}, ""},
		{"a disabled rule", func(_ *Desired, a *Actual) { a.Lifecycle.Value.Rules[1].Status = "Disabled" }, "lifecycle", []string{"(disabled)"}, ""},
		{"MFA delete", func(_ *Desired, a *Actual) {
			a.Versioning.Value.MFADelete, a.Lifecycle.Value.Rules = true, nil
		}, "", nil, "lifecycle"},
		{"logging", func(d *Desired, _ *Actual) { d.LogBucket, d.LogPrefix = "logs", "x/" }, "logging", []string{"off", "s3://logs/x/"}, ""},
		{"logging as it is", func(d *Desired, a *Actual) {
			d.LogBucket, d.LogPrefix = "logs", "x/"
			a.Logging.Value = &types.LoggingEnabled{TargetBucket: aws.String("logs"), TargetPrefix: aws.String("x/")}
		}, "", nil, ""},
		{"no public access block", func(_ *Desired, a *Actual) {
			a.PublicAccess = Setting[PublicAccess]{Err: &statelatch.StoreError{Kind: statelatch.ErrUnsupported}}
		}, "", nil, "public-access"},
		{"other region of a store without regions", func(_ *Desired, a *Actual) { a.Region = "somewhere" }, "", nil, ""},
	} {
		d := desired()
		a := complete(d)
		tc.change(&d, &a)
		p, err := NewPlan(d, a)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		skipped := ""
		for _, s := range p.Skipped {
			skipped += s.ID
		}
		if got := strings.Join(ids(p), ","); got != tc.want || skipped != tc.skipped {
			t.Errorf("%s: got steps %q and skipped %q, want %q and %q", tc.name, got, skipped, tc.want, tc.skipped)
			continue
		}
		for _, text := range tc.texts {
			if s := p.Steps[0]; !strings.Contains(s.What+"\n"+s.From+"\n"+s.To, text) {
				t.Errorf("%s: %+v lacks %q", tc.name, s, text)
			}
		}
	}
}

func TestNewPlan_Refusals(t *testing.T) {
	t.Parallel()
	denied := &statelatch.StoreError{Kind: statelatch.ErrDenied, Op: "get policy of", Action: "s3:GetBucketPolicy"}
	for _, tc := range []struct {
		name   string
		change func(*Desired, *Actual)
		kind   error
		text   string
	}{
		{"other region", func(d *Desired, a *Actual) { d.Endpoint, a.Region = "", "us-west-2" }, statelatch.ErrInvalid, `"us-west-2"`},
		{"no region", func(d *Desired, _ *Actual) { d.Region = "" }, statelatch.ErrInvalid, "AWS_REGION"},
		{"access point", func(d *Desired, _ *Actual) { d.Bucket = "arn:aws:s3:us-east-1:123456789012:accesspoint/x" }, statelatch.ErrInvalid, "access point"},
		{"directory bucket", func(d *Desired, _ *Actual) { d.Bucket = "x--use1-az4--x-s3" }, statelatch.ErrInvalid, "directory bucket"},
		{"a name that AWS refuses", func(d *Desired, a *Actual) { d.Endpoint, d.Bucket, *a = "", "Acme_State", Actual{} }, statelatch.ErrInvalid, "lower-case"},
		{"no days", func(d *Desired, _ *Actual) { d.LitterDays = 0 }, statelatch.ErrInvalid, "litter days"},
		{"bad encryption", func(d *Desired, _ *Actual) { d.Encryption = "aes" }, statelatch.ErrInvalid, `"aes"`},
		{"key elsewhere", func(d *Desired, _ *Actual) {
			d.Endpoint, d.Encryption = "", "arn:aws:kms:us-east-1:123456789012:key/k"
		}, statelatch.ErrInvalid, "us-east-1"},
		{"log loop", func(d *Desired, _ *Actual) { d.LogBucket = d.Bucket }, statelatch.ErrInvalid, "logged again"},
		{"unreadable policy", func(_ *Desired, a *Actual) { a.Policy.Value = `{"Statement":3}` }, statelatch.ErrInvalid, "policy"},
		{"public policy", func(_ *Desired, a *Actual) {
			a.Policy.Value, a.PolicyIsPublic.Value = `{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"*"}]}`, true
		}, statelatch.ErrInvalid, "lets everybody in"},
		{"denied policy", func(_ *Desired, a *Actual) { a.Policy = Setting[string]{Err: denied} }, statelatch.ErrDenied, "s3:GetBucketPolicy"},
	} {
		d := desired()
		a := complete(d)
		tc.change(&d, &a)
		if _, err := NewPlan(d, a); !errors.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: got %v, want %v with %q", tc.name, err, tc.kind, tc.text)
		}
	}
}

func TestPolicy_Implies(t *testing.T) {
	t.Parallel()
	want := tlsOnly("arn:aws:s3:::b")
	const good = `{"Version":"2012-10-17","Statement":[{"Sid":"AllowSSLRequestsOnly","Effect":"Deny","Principal":{"AWS":"*"},` +
		`"Action":["s3:*"],"Resource":["arn:aws:s3:::b/*","arn:aws:s3:::b"],"Condition":{"Bool":{"AWS:SecureTransport":["false"]}}}]}`
	for _, tc := range []struct {
		name, doc string
		want      bool
	}{
		{"under another Sid", good, true},
		{"a boolean", strings.Replace(good, `["false"]`, "false", 1), true},
		{"a single statement", strings.NewReplacer("[{", "{", "}]}", "}}").Replace(good), true},
		{"every action", strings.Replace(good, `["s3:*"]`, `"*"`, 1), true},
		{"some principal", strings.Replace(good, `{"AWS":"*"}`, `{"AWS":"arn:aws:iam::1:root"}`, 1), false},
		{"some action", strings.Replace(good, `["s3:*"]`, `["s3:GetObject"]`, 1), false},
		{"objects only", strings.Replace(good, `,"arn:aws:s3:::b"]`, `]`, 1), false},
		{"allow", strings.Replace(good, "Deny", "Allow", 1), false},
		{"another condition, too", strings.Replace(good, `"Bool":`, `"Null":{"aws:x":"true"},"Bool":`, 1), false},
		{"the reverse", strings.Replace(good, `"false"`, `"true"`, 1), false},
		{"not these", strings.Replace(good, `"Action":`, `"NotAction":`, 1), false},
		{"none", "", false},
	} {
		doc, err := parsePolicy(tc.doc)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if got := doc.implies(want); got != tc.want {
			t.Errorf("%s: got %v, want %v: %s", tc.name, got, tc.want, tc.doc)
		}
	}
}

// S3 refuses rules of both forms together, so the old form gets the filter that means the same.
func TestLifecycle_With_OldForm(t *testing.T) {
	t.Parallel()
	old := Lifecycle{minimumSize: "varies_by_storage_class", Rules: []types.LifecycleRule{
		{ID: aws.String("old"), Prefix: aws.String("logs/"), Status: "Enabled", Expiration: &types.LifecycleExpiration{Days: aws.Int32(1)}},
		{ID: aws.String(ruleLitter), Status: "Disabled", Filter: &types.LifecycleRuleFilter{}},
	}}
	got := old.with(lifecycleRules(30))
	if len(got.Rules) != 3 || got.minimumSize != old.minimumSize {
		t.Fatalf("got %d rules and %q, want 3 and the same", len(got.Rules), got.minimumSize)
	}
	if f := filterOf(got.Rules[0]); got.Rules[0].Filter == nil || f != (ruleFilter{prefix: "logs/"}) || f != filterOf(old.Rules[0]) {
		t.Errorf("the old rule is about %+v, want logs/", f)
	}
	if !sameRule(got.Rules[1], lifecycleRules(30)[0]) {
		t.Error("our rule was not replaced in its place")
	}
	if old.Rules[0].Filter != nil || old.Rules[1].Status != "Disabled" {
		t.Error("what was read has changed")
	}
}

func TestDesired_ARN(t *testing.T) {
	t.Parallel()
	for region, want := range map[string]string{
		"eu-west-1": "arn:aws:s3:::b", "cn-north-1": "arn:aws-cn:s3:::b", "us-gov-west-1": "arn:aws-us-gov:s3:::b", "nowhere": "arn:aws:s3:::b",
	} {
		if got := (Desired{Bucket: "b", Region: region}).arn(); got != want {
			t.Errorf("%s: got %s, want %s", region, got, want)
		}
	}
	if got, want := (Desired{Bucket: "b", Region: "cn-north-1", Endpoint: tlsEndpoint}).arn(), "arn:aws:s3:::b"; got != want {
		t.Errorf("another store's: got %s, want %s", got, want)
	}
}

func TestRegionOf_OldNames(t *testing.T) {
	t.Parallel()
	for is, want := range map[types.BucketLocationConstraint]string{"": "us-east-1", "EU": "eu-west-1", "ap-south-1": "ap-south-1"} {
		if got := regionOf(is); got != want {
			t.Errorf("%q: got %q, want %q", is, got, want)
		}
	}
}

func TestPolicy_AllowsAnyone(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		who, condition string
		want           bool
	}{
		{`"Principal":"*"`, ``, true},
		{`"Principal":{"AWS":"*"}`, `,"Condition":{}`, true},
		{`"NotPrincipal":{"AWS":"arn:aws:iam::1:root"}`, ``, true},
		{`"Principal":{"AWS":"arn:aws:iam::1:root"}`, ``, false},
		{`"Principal":"*"`, `,"Condition":{"Bool":{"aws:SecureTransport":"true"}}`, true},
		{`"Principal":"*"`, `,"Condition":{"StringEquals":{"aws:SourceVpce":"vpce-1"}}`, false},
		{`"Principal":"*"`, `,"Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}`, false},
		{`"Principal":"*"`, `,"Condition":{"StringNotEquals":{"aws:PrincipalOrgID":"o-1"}}`, true},
		{`"Principal":"*"`, `,"Condition":{"StringEqualsIfExists":{"aws:SourceVpce":"vpce-1"}}`, true},
		{`"Principal":"*"`, `,"Condition":{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","0.0.0.0/0"]}}`, true},
	} {
		doc, err := parsePolicy(`{"Statement":[{"Effect":"Allow",` + tc.who + `,"Action":"s3:GetObject","Resource":"*"` + tc.condition + `}]}`)
		if err != nil {
			t.Fatal(err)
		}
		if got := doc.allowsAnyone(); got != tc.want {
			t.Errorf("%s%s: got %v, want %v", tc.who, tc.condition, got, tc.want)
		}
	}
}
