package wrap_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/shim"
	"github.com/statelatch/statelatch/site"
	"github.com/statelatch/statelatch/wrap"
)

// A program that runs terraform, or whatever starts it, under the lock of a directory's state.
func ExampleRun() {
	if code, ok := shim.Main(os.Args); ok { // first of all in main: engines below meet this very program
		os.Exit(code)
	}
	ctx := context.Background()
	s, ref, err := site.Dir(ctx, "infra/prod", site.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	result, err := wrap.Run(ctx, wrap.Options{
		States:  []wrap.State{{Site: s, Ref: ref}},
		Command: []string{"make", "deploy"},
		Stdin:   os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Request: lock.Request{Operation: "deploy", Who: "ann@laptop", TTL: 2 * time.Minute, Wait: 10 * time.Minute},
	})
	if errors.Is(err, statelatch.ErrLockLost) {
		fmt.Println("it was stopped:", err)
	}
	fmt.Println("exit code", result.ExitCode, err)
}
