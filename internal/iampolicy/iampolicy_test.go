package iampolicy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func mustParse(t *testing.T, condition string) *Policy {
	t.Helper()
	p, err := ParseIdentity([]byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":` + condition + `}}`))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPattern(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "a/b:c\n", true},
		{"a*", "b", false},
		{"*a", "ba", true},
		{"*ab", "aab", true},
		{"a*b*c", "a-b-b-c", true},
		{"a*b*c", "a-b-b-d", false},
		{"a?c", "abc", true},
		{"a?c", "aéc", true},
		{"a?c", "ac", false},
		{"${*}", "*", true},
		{"${*}", "a", false},
		{"a${?}c", "abc", false},
		{"a${$}{x}", "a${x}", true},
		{"a$b", "a$b", true},
		{"A", "a", false},
	} {
		p, err := compile(tt.pattern, true, true)
		if err != nil || p.Match(tt.text) != tt.want {
			t.Errorf("%q on %q: got %v, %v, want %v", tt.pattern, tt.text, !tt.want, err, tt.want)
		}
	}
	if p, err := compile("${a}*", false, true); err != nil || !p.Match("${a}b") {
		t.Errorf("got %v, want no variables in a policy of 2008", err)
	}
}

// Many stars cost no more than their product with the text.
func TestPattern_Stars(t *testing.T) {
	t.Parallel()
	p, err := compile(strings.Repeat("*a", 200)+"b", true, true)
	if err != nil || p.Match(strings.Repeat("a", 5000)) {
		t.Errorf("got a match, %v", err)
	}
}

func TestCondition(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		condition string
		values    string // of the key k, separated by blanks; - is no key
		want      bool
	}{
		{`{"StringEquals":{"k":["a","b"]}}`, "b", true},
		{`{"StringEquals":{"K":"a"}}`, "a", true},
		{`{"StringEquals":{"k":"a*"}}`, "ab", false},
		{`{"StringEquals":{"k":"a"}}`, "-", false},
		{`{"StringEqualsIfExists":{"k":"a"}}`, "-", true},
		{`{"StringEqualsIfExists":{"k":"a"}}`, "b", false},
		{`{"StringNotEquals":{"k":["a","b"]}}`, "b", false},
		{`{"StringNotEquals":{"k":["a","b"]}}`, "c", true},
		{`{"StringNotEquals":{"k":"a"}}`, "-", true},
		{`{"StringEqualsIgnoreCase":{"k":"A"}}`, "a", true},
		{`{"StringNotEqualsIgnoreCase":{"k":"A"}}`, "a", false},
		{`{"StringLike":{"k":"a*"}}`, "ab", true},
		{`{"StringNotLike":{"k":"a*"}}`, "ab", false},
		{`{"NumericEquals":{"k":1.20}}`, "1.2", true},
		{`{"NumericNotEquals":{"k":"1"}}`, "1", false},
		{`{"NumericLessThan":{"k":"10"}}`, "9", true},
		{`{"NumericLessThanEquals":{"k":"10"}}`, "10", true},
		{`{"NumericGreaterThan":{"k":"10"}}`, "10", false},
		{`{"NumericGreaterThanEquals":{"k":"10"}}`, "10", true},
		{`{"NumericGreaterThan":{"k":"10"}}`, "x", false},
		{`{"DateLessThan":{"k":"2026-12-02T00:00:00Z"}}`, "2026-12-01T12:00:00Z", true},
		{`{"DateGreaterThan":{"k":"2026-12-02"}}`, "2026-12-01T12:00:00Z", false},
		{`{"DateEquals":{"k":"1"}}`, "1970-01-01T00:00:01Z", true},
		{`{"Bool":{"k":false}}`, "false", true},
		{`{"Bool":{"k":"false"}}`, "-", false},
		{`{"BoolIfExists":{"k":"false"}}`, "-", true},
		{`{"Null":{"k":true}}`, "-", true},
		{`{"Null":{"k":"true"}}`, "a", false},
		{`{"Null":{"k":"false"}}`, "a", true},
		{`{"IpAddress":{"k":["10.0.0.0/8","192.0.2.1"]}}`, "192.0.2.1", true},
		{`{"IpAddress":{"k":"10.0.0.0/8"}}`, "::ffff:10.1.1.1", true},
		{`{"IpAddress":{"k":"10.0.0.0/8"}}`, "11.0.0.1", false},
		{`{"NotIpAddress":{"k":"10.0.0.0/8"}}`, "10.0.0.1", false},
		{`{"ArnLike":{"k":"arn:aws:iam::*:role/*"}}`, "arn:aws:iam::1:role/a/b", true},
		{`{"ArnLike":{"k":"arn:aws:*::1:role/a"}}`, "arn:aws:iam:here:1:role/a", false},
		{`{"ArnNotEquals":{"k":"arn:aws:iam::1:root"}}`, "arn:aws:iam::1:root", false},
		{`{"ForAllValues:StringLike":{"k":"a*"}}`, "ab ac", true},
		{`{"ForAllValues:StringLike":{"k":"a*"}}`, "ab bc", false},
		{`{"ForAllValues:StringLike":{"k":"a*"}}`, "-", true},
		{`{"ForAllValues:StringNotLike":{"k":"a*"}}`, "b ab", false},
		{`{"ForAnyValue:StringEquals":{"k":"a"}}`, "b a", true},
		{`{"ForAnyValue:StringEquals":{"k":"a"}}`, "-", false},
		{`{"ForAnyValue:StringNotEquals":{"k":"a"}}`, "a b", true},
		{`{"ForAnyValue:StringNotEquals":{"k":"a"}}`, "-", false},
		{`{"StringLike":{"k":"a*"},"StringNotLike":{"k":"*b"}}`, "ab", false},
		{`{"StringLike":{"k":"a*"},"StringNotLike":{"k":"*b"}}`, "ac", true},
		{`{"StringLike":{"k":"${*}a"}}`, "*a", true},
		{`{"StringEquals":{"k":"${*}a"}}`, "*a", true},
	} {
		r := Request{Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k", Context: map[string][]string{}}
		if tt.values != "-" {
			r.Context["k"] = strings.Fields(tt.values)
		}
		if got := mustParse(t, tt.condition).Decide(r) == Allowed; got != tt.want {
			t.Errorf("%s on %q: got %v, want %v", tt.condition, tt.values, got, tt.want)
		}
	}
}

func TestDecide_DenyWins(t *testing.T) {
	t.Parallel()
	p, err := ParseIdentity([]byte(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Deny","NotAction":"s3:get*","Resource":"*"},
		{"Effect":"Allow","Action":"S3:*","NotResource":"arn:aws:s3:::b/private/*"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		action, key string
		want        Decision
	}{{"s3:GetObject", "a", Allowed}, {"s3:PutObject", "a", Denied}, {"s3:GetObject", "private/a", Silent}, {"s3:PutObject", "private/a", Denied}} {
		if got := p.Decide(Request{Action: tt.action, Resource: "arn:aws:s3:::b/" + tt.key}); got != tt.want {
			t.Errorf("%s on %s: got %v, want %v", tt.action, tt.key, got, tt.want)
		}
	}
}

func TestParse_Refusals(t *testing.T) {
	t.Parallel()
	statement := func(rest string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"a:b","Resource":"*"` + rest + `}]}`
	}
	for document, unsupported := range map[string]bool{
		``: false, `[]`: false, `null`: false, `{"Statement":null}`: false, `{"Statement":[null]}`: false, `{"Statement":[[]]}`: false,
		statement("") + "{}":                                    false,
		statement(`,"Principal":"*"`):                           false, // an identity's
		statement(`,"Action":"a:c"`):                            false,
		statement(`,"NotAction":"a:c"`):                         false,
		statement(`,"action":"a:c"`):                            false,
		statement(`,"Condition":{"Bool":{}}`):                   false,
		statement(`,"Condition":{"Bool":[]}`):                   false,
		statement(`,"Condition":"x"`):                           false,
		statement(`,"Sid":1`):                                   false,
		strings.Replace(statement(""), `"a:b"`, `[]`, 1):        false,
		strings.Replace(statement(""), `"a:b"`, `["a:b",1]`, 1): false,
		strings.Replace(statement(""), `"a:b"`, `null`, 1):      false,
		strings.Replace(statement(""), `"*"`, `"${x"`, 1):       false,
		statement(`,"Condition":{"Bool":{"k":"maybe"}}`):        false,
		statement(`,"Condition":{"Null":{"k":"1"}}`):            false,
		statement(`,"Condition":{"Bool":{"k":[]}}`):             false,
		statement(`,"Condition":{"Bool":{"k":null}}`):           false,
		statement(`,"Condition":{"Bool":{"k":{}}}`):             false,
		statement(`,"Condition":{"Bool":{"k":true,"k":false}}`): false,
		statement(`,"Condition":{"Numeric":{"k":"1"}}`):         false,
		statement(`,"Condition":{"ArnLike":{"k":"x"}}`):         false,
		statement(`,"Condition":{"BinaryEquals":{"k":"x"}}`):    true,
		statement(`,"Condition":{"StringLike":{"k":"${a:b}"}}`): true,
		strings.Replace(statement(""), `"*"`, `"${a:b}"`, 1):    true,
	} {
		if p, err := ParseIdentity([]byte(document)); err == nil || errors.Is(err, ErrUnsupported) != unsupported {
			t.Errorf("%s: got %+v, %v, want a refusal, unsupported %v", document, p, err, unsupported)
		}
	}
	for _, principal := range []string{`"x"`, `{}`, `{"AWS":[]}`, `{"AWS":"bob"}`, `{"Other":"x"}`, `{"AWS":"arn:aws:iam::123456789012:role/a*"}`, `{"Service":"*"}`, `[]`} {
		if _, err := ParseResource([]byte(fmt.Sprintf(`{"Statement":{"Effect":"Deny","Principal":%s,"Action":"a:b","Resource":"*"}}`, principal))); err == nil {
			t.Errorf("principal %s was accepted", principal)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":{"AWS":"*"},"Action":["s3:*"],"NotResource":"a${*}?","Condition":{"ForAllValues:StringLikeIfExists":{"k":["*",1]}}}]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		for _, read := range []func([]byte) (*Policy, error){ParseIdentity, ParseResource} {
			p, err := read(document)
			if err != nil {
				continue
			}
			r := Request{Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k", Context: map[string][]string{"k": {"v"}}}
			denies := slices.ContainsFunc(p.Statements, func(s Statement) bool { return s.Deny && s.Matches(r) })
			if len(p.Statements) == 0 || (p.Decide(r) == Denied) != denies {
				t.Errorf("%q: got %v of %d statements", document, p.Decide(r), len(p.Statements))
			}
		}
	})
}
