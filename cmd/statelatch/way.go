package main

import (
	"slices"

	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/urfave/cli/v3"
)

// wayOptions say how to reach a bucket. They count more than any configuration.
type wayOptions struct{ profile, region, endpoint string }

func wayOf(c *cli.Command) wayOptions {
	return wayOptions{c.String("profile"), c.String("region"), c.String("endpoint")}
}

// without are the flags but for some.
func without(flags []cli.Flag, names ...string) []cli.Flag {
	return slices.DeleteFunc(flags, func(f cli.Flag) bool { return slices.Contains(names, f.Names()[0]) })
}

// bucketKey is where the root keeps the environment's bucket.
const bucketKey = "bucket"

// wholeRef puts the environment's bucket before a KEY or PREFIX that is alone.
func wholeRef(c *cli.Command, ref string) string {
	name, _ := c.Root().Metadata[bucketKey].(string)
	return cliargs.InBucket(name, ref)
}

// wholeRefs are the command's arguments.
func wholeRefs(c *cli.Command) []string {
	refs := slices.Clone(c.Args().Slice())
	for i := range refs {
		refs[i] = wholeRef(c, refs[i])
	}
	return refs
}
