package policy_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/policytest"
	"github.com/statelatch/statelatch/policy"
)

func parse(t *testing.T, d policy.Document) *policytest.Policy {
	t.Helper()
	p, err := policytest.Parse(d.JSON())
	if err != nil {
		t.Fatalf("%v\n%s", err, d.JSON())
	}
	return p
}

func policyFor(t *testing.T, role policy.Role, target policy.Target) *policytest.Policy {
	t.Helper()
	d, err := policy.For(role, target)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := policy.For(role, target)
	if !bytes.Equal(d.JSON(), again.JSON()) {
		t.Error("two documents for one request differ")
	}
	return parse(t, d)
}

// onObject, listing, onItem and onKey are requests as S3, DynamoDB and KMS put them to IAM.
func onObject(action, key string) policytest.Request {
	return policytest.Request{Action: "s3:" + action, Resource: "arn:aws:s3:::acme/" + key}
}

func listing(prefix string) policytest.Request {
	return policytest.Request{Action: "s3:ListBucket", Resource: "arn:aws:s3:::acme", Context: map[string][]string{"s3:prefix": {prefix}}}
}

func onItem(action, id string) policytest.Request {
	r := policytest.Request{Action: "dynamodb:" + action, Resource: "arn:aws:dynamodb:eu-central-1:123456789012:table/locks"}
	if id != "" {
		r.Context = map[string][]string{"dynamodb:LeadingKeys": {id}}
	}
	return r
}

func onKey(action, encrypted string) policytest.Request {
	return policytest.Request{
		Action: "kms:" + action, Resource: "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
		Context: map[string][]string{
			"kms:ViaService":                   {"s3.eu-central-1.amazonaws.com"},
			"kms:EncryptionContext:aws:s3:arn": {encrypted},
			"kms:ResourceAliases":              {"alias/other", "alias/state"},
		},
	}
}

const keyARN = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"

// The targets, all with a key and a table.
var (
	one    = policy.Target{Bucket: "acme", Key: "app/tf", WorkspacePrefix: "env:", KMSKey: keyARN, Table: "locks", Account: "123456789012"}
	spaces = with(one, func(t *policy.Target) { t.Workspaces = true })
	below  = with(one, func(t *policy.Target) { t.Key, t.Prefix = "", "app" })
	whole  = with(one, func(t *policy.Target) { t.Key = "" })
)

func with(t policy.Target, change func(*policy.Target)) policy.Target {
	change(&t)
	return t
}

func TestFor_DecidesRequests(t *testing.T) {
	t.Parallel()
	const none = ""
	letters := map[policy.Role]string{policy.Plan: "p", policy.Apply: "a", policy.Unlock: "u", policy.Admin: "x", policy.Bucket: "b", policy.Gateway: "g"}
	targets := []policy.Target{one, spaces, below, whole}
	policies := make([]map[policy.Role]*policytest.Policy, len(targets))
	for i, target := range targets {
		policies[i] = map[policy.Role]*policytest.Policy{}
		for _, role := range policy.Roles {
			if role != policy.Audit && (role != policy.Gateway || target.Key == "") && (role != policy.Bucket || target.Key == "" && target.Prefix == "") {
				policies[i][role] = policyFor(t, role, target)
			}
		}
	}
	for _, tc := range []struct {
		request policytest.Request
		// The roles that may, each by its first letter, for each target: one state, with workspaces, below a prefix,
		// the bucket.
		one, spaces, below, whole string
	}{
		{onObject("GetObject", "app/tf"), "paux", "paux", "pauxg", "pauxg"},
		{onObject("GetObject", "app/tf.tflock"), "paux", "paux", "pauxg", "pauxg"},
		{onObject("GetObject", "env:/dev/app/tf"), none, "paux", "pauxg", "pauxg"},
		{onObject("GetObject", "env:/dev/other/tf"), none, none, none, "pauxg"},
		{onObject("GetObject", "app/tf2"), none, none, "pauxg", "pauxg"},
		{onObject("GetObject", "app2/tf"), none, none, none, "pauxg"},
		{onObject("GetObjectVersion", "app/tf"), "pax", "pax", "paxg", "paxg"},
		{onObject("GetObject", "app/tf.history/x"), "pax", "pax", "pauxg", "pauxg"},
		{onObject("PutObject", "app/tf"), "aux", "aux", "auxg", "auxg"},
		{onObject("PutObject", "app/tf.tflock"), "aux", "aux", "auxg", "auxg"},
		{onObject("PutObject", "app/tf.rescue/x"), "ax", "ax", "auxg", "auxg"},
		{onObject("PutObject", "app/tf.history/x"), "ax", "ax", "auxg", "auxg"},
		{onObject("PutObject", "env:/dev/app/tf"), none, "aux", "auxg", "auxg"},
		{onObject("PutObject", "app/tf2"), none, none, "auxg", "auxg"},
		{onObject("DeleteObject", "app/tf.tflock"), "aux", "aux", "auxg", "auxg"},
		{onObject("DeleteObject", "env:/dev/app/tf.tflock"), none, "aux", "auxg", "auxg"},
		{onObject("DeleteObject", "app/tf"), none, none, "g", "g"},
		{onObject("DeleteObject", "env:/dev/app/tf"), none, "x", "xg", "xg"},
		{onObject("GetObjectVersion", "app/tf.tflock"), "pax", "pax", "paxg", "paxg"},
		{onObject("DeleteObject", "app/tf.history/x"), "x", "x", "xg", "xg"},
		{onObject("DeleteObjectVersion", "app/tf.tflock"), "x", "x", "x", "x"},
		{onObject("DeleteObjectVersion", "app/tf"), none, none, none, none},
		{onObject("PutObject", ".statelatch-probe/x"), "x", "x", "xg", "auxg"},
		{listing("env:/"), "paux", "paux", "pauxg", "pauxbg"},
		{listing("app/tf"), "paux", "paux", "pauxg", "pauxbg"},
		{listing("app/tf.tflock"), "paux", "paux", "pauxg", "pauxbg"},
		{listing("env:/dev/app/tf"), none, "paux", "pauxg", "pauxbg"},
		{listing("app"), none, none, "pauxg", "pauxbg"},
		{listing("app2/"), none, none, none, "pauxbg"},
		{listing(""), none, none, none, "pauxbg"},
		{policytest.Request{Action: "s3:ListBucket", Resource: "arn:aws:s3:::acme"}, none, none, none, "pauxbg"},
		{onItem("GetItem", "acme/app/tf"), "paux", "paux", "paux", "paux"},
		{onItem("GetItem", "acme/app/tf-md5"), "paux", "paux", "paux", "paux"},
		{onItem("PutItem", "acme/app/tf"), "aux", "aux", "aux", "aux"},
		{onItem("PutItem", "acme/env:/dev/app/tf-md5"), none, "aux", "aux", "aux"},
		{onItem("PutItem", "other/app/tf"), none, none, none, none},
		{onItem("DeleteItem", "acme/app/tf"), "aux", "aux", "aux", "aux"},
		{onItem("DeleteItem", "acme/app/tf-md5"), none, none, "aux", "aux"},
		{onItem("DeleteItem", "acme/env:/dev/app/tf-md5"), none, "x", "aux", "aux"},
		{onItem("Scan", ""), "ux", "ux", "ux", "ux"},
		{onKey("Decrypt", "arn:aws:s3:::acme/app/tf"), "paux", "paux", "pauxg", "pauxg"},
		{onKey("Decrypt", "arn:aws:s3:::acme"), "paux", "paux", "pauxg", "pauxg"},
		{onKey("Decrypt", "arn:aws:s3:::acme/app2/tf"), none, none, none, "pauxg"},
		{onKey("GenerateDataKey", "arn:aws:s3:::acme/app/tf.tflock"), "aux", "aux", "auxg", "auxg"},
		{onKey("GenerateDataKey", "arn:aws:s3:::other/app/tf"), none, none, none, none},
		{onObject("GetObject", "app/tf2.tflock"), none, none, "pauxg", "pauxg"},
		{policytest.Request{Action: "s3:PutBucketPolicy", Resource: "arn:aws:s3:::acme"}, none, none, none, "b"},
	} {
		for i, target := range targets {
			want := []string{tc.one, tc.spaces, tc.below, tc.whole}[i]
			got := ""
			for _, role := range policy.Roles {
				if p := policies[i][role]; p != nil && p.Allows(tc.request) {
					got += letters[role]
				}
			}
			if got != want {
				t.Errorf("%s: may %q, want %q, with key %q, prefix %q, workspaces %v", tc.request, got, want, target.Key, target.Prefix, target.Workspaces)
			}
		}
	}
}

// Where the store is not AWS's own, the first lock takes a probe.
func TestFor_Probe(t *testing.T) {
	t.Parallel()
	for _, role := range []policy.Role{policy.Plan, policy.Apply, policy.Unlock, policy.Admin} {
		target := with(one, func(t *policy.Target) { t.Probed = true })
		want := role == policy.Apply || role == policy.Admin
		if got := policyFor(t, role, target).Allows(onObject("PutObject", ".statelatch-probe/x")); got != want {
			t.Errorf("role %s may probe: got %v, want %v", role, got, want)
		}
		if want && !policyFor(t, role, target).Allows(onKey("GenerateDataKey", "arn:aws:s3:::acme/.statelatch-probe/x")) {
			t.Errorf("role %s may not encrypt what it probes with", role)
		}
		tagged := with(target, func(t *policy.Target) { t.Tags = true })
		if want && !policyFor(t, role, tagged).Allows(onObject("PutObjectTagging", ".statelatch-probe/x")) {
			t.Errorf("role %s may not tag what it probes with", role)
		}
	}
}

func TestFor_TakesKeysLiterally(t *testing.T) {
	t.Parallel()
	p := policyFor(t, policy.Apply, policy.Target{Bucket: "acme", Key: "a*b/${c}?", WorkspacePrefix: "env:"})
	for key, want := range map[string]bool{"a*b/${c}?": true, "axb/${c}?": false, "a*b/${c}x": false, "a*b/c?": false} {
		for _, r := range []policytest.Request{onObject("PutObject", key), listing(key)} {
			if got := p.Allows(r); got != want {
				t.Errorf("%s: allowed %v, want %v", r, got, want)
			}
		}
	}
}

// Prefixes that lie among the named workspaces, or around them, have no second copy there.
func TestFor_PrefixAndWorkspaces(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ prefix, workspaces, allowed, denied string }{
		{"env:", "env:", "env:/dev/app/tf", "app/tf"},
		{"env:/dev", "env:", "env:/dev/app/tf", "env:/prod/app/tf"},
		{"team", "team/env", "team/env/dev/app/tf", "team/app/tf"},
		{"team", "", "dev/team/tf", "team/tf.x"},
		{"", "env:", "env:/dev/app/tf", "app/tf"},
	} {
		p := policyFor(t, policy.Admin, policy.Target{Bucket: "acme", Prefix: tc.prefix, WorkspacePrefix: tc.workspaces})
		if r := onObject("DeleteObject", tc.allowed); !p.Allows(r) {
			t.Errorf("prefix %q: denied: %s", tc.prefix, r)
		}
		if r := onObject("DeleteObject", tc.denied); p.Allows(r) {
			t.Errorf("prefix %q: allowed: %s", tc.prefix, r)
		}
	}
}

func TestFor_EncryptionKey(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		key, region, account string
		want                 bool
	}{
		{keyARN, "", "", true},
		{"1234abcd-12ab-34cd-56ef-1234567890ab", "eu-central-1", "123456789012", true},
		{"1234abcd-12ab-34cd-56ef-1234567890ab", "", "", true}, // of any account
		{"1234abcd-12ab-34cd-56ef-1234567890ab", "eu-west-1", "", false},
		{"alias/state", "eu-central-1", "", true},
		{"alias/stat", "eu-central-1", "", false},
		{"arn:aws:kms:eu-central-1:123456789012:alias/state", "", "", true},
		{"arn:aws:kms:eu-central-1:210987654321:alias/state", "", "", false},
		{keyARN, "eu-west-1", "", false}, // S3 there would ask for it
	} {
		p := policyFor(t, policy.Plan, policy.Target{Bucket: "acme", Key: "app/tf", WorkspacePrefix: "env:", KMSKey: tc.key, Region: tc.region, Account: tc.account})
		if got := p.Allows(onKey("Decrypt", "arn:aws:s3:::acme/app/tf")); got != tc.want {
			t.Errorf("key %q, region %q: allowed %v, want %v", tc.key, tc.region, got, tc.want)
		}
	}
}

func TestFor_PartitionTagsAndACL(t *testing.T) {
	t.Parallel()
	for region, partition := range map[string]string{"cn-north-1": "aws-cn", "us-gov-west-1": "aws-us-gov", "eusc-de-east-1": "aws-eusc", "us-isob-east-1": "aws-iso-b", "eu-central-1": "aws", "": "aws"} {
		d, err := policy.For(policy.Apply, policy.Target{Bucket: "acme", Key: "k", Region: region, WorkspacePrefix: "env:", KMSKey: "alias/k", Table: "locks", Tags: true, ACL: true})
		if err != nil {
			t.Fatal(err)
		}
		parse(t, d)
		text := string(d.JSON())
		for line := range strings.Lines(text) {
			if strings.Contains(line, `"arn:`) && !strings.Contains(line, `"arn:`+partition+":") {
				t.Errorf("region %q: got %s, want partition %s", region, line, partition)
			}
		}
		if !strings.Contains(text, "s3:PutObjectTagging") || !strings.Contains(text, "s3:PutObjectAcl") {
			t.Errorf("tags or ACL are missing: %s", text)
		}
	}
}

func TestFor_RefusesBadTargets(t *testing.T) {
	t.Parallel()
	for field, target := range map[string]policy.Target{
		"bucket":         {Bucket: "a/b", Key: "k"},
		"key":            {Bucket: "acme", Key: "k.tflock"},
		"prefix":         {Bucket: "acme", Prefix: "a/../../b"},
		"partition":      {Bucket: "acme", Key: "k", Partition: "azure"},
		"region":         {Bucket: "acme", Key: "k", Region: "*"},
		"account":        {Bucket: "acme", Key: "k", Account: "acme"},
		"kms_key_id":     {Bucket: "acme", Key: "k", KMSKey: "arn:aws:s3:::acme"},
		"dynamodb_table": {Bucket: "acme", Key: "k", Table: "a/*"},
	} {
		if _, err := policy.For(policy.Plan, target); !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%+v: got %v, want %v that names %s", target, err, statelatch.ErrInvalid, field)
		}
	}
	if _, err := policy.For(policy.Bucket, policy.Target{Bucket: "acme", Prefix: "a"}); !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("role bucket with a prefix: got %v, want %v", err, statelatch.ErrInvalid)
	}
	if _, err := policy.For(policy.Gateway, policy.Target{Bucket: "acme", Key: "k"}); !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), "s3://acme/PREFIX") {
		t.Errorf("role gateway with a key: got %v, want %v", err, statelatch.ErrInvalid)
	}
	if _, err := policy.ParseRole("root"); !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), "unlock") {
		t.Errorf("ParseRole: got %v, want %v that names the roles", err, statelatch.ErrInvalid)
	}
}

func TestDocument_Size(t *testing.T) {
	t.Parallel()
	d, err := policy.For(policy.Admin, one)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := d.Size(), len(strings.Join(strings.Fields(string(d.JSON())), "")); got != want {
		t.Errorf("size: got %d, want %d", got, want)
	}
	long, _ := policy.For(policy.Admin, with(spaces, func(t *policy.Target) { t.Key = strings.Repeat("k", 400) }))
	if d.Size() > policy.MaxManaged || long.Size() <= policy.MaxManaged {
		t.Errorf("sizes %d and %d: want one below and one above %d", d.Size(), long.Size(), policy.MaxManaged)
	}
}

func TestGrant_AllowsWhatWasDenied(t *testing.T) {
	t.Parallel()
	store := func(action, name, key string) *statelatch.StoreError {
		return &statelatch.StoreError{Kind: statelatch.ErrDenied, Bucket: name, Key: key, Action: action}
	}
	for _, tc := range []struct {
		err     *statelatch.StoreError
		allowed []policytest.Request
		denied  policytest.Request
	}{
		{store("s3:GetObject", "acme", "app/tf"), []policytest.Request{onObject("GetObject", "app/tf"), listing("app/tf")}, listing("")},
		{store("s3:GetObjectVersion", "acme", "app/tf"), []policytest.Request{onObject("GetObjectVersion", "app/tf")}, onObject("GetObject", "app/tf")},
		{store("s3:PutObject", "acme", "app/tf"), []policytest.Request{onObject("PutObject", "app/tf")}, onObject("PutObject", "app/tf2")},
		{
			store("s3:DeleteObject and s3:GetObject", "acme", "a*.tflock"),
			[]policytest.Request{onObject("DeleteObject", "a*.tflock"), onObject("GetObject", "a*.tflock")},
			onObject("DeleteObject", "ab.tflock"),
		},
		{store("s3:ListBucket", "acme", ""), []policytest.Request{listing("x")}, onObject("GetObject", "x")},
		{store("dynamodb:PutItem", "locks", "acme/app/tf"), []policytest.Request{onItem("PutItem", "acme/app/tf")}, onItem("PutItem", "acme/app/tf-md5")},
		{store("dynamodb:Scan", "locks", ""), []policytest.Request{onItem("Scan", "")}, onItem("GetItem", "acme/app/tf")},
	} {
		d, ok := policy.Grant("eu-central-1", tc.err)
		if !ok {
			t.Errorf("%s: no policy", tc.err.Action)
			continue
		}
		p := parse(t, d)
		for _, r := range tc.allowed {
			if !p.Allows(r) {
				t.Errorf("%s: denied: %s", tc.err.Action, r)
			}
		}
		if unused := p.Unused(); len(unused) > 0 {
			t.Errorf("%s: not needed: %q", tc.err.Action, unused)
		}
		if p.Allows(tc.denied) {
			t.Errorf("%s: allowed: %s", tc.err.Action, tc.denied)
		}
	}
}

func TestGrant_Several(t *testing.T) {
	t.Parallel()
	put := &statelatch.StoreError{Kind: statelatch.ErrDenied, Bucket: "acme", Key: "k", Action: "s3:PutObject"}
	item := &statelatch.StoreError{Kind: statelatch.ErrDenied, Bucket: "locks", Key: "acme/k", Action: "dynamodb:PutItem"}
	expired := &statelatch.StoreError{Kind: statelatch.ErrDenied, Bucket: "acme", Key: "k", Code: "ExpiredToken"}
	d, ok := policy.Grant("cn-north-1", put, expired, item, put)
	if !ok || len(d.Statement) != 2 || d.Statement[0].Resource[0] != "arn:aws-cn:s3:::acme/k" {
		t.Errorf("got %s, %v, want one statement for each of the two actions", d.JSON(), ok)
	}
	if d, ok := policy.Grant("", expired); ok {
		t.Errorf("expired credentials: got %s, want none", d.JSON())
	}
}

// conditionalPut is a write with one of the two headers.
func conditionalPut(header, key string) policytest.Request {
	r := onObject("PutObject", key)
	r.Context = map[string][]string{"s3:" + header: {"x"}}
	return r
}

// An audit log below what a role writes to is appended to at most, and the role audit does no more either.
func TestFor_AuditLog(t *testing.T) {
	t.Parallel()
	const event, head = "/00000000000000000007.json", "/head.json"
	log := policyFor(t, policy.Audit, policy.Target{Bucket: "acme", Prefix: "app/audit", KMSKey: keyARN})
	for _, tc := range []struct {
		request policytest.Request
		audit   bool
		writers bool
	}{
		{onObject("GetObject", "app/audit"+event), true, true},
		{conditionalPut("if-none-match", "app/audit"+event), true, true},
		{conditionalPut("if-match", "app/audit"+event), false, false},
		{onObject("PutObject", "app/audit"+event), false, false},
		{conditionalPut("if-none-match", "app/audit"+head), true, true},
		{conditionalPut("if-match", "app/audit"+head), true, true},
		{onObject("PutObject", "app/audit"+head), false, false},
		{onObject("DeleteObject", "app/audit"+event), false, false},
		{onObject("DeleteObject", "app/audit"+head), false, false},
		{onObject("DeleteObjectVersion", "app/audit"+event), false, false},
		{onObject("PutObject", "app"+event), false, false},
		{onObject("PutObject", "app/00000000000000000007.tfstate"), false, true},
		{listing("app/audit/"), true, true},
		{onObject("GetObjectVersion", "app/audit"+event), true, false},
		{onKey("GenerateDataKey", "arn:aws:s3:::acme/app/audit"+event), true, false},
		{onObject("GetObject", "app/tf"), false, true},
	} {
		if got := log.Allows(tc.request); got != tc.audit {
			t.Errorf("%s: role audit may: %t, want %t", tc.request, got, tc.audit)
		}
		for _, target := range []policy.Target{{Bucket: "acme", Prefix: "app", WorkspacePrefix: "env:"}, {Bucket: "acme", WorkspacePrefix: "env:"}} {
			for _, role := range []policy.Role{policy.Apply, policy.Unlock, policy.Admin, policy.Gateway} {
				if role == policy.Unlock && strings.Contains(tc.request.Resource, "tfstate") {
					continue
				}
				if strings.HasPrefix(tc.request.Action, "kms:") || tc.request.Action == "s3:GetObjectVersion" || target.Prefix == "" && strings.HasPrefix(tc.request.Resource, "arn:aws:s3:::acme/app/0") {
					continue
				}
				if got := policyFor(t, role, target).Allows(tc.request); got != tc.writers {
					t.Errorf("%s: role %s of prefix %q may: %t, want %t", tc.request, role, target.Prefix, got, tc.writers)
				}
			}
		}
	}
	for _, target := range []policy.Target{{Bucket: "acme"}, {Bucket: "acme", Key: "k"}} {
		if _, err := policy.For(policy.Audit, target); !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), "PREFIX") {
			t.Errorf("%+v: got %v, want ErrInvalid", target, err)
		}
	}
}
