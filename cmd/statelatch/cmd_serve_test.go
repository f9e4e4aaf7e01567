package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/statelatch/statelatch/embedded/local"
	"github.com/statelatch/statelatch/internal/testtls"
)

// running is a "serve" in this process.
type running struct {
	t    *testing.T
	stop context.CancelFunc
	done chan struct{} // closed when serve has returned
	left outcome       // valid then
	out  *watched
}

// watched is a writer that can be waited on.
type watched struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	grew chan struct{}
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.grew <- struct{}{}:
	default:
	}
	return w.buf.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

func (s *shell) serve(args ...string) *running {
	s.t.Helper()
	ctx, stop := context.WithCancel(s.t.Context())
	r := &running{t: s.t, stop: stop, done: make(chan struct{}), out: &watched{grew: make(chan struct{}, 1)}}
	go func() {
		var errs bytes.Buffer
		code := run(ctx, append([]string{"statelatch", "serve"}, args...), terminal{
			In: strings.NewReader(""), Out: r.out, Err: &errs, Getenv: func(k string) string { return s.env[k] },
		})
		r.left = outcome{code, r.out.String(), errs.String()}
		close(r.done)
	}()
	s.t.Cleanup(func() { stop(); <-r.done })
	return r
}

// await waits for a line of output.
func (r *running) await(pattern string) []string {
	r.t.Helper()
	re := regexp.MustCompile(pattern)
	for {
		if m := re.FindStringSubmatch(r.out.String()); m != nil {
			return m
		}
		select {
		case <-r.out.grew:
		case <-r.done:
			r.t.Fatalf("serve ended before its output matched %q: %+v", pattern, r.left)
		}
	}
}

// pasted is the environment that the line that serve printed to be pasted sets.
func (s *shell) pasted(r *running, data string) map[string]string {
	s.t.Helper()
	r.await(`(?m)^eval "\$\((.*) serve -env -data ` + regexp.QuoteMeta(data) + `\)"$`)
	o := s.runContext(s.t.Context(), "serve", "-env", "-data", data)
	s.want(o, 0)
	env := map[string]string{}
	for line := range strings.Lines(o.out) {
		if k, v, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "="); ok {
			env[k] = v
		}
	}
	return env
}

func TestServe_PrintsWhatToPaste(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	data := filepath.Join(t.TempDir(), "new", "data")
	r := s.serve("-data", data, "-addr", "127.0.0.1:0", "-bucket", "acme")
	url := r.await(`endpoints += \{ s3 = "(http://127\.0\.0\.1:\d+)" \}`)[1]
	r.await(`bucket += "acme"`)
	r.await(`use_lockfile = true`)
	env := s.pasted(r, data)
	creds := env["AWS_SHARED_CREDENTIALS_FILE"]
	if env["AWS_PROFILE"] != "statelatch" || env["AWS_ENDPOINT_URL_S3"] != url || env["AWS_REGION"] != "us-east-1" {
		t.Errorf("got %v, want a profile, the endpoint and a region", env)
	}
	info, err := os.Stat(creds)
	if err != nil || info.Mode().Perm() != 0o600 || filepath.Dir(creds) != data {
		t.Fatalf("credentials file %s: %v, %v; want it in the data directory with mode 0600", creds, info, err)
	}
	content, err := os.ReadFile(creds)
	if err != nil {
		t.Fatal(err)
	}
	secret := regexp.MustCompile(`aws_secret_access_key = (\S+)`).FindSubmatch(content)
	if secret == nil || strings.Contains(r.out.String(), string(secret[1])) {
		t.Errorf("the secret is missing from the file, or was printed")
	}

	s.flags = []string{
		"-backend-config", `endpoints={s3="` + url + `"}`, "-backend-config", "region=us-east-1",
		"-backend-config", "shared_credentials_files=[\"" + creds + "\"]", "-backend-config", "profile=statelatch",
	}
	id := strings.TrimSpace(s.run("lock", "s3://acme/k").out)
	r.await(`acquired +s3://acme/k +by \S*@\S* \(lock, ID ` + id + `\)`)
	s.want(s.run("lock", "s3://acme/k"), 11, id)
	r.await(`refused +s3://acme/k +to \S*@\S* \(lock, ID [0-9a-f-]+\), held by \S*@\S* \(lock, ID ` + id + `\)`)
	s.want(s.run("unlock", "s3://acme/k"), 0)
	r.await(`released +s3://acme/k +held by \S*@\S* \(lock, ID ` + id + `\)`)

	r.stop()
	if <-r.done; r.left.code != exitOK || !strings.Contains(r.left.err, "Stopping") {
		t.Errorf("stopping: %+v", r.left)
	}
	gone := newShell(t).run("serve", "-env", "-data", data)
	if s.want(gone, 1, "no store is running", "statelatch serve -data "+data); gone.out != "" {
		t.Errorf("-env without a store prints %q for the shell to evaluate", gone.out)
	}
	// A store that was killed leaves its file behind.
	if err := os.WriteFile(filepath.Join(data, "running.json"), []byte(`{"endpoint":"`+url+`","own_keys":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.want(newShell(t).run("serve", "-env", "-data", data), 1, "no store is running")
	again := s.serve("-data", data, "-addr", "127.0.0.1:0", "-bucket", "acme")
	again.await("Lock events")
	if got := s.pasted(again, data)["AWS_SHARED_CREDENTIALS_FILE"]; got != creds {
		t.Errorf("second start uses %s, want %s", got, creds)
	}
	after, err := os.ReadFile(creds)
	if err != nil || !bytes.Equal(after, content) {
		t.Errorf("the key pair changed at the second start: %v", err)
	}
}

func TestServe_Refusals(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = busy.Close() })
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	loose := t.TempDir()
	if err := os.WriteFile(filepath.Join(loose, "credentials"), []byte("[statelatch]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	if err := os.WriteFile(filepath.Join(empty, "credentials"), []byte("[statelatch]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	shared := t.TempDir()
	if err := os.Chmod(shared, 0o777); err != nil {
		t.Fatal(err)
	}
	guessed := t.TempDir()
	if err := os.WriteFile(filepath.Join(guessed, "credentials"), []byte("[statelatch]\naws_access_key_id = abc\naws_secret_access_key = abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 40)
	used := t.TempDir()
	s.serve("-data", used, "-addr", "127.0.0.1:0").await("Lock events")

	for name, tc := range map[string]struct {
		args  []string
		env   map[string]string
		code  int
		texts []string
	}{
		"busy port":          {[]string{"-addr", busy.Addr().String()}, nil, 1, []string{busy.Addr().String(), "in use", "-addr 127.0.0.1:0"}},
		"all interfaces":     {[]string{"-addr", "0.0.0.0:0"}, nil, 2, []string{"0.0.0.0:0", "-tls-cert"}},
		"no host":            {[]string{"-addr", ":0"}, nil, 2, []string{"-tls-cert"}},
		"a name":             {[]string{"-addr", "example.com:443"}, nil, 2, []string{"-tls-cert"}},
		"no port":            {[]string{"-addr", "127.0.0.1"}, nil, 2, []string{"HOST:PORT"}},
		"bad port":           {[]string{"-addr", "127.0.0.1:99999"}, nil, 1, []string{"99999"}},
		"one TLS file":       {[]string{"-tls-cert", "x"}, nil, 2, []string{"-tls-key"}},
		"missing TLS files":  {[]string{"-tls-cert", "no.crt", "-tls-key", "no.key"}, nil, 2, []string{"no.crt"}},
		"data is a file":     {[]string{"-data", file}, nil, 1, []string{file}},
		"data in use":        {[]string{"-data", used}, nil, 1, []string{used, "in use"}},
		"readable secret":    {[]string{"-data", loose}, nil, 1, []string{"0644", "chmod 600"}},
		"no key in the file": {[]string{"-data", empty}, nil, 1, []string{"[statelatch]"}},
		"bad bucket":         {[]string{"-bucket", "No_Such"}, nil, 2, []string{"No_Such"}},
		"bad region":         {[]string{"-region", "eu central"}, nil, 2, []string{"-region", "eu central"}},
		"half a key pair":    {nil, map[string]string{envAccessKey: long}, 2, []string{envSecretKey}},
		"short key ID":       {nil, map[string]string{envAccessKey: "abc", envSecretKey: long}, 2, []string{envAccessKey, "3 characters", "at least 16"}},
		"short secret":       {nil, map[string]string{envAccessKey: long, envSecretKey: "abcdefgh"}, 2, []string{envSecretKey, "8 characters", "at least 32", "openssl"}},
		"key ID with blanks": {nil, map[string]string{envAccessKey: "my access key of today", envSecretKey: long}, 2, []string{envAccessKey, "blanks"}},
		"short pair in file": {[]string{"-data", guessed}, nil, 1, []string{guessed, "3 characters", "remove the file"}},
		"others' directory":  {[]string{"-data", shared}, nil, 1, []string{"-data", shared, "0777", "chmod go-w"}},
		"below others' one":  {[]string{"-data", filepath.Join(shared, "mine")}, nil, 1, []string{"everybody can write", shared}},
		"a domain with port": {[]string{"-domain", "s3.example.com:9820"}, nil, 2, []string{"-domain", "s3.example.com:9820"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShell(t)
			for k, v := range tc.env {
				s.env[k] = v
			}
			s.want(s.runContext(t.Context(), append([]string{"serve", "-addr", "127.0.0.1:0", "-data", t.TempDir()}, tc.args...)...), tc.code, tc.texts...)
		})
	}
}

func TestServe_KeysFromTheEnvironment(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.env[envAccessKey], s.env[envSecretKey] = "container-access-key-id", "container-secret-access-key-of-the-tests"
	data := t.TempDir()
	r := s.serve("-data", data, "-addr", "localhost:0")
	r.await("Lock events")
	s.want(s.run("serve", "-env", "-data", data), 0, `export AWS_ACCESS_KEY_ID="$`+envAccessKey+`"`, `export AWS_SECRET_ACCESS_KEY="$`+envSecretKey+`"`, "AWS_ENDPOINT_URL_S3=http://")
	s.want(newShell(t).run("serve", "-env", "-data", data), 1, envAccessKey, "export them")
	if strings.Contains(r.out.String(), "container-secret-access-key-of-the-tests") {
		t.Error("the secret was printed")
	}
	if _, err := os.Stat(filepath.Join(data, "credentials")); !os.IsNotExist(err) {
		t.Errorf("a credentials file was made although none is needed: %v", err)
	}
}

// With -region every request must be signed for the region of its bucket, and what serve prints says for which.
func TestServe_Region(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.env[envAccessKey], s.env[envSecretKey] = "container-access-key-id", "container-secret-access-key-of-the-tests"
	data := t.TempDir()
	r := s.serve("-data", data, "-addr", "127.0.0.1:0", "-region", "eu-central-1")
	url := r.await(`s3 = "(http://127\.0\.0\.1:\d+)"`)[1]
	r.await(`region += "eu-central-1"`)
	s.want(s.run("serve", "-env", "-data", data), 0, "export AWS_REGION=eu-central-1\n")
	for region, status := range map[string]int{"eu-central-1": 200, "us-east-1": 301} {
		client := s3.New(s3.Options{
			BaseEndpoint: &url, Region: region, UsePathStyle: true,
			Credentials: credentials.NewStaticCredentialsProvider(s.env[envAccessKey], s.env[envSecretKey], ""),
		})
		_, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(defaultBucket)})
		var response interface{ HTTPStatusCode() int }
		if got := errors.As(err, &response); err != nil && !got || got != (status != 200) || got && response.HTTPStatusCode() != status {
			t.Errorf("signed for %s: got %v, want %d", region, err, status)
		}
	}
	r.stop()
	<-r.done
	s.want(s.runContext(t.Context(), "serve", "-data", data, "-addr", "127.0.0.1:0", "-region", "us-west-2"), 1, defaultBucket, "eu-central-1", "us-west-2", "-region")
}

// A policy that wants TLS, as bucket init writes it, is about the clients, not about the way from a proxy to the store.
func TestServe_BehindTLS(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.want(s.run("serve", "-data", t.TempDir(), "-behind-tls", "-tls-cert", "x", "-tls-key", "y"), exitUsage, "-behind-tls")
	s.env[envAccessKey], s.env[envSecretKey] = "container-access-key-id", "container-secret-access-key-of-the-tests"
	for denied, args := range map[bool][]string{true: nil, false: {"-behind-tls"}} {
		url := s.serve(append(args, "-data", t.TempDir(), "-addr", "127.0.0.1:0")...).await(`s3 = "(http://127\.0\.0\.1:\d+)"`)[1]
		client := s3.New(s3.Options{
			BaseEndpoint: &url, Region: "us-east-1", UsePathStyle: true,
			Credentials: credentials.NewStaticCredentialsProvider(s.env[envAccessKey], s.env[envSecretKey], ""),
		})
		if _, err := client.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: aws.String(defaultBucket), Policy: aws.String(`{
			"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*",
			"Resource": ["arn:aws:s3:::` + defaultBucket + `", "arn:aws:s3:::` + defaultBucket + `/*"],
			"Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}`)}); err != nil {
			t.Fatal(err)
		}
		_, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(defaultBucket)})
		if refused := err != nil && strings.Contains(err.Error(), "AccessDenied"); refused != denied || err != nil && !refused {
			t.Errorf("serve %q: got %v, want it denied: %v", args, err, denied)
		}
	}
}

func TestServe_Domain(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.env[envAccessKey], s.env[envSecretKey] = "container-access-key-id", "container-secret-access-key-of-the-tests"
	url := s.serve("-data", t.TempDir(), "-addr", "127.0.0.1:0", "-domain", "s3.example.com").await(`s3 = "http://(127\.0\.0\.1:\d+)"`)[1]
	_, port, _ := net.SplitHostPort(url)
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String("http://s3.example.com:" + port), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(s.env[envAccessKey], s.env[envSecretKey], ""),
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, url)
		}}},
	})
	bucket, key := aws.String("terraform-state"), aws.String("a/b")
	if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("x")}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: bucket, Key: key}); err != nil {
		t.Error(err)
	}
}

func TestServe_TLS(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	cert, key := testtls.SelfSigned(t)
	data := t.TempDir()
	r := s.serve("-data", data, "-addr", "127.0.0.1:0", "-tls-cert", cert, "-tls-key", key)
	url := r.await(`s3 = "(https://127\.0\.0\.1:\d+)"`)[1]
	s.want(s.run("serve", "-env", "-data", data), 0, "AWS_ENDPOINT_URL_S3="+url)
	creds := filepath.Join(data, local.CredentialsFile)
	s.flags = []string{
		"-backend-config", `endpoints={s3="` + url + `"}`, "-backend-config", "region=us-east-1",
		"-backend-config", "shared_credentials_files=[\"" + creds + "\"]", "-backend-config", "profile=statelatch",
	}
	s.want(s.run("status", "s3://terraform-state/k"), 1, "certificate")
	s.flags = append(s.flags, "-backend-config", "custom_ca_bundle="+cert)
	s.want(s.run("lock", "s3://terraform-state/k"), 0)
	s.want(s.run("unlock", "s3://terraform-state/k"), 0)
}
