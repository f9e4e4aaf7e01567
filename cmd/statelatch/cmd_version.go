package main

import (
	"context"
	"runtime"
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

// buildJSON is what is known of this build.
type buildJSON struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Commit   string `json:"commit,omitempty"`
}

func versionCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "version",
		Usage:     "print the version",
		UsageText: "statelatch version [flags]",
		Flags:     []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print the result as JSON (docs/JSON.md)"}},
		Action: func(_ context.Context, c *cli.Command) error {
			if !c.Bool("json") {
				term.Print("statelatch %s\n", version())
				return nil
			}
			build := buildJSON{Version: version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						build.Commit = s.Value
					}
				}
			}
			return term.PrintJSON(build)
		},
	}
}
