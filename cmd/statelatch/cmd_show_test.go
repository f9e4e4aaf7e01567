package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/inspect"
)

// fullState has resources, secrets and an output; n varies it.
func fullState(serial, n int) string {
	return plainState(serial, "a", fmt.Sprintf(
		`{"module":"module.m","mode":"managed","type":"db","name":"main","provider":"p","instances":[{"attributes":{"id":"db-1","size":%d,"password":"hunter%d\u001b[2J"}}]},`+
			`{"mode":"managed","type":"web","name":"w","provider":"p","instances":[{"index_key":0,"status":"tainted","attributes":{"id":"w-%d"}},{"index_key":1,"attributes":{"id":"w-x"}}]}`, n, n, n))
}

func TestShow(t *testing.T) {
	t.Parallel()
	for _, bucket := range []string{"demo", "plain"} { // the second keeps snapshots instead of versions
		t.Run(bucket, func(t *testing.T) {
			t.Parallel()
			s := newShell(t).withStore()
			s.plainBucket("plain")
			ref := "s3://" + bucket + "/app/terraform.tfstate"
			s.want(s.run("show", ref), 10, "no state yet")
			s.want(s.run("push", s.file(fullState(1, 1)), ref), 0)
			s.want(s.run("push", s.file(fullState(2, 2)), ref), 0)
			s.want(s.run("show", ref), 0, "Serial:   2", "Lineage:  a", "Resources: 3 (1 db, 2 web)", "module.m.db.main", "web.w[0] (tainted)")
			s.want(s.run("show", "-version", "previous", ref), 0, "Serial:   1")
			o := s.run("show", "-address", "module.m", ref)
			s.want(o, 0, "size = 2", "password = (sensitive)")
			if strings.Contains(o.out, "hunter") || strings.Contains(o.out, "web") {
				t.Errorf("-address module.m shows a secret or another resource: %s", o.out)
			}
			o = s.run("show", "-address", "module.m.db.main", "-address", "web.w[0]", "-reveal", ref)
			s.want(o, 0, `password = "hunter2\u001b[2J"`, `id = "w-2"`)
			s.want(s.run("show", "-address", "web.w[7]", ref), 10, "web.w[7]")
			s.want(s.run("show", "-version", "99", ref), 10, "99")

			o = s.run("show", "-json", "-address", "module.m", ref)
			var got inspect.Shown
			if err := json.Unmarshal([]byte(o.out), &got); err != nil || o.code != 0 {
				t.Fatalf("%v: %+v", err, o)
			}
			if got.Serial != 2 || !got.Current || got.Types["web"] != 2 || len(got.Resources) != 1 || strings.Contains(o.out, "hunter") ||
				fmt.Sprint(got.Resources[0].Attributes) != "map[id:db-1 password:(sensitive) size:2]" {
				t.Errorf("got %s", o.out)
			}
		})
	}
}

// history, show and diff name the same writer and the same time, also of states that were stored within one second.
func TestShow_AgreesWithHistory(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	for n := 1; n <= 4; n++ {
		s.want(s.run("push", "-who", fmt.Sprint("writer", n), s.file(fullState(n, n)), demoRef), 0)
	}
	for _, v := range s.history(demoRef).Versions {
		for _, selector := range []string{v.VersionID, fmt.Sprint(*v.Serial)} {
			var got inspect.Shown
			o := s.run("show", "-json", "-version", selector, demoRef)
			if err := json.Unmarshal([]byte(o.out), &got); err != nil || o.code != 0 {
				t.Fatalf("%v: %+v", err, o)
			}
			if got.Who != v.Who || got.LockID != v.LockID || !got.LastModified.Equal(v.LastModified) || got.Current != v.Current {
				t.Errorf("-version %s: got %+v, want as in history: %+v", selector, got.Header, v)
			}
		}
	}
}

func TestShow_Encrypted(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("push", s.file(encryptedState(1, "one")), demoRef), 0)
	s.want(s.run("push", s.file(encryptedState(2, "two")), demoRef), 0)
	s.want(s.run("show", demoRef), 0, "Serial:   2", "encrypted by OpenTofu", "cannot be read")
	s.want(s.run("show", "-json", demoRef), 0, `"encrypted":true`, `"serial":2`)
	s.want(s.run("show", "-address", "a.b", demoRef), 1, "encrypted")
	s.want(s.run("diff", demoRef, "previous"), 1, "encrypted", "serial 1")
}

func TestDiff(t *testing.T) {
	t.Parallel()
	for _, bucket := range []string{"demo", "plain"} {
		t.Run(bucket, func(t *testing.T) {
			t.Parallel()
			s := newShell(t).withStore()
			s.plainBucket("plain")
			ref := "s3://" + bucket + "/app/terraform.tfstate"
			for n := 1; n <= 3; n++ {
				s.want(s.run("push", s.file(fullState(n, n)), ref), 0)
			}
			o := s.run("diff", ref, "previous")
			s.want(o, 0, "--- serial 2", "+++ serial 3", "~   module.m.db.main", "~ size: 2 → 3", "password: (sensitive, changed)",
				"-/+ web.w[0]", `"w-2" → "w-3"`, "1 changed, 1 replaced.")
			if strings.Contains(o.out, "hunter") || strings.Contains(o.out, "w[1]") {
				t.Errorf("it shows a secret, or what did not change: %s", o.out)
			}
			s.want(s.run("diff", "1", ref, "2"), 0, "--- serial 1", "+++ serial 2", "size: 1 → 2")
			s.want(s.run("diff", "-reveal", "1", "3", ref), 0, `"hunter1\u001b[2J" → "hunter3\u001b[2J"`)
			s.want(s.run("diff", ref, "current"), 0, "No differences")
			s.want(s.run("diff", ref, "9"), 10, "serial 9")

			o = s.run("diff", "-json", ref, "1")
			var got inspect.Compared
			if err := json.Unmarshal([]byte(o.out), &got); err != nil || o.code != 0 {
				t.Fatalf("%v: %+v", err, o)
			}
			if got.From.Serial != 1 || got.To.Serial != 3 || got.Equal || got.Counts["replaced"] != 1 || len(got.Changes) != 2 ||
				!got.Changes[0].Attributes[0].Sensitive && !got.Changes[1].Attributes[0].Sensitive || strings.Contains(o.out, "hunter") {
				t.Errorf("got %s", o.out)
			}
			s.want(s.run("diff", "-json", ref, "current"), 0, `"equal":true`)
		})
	}
}

func TestShowDiff_Usage(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, tc := range []struct {
		args  []string
		code  int
		texts []string
	}{
		{[]string{"show", "-h"}, 0, []string{"-address ADDRESS", "-version VERSION", "-reveal", "Examples:"}},
		{[]string{"diff", "-h"}, 0, []string{"[REF] V1 [V2]", "-reveal", "Examples:"}},
		{[]string{"diff"}, 2, []string{"V1"}},
		{[]string{"diff", demoRef}, 2, []string{"V1"}},
		{[]string{"diff", demoRef, demoRef, "1"}, 2, []string{"V1"}},
		{[]string{"diff", "1", "2", "3", demoRef}, 2, []string{"V1"}},
	} {
		s.want(s.runContext(t.Context(), tc.args...), tc.code, tc.texts...)
	}
}

// Something wrong with what is stored is no mistake in the command line.
func TestShow_WhatIsStoredIsNoUsage(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	for body, text := range map[string]string{
		`{"version":3,"terraform_version":"0.11.14","serial":4,"lineage":"a","modules":[]}`: "before 0.12",
		`{"version":9,"serial":4,"lineage":"a"}`:                                            "format 9",
		`oops`:                                                                              "JSON",
	} {
		s.put("app/terraform.tfstate", []byte(body))
		s.want(s.run("show", demoRef), 1, demoRef, text)
		s.want(s.run("show", "-json", demoRef), 1, `"kind":"error"`)
	}
	s.want(s.run("show", "s3://demo"), 2)
}
