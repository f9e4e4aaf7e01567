// Package resources reads what a state contains, by resource address, and compares two states.
//
// What it guarantees: a value that the state marks as sensitive, or that looks like a secret, comes as a [Secret],
// which no formatting and no encoder shows; only [Reveal] does. What it does not: know a provider's schema. Engines
// before Terraform 1.10 do not store which attributes the schema calls sensitive, and then names decide (see [Parse]),
// so that a secret under a harmless name is shown. The body of a state that OpenTofu encrypted stays closed.
package resources

import "github.com/statelatch/statelatch"

// formatVersion is the only format that is read: that of every Terraform since 0.12 and every OpenTofu.
const formatVersion = 4

// File is the content of a state. An empty, or an encrypted one, has a header only.
type File struct {
	Header  statelatch.StateHeader // as [statelatch.ParseStateHeader] reads it
	Size    int64                  // of the body, bytes
	Outputs []Output               // of the root module, by name
	Objects []Object               // by address
}

// Output is an output value of the root module.
type Output struct {
	Name      string // unique in the state
	Sensitive bool   // the configuration says so
	Value     any    // a value tree, see [Object]
}

// Object is one object that a resource instance stands for: its current one, or a deposed one that is still to be
// destroyed.
type Object struct {
	// Address: of the instance, as the engines write it: module.app["a"].aws_instance.web[0]; keys that are secrets are
	// [Redacted]
	Address  string
	Module   string // its address, alike; empty: the root module
	Mode     string // "managed", "data", ...
	Type     string // such as "aws_instance"
	Name     string // of the resource in its module
	Provider string // as the state names it
	Deposed  string // the key of a deposed object; empty: the current one
	Tainted  bool   // it is to be replaced by the next apply
	// Attributes is a value tree: nil, bool, json.Number, string, []any, map[string]any and [Secret].
	Attributes any

	index           any    // json.Number, string or nil
	address, module string // with keys that are secrets
	stands          stand  // of an indexed one
}

// ID is the attribute "id" that most objects have, empty if there is none or it is secret.
func (o Object) ID() string {
	attributes, _ := o.Attributes.(map[string]any)
	id, _ := attributes["id"].(string)
	return id
}

// Label is Address, and for a deposed object its key.
func (o Object) Label() string { return o.label(o.Address) }

// Revealed is the object with what is secret of it shown.
func (o Object) Revealed() Object {
	o.Address, o.Module, o.Attributes = o.address, o.module, Reveal(o.Attributes)
	return o
}

// place tells the object from all others.
func (o Object) place() string { return o.label(o.address) }

func (o Object) label(address string) string {
	if o.Deposed == "" {
		return address
	}
	return address + " (deposed " + o.Deposed + ")"
}
