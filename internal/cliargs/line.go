// Package cliargs is what a command line means beyond what urfave/cli reads of it: flags that stand before the command,
// what was nearly typed, flags of days and of choices, the pages of -h, and the completion of a line.
package cliargs

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/statelatch/statelatch/internal/term"
	"github.com/urfave/cli/v3"
)

// Line is what a person typed, in the order in which the library reads it.
type Line struct {
	Words   []string // the program, the command, the flags that stood before it, the rest
	Root    *cli.Command
	Command *cli.Command
	Name    string // of the command, with the program's and its groups'
	JSON    bool   // -json is among the flags, known to the command or not
}

// Arrange finds the command among the words and puts flags that stand before it behind it, so that "-chdir=DIR plan",
// as engines have it, and "workspace -json list" mean what they say. It refuses what names no command.
func Arrange(root *cli.Command, words []string) (Line, error) {
	line := Line{Words: words[:1:1], Root: root, Command: root, Name: root.Name}
	var early []string
	rest := words[1:]
	for len(rest) > 0 && rest[0] != "--" {
		word := rest[0]
		if IsFlag(word) {
			n := 1
			if f := FindFlag(line.Command, FlagName(word)); f != nil && TakesValue(f) && !strings.Contains(word, "=") &&
				len(rest) > 1 {
				n = 2
			}
			early, rest = append(early, rest[:n]...), rest[n:]
			continue
		}
		sub := line.Command.Command(word)
		if sub == nil {
			break
		}
		line.Words, line.Command, rest = append(line.Words, word), sub, rest[1:]
		line.Name += " " + sub.Name
	}
	if line.Command == root && len(rest) == 0 && len(early) > 0 &&
		slices.Contains([]string{"v", "version"}, FlagName(early[0])) {
		line.Command, line.Name, early[0] = root.Command("version"), root.Name+" version", "version"
	}
	line.Words = slices.Concat(line.Words, early, rest)
	line.JSON = asksJSON(words[1:])
	if len(line.Command.Commands) == 0 {
		return line, nil
	}
	return line, line.notACommand(early, rest)
}

// notACommand is why a group alone, with these flags before the next word, cannot be run. Its help is no error.
func (l Line) notACommand(early, rest []string) error {
	for _, word := range early {
		if IsFlag(word) && FindFlag(l.Command, FlagName(word)) == nil {
			return noSuchFlag(l.Command, FlagName(word))
		}
		if name := FlagName(word); name == "h" || name == "help" {
			return nil
		}
	}
	var names []string
	for _, sub := range Visible(l.Command) {
		names = append(names, sub.Name)
	}
	switch group := l.Command != l.Root; {
	case len(rest) > 0 && group:
		return fmt.Errorf("%s has no command %q: %s", strings.TrimPrefix(l.Name, l.Root.Name+" "), rest[0],
			Suggestion(rest[0], names, "want "+term.Or(names)))
	case len(rest) > 0:
		return fmt.Errorf("no such command %q: %s", rest[0], Suggestion(rest[0], names, l.list()))
	case group:
		return fmt.Errorf("%s needs a command: %s", l.Name, term.Or(names))
	case len(early) > 0:
		return errors.New("no command: " + l.list())
	}
	return nil
}

// NoCommand says that group has no command of that name.
func NoCommand(group *cli.Command, name string) error {
	return Line{Root: group.Root(), Command: group, Name: group.FullName()}.notACommand(nil, []string{name})
}

// list is where the commands are listed.
func (l Line) list() string { return fmt.Sprintf("run '%s -h' for the list", l.Root.Name) }

// Suggestion returns the nearest of the candidates, else what to do without one.
func Suggestion(word string, candidates []string, otherwise string) string {
	if s := term.DidYouMean(word, candidates); s != "" {
		return s
	}
	return otherwise
}

// IsFlag tells flags from arguments as the library does. "-" is an argument, and so is a negative number.
func IsFlag(word string) bool {
	name := strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-")
	return strings.HasPrefix(word, "-") && name != "" && (name[0]|0x20 >= 'a' && name[0]|0x20 <= 'z')
}

// FlagName returns the name in a flag, without its value.
func FlagName(word string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-"), "=")
	return name
}

// FindFlag finds a flag of c, or of any command below it; nil if there is none.
func FindFlag(c *cli.Command, name string) cli.Flag {
	for _, f := range append(slices.Clone(c.Flags), cli.HelpFlag) {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	for _, sub := range c.Commands {
		if f := FindFlag(sub, name); f != nil {
			return f
		}
	}
	return nil
}

// TakesValue reports whether a value follows the flag.
func TakesValue(f cli.Flag) bool {
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
		if IsFlag(word) && FlagName(word) == "json" {
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
		return fmt.Errorf("no such flag -%s", name)
	}
	for i := range near {
		near[i] = "-" + near[i]
	}
	return fmt.Errorf("no such flag -%s: did you mean %s?", name, term.Or(near))
}

// Explain words what the library has to say of a command line.
func (h Help) Explain(c *cli.Command, err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return noSuchFlag(c, name)
	}
	if word, ok := strings.CutPrefix(text, "flag needs an argument: "); ok {
		if f := FindFlag(c, FlagName(word)); f != nil {
			return fmt.Errorf("-%s needs a value: -%[1]s %s", FlagName(word), ValueName(f))
		}
	}
	if value, after, ok := strings.Cut(strings.TrimPrefix(text, "invalid value "), " for flag -"); ok &&
		strings.HasPrefix(text, "invalid value ") {
		name, why, _ := strings.Cut(after, ": ")
		switch FindFlag(c, name).(type) {
		case *cli.IntFlag:
			why = "want a whole number"
		case *cli.BoolFlag:
			why = "it is given without a value, or with =true or =false"
		}
		return fmt.Errorf("-%s %s: %s", name, value, why)
	}
	return err
}

// Got says how many there are, and which.
func Got(args []string) string {
	switch len(args) {
	case 0:
		return "got none"
	case 1:
		return "got 1 argument: " + args[0]
	}
	return fmt.Sprintf("got %d arguments: %s", len(args), strings.Join(args, " "))
}

// AtMostOne returns the argument of a command that may be left out, empty if it is. What names it in the error.
func AtMostOne(c *cli.Command, what string) (string, error) {
	if args := c.Args().Slice(); len(args) > 1 {
		return "", fmt.Errorf("one %s at most, %s", what, Got(args))
	}
	return c.Args().First(), nil
}

// InBucket puts a bucket, if one is given, before a KEY or PREFIX that is alone.
func InBucket(bucket, ref string) string {
	if bucket == "" || ref == "" || strings.Contains(ref, "://") || strings.HasPrefix(ref, "arn:") {
		return ref
	}
	return "s3://" + bucket + "/" + ref
}
