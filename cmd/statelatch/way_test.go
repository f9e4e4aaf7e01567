package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
)

// credentialsOnly takes the store's address and region out of the shell's flags, so that a test gives its own.
func (s *shell) credentialsOnly() *shell {
	s.flags = []string{"-backend-config", "access_key=key", "-backend-config", "secret_key=secret-key"}
	return s
}

// -endpoint and -region reach the bucket everywhere, and count more than -backend-config and the directory.
func TestWay_FlagsCountMost(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore().credentialsOnly()
	way := []string{"-endpoint", s.url, "-region", "us-east-1"}
	wrong := append([]string{"-backend-config", `endpoints={s3="http://127.0.0.1:1"}`, "-backend-config", "region=eu-west-1"}, way...)
	dir := s.directory(`use_lockfile = true
    region = "eu-west-3"
    endpoints = { s3 = "http://127.0.0.1:1" }`)
	for _, args := range [][]string{
		{"status", demoRef},
		{"locks", "s3://demo"},
		{"states", "s3://demo"},
		{"workspace", "list", demoRef},
		{"gc", "-dry-run", "s3://demo"},
		{"bucket", "check", "-fail-on", "error", "s3://demo"},
		{"status", "-chdir", dir},
		{"export", "-textfile", filepath.Join(t.TempDir(), "m"), "s3://demo"},
	} {
		s.want(s.run(append(args, wrong...)...), 0)
	}
	o := s.run(append([]string{"lock", demoRef}, way...)...)
	s.want(o, 0, "statelatch unlock ", "-region us-east-1 -endpoint "+s.url)
	s.want(s.run(append([]string{"unlock", demoRef}, way...)...), 0)
	s.want(s.run("run", "-endpoint", s.url, demoRef, "--", "true"), 2, "no such flag -endpoint")
}

// A profile that is named counts more than keys in a configuration.
func TestWay_Profile(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("[works]\naws_access_key_id = key\naws_secret_access_key = secret-key\n\n[stranger]\naws_access_key_id = other\naws_secret_access_key = other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.flags = append(s.flags, "-backend-config", `shared_credentials_files=["`+file+`"]`, "-backend-config", "secret_key=wrong")
	s.want(s.run("status", demoRef), 14)
	s.want(s.run("status", "-profile", "works", demoRef), 0)
	s.want(s.run("status", "-profile", "stranger", demoRef), 14)
	s.want(s.run("lock", "-profile", "works", demoRef), 0, "statelatch unlock ", "-profile works")
}

func TestWay_DefaultBucket(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	elsewhere := t.TempDir()
	s.want(s.run("locks", "-chdir", elsewhere), 2)
	s.want(s.run("status", "app/terraform.tfstate"), 2, "app/terraform.tfstate", "s3://BUCKET/KEY")
	for _, s.env["STATELATCH_BUCKET"] = range []string{"demo", "s3://demo", "s3://demo/"} {
		s.want(s.run("lock", "app/terraform.tfstate"), 0, "Locked "+demoRef)
		s.want(s.run("status", "app/terraform.tfstate"), 11, demoRef)
		s.want(s.run("locks", "-chdir", elsewhere), 0, "1 lock in s3://demo:")
		s.want(s.run("locks", "app"), 0, "1 lock in s3://demo/app:")
		s.want(s.run("unlock", "-mine", "app/"), 0, "Released the lock of "+demoRef)
		s.want(s.run("status", "-chdir", elsewhere), 2, "STATELATCH_BUCKET", "KEY")
	}
	s.env["STATELATCH_BUCKET"] = "nosuch"
	s.want(s.run("status", demoRef), 0)
	dir := s.directory("use_lockfile = true")
	s.want(s.run("locks", "-chdir", dir), 0, "s3://demo")
	s.want(s.run("status", "-chdir", dir), 0, demoRef)
}

// Several buckets are one list: every lock and every state once, named with its bucket.
func TestLocks_SeveralBuckets(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("bucket", "init", "-auto-approve", "s3://second"), 0)
	s.want(s.run("lock", demoRef), 0)
	s.want(s.run("lock", "s3://second/app/terraform.tfstate"), 0)
	s.want(s.run("locks", "s3://demo", "s3://second"), 0, "s3://demo/app/terraform.tfstate ", "s3://second/app/terraform.tfstate ", "2 locks in s3://demo s3://second:")
	s.want(s.run("states", "s3://demo", "s3://second"), 0, "s3://demo/app/terraform.tfstate ", "s3://second/app/terraform.tfstate ")
	s.want(s.run("locks", "s3://demo", "s3://demo/"), 2, "would count twice")
	s.want(s.run("states", "s3://demo/app", "s3://second", "s3://demo"), 2, "would count twice")
	s.want(s.run("states", "s3://demo/app", "s3://demo/ap"), 0)
	var locks locksJSON
	if o := s.run("locks", "-json", "s3://demo", "s3://second"); json.Unmarshal([]byte(o.out), &locks) != nil || len(locks.Locks) != 2 || len(locks.Scopes) != 2 || locks.Totals.Locks != 2 {
		t.Errorf("got %+v", o)
	}
	var states statesRead
	if o := s.run("states", "-json", "s3://demo", "s3://second"); json.Unmarshal([]byte(o.out), &states) != nil || len(states.States) != 2 ||
		states.States[1].Ref != "s3://second/app/terraform.tfstate" || states.Totals.Objects != 2 {
		t.Errorf("got %+v", o)
	}
	file := filepath.Join(t.TempDir(), "metrics")
	s.want(s.run("export", "-textfile", file, "s3://demo", "s3://second"), 0)
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), `statelatch_up{scope="s3://demo"} 1`) || !strings.Contains(string(text), `statelatch_up{scope="s3://second"} 1`) {
		t.Errorf("got %v: %s", err, text)
	}
}

func TestDebug_ShowsRequestsAndNoSecret(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	b, err := s3bucket.Open(t.Context(), "demo", s3bucket.Config{Endpoints: s3bucket.Endpoints{S3: s.url}, Region: "us-east-1", AccessKey: "key", SecretKey: "secret-key"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), "app/terraform.tfstate", strings.NewReader(`{"version":4,"serial":1,"lineage":"l","outputs":{"password":{"value":"hunter2"}}}`), bucket.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		env  string
	}{{[]string{"pull", "-debug", demoRef}, ""}, {[]string{"-debug", "pull", demoRef}, ""}, {[]string{"pull", demoRef}, "1"}} {
		s.env["STATELATCH_DEBUG"] = tc.env
		o := s.run(tc.args...)
		s.want(o, 0)
		if !strings.Contains(o.err, " GET ") || !strings.Contains(o.err, "/demo/app/terraform.tfstate") || !strings.Contains(o.err, ": 200, ") || !strings.Contains(o.err, ", request ") {
			t.Errorf("%q: got %q", tc.args, o.err)
		}
		for _, secret := range []string{"hunter2", "secret-key", "AWS4-HMAC", "Signature", "Authorization"} {
			if strings.Contains(o.err, secret) {
				t.Errorf("it shows %s: %s", secret, o.err)
			}
		}
	}
	s.env["STATELATCH_DEBUG"] = "0"
	if o := s.run("pull", demoRef); o.err != "" {
		t.Errorf("nobody asked: %q", o.err)
	}
}

// A store that nobody listens at is told before it is tried again, once.
func TestConnect_RefusedIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	s := newShell(t).credentialsOnly()
	s.flags = append(s.flags, "-backend-config", "max_retries=2")
	o := s.run("status", "-endpoint", "http://"+addr, "-region", "us-east-1", demoRef)
	s.want(o, 1)
	if want := "Cannot connect to " + addr + ": connection refused; trying again"; !strings.HasPrefix(o.err, want) || strings.Count(o.err, "Cannot connect") != 1 {
		t.Errorf("got %q, want it to begin with %q", o.err, want)
	}
}
