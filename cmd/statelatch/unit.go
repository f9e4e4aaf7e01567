package main

import (
	"cmp"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/backendconf/terragrunt"
)

// load finds the backend of the working directory: as terragrunt sees it in a unit, else as engines do.
func (o targetOptions) load(ctx context.Context, term terminal) (backendconf.Backend, error) {
	dir := cmp.Or(o.chdir, ".")
	if terragrunt.UnitFile(dir, term.LookupEnv) == "" && !terragrunt.IsStack(dir) {
		return backendconf.Load(backendconf.Options{Dir: o.chdir, BackendConfig: o.backendConfig, Getenv: term.Getenv})
	}
	opts := terragrunt.Options{Dir: dir, BackendConfig: o.backendConfig, LookupEnv: term.LookupEnv}
	backend, err := terragrunt.Resolve(opts)
	var unknown *terragrunt.UnknownError
	if !errors.As(err, &unknown) {
		return backend, err
	}
	program, lookErr := exec.LookPath("terragrunt")
	if lookErr != nil {
		return backend, err
	}
	return o.render(ctx, term, opts, program, unknown)
}

// rendered are the answers of terragrunt in this process: it runs what the unit says, and a command asks more than
// once.
var rendered sync.Map

type renderedUnit struct {
	backend backendconf.Backend
	err     error
}

// render asks terragrunt itself.
func (o targetOptions) render(
	ctx context.Context, term terminal, opts terragrunt.Options, program string, why *terragrunt.UnknownError,
) (backendconf.Backend, error) {
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return backendconf.Backend{}, err
	}
	key := strings.Join(append([]string{dir, term.Getenv("TF_WORKSPACE")}, o.backendConfig...), "\x00")
	if answer, ok := rendered.Load(key); ok {
		a := answer.(renderedUnit)
		return a.backend, a.err
	}
	unit, _ := terragrunt.Evaluate(opts) // for the files that it read
	if err := askTrust(ctx, term, dir, []string{"makes terragrunt run what it names: " + why.Because.String()}, unit.Files,
		true); err != nil {
		return backendconf.Backend{}, err
	}
	term.Say("Asking terragrunt for the backend of this unit, because of %s\n", why.Because)
	var a renderedUnit
	a.backend, a.err = terragrunt.Render(ctx, opts, program)
	rendered.Store(key, a)
	return a.backend, a.err
}
