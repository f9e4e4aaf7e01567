package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/statelatch/statelatch/internal/faultproxy"
)

// countWrites puts something that counts write requests between the shell and its store.
func (s *shell) countWrites() *atomic.Int64 {
	s.t.Helper()
	target, err := url.Parse(s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	var writes atomic.Int64
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
		if r.In.Method != http.MethodGet && r.In.Method != http.MethodHead {
			writes.Add(1)
		}
	}}
	srv := httptest.NewServer(proxy)
	s.t.Cleanup(srv.Close)
	for i := range s.flags {
		s.flags[i] = strings.ReplaceAll(s.flags[i], s.url, srv.URL)
	}
	return &writes
}

// suspend suspends a bucket's versioning, as somebody else would.
func (s *shell) suspend(bucket string) {
	s.t.Helper()
	if _, err := s.client().PutBucketVersioning(s.t.Context(), &s3.PutBucketVersioningInput{
		Bucket: &bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusSuspended},
	}); err != nil {
		s.t.Fatal(err)
	}
}

// verdictFiles are those of all probes.
func (s *shell) verdictFiles() []string {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(keeper(s.terminal()).Dir, "*.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	return files
}

func TestBucketInit_Usage(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, tc := range []struct {
		args []string
		text string
	}{
		{[]string{"init", "s3://demo/prefix"}, "a whole bucket"},
		{[]string{"init", "-format", "yaml", "s3://demo"}, `"yaml"`},
		{[]string{"init", "-format", "hcl", "-encryption", "rot13", "-backend-config", "region=us-east-1", "s3://demo"}, `"rot13"`},
		{[]string{"init", "-format", "hcl", "s3://demo"}, "AWS_REGION"},
		{[]string{"init", "-backend-config", "acl=public-read", "s3://demo"}, "public-read"},
		{[]string{"init", "-format", "hcl", "-gateway", "ana", "-backend-config", "region=us-east-1", "s3://demo"}, `"ana": want the ARN`},
		{[]string{"check", "-fail-on", "ok", "s3://demo"}, `"ok"`},
		{[]string{"check", "-format", "sarif", "s3://demo"}, "-format"},
		{[]string{"mend"}, `"mend"`},
	} {
		s.want(s.runContext(t.Context(), append([]string{"bucket"}, tc.args...)...), exitUsage, tc.text)
	}
}

// Nothing is written unless a person or a flag says so, and nothing to a bucket that is not the one expected.
func TestBucketInit_ChangesNothing(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		typed string
		args  []string
		code  int
		text  string
	}{
		"no terminal":       {"", []string{"s3://demo"}, exitUsage, "-auto-approve"},
		"no terminal, new":  {"", []string{"s3://other"}, exitUsage, "create the bucket"},
		"declined":          {"no\n", []string{"s3://demo"}, exitError, "nothing was changed"},
		"declined, new":     {"y\n", []string{"s3://other"}, exitError, "nothing was changed"},
		"not the expected":  {"yes\n", []string{"-auto-approve", "-expected-bucket-owner", "123456789012", "s3://demo"}, exitDenied, "account 123456789012"},
		"impossible":        {"yes\n", []string{"-auto-approve", "-litter-days", "0", "s3://demo"}, exitUsage, "litter days"},
		"no roles there":    {"yes\n", []string{"-auto-approve", "-gateway", "arn:aws:iam::123456789012:role/g", "s3://demo"}, exitUsage, "is not AWS"},
		"printed":           {"yes\n", []string{"-format", "awscli", "-backend-config", "region=us-east-1", "s3://demo"}, exitOK, "s3api"},
		"check, not theirs": {"", nil, exitOK, "versions are kept"},
	} {
		s := newShell(t).withStore()
		writes := s.countWrites()
		s.typed = tc.typed
		args := append([]string{"bucket", "init"}, tc.args...)
		if tc.args == nil {
			args = []string{"bucket", "check", "s3://demo"}
		}
		s.want(s.run(args...), tc.code, tc.text)
		if n := writes.Load(); n != 0 {
			t.Errorf("%s: %d write requests, want none", name, n)
		}
	}
}

func TestBucketInit_CreatesAndMends(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	writes := s.countWrites()
	s.typed = "yes\n"
	o := s.run("bucket", "init", "s3://acme-state")
	s.want(o, exitOK, "Plan for s3://acme-state", "s3:CreateBucket", "Done: keep old versions", "Next: ", "statelatch probe")
	for _, want := range []string{`bucket       = "acme-state"`, "use_lockfile = true", "encrypt      = true", "use_path_style"} {
		if !strings.Contains(o.out, want) {
			t.Errorf("stdout lacks %q: %s", want, o.out)
		}
	}
	if strings.Contains(o.out+o.err, "secret-key") {
		t.Error("the output has a secret")
	}
	first := writes.Load()
	s.typed = ""
	s.want(s.run("bucket", "init", "s3://acme-state"), exitOK, "nothing to do")
	if n := writes.Load(); n != first {
		t.Errorf("the second run wrote %d times, want never", n-first)
	}
	s.want(s.run("bucket", "check", "-fail-on", "warning", "s3://acme-state"), exitOK, "0 errors, 0 warnings")

	o = s.run("bucket", "init", "-json", "s3://acme-state")
	var result bucketInitJSON
	if err := json.Unmarshal([]byte(o.out), &result); err != nil || result.Created || len(result.Changed) != 0 || !strings.Contains(result.BackendBlock, "backend \"s3\"") {
		t.Errorf("got %+v (%v), want nothing changed and a backend block", result, err)
	}
}

func TestBucketInit_OtherObjectsAreShown(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	if _, err := s.client().PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("demo"), Key: aws.String("photos/cat.jpg"), Body: strings.NewReader("x")}); err != nil {
		t.Fatal(err)
	}
	s.want(s.run("bucket", "init", "s3://demo"), exitUsage, "1 other object", "photos/cat.jpg", "all of it")
}

func TestBucketInit_ForgetsVerdict(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.run("bucket", "init", "-auto-approve", "s3://acme-state")
	s.want(s.run("probe", "-clients", "4", "-rounds", "1", "s3://acme-state"), exitOK)
	if len(s.verdictFiles()) != 1 {
		t.Fatal("the probe's verdict is not kept")
	}
	s.suspend("acme-state")
	s.want(s.run("bucket", "init", "-auto-approve", "s3://acme-state"), exitOK, "keep old versions")
	if len(s.verdictFiles()) != 0 {
		t.Error("the verdict of before is still believed")
	}
}

func TestBucketInit_SkippedRequirement(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("bucket", "init", "-auto-approve", "-log-bucket", "logs", "s3://demo"), exitError, "no server access logs", "Done: expire")
}

func TestBucketCheck_Results(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("bucket", "check", "s3://demo"), exitOK, "public-access", "statelatch bucket init")
	s.want(s.run("bucket", "check", "-fail-on", "warning", "s3://demo/team-a"), exitError, "bucket init", "s3://demo\n")
	s.want(s.run("bucket", "check", "s3://absent"), exitNotFound, "bucket init")
	o := s.run("bucket", "check", "-json", "s3://demo")
	var report struct {
		Scope, Worst string
		Findings     []struct {
			ID, Severity, What, Why, Fix string
			Checked                      bool
		}
	}
	if err := json.Unmarshal([]byte(o.out), &report); err != nil || report.Scope != "s3://demo" || report.Worst != "warning" || len(report.Findings) < 10 {
		t.Errorf("got %+v (%v), want a report whose worst is a warning", report, err)
	}
	s.suspend("demo")
	s.want(s.run("bucket", "check", "s3://demo"), exitError, "versioning is suspended")
}

// Credentials that end before the listing of snapshots are no right that nobody misses.
func TestHistory_ExpiredCredentials(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.overwrite(`{"version":4,"serial":1,"lineage":"l"}`)
	s.behindProxy().Add(faultproxy.Rule{Fault: faultproxy.Answer(http.StatusBadRequest, "ExpiredToken"), Match: func(r *http.Request) bool {
		return r.URL.Query().Has("list-type")
	}})
	s.want(s.run("history", demoRef), exitDenied, "ExpiredToken")
}

// AWS refuses expired credentials with status 400, and HEAD without a word: a gate must not be green with them.
func TestBucketCheck_ExpiredCredentials(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string]func(*http.Request) bool{
		"before":          func(*http.Request) bool { return true },
		"after the HEAD":  func(r *http.Request) bool { return r.Method != http.MethodHead },
		"at the versions": func(r *http.Request) bool { return r.URL.Query().Has("versions") },
	} {
		s := newShell(t).withStore()
		s.behindProxy().Add(faultproxy.Rule{Fault: faultproxy.Answer(http.StatusBadRequest, "ExpiredToken"), Match: ends})
		s.want(s.run("bucket", "check", "s3://demo"), exitDenied, "ExpiredToken")
		if o := s.run("bucket", "check", "-json", "s3://demo"); o.code != exitDenied {
			t.Errorf("%s: got %+v, want exit code 14", name, o)
		}
	}
}

// HEAD is refused without a reason; the one that a listing gives decides what is told.
func TestBucketCheck_WrongCredentials(t *testing.T) {
	t.Parallel()
	for code, owns := range map[string]bool{"InvalidAccessKeyId": false, "AccessDenied": true} {
		s := newShell(t).withStore()
		s.behindProxy().Add(faultproxy.Rule{Fault: faultproxy.Answer(http.StatusForbidden, code)})
		o := s.run("bucket", "check", "s3://demo")
		if said := strings.Contains(o.err, "belongs to somebody else"); o.code != 14 || said != owns || strings.Contains(o.err, "Statement") != owns {
			t.Errorf("%s: got %+v", code, o)
		}
	}
}
