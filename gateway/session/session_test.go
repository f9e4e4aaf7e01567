package session

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/internal/issuertest"
	"github.com/statelatch/statelatch/s3/s3model"
	"github.com/statelatch/statelatch/s3/sigv4"
)

// world is a directory of files and a registry that reads them, with a clock of its own.
type world struct {
	*Registry
	dir    string
	issuer *issuertest.Issuer
	offset atomic.Int64
	log    strings.Builder
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.offset.Load())) }

func (w *world) pass(d time.Duration) { w.offset.Add(int64(d)) }

const (
	anasID, anasSecret = "SLATANAANAANAANAANAA", "the-secret-of-ana-in-40-characters-12345"
	bertID, bertSecret = "SLATBERTBERTBERTBERT", "the-secret-of-bert-in-40-characters-1234"
)

func pairFile(id, secret string) string {
	return "# for tests\n[statelatch]\naws_access_key_id = " + id + "\naws_secret_access_key=" + secret + "\n"
}

func (w *world) write(tb testing.TB, name, content string) string {
	tb.Helper()
	file := filepath.Join(w.dir, name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	return file
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{dir: tb.TempDir(), issuer: issuertest.New(tb)}
	w.write(tb, "master.key", "# the key of the tests\n"+NewMasterKey())
	w.write(tb, "ana", pairFile(anasID, anasSecret))
	w.write(tb, "bert", pairFile(bertID, bertSecret))
	w.open(tb)
	return w
}

func (w *world) config() *access.Config {
	return &access.Config{
		MasterKeyFile: filepath.Join(w.dir, "master.key"), Session: access.DefaultSession,
		Keys: []access.KeyFile{{Name: "ana", File: filepath.Join(w.dir, "ana")}, {Name: "bert", File: filepath.Join(w.dir, "bert")}},
		Issuers: []access.Issuer{
			{Name: "other", URL: "https://other.example", Audiences: []string{"statelatch"}, NameClaim: "sub"},
			{Name: "ci", URL: w.issuer.URL, Audiences: []string{"elsewhere", issuertest.Audience}, NameClaim: "sub"},
		},
	}
}

// open opens the files anew, as another gateway does.
func (w *world) open(tb testing.TB) {
	tb.Helper()
	r, err := Open(w.config(), w.options())
	if err != nil {
		tb.Fatal(err)
	}
	w.Registry = r
}

func (w *world) options() Options {
	return Options{Now: w.now, Logger: slog.New(slog.NewTextHandler(&w.log, nil))}
}

// begin begins a session with a token.
func (w *world) begin(tb testing.TB, changes map[string]any) (access.Session, Credentials) {
	tb.Helper()
	s, err := w.Identify(tb.Context(), w.issuer.Token(changes))
	if err != nil {
		tb.Fatal(err)
	}
	s, c, err := w.Begin(s, 0)
	if err != nil {
		tb.Fatal(err)
	}
	return s, c
}

func wantCode(tb testing.TB, err error, code string) {
	tb.Helper()
	var e *s3model.Error
	if !errors.As(err, &e) || e.Code != code {
		tb.Errorf("got error %v, want code %s", err, code)
	}
}

func TestRegistry_Lookup_StaticKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for id, want := range map[string]sigv4.Key{
		anasID: {Secret: anasSecret, Who: access.Session{Principal: access.Principal{Name: "key:ana", Key: "ana"}}},
		bertID: {Secret: bertSecret, Who: access.Session{Principal: access.Principal{Name: "key:bert", Key: "bert"}}},
	} {
		got, err := w.Lookup(t.Context(), id, "")
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", id, got, err, want)
		}
	}
	_, err := w.Lookup(t.Context(), "SLATNOBODYNOBODYNOBO", "")
	wantCode(t, err, "InvalidAccessKeyId")
	_, err = w.Lookup(t.Context(), newID(), "")
	wantCode(t, err, "InvalidAccessKeyId")
	_, err = w.Lookup(t.Context(), anasID, "token")
	wantCode(t, err, "InvalidToken")
}

// A key file that changes counts within a second; one that is gone names nobody.
func TestRegistry_Lookup_KeyFileChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, c, err := w.Begin(access.Session{Principal: access.KeyPrincipal("ana")}, 0)
	if err != nil {
		t.Fatal(err)
	}
	lookup := func(id string) (string, error) {
		w.pass(lookEvery)
		key, err := w.Lookup(t.Context(), id, "")
		return key.Secret, err
	}
	w.write(t, "ana", pairFile("SLATNEWNEWNEWNEWNEWN", "another-secret-of-ana-in-40-characters-1"))
	if got, err := lookup("SLATNEWNEWNEWNEWNEWN"); err != nil || got != "another-secret-of-ana-in-40-characters-1" {
		t.Errorf("got %q, %v, want the new pair", got, err)
	}
	_, err = lookup(anasID)
	wantCode(t, err, "InvalidAccessKeyId")

	// What cannot be used is told once, and what was there goes on.
	w.write(t, "ana", "nonsense")
	for range 3 {
		if _, err := lookup("SLATNEWNEWNEWNEWNEWN"); err != nil {
			t.Errorf("got %v, want the pair of before", err)
		}
	}
	if got := strings.Count(w.log.String(), "a file of keys cannot be used"); got != 1 {
		t.Errorf("got %d lines, want 1 in %s", got, w.log.String())
	}
	if got, err := w.Lookup(t.Context(), c.AccessKeyID, c.SessionToken); err != nil || !cmp.Equal(got.Who, any(s)) {
		t.Errorf("got %+v, %v, want the session of the key", got, err)
	}
	if err := os.Remove(filepath.Join(w.dir, "ana")); err != nil {
		t.Fatal(err)
	}
	_, err = lookup("SLATNEWNEWNEWNEWNEWN")
	wantCode(t, err, "InvalidAccessKeyId")
	_, err = w.Lookup(t.Context(), c.AccessKeyID, c.SessionToken)
	wantCode(t, err, "InvalidToken") // nor does a session that the key has begun
	w.write(t, "ana", pairFile(anasID, anasSecret))
	if got, err := lookup(anasID); err != nil || got != anasSecret {
		t.Errorf("got %q, %v, want the pair that came back", got, err)
	}
	if strings.Contains(w.log.String(), "secret-of") {
		t.Errorf("a secret is in the log: %s", w.log.String())
	}
}

// A file is looked at once a second, however many requests come.
func TestRegistry_Lookup_Looks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pass(lookEvery)
	if _, err := w.Lookup(t.Context(), anasID, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(w.dir, "ana")); err != nil {
		t.Fatal(err)
	}
	w.offset.Add(-int64(time.Hour)) // as if no time passed, however slow this machine is
	if _, err := w.Lookup(t.Context(), anasID, ""); err != nil {
		t.Errorf("got %v, want no look at the file", err)
	}
}

func TestOpen_Refused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, file, content string
		mode                os.FileMode
		want                string
	}{
		{"mode", "ana", pairFile(anasID, anasSecret), 0o640, `key "ana": .* can be read by others`},
		{"mode of the master key", "master.key", NewMasterKey(), 0o644, "master_key_file: .* can be read by others"},
		{"no master key", "master.key", "# none\n", 0o600, "master_key_file: .*there is no key in it"},
		{"short master key", "master.key", NewMasterKey() + "c2hvcnQ=\n", 0o600, "line 2: want 32 random bytes"},
		{"master key twice", "master.key", strings.Repeat("MTIzNDU2NzgxMjM0NTY3ODEyMzQ1Njc4MTIzNDU2Nzg=\n", 2), 0o600, "line 2: the key is there before"},
		{"many master keys", "master.key", func() (all string) {
			for range 17 {
				all += NewMasterKey()
			}
			return all
		}(), 0o600, "17 keys in it, want at most 16"},
		{"short secret", "ana", pairFile(anasID, "short"), 0o600, "secret access key has 5 characters"},
		{"session's ID", "ana", pairFile(newID(), anasSecret), 0o600, "begins with ASIA"},
		{"no secret", "ana", "aws_access_key_id = " + anasID, 0o600, "want a line aws_access_key_id"},
		{"two profiles", "ana", pairFile(anasID, anasSecret) + "[other]\n", 0o600, "line 5: another profile"},
		{"twice", "ana", pairFile(anasID, anasSecret) + "aws_access_key_id = " + bertID, 0o600, "line 5: want"},
		{"token", "ana", pairFile(anasID, anasSecret) + "aws_session_token = x", 0o600, "line 5: want"},
		{"same ID", "ana", pairFile(bertID, anasSecret), 0o600, `key "bert": .* has the access key ID of key "ana"`},
		{"too long", "ana", strings.Repeat("#\n", maxFile), 0o600, "too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if err := os.Chmod(w.write(t, tt.file, tt.content), tt.mode); err != nil {
				t.Fatal(err)
			}
			_, err := Open(w.config(), w.options())
			if err == nil || !regexp.MustCompile(tt.want).MatchString(err.Error()) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), anasSecret) {
				t.Errorf("a secret is in %v", err)
			}
		})
	}
	w := newWorld(t)
	for _, name := range []string{"ana", "master.key"} {
		if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(w.config(), w.options()); !errors.Is(err, os.ErrNotExist) || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("got %v, want both files that are not there", err)
	}
}

func TestRegistry_Session(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, c := w.begin(t, map[string]any{
		"repository": "acme/infra", "run_id": "42", "event_name": "push", "actor": "octocat", "ref": "refs/heads/main",
		"groups": []string{"a", "b"}, "level": 3, "admin": false, "nested": map[string]any{"a": "b"}, "nothing": nil,
		"mixed": []any{"a", []string{"b"}}, "lines": "a\nb", "empty": []string{},
	})
	if s.ID != c.AccessKeyID || !regexp.MustCompile(`^ASIA[A-Z2-7]{16}$`).MatchString(s.ID) || len(c.SecretAccessKey) != 40 {
		t.Errorf("got session %q with %+v, want AWS's forms", s.ID, c)
	}
	want := access.Session{
		ID: s.ID, Began: s.Began, Expires: s.Expires,
		Principal: access.Principal{
			Name: "ci:repo:acme/infra:ref:refs/heads/main", Issuer: "ci",
			Claims: map[string]string{
				"iss": w.issuer.URL, "aud": issuertest.Audience, "sub": "repo:acme/infra:ref:refs/heads/main",
				"repository": "acme/infra", "run_id": "42", "event_name": "push", "actor": "octocat", "ref": "refs/heads/main",
				"groups": "a\nb", "level": "3", "admin": "false",
			},
		},
		Run: &statelatch.Run{
			System: "github-actions", Actor: "octocat", URL: w.issuer.URL + "/acme/infra/actions/runs/42", ID: "42",
			Repo: "acme/infra", Branch: "main",
		},
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
	if age := time.Since(s.Began); age < 0 || age > time.Minute {
		t.Errorf("it began %s ago", age)
	}
	if left := time.Until(s.Expires); left < access.DefaultSession-time.Minute || left > access.DefaultSession {
		t.Errorf("got a session of %s, want 12 h", left)
	}
	// Another gateway with the same files opens it.
	w.open(t)
	got, err := w.Lookup(t.Context(), c.AccessKeyID, c.SessionToken)
	if err != nil || got.Secret != c.SecretAccessKey {
		t.Fatalf("got %v, want the same secret", err)
	}
	if diff := cmp.Diff(any(want), got.Who); diff != "" {
		t.Error(diff)
	}
	// Two sessions of one principal are two.
	other, d := w.begin(t, nil)
	if other.ID == s.ID || d.SecretAccessKey == c.SecretAccessKey {
		t.Error("got the same session twice")
	}
	_, err = w.Lookup(t.Context(), d.AccessKeyID, c.SessionToken)
	wantCode(t, err, "InvalidToken")
	w.pass(access.DefaultSession - time.Minute)
	if _, err := w.Lookup(t.Context(), c.AccessKeyID, c.SessionToken); err != nil {
		t.Errorf("got %v a minute before the end", err)
	}
	w.pass(time.Minute)
	_, err = w.Lookup(t.Context(), c.AccessKeyID, c.SessionToken)
	wantCode(t, err, "ExpiredToken")
}

func TestRegistry_Begin_Lasts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for asked, want := range map[time.Duration]time.Duration{
		0: 12 * time.Hour, time.Hour: time.Hour, time.Second: 15 * time.Minute, 1000 * time.Hour: 12 * time.Hour,
	} {
		before := w.now()
		s, _, err := w.Begin(access.Session{Principal: access.KeyPrincipal("ana")}, asked)
		if got := s.Expires.Sub(before); err != nil || got > want+time.Minute || got < want-time.Minute {
			t.Errorf("%s: got %s, %v, want %s", asked, got, err, want)
		}
	}
}

// A session goes when what it was begun with is no longer configured.
func TestRegistry_Lookup_Configured(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, ofToken := w.begin(t, nil)
	_, ofKey, err := w.Begin(access.Session{Principal: access.KeyPrincipal("ana")}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(*access.Config){
		func(c *access.Config) { c.Issuers, c.Keys = c.Issuers[:1], c.Keys[1:] },
		func(c *access.Config) { c.Issuers[1].URL, c.Keys[0].Name = "https://moved.example", "anna" },
		func(c *access.Config) { c.Issuers[1].Name, c.Keys = "name", nil },
		func(c *access.Config) { c.MasterKeyFile = "" },
	} {
		config := w.config()
		change(config)
		r, err := Open(config, w.options())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []Credentials{ofToken, ofKey} {
			_, err := r.Lookup(t.Context(), c.AccessKeyID, c.SessionToken)
			wantCode(t, err, "InvalidToken")
		}
	}
}

// A new master key seals, the old one opens what it sealed until it is taken out.
func TestMasterKeys_Rotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, c := w.begin(t, nil)
	before, err := os.ReadFile(filepath.Join(w.dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	fresh := NewMasterKey()
	lookup := func(c Credentials) error {
		key, err := w.Lookup(t.Context(), c.AccessKeyID, c.SessionToken)
		if err == nil && key.Secret != c.SecretAccessKey {
			t.Error("got another secret")
		}
		return err
	}
	w.write(t, "master.key", fresh+string(before))
	w.pass(lookEvery)
	if err := lookup(c); err != nil {
		t.Errorf("got %v, want the old key to open", err)
	}
	_, d := w.begin(t, nil)
	w.write(t, "master.key", fresh)
	w.pass(lookEvery)
	wantCode(t, lookup(c), "InvalidToken")
	if err := lookup(d); err != nil {
		t.Errorf("got %v, want the new key to have sealed", err)
	}
	// A file that cannot be used, or is gone, ends no session.
	w.write(t, "master.key", "nonsense")
	w.pass(lookEvery)
	if err := lookup(d); err != nil {
		t.Errorf("got %v, want the keys of before", err)
	}
	if err := os.Remove(filepath.Join(w.dir, "master.key")); err != nil {
		t.Fatal(err)
	}
	w.pass(lookEvery)
	if err := lookup(d); err != nil {
		t.Errorf("got %v, want the keys of before", err)
	}
	if strings.Contains(w.log.String(), strings.TrimSpace(fresh)) || !strings.Contains(w.log.String(), "line 1: want 32") {
		t.Errorf("got log %s, want what is wrong, and no key", w.log.String())
	}
}

// No bit of a token, and no other version, salt or length, opens.
func TestMasterKeys_Open_Tampered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, c := w.begin(t, nil)
	raw, err := base64.RawURLEncoding.DecodeString(c.SessionToken)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, id string, token string) {
		t.Helper()
		got, secret, err := w.master.Open(id, token, w.now())
		var e *s3model.Error
		if !errors.As(err, &e) || e.Code != "InvalidToken" || got.ID != "" || secret != "" {
			t.Errorf("%s: got %+v, %v, want InvalidToken", what, got, err)
		}
	}
	for i := range raw {
		for _, bit := range []byte{1, 0x80} {
			raw[i] ^= bit
			refused(fmt.Sprintf("bit %x of byte %d", bit, i), s.ID, base64.RawURLEncoding.EncodeToString(raw))
			raw[i] ^= bit
		}
	}
	for i := range raw {
		refused(fmt.Sprintf("cut to %d", i), s.ID, base64.RawURLEncoding.EncodeToString(raw[:i]))
	}
	refused("longer", s.ID, base64.RawURLEncoding.EncodeToString(append(raw, 0)))
	refused("another ID", newID(), c.SessionToken)
	refused("no ID", "", c.SessionToken)
	refused("padding", s.ID, c.SessionToken+"=")
	refused("empty", s.ID, "")
	refused("oversized", s.ID, c.SessionToken+strings.Repeat("A", maxSealed))
	other := newWorld(t)
	_, _, err = other.master.Open(s.ID, c.SessionToken, w.now())
	wantCode(t, err, "InvalidToken")
}

func TestMasterKeys_Seal_Size(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// What the longest token says fits.
	if token := w.issuer.Token(map[string]any{"long": strings.Repeat("x", 14_000)}); len(token) > maxToken || len(token) < maxToken-1500 {
		t.Fatalf("got a token of %d characters, want nearly %d", len(token), maxToken)
	}
	s, c := w.begin(t, map[string]any{"long": strings.Repeat("x", 14_000)})
	if _, err := w.Lookup(t.Context(), c.AccessKeyID, c.SessionToken); err != nil {
		t.Error(err)
	}
	s.Principal.Claims["long"] = strings.Repeat("<", 14_000) // what JSON for pages would write in six bytes each
	if _, _, err := w.Begin(s, 0); err != nil {
		t.Error(err)
	}
	_, _, err := w.Begin(access.Session{Principal: access.Principal{Name: "x", Claims: map[string]string{"a": strings.Repeat("x", maxSealed)}}}, 0)
	if !errors.Is(err, ErrToken) || !strings.Contains(err.Error(), "want at most") {
		t.Errorf("got %v, want that it is too long", err)
	}
	if _, err := w.master.Seal(access.Session{ID: "x", Expires: w.now()}); err == nil {
		t.Error("sealed a session without an ID of sessions")
	}
	if _, err := w.master.Seal(access.Session{ID: newID()}); err == nil {
		t.Error("sealed a session without an end")
	}
}

func TestRegistry_Identify_Refused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stranger := issuertest.New(t)
	now := time.Now()
	good := w.issuer.Token(nil)
	parts := strings.Split(good, ".")
	for _, tt := range []struct {
		name, token string
		want        error
		says        string
	}{
		{"good", good, nil, ""},
		{"audience in a list", w.issuer.Token(map[string]any{"aud": []string{"x", issuertest.Audience}}), nil, ""},
		{"just expired, within the skew", w.issuer.Token(map[string]any{"exp": now.Add(-30 * time.Second).Unix()}), nil, ""},
		{"expired", w.issuer.Token(map[string]any{"exp": now.Add(-2 * time.Minute).Unix()}), ErrTokenExpired, now.UTC().Add(-2 * time.Minute).Format("2006-01-02T15:04")},
		{"without an end", w.issuer.Token(map[string]any{"exp": nil}), ErrTokenExpired, ""},
		{"not yet", w.issuer.Token(map[string]any{"nbf": now.Add(10 * time.Minute).Unix()}), ErrToken, "not before"},
		{"issued in the future", w.issuer.Token(map[string]any{"iat": now.Add(5 * time.Minute).Unix()}), ErrToken, "set the clocks"},
		{"foreign audience", w.issuer.Token(map[string]any{"aud": "sts.amazonaws.com"}), ErrToken, `audience ["sts.amazonaws.com"], want one of elsewhere, statelatch`},
		{"no audience", w.issuer.Token(map[string]any{"aud": nil}), ErrToken, "audience"},
		{"unknown issuer", stranger.Token(nil), ErrToken, "its issuer is \"" + stranger.URL},
		{"no issuer", w.issuer.Token(map[string]any{"iss": nil}), ErrToken, `its issuer is ""`},
		{"forged for the issuer", stranger.Token(map[string]any{"iss": w.issuer.URL}), ErrToken, "signature"},
		{"issuer with a slash", w.issuer.Token(map[string]any{"iss": w.issuer.URL + "/"}), ErrToken, "does not know"},
		{"alg none", w.issuer.Unsigned(nil), ErrToken, "unexpected signature algorithm"},
		{"alg HS256 with the public key", w.issuer.Confused(nil), ErrToken, "unexpected signature algorithm"},
		{"no name", w.issuer.Token(map[string]any{"sub": nil}), ErrToken, "claim sub"},
		{"name with lines", w.issuer.Token(map[string]any{"sub": "a\nb"}), ErrToken, "claim sub"},
		{"long name", w.issuer.Token(map[string]any{"sub": strings.Repeat("x", 257)}), ErrToken, "claim sub"},
		{"name in a list", w.issuer.Token(map[string]any{"sub": []string{"a", "b"}}), ErrToken, ""},
		{"another spelling", w.issuer.Token(map[string]any{"ISS": "https://other.example"}), ErrToken, "more than one spelling"},
		{"a spelling that Go folds", w.issuer.Token(map[string]any{"i\u017fs": "https://other.example"}), ErrToken, "more than one spelling"},
		{"oversized", w.issuer.Token(map[string]any{"x": strings.Repeat("x", 20_000)}), ErrToken, "want at most 20000"},
		{"empty", "", ErrToken, "1 parts"},
		{"no JWT", "a.b.c", ErrToken, "not in base64"},
		{"no JSON", "e30.e30x.e30", ErrToken, "not JSON"},
		{"claims are a list", "e30.W10.e30", ErrToken, "not JSON"},
		{"no claims", "e30.e30.e30", ErrToken, "its issuer"},
		{"another signature", parts[0] + "." + parts[1] + "." + encodeFlipped(t, parts[2]), ErrToken, "signature"},
		{"other claims", parts[0] + "." + strings.Split(w.issuer.Token(map[string]any{"sub": "root"}), ".")[1] + "." + parts[2], ErrToken, "signature"},
		{"no signature", parts[0] + "." + parts[1] + ".", ErrToken, ""},
		{"encrypted", good + ".x.y", ErrToken, "5 parts"},
	} {
		s, err := w.Identify(t.Context(), tt.token)
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
		if err != nil && (!strings.Contains(err.Error(), tt.says) || s.Principal.Name != "" || len(err.Error()) > 600) {
			t.Errorf("%s: got %+v, %v, want that it says %q", tt.name, s, err, tt.says)
		}
		if err == nil && s.Principal.Name != "ci:repo:acme/infra:ref:refs/heads/main" {
			t.Errorf("%s: got %+v, want whom it names", tt.name, s)
		}
	}
}

func encodeFlipped(tb testing.TB, part string) string {
	tb.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		tb.Fatal(err)
	}
	raw[0] ^= 1
	return base64.RawURLEncoding.EncodeToString(raw)
}

// The issuer's keys are asked for once, and again when one comes that is not known; one that is withdrawn counts for an
// hour at most.
func TestRegistry_Identify_Rotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	asked := func(discovery, keys int) {
		t.Helper()
		if d, k := w.issuer.Asked(); d != discovery || k != keys {
			t.Errorf("the issuer was asked %d times for itself and %d for its keys, want %d and %d", d, k, discovery, keys)
		}
	}
	old := w.issuer.Token(map[string]any{"exp": time.Now().Add(10 * time.Hour).Unix()})
	for range 50 {
		if _, err := w.Identify(t.Context(), old); err != nil {
			t.Fatal(err)
		}
	}
	asked(1, 1)
	w.issuer.RotateRSA()
	w.pass(askEvery)
	if _, err := w.Identify(t.Context(), w.issuer.Token(nil)); err != nil {
		t.Errorf("got %v, want the new key found", err)
	}
	asked(1, 2)
	if _, err := w.Identify(t.Context(), old); err == nil {
		t.Error("a key that was withdrawn counts although the new ones were read")
	}
	w.pass(askEvery)

	// Withdrawn without a new one to be seen: it counts until the hour is over.
	last := w.issuer.Token(map[string]any{"exp": time.Now().Add(10 * time.Hour).Unix()})
	if _, err := w.Identify(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	w.issuer.Rotate()
	w.pass(renewEvery)
	if _, err := w.Identify(t.Context(), last); !errors.Is(err, ErrToken) {
		t.Errorf("got %v, want a withdrawn key refused", err)
	}
}

// Forged tokens, however many, do not have the issuer asked again and again.
func TestRegistry_Identify_Forged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var others sync.WaitGroup
	for range 8 {
		forger := issuertest.New(t)
		others.Go(func() {
			for range 10 {
				if _, err := w.Identify(t.Context(), forger.Token(map[string]any{"iss": w.issuer.URL})); !errors.Is(err, ErrToken) {
					t.Errorf("got %v, want a forged token refused", err)
				}
			}
		})
	}
	others.Wait()
	// However slow this machine is: once in the time that passed, and once before.
	if d, k := w.issuer.Asked(); d != 1 || k > 3 {
		t.Errorf("80 forged tokens had the issuer asked %d times for itself and %d for its keys", d, k)
	}
}

func TestRegistry_Identify_IssuerDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issuer.Fail(http.StatusServiceUnavailable)
	for range 20 {
		if _, err := w.Identify(t.Context(), w.issuer.Token(nil)); !errors.Is(err, ErrIssuer) || !strings.Contains(err.Error(), "503") {
			t.Fatalf("got %v, want that the issuer cannot be asked", err)
		}
	}
	if d, _ := w.issuer.Asked(); d > 2 {
		t.Errorf("an issuer that is down was asked %d times", d)
	}
	w.issuer.Fail(0)
	w.pass(askEvery)
	long := w.issuer.Token(map[string]any{"exp": time.Now().Add(100 * time.Hour).Unix()})
	if _, err := w.Identify(t.Context(), long); err != nil {
		t.Fatalf("got %v after the issuer came back", err)
	}
	// What it said goes on for a day.
	w.issuer.Fail(http.StatusNotFound)
	for range 23 {
		w.pass(renewEvery)
		if _, err := w.Identify(t.Context(), long); err != nil {
			t.Fatalf("got %v, want what the issuer said before", err)
		}
	}
	w.pass(2 * renewEvery)
	if _, err := w.Identify(t.Context(), long); !errors.Is(err, ErrIssuer) {
		t.Errorf("got %v, want that what is known is too old", err)
	}
}

func TestRegistry_Identify_Discovery(t *testing.T) {
	t.Parallel()
	elsewhere := issuertest.New(t)
	moved := http.RedirectHandler(elsewhere.URL+"/keys", http.StatusFound)
	for _, tt := range []struct {
		name   string
		fields map[string]any
		says   string
	}{
		{"another issuer", map[string]any{"issuer": "https://other.example"}, "did not match the issuer"},
		{"no keys", map[string]any{"jwks_uri": ""}, "jwks_uri"},
		{"keys unprotected", map[string]any{"jwks_uri": "http://keys.example/"}, "http://keys.example/ is not protected"},
		{"keys not there", map[string]any{"jwks_uri": "URL/not"}, "404"},
		{"keys lead elsewhere", map[string]any{"jwks_uri": "URL/moved"}, "302"},
		{"keys too long", map[string]any{"jwks_uri": "URL/long"}, "more than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			mux := http.NewServeMux()
			mux.Handle("/moved", moved)
			mux.HandleFunc("/long", func(rw http.ResponseWriter, _ *http.Request) {
				_, _ = rw.Write(make([]byte, maxDocument+1))
			})
			mux.Handle("/", w.issuer)
			server := serve(t, mux)
			if uri, ok := tt.fields["jwks_uri"].(string); ok {
				tt.fields["jwks_uri"] = strings.Replace(uri, "URL", server, 1)
			}
			w.issuer.Describe(tt.fields)
			if _, err := w.Identify(t.Context(), w.issuer.Token(nil)); !errors.Is(err, ErrIssuer) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want that the issuer cannot be asked: %s", err, tt.says)
			}
		})
	}
	if _, keys := elsewhere.Asked(); keys != 0 {
		t.Error("a redirect was followed")
	}
}
