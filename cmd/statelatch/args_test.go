package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/statelatch/statelatch/internal/term"
	"github.com/urfave/cli/v3"
)

// everyCommand calls do with each command and the words that name it.
func everyCommand(t *testing.T, do func(words []string, c *cli.Command)) {
	t.Helper()
	var walk func(words []string, c *cli.Command)
	walk = func(words []string, c *cli.Command) {
		if !c.Hidden {
			do(words, c)
		}
		for _, sub := range c.Commands {
			walk(append(words[:len(words):len(words)], sub.Name), sub)
		}
	}
	walk(nil, app(terminal{Getenv: func(string) string { return "" }}))
}

func TestArrange_Typos(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, tc := range []struct {
		args  string
		texts []string
	}{
		{"statsu", []string{`no such command "statsu"`, "did you mean status"}},
		{"lcok s3://b/k", []string{"did you mean lock"}},
		{"-chdir=x statsu", []string{"did you mean status"}},
		{"workspace lst", []string{`workspace has no command "lst"`, "did you mean list", "Run 'statelatch workspace -h'"}},
		{"bucket chekc", []string{"did you mean check"}},
		{"digest fxi", []string{"did you mean fix"}},
		{"migrate plna", []string{"did you mean plan"}},
		{"audit verfy", []string{"did you mean verify"}},
		{"audit whatever", []string{"want log or verify"}},
		{"migrate", []string{"migrate needs a command", "scan", "Run 'statelatch migrate -h'"}},
		{"lock -lock-timout 5m s3://b/k", []string{"no such flag -lock-timout", "did you mean -lock-timeout", "Run 'statelatch lock -h'"}},
		{"lock --reson x", []string{"did you mean -reason"}},
		{"workspace delete -froce x", []string{"did you mean -force", "Run 'statelatch workspace delete -h'"}},
		{"workspace -jsn list", []string{"did you mean -json"}},
		{"-chdr=x status", []string{"did you mean -chdir"}},
		{"policy -role aply", []string{"-role", `"aply"`, "did you mean apply"}},
		{"lock -takeover expird s3://b/k", []string{"did you mean expired"}},
		{"locks -older-than 60", []string{`-older-than "60"`, "1d12h", "Run 'statelatch locks -h'"}},
		{"lock -lock-timeout", []string{"-lock-timeout needs a value: -lock-timeout DURATION"}},
		{"history -limit many", []string{`-limit "many": want a whole number`}},
		{"states -csv=maybe", []string{`-csv "maybe"`}},
		{"completion -x", []string{"no such flag -x"}},
		{"completion fihs", []string{"did you mean fish"}},
		{"completion", []string{"bash, zsh, fish, pwsh"}},
		{"help statsu", []string{"did you mean status"}},
		{"help workspace nwe", []string{"did you mean new"}},
		{"push", []string{"got none"}},
		{"run -leese 5m -- true", []string{"did you mean -lease", "write -- before COMMAND"}},
	} {
		o := s.runContext(t.Context(), strings.Fields(tc.args)...)
		t.Logf("%s", tc.args)
		s.want(o, 2, tc.texts...)
		if o.out != "" || strings.Contains(o.err, "COMMAND -h") || strings.Contains(o.err, ": \n") {
			t.Errorf("%s: stdout %q, stderr %q", tc.args, o.out, o.err)
		}
	}
}

// With -json anywhere on the line what is wrong with the line is JSON, too.
func TestArrange_UsageErrorsAsJSON(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, args := range []string{
		"status -json -nosuch", "status -nosuch -json", "-json statsu", "statsu -json", "workspace lst -json", "-json workspace lst", "workspace -json",
		"push -json", "rollback -json", "force-unlock --json", "workspace new -json", "lock -json -lock-timeout 60 s3://b/k", "status -json a b c",
		"pull -json s3://b/k", "run -json -- true", "lock -lock-timeout -json", "policy -json", "-json", "lock -json=true -takeover x", "serve -json x",
		"history -limit -1 -json", "completion -json", "help -json nosuch",
	} {
		o := s.runContext(t.Context(), strings.Fields(args)...)
		var got failureJSON
		if err := json.Unmarshal([]byte(o.out), &got); err != nil || o.err != "" || strings.Count(o.out, "\n") != 1 {
			t.Errorf("%s: want one line of JSON: %+v", args, o)
			continue
		}
		if o.code != 2 || got.Kind != "usage" || got.ExitCode != 2 || got.Error == "" {
			t.Errorf("%s: exit %d, %+v", args, o.code, got)
		}
	}
	for _, args := range []string{"run -nosuch -- terraform show -json", "status -json=false -nosuch"} {
		if o := s.runContext(t.Context(), strings.Fields(args)...); o.code != 2 || o.out != "" {
			t.Errorf("%s asks for no JSON: %+v", args, o)
		}
	}
}

// Flags stand before the command, between a group and its command, or behind.
func TestArrange_FlagsBeforeTheCommand(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	dir := s.directory("use_lockfile = true")
	for _, args := range [][]string{
		{"-chdir=" + dir, "status"},
		{"-chdir", dir, "status"},
		{"--chdir", dir, "status"},
		{"status", "-chdir=" + dir},
		{"-json", "-chdir=" + dir, "workspace", "list"},
		{"workspace", "-json", "list", "-chdir=" + dir},
		{"workspace", "-chdir", dir, "list", "-json"},
	} {
		o := s.run(args...)
		s.want(o, 0)
		if text := o.out; !strings.Contains(text, "app/terraform.tfstate") && !strings.Contains(text, `"workspaces":["default"]`) {
			t.Errorf("%q: %+v", args, o)
		}
	}
}

func TestRun_HelpAndVersion(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, args := range []string{"version", "-version", "--version", "-v"} {
		s.want(s.runContext(t.Context(), args), 0, "statelatch "+version()+"\n")
	}
	var got map[string]string
	if o := s.runContext(t.Context(), "-version", "-json"); o.code != 0 || json.Unmarshal([]byte(o.out), &got) != nil || got["version"] != version() || got["go"] == "" {
		t.Errorf("version -json: %+v", o)
	}
	if root := s.runContext(t.Context(), "help"); root != s.runContext(t.Context(), "-h") || root != s.runContext(t.Context()) {
		t.Errorf("help, -h and nothing show different pages")
	}
	everyCommand(t, func(words []string, c *cli.Command) {
		page := s.runContext(t.Context(), append(words[:len(words):len(words)], "-h")...)
		if page.code != 0 || page.err != "" || !strings.Contains(page.out, c.Usage[:min(20, len(c.Usage))]) {
			t.Errorf("%q -h: %+v", words, page)
		}
		if same := s.runContext(t.Context(), append([]string{"help"}, words...)...); same != page {
			t.Errorf("help %q: %+v", words, same)
		}
	})
	s.want(s.runContext(t.Context(), "help", "exit-codes"), 0, "130  interrupted")
}

// A page fits a terminal, and exit codes are on one page.
func TestHelp_FitsTheTerminal(t *testing.T) {
	t.Parallel()
	pages := 0
	s := newShell(t)
	everyCommand(t, func(words []string, _ *cli.Command) {
		pages++
		for _, s.width = range []int{66, 80, 100} {
			width, page := s.width, s.runContext(t.Context(), append(words[:len(words):len(words)], "-h")...).out
			for line := range strings.Lines(page) {
				if n := term.Columns(strings.TrimRight(line, "\n")); n > width {
					t.Errorf("%q at %d: a line of %d columns: %s", words, width, n, line)
				}
			}
			if strings.Contains(page, "Exit codes:") && len(words) > 0 {
				t.Errorf("%q: the exit codes are on the root's page", words)
			}
		}
	})
	if pages < 40 {
		t.Errorf("got %d pages, want all", pages)
	}
}

// What a flag takes follows from its type: a name for the value of each that takes one, none for a switch, and never
// one here and none there.
func TestHelp_FlagValues(t *testing.T) {
	t.Parallel()
	takes := map[string]bool{}
	everyCommand(t, func(words []string, c *cli.Command) {
		for _, f := range c.Flags {
			name := f.Names()[0]
			if cliargs.TakesValue(f) != (cliargs.ValueName(f) != "") {
				t.Errorf("%q -%s: it takes a value: %v, but -h shows %q", words, name, cliargs.TakesValue(f), cliargs.ValueName(f))
			}
			if before, known := takes[name]; known && before != cliargs.TakesValue(f) && name != "versions" {
				t.Errorf("%q -%s takes a value here or elsewhere, not everywhere", words, name)
			}
			takes[name] = cliargs.TakesValue(f)
			if _, plain := f.(*cli.DurationFlag); plain {
				t.Errorf("%q -%s: durations know days: durationFlag", words, name)
			}
		}
	})
}

// A failure's cause comes before what it is about, and what would not help is not offered.
func TestReport_CauseFirst(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	id := strings.TrimSpace(s.run("lock", demoRef).out)
	stranger := newShell(t)
	stranger.flags = s.flags
	for _, tc := range []struct {
		args  []string
		cause string
	}{
		{[]string{"force-unlock", "123", demoRef}, "the lock has another ID than 123"},
		{[]string{"force-unlock", "-force", "123", demoRef}, "the lock has another ID than 123"},
		{[]string{"force-unlock", id[:8], demoRef}, id[:8] + " is only the beginning of the lock's ID"},
		{[]string{"unlock", "-id", "123", demoRef}, "the lock has another ID than 123"},
		{[]string{"unlock", "-if-older-than", "2d", demoRef}, "it is younger than 2d"},
		{[]string{"unlock", "-expired", demoRef}, "it is not over"},
	} {
		o := stranger.run(tc.args...)
		stranger.want(o, exitLocked, id)
		if text := "\n" + o.err; !strings.Contains(text, "\nError: "+tc.cause) && !strings.Contains(text, "\nLeft alone: state is locked: "+demoRef+": "+tc.cause) {
			t.Errorf("%q: the headline is not the cause: %s", tc.args, o.err)
		}
		if strings.Contains(o.err, "If that run is dead") || strings.Contains(o.err, "-lock-timeout") {
			t.Errorf("%q: advice that does not apply: %s", tc.args, o.err)
		}
	}
}

// A backend that cannot be connected to is told by every command.
func TestConnect_Refused(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	flags := []string{
		"-region", "us-east-1", "-backend-config", "encrypt=true", "-backend-config", "kms_key_id=x", "-backend-config",
		"sse_customer_key=abc",
	}
	for _, command := range []string{
		"status", "lock", "unlock", "unlock -mine", "force-unlock id", "locks", "pull", "show", "history", "rollback 1",
		"workspace list", "workspace new x", "workspace delete x", "states", "bucket check", "probe", "gc", "digest check",
		"digest fix", "migrate clean",
	} {
		args := append(strings.Fields(command), flags...)
		at := "s3://b/k"
		if command == "unlock -mine" {
			at = "s3://b/"
		}
		o := s.runContext(t.Context(), append(args, at)...)
		if o.code == 0 || !strings.Contains(o.err, "sse_customer_key") {
			t.Errorf("%s: got %+v, want what is wrong with the backend", command, o)
		}
	}
}
