package main

import (
	"os"
	"testing"

	"github.com/statelatch/statelatch/shim"
)

// TestMain lets this program be a shim, as main does.
func TestMain(m *testing.M) {
	if code, ok := shim.Main(os.Args); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}
