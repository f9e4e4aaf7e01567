package access

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/statelatch/statelatch/internal/iampolicy"
)

// Rights are all rights, each weaker than those that are more dangerous to give.
var Rights = []Right{Read, Lock, Write, ForceUnlock, Delete, WriteUnlocked, Admin}

// Rules give rights. The first that matches who asks and the state decides, and gives the rights in its May alone: a
// right that it does not name is denied, also where a later rule names it. Where none matches, all is denied.
type Rules []Rule

// Rule is one allow block.
//
// Its patterns match the whole of a text: * stands for any characters, none and '/' included, ? for any one. So
// "prod/*" is every state below prod/, but not the states of its other workspaces, which engines keep elsewhere
// ("env:/dev/prod/app.tfstate", matched by "env:/*/prod/*").
type Rule struct {
	Title  string // what a denial and the audit name; unique
	Issuer string // whose tokens it is for; empty: it is for static keys
	// Claims of the tokens that it is for: patterns, one of which must match the claim, which is a text, a number or a
	// boolean, or of a list one of its elements. A token without the claim, or with one of another kind, is none of them.
	Claims map[string][]string
	Keys   []string // patterns of the names of the static keys that it is for
	States []string // patterns of the keys of the states that it is for
	May    []Right  // what it gives
	Line   int      // in the file, from 1

	claims map[string]iampolicy.Patterns
	keys   iampolicy.Patterns
	states iampolicy.Patterns
}

// Decision is whether somebody may do something, and by which rule.
type Decision struct {
	Allowed bool   // the rule gives the right
	Rule    string // the title of the rule that decided; empty: none matched
	Why     string // of a denial, in the words of S3's AccessDenied: who, which right, which state, which rule
}

// Decide says whether p has the right on the state at key (never the key of its lock).
func (rs Rules) Decide(p Principal, right Right, key string) Decision {
	denied := fmt.Sprintf("User: %s is not authorized to perform: statelatch:%s on resource: %q because ", p.Name, right,
		key)
	for i := range rs {
		r := &rs[i]
		switch {
		case !r.isFor(p) || !r.states.Match(key):
		case r.gives(right):
			return Decision{Allowed: true, Rule: r.Title}
		default:
			return Decision{Rule: r.Title, Why: denied + "the rule " + strconv.Quote(r.Title) + " gives only " + list(r.May)}
		}
	}
	return Decision{Why: denied + "no rule gives them anything there"}
}

// Readable returns what says of a key whether p may read the state there. It costs less than Decide for each of many.
func (rs Rules) Readable(p Principal) func(key string) bool {
	mine := rs.of(p)
	return func(key string) bool {
		for _, r := range mine {
			if r.states.Match(key) {
				return r.gives(Read)
			}
		}
		return false
	}
}

// Prefixes are what the key of every state that p may read begins with, one of them each, for listings that need not
// look elsewhere: sorted, and none of them begins with another. None: p may read nothing.
func (rs Rules) Prefixes(p Principal) []string {
	var all []string
	for _, r := range rs.of(p) {
		if !r.gives(Read) {
			continue
		}
		for _, pattern := range r.States {
			literal, _, _ := strings.Cut(pattern, "*")
			literal, _, _ = strings.Cut(literal, "?")
			all = append(all, literal)
		}
	}
	slices.Sort(all)
	var out []string
	for _, prefix := range all {
		if len(out) == 0 || !strings.HasPrefix(prefix, out[len(out)-1]) {
			out = append(out, prefix)
		}
	}
	return out
}

// Gives reports whether some rule for p names the right, on whatever states.
func (rs Rules) Gives(p Principal, right Right) bool {
	return slices.ContainsFunc(rs.of(p), func(r *Rule) bool { return r.gives(right) })
}

// of returns the rules that are for p, in their order.
func (rs Rules) of(p Principal) []*Rule {
	var out []*Rule
	for i := range rs {
		if rs[i].isFor(p) {
			out = append(out, &rs[i])
		}
	}
	return out
}

func (r *Rule) isFor(p Principal) bool {
	if r.Issuer == "" {
		return p.Issuer == "" && p.Key != "" && r.keys.Match(p.Key)
	}
	if p.Issuer != r.Issuer || p.Key != "" {
		return false
	}
	for name, patterns := range r.claims {
		claim, ok := p.Claims[name]
		if !ok || !matchAny(patterns, claim) {
			return false
		}
	}
	return true
}

// matchAny says whether one of the values of a claim, which are its lines, matches.
func matchAny(patterns iampolicy.Patterns, claim string) bool {
	for value := range strings.SplitSeq(claim, "\n") {
		if patterns.Match(value) {
			return true
		}
	}
	return false
}

func (r *Rule) gives(right Right) bool {
	return slices.Contains(r.May, right) || slices.Contains(r.May, Admin)
}

// compile prepares the patterns.
func (r *Rule) compile() {
	r.keys, r.states = globs(r.Keys), globs(r.States)
	r.claims = make(map[string]iampolicy.Patterns, len(r.Claims))
	for name, texts := range r.Claims {
		r.claims[name] = globs(texts)
	}
}

// covers says whether r matches whatever later matches, so that later never decides. It may miss some, and finds none
// that is not.
func (r *Rule) covers(later *Rule) bool {
	if r.Issuer != later.Issuer || !r.states.Cover(later.states) || r.Issuer == "" && !r.keys.Cover(later.keys) {
		return false
	}
	for name, patterns := range r.claims {
		narrower, ok := later.claims[name]
		if !ok || !patterns.Cover(narrower) {
			return false
		}
	}
	return true
}

func globs(texts []string) iampolicy.Patterns {
	out := make(iampolicy.Patterns, len(texts))
	for i, text := range texts {
		out[i] = iampolicy.Glob(text)
	}
	return out
}

// list is names for people.
func list[T ~string](names []T) string {
	var b strings.Builder
	for i, name := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(name))
	}
	return b.String()
}
