// Package resources reads what a state contains, by resource address, and compares two states.
//
// What it guarantees: a value that the state marks as sensitive, or that looks like a secret, comes as a [Secret], which no
// formatting and no encoder shows; only [Reveal] does. What it does not: know a provider's schema. Engines before
// Terraform 1.10 do not store which attributes the schema calls sensitive, and then names decide (see [Parse]), so that
// a secret under a harmless name is shown. The body of a state that OpenTofu encrypted stays closed.
package resources

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
)

// formatVersion is the only format that is read: that of every Terraform since 0.12 and every OpenTofu.
const formatVersion = 4

// File is the content of a state. An empty, or an encrypted one, has a header only.
type File struct {
	Header  statelatch.StateHeader
	Size    int64 // of the body, bytes
	Outputs []Output
	Objects []Object
}

// Output is an output value of the root module.
type Output struct {
	Name      string
	Sensitive bool // the configuration says so
	Value     any  // a value tree, see [Object]
}

// Object is one object that a resource instance stands for: its current one, or a deposed one that is still to be destroyed.
type Object struct {
	Address  string // of the instance, as the engines write it: module.app["a"].aws_instance.web[0]
	Module   string // its address; empty: the root module
	Mode     string // "managed", "data", ...
	Type     string
	Name     string
	Provider string
	Deposed  string // the key of a deposed object; empty: the current one
	Tainted  bool   // it is to be replaced by the next apply
	// Attributes is a value tree: nil, bool, json.Number, string, []any, map[string]any and [Secret].
	Attributes any

	index any // json.Number, string or nil
}

// ID is the attribute "id" that most objects have, empty if there is none or it is secret.
func (o Object) ID() string {
	attributes, _ := o.Attributes.(map[string]any)
	id, _ := attributes["id"].(string)
	return id
}

// Label is Address, and for a deposed object its key.
func (o Object) Label() string {
	if o.Deposed == "" {
		return o.Address
	}
	return o.Address + " (deposed " + o.Deposed + ")"
}

// stateV4 is the wire format (terraform-wire 8.2), as far as it is used.
type stateV4 struct {
	Outputs map[string]struct {
		Value     any  `json:"value"`
		Sensitive bool `json:"sensitive"`
	} `json:"outputs"`
	Resources []struct {
		Module    string       `json:"module"`
		Mode      string       `json:"mode"`
		Type      string       `json:"type"`
		Name      string       `json:"name"`
		Provider  string       `json:"provider"`
		Instances []instanceV4 `json:"instances"`
	} `json:"resources"`
}

type instanceV4 struct {
	IndexKey       any             `json:"index_key"`
	Status         string          `json:"status"`
	Deposed        string          `json:"deposed"`
	Provider       string          `json:"provider"` // OpenTofu: where instances differ in it
	Attributes     any             `json:"attributes"`
	AttributesFlat map[string]any  `json:"attributes_flat"` // as Terraform 0.11 left them, until the next refresh
	Sensitive      json.RawMessage `json:"sensitive_attributes"`
}

// Parse reads a state body, of any size: it is held in memory whole. Bodies in the formats 1 to 3, of Terraform before 0.12,
// and malformed ones are refused with ErrInvalid.
//
// A value is a [Secret] if the state says so (the outputs' "sensitive", an instance's "sensitive_attributes"), and beyond
// that by these heuristics: the state marks it elsewhere in the same instance, or a part of its text; a word of its name, or of a name above it, is password, passphrase, secret, token, credential, pem or the
// like, or two are private key, access key, api key or the like; it is the value of a name/value pair so named; it holds a private key, or a
// URL with a password, or assigns to such a name (DB_PASSWORD=x, password: x); it is JSON text with such a value; or its resource type is so named and it is that resource's payload
// (random_password's result, kubernetes_secret's data). Booleans and empty strings are shown nevertheless, and of numbers
// those whose name does not end with such a word: password_length.
func Parse(r io.Reader) (File, error) {
	body, err := io.ReadAll(r)
	if err != nil {
		return File{}, fmt.Errorf("read state: %w", err)
	}
	f := File{Size: int64(len(body))}
	if f.Header, err = statelatch.ReadStateHeader(bytes.NewReader(body)); err != nil {
		return File{}, err
	}
	switch {
	case f.Header.Empty || f.Header.Encrypted():
		return f, nil
	case f.Header.Version < formatVersion:
		return File{}, fmt.Errorf("%w state: it has format %d, of Terraform before 0.12, and only format %d is read here; an apply of a newer engine upgrades it", statelatch.ErrInvalid, f.Header.Version, formatVersion)
	case f.Header.Version > formatVersion:
		return File{}, fmt.Errorf("%w state: it has format %d; this version of statelatch knows format %d", statelatch.ErrInvalid, f.Header.Version, formatVersion)
	}
	var raw stateV4
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&raw); err != nil {
		return File{}, malformed(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return File{}, fmt.Errorf("%w state: there is something behind its end (at byte %d)", statelatch.ErrInvalid, d.InputOffset())
	}
	for name, o := range raw.Outputs {
		f.Outputs = append(f.Outputs, Output{Name: name, Sensitive: o.Sensitive, Value: guardOutput(name, o.Sensitive, o.Value)})
	}
	slices.SortFunc(f.Outputs, func(a, b Output) int { return strings.Compare(a.Name, b.Name) })
	for _, res := range raw.Resources {
		for _, i := range res.Instances {
			o := Object{
				Module: res.Module, Mode: res.Mode, Type: res.Type, Name: res.Name, Provider: res.Provider,
				Deposed: i.Deposed, Tainted: i.Status == "tainted", index: i.IndexKey,
			}
			if i.Provider != "" {
				o.Provider = i.Provider
			}
			o.Address = address(o)
			if i.Attributes == nil && i.AttributesFlat != nil {
				i.Attributes = i.AttributesFlat
			}
			o.Attributes = guard(res.Type, i.Attributes, i.Sensitive)
			f.Objects = append(f.Objects, o)
		}
	}
	slices.SortStableFunc(f.Objects, compareObjects)
	return f, nil
}

// malformed hides what encoding/json quotes from the body: it may be a secret.
func malformed(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("%w state: not JSON (at byte %d)", statelatch.ErrInvalid, syntax.Offset)
	}
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%w state: %s has a value of the wrong kind (at byte %d)", statelatch.ErrInvalid, kind.Field, kind.Offset)
	}
	return fmt.Errorf("%w state: it ends too early", statelatch.ErrInvalid)
}
