package s3bucket

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
)

// Environ is what a process finds its bucket by: its variables, as of os.Environ, and its working directory, which
// relative names of files count from.
type Environ struct {
	Vars []string // NAME=value each
	Dir  string   // absolute
}

// harmless variables say nothing about how to reach a bucket, or nothing that is needed once there are credentials.
var harmless = []string{
	"AWS_EXECUTION_ENV", "AWS_PAGER", "AWS_DEFAULT_OUTPUT", "AWS_CREDENTIAL_EXPIRATION", "AWS_SESSION_EXPIRATION",
	"AWS_SECURITY_TOKEN",
	"AWS_VAULT", "AWS_SDK_LOAD_CONFIG", "AWS_ACCOUNT_ID", "AWS_USER_AGENT", "AWS_SDK_UA_APP_ID",
}

// Variables that mean the same, the first that is set counts.
var (
	profileVars     = []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE"}
	accessKeyVars   = []string{"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"}
	secretKeyVars   = []string{"AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"}
	tokenVars       = []string{"AWS_SESSION_TOKEN"}
	webIdentityVars = []string{"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME"}
)

// homeVariable is what the SDK finds the home directory by. On Windows shells set HOME, too, which says nothing.
var homeVariable = map[bool]string{false: "HOME", true: "USERPROFILE"}[runtime.GOOS == "windows"]

// Adopt fills in what is empty in c from the environment of another process, theirs, wherever that differs from ours,
// so that [Open] here finds the same bucket with the same rights. It reads the shared files that differ by name. What
// cannot be carried over is an error that matches [statelatch.ErrInvalid] and names the variable.
func (c *Config) Adopt(ours, theirs Environ) error {
	d := compare(ours, theirs)
	c.atTheirHome(d)
	if err := c.adoptFiles(d); err != nil {
		return err
	}
	c.adoptCredentials(d)
	for _, v := range []struct {
		field *string
		names []string
	}{
		{&c.Region, regionVars},
		{&c.Endpoints.S3, endpointVars},
		{&c.Endpoints.STS, []string{"AWS_ENDPOINT_URL_STS", "AWS_STS_ENDPOINT"}},
		{&c.HTTPProxy, []string{"HTTP_PROXY"}},
		{&c.HTTPSProxy, []string{"HTTPS_PROXY"}},
		{&c.NoProxy, []string{"NO_PROXY"}},
		{&c.SSECustomerKey, []string{"AWS_SSE_CUSTOMER_KEY"}},
	} {
		d.adopt(v.field, v.names...)
	}
	for _, name := range slices.Sorted(maps.Keys(d.differ)) {
		return fmt.Errorf("%w environment: %s is not what it is here, and how to reach the bucket depends on it",
			statelatch.ErrInvalid, name)
	}
	return nil
}

// The variables that say where a bucket is; the first that is set counts.
var (
	regionVars   = []string{"AWS_REGION", "AWS_DEFAULT_REGION"}
	endpointVars = []string{"AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT"}
)

// Where is the region and the endpoint that [Open] takes, as far as c and the environment tell: shared files are not
// read. They are empty where neither tells.
func (c Config) Where(getenv func(string) string) (region, endpoint string) {
	region, endpoint = c.Region, c.Endpoints.S3
	for _, name := range regionVars {
		region = cmp.Or(region, getenv(name))
	}
	for _, name := range append(endpointVars[:len(endpointVars):len(endpointVars)], "AWS_ENDPOINT_URL") {
		endpoint = cmp.Or(endpoint, getenv(name))
	}
	return region, endpoint
}

// SameStore reports whether nothing that differs between two environments can lead to another store than c's: one with
// a bucket of the same name. It is asked after [Config.Adopt], which has failed.
func (c Config) SameStore(ours, theirs Environ) bool {
	for name := range compare(ours, theirs).differ {
		proxy := strings.HasSuffix(name, "_PROXY")
		if c.Endpoints.S3 != "" && !proxy || aboutRights(name) {
			continue
		}
		return false
	}
	return true
}

// aboutRights reports whether a variable can say no more than who asks, or how a request is made: not where it goes.
func aboutRights(name string) bool {
	for _, prefix := range []string{"AWS_CONTAINER_", "AWS_EC2_METADATA_", "AWS_STS_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	if strings.HasPrefix(name, "AWS_ENDPOINT_URL_") && name != "AWS_ENDPOINT_URL_S3" {
		return true
	}
	return slices.Contains(slices.Concat(accessKeyVars, secretKeyVars, tokenVars, webIdentityVars, []string{
		"AWS_WEB_IDENTITY_TOKEN", "AWS_METADATA_URL", "AWS_SSE_CUSTOMER_KEY", "AWS_CA_BUNDLE", "AWS_MAX_ATTEMPTS",
		"AWS_RETRY_MODE",
		"AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION", "AWS_USE_DUALSTACK_ENDPOINT",
		"AWS_USE_FIPS_ENDPOINT",
	}), name)
}

// difference is two environments, and the variables in which they differ and which are not dealt with yet.
type difference struct {
	ours, theirs Environ
	our, their   map[string]string
	differ       map[string]bool
}

func compare(ours, theirs Environ) difference {
	d := difference{ours, theirs, connecting(ours.Vars), connecting(theirs.Vars), map[string]bool{}}
	for _, env := range []map[string]string{d.our, d.their} {
		for name := range env {
			if d.our[name] != d.their[name] && !slices.Contains(harmless, name) && name != homeVariable {
				d.differ[name] = true
			}
		}
	}
	for _, f := range sharedFiles {
		d.settle(f.names...)
		if our, their := f.path(d.our, ours.Dir), f.path(d.their, theirs.Dir); our != their && !sameContent(our, their) {
			d.differ[f.names[0]] = true
		}
	}
	for _, name := range []string{"AWS_CA_BUNDLE", "AWS_WEB_IDENTITY_TOKEN_FILE"} { // the same name can be another file
		if our, their := absolute(ours.Dir, d.our[name]), absolute(theirs.Dir, d.their[name]); our != their {
			d.differ[name] = true
		}
	}
	return d
}

// adopt takes over what the first of names that is set says, unless both say the same, or field has its own.
func (d difference) adopt(field *string, names ...string) {
	if their := first(d.their, names); *field == "" && their != first(d.our, names) {
		*field = their
		if their == "" {
			return // nothing can be taken back here
		}
	}
	d.settle(names...)
}

func (d difference) settle(names ...string) {
	for _, name := range names {
		delete(d.differ, name)
	}
}

func first(env map[string]string, names []string) string {
	for _, name := range names {
		if env[name] != "" {
			return env[name]
		}
	}
	return ""
}

// sharedFiles are the two files that the SDK reads: either can name endpoints.
var sharedFiles = []sharedFile{
	{
		[]string{"AWS_CONFIG_FILE", "AWS_SHARED_CONFIG_FILE"},
		".aws/config",
		func(c *Config) *[]string { return &c.SharedConfigFiles },
	},
	{
		[]string{"AWS_SHARED_CREDENTIALS_FILE"},
		".aws/credentials",
		func(c *Config) *[]string { return &c.SharedCredentialsFiles },
	},
}

type sharedFile struct {
	names []string // the last that is set counts
	below string   // home
	field func(*Config) *[]string
}

// path is the file that an environment means; empty: none can be told.
func (f sharedFile) path(env map[string]string, dir string) string {
	for _, name := range slices.Backward(f.names) {
		if env[name] != "" {
			return absolute(dir, env[name])
		}
	}
	if home := homeOf(env); home != "" {
		return filepath.Join(home, f.below)
	}
	return ""
}

// homeOf is the home directory that the SDK looks in.
func homeOf(env map[string]string) string {
	if home := env[homeVariable]; home != "" {
		return home
	}
	if u, err := user.Current(); err == nil {
		return u.HomeDir
	}
	return ""
}

// adoptFiles names the files of the other environment where they are not ours.
func (c *Config) adoptFiles(d difference) error {
	for _, f := range sharedFiles {
		field, their := f.field(c), f.path(d.their, d.theirs.Dir)
		if len(*field) == 0 && d.differ[f.names[0]] && their != "" {
			if homeOf(d.our) != homeOf(d.their) && logsIn(their) {
				return fmt.Errorf("%w environment: %s is not what it is here, and %s uses a login that is kept there",
					statelatch.ErrInvalid, homeVariable, their)
			}
			*field = []string{their}
		}
		if len(*field) > 0 {
			d.settle(f.names...)
		}
	}
	if name := "AWS_CA_BUNDLE"; d.differ[name] {
		if c.CustomCABundle == "" {
			c.CustomCABundle = absolute(d.theirs.Dir, d.their[name])
		}
		if c.CustomCABundle != "" {
			d.settle(name)
		}
	}
	return nil
}

// atTheirHome expands the names of files that a backend has below "~".
func (c *Config) atTheirHome(d difference) {
	home := homeOf(d.their)
	if home == "" || home == homeOf(d.our) {
		return
	}
	expand := func(path *string) {
		if rest, ok := strings.CutPrefix(*path, "~/"); ok {
			*path = filepath.Join(home, rest)
		}
	}
	c.SharedConfigFiles, c.SharedCredentialsFiles = slices.Clone(c.SharedConfigFiles),
		slices.Clone(c.SharedCredentialsFiles)
	for _, files := range [][]string{c.SharedConfigFiles, c.SharedCredentialsFiles} {
		for i := range files {
			expand(&files[i])
		}
	}
	expand(&c.CustomCABundle)
	if w := c.AssumeRoleWithWebIdentity; w != nil {
		other := *w
		expand(&other.WebIdentityTokenFile)
		c.AssumeRoleWithWebIdentity = &other
	}
}

// adoptCredentials takes over who asks. A profile says where the store is, too, so it is taken over beside keys.
func (c *Config) adoptCredentials(d difference) {
	own := c.AccessKey != "" || c.Profile != "" || c.AssumeRoleWithWebIdentity != nil
	d.adopt(&c.Profile, profileVars...)
	rights := slices.Concat(accessKeyVars, secretKeyVars, tokenVars, webIdentityVars)
	if !own && c.Profile == "" && !slices.ContainsFunc(rights, func(name string) bool { return d.differ[name] }) {
		return
	}
	id, secret, tokenFile := first(d.their, accessKeyVars), first(d.their, secretKeyVars),
		d.their["AWS_WEB_IDENTITY_TOKEN_FILE"]
	switch {
	case own:
	case id != "" && secret != "":
		c.AccessKey, c.SecretKey, c.Token = id, secret, first(d.their, tokenVars)
	case tokenFile != "":
		c.AssumeRoleWithWebIdentity = &AssumeRoleWithWebIdentity{
			RoleARN: d.their["AWS_ROLE_ARN"], SessionName: d.their["AWS_ROLE_SESSION_NAME"],
			WebIdentityTokenFile: absolute(d.theirs.Dir, tokenFile),
		}
	case c.Profile == "":
		return // nothing can be taken back here
	}
	d.settle(rights...)
}

// connecting is what of an environment says how to reach a bucket. Proxies are known by upper and lower case names.
func connecting(env []string) map[string]string {
	found := map[string]string{}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		upper := strings.ToUpper(name)
		switch {
		case strings.HasPrefix(upper, "AWS_"), name == homeVariable:
			found[name] = value
		case strings.HasSuffix(upper, "_PROXY") && value != "":
			found[upper] = value
		}
	}
	return found
}

func absolute(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// sameContent reports whether two files say the same, as far as can be told. One that cannot be read is as none.
func sameContent(a, b string) bool { return a == b || bytes.Equal(sharedContent(a), sharedContent(b)) }

// logsIn reports whether a file of profiles rests on a login, whose tokens are in the home directory.
func logsIn(path string) bool {
	content := sharedContent(path)
	return bytes.Contains(content, []byte("sso_")) || bytes.Contains(content, []byte("login_session"))
}

// sharedContent is what is in a file of the SDK. A pipe or a device is not waited for.
func sharedContent(path string) []byte {
	info, err := os.Stat(cmp.Or(path, os.DevNull))
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxNamedFile {
		return nil
	}
	content, _ := os.ReadFile(path)
	return content
}
