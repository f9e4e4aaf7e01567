package backendconf

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// Block is a backend as a configuration or a cache has it, of any type.
type Block struct {
	Type   string         // such as "s3"; "cloud" or "state_store" where those stand in its place; empty: there is none
	Args   map[string]any // of backend "s3": what JSON knows, numbers as json.Number
	Source string         // the file
}

func (s source) block() Block { return Block{Type: s.kind, Args: s.args, Source: s.source} }

// ReadBlock reads the backend block of the configuration files in dir. Errors match [statelatch.ErrInvalid].
func ReadBlock(dir string) (Block, error) {
	found, err := readConfiguration(dir)
	return found.block(), err
}

// ReadCache reads the backend cache in an engine's data directory. Errors match [statelatch.ErrInvalid].
func ReadCache(dataDir string) (Block, error) {
	found, err := readCache(filepath.Join(dataDir, "terraform.tfstate"))
	return found.block(), err
}

// ParseBlock reads the backend block in a configuration file's text; name is how errors call it. Errors match
// [statelatch.ErrInvalid].
func ParseBlock(text []byte, name string) (Block, error) {
	body, err := ParseHCL(text, name)
	if err != nil {
		return Block{}, err
	}
	found, err := backendIn(body, name)
	return found.block(), err
}

// ParseArguments reads the values of -backend-config, later ones over earlier ones; files are relative to dir. Errors
// match [statelatch.ErrInvalid].
func ParseArguments(dir string, items []string) (map[string]any, error) {
	return readBackendConfig(cmp.Or(dir, "."), items)
}

// FromBlock is the backend of a block, with opts.BackendConfig on top and opts.Workspace, which must be given, in it.
// Of opts.Dir only the files of -backend-config are read. Errors as for Load.
func FromBlock(block Block, opts Options) (Backend, error) {
	found := source{kind: block.Type, source: block.Source}
	if err := found.checkType(); err != nil {
		return Backend{}, err
	}
	args := arguments{}
	maps.Copy(args, block.Args)
	given, err := ParseArguments(opts.Dir, opts.BackendConfig)
	if err != nil {
		return Backend{}, err
	}
	maps.Copy(args, given)
	b, err := decode(args)
	if err != nil {
		return Backend{}, fmt.Errorf("%s: %w", block.Source, err)
	}
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	b.Type, b.Source = block.Type, block.Source
	b.filesIn(cmp.Or(opts.Dir, "."))
	b.Workspace, err = workspace(opts, "")
	return b, err
}

// filesIn makes the files that b names those that an engine in dir would read, and remembers which it named from there.
func (b *Backend) filesIn(dir string) {
	in := func(file string) string {
		if file == "" || filepath.IsAbs(file) || strings.HasPrefix(file, "~") {
			return file
		}
		if dir != "." {
			file = filepath.Join(dir, file)
		}
		b.beside = append(b.beside, file)
		return file
	}
	for _, files := range [...][]string{b.S3.SharedConfigFiles, b.S3.SharedCredentialsFiles} {
		for i := range files {
			files[i] = in(files[i])
		}
	}
	b.S3.CustomCABundle = in(b.S3.CustomCABundle)
	if w := b.S3.AssumeRoleWithWebIdentity; w != nil {
		w.WebIdentityTokenFile = in(w.WebIdentityTokenFile)
	}
}
