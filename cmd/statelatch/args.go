package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/statelatch/statelatch/internal/term"
	"github.com/urfave/cli/v3"
)

// commandLine is what a person typed, in the order in which the library reads it.
type commandLine struct {
	words   []string // the program, the command, the flags that stood before it, the rest
	root    *cli.Command
	command *cli.Command
	name    string // of the command, with the program's and its groups'
	json    bool   // -json is among the flags, known to the command or not
}

// arrange finds the command among the words and puts flags that stand before it behind it, so that "-chdir=DIR plan",
// as engines have it, and "workspace -json list" mean what they say. It refuses what names no command.
func arrange(root *cli.Command, words []string) (commandLine, error) {
	line := commandLine{words: words[:1:1], root: root, command: root, name: root.Name}
	var early []string
	rest := words[1:]
	for len(rest) > 0 && rest[0] != "--" {
		word := rest[0]
		if isFlag(word) {
			n := 1
			if f := findFlag(line.command, flagName(word)); f != nil && takesValue(f) && !strings.Contains(word, "=") &&
				len(rest) > 1 {
				n = 2
			}
			early, rest = append(early, rest[:n]...), rest[n:]
			continue
		}
		sub := line.command.Command(word)
		if sub == nil {
			break
		}
		line.words, line.command, rest = append(line.words, word), sub, rest[1:]
		line.name += " " + sub.Name
	}
	if line.command == root && len(rest) == 0 && len(early) > 0 &&
		slices.Contains([]string{"v", "version"}, flagName(early[0])) {
		line.command, line.name, early[0] = root.Command("version"), root.Name+" version", "version"
	}
	line.words = slices.Concat(line.words, early, rest)
	line.json = asksJSON(words[1:])
	if len(line.command.Commands) == 0 {
		return line, nil
	}
	return line, line.notACommand(early, rest)
}

// notACommand is why a group alone, with these flags before the next word, cannot be run. Its help is no error.
func (l commandLine) notACommand(early, rest []string) error {
	for _, word := range early {
		if isFlag(word) && findFlag(l.command, flagName(word)) == nil {
			return noSuchFlag(l.command, flagName(word))
		}
		if name := flagName(word); name == "h" || name == "help" {
			return nil
		}
	}
	var names []string
	for _, sub := range visible(l.command) {
		names = append(names, sub.Name)
	}
	switch group := l.command != l.root; {
	case len(rest) > 0 && group:
		return usageError{fmt.Errorf("%s has no command %q: %s", strings.TrimPrefix(l.name, l.root.Name+" "), rest[0],
			suggestion(rest[0], names, "want "+term.Or(names)))}
	case len(rest) > 0:
		return usageError{fmt.Errorf("no such command %q: %s", rest[0],
			suggestion(rest[0], names, "run 'statelatch -h' for the list"))}
	case group:
		return usageError{fmt.Errorf("%s needs a command: %s", l.name, term.Or(names))}
	case len(early) > 0:
		return usageError{errors.New("no command: run 'statelatch -h' for the list")}
	}
	return nil
}

// suggestion is the nearest of the candidates, else what to do without one.
func suggestion(word string, candidates []string, otherwise string) string {
	if s := term.DidYouMean(word, candidates); s != "" {
		return s
	}
	return otherwise
}

// isFlag tells flags from arguments as the library does. "-" is an argument, and so is a negative number.
func isFlag(word string) bool {
	name := strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-")
	return strings.HasPrefix(word, "-") && name != "" && (name[0]|0x20 >= 'a' && name[0]|0x20 <= 'z')
}

// flagName is the name in a flag, without its value.
func flagName(word string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-"), "=")
	return name
}

// findFlag finds a flag of c, or of any command below it.
func findFlag(c *cli.Command, name string) cli.Flag {
	for _, f := range append(slices.Clone(c.Flags), cli.HelpFlag) {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	for _, sub := range c.Commands {
		if f := findFlag(sub, name); f != nil {
			return f
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

// asksJSON looks for -json among the words, also where something else is wrong with them.
func asksJSON(words []string) bool {
	asks := false
	for _, word := range words {
		if word == "--" {
			break
		}
		if isFlag(word) && flagName(word) == "json" {
			asks = !strings.HasSuffix(word, "=false")
		}
	}
	return asks
}

func noSuchFlag(c *cli.Command, name string) error {
	var names []string
	var collect func(c *cli.Command)
	collect = func(c *cli.Command) {
		for _, f := range append(slices.Clone(c.Flags), cli.HelpFlag) {
			for _, n := range f.Names() {
				if !slices.Contains(names, n) {
					names = append(names, n)
				}
			}
		}
		for _, sub := range c.Commands {
			collect(sub)
		}
	}
	collect(c)
	near := term.Near(name, names)
	if len(near) == 0 {
		return usageError{fmt.Errorf("no such flag -%s", name)}
	}
	for i := range near {
		near[i] = "-" + near[i]
	}
	return usageError{fmt.Errorf("no such flag -%s: did you mean %s?", name, term.Or(near))}
}

// badUsage words what the library has to say of a command line.
func badUsage(c *cli.Command, err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return noSuchFlag(c, name)
	}
	if word, ok := strings.CutPrefix(text, "flag needs an argument: "); ok {
		if f := findFlag(c, flagName(word)); f != nil {
			return usageError{fmt.Errorf("-%s needs a value: -%[1]s %s", flagName(word), valueName(f))}
		}
	}
	if value, after, ok := strings.Cut(strings.TrimPrefix(text, "invalid value "), " for flag -"); ok &&
		strings.HasPrefix(text, "invalid value ") {
		name, why, _ := strings.Cut(after, ": ")
		switch findFlag(c, name).(type) {
		case *cli.IntFlag:
			why = "want a whole number"
		case *cli.BoolFlag:
			why = "it is given without a value, or with =true or =false"
		}
		return usageError{fmt.Errorf("-%s %s: %s", name, value, why)}
	}
	return usageError{err}
}

// arguments says how many there are, and which.
func arguments(args []string) string {
	switch len(args) {
	case 0:
		return "got none"
	case 1:
		return "got 1 argument: " + args[0]
	}
	return fmt.Sprintf("got %d arguments: %s", len(args), strings.Join(args, " "))
}
