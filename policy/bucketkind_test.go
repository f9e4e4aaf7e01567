package policy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/policytest"
	"github.com/statelatch/statelatch/policy"
)

// Behind an access point IAM is asked for the access point, and for its objects.
func TestFor_AccessPoint(t *testing.T) {
	t.Parallel()
	const ap = "arn:aws:s3:eu-central-1:123456789012:accesspoint/state"
	for _, name := range []string{ap, strings.Replace(ap, "accesspoint/", "accesspoint:", 1)} {
		p := policyFor(t, policy.Apply, policy.Target{Bucket: name, Key: "./app//tf", WorkspacePrefix: "env:", KMSKey: keyARN})
		for _, r := range []policytest.Request{
			{Action: "s3:GetObject", Resource: ap + "/object/./app//tf"},
			{Action: "s3:PutObject", Resource: ap + "/object/./app//tf.tflock"},
			{Action: "s3:DeleteObject", Resource: ap + "/object/./app//tf.tflock"},
			{Action: "s3:ListBucket", Resource: ap, Context: map[string][]string{"s3:prefix": {"env:/"}}},
			onKey("Decrypt", "arn:aws:s3:::who/knows"),
		} {
			if !p.Allows(r) {
				t.Errorf("%s: denied: %s", name, r)
			}
		}
		for _, r := range []policytest.Request{onObject("GetObject", "./app//tf"), {Action: "s3:GetObject", Resource: ap + "/object/other"}} {
			if p.Allows(r) {
				t.Errorf("%s: allowed: %s", name, r)
			}
		}
	}
	d, ok := policy.Grant("", &statelatch.StoreError{Kind: statelatch.ErrDenied, Bucket: ap, Key: "k", Action: "s3:PutObject"})
	if !ok || d.Statement[0].Resource[0] != ap+"/object/k" {
		t.Errorf("Grant: got %s, %v", d.JSON(), ok)
	}
	china, err := policy.For(policy.Plan, policy.Target{Bucket: "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint/x", Table: "locks"})
	if err != nil || !strings.Contains(string(china.JSON()), `"arn:aws-cn:dynamodb:cn-north-1:*:table/locks"`) {
		t.Errorf("the partition and the region of the ARN: got %s, %v", china.JSON(), err)
	}
}

// S3 Express knows one right, to open a session.
func TestFor_Express(t *testing.T) {
	t.Parallel()
	for name, resource := range map[string]string{
		"state--use1-az4--x-s3":  "arn:aws:s3express:us-east-1:123456789012:bucket/state--use1-az4--x-s3",
		"state--use1-az4--xa-s3": "arn:aws:s3express:us-east-1:123456789012:accesspoint/state--use1-az4--xa-s3",
	} {
		for _, role := range []policy.Role{policy.Plan, policy.Apply, policy.Unlock, policy.Admin} {
			target := policy.Target{Bucket: name, Key: "app/tf", WorkspacePrefix: "env:", Region: "us-east-1", Account: "123456789012", Table: "locks"}
			d, err := policy.For(role, target)
			if err != nil {
				t.Fatal(err)
			}
			first := d.Statement[0]
			if !slices.Equal(first.Action, []string{"s3express:CreateSession"}) || !slices.Equal(first.Resource, []string{resource}) {
				t.Errorf("%s of %s: got %+v", role, name, first)
			}
			if strings.Contains(string(d.JSON()), `"s3:`) {
				t.Errorf("%s of %s: it names actions of S3: %s", role, name, d.JSON())
			}
		}
		d, ok := policy.Grant("us-east-1", &statelatch.StoreError{Kind: statelatch.ErrDenied, Bucket: name, Key: "k", Action: "s3:GetObject"})
		if !ok || len(d.Statement) != 1 || d.Statement[0].Action[0] != "s3express:CreateSession" {
			t.Errorf("Grant of %s: got %s, %v", name, d.JSON(), ok)
		}
	}
}

// No policy may name an alias, so none is written that could not help.
func TestFor_AliasRefused(t *testing.T) {
	t.Parallel()
	const name = "state-mev1x5w5yk4m3-s3alias"
	_, err := policy.For(policy.Apply, policy.Target{Bucket: name, Key: "k"})
	if !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), "accesspoint/NAME") {
		t.Errorf("got %v", err)
	}
	if d, ok := policy.Grant("", &statelatch.StoreError{Kind: statelatch.ErrDenied, Bucket: name, Key: "k", Action: "s3:GetObject"}); ok {
		t.Errorf("Grant: got %s, want none", d.JSON())
	}
	for _, name := range []string{"state--use1-az4--x-s3", "arn:aws:s3:eu-central-1:123456789012:accesspoint/state"} {
		if _, err := policy.For(policy.Bucket, policy.Target{Bucket: name}); !errors.Is(err, statelatch.ErrInvalid) {
			t.Errorf("role bucket of %s: got %v", name, err)
		}
	}
}
