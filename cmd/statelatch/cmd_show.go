package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/history"
	"github.com/statelatch/statelatch/resources"
	"github.com/statelatch/statelatch/state"
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

// content is one version of a state, read whole.
type content struct {
	resources.File
	history.Entry
}

// read reads a version of the state, with the attributes of the objects that keep says; nil: of all. The current one
// needs no right to list.
func (t target) read(ctx context.Context, selector string, keep func(resources.Object) bool) (content, error) {
	c, body, err := t.openContent(ctx, selector, func(body io.ReadSeeker) (f resources.File, err error) {
		return resources.ParseSome(body, keep)
	})
	if err == nil {
		err = body.Close()
	}
	return c, err
}

// openContent reads a version of the state as parse does, and leaves its body open.
func (t target) openContent(
	ctx context.Context, selector string, parse func(io.ReadSeeker) (resources.File, error),
) (c content, body io.ReadSeekCloser, err error) {
	var v state.Version
	now := selector == "" || selector == history.Current
	if now {
		v, body, err = t.Store.Open(ctx, t.ref)
	} else if c.Entry, err = history.Resolve(ctx, t.Store, t.ref, selector); err == nil {
		v, body, err = history.Open(ctx, t.Store, c.Entry)
	}
	if err != nil {
		return c, nil, err
	}
	if !v.Exists {
		err = fmt.Errorf("%w: %s has no state yet", statelatch.ErrNotFound, t.ref)
	} else if c.File, err = parse(body); err != nil {
		err = storedError{fmt.Errorf("%s: %w", t.ref, err)}
	}
	if err == nil {
		c.Entry, err = history.Place(ctx, t.Store, c.Entry, v)
		c.Current = c.Current || now
	}
	if err == nil {
		entries := []history.Entry{c.Entry}
		err = history.Attribute(ctx, t.Store, t.ref, entries)
		c.Entry = entries[0]
	}
	if err != nil {
		return c, nil, errors.Join(err, body.Close())
	}
	return c, body, nil
}

func runShow(ctx context.Context, o showOptions, term terminal) error {
	t, err := o.open(ctx, term)
	if err != nil {
		return err
	}
	c, err := t.read(ctx, o.version, func(r resources.Object) bool { return slices.ContainsFunc(o.addresses, r.Below) })
	switch {
	case err != nil:
		return err
	case c.Header.Empty:
		return fmt.Errorf("%w: %s has no state yet: zero bytes", statelatch.ErrNotFound, t.ref)
	case c.Header.Encrypted() && len(o.addresses) > 0:
		return fmt.Errorf("%s is encrypted: its resources can be read with 'tofu show' alone", t.ref)
	}
	objects, err := o.selected(c.Objects)
	if err != nil {
		return err
	}
	if o.reveal {
		for i, r := range objects {
			objects[i] = r.Revealed()
		}
		for i, out := range c.Outputs {
			c.Outputs[i].Value = resources.Reveal(out.Value)
		}
	}
	if o.json {
		return term.PrintJSON(o.result(c, objects))
	}
	term.Print("%s\n%s", t.ref, describeContent(c))
	switch {
	case c.Header.Encrypted():
		term.Print("\nOpenTofu encrypted it: outputs and resources cannot be read without its key.\n")
	case len(o.addresses) > 0:
		printAttributes(term, objects)
	default:
		printOverview(term, c.File)
	}
	return nil
}

// selected are the objects that -address names, else all.
func (o showOptions) selected(all []resources.Object) ([]resources.Object, error) {
	if len(o.addresses) == 0 {
		return all, nil
	}
	for _, addr := range o.addresses {
		if !slices.ContainsFunc(all, func(r resources.Object) bool { return r.Below(addr) }) {
			return nil, fmt.Errorf("%w: the state has nothing at the address %q", statelatch.ErrNotFound, addr)
		}
	}
	var some []resources.Object
	for _, r := range all {
		if slices.ContainsFunc(o.addresses, r.Below) {
			some = append(some, r)
		}
	}
	return some, nil
}

// describeContent is the header, a line each.
func describeContent(c content) string {
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
	line("By", whoStored(c.Entry))
	version := c.VersionID
	if c.Snapshot {
		version += " (snapshot)"
	}
	line("Version", version)
	return b.String()
}

func printOverview(term terminal, f resources.File) {
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
	types := countTypes(f.Objects)
	var counts []string
	for _, name := range slices.Sorted(maps.Keys(types)) {
		counts = append(counts, fmt.Sprintf("%d %s", types[name], statelatch.Printable(name)))
	}
	term.Print("\nResources: %d (%s)\n", len(f.Objects), strings.Join(counts, ", "))
	for _, r := range f.Objects {
		term.Print("  %s\n", labelOf(r))
	}
}

// countTypes counts objects by type, those of data sources apart.
func countTypes(objects []resources.Object) map[string]int {
	types := map[string]int{}
	for _, r := range objects {
		name := r.Type
		if r.Mode != "managed" {
			name = r.Mode + "." + name
		}
		types[name]++
	}
	return types
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

// contentJSON is the header of a version.
type contentJSON struct {
	Serial        uint64     `json:"serial"`
	Lineage       string     `json:"lineage,omitempty"`
	EngineVersion string     `json:"engine_version,omitempty"`
	Format        uint64     `json:"format,omitempty"`
	Encrypted     bool       `json:"encrypted"`
	Size          int64      `json:"size"`
	LastModified  *time.Time `json:"last_modified,omitempty"`
	VersionID     string     `json:"version_id,omitempty"`
	Snapshot      bool       `json:"snapshot"`
	Current       bool       `json:"current"`
	Who           string     `json:"who,omitempty"`
	Operation     string     `json:"operation,omitempty"`
	LockID        string     `json:"lock_id,omitempty"`
}

func contentOf(c content) contentJSON {
	h := c.Header
	j := contentJSON{
		Serial: h.Serial, Lineage: h.Lineage, EngineVersion: h.TerraformVersion, Format: h.Version, Encrypted: h.Encrypted(),
		Size: c.Size, VersionID: c.VersionID, Snapshot: c.Snapshot, Current: c.Current,
	}
	if !c.LastModified.IsZero() {
		at := c.LastModified.UTC()
		j.LastModified = &at
	}
	if c.Holder != nil {
		j.Who, j.Operation, j.LockID = c.Holder.Who, c.Holder.Operation, c.Holder.ID
	}
	return j
}

// showJSON is what a state contains.
type showJSON struct {
	Ref string `json:"ref"`
	contentJSON
	Outputs   map[string]outputJSON `json:"outputs"`
	Types     map[string]int        `json:"types"`
	Resources []objectJSON          `json:"resources"`
}

type outputJSON struct {
	Value     any  `json:"value"`
	Sensitive bool `json:"sensitive"`
}

// objectJSON is one object; Attributes only of those that -address names.
type objectJSON struct {
	Address    string `json:"address"`
	Module     string `json:"module,omitempty"`
	Mode       string `json:"mode"`
	Type       string `json:"type"`
	Name       string `json:"name"`
	Provider   string `json:"provider"`
	Deposed    string `json:"deposed,omitempty"`
	Tainted    bool   `json:"tainted"`
	Attributes any    `json:"attributes,omitempty"`
}

func (o showOptions) result(c content, objects []resources.Object) showJSON {
	j := showJSON{
		Ref: c.Ref.String(), contentJSON: contentOf(c), Outputs: map[string]outputJSON{},
		Types: countTypes(c.Objects), Resources: []objectJSON{},
	}
	for _, out := range c.Outputs {
		j.Outputs[out.Name] = outputJSON{out.Value, out.Sensitive}
	}
	for _, r := range objects {
		object := objectJSON{
			Address: r.Address, Module: r.Module, Mode: r.Mode, Type: r.Type, Name: r.Name,
			Provider: r.Provider, Deposed: r.Deposed, Tainted: r.Tainted,
		}
		if len(o.addresses) > 0 {
			object.Attributes = r.Attributes
		}
		j.Resources = append(j.Resources, object)
	}
	return j
}
