// Package policy writes AWS IAM policies: what a person or a pipeline needs to work on one state, on the states below a
// prefix or on a whole bucket, and no more.
//
// What it guarantees: each role can make every S3 and DynamoDB call that its commands make, ours and the engines', and
// nothing in its policy is there for nothing; the end-to-end tests hold the policies against recorded calls; and no
// role that may write below a prefix rewrites or deletes events of an audit log there. It does no I/O and knows no
// credentials. What it does not: an asterisk of IAM matches slashes, too, so that the named workspaces of "app/x"
// ("env:/*/app/x") include those of "other/app/x". The calls that S3 makes to KMS cannot be recorded; their conditions
// follow the documentation. Whether the account's own rules (a bucket policy, a permissions boundary, the KMS key's
// policy) allow it as well cannot be seen from here.
package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
)

// Role is what a policy is for.
type Role string

// The roles.
const (
	// Plan reads: plan -lock=false, run -read, status, states, history, show, diff, pull. It cannot take a lock.
	Plan Role = "plan"
	// Apply reads, locks and writes: every command of the engines but workspace delete; run, lock, unlock, push.
	Apply Role = "apply"
	// Unlock sees locks and removes them. That includes writing the state: its old holder must not write any more,
	// so the state is rewritten, with the same content.
	Unlock Role = "unlock"
	// Admin is Apply, and deletes workspaces, cleans up (gc), and probes the store (probe).
	Admin Role = "admin"
	// Bucket sets up a bucket and checks it. It reads no state and no lock.
	Bucket Role = "bucket"
	// Audit appends to an audit log and verifies it. It rewrites and deletes nothing.
	Audit Role = "audit"
	// Gateway is a gateway's own (serve -store): what it does for those whom its rules let, probes of its clients
	// included. It needs no lock table: engines that have one lock that themselves.
	Gateway Role = "gateway"
)

// Roles are all roles.
var Roles = []Role{Plan, Apply, Unlock, Admin, Bucket, Audit, Gateway}

// ParseRole reads a role's name. Errors match [statelatch.ErrInvalid].
func ParseRole(name string) (Role, error) {
	if r := Role(name); slices.Contains(Roles, r) {
		return r, nil
	}
	var names []string
	for _, r := range Roles {
		names = append(names, string(r))
	}
	return "", fmt.Errorf("%w role %q: want one of %s", statelatch.ErrInvalid, name, strings.Join(names, ", "))
}

// Target is what a policy allows to work on, and where that is.
type Target struct {
	Bucket     string // its name; required
	Key        string // of one state; empty: all below Prefix
	Workspaces bool   // with Key: its named workspaces, too. Without Key they always belong to it
	Prefix     string // without a slash at either end; empty: the whole bucket

	WorkspacePrefix string // the backend's workspace_key_prefix; may be empty

	KMSKey string // that the objects are encrypted with: an ARN, a key ID or "alias/NAME"; empty: none of one's own
	Table  string // the DynamoDB lock table: a name or an ARN; empty: none
	Tags   bool   // the backend tags its objects
	ACL    bool   // the backend sets an ACL on its objects
	Probed bool   // it is not AWS's own S3, so that whoever takes a lock first probes it

	Partition string // empty: that of Region
	Region    string // of the bucket, the key and the table; empty: any
	Account   string // of the key and the table; empty: any
}

// For writes the policy of a role. Errors match [statelatch.ErrInvalid].
func For(role Role, t Target) (Document, error) {
	if err := t.validate(role); err != nil {
		return Document{}, err
	}
	t = t.settled()
	switch role {
	case Bucket:
		return document(t.bucket()...), nil
	case Audit:
		return document(t.auditLog()...), nil
	case Gateway:
		t.Table = ""
	}
	if t.express() {
		return document(t.inSessions(role)...), nil
	}
	read := []string{"", statelatch.LockKeySuffix, historySuffix}
	write := []string{"", statelatch.LockKeySuffix, historySuffix, rescueSuffix}
	touch := []string{"", statelatch.LockKeySuffix}
	items := t.objects("", statelatch.DigestIDSuffix)
	var all []Statement
	switch role {
	case Plan:
		all = slices.Concat(
			t.list(read, "s3:ListBucket", "s3:ListBucketVersions"),
			t.on("ReadStatesAndLocks", t.objects(read...), "s3:GetObject"),
			t.on("ReadOldStatesAndLocks", t.objects(touch...), "s3:GetObjectVersion"),
			t.items("ReadLockItems", items, "GetItem"),
			t.kms(t.objects(read...), "Decrypt"))
	case Unlock:
		all = slices.Concat(
			t.list(touch, "s3:ListBucket"),
			t.on("ReadLocksAndStates", t.objects(touch...), "s3:GetObject"),
			t.on("TakeLocksAndTouchStates", t.objects(touch...), t.puts()...),
			t.on("RemoveLocks", beside(t.states(), statelatch.LockKeySuffix), "s3:DeleteObject"),
			t.items("LockItems", items, "GetItem", "PutItem"),
			t.items("RemoveLockItems", t.objects(""), "DeleteItem"),
			t.scan(),
			t.kms(t.objects(touch...), "Decrypt", "GenerateDataKey"))
	case Apply, Admin, Gateway:
		encrypted := t.objects(write...)
		if t.probes(role) {
			encrypted = append(encrypted, probed)
		}
		release := t.objects("")
		if role == Admin && t.Key != "" { // a workspace's digest goes with it
			release = append(release, beside(t.workspaceStates(), statelatch.DigestIDSuffix)...)
		}
		ends, ended := "ReleaseLocks", beside(t.states(), statelatch.LockKeySuffix)
		if role == Gateway {
			ends, ended = "ReleaseLocksAndDeleteStates", t.states()
		}
		all = slices.Concat(
			t.list(write, "s3:ListBucket", "s3:ListBucketVersions"),
			t.on("ReadStatesAndLocks", t.objects(write...), "s3:GetObject"),
			t.on("ReadOldStatesAndLocks", t.objects(touch...), "s3:GetObjectVersion"),
			t.on("WriteStatesAndLocks", t.objects(write...), t.puts()...),
			t.on(ends, ended, "s3:DeleteObject"),
			t.items("LockItems", items, "GetItem", "PutItem"),
			t.items("ReleaseLockItems", release, "DeleteItem"),
			t.kms(encrypted, "Decrypt", "GenerateDataKey"))
	}
	if role == Admin {
		all = append(all, t.admin()...)
	}
	if t.probes(role) {
		all = append(all, t.probe()...)
	}
	if role != Plan {
		all = append(all, t.keepAuditLogs()...)
	}
	return document(all...), nil
}

// admin is what Admin may beyond Apply.
func (t Target) admin() []Statement {
	return slices.Concat(
		t.on("DeleteWorkspaces", t.workspaceStates(), "s3:DeleteObject"),
		t.scan(),
		t.on("CleanUpLocks", beside(t.states(), statelatch.LockKeySuffix), "s3:DeleteObjectVersion"),
		t.on("CleanUpSnapshots", beside(t.states(), historySuffix), "s3:DeleteObject"))
}

// probed is where probes put their objects.
const probed = statelatch.ProbePrefix + "*"

func (t Target) probes(role Role) bool {
	return role == Admin || role == Gateway || role == Apply && t.Probed
}

// probe is what finding out takes whether the store can lock. AWS's own is not asked.
func (t Target) probe() []Statement {
	list := t.onBucket("ListProbes", "s3:ListBucket", "s3:ListBucketVersions")
	list[0].Condition = stringLike("s3:prefix", probed)
	return append(list, t.on("Probe", []string{probed},
		append(t.puts(), "s3:GetObject", "s3:DeleteObject", "s3:DeleteObjectVersion")...)...)
}

// bucket is what setting up and checking a bucket takes.
func (t Target) bucket() []Statement {
	return slices.Concat(
		t.onBucket("SetUpBucket", "s3:CreateBucket", "s3:PutBucketVersioning", "s3:PutEncryptionConfiguration",
			"s3:PutBucketPublicAccessBlock",
			"s3:PutBucketOwnershipControls", "s3:PutBucketPolicy", "s3:PutLifecycleConfiguration", "s3:PutBucketLogging",
			"s3:PutBucketTagging"),
		t.onBucket("CheckBucket", "s3:GetBucketLocation", "s3:GetBucketVersioning", "s3:GetEncryptionConfiguration",
			"s3:GetBucketPublicAccessBlock",
			"s3:GetBucketOwnershipControls", "s3:GetBucketPolicy", "s3:GetBucketPolicyStatus", "s3:GetLifecycleConfiguration",
			"s3:GetBucketLogging", "s3:GetBucketTagging",
			"s3:GetBucketAcl", "s3:GetBucketObjectLockConfiguration", "s3:GetReplicationConfiguration",
			"s3:GetBucketRequestPayment"),
		t.onBucket("FindLocks", "s3:ListBucket", "s3:ListBucketVersions"))
}
