package cliargs

import (
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/urfave/cli/v3"
)

// What the scripts of shells look for themselves, instead of a candidate.
const (
	AskFiles    = ":files"
	AskDirs     = ":dirs"
	AskCommands = ":commands"
	AskNoSpace  = ":nospace" // what was completed goes on
)

// Typing is a line that is being typed.
type Typing struct {
	Command *cli.Command
	Args    []string // that are whole
	Word    string   // the one at the cursor
}

// Completer knows what no command line tells.
type Completer interface {
	// Set hears of the flags that are whole, in their order.
	Set(f cli.Flag, value string)
	// Value lists what the word at the cursor may become as the value of a flag, which -h calls by this name.
	Value(t *Typing, f cli.Flag, name string) []string
	// Argument lists what it may become as an argument.
	Argument(t *Typing) []string
}

// Complete lists what the last of words may become: a value each, with what it is behind a tab.
func (h Help) Complete(root *cli.Command, words []string, with Completer) []string {
	t := &Typing{Command: root, Word: words[len(words)-1]}
	var flag cli.Flag // whose value comes next
	for i, word := range words[:len(words)-1] {
		switch {
		case flag != nil:
			with.Set(flag, word)
			flag = nil
		case word == "--":
			if i+2 == len(words) {
				return []string{AskCommands}
			}
			return []string{AskFiles}
		case IsFlag(word):
			f := FindFlag(t.Command, FlagName(word))
			if _, value, ok := strings.Cut(word, "="); f != nil && ok {
				with.Set(f, value)
			} else if f != nil && TakesValue(f) {
				flag = f
			}
		case len(t.Args) == 0 && t.Command.Command(word) != nil:
			t.Command = t.Command.Command(word)
		default:
			t.Args = append(t.Args, word)
		}
	}
	name, value, hasValue := strings.Cut(t.Word, "=")
	switch {
	case flag != nil:
		return h.values(t, flag, with)
	case IsFlag(t.Word) && hasValue:
		f := FindFlag(t.Command, FlagName(name))
		if f == nil {
			return nil
		}
		t.Word = value
		list := h.values(t, f, with)
		for i := range list {
			if !strings.HasPrefix(list[i], ":") {
				list[i] = name + "=" + list[i]
			}
		}
		return list
	case strings.HasPrefix(t.Word, "-"):
		return t.flags()
	case len(t.Command.Commands) > 0:
		if len(t.Args) > 0 {
			return nil
		}
		return t.commands()
	case t.Command.Name == "help":
		t.Command = root
		for _, name := range t.Args {
			if sub := root.Command(name); sub != nil {
				t.Command = sub
			}
		}
		return t.commands()
	}
	return with.Argument(t)
}

// Candidate adds one to a list if the word may become it, with what it is.
func (t *Typing) Candidate(list []string, value, what string) []string {
	if !strings.HasPrefix(value, t.Word) || statelatch.Printable(value) != value {
		return list
	}
	if what != "" {
		value += "\t" + statelatch.Printable(what)
	}
	return append(list, value)
}

// GoesOn says so where the only candidate is a folder.
func GoesOn(list []string) []string {
	if value, _, _ := strings.Cut(strings.Join(list, "\n"), "\t"); len(list) == 1 && strings.HasSuffix(value, "/") {
		list = append(list, AskNoSpace)
	}
	return list
}

func (t *Typing) commands() (list []string) {
	for _, sub := range Visible(t.Command) {
		list = t.Candidate(list, sub.Name, sub.Usage)
	}
	return list
}

// flags lists them with as many dashes as are typed.
func (t *Typing) flags() (list []string) {
	dashes := "-"
	if strings.HasPrefix(t.Word, "--") {
		dashes = "--"
	}
	seen := map[string]bool{}
	var add func(of *cli.Command)
	add = func(of *cli.Command) {
		for _, f := range of.Flags {
			if name := f.Names()[0]; !seen[name] {
				seen[name] = true
				usage, _ := usageOf(f)
				list = t.Candidate(list, dashes+name, usage)
			}
		}
		for _, sub := range of.Commands {
			add(sub)
		}
	}
	add(t.Command)
	if !seen["help"] {
		list = t.Candidate(list, dashes+"help", "show the help")
	}
	return list
}

// values lists those of a flag.
func (h Help) values(t *Typing, f cli.Flag, with Completer) (list []string) {
	if choice, ok := f.(*ChoiceFlag); ok {
		for _, v := range choice.Config {
			if strings.HasPrefix(v, t.Word) {
				list = append(list, v)
			}
		}
		return list
	}
	switch _, name := usageOf(f); {
	case name == "DIR":
		return []string{AskDirs}
	case strings.Contains(name, "FILE"):
		return []string{AskFiles}
	default:
		return with.Value(t, f, name)
	}
}

// SplitLine takes a line apart as a shell does. The last word is the one that is being typed; it may be empty.
func SplitLine(line string) []string {
	var words []string
	var word strings.Builder
	quote := rune(0)
	escaped, any := false, false
	for _, r := range line {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, any = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, any = r, true
		case quote == 0 && (r == ' ' || r == '\t'):
			if any || word.Len() > 0 {
				words = append(words, word.String())
			}
			word.Reset()
			any = false
		default:
			word.WriteRune(r)
		}
	}
	return append(words, word.String())
}
