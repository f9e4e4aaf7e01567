package iampolicy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/statelatch/statelatch/internal/lazyre"
)

// ErrUnsupported is what IAM knows and this package does not evaluate. The error names it.
var ErrUnsupported = errors.New("not supported")

// ParseIdentity reads a policy of a role, user or group, whose statements name no principals.
func ParseIdentity(document []byte) (*Policy, error) { return parse(document, false) }

// ParseResource reads the policy of a resource, such as a bucket, whose statements say whom they are about.
func ParseResource(document []byte) (*Policy, error) { return parse(document, true) }

type object = map[string]json.RawMessage

func parse(document []byte, resource bool) (*Policy, error) {
	if err := checkNames(document); err != nil {
		return nil, err
	}
	fields, err := parseObject(document, "the policy", "Version", "Id", "Statement")
	if err != nil {
		return nil, err
	}
	p := &Policy{}
	if raw, ok := fields["Version"]; ok {
		if json.Unmarshal(raw, &p.Version) != nil || p.Version != "2008-10-17" && p.Version != "2012-10-17" {
			return nil, errors.New("the Version must be \"2012-10-17\" or \"2008-10-17\"")
		}
	}
	statements := []json.RawMessage{fields["Statement"]}
	if raw := bytes.TrimSpace(fields["Statement"]); len(raw) > 0 && raw[0] == '[' {
		if err := json.Unmarshal(raw, &statements); err != nil {
			return nil, err
		}
	}
	if len(statements) == 0 || fields["Statement"] == nil {
		return nil, errors.New("the policy has no Statement")
	}
	for i, raw := range statements {
		s, err := parseStatement(raw, p.Version == "2012-10-17", resource)
		if err != nil {
			return nil, fmt.Errorf("statement %s: %w", nameOf(s.Sid, i), err)
		}
		p.Statements = append(p.Statements, s)
	}
	return p, nil
}

func nameOf(sid string, i int) string {
	if sid != "" {
		return sid
	}
	return fmt.Sprintf("%d", i+1)
}

func parseStatement(raw json.RawMessage, variables, resource bool) (Statement, error) {
	var s Statement
	fields, err := parseObject(raw, "the statement", "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction",
		"Resource", "NotResource", "Condition")
	if err != nil {
		return s, err
	}
	if raw, ok := fields["Sid"]; ok && json.Unmarshal(raw, &s.Sid) != nil {
		return s, errors.New("the Sid is no string")
	}
	var effect string
	if json.Unmarshal(fields["Effect"], &effect) != nil || effect != "Allow" && effect != "Deny" {
		return s, errors.New("the Effect must be Allow or Deny")
	}
	s.Deny = effect == "Deny"
	if s.Actions, s.NotActions, err = patterns(fields, "Action", false); err != nil {
		return s, err
	}
	for _, list := range []Patterns{s.Actions, s.NotActions} {
		for i := range list {
			list[i].fold = true
		}
	}
	if s.Resources, s.NotResources, err = patterns(fields, "Resource", variables); err != nil {
		return s, err
	}
	if err := s.parsePrincipals(fields, resource); err != nil {
		return s, err
	}
	s.Conditions, err = parseConditions(fields["Condition"], variables)
	return s, err
}

// patterns are the lists of an element or its negation, of which a statement has one.
func patterns(fields object, name string, variables bool) (in, notIn Patterns, err error) {
	raw, has := fields[name]
	not, hasNot := fields["Not"+name]
	if has == hasNot {
		return nil, nil, fmt.Errorf("it needs %s or Not%s", name, name)
	}
	if in, err = patternList(raw, has, name, variables); err == nil {
		notIn, err = patternList(not, hasNot, "Not"+name, variables)
	}
	return in, notIn, err
}

func patternList(raw json.RawMessage, has bool, name string, variables bool) (Patterns, error) {
	if !has {
		return nil, nil
	}
	texts, err := stringList(raw)
	if err != nil || len(texts) == 0 {
		return nil, fmt.Errorf("%s must be a string or a list of strings", name)
	}
	var list Patterns
	for _, text := range texts {
		p, err := compile(text, variables, true)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		list = append(list, p)
	}
	return list, nil
}

func (s *Statement) parsePrincipals(fields object, resource bool) error {
	raw, has := fields["Principal"]
	not, hasNot := fields["NotPrincipal"]
	switch {
	case !resource && (has || hasNot):
		return errors.New("the policy of an identity has no Principal")
	case !resource:
		return nil
	case has == hasNot:
		return errors.New("it needs Principal or NotPrincipal")
	}
	var err error
	if hasNot {
		s.NotPrincipals, err = parsePrincipals(not)
	} else {
		s.Principals, err = parsePrincipals(raw)
	}
	return err
}

// awsPrincipal is what an AWS principal may look like; IAM knows no wildcards in it.
var awsPrincipal = lazyre.New(`^(\*|\d{12}|arn:aws[a-z-]*:(iam|sts)::\d{12}:(root|(user|role|assumed-role|federated-user)/[^*?]+))$`)

func parsePrincipals(raw json.RawMessage) ([]Principal, error) {
	var everybody string
	if json.Unmarshal(raw, &everybody) == nil {
		if everybody != "*" {
			return nil, fmt.Errorf("invalid principal %q", everybody)
		}
		return []Principal{{"AWS", "*"}}, nil
	}
	kinds, err := parseObject(raw, "the Principal", "AWS", "CanonicalUser", "Service", "Federated")
	if err != nil {
		return nil, err
	}
	var all []Principal
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		ids, err := stringList(kinds[kind])
		if err != nil {
			return nil, fmt.Errorf("the principals of %s must be a string or a list of strings", kind)
		}
		for _, id := range ids {
			if id == "" || kind != "AWS" && id == "*" || kind == "AWS" && !awsPrincipal.MatchString(id) {
				return nil, fmt.Errorf("invalid principal %s: %q", kind, id)
			}
			all = append(all, Principal{kind, id})
		}
	}
	if len(all) == 0 {
		return nil, errors.New("it names no principal")
	}
	return all, nil
}

func parseConditions(raw json.RawMessage, variables bool) ([]Condition, error) {
	if raw == nil {
		return nil, nil
	}
	var byOperator map[string]object
	if err := json.Unmarshal(raw, &byOperator); err != nil {
		return nil, errors.New("the Condition must have operators with keys and values")
	}
	var all []Condition
	for _, operator := range slices.Sorted(maps.Keys(byOperator)) {
		keys := byOperator[operator]
		if len(keys) == 0 {
			return nil, fmt.Errorf("the condition %s has no keys", operator)
		}
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			values, err := scalarList(keys[key])
			if err != nil {
				return nil, fmt.Errorf("the condition %s on %s: %w", operator, key, err)
			}
			c, err := newCondition(operator, key, values, variables)
			if err != nil {
				return nil, err
			}
			all = append(all, c)
		}
	}
	return all, nil
}

func parseObject(raw json.RawMessage, what string, names ...string) (object, error) {
	var fields object
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return nil, fmt.Errorf("%s is no JSON object", what)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("%s has the unknown field %q", what, name)
		}
	}
	return fields, nil
}

// stringList is one string or a list of them.
func stringList(raw json.RawMessage) ([]string, error) {
	var one *string
	if json.Unmarshal(raw, &one) == nil && one != nil {
		return []string{*one}, nil
	}
	var list []*string
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	out := make([]string, 0, len(list))
	for _, s := range list {
		if s == nil {
			return nil, errors.New("null is no string")
		}
		out = append(out, *s)
	}
	return out, nil
}

// scalarList is one value or a list of them; booleans and numbers may stand without quotes.
func scalarList(raw json.RawMessage) ([]string, error) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		list = []json.RawMessage{raw}
	}
	out := make([]string, 0, len(list))
	for _, item := range list {
		item = bytes.TrimSpace(item)
		var s string
		switch {
		case json.Unmarshal(item, &s) == nil && item[0] == '"':
			out = append(out, s)
		case item[0] == '{' || item[0] == '[' || string(item) == "null":
			return nil, errors.New("a value must be a string, a number, true or false")
		default:
			out = append(out, string(item))
		}
	}
	return out, nil
}

// checkNames refuses what is no JSON, and objects that have a name twice: of two values one would be passed over.
func checkNames(document []byte) error {
	dec := json.NewDecoder(bytes.NewReader(document))
	if err := checkValue(dec); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind the policy")
	}
	return nil
}

func checkValue(dec *json.Decoder) error {
	token, err := dec.Token()
	if err != nil {
		return fmt.Errorf("the policy is no JSON: %w", err)
	}
	opened, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	names := map[string]bool{}
	for dec.More() {
		if opened == '{' {
			name, err := dec.Token()
			if err != nil {
				return fmt.Errorf("the policy is no JSON: %w", err)
			}
			text := name.(string) // the decoder gives nothing else here
			if names[text] {
				return fmt.Errorf("an object has the name %q twice", text)
			}
			names[text] = true
		}
		if err := checkValue(dec); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}
