package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/statelatch/statelatch/internal/lazyre"
	"github.com/statelatch/statelatch/internal/term"
	"github.com/urfave/cli/v3"
)

// helpColumn is where the words after a flag or a command begin. What is longer has a line of its own.
const helpColumn = 26

// valueNames are how -h names the values of flags, where their type does not tell.
var valueNames = map[string]string{
	"account":               "ACCOUNT_ID",
	"action":                "ACTION",
	"addr":                  "HOST:PORT",
	"address":               "ADDRESS",
	"allow-host":            "HOST",
	"audit":                 "LOCATION,...",
	"alert-webhook":         "URL",
	"backend-config":        "FILE|KEY=VALUE",
	"bucket":                "NAME",
	"chdir":                 "DIR",
	"data":                  "DIR",
	"domain":                "DOMAIN",
	"dynamodb-table":        "NAME|ARN",
	"dir":                   "DIR",
	"encryption":            "AES256|ARN",
	"endpoint":              "URL",
	"engine":                "VERSION",
	"expected-bucket-owner": "ACCOUNT_ID",
	"id":                    "ID",
	"info":                  "TEXT",
	"kms-key":               "ARN|ID|alias/NAME",
	"known":                 "EVENT:SHA256",
	"listen":                "HOST:PORT",
	"litter-days":           "DAYS",
	"log-bucket":            "NAME",
	"log-prefix":            "PREFIX",
	"match":                 "GLOB",
	"out":                   "FILE",
	"partition":             "NAME",
	"phase":                 "1|2",
	"profile":               "NAME",
	"reason":                "TEXT",
	"ref":                   "REF",
	"region":                "REGION",
	"since":                 "DURATION|TIME",
	"tag":                   "KEY=VALUE",
	"textfile":              "FILE",
	"tls-cert":              "FILE",
	"tls-key":               "FILE",
	"version":               "VERSION",
	"who":                   "TEXT",
}

// valueName is how -h names the value of a flag, empty for one that takes none.
func valueName(f cli.Flag) string {
	name, known := valueNames[f.Names()[0]]
	switch f := f.(type) {
	case *cli.BoolFlag:
		return ""
	case *choiceFlag:
		if !known {
			return strings.Join(f.Config, "|")
		}
	case *durationFlag:
		return "DURATION"
	case *cli.IntFlag:
		if !known {
			return "N"
		}
	}
	return name
}

func init() {
	cli.HelpPrinter = func(w io.Writer, _ string, c any) { printHelp(w, c.(*cli.Command)) }
	cli.HelpPrinterCustom = func(w io.Writer, _ string, c any, _ map[string]any) { printHelp(w, c.(*cli.Command)) }
	cli.HelpFlag = &cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "show this help", Local: true}
}

// helpWidth is where the root keeps how wide its help may be.
const helpWidth = "width"

func printHelp(w io.Writer, c *cli.Command) {
	width, _ := c.Root().Metadata[helpWidth].(int)
	_, _ = io.WriteString(w, helpPage(c, term.Readable(width)))
}

// helpPage is what -h shows of a command.
func helpPage(c *cli.Command, width int) string {
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
		b.WriteString("\n" + describeAt(c.Description, width))
	}
	title := ""
	for _, sub := range visible(c) {
		if next := cmp.Or(sub.Category, "Commands"); next != title {
			title = next
			add("\n%s:\n", title)
		}
		b.WriteString(helpEntry(sub.Name, sub.Usage, 16, width))
	}
	if flags := c.VisibleFlags(); len(flags) > 0 && len(c.Commands) == 0 {
		b.WriteString("\nFlags:\n")
		for _, f := range flags {
			usage := ""
			if d, ok := f.(cli.DocGenerationFlag); ok {
				usage = d.GetUsage()
			}
			b.WriteString(helpEntry(strings.TrimSpace("-"+f.Names()[0]+" "+valueName(f)), usage, helpColumn, width))
		}
	}
	switch {
	case root:
		add("\nRun '%s help COMMAND' for the flags and examples of a command.\n\n%s", name, exitHelp)
	case len(c.Commands) > 0:
		add("\nRun '%s COMMAND -h' for flags and examples.\n", name)
	}
	return b.String()
}

// visible are the commands below c that are no secret. The library counts 'help' among those.
func visible(c *cli.Command) []*cli.Command {
	return slices.DeleteFunc(slices.Clone(c.Commands), func(sub *cli.Command) bool { return sub.Hidden })
}

// helpEntry explains a word, in a column of its own if it is short.
func helpEntry(word, usage string, column, width int) string {
	lead := "  " + word
	if len(lead)+2 > column {
		return lead + "\n" + term.Wrap(strings.Repeat(" ", column)+usage+"\n", width)
	}
	return term.Wrap(term.Pad(lead, column)+usage+"\n", width)
}

var continued = lazyre.New(`^ {5,}`)

// describeAt sets a description anew: paragraphs as wide as they may be, lists with their explanations below each
// other, and examples as commands that a shell still takes.
func describeAt(text string, width int) string {
	var b strings.Builder
	var pending string
	flush := func() {
		if pending != "" {
			b.WriteString(term.Wrap(pending+"\n", width))
		}
		pending = ""
	}
	examples := false
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		switch {
		case line == "":
			flush()
			b.WriteString("\n")
		case line == "Example:" || line == "Examples:":
			flush()
			b.WriteString(line + "\n")
			examples = true
		case examples:
			b.WriteString(wrapCommand(line, width))
		case continued.MatchString(line) && pending != "", pending != "" && line[0] != ' ' && pending[0] != ' ':
			pending += " " + strings.TrimLeft(line, " ")
		default:
			flush()
			pending = line
		}
	}
	flush()
	return b.String()
}

// wrapCommand breaks a command between its words, so that it can be pasted all the same.
func wrapCommand(line string, width int) string {
	if term.Columns(line) <= width {
		return line + "\n"
	}
	var lines []string
	current, quoted := "", false
	for word := range strings.SplitSeq(strings.TrimLeft(line, " "), " ") {
		switch {
		case current == "":
			current = "  " + word
		case !quoted && term.Columns(current)+1+term.Columns(word) > width-2:
			lines = append(lines, current+" \\")
			current = "      " + word
		default:
			current += " " + word
		}
		if strings.Count(word, "'")%2 == 1 {
			quoted = !quoted
		}
	}
	return strings.Join(append(lines, current), "\n") + "\n"
}

func helpCommand(t terminal) *cli.Command {
	return &cli.Command{
		Name:      "help",
		Usage:     "show the help of a command",
		UsageText: "statelatch help [COMMAND... | exit-codes]",
		Description: "The same as -h after a command.\n\nExamples:\n  statelatch help run\n  statelatch help workspace " +
			"new\n  statelatch help exit-codes",
		Action: func(_ context.Context, c *cli.Command) error {
			page := c.Root()
			args := c.Args().Slice()
			if slices.Equal(args, []string{"exit-codes"}) {
				t.print("%s", term.Wrap(exitHelp, term.Readable(t.outWidth())))
				return nil
			}
			for _, name := range args {
				sub := page.Command(name)
				if sub == nil {
					line := commandLine{root: c.Root(), command: page, name: page.FullName()}
					return line.notACommand(nil, []string{name})
				}
				page = sub
			}
			t.print("%s", helpPage(page, term.Readable(t.outWidth())))
			return nil
		},
	}
}
