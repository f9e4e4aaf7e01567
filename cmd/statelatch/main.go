// Command statelatch locks Terraform and OpenTofu state in S3 buckets, and is such a bucket.
package main

import (
	"context"
	"io"
	"log"
	"os"

	"github.com/statelatch/statelatch/internal/term"
	"github.com/statelatch/statelatch/shim"
)

func main() {
	if code, ok := shim.Main(os.Args); ok {
		os.Exit(code)
	}
	log.SetOutput(io.Discard) // net/http logs there what a broken proxy sends unasked, which may be of a state
	os.Exit(run(context.Background(), os.Args, term.Of(os.Stdin, os.Stdout, os.Stderr)))
}
