package main

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/gateway/exchange"
	"github.com/statelatch/statelatch/gateway/session"
	"github.com/statelatch/statelatch/gateway/stsdoor"
	"github.com/statelatch/statelatch/internal/issuertest"
)

func TestCredentials(t *testing.T) {
	t.Parallel()
	const id, secret = "SLATANAANAANAANAANAA", "the-secret-of-ana-in-40-characters-12345"
	dir, issuer := t.TempDir(), issuertest.New(t)
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	key, token := write("ana", "aws_access_key_id = "+id+"\naws_secret_access_key = "+secret+"\n"), write("token", issuer.Token(nil)+"\n")
	registry, err := session.Open(&access.Config{
		MasterKeyFile: write("master", session.NewMasterKey()), Session: access.DefaultSession,
		Keys:    []access.KeyFile{{Name: "ana", File: key}},
		Issuers: []access.Issuer{{Name: "ci", URL: issuer.URL, Audiences: []string{issuertest.Audience}, NameClaim: "sub"}},
	}, session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(stsdoor.New(stsdoor.Config{Registry: registry}))
	t.Cleanup(server.Close)

	const ofToken = "ci:repo:acme/infra:ref:refs/heads/main"
	for _, tt := range []struct {
		name string
		env  map[string]string
		args []string
		want string
	}{
		{"key file", nil, []string{"-gateway", server.URL, "-key-file", key}, "key:ana"},
		{"token file", nil, []string{"-gateway", server.URL, "-token-file", token, "-lasts", "2h"}, ofToken},
		{"token in the environment", map[string]string{"TOKEN": issuer.Token(nil)}, []string{"-gateway", server.URL, "-token-env", "TOKEN"}, ofToken},
		{"AWS's token file", map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ENDPOINT_URL_STS": server.URL}, nil, ofToken},
		{"AWS's key", map[string]string{"AWS_ACCESS_KEY_ID": id, "AWS_SECRET_ACCESS_KEY": secret, "AWS_ENDPOINT_URL": server.URL}, nil, "key:ana"},
		{"flags count more", map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": "/not/there", "AWS_ENDPOINT_URL_STS": "http://192.0.2.1"}, []string{"-gateway", server.URL, "-key-file", key}, "key:ana"},
	} {
		s := newShell(t)
		for name, value := range tt.env {
			s.env[name] = value
		}
		o := s.run(append([]string{"credentials"}, tt.args...)...)
		s.want(o, 0)
		var got exchange.Credentials
		if err := json.Unmarshal([]byte(o.out), &got); err != nil || got.Version != 1 || o.err != "" {
			t.Fatalf("%s: got %s and %s, %v, want credentials alone", tt.name, o.out, o.err, err)
		}
		found, err := registry.Lookup(t.Context(), got.AccessKeyID, got.SessionToken)
		if who, ok := found.Who.(access.Session); err != nil || !ok || who.Principal.Name != tt.want || who.ID == "" {
			t.Errorf("%s: got %+v, %v, want a session of %s", tt.name, found.Who, err, tt.want)
		}
	}

	s := newShell(t)
	s.want(s.run("credentials", "-key-file", key), exitUsage, "-gateway is missing")
	s.want(s.run("credentials", "-gateway", server.URL), exitUsage, "nothing says who asks")
	s.want(s.run("credentials", "-gateway", server.URL, "-key-file", key, "-token-file", token), exitUsage, "give one")
	s.want(s.run("credentials", "-gateway", server.URL, "-token-env", "TOKEN"), exitUsage, "TOKEN is not set")
	s.want(s.run("credentials", "-gateway", "http://192.0.2.1", "-key-file", key), exitUsage, "whoever listens")
	s.want(s.run("credentials", "-gateway", server.URL, "-token-file", write("bad", "a.b.c")), exitDenied, "InvalidIdentityToken")
	s.want(s.run("credentials", "-gateway", server.URL, "-token-file", write("empty", "\n")), exitError, "is empty")
	s.want(s.run("credentials", "-gateway", server.URL, "-token-file", filepath.Join(dir, "not")), exitError, "no such file")
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	s.want(s.run("credentials", "-gateway", server.URL, "-key-file", key), exitError, "can be read by others")
}
