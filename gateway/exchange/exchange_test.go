package exchange

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	neturl "net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/gateway/session"
	"github.com/statelatch/statelatch/gateway/stsdoor"
	"github.com/statelatch/statelatch/internal/issuertest"
)

const anasID, anasSecret = "SLATANAANAANAANAANAA", "the-secret-of-ana-in-40-characters-12345"

// door is an STS door with an issuer and the key of Ana.
func door(t *testing.T) (url string, registry *session.Registry, issuer *issuertest.Issuer) {
	t.Helper()
	dir := t.TempDir()
	master, key := filepath.Join(dir, "master"), filepath.Join(dir, "ana")
	for file, content := range map[string]string{
		master: session.NewMasterKey(), key: "aws_access_key_id = " + anasID + "\naws_secret_access_key = " + anasSecret,
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	issuer = issuertest.New(t)
	registry, err := session.Open(&access.Config{
		MasterKeyFile: master, Session: access.DefaultSession, Keys: []access.KeyFile{{Name: "ana", File: key}},
		Issuers: []access.Issuer{{Name: "ci", URL: issuer.URL, Audiences: []string{issuertest.Audience}, NameClaim: "sub"}},
	}, session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(stsdoor.New(stsdoor.Config{Registry: registry}))
	t.Cleanup(server.Close)
	return server.URL, registry, issuer
}

func TestBegin(t *testing.T) {
	t.Parallel()
	url, registry, issuer := door(t)
	for want, r := range map[string]Request{
		"key:ana":                                {Key: session.KeyPair{ID: anasID, Secret: anasSecret}, Lasts: time.Hour},
		"ci:repo:acme/infra:ref:refs/heads/main": {Token: issuer.Token(nil), Lasts: time.Hour},
	} {
		r.Gateway = url
		got, err := Begin(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		key, err := registry.Lookup(t.Context(), got.AccessKeyID, got.SessionToken)
		who, ok := key.Who.(access.Session)
		if err != nil || !ok || who.Principal.Name != want || key.Secret != got.SecretAccessKey || !who.Expires.Equal(got.Expiration) {
			t.Errorf("got %+v, %v, want a session of %s", key.Who, err, want)
		}
		if left := time.Until(got.Expiration); left > time.Hour || left < 59*time.Minute {
			t.Errorf("got a session of %s, want an hour", left)
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(text, &fields); err != nil || len(fields) != 5 || fields["Version"] != 1.0 ||
			fields["AccessKeyId"] != got.AccessKeyID || fields["SecretAccessKey"] == "" || fields["SessionToken"] == "" {
			t.Errorf("got %s, want what credential_process prints", text)
		}
		if _, err := time.Parse(time.RFC3339, fields["Expiration"].(string)); err != nil {
			t.Error(err)
		}
	}
}

func TestBegin_Refused(t *testing.T) {
	t.Parallel()
	url, _, issuer := door(t)
	good := session.KeyPair{ID: anasID, Secret: anasSecret}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	mute := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		_, _ = w.Write([]byte("<AssumeRoleResponse><AssumeRoleResult></AssumeRoleResult></AssumeRoleResponse>"))
	}))
	t.Cleanup(mute.Close)
	for _, tt := range []struct {
		name string
		r    Request
		want error
		says string
	}{
		{"no URL", Request{Gateway: "states.example.com", Key: good}, statelatch.ErrInvalid, "https://"},
		{"unprotected", Request{Gateway: "http://states.example.com", Key: good}, statelatch.ErrInvalid, "whoever listens"},
		{"nobody", Request{Gateway: url}, statelatch.ErrInvalid, "neither a token nor a key"},
		{"parts of seconds", Request{Gateway: url, Key: good, Lasts: time.Millisecond}, statelatch.ErrInvalid, "whole seconds"},
		{"another secret", Request{Gateway: url, Key: session.KeyPair{ID: anasID, Secret: "another"}}, statelatch.ErrDenied, "SignatureDoesNotMatch"},
		{"foreign audience", Request{Gateway: url, Token: issuer.Token(map[string]any{"aud": "x"})}, statelatch.ErrDenied, "want one of statelatch"},
		{"expired", Request{Gateway: url, Token: issuer.Token(map[string]any{"exp": 1})}, statelatch.ErrDenied, "has expired"},
		{"too short", Request{Gateway: url, Key: good, Lasts: time.Minute}, statelatch.ErrDenied, "DurationSeconds"},
		{"nobody there", Request{Gateway: gone.URL, Key: good}, statelatch.ErrBroken, gone.URL},
		{"no gateway", Request{Gateway: mute.URL, Key: good}, statelatch.ErrBroken, "is it a gateway"},
	} {
		got, err := Begin(t.Context(), tt.r)
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || got.SecretAccessKey != "" {
			t.Errorf("%s: got %v, want %v that says %q", tt.name, err, tt.want, tt.says)
		}
		if err != nil && (strings.Contains(err.Error(), anasSecret) || tt.r.Token != "" && strings.Contains(err.Error(), tt.r.Token)) {
			t.Errorf("%s: a secret is in %v", tt.name, err)
		}
	}
}

func TestGitHubToken(t *testing.T) {
	t.Parallel()
	answer := `{"count":1,"value":"the.token.itself"}`
	status := http.StatusOK
	github := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" || r.URL.Query().Get("audience") != "statelatch" || r.URL.Query().Get("api-version") != "2.0" {
			t.Errorf("got %s with %v, want as GitHub documents it", r.URL, r.Header)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(answer))
	}))
	t.Cleanup(github.Close)
	env := map[string]string{}
	ask := func() (string, bool, error) {
		return GitHubToken(t.Context(), func(name string) string { return env[name] }, "statelatch")
	}
	if _, ok, err := ask(); ok || err != nil {
		t.Errorf("got %v, %v outside of GitHub", ok, err)
	}
	env["ACTIONS_ID_TOKEN_REQUEST_URL"] = github.URL + "/token?api-version=2.0"
	env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = "secret"
	if got, ok, err := ask(); got != "the.token.itself" || !ok || err != nil {
		t.Errorf("got %q, %v, %v, want the token", got, ok, err)
	}
	for _, tt := range []struct {
		status int
		answer string
		want   error
	}{
		{http.StatusForbidden, "", statelatch.ErrDenied},
		{http.StatusBadGateway, "", statelatch.ErrBroken},
		{http.StatusOK, "{}", statelatch.ErrBroken},
		{http.StatusOK, "<html>", statelatch.ErrBroken},
	} {
		status, answer = tt.status, tt.answer
		if _, ok, err := ask(); !ok || !errors.Is(err, tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%d %q: got %v, %v, want %v", tt.status, tt.answer, ok, err, tt.want)
		}
	}
	github.Close()
	if _, ok, err := ask(); !ok || !errors.Is(err, statelatch.ErrBroken) {
		t.Errorf("got %v, %v, want that GitHub cannot be asked", ok, err)
	}
	env["ACTIONS_ID_TOKEN_REQUEST_URL"] = "http://github.example/"
	if _, ok, err := ask(); !ok || !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("got %v, %v, want https://", ok, err)
	}
}

// The profile that names the program is set where the program runs, and no profile of it.
func TestBegin_BelowAProfile(t *testing.T) { // not parallel: it sets the environment
	url, _, _ := door(t)
	t.Setenv("AWS_PROFILE", "states")
	t.Setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
	if _, err := Begin(t.Context(), Request{Gateway: url, Key: session.KeyPair{ID: anasID, Secret: anasSecret}}); err != nil {
		t.Errorf("got %v, want a session", err)
	}
}

func TestBegin_CABundle(t *testing.T) {
	t.Parallel()
	url, _, _ := door(t)
	target, err := neturl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	// Rewrite leaves the Host, which is signed, as it came.
	proxy := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = target.Scheme, target.Host, r.In.Host
	}})
	t.Cleanup(proxy.Close)
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxy.Certificate().Raw})
	if err := os.WriteFile(bundle, block, 0o600); err != nil {
		t.Fatal(err)
	}
	r := Request{Gateway: proxy.URL, Key: session.KeyPair{ID: anasID, Secret: anasSecret}}
	if _, err := Begin(t.Context(), r); !errors.Is(err, statelatch.ErrBroken) {
		t.Errorf("got %v, want an unknown authority refused", err)
	}
	r.CABundle = bundle
	if _, err := Begin(t.Context(), r); err != nil {
		t.Errorf("got %v, want a session", err)
	}
	r.CABundle = bundle + ".not"
	if _, err := Begin(t.Context(), r); !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("got %v, want that there is no bundle", err)
	}
}
