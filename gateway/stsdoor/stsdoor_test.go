package stsdoor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/gateway/session"
	"github.com/statelatch/statelatch/internal/issuertest"
)

const anasID, anasSecret = "SLATANAANAANAANAANAA", "the-secret-of-ana-in-40-characters-12345"

// world is a door with a server, an issuer and a static key.
type world struct {
	url      string
	handler  http.Handler
	issuer   *issuertest.Issuer
	registry *session.Registry
	log      *lockedBuffer
	verified int
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	dir := tb.TempDir()
	for name, content := range map[string]string{
		"master": session.NewMasterKey(), "ana": "aws_access_key_id = " + anasID + "\naws_secret_access_key = " + anasSecret + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	w := &world{issuer: issuertest.New(tb), log: &lockedBuffer{}}
	logger := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	w.registry, err = session.Open(&access.Config{
		MasterKeyFile: filepath.Join(dir, "master"), Session: access.DefaultSession,
		Keys:    []access.KeyFile{{Name: "ana", File: filepath.Join(dir, "ana")}},
		Issuers: []access.Issuer{{Name: "ci", URL: w.issuer.URL, Audiences: []string{issuertest.Audience}, NameClaim: "sub"}},
	}, session.Options{Logger: logger})
	if err != nil {
		tb.Fatal(err)
	}
	w.handler = New(Config{
		Registry: w.registry, Logger: logger,
		Verified: func(context.Context) { w.verified++ },
	})
	server := httptest.NewServer(w.handler)
	tb.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// client signs with what provider has; nil signs nothing.
func (w *world) client(provider aws.CredentialsProvider) *sts.Client {
	return sts.New(sts.Options{
		BaseEndpoint: &w.url, Region: "eu-central-1", Credentials: provider, RetryMaxAttempts: 1,
	})
}

func static(c *types.Credentials) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(*c.AccessKeyId, *c.SecretAccessKey, aws.ToString(c.SessionToken))
}

func ana() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(anasID, anasSecret, "")
}

func (w *world) byToken(tb testing.TB, token string) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	tb.Helper()
	return w.client(aws.AnonymousCredentials{}).AssumeRoleWithWebIdentity(tb.Context(), &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String("arn:aws:iam::123456789012:role/any"), RoleSessionName: aws.String("test"), WebIdentityToken: &token,
	})
}

func wantCode(tb testing.TB, err error, code string, status int) {
	tb.Helper()
	var api smithy.APIError
	var response interface{ HTTPStatusCode() int }
	if !errors.As(err, &api) || !errors.As(err, &response) || api.ErrorCode() != code || response.HTTPStatusCode() != status {
		tb.Errorf("got error %v, want code %s with status %d", err, code, status)
	}
}

func TestDoor_AssumeRoleWithWebIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.issuer.Token(nil)
	out, err := w.byToken(t, token)
	if err != nil {
		t.Fatal(err)
	}
	if *out.SubjectFromWebIdentityToken != "repo:acme/infra:ref:refs/heads/main" || *out.Audience != issuertest.Audience ||
		*out.Provider != w.issuer.URL ||
		*out.AssumedRoleUser.Arn != "arn:aws:sts::000000000000:assumed-role/ci/repo:acme/infra:ref:refs/heads/main" ||
		*out.AssumedRoleUser.AssumedRoleId != *out.Credentials.AccessKeyId+":test" {
		t.Errorf("got %+v and %+v, want what the token says", out, out.AssumedRoleUser)
	}
	if left := time.Until(*out.Credentials.Expiration); left < 11*time.Hour || left > 12*time.Hour {
		t.Errorf("got a session of %s, want 12 h", left)
	}
	who, err := w.client(static(out.Credentials)).GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if *who.Arn != *out.AssumedRoleUser.Arn || *who.UserId != *out.Credentials.AccessKeyId || *who.Account != "000000000000" {
		t.Errorf("got %s %s %s, want the session", *who.Arn, *who.UserId, *who.Account)
	}
	log := w.log.String()
	if !strings.Contains(log, "session begun") || !strings.Contains(log, *out.Credentials.AccessKeyId) ||
		strings.Contains(log, token) || strings.Contains(log, *out.Credentials.SecretAccessKey) ||
		strings.Contains(log, *out.Credentials.SessionToken) {
		t.Errorf("got log %s, want the session without its secrets", log)
	}
	if w.verified != 2 {
		t.Errorf("got %d connections verified, want each request's", w.verified)
	}
	second, err := w.byToken(t, token)
	if err != nil || *second.Credentials.AccessKeyId == *out.Credentials.AccessKeyId {
		t.Errorf("got the session again, %v, want another for another process", err)
	}
}

func TestDoor_AssumeRoleWithWebIdentity_Refused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, tt := range []struct{ name, token, code string }{
		{"expired", w.issuer.Token(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}), "ExpiredTokenException"},
		{"foreign audience", w.issuer.Token(map[string]any{"aud": "x"}), "InvalidIdentityToken"},
		{"alg none", w.issuer.Unsigned(nil), "InvalidIdentityToken"},
		{"oversized", w.issuer.Token(map[string]any{"x": strings.Repeat("x", 20_000)}), "InvalidIdentityToken"},
		{"tampered", w.issuer.Token(nil) + "x", "InvalidIdentityToken"},
	} {
		_, err := w.byToken(t, tt.token)
		t.Log(err)
		wantCode(t, err, tt.code, 400)
		if w.verified != 0 {
			t.Errorf("%s: the connection was called verified", tt.name)
		}
	}
	w.issuer.Fail(http.StatusBadGateway)
	_, err := newDown(t).byToken(t, w.issuer.Token(nil))
	wantCode(t, err, "InvalidIdentityToken", 400) // of an issuer that is unknown there
	down := newDown(t)
	_, err = down.byToken(t, down.issuer.Token(nil))
	wantCode(t, err, "IDPCommunicationError", 400)
}

// newDown is a world whose issuer does not work.
func newDown(tb testing.TB) *world {
	tb.Helper()
	w := newWorld(tb)
	w.issuer.Fail(http.StatusBadGateway)
	return w
}

func TestDoor_AssumeRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in := &sts.AssumeRoleInput{RoleArn: aws.String("any"), RoleSessionName: aws.String("ana@laptop"), DurationSeconds: aws.Int32(3600)}
	out, err := w.client(ana()).AssumeRole(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(*out.Credentials.Expiration); left < 59*time.Minute || left > time.Hour {
		t.Errorf("got a session of %s, want an hour", left)
	}
	if *out.AssumedRoleUser.Arn != "arn:aws:iam::000000000000:user/ana" {
		t.Errorf("got %s, want the key", *out.AssumedRoleUser.Arn)
	}
	key, err := w.registry.Lookup(t.Context(), *out.Credentials.AccessKeyId, *out.Credentials.SessionToken)
	if s, ok := key.Who.(access.Session); err != nil || !ok || s.Principal.Name != "key:ana" || s.ID != *out.Credentials.AccessKeyId {
		t.Errorf("got %+v, %v, want a session of the key", key.Who, err)
	}
	// A session begins no other.
	_, err = w.client(static(out.Credentials)).AssumeRole(t.Context(), in)
	wantCode(t, err, "AccessDenied", 403)
	for _, tt := range []struct {
		provider aws.CredentialsProvider
		code     string
	}{
		{credentials.NewStaticCredentialsProvider(anasID, "another secret", ""), "SignatureDoesNotMatch"},
		{credentials.NewStaticCredentialsProvider("SLATNOBODYNOBODYNOBO", anasSecret, ""), "InvalidClientTokenId"},
		{credentials.NewStaticCredentialsProvider(anasID, anasSecret, "token"), "InvalidClientTokenId"},
		{credentials.NewStaticCredentialsProvider(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, ""), "InvalidClientTokenId"},
		{credentials.NewStaticCredentialsProvider(*out.Credentials.AccessKeyId, anasSecret, *out.Credentials.SessionToken), "SignatureDoesNotMatch"},
		{aws.AnonymousCredentials{}, "MissingAuthenticationToken"},
	} {
		_, err := w.client(tt.provider).AssumeRole(t.Context(), in)
		wantCode(t, err, tt.code, 403)
		_, err = w.client(tt.provider).GetCallerIdentity(t.Context(), nil)
		wantCode(t, err, tt.code, 403)
	}
	who, err := w.client(ana()).GetCallerIdentity(t.Context(), nil)
	if err != nil || *who.Arn != "arn:aws:iam::000000000000:user/ana" || *who.UserId != anasID {
		t.Errorf("got %+v, %v, want the key", who, err)
	}
}

// AWS's SDKs for Go ask for 15 minutes where nobody asked for anything, and then for another session, which another
// process could be: an apply that takes longer would lose its lock.
func TestDoor_AssumeRole_SDKDefault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got, err := stscreds.NewAssumeRoleProvider(w.client(ana()), "arn:aws:iam::123456789012:role/any").Retrieve(t.Context())
	if left := time.Until(got.Expires); err != nil || left < 11*time.Hour {
		t.Errorf("got a session of %s, %v, want 12 h", left, err)
	}
}

// post sends a form, signed by Ana, as it is.
func (w *world) post(tb testing.TB, method, target, kind, form string) (int, refusal, string) {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), method, w.url+target, strings.NewReader(form))
	if err != nil {
		tb.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	key := aws.Credentials{AccessKeyID: anasID, SecretAccessKey: anasSecret}
	if err := v4.NewSigner().SignHTTP(tb.Context(), key, r, hashOf(form), "sts", "us-east-1", time.Now()); err != nil {
		tb.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	if resp.Header.Get("Content-Type") != "text/xml" || resp.Header.Get("X-Amzn-Requestid") == "" {
		tb.Errorf("got headers %v, want XML and an ID", resp.Header)
	}
	var doc refusal
	if resp.StatusCode != http.StatusOK {
		if err := xml.Unmarshal(body, &doc); err != nil {
			tb.Fatalf("%s: %v", body, err)
		}
	}
	return resp.StatusCode, doc, string(body)
}

func TestDoor_Requests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const kind = "application/x-www-form-urlencoded; charset=utf-8"
	const role = "Action=AssumeRole&Version=2011-06-15&RoleArn=any&RoleSessionName=ana"
	for _, tt := range []struct {
		name, method, target, kind, form string
		status                           int
		code                             string
	}{
		{"right", "POST", "/", kind, role, 200, ""},
		{"who", "POST", "/", kind, "Action=GetCallerIdentity&Version=2011-06-15", 200, ""},
		{"longest", "POST", "/", kind, role + "&DurationSeconds=129600", 200, ""},
		{"get", "GET", "/?Action=GetCallerIdentity&Version=2011-06-15", kind, "", 405, "InvalidAction"},
		{"put", "PUT", "/", kind, role, 405, "InvalidAction"},
		{"other path", "POST", "/x", kind, role, 400, "InvalidAction"},
		{"query", "POST", "/?Action=AssumeRole", kind, role, 400, "InvalidAction"},
		{"no form", "POST", "/", "application/json", role, 400, "InvalidAction"},
		{"no action", "POST", "/", kind, "Version=2011-06-15", 400, "MissingAction"},
		{"empty", "POST", "/", kind, "", 400, "MissingAction"},
		{"other action", "POST", "/", kind, "Action=GetFederationToken&Version=2011-06-15", 400, "InvalidAction"},
		{"other version", "POST", "/", kind, strings.Replace(role, "2011", "2010", 1), 400, "InvalidAction"},
		{"no version", "POST", "/", kind, "Action=GetCallerIdentity", 400, "InvalidAction"},
		{"policy", "POST", "/", kind, role + "&Policy=%7B%7D", 400, "ValidationError"},
		{"tags", "POST", "/", kind, role + "&Tags.member.1.Key=a", 400, "ValidationError"},
		{"twice", "POST", "/", kind, role + "&RoleArn=other", 400, "ValidationError"},
		{"action twice", "POST", "/", kind, role + "&Action=GetCallerIdentity", 400, "ValidationError"},
		{"nameless", "POST", "/", kind, role + "&=x", 400, "ValidationError"},
		{"no role", "POST", "/", kind, strings.Replace(role, "&RoleArn=any", "", 1), 400, "ValidationError"},
		{"no name", "POST", "/", kind, strings.Replace(role, "&RoleSessionName=ana", "", 1), 400, "ValidationError"},
		{"name", "POST", "/", kind, strings.Replace(role, "Name=ana", "Name=a%20b", 1), 400, "ValidationError"},
		{"short", "POST", "/", kind, role + "&DurationSeconds=899", 400, "ValidationError"},
		{"long", "POST", "/", kind, role + "&DurationSeconds=129601", 400, "ValidationError"},
		{"no number", "POST", "/", kind, role + "&DurationSeconds=1h", 400, "ValidationError"},
		{"no token", "POST", "/", kind, strings.Replace(role, "AssumeRole", "AssumeRoleWithWebIdentity", 1), 400, "ValidationError"},
		{"no form inside", "POST", "/", kind, "Action=%zz", 400, "ValidationError"},
		{"no text", "POST", "/", kind, role + "&a=\xff", 400, "ValidationError"},
		{"too long", "POST", "/", kind, role + "&a=" + strings.Repeat("x", maxBody), 413, "RequestEntityTooLarge"},
	} {
		status, doc, body := w.post(t, tt.method, tt.target, tt.kind, tt.form)
		if status != tt.status || doc.Code != tt.code {
			t.Errorf("%s: got %d %s, want %d %s", tt.name, status, body, tt.status, tt.code)
		}
		if tt.code != "" && (doc.Type != "Sender" || doc.Message == "" || doc.RequestID == "") {
			t.Errorf("%s: got %s, want an error as AWS's", tt.name, body)
		}
	}
}

func TestDoor_NoMasterKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "ana")
	if err := os.WriteFile(file, []byte("aws_access_key_id = "+anasID+"\naws_secret_access_key = "+anasSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	registry, err := session.Open(&access.Config{Keys: []access.KeyFile{{Name: "ana", File: file}}}, session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(New(Config{Registry: registry}))
	t.Cleanup(server.Close)
	w.url = server.URL
	_, err = w.client(ana()).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String("any"), RoleSessionName: aws.String("ana")})
	wantCode(t, err, "AccessDenied", 403)
	if _, err := w.client(ana()).GetCallerIdentity(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// The requests of S3 are none of STS, on an address of both.
func TestIs(t *testing.T) {
	t.Parallel()
	const kind = "application/x-www-form-urlencoded"
	for _, tt := range []struct {
		method, target, kind string
		want                 bool
	}{
		{"POST", "/", kind, true},
		{"POST", "/", kind + "; charset=utf-8", true},
		{"GET", "/?Action=GetCallerIdentity&Version=2011-06-15", "", true},
		{"GET", "/?Version=2011-06-15&Action=GetCallerIdentity", "", true},
		{"GET", "/", "", false},
		{"GET", "/?x-id=ListBuckets", "", false},
		{"POST", "/?delete", "application/xml", false}, // of a bucket in the host
		{"POST", "/?delete", kind, false},
		{"POST", "/bucket?delete", kind, false},
		{"POST", "/", "multipart/form-data; boundary=x", false},
		{"PUT", "/", kind, false},
		{"GET", "/key?Action=x", "", false},
		{"GET", "/?prefix=Action=x", "", false},
	} {
		r := httptest.NewRequestWithContext(t.Context(), tt.method, tt.target, nil)
		r.Header.Set("Content-Type", tt.kind)
		if got := Is(r); got != tt.want {
			t.Errorf("%s %s %s: got %v, want %v", tt.method, tt.target, tt.kind, got, tt.want)
		}
	}
}

// FuzzServe feeds bodies. Nothing but a token that was signed begins a session, and every answer is a document.
func FuzzServe(f *testing.F) {
	w := newWorld(f)
	f.Add("Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=any&RoleSessionName=ana&WebIdentityToken=" + w.issuer.Unsigned(nil))
	f.Add("Action=AssumeRole&Version=2011-06-15&RoleArn=any&RoleSessionName=ana&DurationSeconds=900")
	f.Add("Action=GetCallerIdentity&Version=2011-06-15")
	f.Add("Action=&Action=%zz;")
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		recorder := httptest.NewRecorder()
		w.handler.ServeHTTP(recorder, r)
		var doc refusal
		if err := xml.Unmarshal(recorder.Body.Bytes(), &doc); err != nil || recorder.Code < 400 || recorder.Code >= 500 || doc.Code == "" {
			t.Fatalf("got %d %s, %v, want a refusal", recorder.Code, recorder.Body, err)
		}
	})
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
