package bootstrap

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/plural"
	"github.com/statelatch/statelatch/internal/safejson"
)

// Severity of a finding.
type Severity int

// From "nothing to say" to "mend this now".
const (
	OK      Severity = iota // it is as it should be
	Note                    // good to know
	Warning                 // something can go wrong
	Error                   // something is wrong
)

var severities = [...]string{"ok", "note", "warning", "error"}

// String is "ok", "note", "warning" or "error".
func (s Severity) String() string { return severities[s] }

// ParseSeverity reads what String writes. Errors match [statelatch.ErrInvalid].
func ParseSeverity(s string) (Severity, error) {
	if i := slices.Index(severities[:], s); i > 0 {
		return Severity(i), nil
	}
	return OK, fmt.Errorf("%w severity %q: want error, warning or note", statelatch.ErrInvalid, s)
}

// Finding is one thing that was looked at.
type Finding struct {
	ID       string   // the same for ever
	Severity Severity // how bad it is
	What     string   // what was found, one line for people
	Why      string   // why it matters
	Fix      string   // the command that mends it; empty where there is none
	Skipped  bool     // it could not be looked at; What says why
}

// MarshalJSON is as docs/JSON.md has it.
func (f Finding) MarshalJSON() ([]byte, error) {
	return safejson.Marshal(struct {
		ID       string `json:"id"`
		Severity string `json:"severity"`
		Checked  bool   `json:"checked"`
		What     string `json:"what"`
		Why      string `json:"why,omitempty"`
		Fix      string `json:"fix,omitempty"`
	}{f.ID, f.Severity.String(), !f.Skipped, f.What, f.Why, f.Fix})
}

// Worst is the severity of the worst of findings.
func Worst(findings []Finding) Severity {
	worst := OK
	for _, f := range findings {
		worst = max(worst, f.Severity)
	}
	return worst
}

const (
	staleAfter  = 24 * time.Hour
	manyLitter  = 100 // old versions and markers of locks below which nobody needs to know
	shortOfDays = 7   // of history
)

// Subject is what [Check] judges.
type Subject struct {
	Scope           statelatch.Scope         // the bucket, or the part of it that states are in
	WorkspacePrefix string                   // the backend's workspace_key_prefix; may be empty
	Region          string                   // that the bucket is reached in
	Endpoint        string                   // empty: AWS's own
	Bucket          Actual                   // Exists
	Contents        Contents                 // what lies in Scope
	ContentsErr     error                    // why Contents are not known
	Now             time.Time                // for the ages of locks
	Command         func(verb string) string // makes a command for the scope: "bucket init"
}

// Check judges a bucket: at least one finding for each setting, in a fixed order. It asks nothing of the store.
func Check(s Subject) []Finding {
	c := &checker{Subject: s}
	for _, check := range []func(){
		c.transport, c.versioning, c.mfaDelete, c.encryption, c.publicAccess, c.policy, c.objectLock, c.lifecycle,
		c.replication, c.requesterPays, c.contents,
	} {
		check()
	}
	return c.findings
}

type checker struct {
	Subject
	findings []Finding
}

func (c *checker) find(id string, severity Severity, what, why, fix string) {
	c.findings = append(c.findings, Finding{ID: id, Severity: severity, What: what, Why: why, Fix: fix})
}

func (c *checker) ok(id, what string) { c.find(id, OK, what, "", "") }

// readable reports whether a setting is known. What the store does not have is a note: there is nothing to mend.
func (c *checker) readable(id, name string, err error) bool {
	switch {
	case err == nil:
		return true
	case errors.Is(err, statelatch.ErrUnsupported):
		c.findings = append(c.findings, Finding{ID: id, Severity: Note, What: "this store has no " + name, Skipped: true})
	default:
		c.findings = append(c.findings, Finding{
			ID: id, Severity: Warning, What: "not checked: " + err.Error(), Skipped: true,
			Why: "what cannot be seen may be wrong",
		})
	}
	return false
}

func (c *checker) transport() {
	const id = "plain-http"
	switch host := hostOf(c.Endpoint); {
	case !plainHTTP(c.Endpoint):
		c.ok(id, "requests are encrypted on their way")
	case host == "localhost" || net.ParseIP(host).IsLoopback():
		c.find(id, Note, "requests are not encrypted on their way, which stays on this machine", "", "")
	default:
		c.find(id, Error, "requests go to "+c.Endpoint+" without encryption",
			"whoever is on the way reads the secrets in states, and can change them", "use an https:// endpoint")
	}
}

func (c *checker) versioning() {
	const id = idVersioning
	is := c.Bucket.Versioning
	if errors.Is(is.Err, statelatch.ErrUnsupported) {
		c.find(id, Warning, "this store keeps no old versions", "a state that was overwritten or deleted is gone, except "+
			"for the snapshots that statelatch makes before its own writes", "")
		return
	}
	if !c.readable(id, "versioning", is.Err) {
		return
	}
	why := "without old versions there is no history, no rollback, and no telling whether an update was lost"
	switch is.Value.Status {
	case string(types.BucketVersioningStatusEnabled):
		c.ok(id, "old versions are kept")
	case "":
		c.find(id, Error, "versioning is off", why, c.Command("bucket init"))
	default:
		c.find(id, Error, "versioning is suspended", why, c.Command("bucket init"))
	}
}

func (c *checker) mfaDelete() {
	if v := c.Bucket.Versioning; v.Err == nil && v.Value.MFADelete {
		c.find("mfa-delete", Note, "MFA delete is on",
			"locking and unlocking work: a release names no version, so it writes a delete marker and needs no MFA. But "+
				"nothing tidies up: "+
				"S3 runs no lifecycle rules on such a bucket, and gc deletes versions, which needs MFA", "")
	}
}

func (c *checker) encryption() {
	const id = idEncryption
	is := c.Bucket.Encryption
	if !c.readable(id, "default encryption", is.Err) {
		return
	}
	if is.Value.Algorithm == "" {
		c.find(id, Error, "there is no default encryption", "states hold secrets, and a writer that does not ask for "+
			"encryption leaves them readable on disk", c.Command("bucket init"))
		return
	}
	c.ok(id, "objects are encrypted by default: "+is.Value.String())
}

func (c *checker) publicAccess() {
	const id = idPublicAccess
	is := c.Bucket.PublicAccess
	if c.Bucket.ACLIsPublic.Err == nil && c.Bucket.ACLIsPublic.Value && !is.Value.IgnoreACLs &&
		c.Bucket.Ownership.Value != string(types.ObjectOwnershipBucketOwnerEnforced) {
		c.find("acl-public", Error, "the bucket's ACL lets everybody in", "whoever finds the name reads or writes states",
			c.Command("bucket init"))
	}
	if !c.readable(id, "public access block", is.Err) {
		return
	}
	if is.Value != allBlocked {
		c.find(id, Warning, "public access is not blocked ("+is.Value.String()+")",
			"one careless ACL or policy opens every state to the world", c.Command("bucket init"))
		return
	}
	c.ok(id, "public access is blocked")
}

func (c *checker) policy() {
	const id, idPublic = "policy-tls", "policy-public"
	is := c.Bucket.Policy
	if !c.readable(idPolicy, "bucket policies", is.Err) {
		return
	}
	doc, err := parsePolicy(is.Value)
	if err != nil {
		c.find(idPolicy, Warning, err.Error(), "what cannot be read may be wrong", "")
		return
	}
	switch {
	case !doc.public(c.Bucket.PolicyIsPublic):
		c.ok(idPublic, "the bucket policy lets no strangers in")
	case c.Bucket.PublicAccess.Value.RestrictBuckets:
		c.find(idPublic, Warning, "the bucket policy lets everybody in, and only the public access block stops it",
			"it takes effect with the next change of that block",
			c.aws("get-bucket-policy")+", and remove the statement")
	default:
		c.find(idPublic, Error, "the bucket policy lets everybody in", "whoever finds the name reads or writes states",
			c.aws("get-bucket-policy")+", and remove the statement")
	}
	d := Desired{Bucket: c.Scope.Bucket, Region: c.Region, Endpoint: c.Endpoint}
	c.gateway(doc, d.arn())
	switch {
	case doc.implies(tlsOnly(d.arn())):
		c.ok(id, "the bucket policy refuses requests without TLS")
	case plainHTTP(c.Endpoint):
		c.find(id, Note, "the bucket policy does not refuse requests without TLS: the endpoint has none", "", "")
	default:
		c.find(id, Warning, "the bucket policy does not refuse requests without TLS",
			"a client with an http:// endpoint sends states in the clear", c.Command("bucket init"))
	}
}

// gateway looks at who may write.
func (c *checker) gateway(doc policyDocument, arn string) {
	const id = "gateway-only"
	role, i := doc.gateway(arn), doc.index(sidGatewayOnly)
	switch {
	case role != "":
		c.ok(id, "only "+role+" writes states and locks")
	case i < 0:
		c.ok(id, "no gateway is set up to be the only writer")
	default:
		meant := "ROLE_ARN"
		if roles := excepted(doc.statements[i]); len(roles) == 1 && roleARN.MatchString(roles[0]) {
			meant = roles[0]
		}
		c.find(id, Warning, "the statement "+sidGatewayOnly+" of the bucket policy is not what bucket init -gateway wrote: "+
			"it may let others than the gateway write", "whoever gets around the gateway overwrites states and removes locks "+
			"of others unseen", c.Command("bucket init -gateway "+meant))
	}
}

func (c *checker) aws(subcommand string) string {
	return "aws s3api " + subcommand + " --bucket " + c.Scope.Bucket
}

func (c *checker) objectLock() {
	const id = "object-lock"
	if strings.HasSuffix(hostOf(c.Endpoint), ".r2.cloudflarestorage.com") {
		c.findings = append(c.findings, Finding{
			ID: id, Severity: Note, Skipped: true, What: "not checked: R2 does not tell about its bucket lock rules over S3",
			Why: "a rule that covers a key refuses to overwrite and to delete it, so that no lock is ever released and " +
				"no state updated",
			Fix: "look at the bucket's lock rules in the dashboard, and leave states and locks out of them",
		})
		return
	}
	is := c.Bucket.ObjectLock
	if !c.readable(id, "Object Lock", is.Err) {
		return
	}
	switch l := is.Value; {
	case l.Mode != "":
		who := "nobody can shorten that"
		if l.Mode == string(types.ObjectLockRetentionModeGovernance) {
			who = "only s3:BypassGovernanceRetention gets around that"
		}
		c.find(id, Warning, fmt.Sprintf("Object Lock keeps every version for %s (%s)", plural.Of(l.Days, "day"), l.Mode),
			"it does not stop locking, and it stops neither a stolen lock nor an overwritten state: a release writes a delete "+
				"marker, a write a new version. But each lock "+
				"leaves a version that cannot be deleted for that long, by gc and lifecycle rules neither; "+who+
				". It protects the history of states",
			c.aws("put-object-lock-configuration")+" --object-lock-configuration ObjectLockEnabled=Enabled (for no "+
				"default retention)")
	case l.Enabled:
		c.ok(id, "Object Lock is on, without a default retention")
	default:
		c.ok(id, "no version is kept from being deleted")
	}
}

func (c *checker) replication() {
	const id = "replication"
	is := c.Bucket.Replication
	if !c.readable(id, "replication", is.Err) {
		return
	}
	var to []string
	for _, r := range is.Value {
		if r.Status == types.ReplicationRuleStatusEnabled && r.Destination != nil {
			to = append(to, strings.TrimPrefix(aws.ToString(r.Destination.Bucket), "arn:aws:s3:::"))
		}
	}
	if len(to) == 0 {
		c.ok(id, "nothing is replicated")
		return
	}
	c.find(id, Warning, "objects are replicated to "+strings.Join(slices.Compact(to), ", "),
		"a lock in a replica locks nothing: replication lags, and conditions are judged in one bucket alone. Point no "+
			"backend at the replica, or at an "+
			"endpoint that chooses between the two, unless this bucket is lost", "")
}

func (c *checker) requesterPays() {
	const id = "requester-pays"
	is := c.Bucket.RequesterPays
	if !c.readable(id, "request payment", is.Err) {
		return
	}
	if is.Value {
		c.find(id, Warning, "the requester pays", "engines do not offer to, so that every account but the owner's is refused",
			c.aws("put-bucket-request-payment")+" --request-payment-configuration Payer=BucketOwner")
		return
	}
	c.ok(id, "the bucket's owner pays")
}

func (c *checker) contents() {
	const idStale, idLitter = "stale-locks", "lock-litter"
	if c.ContentsErr != nil {
		c.readable(idStale, "listing", c.ContentsErr)
		return
	}
	oldest, count := c.Contents.stale(c.Now)
	if count > 0 {
		c.find(idStale, Warning, fmt.Sprintf("%d of %s not written for more than a day, the oldest since %s: %s", count,
			plural.Of(len(c.Contents.Locks), "lock"),
			oldest.LastModified.UTC().Format("2006-01-02 15:04"), oldest.Key),
			"hardly a run takes that long: whoever held them is probably dead, and they block everybody", c.Command("locks"))
	} else {
		c.ok(idStale, plural.Of(len(c.Contents.Locks), "lock")+", none older than a day")
	}
	if c.Contents.Versions != nil {
		c.readable(idLitter, "versions to list", c.Contents.Versions)
		return
	}
	if n := c.Contents.Litter; n >= manyLitter {
		c.find(idLitter, Note, fmt.Sprintf("%s, %d of them at %s", litter(n), c.Contents.Most, c.Contents.MostKey),
			"they cost little, but slow down every listing of versions", c.Command("gc"))
	} else {
		c.ok(idLitter, litter(n))
	}
}

func looksLikeState(key string) bool { return strings.HasSuffix(key, ".tfstate") }

func litter(n int) string {
	if n == 1 {
		return "1 old version or delete marker of locks"
	}
	return fmt.Sprintf("%d old versions and delete markers of locks", n)
}
