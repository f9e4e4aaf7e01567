package main

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/internal/cliargs"
	"github.com/urfave/cli/v3"
)

// envBucket names the bucket that a KEY alone is in, and the one that is meant where no working directory decides.
const envBucket = "STATELATCH_BUCKET"

// wayOptions say how to reach a bucket. They count more than any configuration.
type wayOptions struct{ profile, region, endpoint string }

func wayOf(c *cli.Command) wayOptions {
	return wayOptions{c.String("profile"), c.String("region"), c.String("endpoint")}
}

// words are the flags again, for the next command. A password in the endpoint is not among them.
func (w wayOptions) words() (words []string) {
	endpoint := w.endpoint
	if u, err := url.Parse(endpoint); err == nil && u.User != nil {
		endpoint = "..."
	}
	for _, f := range [...]struct{ name, value string }{
		{"-profile", w.profile},
		{"-region", w.region},
		{"-endpoint", endpoint},
	} {
		if f.value != "" {
			words = append(words, f.name, f.value)
		}
	}
	return words
}

// reach puts what the flags say into a backend.
func (o targetOptions) reach(b *backendconf.Backend) {
	b.S3.ExpectedBucketOwner = o.owner
	if o.way.profile != "" { // keys beside it would count more
		b.S3.Profile, b.S3.AccessKey, b.S3.SecretKey, b.S3.Token = o.way.profile, "", "", ""
	}
	b.S3.Region = cmp.Or(o.way.region, b.S3.Region)
	b.S3.Endpoints.S3 = cmp.Or(o.way.endpoint, b.S3.Endpoints.S3)
}

// without are the flags but for some.
func without(flags []cli.Flag, names ...string) []cli.Flag {
	return slices.DeleteFunc(flags, func(f cli.Flag) bool { return slices.Contains(names, f.Names()[0]) })
}

// bucketNamed is the bucket of the environment.
func bucketNamed(getenv func(string) string) string {
	return strings.TrimSuffix(strings.TrimPrefix(getenv(envBucket), "s3://"), "/")
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
