// Package migrate finds the backends "s3" of a tree of Terraform, OpenTofu and terragrunt configurations, and moves
// their locks from a DynamoDB table to the lock object in two phases: first both, then the lock object alone. A client
// of both excludes either of the others, while one with the table alone and one with the lock object alone do not see
// each other; so no root may skip the phase in between.
//
// It reads and writes files and nothing else: no network, no credentials, no engine. What a configuration computes is
// reported as not static and never guessed. An edit changes the bytes of the arguments it is about; every comment
// stays, and so do line ends and the order of things. Only a file that was in the engines' canonical format is put into
// it again. What cannot be edited that safely is left to a person, with the edit spelled out.
//
// It does not know what is passed on command lines outside the tree, or which checkout a CI job is on: that every
// client has the first phase before any gets the second is the operator's to see to.
package migrate

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
)

// Names of arguments that the migration is about.
const (
	argLockfile  = "use_lockfile"
	argTable     = "dynamodb_table"
	argLockTable = "lock_table" // terragrunt's old name of it
	argEndpoint  = "dynamodb_endpoint"
	argEndpoints = "endpoints"
	argPrefix    = "workspace_key_prefix"
)

// Tree is what [Scan] found.
type Tree struct {
	Dir      string    // as given to Scan
	Roots    []Root    // by Dir, then Variant
	Findings []Finding // the worst first, then by file and line

	sources map[string]*source // by the path of the real file
}

// Tools that a root is for.
const (
	ToolTerraform  = "terraform"  // Terraform or OpenTofu
	ToolTofu       = "tofu"       // OpenTofu alone: the backend stands in a .tofu file
	ToolTerragrunt = "terragrunt" // terragrunt, with either engine behind it
)

// Root is one configuration that init can be run on: a backend "s3" with all arguments that the tree has for it.
type Root struct {
	Dir     string           // relative to the tree, with slashes; "." is the tree itself
	Variant string           // what sets it apart from other roots of Dir, such as a -backend-config file; may be empty
	Tool    string           // one of the Tool constants
	Places  []*Place         // where its arguments stand; later ones win, shadowed ones do not count
	Args    map[string]Value // the arguments as they take effect; a null is none
	Phase   Phase            // how far it is
	Engine  Engine           // what it says about the versions of engines

	binary  string // the engine that it is for, if that is known: ToolTerraform or ToolTofu
	blocked string // why no file of it can be edited
	assumed bool   // nothing names its -backend-config files: there may be others, or a command line with more
}

// Name is how to tell the root from others: "envs/dev", or "envs/dev (prod.tfbackend)".
func (r *Root) Name() string {
	if r.Variant == "" {
		return r.Dir
	}
	return r.Dir + " (" + r.Variant + ")"
}

// Place is where the root's backend stands.
func (r *Root) Place() *Place {
	for _, p := range r.Places {
		if !p.Shadowed {
			return p
		}
	}
	return r.Places[0]
}

// Static is the text of a static argument; empty if there is none, or it is computed.
func (r *Root) Static(name string) string { return r.Args[name].Text }

// Table is dynamodb_table; not Set if there is none.
func (r *Root) Table() Value {
	if v := r.Args[argTable]; v.Set() {
		return v
	}
	return r.Args[argLockTable]
}

// UseLockfile reports whether use_lockfile is known to be true; a string counts as the engines convert it (B26).
func (r *Root) UseLockfile() bool { return r.Args[argLockfile].isTrue() }

// Ref is the address of the default workspace's state; false if the tree does not tell it.
func (r *Root) Ref() (statelatch.Ref, bool) {
	ref := statelatch.Ref{Bucket: r.Static("bucket"), Key: strings.TrimPrefix(r.Static("key"), "/")}
	return ref, ref.Bucket != "" && ref.Key != ""
}

// identity is what tells a root's states from others': clients of one identity can write the same objects. Roots with
// one key and prefixes of their own keep their workspaces apart; their default workspaces are one object, which such
// trees do not use. It is empty if the tree does not tell.
func (r *Root) identity() string {
	ref, ok := r.Ref()
	if !ok {
		return ""
	}
	id := ref.String()
	switch prefix := r.Args[argPrefix]; {
	case prefix.Set() && !prefix.Static:
		id += fmt.Sprintf(" (%s %s)", argPrefix, prefix.Source)
	case r.prefix() != statelatch.DefaultWorkspaceKeyPrefix:
		id += fmt.Sprintf(" (%s %q)", argPrefix, r.prefix())
	}
	if endpoint := r.endpoint(); endpoint != "" {
		id += " at " + endpoint
	}
	return id
}

// prefix is the workspace_key_prefix as engines join it to keys.
func (r *Root) prefix() string {
	v := r.Args[argPrefix]
	if !v.Static {
		return statelatch.DefaultWorkspaceKeyPrefix
	}
	return strings.Trim(path.Clean("/"+v.Text), "/")
}

// endpoint is of S3, as it is written; empty if there is none.
func (r *Root) endpoint() string {
	if v := r.Args["endpoint"]; v.Set() {
		return shown(v)
	}
	endpoints := r.Args[argEndpoints]
	var values map[string]any
	if endpoints.Static && json.Unmarshal([]byte(endpoints.Text), &values) == nil {
		if s3, ok := values["s3"].(string); ok && s3 != "" {
			return strconv.Quote(s3)
		}
	}
	return ""
}

// BackendConfig is all static arguments of the backend as NAME=VALUE, for [backendconf.Options].
func (r *Root) BackendConfig() []string {
	var items []string
	for name, v := range r.Args {
		if v.Static && backendconf.Known(name) {
			items = append(items, name+"="+v.Text)
		}
	}
	slices.Sort(items)
	return items
}

// Value is one argument.
type Value struct {
	Static bool   // it is known: a literal, or computed as terragrunt would
	Text   string // of a static one: a scalar as it is, anything else as JSON
	Source string // as it is written
	File   string // relative to the tree
	Line   int    // in File, from 1

	quoted  bool   // it is a string
	unknown string // why it is not known; empty where nothing tried to evaluate it
}

// Set reports whether there is such an argument.
func (v Value) Set() bool { return v.Static && v.Text != "" || !v.Static && v.Source != "" }

// String is the argument for people: an expression in <>, a missing one as -.
func (v Value) String() string {
	switch {
	case !v.Set():
		return "-"
	case !v.Static:
		return "<" + v.Source + ">"
	}
	return v.Text
}

func (v Value) isTrue() bool { return v.Static && (v.Text == "true" || v.Text == "1") }

// Kinds of places.
const (
	KindBackend       = "backend"        // a backend "s3" block
	KindBackendConfig = "backend-config" // a file for -backend-config
	KindRemoteState   = "remote_state"   // terragrunt's block
	KindGenerate      = "generate"       // a backend "s3" block in what terragrunt generates
)

// Place is a spot in a file that holds arguments of a backend.
type Place struct {
	File     string // relative to the tree, with slashes
	Line     int    // in File, from 1
	Kind     string // one of the Kind constants
	Shadowed bool   // another place replaces it as a whole

	entries []entry
	syntax  syntax
	head    int    // the offset of a block's end of its header; zero: it is none
	body    [2]int // the offsets of a one-line block's inside; zero: it has lines of its own
	manual  string // why it cannot be edited
	hidden  bool   // it mentions a table where this package cannot follow
	index   int    // among the places of its file
	source  *source
}

func (p *Place) entry(name string) *entry {
	for i := range p.entries {
		if p.entries[i].name == name {
			return &p.entries[i]
		}
	}
	return nil
}

// value is an argument of the place.
func (p *Place) value(e *entry) Value {
	v := e.value
	v.File, v.Line = p.File, e.line
	return v
}

// has reports whether the place sets an argument to anything but null.
func (p *Place) has(name string) bool {
	e := p.entry(name)
	return e != nil && e.value.Set()
}

func (p *Place) hasTable() bool { return p.has(argTable) || p.has(argLockTable) }

// Phase is how far a root has come.
type Phase string

// The phases.
const (
	PhaseTable    Phase = "table"    // 0: the table alone
	PhaseBoth     Phase = "both"     // 1: both
	PhaseLockfile Phase = "lockfile" // 2: the lock object alone
	PhaseNone     Phase = "none"     // no lock at all
	PhaseUnknown  Phase = "unknown"  // the tree does not tell
)

// phaseOf judges the merged arguments.
func phaseOf(r *Root) Phase {
	lockfile := r.Args[argLockfile]
	hidden := slices.ContainsFunc(r.Places, func(p *Place) bool { return !p.Shadowed && p.hidden })
	switch table := r.Table().Set(); {
	case lockfile.Set() && !lockfile.Static, hidden:
		return PhaseUnknown
	case table && lockfile.isTrue():
		return PhaseBoth
	case table:
		return PhaseTable
	case lockfile.isTrue():
		return PhaseLockfile
	case !r.Args["bucket"].Set() || !r.Args["key"].Set(), r.assumed:
		return PhaseUnknown // the rest comes from a command line, and so may the lock
	}
	return PhaseNone
}

// Severity of a finding.
type Severity string

// The severities, from "good to know" to "mend this now".
const (
	Note    Severity = "note"    // good to know
	Warning Severity = "warning" // it will be in the way, or may be
	Error   Severity = "error"   // it is in the way
)

var severities = []Severity{Note, Warning, Error}

// AtLeast reports whether s is as bad as other, or worse.
func (s Severity) AtLeast(other Severity) bool {
	return slices.Index(severities, s) >= slices.Index(severities, other)
}

// Finding is one thing that somebody should know.
type Finding struct {
	ID       string   `json:"id"`             // the same for ever
	Severity Severity `json:"severity"`       // how bad it is
	File     string   `json:"file"`           // relative to the tree, with slashes
	Line     int      `json:"line,omitempty"` // in File, from 1; 0: the file as a whole
	Text     string   `json:"text"`           // one line for people
	Fix      string   `json:"fix,omitempty"`  // may be empty
}
