package main

import (
	"context"
	"slices"

	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/statelatch/statelatch/internal/term"
	"github.com/urfave/cli/v3"
)

// help names the values of flags, where their type does not tell.
var help = cliargs.Help{More: exitHelp, Values: map[string]string{
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
}}

func init() { help.Install() }

func helpCommand(t terminal) *cli.Command {
	return &cli.Command{
		Name:      "help",
		Usage:     "show the help of a command",
		UsageText: "statelatch help [COMMAND... | exit-codes]",
		Description: "The same as -h after a command.\n\nExamples:\n  statelatch help run\n" +
			"  statelatch help workspace new\n  statelatch help exit-codes",
		Action: func(_ context.Context, c *cli.Command) error {
			page := c.Root()
			args := c.Args().Slice()
			if slices.Equal(args, []string{"exit-codes"}) {
				t.Print("%s", term.Wrap(exitHelp, term.Readable(t.OutWidth())))
				return nil
			}
			for _, name := range args {
				sub := page.Command(name)
				if sub == nil {
					return usageError{cliargs.NoCommand(page, name)}
				}
				page = sub
			}
			t.Print("%s", help.Page(page, term.Readable(t.OutWidth())))
			return nil
		},
	}
}
