package s3bucket

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// signer returns the access key and the region that a request was signed with.
func signer(t *testing.T, r request) string {
	t.Helper()
	_, credential, ok := strings.Cut(r.header.Get("Authorization"), "Credential=")
	parts := strings.Split(credential, "/")
	if !ok || len(parts) < 3 {
		t.Fatalf("Authorization: got %q", r.header.Get("Authorization"))
	}
	return parts[0] + " " + parts[2]
}

func head(t *testing.T, b *Bucket) {
	t.Helper()
	if _, err := b.Head(t.Context(), testKey, bucket.ReadOptions{}); err != nil {
		t.Fatalf("Head: %v", err)
	}
}

// The tests below that use t.Setenv cannot run in parallel.

func TestOpen_Environment_SuppliesEverything(t *testing.T) {
	s := newStore(t, stored)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKENV")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "envsecret")
	t.Setenv("AWS_SESSION_TOKEN", "envtoken")
	for _, tc := range []struct {
		name string
		env  map[string]string
		want string
	}{
		{"AWS_ENDPOINT_URL_S3", map[string]string{"AWS_ENDPOINT_URL_S3": s.URL, "AWS_S3_ENDPOINT": "http://127.0.0.1:1"}, "AKENV us-east-1"},
		{"AWS_S3_ENDPOINT", map[string]string{"AWS_S3_ENDPOINT": s.URL, "AWS_DEFAULT_REGION": "eu-west-3"}, "AKENV eu-west-3"},
		{"AWS_ENDPOINT_URL", map[string]string{"AWS_ENDPOINT_URL": s.URL}, "AKENV us-east-1"},
		{"AWS_REGION", map[string]string{"AWS_ENDPOINT_URL_S3": s.URL, "AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-3"}, "AKENV eu-west-1"},
		{"custom region", map[string]string{"AWS_ENDPOINT_URL_S3": s.URL, "AWS_REGION": "garage"}, "AKENV garage"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for k, v := range tc.env {
				t.Setenv(k, v)
			}
			before := len(s.requests())
			head(t, open(t, Config{}))
			seen := s.requests()[before:]
			if len(seen) != 1 {
				t.Fatalf("requests: got %d, want 1", len(seen))
			}
			if got := signer(t, seen[0]); got != tc.want {
				t.Errorf("signed with %q, want %q", got, tc.want)
			}
			if got := seen[0].header.Get("X-Amz-Security-Token"); got != "envtoken" {
				t.Errorf("token: got %q, want %q", got, "envtoken")
			}
			if got, want := seen[0].path, "/bkt/"+testKey; got != want { // path style by itself
				t.Errorf("path: got %q, want %q", got, want)
			}
		})
	}
}

func TestOpen_Arguments_WinOverEnvironment(t *testing.T) {
	s := newStore(t, stored)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKENV")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "envsecret")
	t.Setenv("AWS_REGION", "eu-west-1")
	t.Setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
	t.Setenv("AWS_SSE_CUSTOMER_KEY", customerKey)
	cfg := s.config()
	cfg.Encrypt = true
	cfg.Token = "argtoken"
	head(t, open(t, cfg))
	r := s.only(t)
	if got, want := signer(t, r), "AKIDEXAMPLE eu-central-1"; got != want {
		t.Errorf("signed with %q, want %q", got, want)
	}
	checkHeaders(t, r.header, map[string]string{
		"X-Amz-Security-Token":                      "argtoken",
		"X-Amz-Server-Side-Encryption-Customer-Key": customerKey,
	})
}

func TestOpen_Profile(t *testing.T) {
	s := newStore(t, stored)
	dir := t.TempDir()
	creds, conf := filepath.Join(dir, "credentials"), filepath.Join(dir, "config")
	write(t, creds, "[default]\naws_access_key_id=AKDEFAULT\naws_secret_access_key=x\n[team]\naws_access_key_id=AKTEAM\naws_secret_access_key=x\n")
	write(t, conf, "[profile team]\nregion = eu-north-1\n")
	for name, tc := range map[string]struct {
		env  map[string]string
		cfg  Config
		want string
	}{
		"arguments":   {nil, Config{Profile: "team", SharedCredentialsFiles: []string{creds}, SharedConfigFiles: []string{conf}}, "AKTEAM eu-north-1"},
		"environment": {map[string]string{"AWS_PROFILE": "team", "AWS_SHARED_CREDENTIALS_FILE": creds, "AWS_SHARED_CONFIG_FILE": conf}, Config{}, "AKTEAM eu-north-1"},
		"default":     {map[string]string{"AWS_SHARED_CREDENTIALS_FILE": creds, "AWS_CONFIG_FILE": conf}, Config{}, "AKDEFAULT us-east-1"},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range tc.env {
				t.Setenv(k, v)
			}
			before := len(s.requests())
			tc.cfg.Endpoints.S3 = s.URL
			head(t, open(t, tc.cfg))
			if got := signer(t, s.requests()[before]); got != tc.want {
				t.Errorf("signed with %q, want %q", got, tc.want)
			}
		})
	}
	_, err := Open(t.Context(), "bkt", Config{Profile: "nope", SharedCredentialsFiles: []string{creds}, SharedConfigFiles: []string{conf}})
	if !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), "nope") {
		t.Errorf("unknown profile: got %v, want ErrInvalid naming it", err)
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpen_NoCredentials(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	notMetadata := newStore(t, answer(http.StatusNotFound, nil, ""))
	for name, env := range map[string]map[string]string{
		"metadata disabled":       {metadataDisabled: "true"},
		"no metadata service":     {metadataDisabled: "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://" + closed.Addr().String()},
		"old variable":            {metadataDisabled: "", "AWS_METADATA_URL": "http://" + closed.Addr().String()},
		"something else is there": {metadataDisabled: "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": notMetadata.URL},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range env {
				t.Setenv(k, v)
			}
			_, err := Open(t.Context(), "bkt", Config{Region: "eu-central-1"})
			checkKind(t, err, statelatch.ErrDenied)
			for _, want := range []string{"no AWS credentials found", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
	if len(notMetadata.requests()) == 0 {
		t.Error("the metadata service that answers was not asked")
	}
}

// A child process must not inherit what the resolving library sets.
func TestOpen_SkipMetadataAPICheck_LeavesEnvironment(t *testing.T) {
	t.Setenv(metadataDisabled, "maybe")
	s := newStore(t, stored)
	cfg := s.config()
	cfg.SkipMetadataAPICheck = aws.Bool(true)
	open(t, cfg)
	if got := os.Getenv(metadataDisabled); got != "maybe" {
		t.Errorf("%s: got %q, want %q", metadataDisabled, got, "maybe")
	}
}

func TestOpen_Region(t *testing.T) {
	t.Parallel()
	static := Config{AccessKey: "AK", SecretKey: "x"}
	_, err := Open(t.Context(), "bkt", static)
	if !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), "AWS_REGION") {
		t.Errorf("none: got %v, want ErrInvalid naming AWS_REGION", err)
	}
	static.Region = "eu-nowhere-1"
	_, err = Open(t.Context(), "bkt", static)
	if !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), "eu-nowhere-1") {
		t.Errorf("unknown: got %v, want ErrInvalid naming it", err)
	}
	static.SkipRegionValidation = true
	if _, err = Open(t.Context(), "bkt", static); err != nil {
		t.Errorf("unknown, validation skipped: got %v, want nil", err)
	}
}

// requestURL is where a HEAD would go, without sending it.
func requestURL(t *testing.T, cfg Config) string {
	t.Helper()
	b := open(t, cfg)
	var target string
	_, _ = b.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("bkt"), Key: aws.String("k")}, func(o *s3.Options) {
		o.Retryer = aws.NopRetryer{}
		o.HTTPClient = doFunc(func(r *http.Request) (*http.Response, error) {
			target = r.URL.Scheme + "://" + r.URL.Host + r.URL.Path
			return nil, io.EOF
		})
	})
	return target
}

type doFunc func(*http.Request) (*http.Response, error)

func (f doFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }

func TestOpen_Addressing(t *testing.T) {
	t.Parallel()
	static := Config{AccessKey: "AK", SecretKey: "x", Region: "eu-central-1"}
	for want, change := range map[string]func(*Config){
		"https://bkt.s3.eu-central-1.amazonaws.com/k":           func(*Config) {},
		"https://s3.eu-central-1.amazonaws.com/bkt/k":           func(c *Config) { c.UsePathStyle = true },
		"https://bkt.s3-fips.us-east-2.amazonaws.com/k":         func(c *Config) { c.UseFIPSEndpoint, c.Region = true, "us-east-2" },
		"https://bkt.s3.dualstack.eu-central-1.amazonaws.com/k": func(c *Config) { c.UseDualStackEndpoint = true },
		"https://bkt.s3.example.com/k":                          func(c *Config) { c.Endpoints.S3 = "s3.example.com" },
		"https://s3.example.com:9000/bkt/k":                     func(c *Config) { c.Endpoints.S3, c.UsePathStyle = "https://s3.example.com:9000", true },
		"http://127.0.0.1:9000/bkt/k":                           func(c *Config) { c.Endpoints.S3 = "http://127.0.0.1:9000" },
		"http://[::1]:9000/bkt/k":                               func(c *Config) { c.Endpoints.S3 = "http://[::1]:9000" },
		"http://localhost:9000/bkt/k":                           func(c *Config) { c.Endpoints.S3 = "http://localhost:9000" },
		"http://minio:9000/bkt/k":                               func(c *Config) { c.Endpoints.S3 = "http://minio:9000" },
	} {
		cfg := static
		change(&cfg)
		if got := requestURL(t, cfg); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestOpen_FIPSAndDualStack_Environment(t *testing.T) {
	static := Config{AccessKey: "AK", SecretKey: "x", Region: "us-east-2"}
	t.Setenv("AWS_USE_FIPS_ENDPOINT", "true")
	t.Setenv("AWS_USE_DUALSTACK_ENDPOINT", "true")
	if got, want := requestURL(t, static), "https://bkt.s3-fips.dualstack.us-east-2.amazonaws.com/k"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestOpen_Invalid(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]Config{
		"endpoints.s3":                  {Endpoints: Endpoints{S3: "ftp://x"}},
		"endpoints.s3 \"https://h":      {Endpoints: Endpoints{S3: "https://h/?token=secretexample"}},
		"endpoints.iam":                 {Endpoints: Endpoints{IAM: "https://secretexample@h#secretexample"}},
		"endpoints.sso":                 {Endpoints: Endpoints{SSO: "https://h:secretexample/"}},
		"endpoints.sts":                 {Endpoints: Endpoints{STS: "http://"}},
		"sse_customer_key":              {ObjectOptions: ObjectOptions{SSECustomerKey: "short"}},
		"kms_key_id":                    {ObjectOptions: ObjectOptions{SSECustomerKey: customerKey, KMSKeyID: "alias/a"}},
		"access_key":                    {SecretKey: "secretexample"},
		"secret_key":                    {AccessKey: "AK"},
		"allowed_account_ids":           {AllowedAccountIDs: []string{"1"}, ForbiddenAccountIDs: []string{"2"}},
		"max_retries":                   {MaxRetries: -1},
		"retry_mode":                    {RetryMode: "legacy"},
		"http_proxy":                    {HTTPProxy: "http://user:secretexample@[bad"},
		"custom_ca_bundle":              {CustomCABundle: "/does/not/exist"},
		"custom_ca_bundle: /dev":        {CustomCABundle: "/dev"}, // as a device would be, which must not be opened
		"shared_config_files: /dev":     {SharedConfigFiles: []string{"/dev/null", "/dev"}},
		"shared_credentials_files: /":   {SharedCredentialsFiles: []string{"/"}},
		"web_identity_token_file: /dev": {AssumeRoleWithWebIdentity: &AssumeRoleWithWebIdentity{RoleARN: "arn", WebIdentityTokenFile: "/dev"}},
		"assume_role.role_arn":          {AssumeRole: []AssumeRole{{SessionName: "x"}}},
		"assume_role_with_web_identity": {AssumeRoleWithWebIdentity: &AssumeRoleWithWebIdentity{RoleARN: "arn"}},
	} {
		_, err := Open(t.Context(), "bkt", cfg)
		if !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want ErrInvalid naming it", want, err)
			continue
		}
		if strings.Contains(err.Error(), "secretexample") || strings.Contains(err.Error(), customerKey) {
			t.Errorf("%s: error tells a secret: %v", want, err)
		}
	}
	if _, err := Open(t.Context(), "", Config{}); !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("no bucket: got %v, want ErrInvalid", err)
	}
}

func TestConfig_Format_TellsNoSecret(t *testing.T) {
	t.Parallel()
	cfg := Config{Region: "r", AccessKey: "AK", SecretKey: "secretexample", Token: "tokenexample", ObjectOptions: ObjectOptions{SSECustomerKey: customerKey}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		got := fmt.Sprintf(verb, struct{ S3 Config }{cfg})
		for _, secret := range []string{"secretexample", "tokenexample", customerKey} {
			if strings.Contains(got, secret) {
				t.Errorf("%s tells a secret: %s", verb, got)
			}
		}
	}
}

// sts answers the calls that roles and account checks need.
func sts(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	creds := func(key string) string {
		return `<Credentials><AccessKeyId>` + key + `</AccessKeyId><SecretAccessKey>x</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>`
	}
	switch form.Get("Action") {
	case "AssumeRole":
		if form.Get("ExternalId") == "wrong" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>`)
			return
		}
		_, _ = io.WriteString(w, `<AssumeRoleResponse><AssumeRoleResult>`+creds("AKROLE"+form.Get("ExternalId"))+`</AssumeRoleResult></AssumeRoleResponse>`)
	case "AssumeRoleWithWebIdentity":
		_, _ = io.WriteString(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>`+creds("AKWEB"+form.Get("WebIdentityToken"))+`</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`)
	case "GetCallerIdentity":
		_, _ = io.WriteString(w, `<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/u</Arn><UserId>u</UserId><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`)
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
}

func TestOpen_AssumeRole(t *testing.T) {
	t.Parallel()
	token := newStore(t, sts)
	s := newStore(t, stored)
	cfg := s.config()
	cfg.Endpoints.STS = token.URL
	cfg.AssumeRole = []AssumeRole{{RoleARN: "arn:aws:iam::1:role/a", ExternalID: "1"}, {RoleARN: "arn:aws:iam::2:role/b", ExternalID: "2"}}
	head(t, open(t, cfg))
	if got, want := signer(t, s.only(t)), "AKROLE2 eu-central-1"; got != want {
		t.Errorf("signed with %q, want %q", got, want)
	}
	seen := token.requests()
	if got, want := signer(t, seen[len(seen)-1]), "AKROLE1 eu-central-1"; got != want {
		t.Errorf("second role assumed by %q, want %q", got, want)
	}

	cfg.AssumeRole = []AssumeRole{{RoleARN: "arn:aws:iam::1:role/a", ExternalID: "wrong"}}
	_, err := Open(t.Context(), "bkt", cfg)
	checkKind(t, err, statelatch.ErrDenied)
	if !strings.Contains(err.Error(), "assume the role") {
		t.Errorf("error %q does not say that the role cannot be assumed", err)
	}
}

func TestOpen_WebIdentity_FromEnvironment(t *testing.T) {
	token := newStore(t, sts)
	s := newStore(t, stored)
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, "FILE")
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/a")
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file)
	cfg := Config{Region: "eu-central-1", Endpoints: Endpoints{S3: s.URL, STS: token.URL}}
	head(t, open(t, cfg)) // the SDK's own chain
	cfg.AssumeRoleWithWebIdentity = &AssumeRoleWithWebIdentity{SessionName: "s"}
	head(t, open(t, cfg)) // the argument, completed
	cfg.AssumeRoleWithWebIdentity = &AssumeRoleWithWebIdentity{WebIdentityToken: "ARG"}
	head(t, open(t, cfg))
	want := []string{"AKWEBFILE eu-central-1", "AKWEBFILE eu-central-1", "AKWEBARG eu-central-1"}
	for i, r := range s.requests() {
		if got := signer(t, r); got != want[i] {
			t.Errorf("request %d signed with %q, want %q", i, got, want[i])
		}
	}
}

// STS is asked only when accounts are to be checked.
func TestOpen_Accounts(t *testing.T) {
	t.Parallel()
	token := newStore(t, sts)
	s := newStore(t, stored)
	cfg := s.config()
	cfg.Endpoints.STS, cfg.Endpoints.IAM = token.URL, token.URL
	open(t, cfg)
	if got := append(token.requests(), s.requests()...); len(got) != 0 {
		t.Errorf("requests at Open: got %v, want none", got)
	}
	cfg.AllowedAccountIDs = []string{"123456789012"}
	open(t, cfg)
	cfg.AllowedAccountIDs = []string{"111111111111"}
	_, err := Open(t.Context(), "bkt", cfg)
	checkKind(t, err, statelatch.ErrDenied)
	cfg.AllowedAccountIDs, cfg.ForbiddenAccountIDs = nil, []string{"123456789012"}
	_, err = Open(t.Context(), "bkt", cfg)
	checkKind(t, err, statelatch.ErrDenied)
	if got := len(token.requests()); got != 3 {
		t.Errorf("STS requests: got %d, want 3", got)
	}
}

func TestOpen_Proxies(t *testing.T) {
	proxy := newStore(t, stored)
	direct := newStore(t, stored)
	t.Setenv("NO_PROXY", "unrelated.example.com")
	cfg := direct.config()
	cfg.Endpoints.S3 = "http://s3.example.com" // loopback would never go through a proxy
	cfg.UsePathStyle = true
	cfg.HTTPProxy = proxy.URL
	head(t, open(t, cfg))
	if got, want := proxy.only(t).host, "s3.example.com"; got != want {
		t.Errorf("proxied host: got %q, want %q", got, want)
	}
	cfg.HTTPProxy = ""
	t.Setenv("HTTP_PROXY", proxy.URL)
	head(t, open(t, cfg))
	if got := len(proxy.requests()); got != 2 {
		t.Errorf("requests through HTTP_PROXY: got %d, want 1", got-1)
	}
	cfg.NoProxy = "s3.example.com"
	tr := open(t, cfg).client.Options().HTTPClient.(*http.Client).Transport.(expiryWatcher).inner.(*http.Transport)
	for target, want := range map[string]string{"http://s3.example.com": "", "http://other.example.com": proxy.URL} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		u, err := tr.Proxy(req)
		if got := u; err != nil || want == "" && got != nil || want != "" && (got == nil || got.String() != want) {
			t.Errorf("proxy of %s: got %v, %v, want %q", target, got, err, want)
		}
	}
	cfg.NoProxy, cfg.HTTPProxy = "", "http://legacy.example.com"
	tr = open(t, cfg).client.Options().HTTPClient.(*http.Client).Transport.(expiryWatcher).inner.(*http.Transport)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://s3.example.com", nil)
	if u, err := tr.Proxy(req); err != nil || u == nil || u.Host != "legacy.example.com" {
		t.Errorf("https with http_proxy alone: got %v, %v, want that proxy", u, err)
	}
}

func TestOpen_CABundle_Environment(t *testing.T) {
	s := newTLSStore(t, stored)
	t.Setenv("AWS_CA_BUNDLE", s.caFile(t))
	b := open(t, s.config())
	head(t, b)
	tr := b.client.Options().HTTPClient.(*http.Client).Transport.(expiryWatcher).inner.(*http.Transport)
	if tr.TLSClientConfig.MinVersion < tls.VersionTLS12 || tr.TLSClientConfig.InsecureSkipVerify {
		t.Errorf("TLS: got %+v", tr.TLSClientConfig)
	}
	limits := Timeouts{}.orDefaults()
	if tr.ResponseHeaderTimeout != limits.ResponseHeader || tr.TLSHandshakeTimeout != limits.TLSHandshake || !tr.DisableCompression {
		t.Errorf("limits: got %v, %v, compression disabled %v", tr.ResponseHeaderTimeout, tr.TLSHandshakeTimeout, tr.DisableCompression)
	}
}

func TestOpen_ContextEnded(t *testing.T) {
	t.Parallel()
	token := newStore(t, sts)
	cfg := token.config()
	cfg.Endpoints.STS = token.URL
	cfg.AssumeRole = []AssumeRole{{RoleARN: "arn:aws:iam::1:role/a"}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Open(ctx, "bkt", cfg)
	checkKind(t, err, statelatch.ErrBroken)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v does not match context.Canceled", err)
	}
}

// A caller's own client gets the driver's rules all the same.
func TestNew_OwnClient(t *testing.T) {
	t.Parallel()
	s := newStore(t, answer(http.StatusInternalServerError, nil, s3Error("InternalError", "")))
	client := s3.New(s3.Options{
		Region: "eu-central-1", BaseEndpoint: &s.URL, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("AK", "x", ""),
	})
	b, err := New(client, "bkt", ObjectOptions{Encrypt: true}, Timeouts{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Put(t.Context(), testKey, strings.NewReader(testBody), bucket.PutOptions{})
	checkKind(t, err, statelatch.ErrAmbiguous)
	checkHeaders(t, s.only(t).header, map[string]string{"X-Amz-Trailer": "", "X-Amz-Server-Side-Encryption": "AES256"})
	if b.Name() != "bkt" {
		t.Errorf("Name: got %q, want %q", b.Name(), "bkt")
	}
	if _, err := New(client, "bkt", ObjectOptions{SSECustomerKey: "x"}, Timeouts{}); !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("bad options: got %v, want ErrInvalid", err)
	}
}

// Credentials that expire and cannot be renewed are no broken store.
func TestBucket_AllCalls_CredentialsGone(t *testing.T) {
	t.Parallel()
	s := newStore(t, stored)
	cfg := s.config()
	cfg.Timeouts = Timeouts{}
	gone := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("the session has ended")
	})
	client, err := cfg.client(aws.Config{
		Region: "eu-central-1", Credentials: gone, HTTPClient: awshttp.NewBuildableClient(),
		Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(client, "bkt", ObjectOptions{}, Timeouts{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range calls {
		se := storeError(t, c.do(t.Context(), b), statelatch.ErrDenied)
		if !strings.Contains(se.Error(), "the session has ended") {
			t.Errorf("%s: error %q does not give the cause", c.name, se)
		}
	}
	if got := s.requests(); len(got) != 0 {
		t.Errorf("requests: got %v, want none", got)
	}
}

// B14: a session that expires during a long run. The file has fresh credentials by then; the next request is signed
// with them.
func TestOpen_B14_ExpiredCredentialsAreLoadedAnew(t *testing.T) {
	s := newStore(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Authorization"), "AKOLD") {
			answer(http.StatusBadRequest, nil, s3Error("ExpiredToken", "The provided token has expired."))(w, r)
			return
		}
		stored(w, r)
	})
	file := filepath.Join(t.TempDir(), "credentials")
	write := func(key string) {
		t.Helper()
		content := "[default]\naws_access_key_id = " + key + "\naws_secret_access_key = secretexample\naws_session_token = token" + key + "\n"
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("AKOLD")
	b := open(t, Config{Endpoints: Endpoints{S3: s.URL}, SharedCredentialsFiles: []string{file}})
	put := func() error {
		_, err := b.Put(t.Context(), testKey, strings.NewReader("x"), bucket.PutOptions{If: bucket.IfAbsent})
		return err
	}
	if err := put(); !errors.Is(err, statelatch.ErrDenied) || !statelatch.Expired(err) {
		t.Errorf("got %v, want ErrDenied that says that the credentials expired", err)
	}
	if err := put(); !statelatch.Expired(err) {
		t.Errorf("nothing new in the file: got %v, want the same", err)
	}
	write("AKNEW")
	if err := put(); err != nil {
		t.Errorf("with a new session: %v", err)
	}
	if got := len(s.requests()); got != 3 {
		t.Errorf("%d requests, want one for every call", got)
	}
}

func TestOpen_ExpectedBucketOwner_IsSigned(t *testing.T) {
	s := newStore(t, stored)
	cfg := s.config()
	cfg.ExpectedBucketOwner = "123456789012"
	head(t, open(t, cfg))
	r := s.only(t)
	checkHeaders(t, r.header, map[string]string{"X-Amz-Expected-Bucket-Owner": "123456789012"})
	if auth := r.header.Get("Authorization"); !strings.Contains(auth, "x-amz-expected-bucket-owner") {
		t.Errorf("signed headers: got %q, want the owner among them", auth)
	}
	cfg.ExpectedBucketOwner = "acme"
	if _, err := Open(t.Context(), "bkt", cfg); !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("owner acme: got %v, want ErrInvalid", err)
	}
}

func TestBucket_EndpointAndServer(t *testing.T) {
	s := newStore(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "Acme S3")
		stored(w, r)
	})
	b := open(t, s.config())
	if got := b.Server(); got != "" {
		t.Errorf("Server before any answer: got %q, want none", got)
	}
	head(t, b)
	if got, want := b.Server(), "Acme S3"; got != want {
		t.Errorf("Server: got %q, want %q", got, want)
	}
	if got := b.Endpoint(); got != s.URL {
		t.Errorf("Endpoint: got %q, want %q", got, s.URL)
	}
}
