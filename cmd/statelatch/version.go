package main

import (
	"context"
	"runtime/debug"

	"github.com/urfave/cli/v3"
)

// release is the version of a release build, set by the linker.
var release = ""

// version is the release, else what the Go toolchain recorded, else "dev".
func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

func versionCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "version",
		Usage:     "print the version",
		UsageText: "statelatch version",
		Action: func(context.Context, *cli.Command) error {
			term.print("statelatch %s\n", version())
			return nil
		},
	}
}
