package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/internal/policytest"
	"github.com/statelatch/statelatch/policy"
)

func TestPolicy_FromTheWorkingDirectory(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	dir := t.TempDir()
	block := `terraform {
  backend "s3" {
    bucket               = "acme"
    key                  = "app/tf"
    region               = "eu-central-1"
    encrypt              = true
    kms_key_id           = "alias/state"
    dynamodb_table       = "locks"
    workspace_key_prefix = "spaces"
  }
}
`
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(block), 0o600); err != nil {
		t.Fatal(err)
	}
	o := s.run("policy", "-role", "apply", "-chdir", dir, "-account", "123456789012")
	s.want(o, 0, "For role apply on s3://acme/app/tf and its workspaces.", "arn:aws:s3:::acme/spaces/*/app/tf.tflock",
		"arn:aws:dynamodb:eu-central-1:123456789012:table/locks", `"alias/state"`, "s3.eu-central-1.amazonaws.com")
	if _, err := policytest.Parse([]byte(o.out)); err != nil {
		t.Error(err)
	}
	var pretty, line policy.Document
	asJSON := s.run("policy", "-role", "apply", "-chdir", dir, "-json")
	if err := json.Unmarshal([]byte(asJSON.out), &line); err != nil || strings.Count(asJSON.out, "\n") != 1 {
		t.Errorf("-json: want one line of JSON, got %v: %s", err, asJSON.out)
	}
	if err := json.Unmarshal([]byte(o.out), &pretty); err != nil || len(pretty.Statement) != len(line.Statement) {
		t.Errorf("-json has %d statements, the other form %d, %v", len(line.Statement), len(pretty.Statement), err)
	}

	// What is given outright wins, and of a bucket named outright the directory says nothing.
	s.want(s.run("policy", "-role", "plan", "-chdir", dir, "-dynamodb-table", "arn:aws:dynamodb:eu-west-1:123456789012:table/other"), 0, "eu-west-1:123456789012:table/other")
	if o := s.run("policy", "-role", "plan", "-chdir", dir, "s3://acme/app/tf"); strings.Contains(o.out, "locks") || strings.Contains(o.out, "spaces") {
		t.Errorf("the directory counts although a state is named: %s", o.out)
	}
	s.want(s.run("policy", "-role", "plan", "-backend-config", "dynamodb_table=locks", "s3://acme/app/tf"), 0,
		"dynamodb:*:*:table/locks", "ReadLockItems is for any account or region: -account and -region narrow it.")
	s.want(s.run("policy", "-role", "gateway", "-chdir", dir), 0, "For role gateway on every state in s3://acme, with workspaces.", "ReleaseLocksAndDeleteStates", `"alias/state"`)
	s.want(s.run("policy", "-role", "gateway", "s3://acme/team"), 0, "For role gateway on every state in s3://acme/team, with workspaces.", "arn:aws:s3:::acme/env:/*/team/*")
	s.want(s.run("policy", "-role", "bucket", "-chdir", dir), 0, "For role bucket on s3://acme.", "s3:PutBucketVersioning")
}

func TestPolicy_Targets(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, tc := range []struct {
		args         []string
		note, policy string
		absent       string
	}{
		{[]string{"s3://acme/app/tf"}, "on the one state s3://acme/app/tf. Its workspaces: -workspaces. The states below a prefix: s3://acme/app/tf/", `acme/app/tf"`, "env:/*"},
		{[]string{"-workspaces", "s3://acme/app/tf"}, "on s3://acme/app/tf and its workspaces.", "acme/env:/*/app/tf", "app/tf/*"},
		{[]string{"s3://acme/app/"}, "on every state in s3://acme/app, with workspaces", "acme/app/*", `acme/app"`},
		{[]string{"s3://acme"}, "on every state in s3://acme, with workspaces", "acme/*", "s3:prefix"},
		{[]string{"s3://acme/" + strings.Repeat("k", 600)}, "AWS allows 6144 in a managed policy", "s3:ListBucket", "never"},
	} {
		o := s.run(append([]string{"policy", "-role", "apply"}, tc.args...)...)
		s.want(o, 0)
		if !strings.Contains(o.err, tc.note) || !strings.Contains(o.out, tc.policy) || strings.Contains(o.out, tc.absent) {
			t.Errorf("%q: want the note %q, the policy with %q and without %q, got %s%s", tc.args, tc.note, tc.policy, tc.absent, o.err, o.out)
		}
	}
	for _, tc := range []struct {
		args []string
		text string
	}{
		{[]string{"s3://acme"}, "-role is missing: plan, apply, unlock, admin, bucket"},
		{[]string{"-role", "root", "s3://acme"}, `"root": want one of plan`},
		{[]string{"-role", "plan", "acme"}, "s3://BUCKET"},
		{[]string{"-role", "plan", "s3://a", "s3://b"}, "at most"},
		{[]string{"-role", "bucket", "s3://acme/app/"}, "give s3://acme"},
		{[]string{"-role", "audit", "s3://acme"}, "give s3://acme/PREFIX"},
		{[]string{"-role", "plan", "-account", "me", "s3://acme/k"}, `account "me"`},
		{[]string{"-role", "plan", "s3://acme/k.tflock"}, ".tflock"},
		{[]string{"-role", "plan", "-chdir", t.TempDir()}, "terraform init"},
	} {
		if o := s.run(append([]string{"policy"}, tc.args...)...); o.code != 2 || o.out != "" || !strings.Contains(o.err, tc.text) {
			t.Errorf("%q: want exit 2 and %q, got %+v", tc.args, tc.text, o)
		}
	}
}
