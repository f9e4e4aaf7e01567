package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/statelatch/statelatch/embedded/local"
)

// runServeEnv prints what sets up a shell for a running store. On stdout is nothing but that, and nothing at all on
// failure.
func runServeEnv(ctx context.Context, o serveOptions, term terminal) error {
	var err error
	start := "statelatch serve" + o.dataFlag()
	if o.data, err = o.dataDir(term.Getenv); err != nil {
		return err
	}
	r, err := local.Find(ctx, o.data)
	switch {
	case errors.Is(err, local.ErrNotRunning):
		return fmt.Errorf("%w on -data %s: start it in another terminal with '%s'", err, o.data, start)
	case err != nil:
		return fmt.Errorf("%w: start the store again", err)
	case !r.OwnKeys && (term.Getenv(envAccessKey) == "" || term.Getenv(envSecretKey) == ""):
		return fmt.Errorf("the store on %s was started with %s and %s: export them in this shell too, then run this again",
			o.data, envAccessKey, envSecretKey)
	}
	var b strings.Builder
	for _, v := range r.Environment(o.data, [2]string{envAccessKey, envSecretKey}, term.Getenv) {
		switch {
		case v.Of != "":
			fmt.Fprintf(&b, "export %s=\"$%s\"\n", v.Name, v.Of)
		case v.Value == "":
			fmt.Fprintf(&b, "unset %s\n", v.Name)
		default:
			fmt.Fprintf(&b, "export %s=%s\n", v.Name, shellQuote(v.Value))
		}
	}
	term.Print("%s", b.String())
	return nil
}

// envCommand is how a shell is set up for this store: as short as it works there.
func (o serveOptions) envCommand(getenv func(string) string) string {
	program := "statelatch"
	if _, err := exec.LookPath(program); err != nil {
		if self, err := os.Executable(); err == nil {
			program = shellQuote(self)
		}
	}
	if d, err := (serveOptions{}).dataDir(getenv); err == nil && d == o.data {
		return program + " serve -env"
	}
	return program + " serve -env" + o.dataFlag()
}

func (o serveOptions) dataFlag() string {
	if o.data == "" {
		return ""
	}
	return " -data " + shellQuote(o.data)
}
