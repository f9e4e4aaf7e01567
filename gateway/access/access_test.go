package access

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/statelatch/statelatch"
)

func load(tb testing.TB) *Config {
	tb.Helper()
	config, err := Load("testdata/rules.hcl")
	if err != nil {
		tb.Fatal(err)
	}
	return config
}

func TestLoad(t *testing.T) {
	t.Parallel()
	got := load(t)
	rules := got.Rules
	got.Rules = nil
	want := &Config{
		Store: "s3://acme-state", MasterKeyFile: "/etc/statelatch/master.key", Session: 12 * time.Hour,
		Issuers: []Issuer{
			{"github", "https://token.actions.githubusercontent.com", []string{"statelatch"}, "sub", 4},
			{"gitlab", "https://gitlab.example.com", []string{"https://states.example.com", "statelatch"}, "project_path", 9},
		},
		Keys: []KeyFile{
			{"ana", filepath.Join("testdata", "keys", "ana"), 15},
			{"bert", "/etc/statelatch/keys/bert", 16},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var titles []string
	for _, r := range rules {
		titles = append(titles, r.Title)
	}
	if len(rules) != 5 || titles[2] != "main deploys prod" || rules[2].Line != 30 ||
		!cmp.Equal(rules[2].Claims, map[string][]string{"repository": {"acme/infra"}, "ref": {"refs/heads/main", "refs/tags/v?.*"}}) {
		t.Errorf("got rules %+v, want those of the file", rules)
	}
}

func TestLoad_Writable(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "rules.hcl")
	data, err := os.ReadFile("testdata/rules.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); err != nil {
		t.Errorf("got %v, want the rules", err)
	}
	if err := os.Chmod(file, 0o666); err != nil { // whatever the umask
		t.Fatal(err)
	}
	if _, err := Load(file); err == nil || !strings.Contains(err.Error(), "can be written by others") {
		t.Errorf("got %v, want a refusal of what others could have written", err)
	}
	if _, err := Load(file + ".not"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that there is no file", err)
	}
}

var (
	mainBranch = token("github", "repository", "acme/infra", "ref", "refs/heads/main")
	release    = token("github", "repository", "acme/infra", "ref", "refs/tags/v1.2")
	pull       = token("github", "repository", "acme/infra", "ref", "refs/pull/7/merge")
	stranger   = token("github", "repository", "other/infra", "ref", "refs/heads/main")
	teamA      = token("gitlab", "groups", "all\nteam-a")
	teamB      = token("gitlab", "groups", "team-b")
)

func token(issuer string, claims ...string) Principal {
	p := Principal{Name: issuer + ":" + strings.Join(claims, ":"), Issuer: issuer, Claims: map[string]string{}}
	for i := 0; i < len(claims); i += 2 {
		p.Claims[claims[i]] = claims[i+1]
	}
	return p
}

// Each cell: who, on which state, may do what, by which rule.
func TestRules_Decide(t *testing.T) {
	t.Parallel()
	rules := load(t).Rules
	all := Rights
	for _, tt := range []struct {
		who  Principal
		key  string
		may  []Right
		rule string
	}{
		{mainBranch, "prod/app.tfstate", []Right{Read, Lock, Write}, "main deploys prod"},
		{mainBranch, "env:/dev/prod/app.tfstate", []Right{Read, Lock, Write}, "main deploys prod"},
		{mainBranch, "prod/a/b/c", []Right{Read, Lock, Write}, "main deploys prod"},
		{mainBranch, "dev/app.tfstate", []Right{Read, Lock}, "pull requests plan"},
		{mainBranch, "prod", []Right{Read, Lock}, "pull requests plan"},
		{release, "prod/app.tfstate", []Right{Read, Lock, Write}, "main deploys prod"},
		{pull, "prod/app.tfstate", []Right{Read, Lock}, "pull requests plan"},
		{stranger, "prod/app.tfstate", nil, ""},
		{teamA, "team-a/app.tfstate", []Right{Read, Lock, Write, Delete, ForceUnlock}, "a team's own states"},
		{teamA, "team-b/app.tfstate", nil, ""},
		{teamB, "team-a/app.tfstate", nil, ""},
		{KeyPrincipal("ana"), "prod/app.tfstate", all, "the keeper"},
		{KeyPrincipal("ana"), "archive/app.tfstate", []Right{Read}, "nobody touches the archive"}, // the first decides
		{KeyPrincipal("bert"), "archive/app.tfstate", []Right{Read}, "nobody touches the archive"},
		{KeyPrincipal("bert"), "prod/app.tfstate", nil, ""},
		{Principal{Name: "nobody"}, "archive/app.tfstate", nil, ""},
		// A token that claims to be of an issuer and a key at once is neither.
		{Principal{Name: "x", Issuer: "github", Key: "ana", Claims: mainBranch.Claims}, "prod/app.tfstate", nil, ""},
		{token("gitlab", "repository", "acme/infra", "ref", "refs/heads/main"), "prod/app.tfstate", nil, ""},
		{token("github", "ref", "refs/heads/main"), "prod/app.tfstate", nil, ""}, // a claim is missing
		{token("github", "repository", "ACME/infra"), "prod/app.tfstate", nil, ""},
	} {
		readable := rules.Readable(tt.who)
		if got := readable(tt.key); got != slices.Contains(tt.may, Read) {
			t.Errorf("%s on %s: readable %v, want %v", tt.who.Name, tt.key, got, !got)
		}
		for _, right := range all {
			want := slices.Contains(tt.may, right)
			got := rules.Decide(tt.who, right, tt.key)
			if got.Allowed != want || got.Rule != tt.rule || (got.Why == "") != want {
				t.Errorf("%s, %s on %s: got %+v, want %v by rule %q", tt.who.Name, right, tt.key, got, want, tt.rule)
			}
		}
	}
}

func TestRules_Decide_Why(t *testing.T) {
	t.Parallel()
	rules := load(t).Rules
	for _, tt := range []struct {
		who   Principal
		right Right
		want  string
	}{
		{pull, Write, `User: ` + pull.Name + ` is not authorized to perform: statelatch:write on resource: "prod/app.tfstate" ` +
			`because the rule "pull requests plan" gives only read, lock`},
		{KeyPrincipal("bert"), Read, `User: key:bert is not authorized to perform: statelatch:read on resource: "prod/app.tfstate" ` +
			`because no rule gives them anything there`},
	} {
		got := rules.Decide(tt.who, tt.right, "prod/app.tfstate").Why
		if got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
		// Our own commands read it as AWS's words.
		if d := (&statelatch.StoreError{Code: "AccessDenied", Message: got}).Denial(); d.Principal != tt.who.Name || d.Resource != "prod/app.tfstate" {
			t.Errorf("got %+v, want the principal and the state", d)
		}
	}
}

func TestRules_Prefixes(t *testing.T) {
	t.Parallel()
	rules := load(t).Rules
	for _, tt := range []struct {
		who  Principal
		want []string
	}{
		{mainBranch, []string{""}},
		{teamA, []string{"team-a/"}},
		{KeyPrincipal("bert"), []string{"archive/"}},
		{KeyPrincipal("ana"), []string{""}},
		{stranger, nil},
	} {
		if got := rules.Prefixes(tt.who); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.who.Name, got, tt.want)
		}
	}
}

func TestParse_Findings(t *testing.T) {
	t.Parallel()
	const (
		master = `master_key_file = "m"` + "\n"
		github = `issuer "github" {` + "\n" + `url = "https://g.example"` + "\n" + `audience = "a"` + "\n}\n"
		ana    = `key "ana" { file = "f" }` + "\n"
		anas   = ana + `allow "a" {` + "\n" + `keys = ["ana"]` + "\n" + `states = ["*"]` + "\n" + `may = ["read"]` + "\n}\n"
	)
	// with is a file with one rule, whose attributes begin on line 8.
	with := func(attributes ...string) string {
		return master + github + ana + "allow \"a\" {\n" + strings.Join(attributes, "\n") + "\n}\n"
	}
	const (
		of  = `issuer = "github"`
		on  = `states = ["*"]`
		may = `may = ["read"]`
	)
	tests := []struct {
		name, file string
		want       []string // each begins a finding, without the file; none: no finding
	}{
		{"right", with(of, on, may), nil},
		{"nothing given", with(of, on, `may = []`), nil},
		{"one text for a list", with(of, `states = "*"`, `may = "read"`), nil},
		{"keys alone need no master key", anas, nil},
		{"no HCL", "store = \n", []string{"1: Invalid expression"}},
		{"empty", "", []string{" no allow block"}},
		{"zeros", "\x00", []string{"1: A byte of zero"}},
		{"too deep", "a = " + strings.Repeat("[", 2000), []string{"1: Nested more than"}},
		{"unknown attribute", "stores = \"s3://b\"\n" + anas, []string{"1: Unsupported argument"}},
		{"unknown block", anas + "deny \"x\" {}\n", []string{"7: Unsupported block type"}},
		{"unknown attribute in a block", with(of, on, may, `key = "ana"`), []string{"11: Unsupported argument"}},
		{"attribute twice", with(of, on, on, may), []string{"10: Attribute redefined"}},
		{"a variable", with(of, `states = [var.a]`, may), []string{"9: states: want a list of texts"}},
		{"a template", with(of, `states = ["${a}/*"]`, may), []string{"9: states: want a list of texts"}},
		{"a number", with(of, `states = [1]`, may), []string{"9: states: want a list of texts"}},
		{"an empty pattern", with(of, `states = [""]`, may), []string{"9: states: want a list of texts"}},
		{"no states", with(of, may), []string{"7: allow \"a\" is for no state"}},
		{"no states in the list", with(of, `states = []`, may), []string{"7: allow \"a\" is for no state"}},
		{"leading slash", with(of, `states = ["//prod/*"]`, may), []string{"9: allow \"a\": the pattern \"//prod/*\" begins with '/', and no key of a state does: write \"prod/*\""}},
		{"unknown right", with(of, on, `may = ["read", "apply"]`), []string{"10: allow \"a\": unknown right \"apply\": want some of read, lock, write"}},
		{"right twice", with(of, on, `may = ["read", "read"]`), []string{"10: allow \"a\" gives \"read\" twice"}},
		{"no may", with(of, on), []string{"7: allow \"a\" says not what it gives"}},
		{"write without lock", with(of, on, `may = ["read", "write"]`), []string{"10: allow \"a\" gives \"write\""}},
		{"write-unlocked without lock", with(of, on, `may = ["read", "write", "write-unlocked"]`), nil},
		{"for nobody", with(on, may), []string{"7: allow \"a\" is for nobody"}},
		{"for both", with(of, `keys = ["ana"]`, on, may), []string{"7: allow \"a\" has both"}},
		{"for no key", with(`keys = []`, on, may), []string{"8: allow \"a\" is for no key"}},
		{"claims without issuer", with(`keys = ["ana"]`, `claims = { a = "b" }`, on, may), []string{"9: allow \"a\" has claims"}},
		{"claims of a number", with(of, `claims = { a = 1 }`, on, may), []string{"9: claims: a: want a pattern"}},
		{"claims of nothing", with(of, `claims = { a = [] }`, on, may), []string{"9: claims: a: want a pattern"}},
		{"claims twice", with(of, `claims = { a = "b", "a" = "c" }`, on, may), []string{"9: claims: want"}},
		{"claims as a list", with(of, `claims = ["a"]`, on, may), []string{"9: claims: want"}},
		{"unknown issuer", with(`issuer = "gitlab"`, on, may), []string{"7: allow \"a\" is for the issuer \"gitlab\", which no issuer block names"}},
		{"unknown key", with(`keys = ["bert"]`, on, may), []string{"7: allow \"a\" is for the key \"bert\""}},
		{"pattern without a key", with(`keys = ["a*", "b*"]`, on, may), []string{"7: allow \"a\" is for the key \"b*\""}},
		{"no title", strings.Replace(anas, `allow "a"`, `allow ""`, 1), []string{"2: allow \"\": want a title"}},
		{"title twice", anas + strings.TrimPrefix(anas, ana), []string{"7: allow \"a\" is there twice, also on line 2"}},
		{"covered", anas + strings.Replace(strings.TrimPrefix(anas, ana), `"a"`, `"b"`, 1), []string{"7: allow \"b\" never decides: \"a\" on line 2"}},
		{"key twice", ana + anas, []string{"2: key \"ana\" is there twice, also on line 1"}},
		{"key without file", "key \"ana\" {}\n", []string{"1: key \"ana\" has no file"}},
		{"key with a wrong file", "key \"ana\" { file = 1 }\n", []string{"1: file: want a text"}},
		{"name", "key \"An:a\" { file = \"f\" }\n", []string{"1: key \"An:a\": want a name"}},
		{"issuer named key", strings.Replace(github, `"github"`, `"key"`, 1), []string{"1: issuer \"key\": want a name"}},
		{"issuer twice", github + github, []string{"5: issuer \"github\" is there twice"}},
		{"issuer's url twice", github + strings.Replace(github, `"github"`, `"other"`, 1), []string{"5: issuer \"other\" has the url of issuer \"github\" on line 1"}},
		{"no audience", "issuer \"g\" {\nurl = \"https://g.example\"\n}\n", []string{"1: issuer \"g\" has no audience"}},
		{"no audience in the list", "issuer \"g\" {\nurl = \"https://g.example\"\naudience = []\n}\n", []string{"1: issuer \"g\" has no audience"}},
		{"no url", "issuer \"g\" {\naudience = \"a\"\n}\n", []string{"1: issuer \"g\" has no url"}},
		{"no master key", github + anas, []string{" master_key_file is missing"}},
		{"store", "store = \"acme-state\"\n" + anas, []string{"1: store is \"acme-state\": want s3://BUCKET"}},
		{"session", "session = \"3 days\"\n" + anas, []string{"1: session is \"3 days\": want a duration from 15m to 36h"}},
		{"session too short", "session = \"1m\"\n" + anas, []string{"1: session is \"1m\""}},
		{"all in their order", "session = \"1m\"\n" + ana + "key \"ana\" {}\n", []string{"1: session", "3: key \"ana\" has no file", "3: key \"ana\" is there twice"}},
	}
	for _, u := range []string{"", "x", "http://g.example", "https://", "https://g.example?a=b", "https://u:p@g.example", "ftp://g.example", "http://10.0.0.1"} {
		tests = append(tests, struct {
			name, file string
			want       []string
		}{"url " + u, fmt.Sprintf("issuer \"g\" {\nurl = %q\naudience = \"a\"\n}\n", u), []string{"2: "}})
	}
	for _, u := range []string{"http://127.0.0.1:81", "http://localhost/x", "http://[::1]:1/", "https://g.example/realms/a/"} {
		tests = append(tests, struct {
			name, file string
			want       []string
		}{"url " + u, master + fmt.Sprintf("issuer \"g\" {\nurl = %q\naudience = \"a\"\n}\n", u) + anas, nil})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			config, err := Parse([]byte(tt.file), "rules.hcl")
			if len(tt.want) == 0 {
				if err != nil || config == nil {
					t.Fatalf("got %v, want no finding in\n%s", err, tt.file)
				}
				return
			}
			var got Findings
			if !errors.As(err, &got) || !errors.Is(err, statelatch.ErrInvalid) || config != nil {
				t.Fatalf("got %v, want findings in\n%s", err, tt.file)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tt.want) {
				t.Fatalf("got\n%v\nwant %d findings in\n%s", err, len(tt.want), tt.file)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(lines[i], "rules.hcl:"+want) {
					t.Errorf("got %s, want rules.hcl:%s in\n%s", lines[i], want, tt.file)
				}
			}
		})
	}
}

// What is drawn has few letters, so that patterns meet texts.
type draw struct{ *rand.Rand }

func (d draw) text(letters string, most int) string {
	b := make([]byte, d.IntN(most+1))
	for i := range b {
		b[i] = letters[d.IntN(len(letters))]
	}
	return string(b)
}

func (d draw) patterns() []string {
	out := make([]string, 1+d.IntN(2))
	for i := range out {
		out[i] = d.text("ab/*?", 4)
	}
	return out
}

func (d draw) rule(i int) Rule {
	r := Rule{Title: fmt.Sprint(i), States: d.patterns()}
	for _, right := range Rights {
		if d.IntN(3) == 0 {
			r.May = append(r.May, right)
		}
	}
	if d.IntN(2) == 0 {
		r.Keys = d.patterns()
	} else {
		r.Issuer = d.text("ij", 1) + "k"
		r.Claims = map[string][]string{}
		for range d.IntN(3) {
			r.Claims[d.text("cd", 1)] = d.patterns()
		}
	}
	r.compile()
	return r
}

func (d draw) principal() Principal {
	if d.IntN(2) == 0 {
		return KeyPrincipal(d.text("ab/", 3) + "a")
	}
	p := token(d.text("ij", 1) + "k")
	for _, claim := range []string{"", "c", "d"} {
		if d.IntN(3) > 0 {
			p.Claims[claim] = d.text("ab/", 3)
		}
	}
	return p
}

// matches is the meaning of a pattern, as plain as can be.
func matches(pattern, text string) bool {
	switch {
	case pattern == "":
		return text == ""
	case pattern[0] == '*':
		return matches(pattern[1:], text) || text != "" && matches(pattern, text[1:])
	}
	return text != "" && (pattern[0] == '?' || pattern[0] == text[0]) && matches(pattern[1:], text[1:])
}

func matchesOne(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, text) })
}

// decide is the meaning of rules, as plain as can be.
func decide(rules Rules, p Principal, right Right, key string) (rule string, allowed bool) {
next:
	for _, r := range rules {
		if !matchesOne(r.States, key) || r.Issuer != p.Issuer {
			continue
		}
		if r.Issuer == "" && !matchesOne(r.Keys, p.Key) {
			continue
		}
		for name, patterns := range r.Claims {
			if claim, ok := p.Claims[name]; !ok || !matchesOne(patterns, claim) {
				continue next
			}
		}
		return r.Title, slices.Contains(r.May, right) || slices.Contains(r.May, Admin)
	}
	return "", false
}

func TestRules_Properties(t *testing.T) {
	t.Parallel()
	d := draw{rand.New(rand.NewPCG(13, 2))}
	var allowed, denied, unmatched, covered int
	for range 20_000 {
		var rules Rules
		for i := range 1 + d.IntN(4) {
			rules = append(rules, d.rule(i))
		}
		p := d.principal()
		readable, prefixes := rules.Readable(p), rules.Prefixes(p)
		for range 4 {
			key, right := d.text("ab/", 5), Rights[d.IntN(len(Rights))]
			got := rules.Decide(p, right, key)
			rule, want := decide(rules, p, right, key)
			if got.Allowed != want || got.Rule != rule || want != (got.Why == "") {
				t.Fatalf("%+v, %s on %q by %+v: got %+v, want %v by %q", p, right, key, rules, got, want, rule)
			}
			switch {
			case want:
				allowed++
			case rule != "":
				denied++
			default:
				unmatched++
			}
			_, read := decide(rules, p, Read, key)
			if readable(key) != read {
				t.Fatalf("%+v on %q by %+v: readable is %v, want %v", p, key, rules, !read, read)
			}
			if read && !slices.ContainsFunc(prefixes, func(s string) bool { return strings.HasPrefix(key, s) }) {
				t.Fatalf("%+v may read %q by %+v, which begins with none of %q", p, key, rules, prefixes)
			}
			// What is said never to decide never decides.
			for j := range rules {
				for i := range j {
					if rules[i].covers(&rules[j]) {
						covered++
						if rule == rules[j].Title {
							t.Fatalf("%+v covers %+v, which decides for %+v on %q", rules[i], rules[j], p, key)
						}
					}
				}
			}
		}
	}
	if min(allowed, denied, unmatched, covered) < 500 {
		t.Errorf("got %d allowed, %d denied, %d unmatched, %d covered, want many of each", allowed, denied, unmatched, covered)
	}
}

// FuzzParse feeds files of rules. What is taken has only rules that are for somebody, on something.
func FuzzParse(f *testing.F) {
	data, err := os.ReadFile("testdata/rules.hcl")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(data))
	f.Add("key \"a\" { file = \"f\" }\nallow \"x\" {\n keys = \"?\"\n states = [\"a*\"]\n may = []\n}\n")
	f.Add("allow \"x\" {\n issuer = \"g\"\n claims = { (a) = \"${b}\" }\n}\n")
	f.Fuzz(func(t *testing.T, text string) {
		config, err := Parse([]byte(text), "rules.hcl")
		var findings Findings
		if err != nil {
			if !errors.As(err, &findings) || len(findings) == 0 || config != nil {
				t.Fatalf("got %v, want findings", err)
			}
			return
		}
		if got := config.Rules.Decide(Principal{}, Read, "a"); got.Allowed {
			t.Fatalf("got %+v for nobody", got)
		}
		for i, r := range config.Rules {
			if (r.Issuer == "") == (len(r.Keys) == 0) || len(r.States) == 0 || r.Title == "" || r.Line < 1 {
				t.Fatalf("got rule %d %+v, want it for somebody, on something", i, r)
			}
		}
		for _, issuer := range config.Issuers {
			if issuer.URL == "" || len(issuer.Audiences) == 0 || issuer.NameClaim == "" || config.MasterKeyFile == "" {
				t.Fatalf("got issuer %+v, want all that it needs", issuer)
			}
		}
	})
}
