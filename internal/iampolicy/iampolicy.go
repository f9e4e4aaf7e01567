// Package iampolicy reads policy documents of IAM and decides requests by them, as AWS documents it.
//
// What it guarantees: a document that [ParseIdentity] or [ParseResource] returns is evaluated whole. What IAM knows and
// this package does not evaluate is an error that is [ErrUnsupported]; what IAM does not know, and a name that a JSON
// object has twice, is another error. Whether actions, resources and condition keys exist is the caller's to check: the
// package knows no service.
package iampolicy

import (
	"slices"
	"strings"
)

// Policy is a document that was read whole. It is not changed by its use, and safe for concurrent use.
type Policy struct {
	Version    string // empty means 2008-10-17, as in IAM
	Statements []Statement
}

// Statement is one statement. Of each pair X and NotX one is set; principals only in resource-based policies.
type Statement struct {
	Sid                       string
	Deny                      bool // else it allows
	Principals, NotPrincipals []Principal
	Actions, NotActions       Patterns // in any case
	Resources, NotResources   Patterns
	Conditions                []Condition // all must hold
}

// Principal is whom a statement is about.
type Principal struct {
	Kind string // AWS, CanonicalUser, Service, Federated
	ID   string // * is everybody
}

// Requester is who asks. Empty fields match no principal but *.
type Requester struct {
	ARN, Account, CanonicalID string
}

// Request is what a call asks for.
type Request struct {
	By       Requester // for resource-based policies
	Action   string
	Resource string              // an ARN
	Context  map[string][]string // by condition key, in any case; an absent key is not in the request
}

func (r Request) values(key string) []string {
	if v, ok := r.Context[key]; ok {
		return v
	}
	for name, v := range r.Context {
		if strings.EqualFold(name, key) {
			return v
		}
	}
	return nil
}

// Decision is what a policy says of a request.
type Decision int

// The decisions.
const (
	Silent  Decision = iota // no statement matches
	Allowed                 // one allows it, and none denies it
	Denied                  // one denies it
)

// Decide decides a request.
func (p *Policy) Decide(r Request) Decision {
	decision := Silent
	for i := range p.Statements {
		switch s := &p.Statements[i]; {
		case !s.Matches(r):
		case s.Deny:
			return Denied
		default:
			decision = Allowed
		}
	}
	return decision
}

// Matches reports whether the statement is about the request.
func (s *Statement) Matches(r Request) bool {
	if len(s.Principals) > 0 && !slices.ContainsFunc(s.Principals, r.By.is) ||
		slices.ContainsFunc(s.NotPrincipals, r.By.is) {
		return false
	}
	return matches(s.Actions, s.NotActions, r.Action) && matches(s.Resources, s.NotResources, r.Resource) &&
		!slices.ContainsFunc(s.Conditions, func(c Condition) bool { return !c.holds(r) })
}

// Everybody reports whether the statement is about everybody, but for some at most.
func (s *Statement) Everybody() bool {
	return len(s.NotPrincipals) > 0 || slices.ContainsFunc(s.Principals, func(p Principal) bool { return p.ID == "*" })
}

func matches(in, notIn Patterns, got string) bool {
	if len(notIn) > 0 {
		return !notIn.Match(got)
	}
	return in.Match(got)
}

func (by Requester) is(p Principal) bool {
	switch {
	case p.ID == "*":
		return true
	case p.Kind == "CanonicalUser":
		return p.ID == by.CanonicalID
	case p.Kind != "AWS":
		return false
	}
	return p.ID == by.ARN || by.Account != "" && principalAccount(p.ID) == by.Account
}

// principalAccount is the account that an AWS principal stands for, empty where it is somebody in one.
func principalAccount(id string) string {
	if !strings.Contains(id, ":") {
		return id
	}
	if arn, ok := strings.CutSuffix(id, ":root"); ok {
		return arn[strings.LastIndexByte(arn, ':')+1:]
	}
	return ""
}
