package s3bucket

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
)

// harmless variables say nothing about how to reach a bucket, or nothing that is needed once there are credentials.
var harmless = []string{
	"AWS_EXECUTION_ENV", "AWS_PAGER", "AWS_DEFAULT_OUTPUT", "AWS_CREDENTIAL_EXPIRATION", "AWS_SESSION_EXPIRATION", "AWS_SECURITY_TOKEN",
	"AWS_VAULT", "AWS_SDK_LOAD_CONFIG", "AWS_ACCOUNT_ID", "AWS_USER_AGENT",
}

// Adopt fills in what is empty in c from the environment of another process, theirs, wherever that differs from ours,
// so that [Open] here finds the same bucket with the same rights. What cannot be carried over is an error that matches
// [statelatch.ErrInvalid] and names the variable. Both are lists as of os.Environ.
func (c *Config) Adopt(ours, theirs []string) error {
	our, their := connecting(ours), connecting(theirs)
	differ := map[string]bool{}
	for _, env := range []map[string]string{our, their} {
		for name := range env {
			if our[name] != their[name] && !slices.Contains(harmless, name) {
				differ[name] = true
			}
		}
	}
	if len(differ) == 0 {
		return nil
	}
	credentials := c.AccessKey != "" || c.Profile != "" || c.AssumeRoleWithWebIdentity != nil
	if !credentials {
		switch {
		case their["AWS_ACCESS_KEY_ID"] != "" && their["AWS_SECRET_ACCESS_KEY"] != "":
			c.AccessKey, c.SecretKey, c.Token = their["AWS_ACCESS_KEY_ID"], their["AWS_SECRET_ACCESS_KEY"], their["AWS_SESSION_TOKEN"]
			credentials = true
		case their["AWS_PROFILE"] != "":
			c.Profile, credentials = their["AWS_PROFILE"], true
		case their["AWS_WEB_IDENTITY_TOKEN_FILE"] != "":
			c.AssumeRoleWithWebIdentity = &AssumeRoleWithWebIdentity{
				RoleARN: their["AWS_ROLE_ARN"], SessionName: their["AWS_ROLE_SESSION_NAME"], WebIdentityTokenFile: their["AWS_WEB_IDENTITY_TOKEN_FILE"],
			}
			credentials = true
		}
	}
	if credentials {
		for _, name := range []string{
			"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE",
			"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME",
		} {
			delete(differ, name)
		}
	}
	for _, v := range []struct {
		field *string
		names []string // the first that is set counts
	}{
		{&c.Region, []string{"AWS_REGION", "AWS_DEFAULT_REGION"}},
		{&c.Endpoints.S3, []string{"AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT"}},
		{&c.Endpoints.STS, []string{"AWS_ENDPOINT_URL_STS", "AWS_STS_ENDPOINT"}},
		{&c.CustomCABundle, []string{"AWS_CA_BUNDLE"}},
		{&c.HTTPProxy, []string{"HTTP_PROXY"}},
		{&c.HTTPSProxy, []string{"HTTPS_PROXY"}},
		{&c.NoProxy, []string{"NO_PROXY"}},
		{&c.SSECustomerKey, []string{"AWS_SSE_CUSTOMER_KEY"}},
	} {
		for _, name := range v.names {
			if *v.field == "" && differ[name] {
				*v.field = their[name]
			}
		}
		if *v.field != "" {
			for _, name := range v.names {
				delete(differ, name)
			}
		}
	}
	for name, field := range map[string]*[]string{
		"AWS_SHARED_CREDENTIALS_FILE": &c.SharedCredentialsFiles, "AWS_CONFIG_FILE": &c.SharedConfigFiles,
	} {
		if len(*field) == 0 && differ[name] && their[name] != "" {
			*field = []string{their[name]}
		}
		if len(*field) > 0 {
			delete(differ, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(differ)) {
		return fmt.Errorf("%w environment: %s is not what it is here, and how to reach the bucket depends on it", statelatch.ErrInvalid, name)
	}
	return nil
}

// SameStore reports whether nothing that differs between two environments can lead to another store than c's: one with
// a bucket of the same name. Lists as for [Config.Adopt], after it.
func (c Config) SameStore(ours, theirs []string) bool {
	our, their := connecting(ours), connecting(theirs)
	return c.Endpoints.S3 != "" || !slices.ContainsFunc([]string{
		"AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
		"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", // a profile can name an endpoint
	}, func(name string) bool { return our[name] != their[name] })
}

// connecting is what of an environment says how to reach a bucket. Proxies are known by upper and lower case names.
func connecting(env []string) map[string]string {
	found := map[string]string{}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		upper := strings.ToUpper(name)
		switch {
		case strings.HasPrefix(upper, "AWS_"):
			found[name] = value
		case strings.HasSuffix(upper, "_PROXY") && value != "":
			found[upper] = value
		}
	}
	return found
}
