package migrate

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/plural"
	"github.com/statelatch/statelatch/internal/term"
)

// SafeDiff is Diff for a terminal: the line ends of the file stay; nothing else in it can drive one.
func (f FileEdit) SafeDiff() string {
	var b strings.Builder
	for line := range strings.Lines(f.Diff()) {
		text := strings.TrimRight(line, "\r\n")
		end := line[len(text):]
		parts := strings.Split(text, "\t")
		for i := range parts {
			parts[i] = statelatch.Printable(parts[i])
		}
		b.WriteString(strings.Join(parts, "\t") + end)
	}
	return b.String()
}

// shownInits is how many commands are shown beside the script.
const shownInits = 3

// Next tells people what to do once the files of a tree at dir are edited, with the script that does one of it, or why
// it could not be written.
func (p *Plan) Next(dir, script string, unwritten error) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	order := "in any order"
	if p.Phase == 2 {
		order = "all clients of one state at a time"
	}
	say("\nNext:\n  1. Look at the changes and commit them. Until they are everywhere, both kinds of clients "+
		"exclude each other.\n"+
		"  2. Run init again in each root, %s, in every checkout and job (-reconfigure: the state stays where it is):\n",
		order)
	inits := p.Inits()
	if unwritten == nil {
		say("       %s\n     It is new, does the %s one after another, and goes on where it stopped.\n",
			term.ShellQuote(runnable(script)), plural.Of(len(inits), "root"))
	} else {
		say("     No script of it could be written: %s\n", term.OneLine(unwritten))
	}
	for i, one := range inits {
		if unwritten == nil && i == shownInits {
			break
		}
		if i == 0 && unwritten == nil {
			say("     The same by hand:\n")
		}
		words := make([]string, len(one.Words))
		for i, word := range one.Words {
			words[i] = term.ShellQuote(word)
		}
		root := term.ShellQuote(filepath.Join(dir, filepath.FromSlash(one.Dir)))
		if words[0] == ToolTerragrunt {
			say("       (cd %s && %s)\n", root, strings.Join(words, " "))
		} else {
			say("       %s -chdir=%s %s\n", words[0], root, strings.Join(words[1:], " "))
		}
	}
	if n := len(inits) - shownInits; n > 0 && unwritten == nil {
		say("       and %d more\n", n)
	}
	clean := ""
	if p.Phase == 2 {
		clean = ", and statelatch migrate clean " + term.ShellQuote(dir)
	}
	say("  3. Wait until every checkout, branch and CI job has phase %d, then: statelatch migrate verify %s%s\n", p.Phase,
		term.ShellQuote(dir), clean)
	return b.String()
}

// runnable is a file's name as a shell runs it.
func runnable(name string) string {
	if filepath.IsAbs(name) || strings.HasPrefix(name, "..") {
		return name
	}
	return "./" + name
}
