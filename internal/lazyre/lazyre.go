// Package lazyre has regular expressions that are compiled when they are first used. A program starts with all that its
// packages have, and uses few of them.
package lazyre

import (
	"regexp"
	"sync"
)

// Regexp is a regular expression for a package variable. Its methods are those of regexp.Regexp.
type Regexp struct {
	expr    string
	compile func() *regexp.Regexp
}

// New is regexp.MustCompile later: an expression that is wrong panics when it is first used. The test of this package
// finds it before.
func New(expr string) Regexp {
	return Regexp{expr, sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })}
}

// String is the expression.
func (r Regexp) String() string { return r.expr }

// MatchString is that of regexp.Regexp.
func (r Regexp) MatchString(s string) bool { return r.compile().MatchString(s) }

// Match is that of regexp.Regexp.
func (r Regexp) Match(b []byte) bool { return r.compile().Match(b) }

// FindString is that of regexp.Regexp.
func (r Regexp) FindString(s string) string { return r.compile().FindString(s) }

// FindStringIndex is that of regexp.Regexp.
func (r Regexp) FindStringIndex(s string) []int { return r.compile().FindStringIndex(s) }

// FindStringSubmatch is that of regexp.Regexp.
func (r Regexp) FindStringSubmatch(s string) []string { return r.compile().FindStringSubmatch(s) }

// FindStringSubmatchIndex is that of regexp.Regexp.
func (r Regexp) FindStringSubmatchIndex(s string) []int {
	return r.compile().FindStringSubmatchIndex(s)
}

// FindSubmatch is that of regexp.Regexp.
func (r Regexp) FindSubmatch(b []byte) [][]byte { return r.compile().FindSubmatch(b) }

// FindAll is that of regexp.Regexp.
func (r Regexp) FindAll(b []byte, n int) [][]byte { return r.compile().FindAll(b, n) }

// FindAllString is that of regexp.Regexp.
func (r Regexp) FindAllString(s string, n int) []string { return r.compile().FindAllString(s, n) }

// FindAllStringSubmatch is that of regexp.Regexp.
func (r Regexp) FindAllStringSubmatch(s string, n int) [][]string {
	return r.compile().FindAllStringSubmatch(s, n)
}

// FindAllSubmatch is that of regexp.Regexp.
func (r Regexp) FindAllSubmatch(b []byte, n int) [][][]byte { return r.compile().FindAllSubmatch(b, n) }

// FindAllSubmatchIndex is that of regexp.Regexp.
func (r Regexp) FindAllSubmatchIndex(b []byte, n int) [][]int {
	return r.compile().FindAllSubmatchIndex(b, n)
}

// ReplaceAllString is that of regexp.Regexp.
func (r Regexp) ReplaceAllString(s, with string) string { return r.compile().ReplaceAllString(s, with) }

// ReplaceAllStringFunc is that of regexp.Regexp.
func (r Regexp) ReplaceAllStringFunc(s string, with func(string) string) string {
	return r.compile().ReplaceAllStringFunc(s, with)
}
