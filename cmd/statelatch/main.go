// Command statelatch locks Terraform and OpenTofu state in S3 buckets, and is such a bucket.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args, terminalOf(os.Stdin, os.Stdout, os.Stderr)))
}
