package terragrunt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/statelatch/statelatch/internal/treefile"
)

const (
	maxFile  = 1 << 20 // bytes; a longer one is no configuration
	maxFiles = 2000    // of one evaluation
)

// errOutside is a file that exists and must not be read.
var errOutside = errors.New("it is outside of the tree")

// errTooMuch is work that no configuration needs.
var errTooMuch = errors.New("it is larger than a configuration can be")

// tree is what may be read.
type tree struct {
	root  string // as it was given
	real  string // with no symbolic link in it
	reads int
}

func newTree(root string) (*tree, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return nil, err
	}
	return &tree{root: abs, real: real}, nil
}

// read reads a regular file of the tree. A symbolic link in it may lead to another file of it.
func (t *tree) read(file string) ([]byte, error) {
	if t.reads++; t.reads > maxFiles {
		return nil, errTooMuch
	}
	real, err := filepath.EvalSymlinks(file)
	if err != nil {
		return nil, err
	}
	if !contains(t.real, real) {
		return nil, errOutside
	}
	return treefile.Read(real, maxFile)
}

// rel is how messages name a file.
func (t *tree) rel(file string) string {
	for _, root := range [...]string{t.root, t.real} {
		if contains(root, file) {
			if rel, err := filepath.Rel(root, file); err == nil {
				return filepath.ToSlash(rel)
			}
		}
	}
	return file
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// cause is an error about a file without its path.
func cause(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return fmt.Errorf("%w", err)
}
