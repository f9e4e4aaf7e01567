// Package backendconf finds the backend "s3" of a Terraform or OpenTofu working
// directory: which bucket, key and workspace, and how to reach them.
//
// It looks where the engines look and in their order: the backend cache that
// init leaves in the data directory, else the configuration files with -backend-config
// on top. It reads files and nothing else: no network, no credentials, no state, and
// it writes nothing, so that it cannot create a workspace by looking at it (W16). What it
// does not do: evaluate expressions. A configuration that needs it must be initialized first, by
// the engine, whose cache holds the values.
package backendconf

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/internal/treefile"
)

// Options say where to look. The zero Options mean the current directory as the engines see it.
type Options struct {
	Dir           string              // the working directory; empty: the current one
	Workspace     string              // empty: TF_WORKSPACE, else the selected one, else "default"
	BackendConfig []string            // as given to the engines' -backend-config: NAME=VALUE, or a file relative to Dir
	Uncached      bool                // as the next init sees it: the configuration, even where there is a backend cache
	Getenv        func(string) string // nil: os.Getenv
}

// Backend is a backend "s3" with all its arguments, and the workspace in it.
type Backend struct {
	Type               string          // always "s3"
	Bucket             string          // its name, from the argument bucket
	Key                string          // of the default workspace's state
	WorkspaceKeyPrefix string          // "env:" unless configured; may be empty
	Workspace          string          // the selected one; "default" unless another is
	UseLockfile        bool            // use_lockfile
	DynamoDBTable      string          // dynamodb_table; empty: none
	DynamoDBEndpoint   string          // endpoints.dynamodb; empty: the environment's or AWS's
	S3                 s3bucket.Config // how the bucket is reached, from the other arguments
	Source             string          // the file that it was found in
	Initialized        bool            // it is what init left, and what engines go by

	beside []string // files that it names relative to its directory: they came with it
}

// Ref is the address of the workspace's state. Errors match [statelatch.ErrInvalid].
func (b Backend) Ref() (statelatch.Ref, error) {
	return statelatch.WorkspaceRef(b.Bucket, b.Key, b.WorkspaceKeyPrefix, b.Workspace)
}

// Load finds the backend. BackendConfig counts on top of either source, as it would at
// the next init. Every error matches [statelatch.ErrInvalid] and says what to do next.
func Load(opts Options) (Backend, error) {
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	dir, dataDir := opts.dirs()
	found, err := find(dir, dataDir, opts.Uncached)
	if err != nil {
		return Backend{}, err
	}
	if err := found.checkType(); err != nil {
		return Backend{}, err
	}
	overrides, err := readBackendConfig(dir, opts.BackendConfig)
	if err != nil {
		return Backend{}, err
	}
	for name, value := range overrides {
		found.args[name] = value
	}
	b, err := decode(found.args)
	if err != nil {
		return Backend{}, fmt.Errorf("%s: %w", found.source, err)
	}
	b.Type, b.Source, b.Initialized = found.kind, found.source, found.cached
	b.filesIn(dir)
	b.Workspace, err = workspace(opts, dataDir)
	if err != nil {
		return Backend{}, err
	}
	return b, nil
}

// dirs are the working and the data directory. Getenv must be set.
func (o Options) dirs() (dir, dataDir string) {
	dir = cmp.Or(o.Dir, ".")
	dataDir = cmp.Or(o.Getenv("TF_DATA_DIR"), ".terraform")
	if !filepath.IsAbs(dataDir) {
		dataDir = filepath.Join(dir, dataDir)
	}
	return dir, dataDir
}

// SelectedWorkspace is the workspace that engines work on, whatever the backend. Errors as for Load.
func SelectedWorkspace(opts Options) (string, error) {
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	_, dataDir := opts.dirs()
	return workspace(opts, dataDir)
}

// FromArguments is the backend of a type with these arguments, as an engine that works in dir has saved them in source.
// Nothing is read. Errors as for Load.
func FromArguments(kind string, args map[string]any, workspace, source, dir string) (Backend, error) {
	found := sourceOf(kind, args, source)
	if err := found.checkType(); err != nil {
		return Backend{}, err
	}
	b, err := decode(found.args)
	if err != nil {
		return Backend{}, fmt.Errorf("%s: %w", source, err)
	}
	if err := statelatch.ValidateWorkspace(workspace); err != nil {
		return Backend{}, fmt.Errorf("%s: %w", source, err)
	}
	b.Type, b.Source, b.Workspace, b.Initialized = kind, source, workspace, true
	b.filesIn(dir)
	return b, nil
}

// ForRef is the backend of a state that was named outright: nothing but
// opts.BackendConfig is read, and ref wins over a bucket or key in it. Errors as for Load.
func ForRef(ref statelatch.Ref, opts Options) (Backend, error) {
	args, err := readBackendConfig(cmp.Or(opts.Dir, "."), opts.BackendConfig)
	if err != nil {
		return Backend{}, err
	}
	args["bucket"], args["key"] = ref.Bucket, ref.Key
	b, err := decode(args)
	if err != nil {
		return Backend{}, fmt.Errorf("-backend-config: %w", err)
	}
	b.Type, b.Source, b.Workspace = "s3", ref.String(), statelatch.DefaultWorkspace
	return b, nil
}

// ForBucket is the backend of a whole bucket that was named outright: as ForRef, without a key.
func ForBucket(name string, opts Options) (Backend, error) {
	args, err := readBackendConfig(cmp.Or(opts.Dir, "."), opts.BackendConfig)
	if err != nil {
		return Backend{}, err
	}
	args["bucket"], args["key"] = name, "-"
	b, err := decode(args)
	if err != nil {
		return Backend{}, fmt.Errorf("-backend-config: %w", err)
	}
	b.Type, b.Source, b.Key, b.Workspace = "s3", "s3://"+name, "", statelatch.DefaultWorkspace
	return b, nil
}

// source is one place that names a backend.
type source struct {
	kind   string // its type, or one of those below
	args   arguments
	source string
	cached bool // it is what init left
}

// What stands in a configuration or a cache instead of a backend.
const (
	kindCloud      = "cloud"
	kindStateStore = "state_store"
)

// find returns the first source that says something about the backend.
func find(dir, dataDir string, uncached bool) (source, error) {
	if !uncached {
		cached, err := readCache(filepath.Join(dataDir, "terraform.tfstate"))
		if err != nil || cached.kind != "" {
			cached.cached = true
			return cached, err
		}
	}
	configured, err := readConfiguration(dir)
	if err != nil || configured.kind != "" {
		return configured, err
	}
	shown := dir
	if abs, err := filepath.Abs(dir); err == nil {
		shown = abs
	}
	return source{}, elsewhereError("%w directory %s: no Terraform or OpenTofu backend is configured in it; "+
		"give s3://BUCKET/KEY (or s3://BUCKET, where a whole bucket is meant), or run `terraform init` (or `tofu init`) in "+
		"the directory that has a backend \"s3\" block", statelatch.ErrInvalid, shown)
}

func sourceOf(kind string, args map[string]any, from string) source {
	return source{kind: kind, args: args, source: from}
}

// elsewhere is an error about a directory whose state is not in S3.
type elsewhere struct{ error }

func (e elsewhere) Unwrap() error { return e.error }

func elsewhereError(format string, args ...any) error { return elsewhere{fmt.Errorf(format, args...)} }

// IsElsewhere reports whether err tells that a directory has no backend "s3" at all: another one, or none.
func IsElsewhere(err error) bool { return errors.As(err, new(elsewhere)) }

func (s source) checkType() error {
	const next = "Statelatch works on backend \"s3\"; give s3://BUCKET/KEY, or the directory of such a backend"
	switch s.kind {
	case "s3":
		return nil
	case kindCloud:
		return elsewhereError("%w backend: %s keeps the state in HCP Terraform (a cloud block); %s", statelatch.ErrInvalid,
			s.source, next)
	case kindStateStore:
		return elsewhereError("%w backend: %s keeps the state with a provider (state_store); %s", statelatch.ErrInvalid,
			s.source, next)
	}
	return elsewhereError("%w backend %q: this is what %s uses; %s", statelatch.ErrInvalid, s.kind, s.source, next)
}

// workspace applies the engines' order, and unlike them checks the name from every source.
func workspace(opts Options, dataDir string) (string, error) {
	name, from := opts.Workspace, "the workspace given"
	if name == "" {
		name, from = opts.Getenv("TF_WORKSPACE"), "TF_WORKSPACE"
	}
	if name == "" {
		file := filepath.Join(dataDir, "environment")
		data, err := treefile.Read(file, treefile.MaxSize)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%w workspace file: %w", statelatch.ErrInvalid, err)
		}
		name, from = strings.TrimSpace(string(data)), file
	}
	name = cmp.Or(name, statelatch.DefaultWorkspace)
	if err := statelatch.ValidateWorkspace(name); err != nil {
		return "", fmt.Errorf("%s: %w", from, err)
	}
	return name, nil
}
