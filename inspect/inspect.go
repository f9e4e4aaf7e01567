// Package inspect tells what versions of a state contain and differ in, and who stored them. What it returns marshals
// as docs/JSON.md has it. Secrets are hidden, as far as package resources knows them, unless they are asked for.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/history"
	"github.com/statelatch/statelatch/resources"
	"github.com/statelatch/statelatch/state"
)

// Content is one version of a state.
type Content struct {
	resources.File
	history.Entry

	Types map[string]int // how many objects of each type there are, those of data sources apart
}

// ContentError is a state that cannot be read as one, whatever was asked.
type ContentError struct {
	Ref statelatch.Ref // of the state
	Err error          // what is wrong with it
}

// Error names the state and says why.
func (e *ContentError) Error() string { return fmt.Sprintf("%s: %v", e.Ref, e.Err) }

// Unwrap is why.
func (e *ContentError) Unwrap() error { return e.Err }

// Read reads a version of a state, as history.Resolve understands selector; empty: the current one, which needs no
// right to list. Of its objects those have attributes that are at or below one of the addresses.
//
//	ErrNotFound    there is no such version, no state, or nothing at an address
//	*ContentError  it is not a state that can be read
func Read(
	ctx context.Context, store *state.Store, ref statelatch.Ref, selector string, addresses ...string,
) (Content, error) {
	within := func(o resources.Object) bool { return slices.ContainsFunc(addresses, o.Below) }
	c, body, err := open(ctx, store, ref, selector, func(body io.ReadSeeker) (resources.File, error) {
		return resources.ParseSome(body, within)
	})
	if err == nil {
		err = body.Close()
	}
	switch {
	case err != nil:
		return c, err
	case c.Header.Empty:
		return c, fmt.Errorf("%w: %s has no state yet: zero bytes", statelatch.ErrNotFound, ref)
	case c.Header.Encrypted() && len(addresses) > 0:
		return c, fmt.Errorf("%s is encrypted: its resources can be read with 'tofu show' alone", ref)
	}
	for _, addr := range addresses {
		if !slices.ContainsFunc(c.Objects, func(o resources.Object) bool { return o.Below(addr) }) {
			return c, fmt.Errorf("%w: the state has nothing at the address %q", statelatch.ErrNotFound, addr)
		}
	}
	return c, nil
}

// open reads a version of a state as parse does, and leaves its body open.
func open(
	ctx context.Context, store *state.Store, ref statelatch.Ref, selector string,
	parse func(io.ReadSeeker) (resources.File, error),
) (c Content, body io.ReadSeekCloser, err error) {
	var v state.Version
	now := selector == "" || selector == history.Current
	if now {
		v, body, err = store.Open(ctx, ref)
	} else if c.Entry, err = history.Resolve(ctx, store, ref, selector); err == nil {
		v, body, err = history.Open(ctx, store, c.Entry)
	}
	if err != nil {
		return c, nil, err
	}
	if !v.Exists {
		err = fmt.Errorf("%w: %s has no state yet", statelatch.ErrNotFound, ref)
	} else if c.File, err = parse(body); err != nil {
		err = &ContentError{ref, err}
	}
	if err == nil {
		c.Types = countTypes(c.Objects)
		c.Entry, err = history.Place(ctx, store, c.Entry, v)
		c.Current = c.Current || now
	}
	if err == nil {
		entries := []history.Entry{c.Entry}
		err = history.Attribute(ctx, store, ref, entries)
		c.Entry = entries[0]
	}
	if err != nil {
		return c, nil, errors.Join(err, body.Close())
	}
	return c, body, nil
}

// Select keeps the objects at or below the addresses; none: all. With reveal nothing is hidden in them and the outputs.
// Types stay those of all.
func (c *Content) Select(reveal bool, addresses ...string) {
	if len(addresses) > 0 {
		c.Objects = slices.DeleteFunc(slices.Clone(c.Objects), func(o resources.Object) bool {
			return !slices.ContainsFunc(addresses, o.Below)
		})
	}
	if reveal {
		for i, o := range c.Objects {
			c.Objects[i] = o.Revealed()
		}
		for i, out := range c.Outputs {
			c.Outputs[i].Value = resources.Reveal(out.Value)
		}
	}
}

func countTypes(objects []resources.Object) map[string]int {
	types := map[string]int{}
	for _, o := range objects {
		name := o.Type
		if o.Mode != "managed" {
			name = o.Mode + "." + name
		}
		types[name]++
	}
	return types
}

// Header is what is told of a version as a whole.
type Header struct {
	Serial        uint64     `json:"serial"`                   // of the state
	Lineage       string     `json:"lineage,omitempty"`        // of the state
	EngineVersion string     `json:"engine_version,omitempty"` // that wrote it
	Format        uint64     `json:"format,omitempty"`         // the version of the state's format
	Encrypted     bool       `json:"encrypted"`                // by OpenTofu
	Size          int64      `json:"size"`                     // bytes
	LastModified  *time.Time `json:"last_modified,omitempty"`  // by the store's clock
	VersionID     string     `json:"version_id,omitempty"`     // or the snapshot's name
	Snapshot      bool       `json:"snapshot"`                 // it is one
	Current       bool       `json:"current"`                  // it is what engines read
	Who           string     `json:"who,omitempty"`            // held the lock when it was stored
	Operation     string     `json:"operation,omitempty"`      // of that lock
	LockID        string     `json:"lock_id,omitempty"`        // of that lock

	StoredBy *history.StoredBy `json:"stored_by,omitempty"` // who stored it, and how that is known
}

// header is that of c.
func (c Content) header() Header {
	h := c.Entry.Header
	j := Header{
		Serial: h.Serial, Lineage: h.Lineage, EngineVersion: h.TerraformVersion, Format: h.Version, Encrypted: h.Encrypted(),
		Size: c.Size, VersionID: c.VersionID, Snapshot: c.Snapshot, Current: c.Current, StoredBy: c.StoredBy(),
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

// Shown is what a version contains.
type Shown struct {
	Ref string `json:"ref"` // of the state
	Header
	Outputs   map[string]Output `json:"outputs"`   // by name
	Types     map[string]int    `json:"types"`     // how many objects of each are in the state
	Resources []Object          `json:"resources"` // those that were selected
}

// Output is a value of the root module.
type Output struct {
	Value     any  `json:"value"`     // hidden if it is a secret
	Sensitive bool `json:"sensitive"` // the state marks it so
}

// Object is one instance of a resource.
type Object struct {
	Address    string `json:"address"`              // of the instance
	Module     string `json:"module,omitempty"`     // that it is in
	Mode       string `json:"mode"`                 // "managed" or "data"
	Type       string `json:"type"`                 // of the resource
	Name       string `json:"name"`                 // of the resource
	Provider   string `json:"provider"`             // that it belongs to
	Deposed    string `json:"deposed,omitempty"`    // the key of a deposed object
	Tainted    bool   `json:"tainted"`              // it will be replaced
	Attributes any    `json:"attributes,omitempty"` // if they were asked for
}

// Shown is c, with the attributes of its objects if they are asked for.
func (c Content) Shown(attributes bool) Shown {
	j := Shown{
		Ref: c.Ref.String(), Header: c.header(), Outputs: map[string]Output{}, Types: c.Types, Resources: []Object{},
	}
	for _, out := range c.Outputs {
		j.Outputs[out.Name] = Output{out.Value, out.Sensitive}
	}
	for _, o := range c.Objects {
		object := Object{
			Address: o.Address, Module: o.Module, Mode: o.Mode, Type: o.Type, Name: o.Name, Provider: o.Provider,
			Deposed: o.Deposed, Tainted: o.Tainted,
		}
		if attributes {
			object.Attributes = o.Attributes
		}
		j.Resources = append(j.Resources, object)
	}
	return j
}
