package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/backendconf/terragrunt"
	"github.com/statelatch/statelatch/internal/trust"
)

// trustVariable says that whoever runs the program has looked at what it is run on.
const trustVariable = "STATELATCH_TRUST_DIRECTORY"

// trust asks, once for a directory and what it says, before a checkout decides about more than a bucket of AWS: an
// endpoint of its own, a program that a file in it names. Engines do as they are told, at init; so does this program
// where nobody is there to be asked, and says so.
func (o targetOptions) trust(ctx context.Context, term terminal, backend backendconf.Backend) error {
	if o.ref != "" {
		return nil
	}
	return trustDirectory(ctx, term, cmp.Or(o.chdir, "."), backend, o.backendConfig)
}

// trustDirectory is trust for the backend of a directory, of which given was typed.
func trustDirectory(ctx context.Context, term terminal, dir string, backend backendconf.Backend, given []string) error {
	tree, err := terragrunt.TreeOf(dir)
	if err != nil {
		return err
	}
	typed, err := backendconf.ParseArguments(dir, given)
	if err != nil {
		return err
	}
	var says, files []string
	local := true
	for _, r := range backend.Reaches(tree, term.Getenv, typed) {
		says, local = append(says, r.What), local && r.Local
		if r.File {
			files = append(files, r.Target)
		}
	}
	return askTrust(ctx, term, dir, says, files, local)
}

// askTrust asks whether dir may do what it says. The content of files belongs to the question. Quiet is for what needs
// no warning where nobody can be asked.
func askTrust(ctx context.Context, term terminal, dir string, says, files []string, quiet bool) error {
	if ok, _ := strconv.ParseBool(term.Getenv(trustVariable)); ok || len(says) == 0 {
		return nil
	}
	q, err := trust.Of(term.Getenv, dir, says, files)
	if err != nil || q.Answered() {
		return err
	}
	var list strings.Builder
	fmt.Fprintf(&list, "this configuration decides about more than a bucket.\nIn %s", statelatch.Printable(q.Dir))
	for _, what := range says {
		fmt.Fprintf(&list, "\n  it %s", statelatch.Printable(what))
	}
	switch {
	case term.Interactive:
		if err := term.Confirm(ctx, "Before anything is sent: "+list.String()+
			"\nGo on only if you trust whoever wrote it. The answer is remembered until any of this changes.", ""); err != nil {
			return err
		}
		if err := q.Remember(); err != nil {
			term.Say("Warning: the answer will not be remembered: %v\n", err)
		}
	case !quiet:
		term.Say("Warning: %s\n%s=1 says that you know.\n", list.String(), trustVariable)
	}
	q.Settle()
	return nil
}

// allow asks before terragrunt runs what the unit in the working directory says.
func (o targetOptions) allow(ctx context.Context, term terminal, why *terragrunt.UnknownError, files []string) error {
	says := []string{"makes terragrunt run what it names: " + why.Because.String()}
	if err := askTrust(ctx, term, cmp.Or(o.chdir, "."), says, files, true); err != nil {
		return err
	}
	term.Say("Asking terragrunt for the backend of this unit, because of %s\n", why.Because)
	return nil
}
