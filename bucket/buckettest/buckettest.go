// Package buckettest is the conformance suite for drivers of package bucket. A driver's tests call [Run].
//
// It checks the contract of every method of bucket.Bucket, one named check for each promise,
// and the promise that locking rests on under contention: of many clients whose conditions
// allow one, exactly one wins. A store that looks first and acts then passes every
// sequential check and fails those (Q2). What the suite cannot show: durability, and behaviour
// while the store itself is failing. Races are evidence, not proof.
//
// The checks need no package testing: [Checks] returns them for other uses.
package buckettest

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch/bucket"
)

// The size of each race, and what is left of it with -short.
const (
	defaultClients, shortClients = 64, 16
	defaultRounds, shortRounds   = 200, 25
)

// checkTimeout is after how long a single check is given up.
const checkTimeout = 5 * time.Minute

// Option changes what [Run] does.
type Option func(*suite)

// WithoutVersioning leaves out versioned buckets, for stores that have none (Q9).
func WithoutVersioning() Option {
	return func(s *suite) { s.modes = []bool{false} }
}

// KnownFailures lists checks that the store is known to fail, by name, for one kind of bucket
// ("versioned/delete/if-match-wrong") or for both ("delete/if-match-wrong"). A listed check that fails is logged; one
// that passes, or that does not exist, fails the test, so that the list stays true.
func KnownFailures(names ...string) Option {
	return func(s *suite) { s.known = append(s.known, names...) }
}

// KnownRaces lists checks, by name as for [KnownFailures], that the store is known to fail in some runs and to pass in
// others, as a race does that it loses now and then. Their outcome is logged and decides nothing.
func KnownRaces(names ...string) Option {
	return func(s *suite) { s.races = append(s.races, names...) }
}

// Contention sets how many clients race, at least 2, and how many rounds. The default is 64
// and 200, with -short 16 and 25.
func Contention(clients, rounds int) Option {
	return func(s *suite) { s.clients, s.rounds = max(clients, 2), max(rounds, 1) }
}

// suite is a run with its options applied.
type suite struct {
	modes           []bool // versioned or not
	known, races    []string
	clients, rounds int
}

func newSuite(short bool, opts []Option) *suite {
	s := &suite{modes: []bool{false, true}, clients: defaultClients, rounds: defaultRounds}
	if short {
		s.clients, s.rounds = shortClients, shortRounds
	}
	for _, o := range opts {
		o(s)
	}
	return s
}

// Run runs every check as a subtest, on an unversioned and on a versioned bucket. open is called once for each
// kind and may return a bucket that is in use: every check stays below a prefix of its own,
// which is random, and removes what it wrote.
func Run(t *testing.T, open func(t *testing.T, versioned bool) bucket.Bucket, opts ...Option) {
	t.Helper()
	s := newSuite(testing.Short(), opts)
	for _, name := range s.idle() {
		t.Errorf("known failure %q names no check that runs here: got a list that is not true, want its entry corrected",
			name)
	}
	run := "buckettest/" + strings.ToLower(rand.Text()[:10]) + "/"
	for _, versioned := range s.modes {
		t.Run(mode(versioned), func(t *testing.T) {
			b := open(t, versioned)
			for _, c := range s.checks(versioned) {
				t.Run(c.Name, func(t *testing.T) {
					p := &Probe{Bucket: b, Prefix: run + c.Name + "/", Versioned: versioned, Clients: s.clients, Rounds: s.rounds}
					ctx, cancel := context.WithTimeout(t.Context(), checkTimeout)
					defer cancel()
					failed, message := s.verdict(versioned, c.Name, c.Func(ctx, p))
					switch {
					case failed:
						t.Error(message)
					case message != "":
						t.Log(message)
					}
					if err := p.Clean(t.Context()); err != nil {
						t.Logf("objects below s3://%s/%s are left behind: %v", b.Name(), p.Prefix, err)
					}
				})
			}
		})
	}
}

func mode(versioned bool) string {
	if versioned {
		return "versioned"
	}
	return "unversioned"
}

// checks are those that run on one kind of bucket.
func (s *suite) checks(versioned bool) []Check {
	return slices.DeleteFunc(Checks(), func(c Check) bool { return c.Versioned && !versioned })
}

// lists reports whether names holds a check, by either form of its name.
func lists(names []string, versioned bool, name string) bool {
	return slices.Contains(names, name) || slices.Contains(names, mode(versioned)+"/"+name)
}

// verdict turns the outcome of a check into that of its test.
func (s *suite) verdict(versioned bool, name string, err error) (failed bool, message string) {
	known, race := lists(s.known, versioned, name), lists(s.races, versioned, name)
	switch {
	case err == nil && race:
		return false, "known race: not lost this time"
	case err == nil && known:
		return true, fmt.Sprintf("expected to fail, but passed: take %q off the list of known failures for %s buckets", name,
			mode(versioned))
	case err == nil:
		return false, ""
	case race:
		return false, "known race: " + err.Error()
	case known:
		return false, "known failure: " + err.Error()
	}
	return true, err.Error()
}

// idle are the names on the lists that no check of this run answers to.
func (s *suite) idle() []string {
	return slices.DeleteFunc(slices.Concat(s.known, s.races), func(known string) bool {
		return slices.ContainsFunc(s.modes, func(versioned bool) bool {
			return slices.ContainsFunc(s.checks(versioned), func(c Check) bool {
				return known == c.Name || known == mode(versioned)+"/"+c.Name
			})
		})
	})
}
