package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"
)

const rootHelp = `statelatch: {{.Usage}}

Usage: statelatch COMMAND [flags] [REF]

{{.Description}}

{{- range .VisibleCategories}}

{{.Name}}:{{range .VisibleCommands}}
  {{printf "%-14s" .Name}}{{.Usage}}{{end}}{{end}}

Run 'statelatch COMMAND -h' for the flags and examples of a command.

` + exitHelp + "\n"

const commandHelp = `{{.FullName}}: {{.Usage}}

Usage: {{.UsageText}}
{{if .Description}}
{{.Description}}
{{end}}{{if .VisibleFlags}}
Flags:{{range .VisibleFlags}}
  {{.}}{{end}}
{{end}}
` + exitHelp + "\n"

const groupHelp = `{{.FullName}}: {{.Usage}}

Usage: {{.UsageText}}

Commands:{{range .VisibleCommands}}
  {{printf "%-14s" .Name}}{{.Usage}}{{end}}

Run '{{.FullName}} COMMAND -h' for flags and an example.
`

// valueNames are how -h names the values of flags.
var valueNames = map[string]string{
	"account":               "ACCOUNT_ID",
	"action":                "ACTION",
	"addr":                  "HOST:PORT",
	"address":               "ADDRESS",
	"audit":                 "LOCATION,...",
	"alert-older-than":      "DURATION",
	"alert-verdict":         "VERDICT",
	"alert-webhook":         "URL",
	"backend-config":        "FILE|KEY=VALUE",
	"bucket":                "NAME",
	"chdir":                 "DIR",
	"clients":               "N",
	"data":                  "DIR",
	"domain":                "DOMAIN",
	"dynamodb-table":        "NAME|ARN",
	"dir":                   "DIR",
	"encryption":            "AES256|ARN",
	"endpoint":              "URL",
	"expected-bucket-owner": "ACCOUNT_ID",
	"expires":               "DURATION",
	"fail-on":               "SEVERITY",
	"format":                "FORMAT",
	"grace":                 "DURATION",
	"id":                    "ID",
	"if-older-than":         "DURATION",
	"info":                  "TEXT",
	"interval":              "DURATION",
	"keep-snapshots":        "N",
	"kms-key":               "ARN|ID|alias/NAME",
	"known":                 "EVENT:SHA256",
	"lease":                 "DURATION",
	"limit":                 "N",
	"listen":                "HOST:PORT",
	"litter-days":           "DAYS",
	"lock-timeout":          "DURATION",
	"log-bucket":            "NAME",
	"log-prefix":            "PREFIX",
	"match":                 "GLOB",
	"max-series":            "N",
	"older-than":            "DURATION",
	"out":                   "FILE",
	"partition":             "NAME",
	"phase":                 "1|2",
	"reason":                "TEXT",
	"ref":                   "REF",
	"region":                "REGION",
	"role":                  "ROLE",
	"rounds":                "N",
	"since":                 "DURATION|TIME",
	"takeover":              "WHEN",
	"textfile":              "FILE",
	"tls-cert":              "FILE",
	"tls-key":               "FILE",
	"version":               "VERSION",
	"versions":              "N",
	"who":                   "TEXT",
}

func init() {
	cli.SubcommandHelpTemplate = groupHelp // a command that has commands takes no template of its own
	cli.FlagStringer = func(f cli.Flag) string {
		name := f.Names()[0]
		usage := ""
		if d, ok := f.(cli.DocGenerationFlag); ok {
			usage = d.GetUsage()
		}
		return fmt.Sprintf("%-37s%s", strings.TrimSpace("-"+name+" "+valueNames[name]), usage)
	}
	cli.HelpFlag = &cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "show this help", Local: true}
}
