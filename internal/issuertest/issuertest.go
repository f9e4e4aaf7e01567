// Package issuertest is an OpenID Connect issuer in one process, for tests: its discovery document, its keys, which
// rotate, and tokens that it signs, also such as nobody should take.
package issuertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Audience is what tokens are for unless they say otherwise.
const Audience = "statelatch"

// Issuer is one that serves on loopback until the test is over.
type Issuer struct {
	URL string // that its tokens name

	tb   testing.TB
	mu   sync.Mutex
	keys []key
	asks map[string]int
	fail int // the status of every answer; 0: it works
	more map[string]any
}

type key struct {
	id      string
	private crypto.Signer
}

// New starts an issuer with one key, for ES256.
func New(tb testing.TB) *Issuer {
	tb.Helper()
	i := &Issuer{tb: tb, asks: map[string]int{}}
	server := httptest.NewServer(i)
	tb.Cleanup(server.Close)
	i.URL = server.URL
	i.Rotate()
	return i
}

// Rotate makes another key, which signs from now on, and withdraws those before.
func (i *Issuer) Rotate() {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.tb.Fatal(err)
	}
	i.use(private)
}

// RotateRSA is Rotate to a key for RS256, which takes a while to make.
func (i *Issuer) RotateRSA() {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		i.tb.Fatal(err)
	}
	i.use(private)
}

func (i *Issuer) use(private crypto.Signer) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = []key{{rand.Text(), private}}
}

// Fail has every request answered with a status; 0 ends that.
func (i *Issuer) Fail(status int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fail = status
}

// Describe changes fields of the discovery document.
func (i *Issuer) Describe(fields map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.more = fields
}

// Asked is how many requests there were for the discovery document, and for the keys.
func (i *Issuer) Asked() (discovery, keys int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asks["/.well-known/openid-configuration"], i.asks["/keys"]
}

// ServeHTTP implements http.Handler.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asks[r.URL.Path]++
	if i.fail != 0 {
		http.Error(w, "it does not work", i.fail)
		return
	}
	var doc map[string]any
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		doc = map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/authorize",
			"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "HS256", "none"},
		}
		maps.Copy(doc, i.more)
	case "/keys":
		var public []map[string]string
		for _, k := range i.keys {
			public = append(public, jwk(k))
		}
		doc = map[string]any{"keys": public}
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(doc); err != nil {
		i.tb.Error(err)
	}
}

func jwk(k key) map[string]string {
	switch public := k.private.Public().(type) {
	case *rsa.PublicKey:
		return map[string]string{
			"kty": "RSA", "use": "sig", "alg": "RS256", "kid": k.id, "n": encode(public.N.Bytes()),
			"e": encode(big.NewInt(int64(public.E)).Bytes()),
		}
	case *ecdsa.PublicKey:
		point, err := public.Bytes() // 4, X and Y
		if err != nil {
			panic(err)
		}
		half := (len(point) - 1) / 2
		return map[string]string{
			"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": k.id,
			"x": encode(point[1 : 1+half]), "y": encode(point[1+half:]),
		}
	}
	panic("a key of another kind")
}

// Claims are those of a token that is good for five minutes, with changes; nil removes one.
func (i *Issuer) Claims(changes map[string]any) map[string]any {
	now := time.Now()
	claims := map[string]any{
		"iss": i.URL, "aud": Audience, "sub": "repo:acme/infra:ref:refs/heads/main",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "jti": rand.Text(),
	}
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	return claims
}

// Token is a token with the claims of Claims, signed by the key of now.
func (i *Issuer) Token(changes map[string]any) string {
	i.mu.Lock()
	k := i.keys[0]
	i.mu.Unlock()
	alg := "RS256"
	if _, ok := k.private.(*ecdsa.PrivateKey); ok {
		alg = "ES256"
	}
	text := parts(map[string]any{"alg": alg, "kid": k.id, "typ": "JWT"}, i.Claims(changes))
	sum := sha256.Sum256([]byte(text))
	if private, ok := k.private.(*ecdsa.PrivateKey); ok {
		r, s, err := ecdsa.Sign(rand.Reader, private, sum[:])
		if err != nil {
			i.tb.Fatal(err)
		}
		var raw [64]byte
		r.FillBytes(raw[:32])
		s.FillBytes(raw[32:])
		return text + "." + encode(raw[:])
	}
	signature, err := k.private.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		i.tb.Fatal(err)
	}
	return text + "." + encode(signature)
}

// Unsigned is a token that says that it needs no signature.
func (i *Issuer) Unsigned(changes map[string]any) string {
	return parts(map[string]any{"alg": "none", "typ": "JWT"}, i.Claims(changes)) + "."
}

// Confused is a token signed by HMAC with the public key, which is known to all.
func (i *Issuer) Confused(changes map[string]any) string {
	i.mu.Lock()
	k := i.keys[0]
	i.mu.Unlock()
	text := parts(map[string]any{"alg": "HS256", "kid": k.id, "typ": "JWT"}, i.Claims(changes))
	h := hmac.New(sha256.New, []byte(fmt.Sprint(jwk(k))))
	h.Write([]byte(text))
	return text + "." + encode(h.Sum(nil))
}

func parts(header, claims map[string]any) string {
	var out string
	for _, part := range []map[string]any{header, claims} {
		text, err := json.Marshal(part)
		if err != nil {
			panic(err)
		}
		if out != "" {
			out += "."
		}
		out += encode(text)
	}
	return out
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
