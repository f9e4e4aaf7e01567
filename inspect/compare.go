package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/resources"
	"github.com/statelatch/statelatch/state"
)

// Comparison is what differs between two versions of a state.
type Comparison struct {
	From, To Content // without attributes
	resources.Diff
}

// Compare compares two versions, selected as for Read, and holds in memory what differs and an index of the rest.
func Compare(
	ctx context.Context, store *state.Store, ref statelatch.Ref, from, to string,
) (d Comparison, err error) {
	var sides [2]*resources.Contents
	for i, selector := range []string{from, to} {
		c, body, err := open(ctx, store, ref, selector, func(body io.ReadSeeker) (f resources.File, err error) {
			if sides[i], err = resources.Index(body); err == nil {
				f = sides[i].File
			}
			return f, err
		})
		if err != nil {
			return d, err
		}
		defer func() { err = errors.Join(err, body.Close()) }()
		d.From, d.To = d.To, c
	}
	for _, c := range []Content{d.From, d.To} {
		if c.Header.Encrypted() {
			return d, fmt.Errorf("version %s (serial %d) of %s is encrypted: without its key it cannot be compared",
				statelatch.Printable(c.Name()), c.Header.Serial, ref)
		}
	}
	if d.Diff, err = sides[0].Compare(sides[1]); err != nil {
		return d, fmt.Errorf("%s: %w", ref, err)
	}
	return d, nil
}

// Compared is a comparison as docs/JSON.md has it.
type Compared struct {
	Ref     string         `json:"ref"`     // of the state
	From    Header         `json:"from"`    // of the version before
	To      Header         `json:"to"`      // of the version after
	Equal   bool           `json:"equal"`   // nothing differs
	Counts  map[string]int `json:"counts"`  // of changes, by kind
	Changes []Change       `json:"changes"` // of objects
	Outputs []Value        `json:"outputs"` // that differ
}

// Change is what happened to one object.
type Change struct {
	Kind       string  `json:"kind"`                 // as package resources has it
	Address    string  `json:"address"`              // of the instance
	From       string  `json:"from,omitempty"`       // the address before
	Tainted    bool    `json:"tainted,omitempty"`    // it was marked for replacement
	Untainted  bool    `json:"untainted,omitempty"`  // the mark was removed
	Attributes []Value `json:"attributes,omitempty"` // that differ
}

// Value is one value; Old or New is nil if there was or is none.
type Value struct {
	Path      string `json:"path"`                // where it is, or the output's name
	Old       *any   `json:"old,omitempty"`       // before
	New       *any   `json:"new,omitempty"`       // after
	Sensitive bool   `json:"sensitive,omitempty"` // it is a secret
}

// Compared is d.
func (d Comparison) Compared() Compared {
	j := Compared{
		Ref: d.To.Ref.String(), From: d.From.header(), To: d.To.header(), Equal: d.Equal(), Counts: d.Count,
		Changes: []Change{}, Outputs: values(d.Outputs),
	}
	for _, c := range d.Objects {
		j.Changes = append(j.Changes, Change{c.Kind, c.Address, c.From, c.Tainted, c.Untainted, values(c.Attributes)})
	}
	return j
}

func values(changes []resources.ValueChange) []Value {
	list := []Value{}
	for _, v := range changes {
		j := Value{Path: v.Path, Old: &v.Old, New: &v.New, Sensitive: resources.IsSecret(v.Old) || resources.IsSecret(v.New)}
		if v.Added {
			j.Old = nil
		}
		if v.Removed {
			j.New = nil
		}
		list = append(list, j)
	}
	return list
}
