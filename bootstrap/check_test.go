package bootstrap

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/fleet"
)

func subject() Subject {
	d := desired()
	return Subject{
		Scope: statelatch.Scope{Bucket: d.Bucket, Prefix: "team-a"}, WorkspacePrefix: "env:", Region: d.Region, Endpoint: d.Endpoint,
		Bucket: complete(d), Now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), Command: func(verb string) string { return "statelatch " + verb },
	}
}

func TestCheck_NothingToSay(t *testing.T) {
	t.Parallel()
	for _, f := range Check(subject()) {
		if f.Severity != OK {
			t.Errorf("%s: %s: %s", f.ID, f.Severity, f.What)
		}
	}
}

func TestCheck_Findings(t *testing.T) {
	t.Parallel()
	rule := func(prefix string, change func(*types.LifecycleRule)) func(*Subject) {
		return func(s *Subject) {
			r := types.LifecycleRule{ID: aws.String("r"), Status: "Enabled", Filter: &types.LifecycleRuleFilter{Prefix: &prefix}}
			change(&r)
			s.Bucket.Lifecycle.Value.Rules = append(s.Bucket.Lifecycle.Value.Rules, r)
		}
	}
	expires := func(r *types.LifecycleRule) { r.Expiration = &types.LifecycleExpiration{Days: aws.Int32(90)} }
	for _, tc := range []struct {
		name   string
		change func(*Subject)
		want   string // findings that are not ok: severity id
		text   string
	}{
		{"versioning off", func(s *Subject) { s.Bucket.Versioning.Value.Status = "" }, "error versioning", "statelatch bucket init"},
		{"versioning suspended", func(s *Subject) { s.Bucket.Versioning.Value.Status = "Suspended" }, "error versioning", "suspended"},
		{"no versions", func(s *Subject) { s.Bucket.Versioning = Setting[Versioning]{Err: statelatch.ErrUnsupported} }, "warning versioning", "snapshots"},
		{"MFA delete", func(s *Subject) { s.Bucket.Versioning.Value.MFADelete = true }, "note mfa-delete", "unlocking work"},
		{"no encryption", func(s *Subject) { s.Bucket.Encryption.Value = Encryption{} }, "error encryption", ""},
		{"not blocked", func(s *Subject) { s.Bucket.PublicAccess.Value = PublicAccess{} }, "warning public-access", ""},
		{"public ACL", func(s *Subject) {
			s.Bucket.PublicAccess.Value.IgnoreACLs, s.Bucket.Ownership.Value, s.Bucket.ACLIsPublic.Value = false, "ObjectWriter", true
		}, "error acl-public, warning public-access", ""},
		{"public policy", func(s *Subject) {
			s.Bucket.PolicyIsPublic.Value, s.Bucket.PublicAccess.Value.RestrictBuckets = true, false
		}, "warning public-access, error policy-public", "get-bucket-policy"},
		{"public policy, seen by its text", func(s *Subject) {
			s.Bucket.PolicyIsPublic.Err, s.Bucket.PublicAccess.Value.RestrictBuckets = statelatch.ErrUnsupported, false
			s.Bucket.Policy.Value = `{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"*"}]}`
		}, "warning public-access, error policy-public, warning policy-tls", ""},
		{"public policy, blocked", func(s *Subject) { s.Bucket.PolicyIsPublic.Value = true }, "warning policy-public", ""},
		{"no TLS only", func(s *Subject) { s.Bucket.Policy.Value = "" }, "warning policy-tls", ""},
		{"plain HTTP", func(s *Subject) { s.Endpoint = "http://store.example.com" }, "error plain-http", ""},
		{"plain HTTP on this machine", func(s *Subject) { s.Endpoint = "http://127.0.0.1:9" }, "note plain-http", ""},
		{"B36 retention", func(s *Subject) { s.Bucket.ObjectLock.Value = ObjectLock{true, "COMPLIANCE", 90} }, "warning object-lock", "does not stop locking"},
		{"retention off", func(s *Subject) { s.Bucket.ObjectLock.Value = ObjectLock{Enabled: true} }, "", ""},
		{"B36 R2", func(s *Subject) { s.Endpoint = "https://x.r2.cloudflarestorage.com" }, "note object-lock", "bucket lock rules"},
		{"expires everything", rule("", expires), "error lifecycle-expires-states", "second time"},
		{"expires the scope", rule("team-", expires), "error lifecycle-expires-states", ""},
		{"expires workspaces", rule("env:/", expires), "error lifecycle-expires-states", ""},
		{"expires a part", rule("team-a/logs/", expires), "warning lifecycle-expires-states", ""},
		{"expires the whole scope with a slash", rule("team-a/", expires), "error lifecycle-expires-states", ""},
		{"expires a neighbour", rule("team-ab/", expires), "", ""},
		{"expires a neighbour's workspaces", rule("env:/dev/team-b/", expires), "", ""},
		{"expires a workspace of the scope", rule("env:/dev/team-a", expires), "warning lifecycle-expires-states", ""},
		{"expires some workspaces", rule("env:/d", expires), "warning lifecycle-expires-states", ""},
		{"expires what is tiny", rule("", func(r *types.LifecycleRule) {
			expires(r)
			r.Filter = &types.LifecycleRuleFilter{ObjectSizeLessThan: aws.Int64(100)}
		}), "warning lifecycle-expires-states", ""},
		{"litter of workspaces alone", func(s *Subject) {
			r := lifecycleRules(30)[0]
			r.Filter = &types.LifecycleRuleFilter{Prefix: aws.String("env:/")}
			s.Bucket.Lifecycle.Value.Rules = []types.LifecycleRule{r}
		}, "note lifecycle-litter", ""},
		{"expires something else", rule("logs/", expires), "", ""},
		{"expires what is tagged", rule("", func(r *types.LifecycleRule) {
			expires(r)
			r.Filter = &types.LifecycleRuleFilter{Tag: &types.Tag{Key: aws.String("k"), Value: aws.String("v")}}
		}), "warning lifecycle-expires-states", ""},
		{"disabled", rule("", func(r *types.LifecycleRule) { expires(r); r.Status = "Disabled" }), "", ""},
		{"archives", rule("", func(r *types.LifecycleRule) {
			r.Transitions = []types.Transition{{Days: aws.Int32(1), StorageClass: types.TransitionStorageClassGlacier}}
		}), "error lifecycle-archives-states", ""},
		{"short history", rule("", func(r *types.LifecycleRule) {
			r.NoncurrentVersionExpiration = &types.NoncurrentVersionExpiration{NoncurrentDays: aws.Int32(2)}
		}), "note lifecycle-short-history", "2 days"},
		{"no litter rule", func(s *Subject) { s.Bucket.Lifecycle.Value.Rules = nil }, "note lifecycle-litter", ""},
		{"replication", func(s *Subject) {
			s.Bucket.Replication.Value = []types.ReplicationRule{{Status: "Enabled", Destination: &types.Destination{Bucket: aws.String("arn:aws:s3:::copy")}}}
		}, "warning replication", "to copy"},
		{"requester pays", func(s *Subject) { s.Bucket.RequesterPays.Value = true }, "warning requester-pays", ""},
		{"stale locks", func(s *Subject) {
			s.Contents.Locks = []bucket.Object{{Key: "a.tflock", LastModified: s.Now.Add(-25 * time.Hour)}, {Key: "b.tflock", LastModified: s.Now}}
		}, "warning stale-locks", "1 of 2 locks"},
		{"litter", func(s *Subject) { s.Contents.Litter, s.Contents.Most, s.Contents.MostKey = 452, 400, "a.tflock" }, "note lock-litter", "statelatch gc"},
		{"denied", func(s *Subject) {
			s.Bucket.Encryption.Err = &statelatch.StoreError{Kind: statelatch.ErrDenied, Action: "s3:GetEncryptionConfiguration"}
		}, "warning encryption", "s3:GetEncryptionConfiguration"},
		{"unsupported", func(s *Subject) { s.Bucket.Replication.Err = statelatch.ErrUnsupported }, "note replication", "no replication"},
		{"no listing", func(s *Subject) { s.ContentsErr = statelatch.ErrDenied }, "warning stale-locks", "not checked"},
	} {
		s := subject()
		tc.change(&s)
		var got []string
		text := ""
		for _, f := range Check(s) {
			if f.Severity == OK || f.ID == "policy-tls" && f.Severity == Note { // which follows from plain HTTP
				continue
			}
			got = append(got, fmt.Sprintf("%s %s", f.Severity, f.ID))
			text += f.What + f.Why + f.Fix
		}
		if strings.Join(got, ", ") != tc.want || !strings.Contains(text, tc.text) {
			t.Errorf("%s: got %v (%s), want %s with %q", tc.name, got, text, tc.want, tc.text)
		}
	}
}

func TestLook_CountsLitter(t *testing.T) {
	t.Parallel()
	b := membucket.New("acme-state", membucket.Options{Versioned: true})
	put := func(key string) {
		if _, err := b.Put(t.Context(), key, strings.NewReader("x"), bucket.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		put("team-a/x.tfstate.tflock")
		if _, err := b.Delete(t.Context(), "team-a/x.tfstate.tflock", bucket.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"team-a/x.tfstate", "team-a/x.tfstate", "team-a/y.tfstate.tflock", "env:/w/team-a/z.tfstate.tflock", "team-a/readme", "team-b/x.tfstate.tflock"} {
		put(key)
	}
	c, err := Look(t.Context(), b, statelatch.Scope{Bucket: "acme-state", Prefix: "team-a"}, fleet.WalkOptions{WorkspacePrefix: "env:"})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Locks) != 2 || c.States != 1 || c.Others != 1 || c.Example != "team-a/readme" || c.Litter != 6 || c.Most != 6 || c.MostKey != "team-a/x.tfstate.tflock" {
		t.Errorf("got %+v, want 2 locks, 1 state, 1 other, 6 of litter at team-a/x.tfstate.tflock", c)
	}
}
