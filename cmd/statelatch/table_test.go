package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/internal/term"
)

// Every table fits a terminal of 80 columns, and has all of it with -wide and in a pipe.
func TestTables_FitTheTerminal(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.env["STATELATCH_AUDIT"] = "file:" + filepath.Join(t.TempDir(), "audit.log")
	keys := []string{
		"prod/eu-central-1/network/vpc/terraform.tfstate", "prod/eu-central-1/network/dns/terraform.tfstate",
		"日本/東京/ネットワーク/とても長い名前の状態/terraform.tfstate", "e\u0301quipe/re\u0301seau/terraform.tfstate", "a/terraform.tfstate",
	}
	file := filepath.Join(t.TempDir(), "state")
	for _, key := range keys {
		for _, serial := range []string{"1", "2", "3"} {
			if err := os.WriteFile(file, []byte(`{"version":4,"terraform_version":"1.11.4","serial":`+serial+`,"lineage":"`+key[:1]+`-lineage","outputs":{},"resources":[]}`), 0o600); err != nil {
				t.Fatal(err)
			}
			s.want(s.run("push", "-who", "somebody-with-a-long-name@a-host-of-a-long-name", file, "s3://demo/"+key), 0)
		}
		s.want(s.run("lock", "-who", "somebody-with-a-long-name@a-host-of-a-long-name", "-reason", strings.Repeat("a long reason ", 12), "s3://demo/"+key), 0)
	}
	state := "s3://demo/" + keys[0]
	tree := s.directory(`dynamodb_table = "a-table-with-a-rather-long-name-for-locks"`)
	for _, args := range [][]string{
		{"locks", "s3://demo"},
		{"states", "-headers", "-versions", "s3://demo"},
		{"states", "s3://demo"},
		{"history", state},
		{"rollback", "-dry-run", "1", state},
		{"gc", "-dry-run", "-older-than", "0s", "s3://demo"},
		{"audit", "log"},
		{"unlock", "-mine", "-dry-run", "s3://demo/"},
		{"migrate", "scan", tree},
		{"bucket", "check", "s3://demo"},
	} {
		flags := s.flags
		if args[0] == "migrate" || args[0] == "audit" {
			s.flags = nil
		}
		for _, s.width = range []int{80, 100} {
			o := s.run(args...)
			for line := range strings.Lines(o.out + o.err) {
				line = strings.TrimRight(line, "\n")
				if n := term.Columns(line); n > s.width && !strings.HasPrefix(line, "warning ") && strings.Contains(line, "  ") && !strings.Contains(line, "statelatch ") {
					t.Errorf("%q at %d: a line of %d columns: %s", args, s.width, n, line)
				}
			}
		}
		s.width = 0
		whole := s.run(args...)
		if strings.Contains(whole.out+whole.err, "…") {
			t.Errorf("%q: a pipe gets all of it: %+v", args, whole)
		}
		if args[0] != "bucket" {
			s.width = 80
			if wide := s.run(append(args, "-wide")...); strings.Contains(wide.out+wide.err, "…") || strings.Contains(wide.err, shortened) {
				t.Errorf("%q -wide: %+v", args, wide)
			}
			s.width = 0
		}
		s.flags = flags
	}
	s.width = 80
	if o := s.run("locks", "s3://demo"); !strings.Contains(o.err, shortened) || !strings.Contains(o.out, "…") {
		t.Errorf("what is cut is not told: %+v", o)
	}
}

// Colours are for terminals, and for verdicts.
func TestTables_Colors(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("lock", demoRef), 0)
	if o := s.run("locks", "s3://demo"); strings.Contains(o.out+o.err, "\033") {
		t.Errorf("no terminal, no colours: %+v", o)
	}
	s.color = true
	if o := s.run("locks", "s3://demo"); !strings.Contains(o.out, "\033[33munknown\033[0m  ") {
		t.Errorf("got %+v", o)
	}
	if o := s.run("lock", demoRef); !strings.HasPrefix(o.err, "\033[31mError:\033[0m ") {
		t.Errorf("got %+v", o)
	}
	if o := s.run("locks", "-json", "s3://demo"); strings.Contains(o.out, "\033") {
		t.Errorf("JSON has none: %+v", o)
	}
}

func TestBucketInit_DryRun(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	o := s.run("bucket", "init", "-dry-run", "s3://brand-new")
	s.want(o, 0, "Plan for s3://brand-new", "create the bucket")
	s.want(s.run("bucket", "check", "s3://brand-new"), 10)
	var got bucketInitJSON
	o = s.run("bucket", "init", "-dry-run", "-json", "s3://brand-new")
	if err := json.Unmarshal([]byte(o.out), &got); err != nil || o.code != 0 || !got.DryRun || got.Created || len(got.Planned) == 0 || len(got.Changed) != 0 {
		t.Errorf("got %+v, %v", o, err)
	}
	s.want(s.run("bucket", "check", "s3://brand-new"), 10)
	s.want(s.run("bucket", "init", "-auto-approve", "s3://brand-new"), 0)
	s.want(s.run("bucket", "init", "-dry-run", "s3://brand-new"), 0, "nothing to do")
}
