// Package policytest holds the policies that package policy writes against AWS's tables, decides requests by them, and
// tells which of their parts no request has needed.
//
// It is stricter than AWS: an action, a resource or a condition key that package policy has no use for is an error, and
// so are two statements with the same Sid.
package policytest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/statelatch/statelatch/internal/iampolicy"
)

// Policy is a policy that remembers which of its parts were needed.
type Policy struct {
	policy *iampolicy.Policy
	parts  []string        // of all statements that allow: actions, resources and condition values, each with its Sid
	used   map[string]bool // of parts
}

// Request is what a call asks IAM for.
type Request struct {
	Action   string              // such as "s3:GetObject"
	Resource string              // an ARN
	Context  map[string][]string // by condition key; an absent key is not in the request
}

// String names the request, for messages.
func (r Request) String() string {
	s := r.Action + " on " + r.Resource
	if len(r.Context) > 0 {
		s += fmt.Sprintf(" %v", r.Context)
	}
	return s
}

func (r Request) iam() iampolicy.Request {
	return iampolicy.Request{Action: r.Action, Resource: r.Resource, Context: r.Context}
}

// Resources as the actions want them.
var (
	object = regexp.MustCompile(`^arn:aws(-[a-z-]+)?:s3:(::[^/]+/|[^:]*:\d{12}:accesspoint/[^/]+/object/).+$`)
	bucket = regexp.MustCompile(`^arn:aws(-[a-z-]+)?:s3:(::[^/]+|[^:]*:\d{12}:accesspoint/[^/]+)$`)
	table  = regexp.MustCompile(`^arn:aws(-[a-z-]+)?:dynamodb:[^:]+:[^:]+:table/[^/]+$`)
	key    = regexp.MustCompile(`^arn:aws(-[a-z-]+)?:kms:[^:]+:[^:]+:key/.+$`)
)

// writeConditions are whether a write is conditional, with the values of its headers.
var writeConditions = []string{"s3:if-none-match", "s3:if-match"}

// actions are the actions that are known, with the resource and the condition keys that they have (Service
// Authorization Reference).
var actions = map[string]struct {
	resource   *regexp.Regexp
	conditions []string
}{
	"s3:GetObject":                        {object, nil},
	"s3:GetObjectVersion":                 {object, nil},
	"s3:PutObject":                        {object, writeConditions},
	"s3:PutObjectAcl":                     {object, writeConditions},
	"s3:PutObjectTagging":                 {object, writeConditions},
	"s3:DeleteObject":                     {object, nil},
	"s3:DeleteObjectVersion":              {object, nil},
	"s3:ListBucket":                       {bucket, []string{"s3:prefix"}},
	"s3:ListBucketVersions":               {bucket, []string{"s3:prefix"}},
	"s3:GetBucketAcl":                     {bucket, nil},
	"s3:GetBucketRequestPayment":          {bucket, nil},
	"s3:CreateBucket":                     {bucket, nil},
	"s3:PutBucketVersioning":              {bucket, nil},
	"s3:PutEncryptionConfiguration":       {bucket, nil},
	"s3:PutBucketPublicAccessBlock":       {bucket, nil},
	"s3:PutBucketOwnershipControls":       {bucket, nil},
	"s3:PutBucketPolicy":                  {bucket, nil},
	"s3:PutLifecycleConfiguration":        {bucket, nil},
	"s3:PutBucketLogging":                 {bucket, nil},
	"s3:PutBucketTagging":                 {bucket, nil},
	"s3:GetBucketTagging":                 {bucket, nil},
	"s3:GetBucketLocation":                {bucket, nil},
	"s3:GetBucketVersioning":              {bucket, nil},
	"s3:GetEncryptionConfiguration":       {bucket, nil},
	"s3:GetBucketPublicAccessBlock":       {bucket, nil},
	"s3:GetBucketOwnershipControls":       {bucket, nil},
	"s3:GetBucketPolicy":                  {bucket, nil},
	"s3:GetBucketPolicyStatus":            {bucket, nil},
	"s3:GetLifecycleConfiguration":        {bucket, nil},
	"s3:GetBucketLogging":                 {bucket, nil},
	"s3:GetBucketObjectLockConfiguration": {bucket, nil},
	"s3:GetReplicationConfiguration":      {bucket, nil},
	"dynamodb:GetItem":                    {table, []string{"dynamodb:LeadingKeys"}},
	"dynamodb:PutItem":                    {table, []string{"dynamodb:LeadingKeys"}},
	"dynamodb:DeleteItem":                 {table, []string{"dynamodb:LeadingKeys"}},
	"dynamodb:Scan":                       {table, nil},
	"kms:Decrypt": {
		key,
		[]string{"kms:ViaService", "kms:EncryptionContext:aws:s3:arn", "kms:ResourceAliases"},
	},
	"kms:GenerateDataKey": {
		key,
		[]string{"kms:ViaService", "kms:EncryptionContext:aws:s3:arn", "kms:ResourceAliases"},
	},
}

// multivalued are the condition keys that may have several values in a request, and so need a set operator.
var multivalued = []string{"dynamodb:LeadingKeys", "kms:ResourceAliases"}

var sid = regexp.MustCompile(`^[A-Za-z0-9]*$`)

// Parse reads a policy.
func Parse(document []byte) (*Policy, error) {
	parsed, err := iampolicy.ParseIdentity(document)
	if err != nil {
		return nil, err
	}
	if parsed.Version != "2012-10-17" {
		return nil, fmt.Errorf("want a policy of version 2012-10-17, got %s", document)
	}
	p := &Policy{policy: parsed, used: map[string]bool{}}
	var sids []string
	for i := range parsed.Statements {
		s := &parsed.Statements[i]
		if err := check(s); err != nil {
			return nil, fmt.Errorf("statement %q: %w", s.Sid, err)
		}
		if s.Sid != "" && slices.Contains(sids, s.Sid) {
			return nil, fmt.Errorf("two statements %q", s.Sid)
		}
		sids = append(sids, s.Sid)
		if s.Deny { // nothing needs it
			continue
		}
		for part := range parts(s) {
			p.parts = append(p.parts, part)
		}
	}
	slices.Sort(p.parts)
	return p, nil
}

func check(s *iampolicy.Statement) error {
	if !sid.MatchString(s.Sid) || len(s.Actions) == 0 || len(s.Resources) == 0 {
		return fmt.Errorf("want an alphanumeric Sid, actions and resources, got %+v", s)
	}
	for _, a := range s.Actions {
		known, ok := actions[a.Text]
		if !ok {
			return fmt.Errorf("unknown action %q", a.Text)
		}
		for _, r := range s.Resources {
			if !known.resource.MatchString(r.Text) {
				return fmt.Errorf("%s knows no resource like %s", a.Text, r.Text)
			}
		}
		for _, c := range s.Conditions {
			if !slices.Contains(known.conditions, c.Key) {
				return fmt.Errorf("%s knows no condition key %s", a.Text, c.Key)
			}
			if strings.Contains(c.Operator, ":") != slices.Contains(multivalued, c.Key) {
				return fmt.Errorf("operator %s does not fit %s", c.Operator, c.Key)
			}
		}
	}
	return nil
}

// parts are all parts of the statement, and how each compares with a request.
func parts(s *iampolicy.Statement) map[string]func(iampolicy.Request) bool {
	all := map[string]func(iampolicy.Request) bool{}
	for _, a := range s.Actions {
		all[s.Sid+" "+a.Text] = func(r iampolicy.Request) bool { return a.Match(r.Action) }
	}
	for _, resource := range s.Resources {
		all[s.Sid+" "+resource.Text] = func(r iampolicy.Request) bool { return resource.Match(r.Resource) }
	}
	for _, c := range s.Conditions {
		for i, v := range c.Values {
			all[s.Sid+" "+c.Operator+" "+c.Key+" "+v] = func(r iampolicy.Request) bool { return c.MatchesBy(i, r) }
		}
	}
	return all
}

// Allows decides a request.
func (p *Policy) Allows(r Request) bool {
	asked := r.iam()
	if p.policy.Decide(asked) != iampolicy.Allowed {
		return false
	}
	for i := range p.policy.Statements {
		s := &p.policy.Statements[i]
		if s.Deny || !s.Matches(asked) {
			continue
		}
		for part, matches := range parts(s) {
			if matches(asked) {
				p.used[part] = true
			}
		}
	}
	return true
}

// Unused are the parts that no request has needed so far: "SID ACTION", "SID RESOURCE" or "SID OPERATOR KEY VALUE".
func (p *Policy) Unused() []string {
	return slices.DeleteFunc(slices.Clone(p.parts), func(part string) bool { return p.used[part] })
}
