package bootstrap

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/safejson"
)

// The Sids of our statements.
const (
	sidTLSOnly             = "TlsOnly"
	sidLockOnlyConditional = "LockOnlyConditional"
	sidGatewayOnly         = "GatewayOnly"
)

// reasons are why they are wanted.
var reasons = map[string]string{
	sidTLSOnly:             "no state goes over the wire in the clear",
	sidLockOnlyConditional: "no client takes a lock that is held",
	sidGatewayOnly: "nobody gets around the gateway: engines that still point at the bucket itself can read, and write " +
		"no more; whoever may change this policy can take that back",
}

const policyVersion = "2012-10-17"

// statement is one of ours.
type statement struct {
	Sid       string
	Effect    string
	Principal string
	Action    any // a string, or a list of them
	Resource  []string
	Condition map[string]map[string]string
}

// tlsOnly denies everything that is not encrypted on its way.
func tlsOnly(arn string) statement {
	return statement{
		Sid: sidTLSOnly, Effect: "Deny", Principal: "*", Action: "s3:*", Resource: []string{arn, arn + "/*"},
		Condition: map[string]map[string]string{"Bool": {"aws:SecureTransport": "false"}},
	}
}

// lockOnlyConditional denies writes of lock objects without If-None-Match and without If-Match. Both keys in one Null
// mean that neither header is there; the calls of a multipart upload that create nothing are left out.
func lockOnlyConditional(arn string) statement {
	return statement{
		Sid: sidLockOnlyConditional, Effect: "Deny", Principal: "*", Action: "s3:PutObject",
		Resource: []string{arn + "/*" + statelatch.LockKeySuffix},
		Condition: map[string]map[string]string{
			"Null": {"s3:if-none-match": "true", "s3:if-match": "true"},
			"Bool": {"s3:ObjectCreationOperation": "true"},
		},
	}
}

// gatewayOnly denies everybody but a role to write objects, older versions and replication included. On the bucket
// itself it denies nothing: whoever may change its policy goes on to.
func gatewayOnly(arn, role string) statement {
	return statement{
		Sid: sidGatewayOnly, Effect: "Deny", Principal: "*",
		Action: []string{
			"s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:ReplicateObject", "s3:ReplicateDelete",
		},
		Resource:  []string{arn + "/*"},
		Condition: map[string]map[string]string{notPrincipal: {principalARN: role}},
	}
}

const (
	notPrincipal = "ArnNotEquals"
	principalARN = "aws:PrincipalArn"
)

// gateway is the role that alone may write objects; empty if there is none.
func (p policyDocument) gateway(arn string) string {
	for _, raw := range p.statements {
		for _, role := range excepted(raw) {
			if p.implies(gatewayOnly(arn, role)) {
				return role
			}
		}
	}
	return ""
}

// excepted are the roles that a statement leaves out.
func excepted(raw json.RawMessage) []string {
	return normal(generic(raw)["Condition"])[strings.ToLower(notPrincipal+" "+principalARN)]
}

// policyDocument is a bucket policy whose statements are kept as they are.
type policyDocument struct {
	fields     map[string]json.RawMessage
	statements []json.RawMessage
}

func parsePolicy(doc string) (policyDocument, error) {
	p := policyDocument{fields: map[string]json.RawMessage{}}
	if doc == "" {
		p.fields["Version"] = json.RawMessage(`"` + policyVersion + `"`)
		return p, nil
	}
	if err := json.Unmarshal([]byte(doc), &p.fields); err != nil {
		return p, fmt.Errorf("the bucket policy cannot be read: %w", err)
	}
	raw := bytes.TrimSpace(p.fields["Statement"])
	delete(p.fields, "Statement")
	switch {
	case len(raw) == 0:
		return p, errors.New("the bucket policy has no statements")
	case raw[0] == '{':
		p.statements = []json.RawMessage{raw}
	default:
		if err := json.Unmarshal(raw, &p.statements); err != nil {
			return p, fmt.Errorf("the statements of the bucket policy cannot be read: %w", err)
		}
	}
	return p, nil
}

// with returns the document with a statement of ours in the place of the one that has its Sid, else at the end.
func (p policyDocument) with(s statement) policyDocument {
	p.statements = slices.Clone(p.statements)
	raw := json.RawMessage(encode(s))
	if i := p.index(s.Sid); i >= 0 {
		p.statements[i] = raw
	} else {
		p.statements = append(p.statements, raw)
	}
	return p
}

func (p policyDocument) index(sid string) int {
	return slices.IndexFunc(p.statements, func(raw json.RawMessage) bool {
		var has struct{ Sid string }
		return json.Unmarshal(raw, &has) == nil && has.Sid == sid
	})
}

// text is the statement with a Sid, empty if there is none.
func (p policyDocument) text(sid string) string {
	if i := p.index(sid); i >= 0 {
		var b bytes.Buffer
		if json.Compact(&b, p.statements[i]) == nil {
			return b.String()
		}
	}
	return ""
}

// implies reports whether a statement of any Sid already does what s is for.
func (p policyDocument) implies(s statement) bool {
	want := generic([]byte(encode(s)))
	return slices.ContainsFunc(p.statements, func(raw json.RawMessage) bool {
		have := generic(raw)
		return have != nil && have["Effect"] == s.Effect && anyone(have["Principal"]) &&
			covers(have["Action"], want["Action"], "*", "s3:*") && covers(have["Resource"], want["Resource"], "*") &&
			reflect.DeepEqual(normal(have["Condition"]), normal(want["Condition"]))
	})
}

// public reports whether the policy lets everybody in, by what the store says of it if it says something.
func (p policyDocument) public(says Setting[bool]) bool {
	return says.Value || says.Err != nil && p.allowsAnyone()
}

// allowsAnyone reports whether a statement lets everybody in, for stores that do not tell: to anybody, or to all but
// some, from anywhere.
func (p policyDocument) allowsAnyone() bool {
	return slices.ContainsFunc(p.statements, func(raw json.RawMessage) bool {
		s := generic(raw)
		return s["Effect"] == "Allow" && (anyone(s["Principal"]) || s["NotPrincipal"] != nil) && !narrow(s["Condition"])
	})
}

// narrow reports whether a condition lets in only those whom the policy names in another way, by the keys that make a
// policy non-public to S3.
func narrow(condition any) bool {
	for both, values := range normal(condition) {
		operator, key, _ := strings.Cut(both, " ")
		if strings.Contains(operator, "not") || strings.Contains(operator, "ifexists") || operator == "null" ||
			slices.ContainsFunc(values, open) {
			continue
		}
		switch key {
		case "aws:sourceip", "aws:sourcearn", "aws:sourcevpc", "aws:sourcevpce", "aws:sourceowner", "aws:sourceaccount",
			"aws:sourceorgid",
			"aws:principalorgid", "aws:principalorgpaths", "aws:principalaccount", "aws:principalarn", "aws:userid",
			"s3:dataaccesspointaccount", "s3:dataaccesspointarn":
			return true
		}
	}
	return false
}

// open reports whether a value is one that everything matches.
func open(value string) bool { return slices.Contains([]string{"*", "0.0.0.0/0", "::/0"}, value) }

func (p policyDocument) String() string {
	doc := map[string]any{"Statement": p.statements}
	for name, raw := range p.fields {
		doc[name] = raw
	}
	return encode(doc)
}

// encode is v as JSON on one line, without the escapes that are for HTML alone.
func encode(v any) string {
	line, err := safejson.Marshal(v)
	if err != nil {
		panic(err) // of our own types, and of JSON that was parsed
	}
	return string(line)
}

func generic(raw []byte) map[string]any {
	var s map[string]any
	_ = json.Unmarshal(raw, &s) // what is no object stays nil
	return s
}

func anyone(principal any) bool {
	if m, ok := principal.(map[string]any); ok {
		principal = m["AWS"]
	}
	return slices.Contains(words(principal), "*")
}

// covers reports whether a list in a statement has all that another has, or one of the words for everything.
func covers(have, want any, everything ...string) bool {
	list := words(have)
	contains := func(w string) bool { return slices.Contains(list, w) }
	if slices.ContainsFunc(everything, contains) {
		return true
	}
	return !slices.ContainsFunc(words(want), func(w string) bool { return !contains(w) })
}

// words is a value or a list of values as a sorted list; policies write booleans with and without quotes.
func words(v any) []string {
	list, ok := v.([]any)
	if !ok {
		if v == nil {
			return nil
		}
		list = []any{v}
	}
	out := make([]string, 0, len(list))
	for _, item := range list {
		out = append(out, fmt.Sprint(item))
	}
	slices.Sort(out)
	return out
}

// normal makes two conditions comparable: operators and keys are not case-sensitive, and one value is a list of one.
func normal(condition any) map[string][]string {
	out := map[string][]string{}
	operators, _ := condition.(map[string]any)
	for operator, keys := range operators {
		keys, _ := keys.(map[string]any)
		for key, values := range keys {
			out[strings.ToLower(operator+" "+key)] = words(values)
		}
	}
	return out
}
