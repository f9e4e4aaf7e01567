package backendconf

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/statelatch/statelatch/internal/lazyre"
)

// Reach is something that a backend makes a program do beyond asking AWS for a bucket: what whoever wrote the
// configuration decides about the machine that it is used on, and about the credentials there.
type Reach struct {
	Argument string // of the backend
	Target   string // a URL or a file
	File     bool   // Target is a file
	Local    bool   // Target is this machine
	What     string // for people, without the target's secrets
}

// Reaches are those of b, in a fixed order. Tree is the checkout that it was found in: files below it, and those that
// it names relative to its directory, are whoever's the checkout is. What the environment says itself is left out, by
// getenv, and so are the arguments named in given, which whoever runs the program has typed.
func (b Backend) Reaches(tree string, getenv func(string) string, given map[string]any) []Reach {
	var all []Reach
	add := func(r Reach) {
		name, _, _ := strings.Cut(r.Argument, ".")
		for _, name := range []string{name, oldNames[r.Argument]} {
			if _, typed := given[name]; typed {
				return
			}
		}
		if r.Target != "" {
			all = append(all, r)
		}
	}
	for _, e := range [...]struct{ name, url, service string }{
		{"endpoints.s3", b.S3.Endpoints.S3, "S3"},
		{"endpoints.sts", b.S3.Endpoints.STS, "STS"},
		{"endpoints.iam", b.S3.Endpoints.IAM, "IAM"},
		{"endpoints.sso", b.S3.Endpoints.SSO, "SSO"},
		{"endpoints.dynamodb", b.DynamoDBEndpoint, "DYNAMODB"},
		{"ec2_metadata_service_endpoint", b.S3.EC2MetadataServiceEndpoint, "EC2_METADATA_SERVICE"},
	} {
		known := []string{
			getenv("AWS_ENDPOINT_URL_" + e.service), getenv("AWS_" + e.service + "_ENDPOINT"),
			getenv("AWS_ENDPOINT_URL"),
		}
		same := func(own string) bool {
			return own != "" && strings.TrimSuffix(own, "/") == strings.TrimSuffix(e.url, "/")
		}
		if e.url == "" || slices.ContainsFunc(known, same) || isAWS(e.url) {
			continue
		}
		add(Reach{
			Argument: e.name, Target: e.url, Local: isLoopback(e.url),
			What: "sends requests that your credentials sign to " + redacted(e.url),
		})
	}
	for _, p := range [...]struct{ name, url string }{{"http_proxy", b.S3.HTTPProxy}, {"https_proxy", b.S3.HTTPSProxy}} {
		add(Reach{
			Argument: p.name, Target: p.url, Local: isLoopback(p.url),
			What: "sends requests through the proxy " + redacted(p.url),
		})
	}
	if b.S3.Insecure {
		add(Reach{Argument: "insecure", Target: "true", What: "takes any TLS certificate for the right one"})
	}
	for _, f := range [...]struct {
		name  string
		files []string
		what  string
	}{
		{"shared_config_files", b.S3.SharedConfigFiles, "reads %s, which can name a program to run (credential_process)"},
		{
			"shared_credentials_files", b.S3.SharedCredentialsFiles,
			"reads %s, which can name a program to run (credential_process)",
		},
		{"custom_ca_bundle", []string{b.S3.CustomCABundle}, "trusts the certificates in %s"},
	} {
		for _, file := range f.files {
			if below(tree, file) || slices.Contains(b.beside, file) {
				add(Reach{Argument: f.name, Target: file, File: true, What: fmt.Sprintf(f.what, file)})
			}
		}
	}
	if w := b.S3.AssumeRoleWithWebIdentity; w != nil {
		add(Reach{
			Argument: "assume_role_with_web_identity", Target: w.WebIdentityTokenFile, File: true,
			What: "sends the content of " + w.WebIdentityTokenFile + " as a token",
		})
	}
	return all
}

// oldNames are other names of arguments.
var oldNames = map[string]string{
	"endpoints.s3": "endpoint", "endpoints.sts": "sts_endpoint", "endpoints.iam": "iam_endpoint",
	"endpoints.dynamodb":       "dynamodb_endpoint",
	"shared_credentials_files": "shared_credentials_file",
}

// below reports whether a file is in the tree, also through a symbolic link at either end.
func below(tree, file string) bool {
	if file == "" || strings.HasPrefix(file, "~") {
		return false
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return true
	}
	if tree, err = filepath.Abs(tree); err != nil {
		return true
	}
	real := func(name string) string {
		if to, err := filepath.EvalSymlinks(name); err == nil {
			return to
		}
		return name
	}
	for _, pair := range [...][2]string{
		{tree, file},
		{real(tree), real(file)},
		{real(tree), filepath.Join(real(filepath.Dir(file)), filepath.Base(file))},
	} {
		if rel, err := filepath.Rel(pair[0], pair[1]); err == nil && filepath.IsLocal(rel) {
			return true
		}
	}
	return false
}

// awsService is what the host of an endpoint of AWS has before the domain. Others have hosts there, too: machines, load
// balancers and functions of whoever rents them.
var awsService = lazyre.New(`^(?:(?:(?:bucket|accesspoint|control)\.)?vpce-[a-z0-9-]+\.)?` +
	`(?:s3|s3express-[a-z0-9-]+|sts|iam|dynamodb|portal\.sso|oidc)(?:-fips)?(?:\.dualstack)?` +
	`(?:[.-](?:global|[a-z]{2,4}(?:-[a-z]+)+-\d+))?(?:\.vpce)?$`)

// isAWS reports whether a URL is one of AWS's own.
func isAWS(endpoint string) bool {
	host := hostOf(endpoint)
	return slices.ContainsFunc([]string{
		".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".api.amazonwebservices.com.cn", ".amazonaws.eu",
		".api.amazonwebservices.eu",
		".c2s.ic.gov", ".sc2s.sgov.gov", ".cloud.adc-e.uk", ".csp.hci.ic.gov",
	}, func(suffix string) bool {
		service, ok := strings.CutSuffix(host, suffix)
		return ok && awsService.MatchString(service)
	})
}

func isLoopback(endpoint string) bool {
	host := hostOf(endpoint)
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// hostOf is the host of a URL, which may have no scheme.
func hostOf(endpoint string) string {
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// redacted is a URL without a password or a query.
func redacted(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "a URL that is none"
	}
	u.RawQuery = ""
	return u.Redacted()
}
