package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/internal/cliargs"
)

// completes runs the program as the scripts do, and returns the candidates without what they are.
func (s *shell) completes(line string) []string {
	s.t.Helper()
	o := s.runContext(s.t.Context(), completeName, line)
	if o.code != 0 || o.err != "" {
		s.t.Errorf("%q: %+v", line, o)
	}
	var list []string
	for candidate := range strings.Lines(o.out) {
		value, _, _ := strings.Cut(strings.TrimSuffix(candidate, "\n"), "\t")
		list = append(list, value)
	}
	return list
}

func TestComplete_CommandsFlagsAndValues(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for line, want := range map[string]string{
		"statelatch stat":                                   "status states",
		"statelatch ":                                       "lock unlock",
		"statelatch -chdir=x wor":                           "workspace",
		"statelatch workspace ":                             "list new delete",
		"statelatch workspace -json l":                      "list",
		"statelatch help work":                              "workspace",
		"statelatch help workspace n":                       "new",
		"statelatch unlock -m":                              "-mine",
		"statelatch unlock --m":                             "--mine",
		"statelatch unlock -id x -auto":                     "-auto-approve",
		"statelatch -ch":                                    "-chdir -check",
		"statelatch lock -takeover ":                        "never expired",
		"statelatch lock -takeover=e":                       "-takeover=expired",
		"statelatch lock --takeover=e":                      "--takeover=expired",
		"statelatch policy -role a":                         "apply admin audit",
		"statelatch bucket check -fail-on ":                 "error warning note",
		"statelatch bucket init -format ":                   "hcl awscli",
		"statelatch audit log -action force":                "force-unlock",
		"statelatch export -alert-verdict ":                 "stale unknown any",
		"statelatch completion ":                            "bash zsh fish pwsh",
		"statelatch push ":                                  cliargs.AskFiles,
		"statelatch push -chdir ":                           cliargs.AskDirs,
		"statelatch migrate scan ":                          cliargs.AskDirs,
		"statelatch pull -out ":                             cliargs.AskFiles,
		"statelatch run -- ":                                cliargs.AskCommands,
		"statelatch run -lease 1m -- make ":                 cliargs.AskFiles,
		"statelatch rollback prev":                          "previous",
		"statelatch lock -reason 'a quoted reason' -takeov": "-takeover",
	} {
		got := s.completes(line)
		for _, w := range strings.Fields(want) {
			if !slices.Contains(got, w) {
				t.Errorf("%q: got %q, want %q among them", line, got, w)
			}
		}
		if wanted := strings.Fields(want); len(got) != len(wanted) && line != "statelatch " {
			t.Errorf("%q: got %q, want %q alone", line, got, wanted)
		}
	}
	for _, line := range []string{"statelatch version ", "statelatch lock -reason ", "statelatch nosuch ", "statelatch unlock -nosuch=x", "", "statelatch 'open"} {
		if got := s.completes(line); len(got) != 0 && line != "" {
			t.Errorf("%q: got %q, want nothing", line, got)
		}
	}
}

// What is in the bucket is completed: states level by level, versions, lock IDs, workspaces.
func TestComplete_FromTheBucket(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	file := filepath.Join(t.TempDir(), "state")
	for _, serial := range []string{"1", "2"} {
		if err := os.WriteFile(file, []byte(`{"version":4,"terraform_version":"1.11.4","serial":`+serial+`,"lineage":"l","outputs":{},"resources":[]}`), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"prod/app/terraform.tfstate", "prod/dns/terraform.tfstate", "dev/terraform.tfstate", "top.tfstate"} {
			s.want(s.run("push", file, "s3://demo/"+key), 0)
		}
	}
	id := strings.TrimSpace(s.run("lock", "s3://demo/prod/app/terraform.tfstate").out)
	var way strings.Builder
	for _, f := range s.flags {
		way.WriteString(" " + shellQuote(f))
	}
	at := func(command string) string { return "statelatch " + command + way.String() + " " }
	check := func(line string, want ...string) {
		t.Helper()
		if got := s.completes(line); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
	check(at("status")+"s3://demo/p", "s3://demo/prod/app/terraform.tfstate", "s3://demo/prod/")
	check(at("status")+"s3://demo/d", "s3://demo/dev/", cliargs.AskNoSpace)
	check(at("status")+"s3://demo/prod/d", "s3://demo/prod/dns/", cliargs.AskNoSpace)
	check(at("history")+"s3://demo/prod/dns/", "s3://demo/prod/dns/terraform.tfstate")
	check(at("locks")+"s3://demo/t", "s3://demo/top.tfstate")
	check(at("push")+"file s3://demo/t", "s3://demo/top.tfstate")
	check("statelatch status s3://demo/prod/a", "s3://demo/prod/app/terraform.tfstate") // it is remembered who locked it

	s.env["STATELATCH_BUCKET"] = "demo"
	check(at("status")+"t", "top.tfstate")
	check(at("status")+"prod/d", "prod/dns/", cliargs.AskNoSpace)
	check(at("force-unlock"), id)
	check(at("unlock")+"-id ", id)
	check(at("pull top.tfstate")+"-version ", "previous", "1")

	dir := s.directory("use_lockfile = true")
	s.env["STATELATCH_BUCKET"] = ""
	if got := s.completes(at("force-unlock -chdir " + dir)); len(got) != 0 {
		t.Errorf("a directory that no engine was set up in was obeyed: %q", got)
	}
	// A store that does not answer costs no more than the budget, and nothing is said.
	if got := s.completes("statelatch status -endpoint http://127.0.0.1:1 -region us-east-1 s3://demo/x"); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}
