package iampolicy

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What stands in a pattern for any one character, and for any number of them.
const (
	anyOne = -1 - iota
	anyRun
)

// Pattern is a text with the wildcards * and ?, which match across every separator.
type Pattern struct {
	Text  string
	runes []rune
	fold  bool // case does not matter
}

// Patterns match what one of them matches.
type Patterns []Pattern

// Match reports whether one of them matches.
func (ps Patterns) Match(s string) bool {
	return slices.ContainsFunc(ps, func(p Pattern) bool { return p.Match(s) })
}

// Cover reports whether each of others is covered by one of them; see [Pattern.Covers].
func (ps Patterns) Cover(others Patterns) bool {
	return !slices.ContainsFunc(others, func(other Pattern) bool {
		return !slices.ContainsFunc(ps, func(p Pattern) bool { return p.Covers(other) })
	})
}

// Glob is the pattern of a text in which * and ? are wildcards.
func Glob(text string) Pattern {
	p, _ := compile(text, false, true) // what can fail are variables
	return p
}

// compile reads a text. With variables, as in policies of version 2012-10-17, ${*}, ${?} and ${$} are the characters
// themselves, and other variables are ErrUnsupported. Without wildcards * and ? are characters, too.
func compile(text string, variables, wildcards bool) (Pattern, error) {
	p := Pattern{Text: text}
	for rest := text; rest != ""; {
		if variables && strings.HasPrefix(rest, "${") {
			name, after, ok := strings.Cut(rest[2:], "}")
			if !ok {
				return p, fmt.Errorf("%q has a variable without an end", text)
			}
			if name != "*" && name != "?" && name != "$" {
				return p, fmt.Errorf("%w: the variable ${%s}", ErrUnsupported, name)
			}
			p.runes, rest = append(p.runes, rune(name[0])), after
			continue
		}
		r, size := utf8.DecodeRuneInString(rest)
		rest = rest[size:]
		switch {
		case wildcards && r == '*':
			r = anyRun
		case wildcards && r == '?':
			r = anyOne
		}
		p.runes = append(p.runes, r)
	}
	return p, nil
}

// Match reports whether the pattern matches the whole of s.
func (p Pattern) Match(s string) bool { return p.match([]rune(s)) }

// Covers reports whether p matches whatever other, of the same case, matches. It finds none that is not covered, and
// misses few that are: those where several characters of p together are as wide as a run in other.
func (p Pattern) Covers(other Pattern) bool { return p.match(other.runes) }

// match reports whether the pattern matches the whole of text, in which a wildcard is matched by one as wide.
func (p Pattern) match(text []rune) bool {
	at, star, tried := 0, -1, 0 // star is the last * that was passed, tried what it has swallowed so far
	for i := 0; i < len(text); {
		switch {
		case at < len(p.runes) && p.runes[at] == anyRun:
			star, tried = at, i
			at++
		case at < len(p.runes) && (p.runes[at] == anyOne && text[i] != anyRun || p.same(p.runes[at], text[i])):
			at++
			i++
		case star >= 0:
			tried++
			at, i = star+1, tried
		default:
			return false
		}
	}
	for at < len(p.runes) && p.runes[at] == anyRun {
		at++
	}
	return at == len(p.runes)
}

func (p Pattern) same(want, got rune) bool {
	return want == got || p.fold && unicode.ToLower(want) == unicode.ToLower(got)
}
