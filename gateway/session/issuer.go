package session

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/identity"
)

// Why a token of an issuer is not taken.
var (
	// ErrToken means that it is not a token that this gateway takes.
	ErrToken = errors.New("the web identity token is not valid")
	// ErrTokenExpired means that it was one.
	ErrTokenExpired = errors.New("the web identity token has expired")
	// ErrIssuer means that the keys of its issuer could not be had: the token may be good.
	ErrIssuer = errors.New("the issuer of the web identity token cannot be asked for its keys")
)

const (
	maxToken     = 20_000 // characters, as for AWS's STS
	maxSkew      = time.Minute
	maxName      = 256              // bytes of what a principal is named by
	renewEvery   = time.Hour        // what is known of an issuer: a key that it has withdrawn counts no longer than that
	staleAtMost  = 24 * time.Hour   // what is known of an issuer that does not answer
	askEvery     = 10 * time.Second // an issuer at most, whatever tokens come
	askTime      = 10 * time.Second // for an answer of an issuer
	maxDocument  = 1 << 20          // bytes of an answer
	maxDocuments = 8                // that are remembered of an issuer; it has two
	maxWhy       = 300              // bytes of the reason in an error
)

// algorithms are those that issuers may sign with: none that shares a secret, and not "none".
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
}

// issuer verifies the tokens of one issuer.
type issuer struct {
	access.Issuer
	client *http.Client
	log    *slog.Logger
	now    func() time.Time

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier // nil until the issuer has answered
	since    time.Time
}

func newIssuer(is access.Issuer, o Options) *issuer {
	base := o.Transport
	if base == nil {
		base = http.DefaultTransport.(*http.Transport).Clone()
	}
	return &issuer{
		Issuer: is, log: o.Logger, now: o.Now,
		client: &http.Client{
			Timeout: askTime, Transport: &documents{base: base, now: o.Now, known: map[string]*document{}},
		},
	}
}

// identify verifies a token of the issuer, and says whom it names.
func (is *issuer) identify(ctx context.Context, token string) (access.Session, error) {
	verifier, err := is.current(ctx)
	if err != nil {
		return access.Session{}, fmt.Errorf("%w: issuer %q: %s", ErrIssuer, is.Name, why(err))
	}
	var unasked error // why the keys could not be had
	verified, err := verifier.Verify(context.WithValue(ctx, unaskedKey{}, &unasked), token)
	var expired *oidc.TokenExpiredError
	switch {
	case unasked != nil:
		return access.Session{}, fmt.Errorf("%w: issuer %q: %s", ErrIssuer, is.Name, why(unasked))
	case errors.As(err, &expired):
		return access.Session{}, fmt.Errorf("%w: at %s", ErrTokenExpired, expired.Expiry.UTC().Format(time.RFC3339))
	case err != nil:
		return access.Session{}, fmt.Errorf("%w: issuer %q: %s", ErrToken, is.Name, why(err))
	case verified.IssuedAt.After(is.now().Add(maxSkew)):
		return access.Session{}, fmt.Errorf("%w: it was issued at %s, which is yet to come: set the clocks", ErrToken,
			verified.IssuedAt.UTC().Format(time.RFC3339))
	case !slices.ContainsFunc(verified.Audience, func(a string) bool { return slices.Contains(is.Audiences, a) }):
		return access.Session{}, fmt.Errorf("%w: it is for the audience %s, want one of %s", ErrToken,
			why(fmt.Errorf("%q", verified.Audience)), strings.Join(is.Audiences, ", "))
	}
	claims, err := unverified(token) // which it is not any more
	if err != nil {
		return access.Session{}, err
	}
	texts := asText(claims)
	name := texts[is.NameClaim]
	if name == "" || len(name) > maxName || strings.Contains(name, "\n") {
		return access.Session{}, fmt.Errorf("%w: its claim %s, which names the principal, is not a text of 1 to %d bytes",
			ErrToken, is.NameClaim, maxName)
	}
	return access.Session{
		Principal: access.Principal{Name: is.Name + ":" + name, Issuer: is.Name, Claims: texts},
		Run:       identity.FromClaims(texts),
	}, nil
}

// current is the verifier of the issuer's tokens, as it describes itself now.
func (is *issuer) current(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	is.mu.Lock()
	defer is.mu.Unlock()
	if is.verifier != nil && is.now().Sub(is.since) < renewEvery {
		return is.verifier, nil
	}
	ctx = oidc.ClientContext(context.WithoutCancel(ctx), is.client) // others wait for it, too
	provider, err := oidc.NewProvider(ctx, is.URL)
	var about struct {
		Keys string `json:"jwks_uri"`
	}
	if err == nil {
		err = provider.Claims(&about)
	}
	if err == nil && about.Keys == "" {
		err = errors.New("it does not say where its keys are (jwks_uri)")
	}
	if err != nil {
		is.log.Error("an issuer cannot be asked for its keys", slog.String("issuer", is.Name), slog.String("err", why(err)))
		return nil, err
	}
	is.verifier = oidc.NewVerifier(is.URL, &keySet{oidc.NewRemoteKeySet(ctx, about.Keys)}, &oidc.Config{
		SupportedSigningAlgs: algorithms,
		SkipClientIDCheck:    true, // there may be several: identify looks
		Now:                  func() time.Time { return is.now().Add(-maxSkew) },
	})
	is.since = is.now()
	return is.verifier, nil
}

// keySet tells a signature that is wrong from keys that could not be had.
type keySet struct{ oidc.KeySet }

type unaskedKey struct{}

// VerifySignature implements [oidc.KeySet].
func (k *keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	payload, err := k.KeySet.VerifySignature(ctx, token)
	var unasked *unaskedError
	if to, ok := ctx.Value(unaskedKey{}).(*error); ok && errors.As(err, &unasked) {
		*to = unasked
	}
	return payload, err
}

// unaskedError is that an issuer did not answer.
type unaskedError struct{ err error }

func (e *unaskedError) Error() string { return e.err.Error() }
func (e *unaskedError) Unwrap() error { return e.err }

// documents is what issuers answer, remembered: forged tokens, whose keys nobody has, do not have an issuer asked more
// often than askEvery, and one that fails goes on as it was for staleAtMost.
type documents struct {
	base http.RoundTripper
	now  func() time.Time

	mu    sync.Mutex
	known map[string]*document // by URL
}

type document struct {
	mu    sync.Mutex
	asked time.Time // last
	err   error     // of that
	got   time.Time // when header and body were
	head  http.Header
	body  []byte
}

// RoundTrip implements http.RoundTripper. Every answer is a 200: where a redirect leads is not followed.
func (ds *documents) RoundTrip(r *http.Request) (*http.Response, error) {
	d, err := ds.of(r)
	if err != nil {
		return nil, &unaskedError{err}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := ds.now()
	if d.asked.IsZero() || now.Sub(d.asked) >= askEvery {
		d.asked = now
		head, body, err := ds.ask(r)
		if d.err = err; err == nil {
			d.got, d.head, d.body = now, head, body
		}
	}
	if d.err != nil && (d.got.IsZero() || now.Sub(d.got) > staleAtMost) {
		return nil, &unaskedError{d.err}
	}
	return &http.Response{
		StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: d.head.Clone(), Body: io.NopCloser(bytes.NewReader(d.body)), ContentLength: int64(len(d.body)),
	}, nil
}

// of is what is remembered of a URL, which must be one that nobody can answer for but the issuer.
func (ds *documents) of(r *http.Request) (*document, error) {
	if r.URL.Scheme != "https" {
		addr, err := netip.ParseAddr(r.URL.Hostname())
		if loopback := r.URL.Hostname() == "localhost" || err == nil && addr.IsLoopback(); !loopback {
			return nil, fmt.Errorf("%s is not protected: want https://", r.URL.Redacted())
		}
	}
	ds.mu.Lock()
	defer ds.mu.Unlock()
	name := r.URL.String()
	if ds.known[name] == nil {
		if len(ds.known) >= maxDocuments {
			clear(ds.known) // an issuer that moves often is asked more often
		}
		ds.known[name] = &document{}
	}
	return ds.known[name], nil
}

func (ds *documents) ask(r *http.Request) (http.Header, []byte, error) {
	resp, err := ds.base.RoundTrip(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	switch {
	case err != nil:
		return nil, nil, err
	case resp.StatusCode != http.StatusOK:
		return nil, nil, fmt.Errorf("%s answers %s", r.URL.Redacted(), resp.Status)
	case len(body) > maxDocument:
		return nil, nil, fmt.Errorf("%s answers with more than %d bytes", r.URL.Redacted(), maxDocument)
	}
	return resp.Header, body, nil
}

// unverified are the claims of a token, as they are before anything of it is believed. Two names that differ in case
// alone are refused: who reads them might take one for the other.
func unverified(token string) (map[string]any, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("%w: it has %d parts, want the 3 of a signed JWT", ErrToken, len(parts))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, fmt.Errorf("%w: its claims are not in base64", ErrToken)
	}
	var claims map[string]any
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.UseNumber()
	if err := decoder.Decode(&claims); err != nil || decoder.Decode(&struct{}{}) != io.EOF {
		return nil, fmt.Errorf("%w: its claims are not JSON", ErrToken)
	}
	folded := map[string]bool{}
	for name := range claims {
		name = strings.ToLower(strings.ToUpper(name))
		if folded[name] {
			return nil, fmt.Errorf("%w: it has the claim %s in more than one spelling", ErrToken, name)
		}
		folded[name] = true
	}
	return claims, nil
}

// passing are claims that are of the token and not of whom it names.
var passing = []string{"exp", "iat", "nbf", "jti", "nonce", "at_hash", "c_hash"}

// asText are claims for rules: texts, numbers and booleans, and lists of these in a line each. What has parts of its
// own, and text that has lines, is left out.
func asText(claims map[string]any) map[string]string {
	out := map[string]string{}
	for name, claim := range claims {
		if slices.Contains(passing, name) {
			continue
		}
		list, ok := claim.([]any)
		if !ok {
			list = []any{claim}
		}
		var lines []string
		for _, value := range list {
			text, ok := scalar(value)
			if !ok {
				lines = nil
				break
			}
			lines = append(lines, text)
		}
		if len(lines) > 0 {
			out[name] = strings.Join(lines, "\n")
		}
	}
	return out
}

func scalar(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, !strings.ContainsFunc(v, unicode.IsControl)
	case json.Number:
		return v.String(), true
	case bool:
		return fmt.Sprint(v), true
	}
	return "", false
}

// why is the text of an error, which may quote at length what others have sent.
func why(err error) string {
	text := strings.ToValidUTF8(err.Error(), "?")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) > maxWhy {
		return strings.ToValidUTF8(text[:maxWhy], "") + "..."
	}
	return text
}
