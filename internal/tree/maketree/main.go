// Command maketree writes the tree of configurations of package tree: go run ./internal/tree/maketree DIR
package main

import (
	"fmt"
	"os"

	"github.com/statelatch/statelatch/internal/tree"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: maketree DIR")
		os.Exit(2)
	}
	truth, err := tree.Write(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%d roots\n", len(truth.Roots))
}
