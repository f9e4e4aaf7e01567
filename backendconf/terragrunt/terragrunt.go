// Package terragrunt finds the backend "s3" of a terragrunt unit: what terragrunt would have an engine use in a
// directory with a terragrunt.hcl.
//
// Evaluate reads the unit and what it includes, as terragrunt does, and evaluates of it what the backend needs:
// includes, locals, exposed includes, read_terragrunt_config, values of stacks, feature defaults and the functions on
// paths, strings, collections and files. It reads files of one tree and nothing else: it runs nothing, connects to
// nothing and asks for no credentials, so that it can be let loose on a tree that nobody trusts. Work and nesting
// are bounded.
//
// What it guarantees: a value that it gives is terragrunt's value; one that depends on anything it does not know
// (run_cmd, sops_decrypt_file, get_aws_account_id, outputs of dependencies, a file outside of the tree) is unknown, and
// unknown stays unknown through try and conditions. It never guesses. [Render] asks terragrunt itself instead, which
// runs what the files say.
package terragrunt

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/bucket/s3bucket"
)

// Options say which unit. The zero Options mean that of the current directory, with nothing of the environment.
type Options struct {
	Dir           string                                // of the unit; empty: the current one
	Tree          string                                // no file outside of it is read; empty: as [TreeOf] finds
	BackendConfig []string                              // as for [backendconf.Options]: on top of the unit's
	Workspace     string                                // empty: TF_WORKSPACE, else what the working copies have selected
	LookupEnv     func(string) (value string, set bool) // nil: whatever depends on the environment is unknown
}

// Names of the files that make a directory a unit, in terragrunt's order, and a stack.
const (
	unitJSON  = "terragrunt.hcl.json"
	unitFile  = "terragrunt.hcl"
	stackFile = "terragrunt.stack.hcl"
)

// UnitFile is the file that makes dir a unit, empty if it is none: a working copy of terragrunt's is the engine's,
// whatever files it has. lookupEnv may be nil.
func UnitFile(dir string, lookupEnv func(string) (string, bool)) string {
	if isWorkingCopy(dir) {
		return ""
	}
	names := []string{unitJSON, unitFile}
	if name := cmp.Or(env(lookupEnv, "TG_CONFIG"), env(lookupEnv, "TERRAGRUNT_CONFIG")); name != "" {
		names = []string{name}
	}
	for _, name := range names {
		file := name
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, name)
		}
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			return file
		}
	}
	return ""
}

// IsStack reports whether dir is a stack of units that terragrunt generates elsewhere, and no unit itself.
func IsStack(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, stackFile))
	return err == nil && info.Mode().IsRegular() && UnitFile(dir, nil) == ""
}

func env(lookup func(string) (string, bool), name string) string {
	if lookup == nil {
		return ""
	}
	value, _ := lookup(name)
	return value
}

// Argument is an argument of the backend.
type Argument struct {
	Value   any       // what JSON knows, numbers as json.Number; nil if it is unknown or null
	Unknown []Unknown // why it is not known; empty: it is
}

// Unknown is something that a value depends on and that cannot be evaluated here.
type Unknown struct {
	What string // such as "run_cmd"
	File string // below the tree, with slashes
	Line int    // from 1
}

func (u Unknown) String() string {
	if u.File == "" {
		return u.What
	}
	return fmt.Sprintf("%s at %s:%d", u.What, u.File, u.Line)
}

// Unit is what a unit says about its backend.
type Unit struct {
	File  string              // the unit's own
	Type  string              // of the backend, such as "s3"
	Args  map[string]Argument // as an engine is given them
	Files []string            // that were read, the unit's own first
	// Includes are the files that its include blocks name, in their order.
	Includes []string

	iamRole string // that terragrunt assumes for the engine; empty: none that is known
}

// UnknownError says what cannot be evaluated. It matches [statelatch.ErrInvalid].
type UnknownError struct {
	Unit        string   // its file
	Argument    string   // of the backend; empty: the backend itself
	Because     Unknown  // the first thing that is in the way
	Initialized []string // states that the unit was initialized for, of which one may be meant
}

func (e *UnknownError) Error() string {
	what := "its backend"
	if e.Argument != "" {
		what = "the backend's " + e.Argument
	}
	text := fmt.Sprintf("%v terragrunt unit %s: %s is not known: cannot evaluate %s; give s3://BUCKET/KEY, or have "+
		"terragrunt in the PATH to ask it",
		statelatch.ErrInvalid, e.Unit, what, e.Because)
	if len(e.Initialized) > 0 {
		text += "; it was initialized for " + strings.Join(e.Initialized, ", ")
	}
	return text
}

func (e *UnknownError) Unwrap() error { return statelatch.ErrInvalid }

// Resolve finds the backend of a unit. Every argument must be known, from the unit or from opts.BackendConfig; if one
// is not, the error is an [*UnknownError]. If the unit was initialized for another state than it says now, that is an
// error, too: the state is at the one place or at the other. All errors match [statelatch.ErrInvalid].
func Resolve(opts Options) (backendconf.Backend, error) {
	unit, err := Evaluate(opts)
	var b backendconf.Backend
	if err == nil {
		b, err = unit.backend(opts)
	}
	var unknown *UnknownError
	if errors.As(err, &unknown) {
		for _, c := range workingCopies(cmp.Or(opts.Dir, "."), opts.LookupEnv) {
			unknown.Initialized = append(unknown.Initialized, c.where())
		}
	}
	return b, err
}

// backend makes a Backend of the unit's arguments and checks it against the working copies.
func (u Unit) backend(opts Options) (backendconf.Backend, error) {
	given, err := backendconf.ParseArguments(opts.Dir, opts.BackendConfig)
	if err != nil {
		return backendconf.Backend{}, err
	}
	block := backendconf.Block{Type: u.Type, Args: map[string]any{}, Source: u.File}
	for _, name := range slices.Sorted(maps.Keys(u.Args)) {
		arg := u.Args[name]
		if _, replaced := given[name]; len(arg.Unknown) > 0 && !replaced && backendconf.Known(name) {
			return backendconf.Backend{}, &UnknownError{Unit: u.File, Argument: name, Because: arg.Unknown[0]}
		}
		block.Args[name] = arg.Value
	}
	copies := workingCopies(cmp.Or(opts.Dir, "."), opts.LookupEnv)
	workspace, err := workspaceOf(copies, opts)
	if err != nil {
		return backendconf.Backend{}, err
	}
	b, err := backendconf.FromBlock(block, backendconf.Options{
		Dir: opts.Dir, BackendConfig: opts.BackendConfig,
		Workspace: workspace, Getenv: func(string) string { return "" },
	})
	if err != nil {
		return b, err
	}
	if role := cmp.Or(env(opts.LookupEnv, "TG_IAM_ASSUME_ROLE"), env(opts.LookupEnv, "TERRAGRUNT_IAM_ROLE"),
		u.iamRole); role != "" {
		b.S3.AssumeRole = append([]s3bucket.AssumeRole{{RoleARN: role}}, b.S3.AssumeRole...)
	}
	return b, agree(b, copies)
}

// TreeOf is the tree that a unit belongs to: the outermost directory above it that has a .git or a file of terragrunt,
// but none that the home directory is in.
func TreeOf(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("%w directory: %w", statelatch.ErrInvalid, err)
	}
	home, _ := os.UserHomeDir()
	tree := abs
	for at := abs; at != filepath.Dir(at) && at != os.TempDir() && !contains(at, home); at = filepath.Dir(at) {
		if isTreeRoot(at) {
			tree = at
		}
	}
	return tree, nil
}

func isTreeRoot(dir string) bool {
	if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
		return true
	}
	found, _ := filepath.Glob(filepath.Join(escapeGlob(dir), "*.hcl"))
	return len(found) > 0
}

// escapeGlob makes filepath.Glob take dir as it stands.
func escapeGlob(dir string) string {
	if filepath.Separator == '\\' {
		return dir // there is no escaping on Windows, nor a name with * or ?
	}
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(dir)
}

// contains reports whether path is dir or below it.
func contains(dir, path string) bool {
	if path == "" {
		return false
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}
