package iampolicy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Condition is one operator on one key.
type Condition struct {
	Operator string // as it was written, such as ForAllValues:StringLike
	Key      string // as it was written
	Values   []string

	compare  []func(got string) bool // one for each value; nil for Null
	negated  bool
	forAll   bool
	forAny   bool
	ifExists bool
	null     bool
}

// comparison reads a value of a policy for an operator.
type comparison func(value string, variables bool) (func(got string) bool, error)

// operators are what a condition can compare with, in lower case, without what may stand before and behind them.
var operators = map[string]struct {
	compare comparison
	negated bool
}{
	"stringequals":              {text(false, false), false},
	"stringnotequals":           {text(false, false), true},
	"stringequalsignorecase":    {text(false, true), false},
	"stringnotequalsignorecase": {text(false, true), true},
	"stringlike":                {text(true, false), false},
	"stringnotlike":             {text(true, false), true},
	"numericequals":             {number(func(d int) bool { return d == 0 }), false},
	"numericnotequals":          {number(func(d int) bool { return d == 0 }), true},
	"numericlessthan":           {number(func(d int) bool { return d < 0 }), false},
	"numericlessthanequals":     {number(func(d int) bool { return d <= 0 }), false},
	"numericgreaterthan":        {number(func(d int) bool { return d > 0 }), false},
	"numericgreaterthanequals":  {number(func(d int) bool { return d >= 0 }), false},
	"dateequals":                {date(func(d int) bool { return d == 0 }), false},
	"datenotequals":             {date(func(d int) bool { return d == 0 }), true},
	"datelessthan":              {date(func(d int) bool { return d < 0 }), false},
	"datelessthanequals":        {date(func(d int) bool { return d <= 0 }), false},
	"dategreaterthan":           {date(func(d int) bool { return d > 0 }), false},
	"dategreaterthanequals":     {date(func(d int) bool { return d >= 0 }), false},
	"bool":                      {boolean, false},
	"ipaddress":                 {address, false},
	"notipaddress":              {address, true},
	"arnequals":                 {arn, false},
	"arnlike":                   {arn, false},
	"arnnotequals":              {arn, true},
	"arnnotlike":                {arn, true},
}

func newCondition(operator, key string, values []string, variables bool) (Condition, error) {
	c := Condition{Operator: operator, Key: key, Values: values}
	name := strings.ToLower(operator)
	if name, c.forAll = strings.CutPrefix(name, "forallvalues:"); !c.forAll {
		name, c.forAny = strings.CutPrefix(name, "foranyvalue:")
	}
	name, c.ifExists = strings.CutSuffix(name, "ifexists")
	if len(values) == 0 {
		return c, fmt.Errorf("the condition %s has no values for %s", operator, key)
	}
	if name == "null" && !c.forAll && !c.forAny && !c.ifExists {
		c.null = true
		for _, v := range values {
			if _, err := truth(v); err != nil {
				return c, fmt.Errorf("the condition %s on %s: %w", operator, key, err)
			}
		}
		return c, nil
	}
	known, ok := operators[name]
	switch {
	case name == "binaryequals":
		return c, fmt.Errorf("%w: the condition operator %s", ErrUnsupported, operator)
	case !ok:
		return c, fmt.Errorf("the condition operator %s does not exist", operator)
	}
	c.negated = known.negated
	for _, v := range values {
		compare, err := known.compare(v, variables)
		if err != nil {
			return c, fmt.Errorf("the condition %s on %s: %w", operator, key, err)
		}
		c.compare = append(c.compare, compare)
	}
	return c, nil
}

func (c Condition) holds(r Request) bool {
	got := r.values(c.Key)
	holds := func(value string) bool {
		return slices.ContainsFunc(c.compare, func(compare func(string) bool) bool { return compare(value) }) != c.negated
	}
	switch {
	case c.null:
		return slices.ContainsFunc(c.Values, func(v string) bool { t, _ := truth(v); return t == (len(got) == 0) })
	case len(got) == 0:
		return c.ifExists || c.forAll || c.negated && !c.forAny
	case c.forAll, c.negated && !c.forAny:
		return !slices.ContainsFunc(got, func(v string) bool { return !holds(v) })
	}
	return slices.ContainsFunc(got, holds)
}

// MatchesBy reports whether the value with the index i is one by which the condition compares equal for a request.
func (c Condition) MatchesBy(i int, r Request) bool {
	got := r.values(c.Key)
	if c.null {
		t, _ := truth(c.Values[i])
		return t == (len(got) == 0)
	}
	return slices.ContainsFunc(got, c.compare[i])
}

func text(wildcards, fold bool) comparison {
	return func(value string, variables bool) (func(string) bool, error) {
		p, err := compile(value, variables, wildcards)
		p.fold = fold
		return p.Match, err
	}
}

func number(holds func(int) bool) comparison {
	return func(value string, _ bool) (func(string) bool, error) {
		want, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no number", value)
		}
		return func(s string) bool {
			got, err := strconv.ParseFloat(s, 64)
			return err == nil && holds(order(got, want))
		}, nil
	}
}

func order(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func date(holds func(int) bool) comparison {
	return func(value string, _ bool) (func(string) bool, error) {
		want, err := parseDate(value)
		if err != nil {
			return nil, err
		}
		return func(s string) bool {
			got, err := parseDate(s)
			return err == nil && holds(got.Compare(want))
		}, nil
	}
}

// parseDate takes what IAM takes: ISO 8601, or seconds since 1970.
func parseDate(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(n, 0), nil
	}
	return time.Time{}, fmt.Errorf("%q is no date", s)
}

func truth(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", s)
}

func boolean(value string, _ bool) (func(string) bool, error) {
	want, err := truth(value)
	return func(s string) bool { got, err := truth(s); return err == nil && got == want }, err
}

func address(value string, _ bool) (func(string) bool, error) {
	prefix, err := netip.ParsePrefix(value)
	if err != nil {
		single, err := netip.ParseAddr(value)
		if err != nil {
			return nil, fmt.Errorf("%q is no IP address or range", value)
		}
		prefix = netip.PrefixFrom(single, single.BitLen())
	}
	return func(s string) bool {
		got, err := netip.ParseAddr(s)
		return err == nil && prefix.Contains(got.Unmap())
	}, nil
}

// arn compares the six parts of an ARN one by one, so that a wildcard does not reach over a colon.
func arn(value string, variables bool) (func(string) bool, error) {
	if value == "*" {
		return func(string) bool { return true }, nil
	}
	texts := strings.SplitN(value, ":", 6)
	if len(texts) != 6 {
		return nil, errors.New(strconv.Quote(value) + " is no ARN")
	}
	var parts Patterns
	for _, text := range texts {
		p, err := compile(text, variables, true)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return func(s string) bool {
		got := strings.SplitN(s, ":", 6)
		if len(got) != len(parts) {
			return false
		}
		for i, p := range parts {
			if !p.Match(got[i]) {
				return false
			}
		}
		return true
	}, nil
}
