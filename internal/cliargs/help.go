package cliargs

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/statelatch/statelatch/internal/term"
	"github.com/urfave/cli/v3"
)

// helpColumn is where the words after a flag or a command begin. What is longer has a line of its own.
const helpColumn = 26

// Help is what the pages of -h need to know besides the commands. How the value of a flag is named stands in backquotes
// at the beginning of its usage, where its type does not tell.
type Help struct {
	More string // the end of the root's page
}

// Width is the key in the root's metadata of how many columns a page may have, an int.
const Width = "width"

// Install makes the library show these pages, with -h and -help.
func (h Help) Install() {
	cli.HelpPrinter = func(w io.Writer, _ string, c any) { h.print(w, c.(*cli.Command)) }
	cli.HelpPrinterCustom = func(w io.Writer, _ string, c any, _ map[string]any) { h.print(w, c.(*cli.Command)) }
	cli.HelpFlag = &cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "show this help", Local: true}
}

func (h Help) print(w io.Writer, c *cli.Command) {
	width, _ := c.Root().Metadata[Width].(int)
	_, _ = io.WriteString(w, h.Page(c, term.Readable(width)))
}

// usageOf is what a flag does, and how its value is named; empty for one that takes none.
func usageOf(f cli.Flag) (usage, value string) {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return "", ""
	}
	usage = d.GetUsage()
	if rest, ok := strings.CutPrefix(usage, "`"); ok {
		value, usage, _ = strings.Cut(rest, "`")
		return strings.TrimPrefix(usage, " "), value
	}
	switch f := f.(type) {
	case *ChoiceFlag:
		value = strings.Join(f.Config, "|")
	case *DurationFlag:
		value = "DURATION"
	case *cli.IntFlag:
		value = "N"
	}
	return usage, value
}

// ValueName returns how -h names the value of a flag, empty for one that takes none.
func ValueName(f cli.Flag) string {
	_, name := usageOf(f)
	return name
}

// Page returns what -h shows of a command.
func (h Help) Page(c *cli.Command, width int) string {
	var b strings.Builder
	add := func(format string, args ...any) { b.WriteString(term.Wrap(fmt.Sprintf(format, args...), width)) }
	name, root := c.FullName(), c == c.Root()
	add("%s: %s\n\n", name, c.Usage)
	usage := c.UsageText
	if root {
		usage = name + " COMMAND [flags] [REF]"
	}
	b.WriteString(strings.Replace(term.Wrap("Usage:  "+usage+"\n", width), "  ", " ", 1))
	if c.Description != "" {
		b.WriteString("\n" + term.Describe(c.Description, width))
	}
	title := ""
	for _, sub := range Visible(c) {
		if next := cmp.Or(sub.Category, "Commands"); next != title {
			title = next
			add("\n%s:\n", title)
		}
		b.WriteString(entry(sub.Name, sub.Usage, 16, width))
	}
	if flags := c.VisibleFlags(); len(flags) > 0 && len(c.Commands) == 0 {
		b.WriteString("\nFlags:\n")
		for _, f := range flags {
			usage, value := usageOf(f)
			b.WriteString(entry(strings.TrimSpace("-"+f.Names()[0]+" "+value), usage, helpColumn, width))
		}
	}
	switch {
	case root:
		add("\nRun '%s help COMMAND' for the flags and examples of a command.\n\n%s", name, h.More)
	case len(c.Commands) > 0:
		add("\nRun '%s COMMAND -h' for flags and examples.\n", name)
	}
	return b.String()
}

// Visible returns the commands below c that are no secret. The library counts 'help' among those.
func Visible(c *cli.Command) []*cli.Command {
	return slices.DeleteFunc(slices.Clone(c.Commands), func(sub *cli.Command) bool { return sub.Hidden })
}

// entry explains a word, in a column of its own if it is short.
func entry(word, usage string, column, width int) string {
	lead := "  " + word
	if len(lead)+2 > column {
		return lead + "\n" + term.Wrap(strings.Repeat(" ", column)+usage+"\n", width)
	}
	return term.Wrap(term.Pad(lead, column)+usage+"\n", width)
}
