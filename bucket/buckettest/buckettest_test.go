package buckettest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
)

// open returns a fresh bucket that holds something that is no check's business.
func open(t *testing.T, versioned bool) bucket.Bucket {
	t.Helper()
	b := membucket.New("test", membucket.Options{Versioned: versioned})
	for range 2 {
		if _, err := b.Put(t.Context(), "another/object", strings.NewReader("not yours"), bucket.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func try(ctx context.Context, b bucket.Bucket, versioned bool, c Check) error {
	return c.Func(ctx, &Probe{Bucket: b, Prefix: "try/" + c.Name + "/", Versioned: versioned, Clients: shortClients, Rounds: shortRounds})
}

func find(t *testing.T, name string) Check {
	t.Helper()
	checks := Checks()
	i := slices.IndexFunc(checks, func(c Check) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("got no check named %q, want one", name)
	}
	return checks[i]
}

// TestChecks_FindWrongDrivers is the suite's own proof: each kind of wrong store fails the checks that are about it.
func TestChecks_FindWrongDrivers(t *testing.T) {
	t.Parallel()
	for _, wrong := range wrongDrivers() {
		t.Run(wrong.name, func(t *testing.T) {
			t.Parallel()
			for _, name := range wrong.must {
				c := find(t, name)
				for _, versioned := range []bool{false, true} {
					if !versioned && (c.Versioned || wrong.versionedOnly) {
						continue
					}
					err := try(t.Context(), wrong.wrap(open(t, versioned)), versioned, c)
					if err == nil {
						t.Errorf("%s/%s: got a pass, want a failure", mode(versioned), name)
						continue
					}
					t.Logf("%s/%s: %v", mode(versioned), name, err)
				}
			}
		})
	}
}

// TestChecks_EachFindsAWrongDriver: a check that no wrong store fails proves nothing.
func TestChecks_EachFindsAWrongDriver(t *testing.T) {
	t.Parallel()
	var proven []string
	for _, wrong := range wrongDrivers() {
		proven = append(proven, wrong.must...)
	}
	for _, c := range Checks() {
		if !slices.Contains(proven, c.Name) {
			t.Errorf("check %q: got no wrong driver that must fail it, want one", c.Name)
		}
	}
}

func TestChecks_NamesAreUnique(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, c := range Checks() {
		if seen[c.Name] {
			t.Errorf("check %q: got it twice, want unique names", c.Name)
		}
		seen[c.Name] = true
	}
}

// unreliable is a network that loses and delays what it carries. It repeats nothing: a
// copy of a refused request may win unknown to anybody, and drivers of the port never send one.
func unreliable(inner bucket.Bucket, seed uint64) bucket.Bucket {
	var rules []faultbucket.Rule
	for _, op := range []string{faultbucket.OpPut, faultbucket.OpDelete} {
		for _, fault := range []faultbucket.Fault{
			faultbucket.LoseReply(), faultbucket.LoseRequest(), faultbucket.Answer(409), faultbucket.AnswerAfter(500), faultbucket.Late(5),
		} {
			rules = append(rules, faultbucket.Rule{Op: op, Chance: 0.03, Fault: fault})
		}
	}
	rules = append(rules, faultbucket.Rule{Op: faultbucket.OpGet, Chance: 0.1, Fault: faultbucket.Answer(503)})
	return faultbucket.New(inner, faultbucket.Options{Rules: rules, Rand: rand.New(rand.NewPCG(seed, 0))})
}

// TestRaces_JudgeThroughAnUnreliableNetwork: unknown outcomes are settled by what is left, so
// that they neither condemn a good store nor excuse a bad one.
func TestRaces_JudgeThroughAnUnreliableNetwork(t *testing.T) {
	t.Parallel()
	for _, c := range raceChecks() {
		for _, versioned := range []bool{false, true} {
			t.Run(mode(versioned)+"/"+c.Name, func(t *testing.T) {
				t.Parallel()
				for seed := range uint64(5) {
					if err := try(t.Context(), unreliable(open(t, versioned), seed), versioned, c); err != nil {
						t.Errorf("a good store behind seed %d: got %v, want a pass", seed, err)
					}
					if err := try(t.Context(), unreliable(checkThenAct(open(t, versioned)), seed), versioned, c); err == nil {
						t.Errorf("a store that checks and then acts behind seed %d: got a pass, want a failure", seed)
					}
				}
			})
		}
	}
}

// TestRace_OneWinner judges single rounds by hand.
func TestRace_OneWinner(t *testing.T) {
	t.Parallel()
	told := refusalOf
	const a, b = "by a", "by b"
	for _, c := range []struct {
		name           string
		initial, final string
		content        []string
		errs           []error
		wantErr        string // part of the message; empty for a pass
	}{
		{name: "winner and loser", final: a, content: []string{a, b}, errs: []error{nil, told(errRefused)}},
		{name: "two winners", final: a, content: []string{a, b}, errs: []error{nil, nil}, wantErr: "all won"},
		{name: "overwritten winner", final: b, content: []string{a, b}, errs: []error{nil, told(errRefused)}, wantErr: "is left"},
		{name: "vanished winner", final: "", content: []string{a, b}, errs: []error{nil, told(errRefused)}, wantErr: "nothing is left"},
		{name: "nobody, all refused", content: []string{a, b}, errs: []error{told(errRefused), told(errRefused)}, wantErr: "were refused although"},
		{name: "lost reply of the winner", final: a, content: []string{a, b}, errs: []error{told(errUnknown), told(errRefused)}},
		{name: "winner beside a lost request", final: a, content: []string{a, b}, errs: []error{nil, told(errUnknown)}},
		{name: "winner overwritten by a lost request", final: b, content: []string{a, b}, errs: []error{nil, told(errUnknown)}, wantErr: "is left"},
		{name: "all requests lost", content: []string{a, b}, errs: []error{told(errUnknown), told(errUnknown)}},
		{name: "all met conflicts", content: []string{a, b}, errs: []error{told(errBusy), told(errBusy)}, wantErr: "nobody won"},
		{name: "conflict beside a lost request", content: []string{a, b}, errs: []error{told(errBusy), told(errUnknown)}},
		{name: "refused over nothing", content: []string{a, b}, errs: []error{told(errUnknown), told(errRefused)}, wantErr: "were refused although"},
		{name: "refused writer's body", final: b, content: []string{a, b}, errs: []error{told(errUnknown), told(errRefused)}, wantErr: "nobody won, but"},
		{name: "answer that nobody may get", final: a, content: []string{a, b}, errs: []error{nil, told(errForbidden)}, wantErr: "client 1 got"},
		{name: "delete wins", initial: "old", final: "", content: []string{a, ""}, errs: []error{told(errRefused), nil}},
		{name: "delete wins, nothing happened", initial: "old", final: "old", content: []string{a, ""}, errs: []error{told(errRefused), nil}, wantErr: "client 1 won"},
		{name: "replace wins, deleted all the same", initial: "old", final: "", content: []string{a, ""}, errs: []error{nil, told(errRefused)}, wantErr: "client 0 won"},
		{name: "lost reply of the delete", initial: "old", final: "", content: []string{a, ""}, errs: []error{told(errRefused), told(errUnknown)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := &race{initial: c.initial, final: c.final, content: c.content, errs: c.errs}
			checkVerdict(t, r.oneWinner(errRefused), c.wantErr)
		})
	}
}

func TestRace_HandedOver(t *testing.T) {
	t.Parallel()
	told := refusalOf
	const old, made = "old", "made"
	for _, c := range []struct {
		name           string
		final          string
		created, other error // clients 0 and 1 create ("made", "other")
		deleted, again error // clients 2 and 3 delete
		wantErr        string
	}{
		{name: "released", final: "", created: told(errRefused), other: told(errRefused), deleted: nil, again: told(errRefused)},
		{name: "handed over", final: made, created: nil, other: told(errRefused), deleted: nil, again: told(errRefused)},
		{name: "new holder deleted", final: "", created: nil, other: told(errRefused), deleted: nil, again: told(errRefused), wantErr: "client 0 created"},
		{name: "two deletes", final: "", created: told(errRefused), other: told(errRefused), deleted: nil, again: nil, wantErr: "deleting clients"},
		{name: "two creates", final: made, created: nil, other: nil, deleted: nil, again: told(errRefused), wantErr: "creating clients"},
		{name: "created over the old holder", final: made, created: nil, other: told(errRefused), deleted: told(errRefused), again: told(errRefused), wantErr: "no delete won"},
		{name: "nobody may release", final: old, created: told(errRefused), other: told(errRefused), deleted: told(errRefused), again: told(errRefused), wantErr: "were refused although"},
		{name: "lost reply of the delete", final: made, created: nil, other: told(errRefused), deleted: told(errUnknown), again: told(errRefused)},
		{name: "lost reply of the create", final: made, created: told(errUnknown), other: told(errRefused), deleted: nil, again: told(errRefused)},
		{name: "overwritten", final: "other", created: nil, other: told(errRefused), deleted: nil, again: told(errRefused), wantErr: "client 0 won"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := &race{initial: old, final: c.final, content: []string{made, "other", "", ""}, errs: []error{c.created, c.other, c.deleted, c.again}}
			checkVerdict(t, r.handedOver(), c.wantErr)
		})
	}
}

func checkVerdict(t *testing.T, got error, want string) {
	t.Helper()
	switch {
	case got == nil && want != "":
		t.Errorf("got a pass, want a failure that says %q", want)
	case got != nil && want == "":
		t.Errorf("got %v, want a pass", got)
	case got != nil && !strings.Contains(got.Error(), want):
		t.Errorf("got %v, want a failure that says %q", got, want)
	}
}

// TestRun_Q2_KnownFailures runs the suite on a store that checks and then acts, with what must fail listed in both
// spellings. All other checks pass: without the races such a store looks flawless. And since
// the suite may run on a bucket in use, it must leave nothing behind.
func TestRun_Q2_KnownFailures(t *testing.T) {
	t.Parallel()
	buckets := make(map[bool]bucket.Bucket)
	t.Run("suite", func(t *testing.T) {
		Run(t, func(t *testing.T, versioned bool) bucket.Bucket {
			t.Helper()
			buckets[versioned] = checkThenAct(open(t, versioned))
			return buckets[versioned]
		},
			Contention(shortClients, shortRounds),
			KnownFailures(
				"contention/create", "contention/create-after-delete", "contention/compare-and-swap", "contention/compare-and-delete",
				"versioned/contention/replace-against-delete", "unversioned/contention/replace-against-delete", "contention/delete-against-create",
			))
	})
	for versioned, b := range buckets {
		list := b.List
		if versioned {
			list = b.ListVersions
		}
		left, err := collect(list(t.Context(), bucket.ListOptions{}))
		if err != nil {
			t.Fatal(err)
		}
		left = slices.DeleteFunc(left, func(o bucket.Object) bool { return o.Key == "another/object" })
		if len(left) != 0 {
			t.Errorf("%s bucket after the suite: got %+v left behind, want nothing", mode(versioned), left)
		}
	}
}

func TestRun_WithoutVersioning(t *testing.T) {
	t.Parallel()
	Run(t, func(t *testing.T, versioned bool) bucket.Bucket {
		t.Helper()
		if versioned {
			t.Error("got a request for a versioned bucket, want none")
		}
		return open(t, versioned)
	}, WithoutVersioning(), Contention(2, 2))
}

func TestSuite_Verdict(t *testing.T) {
	t.Parallel()
	s := newSuite(false, []Option{KnownFailures("put/etag", "versioned/put/times"), KnownRaces("versioned/contention/create")})
	bad := errors.New("it is wrong")
	for _, c := range []struct {
		name       string
		versioned  bool
		check      string
		err        error
		wantFailed bool
		want       string
	}{
		{name: "pass", check: "put/round-trip"},
		{name: "failure", check: "put/round-trip", err: bad, wantFailed: true, want: "it is wrong"},
		{name: "known failure", check: "put/etag", err: bad, want: "known failure: it is wrong"},
		{name: "known failure passes", check: "put/etag", wantFailed: true, want: "expected to fail, but passed"},
		{name: "known for versioned only, fails there", versioned: true, check: "put/times", err: bad, want: "known failure: it is wrong"},
		{name: "known for versioned only, passes there", versioned: true, check: "put/times", wantFailed: true, want: "expected to fail, but passed"},
		{name: "known for versioned only, fails elsewhere", check: "put/times", err: bad, wantFailed: true, want: "it is wrong"},
		{name: "known for versioned only, passes elsewhere", check: "put/times"},
		{name: "known race lost", versioned: true, check: "contention/create", err: bad, want: "known race: it is wrong"},
		{name: "known race not lost", versioned: true, check: "contention/create", want: "not lost this time"},
		{name: "known race of versioned only, lost elsewhere", check: "contention/create", err: bad, wantFailed: true, want: "it is wrong"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			failed, got := s.verdict(c.versioned, c.check, c.err)
			if failed != c.wantFailed || !strings.Contains(got, c.want) || c.want == "" && got != "" {
				t.Errorf("verdict: got failed %t, %q, want failed %t, %q", failed, got, c.wantFailed, c.want)
			}
		})
	}
}

func TestSuite_Idle(t *testing.T) {
	t.Parallel()
	known := KnownFailures("put/etag", "versioned/put/etag", "version/read", "unversioned/version/read", "put/typo")
	for _, c := range []struct {
		name string
		opts []Option
		want []string
	}{
		{"both kinds", []Option{known}, []string{"unversioned/version/read", "put/typo"}},
		{"races", []Option{KnownRaces("contention/create", "contention/typo")}, []string{"contention/typo"}},
		{"without versioning", []Option{known, WithoutVersioning()}, []string{"versioned/put/etag", "version/read", "unversioned/version/read", "put/typo"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := newSuite(false, c.opts).idle(); !slices.Equal(got, c.want) {
				t.Errorf("idle: got %q, want %q", got, c.want)
			}
		})
	}
}

func TestNewSuite_ContentionSize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                    string
		short                   bool
		opts                    []Option
		wantClients, wantRounds int
	}{
		{"default", false, nil, 64, 200},
		{"short", true, nil, 16, 25},
		{"given", true, []Option{Contention(3, 4)}, 3, 4},
		{"too small for a race", true, []Option{Contention(1, 0)}, 2, 1},
	} {
		if s := newSuite(c.short, c.opts); s.clients != c.wantClients || s.rounds != c.wantRounds {
			t.Errorf("%s: got %d clients and %d rounds, want %d and %d", c.name, s.clients, s.rounds, c.wantClients, c.wantRounds)
		}
	}
}
