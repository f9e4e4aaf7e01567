// Package policytest reads IAM policies more strictly than AWS does, and decides requests by them, for tests.
//
// What it guarantees: of what package policy writes it decides as AWS documents it. What else IAM knows (NotAction,
// principals, variables other than the escapes, other operators) is an error, never passed over.
package policytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Policy is a policy that remembers which of its parts were needed.
type Policy struct {
	statements []statement
	parts      []string        // of all statements: actions, resources and condition values, each with its Sid
	used       map[string]bool // of parts
}

type statement struct {
	Sid       string
	Effect    string
	Action    []string
	Resource  []string
	Condition map[string]map[string][]string
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
	"kms:Decrypt":                         {key, []string{"kms:ViaService", "kms:EncryptionContext:aws:s3:arn", "kms:ResourceAliases"}},
	"kms:GenerateDataKey":                 {key, []string{"kms:ViaService", "kms:EncryptionContext:aws:s3:arn", "kms:ResourceAliases"}},
}

// multivalued are the condition keys that may have several values in a request, and so need a set operator.
var multivalued = []string{"dynamodb:LeadingKeys", "kms:ResourceAliases"}

var sid = regexp.MustCompile(`^[A-Za-z0-9]*$`)

// Parse reads a policy.
func Parse(document []byte) (*Policy, error) {
	var d struct {
		Version   string
		Statement []statement
	}
	dec := json.NewDecoder(bytes.NewReader(document))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return nil, err
	}
	if dec.More() || d.Version != "2012-10-17" || len(d.Statement) == 0 {
		return nil, fmt.Errorf("want one policy of version 2012-10-17 with statements, got %s", document)
	}
	p := &Policy{statements: d.Statement, used: map[string]bool{}}
	var sids []string
	for _, s := range p.statements {
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("statement %q: %w", s.Sid, err)
		}
		if s.Sid != "" && slices.Contains(sids, s.Sid) {
			return nil, fmt.Errorf("two statements %q", s.Sid)
		}
		sids = append(sids, s.Sid)
		if s.Effect == "Deny" { // nothing needs it
			continue
		}
		for part := range s.parts() {
			p.parts = append(p.parts, part)
		}
	}
	slices.Sort(p.parts)
	return p, nil
}

func (s statement) check() error {
	if !sid.MatchString(s.Sid) || s.Effect != "Allow" && s.Effect != "Deny" || len(s.Action) == 0 || len(s.Resource) == 0 {
		return fmt.Errorf("want an alphanumeric Sid, an Effect, actions and resources, got %+v", s)
	}
	for _, a := range s.Action {
		known, ok := actions[a]
		if !ok {
			return fmt.Errorf("unknown action %q", a)
		}
		for _, r := range s.Resource {
			if !known.resource.MatchString(r) {
				return fmt.Errorf("%s knows no resource like %s", a, r)
			}
		}
		for operator, keys := range s.Condition {
			for k, values := range keys {
				if !slices.Contains(known.conditions, k) {
					return fmt.Errorf("%s knows no condition key %s", a, k)
				}
				if strings.Contains(operator, ":") != slices.Contains(multivalued, k) {
					return fmt.Errorf("operator %s does not fit %s", operator, k)
				}
				if len(values) == 0 {
					return fmt.Errorf("no values for %s", k)
				}
			}
		}
	}
	for operator := range s.Condition {
		if _, ok := operators[operator]; !ok {
			return fmt.Errorf("unknown operator %q", operator)
		}
	}
	return nil
}

// parts are all parts of the statement, and how each compares with a request.
func (s statement) parts() map[string]func(Request) bool {
	all := map[string]func(Request) bool{}
	for _, a := range s.Action {
		all[s.Sid+" "+a] = func(r Request) bool { return r.Action == a }
	}
	for _, resource := range s.Resource {
		all[s.Sid+" "+resource] = func(r Request) bool { return like(resource, r.Resource) }
	}
	for operator, keys := range s.Condition {
		for k, values := range keys {
			for _, v := range values {
				if operator == null {
					all[s.Sid+" "+operator+" "+k+" "+v] = func(r Request) bool { return isNull(r, k, v) }
					continue
				}
				all[s.Sid+" "+operator+" "+k+" "+v] = func(r Request) bool { return slices.ContainsFunc(r.Context[k], matcher(operator, v)) }
			}
		}
	}
	return all
}

// operators are the operators that are known: how a value of the policy compares with one of the request.
var operators = map[string]func(want, got string) bool{
	"StringLike":               like,
	"ForAllValues:StringLike":  like,
	"ForAnyValue:StringEquals": func(want, got string) bool { return want == got },
	null:                       nil, // see isNull
}

// null is the operator that asks whether a key is in the request.
const null = "Null"

func isNull(r Request, k, want string) bool {
	return want == strconv.FormatBool(len(r.Context[k]) == 0)
}

func matcher(operator, want string) func(string) bool {
	return func(got string) bool { return operators[operator](want, got) }
}

// Allows decides a request.
func (p *Policy) Allows(r Request) bool {
	allowed := false
	for _, s := range p.statements {
		if !s.matches(r) {
			continue
		}
		if s.Effect == "Deny" {
			return false
		}
		allowed = true
		for part, matches := range s.parts() {
			if matches(r) {
				p.used[part] = true
			}
		}
	}
	return allowed
}

func (s statement) matches(r Request) bool {
	if !slices.Contains(s.Action, r.Action) || !slices.ContainsFunc(s.Resource, func(pattern string) bool { return like(pattern, r.Resource) }) {
		return false
	}
	for operator, keys := range s.Condition {
		for k, values := range keys {
			matches := func(got string) bool {
				return slices.ContainsFunc(values, func(want string) bool { return operators[operator](want, got) })
			}
			got := r.Context[k]
			switch {
			case operator == null:
				if !slices.ContainsFunc(values, func(want string) bool { return isNull(r, k, want) }) {
					return false
				}
			case strings.HasPrefix(operator, "ForAllValues:"):
				if slices.ContainsFunc(got, func(v string) bool { return !matches(v) }) {
					return false
				}
			case !slices.ContainsFunc(got, matches): // an absent key does not match
				return false
			}
		}
	}
	return true
}

// Unused are the parts that no request has needed so far: "SID ACTION", "SID RESOURCE" or "SID OPERATOR KEY VALUE".
func (p *Policy) Unused() []string {
	return slices.DeleteFunc(slices.Clone(p.parts), func(part string) bool { return p.used[part] })
}

var wildcard = regexp.MustCompile(`\$\{[^}]*\}|[*?$]`)

var compiled sync.Map // *regexp.Regexp by pattern

// like is StringLike, which resources are compared with, too.
func like(pattern, s string) bool {
	re, ok := compiled.Load(pattern)
	if !ok {
		re, _ = compiled.LoadOrStore(pattern, compile(pattern))
	}
	return re.(*regexp.Regexp).MatchString(s)
}

func compile(pattern string) *regexp.Regexp {
	var re strings.Builder
	re.WriteString(`(?s)^`)
	end := 0
	for _, at := range wildcard.FindAllStringIndex(pattern, -1) {
		re.WriteString(regexp.QuoteMeta(pattern[end:at[0]]))
		switch special := pattern[at[0]:at[1]]; special {
		case "*":
			re.WriteString(`.*`)
		case "?":
			re.WriteString(`.`)
		case "$", "${*}", "${?}", "${$}":
			re.WriteString(regexp.QuoteMeta(strings.Trim(special, "${}")))
			if special == "$" || special == "${$}" {
				re.WriteString(`\$`)
			}
		default:
			panic("policytest: variable " + special)
		}
		end = at[1]
	}
	re.WriteString(regexp.QuoteMeta(pattern[end:]) + `$`)
	return regexp.MustCompile(re.String())
}
