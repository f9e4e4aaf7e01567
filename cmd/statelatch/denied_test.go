package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/internal/dynamotest"
	"github.com/statelatch/statelatch/internal/faultproxy"
	"github.com/statelatch/statelatch/internal/policytest"
)

// behindProxy puts a proxy between the shell and its store.
func (s *shell) behindProxy() *faultproxy.Proxy {
	s.t.Helper()
	proxy, err := faultproxy.Start(s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = proxy.Close() })
	for i := range s.flags {
		s.flags[i] = strings.ReplaceAll(s.flags[i], s.url, proxy.URL)
	}
	return proxy
}

func deny(method, path, query string) faultproxy.Rule {
	return faultproxy.Rule{Fault: faultproxy.Answer(http.StatusForbidden, "AccessDenied"), Match: func(r *http.Request) bool {
		return r.Method == method && r.URL.Path == path && strings.Contains(r.URL.RawQuery, query)
	}}
}

// A denied call names the action that is missing and the policy that grants it, with -json and without.
func TestDenied_PrintsTheMissingStatement(t *testing.T) {
	t.Parallel()
	const (
		bucketARN = "arn:aws:s3:::demo"
		stateARN  = bucketARN + "/app/terraform.tfstate"
	)
	listing := func(prefix string) policytest.Request {
		return policytest.Request{Action: "s3:ListBucket", Resource: bucketARN, Context: map[string][]string{"s3:prefix": {prefix}}}
	}
	for _, tc := range []struct {
		name    string
		locked  bool // beforehand
		deny    faultproxy.Rule
		command []string
		wanted  []policytest.Request
	}{
		{
			"GET lock", false, deny("GET", "/demo/app/terraform.tfstate.tflock", ""),
			[]string{"status", demoRef},
			[]policytest.Request{{Action: "s3:GetObject", Resource: stateARN + ".tflock"}, listing("app/terraform.tfstate.tflock")},
		},
		{
			"PUT lock", false, deny("PUT", "/demo/app/terraform.tfstate.tflock", ""),
			[]string{"lock", demoRef},
			[]policytest.Request{{Action: "s3:PutObject", Resource: stateARN + ".tflock"}},
		},
		{
			"DELETE lock", true, deny("DELETE", "/demo/app/terraform.tfstate.tflock", ""),
			[]string{"unlock", demoRef},
			[]policytest.Request{{Action: "s3:DeleteObject", Resource: stateARN + ".tflock"}, {Action: "s3:GetObject", Resource: stateARN + ".tflock"}},
		},
		{
			"PUT state", false, deny("PUT", "/demo/app/terraform.tfstate", ""),
			[]string{"push", "next.tfstate", demoRef},
			[]policytest.Request{{Action: "s3:PutObject", Resource: stateARN}},
		},
		{
			"LIST", false, deny("GET", "/demo", "list-type=2"),
			[]string{"workspace", "list", demoRef},
			[]policytest.Request{listing("env:/")},
		},
	} {
		for _, asJSON := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/json=%v", tc.name, asJSON), func(t *testing.T) {
				t.Parallel()
				s := newShell(t).withStore()
				if tc.locked {
					s.want(s.run("lock", demoRef), 0)
				}
				command := append([]string{}, tc.command...)
				if command[0] == "push" {
					command[1] = s.file(plainState(1, "a", oneResource))
				}
				if asJSON {
					command = append(command, "-json")
				}
				s.behindProxy().Add(tc.deny)
				o := s.run(command...)
				s.want(o, 14, tc.wanted[0].Action)
				var document string
				if asJSON {
					var failure struct {
						Kind  string
						Grant json.RawMessage
					}
					if err := json.Unmarshal([]byte(o.out), &failure); err != nil || failure.Kind != "denied" {
						t.Fatalf("kind %q, %v, want denied: %s", failure.Kind, err, o.out)
					}
					document = string(failure.Grant)
				} else {
					s.want(o, 14, "Error: ", "the credentials need "+tc.wanted[0].Action, "This IAM policy grants what was denied:\n\n{",
						"All that a role needs:  statelatch policy -role apply ", demoRef)
					_, rest, _ := strings.Cut(o.err, "\n{")
					inner, _, _ := strings.Cut(rest, "\n}\n")
					document = "{" + inner + "\n}\n"
				}
				p, err := policytest.Parse([]byte(document))
				if err != nil {
					t.Fatalf("%v: %s", err, document)
				}
				for _, r := range tc.wanted {
					if !p.Allows(r) {
						t.Errorf("the policy does not allow %s: %s", r, document)
					}
				}
				if unused := p.Unused(); len(unused) > 0 {
					t.Errorf("the policy allows more than was denied: %q", unused)
				}
				if strings.Contains(o.out+o.err, "secret-key") {
					t.Error("the advice shows the secret")
				}
			})
		}
	}
}

// Wrong credentials miss no action, and no statement would help.
func TestDenied_WrongCredentialsGetNoStatement(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"} {
		s := newShell(t).withStore()
		s.behindProxy().Add(faultproxy.Rule{Fault: faultproxy.Answer(http.StatusForbidden, code)})
		for _, args := range [][]string{{"status", demoRef}, {"status", "-json", demoRef}} {
			if o := s.run(args...); o.code != 14 || strings.Contains(o.out+o.err, "Statement") || strings.Contains(o.out+o.err, "s3:") && !strings.Contains(o.out+o.err, "s3://") {
				t.Errorf("%s: want exit 14 and no policy, got %+v", code, o)
			}
		}
	}
}

// A holder that may not be seen is somebody else all the same; what is missing to see it is told.
func TestDenied_HolderThatMayNotBeRead(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("lock", demoRef), 0)
	s.behindProxy().Add(deny("GET", "/demo/app/terraform.tfstate.tflock", ""))
	o := s.run("lock", demoRef)
	s.want(o, o.code, "s3:GetObject", "This IAM policy grants what was denied:", "arn:aws:s3:::demo/app/terraform.tfstate.tflock")
	if o.code != exitLocked && o.code != exitDenied {
		t.Errorf("exit code: got %d, want %d or %d", o.code, exitLocked, exitDenied)
	}
}

func TestDenied_LockTable(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	items := dynamotest.NewServer("locks")
	srv := httptest.NewServer(items)
	t.Cleanup(srv.Close)
	s.flags = append(s.flags, "-backend-config", "dynamodb_table=locks", "-backend-config", "dynamodb_endpoint="+srv.URL)
	items.Add(dynamotest.Rule{Op: dynamotest.OpPutItem, Fault: dynamotest.Answer(http.StatusBadRequest, "AccessDeniedException")})
	o := s.run("lock", demoRef)
	s.want(o, 14, "dynamodb:PutItem", "arn:aws:dynamodb:us-east-1:*:table/locks", `"demo/app/terraform.tfstate"`)
	items.Heal()
	s.want(s.run("status", demoRef), 0, "not locked")
}
