package terragrunt

import (
	"cmp"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/statelatch/statelatch/backendconf"
)

// rendered are the answers of terragrunt in this process, which runs what the unit says: a program asks more than once.
var rendered sync.Map

type renderedUnit struct {
	backend backendconf.Backend
	err     error
}

// Load finds the backend of a directory: as terragrunt sees it in a unit or a stack, else as engines do. What nobody
// but terragrunt knows it is asked for, where it is installed and allow, which learns why and which files decide what
// it runs, returns nil.
func Load(
	ctx context.Context, opts Options, allow func(why *UnknownError, files []string) error,
) (backendconf.Backend, error) {
	if dir := cmp.Or(opts.Dir, "."); UnitFile(dir, opts.LookupEnv) == "" && !IsStack(dir) {
		return backendconf.Load(backendconf.Options{
			Dir: opts.Dir, BackendConfig: opts.BackendConfig,
			Getenv: func(name string) string { return env(opts.LookupEnv, name) },
		})
	}
	opts.Dir = cmp.Or(opts.Dir, ".")
	backend, err := Resolve(opts)
	unknown, ok := errors.AsType[*UnknownError](err)
	if !ok {
		return backend, err
	}
	program, lookErr := exec.LookPath("terragrunt")
	if lookErr != nil {
		return backend, err
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return backendconf.Backend{}, err
	}
	key := strings.Join(append([]string{dir, env(opts.LookupEnv, "TF_WORKSPACE")}, opts.BackendConfig...), "\x00")
	if answer, ok := rendered.Load(key); ok {
		a := answer.(renderedUnit)
		return a.backend, a.err
	}
	unit, _ := Evaluate(opts) // for the files that it read
	if err := allow(unknown, unit.Files); err != nil {
		return backendconf.Backend{}, err
	}
	var a renderedUnit
	a.backend, a.err = Render(ctx, opts, program)
	rendered.Store(key, a)
	return a.backend, a.err
}
