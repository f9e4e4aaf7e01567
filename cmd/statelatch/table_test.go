package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

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
			if err := os.WriteFile(file, []byte(`{"version":4,"terraform_version":"1.11.4","serial":`+serial+`,"lineage":"`+key+`","outputs":{},"resources":[]}`), 0o600); err != nil {
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
				if n := term.Columns(line); n > s.width && !strings.HasPrefix(line, "warning ") && !strings.Contains(line, " Fix: ") && strings.Contains(line, "  ") && !strings.Contains(line, "statelatch ") {
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
			if wide := s.run(append(args, "-wide")...); strings.Contains(wide.out+wide.err, "…") || strings.Contains(wide.err, term.Shortened) {
				t.Errorf("%q -wide: %+v", args, wide)
			}
			s.width = 0
		}
		s.flags = flags
	}
	s.width = 80
	if o := s.run("locks", "s3://demo"); !strings.Contains(o.err, term.Shortened) || !strings.Contains(o.out, "…") {
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
	if o := s.run("status", demoRef); !strings.Contains(o.out, "Verdict: \033[33munknown\033[0m: ") {
		t.Errorf("got %+v", o)
	}
	if o := s.run("unlock", "-dry-run", demoRef); !strings.Contains(o.out, "Verdict: \033[33munknown\033[0m: ") {
		t.Errorf("got %+v", o)
	}
	if o := s.run("lock", demoRef); !strings.Contains(o.err, "\033[31mError:\033[0m ") {
		t.Errorf("got %+v", o)
	}
	if o := s.run("locks", "-json", "s3://demo"); strings.Contains(o.out, "\033") {
		t.Errorf("JSON has none: %+v", o)
	}
}

// What is said of a lock is broken between words.
func TestStatus_FitsTheTerminal(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("lock", "-expires", "2h", demoRef), 0)
	s.width, s.color = 40, true
	for _, o := range []outcome{s.run("status", demoRef), s.run("unlock", "-dry-run", demoRef)} {
		_, verdict, _ := strings.Cut(o.out, "Verdict: ")
		verdict, _, _ = strings.Cut(verdict, "\nRelease")
		for line := range strings.Lines("Verdict: " + verdict) {
			if n := utf8.RuneCountInString(strings.TrimSpace(strings.NewReplacer("\033[33m", "", "\033[0m", "").Replace(line))); n > 40 {
				t.Errorf("%d columns: %q", n, line)
			}
		}
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

func TestBucketInit_Tags(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("bucket", "init", "-auto-approve", "-tag", "team=platform", "-tag", "note=a=b c", "s3://tagged"), 0, "tag the bucket")
	s.want(s.run("bucket", "init", "-auto-approve", "-tag", "team=platform", "s3://tagged"), 0, "nothing to do")
	o := s.run("bucket", "init", "-dry-run", "-tag", "team=other", "-tag", "cost=42", "s3://tagged")
	s.want(o, 0, "- cost: absent", "- team = platform", "+ cost = 42", "+ team = other")
	s.want(s.run("bucket", "init", "-auto-approve", "-tag", "team=other", "s3://tagged"), 0)
	s.want(s.run("bucket", "init", "-dry-run", "-tag", "note=a=b c", "-tag", "team=other", "s3://tagged"), 0, "nothing to do") // the others stay
	for _, tag := range []string{"team", "=x", "aws:x=y", "a=b\x00"} {
		s.want(s.run("bucket", "init", "-auto-approve", "-tag", tag, "s3://tagged"), 2)
	}
	s.want(s.run("bucket", "init", "-auto-approve", "-tag", "a=1", "-tag", "a=2", "s3://tagged"), 2, "each KEY once")
	s.want(s.run("bucket", "init", "-format", "hcl", "-tag", "team=${x}", "s3://tagged"), 0, `"team" = "$${x}"`)
	s.want(s.run("bucket", "init", "-format", "awscli", "-tag", "team=it's", "s3://tagged"), 0, "put-bucket-tagging", `{"TagSet":[{"Key":"team","Value":"it'\''s"}]}`)
}

// fullDisk takes nothing, as a full disk.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// A result that could not be written is no success, whatever the command.
func TestPrint_FullDiskIsAnError(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.want(s.run("lock", "s3://demo/held"), 0)
	file := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(file, []byte(`{"version":4,"terraform_version":"1.11.4","serial":1,"lineage":"l","outputs":{},"resources":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.want(s.run("push", file, "s3://demo/state"), 0)
	for _, args := range [][]string{
		{"lock", demoRef},
		{"status", "s3://demo/free"},
		{"locks", "s3://demo"},
		{"locks", "-json", "s3://demo"},
		{"states", "s3://demo"},
		{"states", "-csv", "s3://demo"},
		{"history", "s3://demo/state"},
		{"pull", "s3://demo/state"},
		{"show", "s3://demo/state"},
		{"workspace", "list", "s3://demo/state"},
		{"version"},
		{"help"},
		{"-h"},
		{"lock", "-h"},
		{"bucket", "check", "s3://demo"},
		{"policy", "-role", "plan", "s3://demo"},
		{"completion", "bash"},
		{"diff", "s3://demo/state", "1"},
		{"unlock", "-mine", "-dry-run", "s3://demo/"},
		{"bucket", "init", "-format", "hcl", "s3://demo"},
		{"rollback", "-dry-run", "-json", "1", "s3://demo/state"},
	} {
		var errs strings.Builder
		if !slices.Contains([]string{"version", "help", "-h", "completion"}, args[0]) && !slices.Contains(args, "-h") {
			args = append(args, s.flags...)
		}
		code := run(t.Context(), append([]string{"statelatch"}, args...), terminal{
			In: strings.NewReader(""), Out: fullDisk{}, Err: &errs, Getenv: func(k string) string { return s.env[k] },
		})
		if code != exitError || !strings.Contains(errs.String(), "no space left on device") {
			t.Errorf("%q: exit %d, %s", args, code, &errs)
		}
	}
}
