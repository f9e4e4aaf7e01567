package cliargs

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v3"
)

var testHelp = Help{More: "More.\n"}

func testRoot() *cli.Command {
	testHelp.Install()
	return &cli.Command{
		Name: "prog", Usage: "does things", Commands: []*cli.Command{
			{Name: "show", Usage: "show a thing", UsageText: "prog show [flags]", Flags: []cli.Flag{
				&cli.StringFlag{Name: "dir", Usage: "`DIR`"}, &cli.StringFlag{Name: "out", Usage: "`FILE`"}, &cli.StringFlag{Name: "id", Usage: "`ID` which thing"}, &cli.BoolFlag{Name: "json"},
				&DurationFlag{Name: "wait", Value: 48 * time.Hour}, &ChoiceFlag{Name: "mode", Config: Choices{"fast", "full", "none"}},
			}},
			{Name: "group", Commands: []*cli.Command{{Name: "list"}, {Name: "new"}, {Name: "secret", Hidden: true}}},
			{Name: "version"},
			{Name: "help"},
		},
	}
}

func TestArrange_FlagsComeBehindTheCommand(t *testing.T) {
	root := testRoot()
	for line, want := range map[string]string{
		"prog -dir x show y":            "prog show -dir x y",
		"prog -dir=x show":              "prog show -dir=x",
		"prog group -json list":         "prog group list -json",
		"prog show -- -json":            "prog show -- -json",
		"prog -v":                       "prog version",
		"prog shwo":                     `no such command "shwo": did you mean show?`,
		"prog qqqqqqq":                  `no such command "qqqqqqq": run 'prog -h' for the list`,
		"prog group":                    "prog group needs a command: list or new",
		"prog group xyz":                `group has no command "xyz": want list or new`,
		"prog -idd x":                   "no such flag -idd: did you mean -id?",
		"prog -json":                    "no command: run 'prog -h' for the list",
		"prog -dir group -json show -5": "prog show -dir group -json -5",
	} {
		got, err := Arrange(root, strings.Fields(line))
		text := strings.Join(got.Words, " ")
		if err != nil {
			text = err.Error()
		}
		if text != want {
			t.Errorf("%q: got %q, want %q", line, text, want)
		}
		if asks := strings.Contains(strings.SplitN(line, "--", 2)[0], "-json"); got.JSON != asks {
			t.Errorf("%q asks for JSON: got %v, want %v", line, got.JSON, asks)
		}
	}
}

func TestSplitLine_AsShellsDo(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][]string{
		"":                 {""},
		"a b":              {"a", "b"},
		"a ":               {"a", ""},
		`a 'b c' "d 'e" `:  {"a", "b c", "d 'e", ""},
		`a\ b 'c\d' "e\"f`: {"a b", `c\d`, `e"f`},
		"'' x":             {"", "x"},
		"a 'open b":        {"a", "open b"},
	} {
		if got := SplitLine(line); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

// told answers with what it was asked.
type told struct{ set []string }

func (c *told) Set(f cli.Flag, value string) { c.set = append(c.set, f.Names()[0]+"="+value) }

func (c *told) Value(t *Typing, f cli.Flag, name string) []string {
	return t.Candidate(nil, t.Word+"!", f.Names()[0]+" "+name+" "+strings.Join(c.set, ","))
}

func (c *told) Argument(t *Typing) []string {
	return append([]string{t.Command.Name}, t.Args...)
}

func TestComplete_AsksWhatItDoesNotKnow(t *testing.T) {
	root := testRoot()
	for line, want := range map[string]string{
		"sh":                      "show\tshow a thing",
		"group ":                  "list new",
		"help group n":            "new",
		"show -i":                 "-id\twhich thing",
		"show --mo":               "--mode",
		"show -mode ":             "fast full none",
		"show -mode=fu":           "-mode=full",
		"show -dir ":              AskDirs,
		"show -out=":              AskFiles,
		"show -- ":                AskCommands,
		"show -- make ":           AskFiles,
		"show -dir=x -out y -id=": "-id=!\tid ID dir=x,out=y",
		"show -id z":              "z!\tid ID ",
		"show a b":                "show a",
		"show -nosuch=":           "",
	} {
		if got := strings.Join(testHelp.Complete(root, SplitLine(line), &told{}), " "); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
	if got := GoesOn([]string{"a/\ta folder"}); !slices.Equal(got, []string{"a/\ta folder", AskNoSpace}) {
		t.Errorf("a folder goes on: got %q", got)
	}
	if got := (&Typing{}).Candidate(nil, "a\x1b", ""); len(got) != 0 {
		t.Errorf("what drives a terminal is no candidate: got %q", got)
	}
}

func TestPage_NamesValues(t *testing.T) {
	root := testRoot()
	page := testHelp.Page(root.Command("show"), 60)
	for _, want := range []string{"-dir DIR ", "-wait DURATION", "-mode fast|full|none", "-id ID ", "-json "} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if root := testHelp.Page(root, 60); !strings.HasSuffix(root, "\n\nMore.\n") || strings.Contains(root, "secret") {
		t.Errorf("got %s", root)
	}
}
