package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/inspect"
	"github.com/statelatch/statelatch/resources"
	"github.com/urfave/cli/v3"
)

const redaction = "Secrets are not shown without -reveal: what the state marks as sensitive, and beyond that what " +
	"has a name or looks like\n" +
	"one (password, token, private key, a URL with a password, a script with DB_PASSWORD=..., ...). That is a guess: a secret under a harmless name is shown.\n\n"

type showOptions struct {
	targetOptions
	version   string
	addresses []string
	reveal    bool
}

func showCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "show what a state contains",
		UsageText: "statelatch show [flags] [REF]",
		Description: "Shows the header of a state, who probably stored it, its outputs, and the addresses of its resources; with\n" +
			"-address the attributes of those. Takes no lock and changes nothing. Of a state that OpenTofu encrypted only the\n" +
			"header can be read.\n\n" + redaction +
			"Examples:\n" +
			"  statelatch show s3://acme-state/prod/terraform.tfstate\n" +
			"  statelatch show -version previous -address module.network -address 'aws_instance.web[0]'",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "version", Usage: "`VERSION` an older version: its ID, its serial, or 'previous' (see " +
				"history)"},
			&cli.StringSliceFlag{
				Name: "address", HideDefault: true,
				Usage: "`ADDRESS` show the attributes of this instance, resource or module; repeatable",
			},
			revealFlag(),
		}, targetFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			ref, err := atMostOne(c, "REF")
			if err != nil {
				return err
			}
			o := showOptions{
				targetOptions: targetOf(c, ref), version: c.String("version"), addresses: c.StringSlice("address"),
				reveal: c.Bool("reveal"),
			}
			return o.finish(ctx, term, runShow(ctx, o, term))
		},
	}
}

func revealFlag() cli.Flag { return &cli.BoolFlag{Name: "reveal", Usage: "show secrets, too"} }

func runShow(ctx context.Context, o showOptions, term terminal) error {
	t, err := o.open(ctx, term)
	if err != nil {
		return err
	}
	c, err := inspect.Read(ctx, t.Store, t.ref, o.version, o.addresses...)
	if err != nil {
		return err
	}
	c.Select(o.reveal, o.addresses...)
	if o.json {
		return term.PrintJSON(c.Shown(len(o.addresses) > 0))
	}
	term.Print("%s\n%s", t.ref, describeContent(c))
	switch {
	case c.Header.Encrypted():
		term.Print("\nOpenTofu encrypted it: outputs and resources cannot be read without its key.\n")
	case len(o.addresses) > 0:
		printAttributes(term, c.Objects)
	default:
		printOverview(term, c)
	}
	return nil
}

// describeContent is the header, a line each.
func describeContent(c inspect.Content) string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %-9s %s\n", name+":", statelatch.Printable(value))
		}
	}
	h := c.Header
	line("Serial", fmt.Sprint(h.Serial))
	line("Lineage", h.Lineage)
	line("Engine", h.TerraformVersion)
	if h.Encrypted() {
		line("Format", "encrypted by OpenTofu ("+h.EncryptionVersion+")")
	} else {
		line("Format", fmt.Sprint(h.Version))
	}
	line("Size", count(c.Size, "byte"))
	line("Stored", timeOf(c.LastModified)+" UTC")
	line("By", storedBy(c.Entry))
	if by := c.StoredBy(); by != nil {
		line("Run", by.RunURL)
	}
	version := c.VersionID
	if c.Snapshot {
		version += " (snapshot)"
	}
	line("Version", version)
	return b.String()
}

func printOverview(term terminal, f inspect.Content) {
	if len(f.Outputs) > 0 {
		term.Print("\nOutputs:\n")
		for _, out := range f.Outputs {
			term.Print("  %s = %s\n", statelatch.Printable(out.Name), resources.Text(out.Value, 0))
		}
	}
	if len(f.Objects) == 0 {
		term.Print("\nNo resources.\n")
		return
	}
	var counts []string
	for _, name := range slices.Sorted(maps.Keys(f.Types)) {
		counts = append(counts, fmt.Sprintf("%d %s", f.Types[name], statelatch.Printable(name)))
	}
	term.Print("\nResources: %d (%s)\n", len(f.Objects), strings.Join(counts, ", "))
	for _, r := range f.Objects {
		term.Print("  %s\n", labelOf(r))
	}
}

func printAttributes(term terminal, objects []resources.Object) {
	for _, r := range objects {
		term.Print("\n%s\n", labelOf(r))
		for path, v := range resources.Leaves(r.Attributes) {
			term.Print("  %s = %s\n", statelatch.Printable(path), resources.Text(v, 0))
		}
	}
}

func labelOf(r resources.Object) string {
	label := r.Label()
	if r.Tainted {
		label += " (tainted)"
	}
	return statelatch.Printable(label)
}
