package s3bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	awsbase "github.com/hashicorp/aws-sdk-go-base/v2"
	"github.com/hashicorp/aws-sdk-go-base/v2/diag"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/lazyre"
)

const (
	defaultMaxRetries = 5                      // attempts, as the engines'
	maxBackoff        = 2 * time.Second        // between attempts of a read: somebody waits at a terminal
	metadataDial      = 500 * time.Millisecond // the metadata service is on the same host
	customRegion      = "us-east-1"            // what a signature for a store without regions names
	metadataDisabled  = "AWS_EC2_METADATA_DISABLED"
)

// errNoCredentials ends with what to do.
const errNoCredentials = "no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, " +
	"or run where an instance or container role provides them"

// Open resolves credentials, region, endpoint and proxies as the engines do and returns the bucket. It
// asks nothing of S3, and of STS only for roles to assume and for accounts to check, so that it costs
// next to nothing. Errors match [statelatch.ErrInvalid] where cfg or the environment is wrong, and
// [statelatch.ErrDenied] where there are no usable credentials.
func Open(ctx context.Context, name string, cfg Config) (*Bucket, error) {
	if name == "" {
		return nil, fmt.Errorf("%w bucket %q: it is empty", statelatch.ErrInvalid, name)
	}
	client, err := cfg.open(ctx)
	if err != nil {
		if se, ok := errors.AsType[*statelatch.StoreError](err); ok {
			se.Bucket = name
		}
		return nil, err
	}
	return New(client, name, cfg.ObjectOptions, cfg.Timeouts)
}

// OpenClient is Open for what package bucket has no words for: a bucket's own configuration. The client sends a write
// again as the SDK sees fit, so it must not be used on objects. Errors as for Open, but a *statelatch.StoreError names
// no bucket.
func OpenClient(ctx context.Context, cfg Config) (*s3.Client, error) { return cfg.open(ctx) }

// open completes c from the environment and makes a client of it.
func (c *Config) open(ctx context.Context) (*s3.Client, error) {
	if err := c.resolve(); err != nil {
		return nil, err
	}
	awsConfig, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	return c.client(awsConfig)
}

// connect finds credentials and the rest of what every service needs. Its StoreErrors name no bucket.
func (c *Config) connect(ctx context.Context) (aws.Config, error) {
	if c.onlyMetadataLeft() && !c.metadataReachable(ctx) {
		return aws.Config{}, denied(errors.New(errNoCredentials))
	}
	base := c.base()
	awsConfig, err := load(ctx, &base)
	if err != nil {
		return aws.Config{}, c.loadError(ctx, err)
	}
	awsConfig.APIOptions = append(awsConfig.APIOptions, withoutLogs, leaveUnsigned)
	awsConfig.ClientLogMode, awsConfig.Logger = 0, logging.Nop{}
	if len(c.AllowedAccountIDs)+len(c.ForbiddenAccountIDs) > 0 {
		if err := checkAccount(ctx, awsConfig, base); err != nil {
			return aws.Config{}, denied(err)
		}
	}
	return awsConfig, nil
}

// resolve fills in what the engines read from the environment and the SDK does not, and
// reports the first argument that cannot be right.
func (c *Config) resolve() error {
	env := os.Getenv
	c.SSECustomerKey = cmp.Or(c.SSECustomerKey, env("AWS_SSE_CUSTOMER_KEY"))
	if err := c.ObjectOptions.validate(); err != nil {
		return err
	}
	for _, e := range [...]struct {
		field *string
		name  string
	}{{&c.Endpoints.S3, "s3"}, {&c.Endpoints.STS, "sts"}, {&c.Endpoints.IAM, "iam"}, {&c.Endpoints.SSO, "sso"}} {
		if err := resolveEndpoint(e.name, e.field); err != nil {
			return err
		}
	}
	c.EC2MetadataServiceEndpoint = cmp.Or(c.EC2MetadataServiceEndpoint, env("AWS_EC2_METADATA_SERVICE_ENDPOINT"),
		env("AWS_METADATA_URL"))
	if f := env("AWS_SHARED_CONFIG_FILE"); len(c.SharedConfigFiles) == 0 && f != "" {
		c.SharedConfigFiles = []string{f}
	}
	if w := c.AssumeRoleWithWebIdentity; w != nil {
		filled := *w
		filled.RoleARN = cmp.Or(w.RoleARN, env("AWS_ROLE_ARN"))
		filled.SessionName = cmp.Or(w.SessionName, env("AWS_ROLE_SESSION_NAME"))
		if w.WebIdentityToken == "" && w.WebIdentityTokenFile == "" {
			filled.WebIdentityToken = env("AWS_WEB_IDENTITY_TOKEN")
			filled.WebIdentityTokenFile = env("AWS_WEB_IDENTITY_TOKEN_FILE")
		}
		c.AssumeRoleWithWebIdentity = &filled
	}
	return c.validate()
}

var accountID = lazyre.New(`^[0-9]{12}$`)

func (c *Config) validate() error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w "+format, append([]any{statelatch.ErrInvalid}, args...)...)
	}
	switch w := c.AssumeRoleWithWebIdentity; {
	case c.AccessKey == "" && (c.SecretKey != "" || c.Token != ""):
		return invalid("access_key: secret_key or token is given without it; give all or none")
	case c.AccessKey != "" && c.SecretKey == "":
		return invalid("secret_key: access_key is given without it; give both or none")
	case c.ExpectedBucketOwner != "" && !accountID.MatchString(c.ExpectedBucketOwner):
		return invalid("expected bucket owner %q: want an account ID of 12 digits", c.ExpectedBucketOwner)
	case len(c.AllowedAccountIDs) > 0 && len(c.ForbiddenAccountIDs) > 0:
		return invalid("allowed_account_ids: it cannot be combined with forbidden_account_ids; give one of them")
	case c.MaxRetries < 0:
		return invalid("max_retries %d: want at least 1", c.MaxRetries)
	case c.RetryMode != "" && c.RetryMode != string(aws.RetryModeStandard) && c.RetryMode != string(aws.RetryModeAdaptive):
		return invalid("retry_mode %q: want %q or %q", c.RetryMode, aws.RetryModeStandard, aws.RetryModeAdaptive)
	case w != nil && w.RoleARN == "":
		return invalid("assume_role_with_web_identity.role_arn: it is empty; give it or set AWS_ROLE_ARN")
	case w != nil && w.WebIdentityToken == "" && w.WebIdentityTokenFile == "":
		return invalid("assume_role_with_web_identity.web_identity_token: give it, web_identity_token_file, or " +
			"AWS_WEB_IDENTITY_TOKEN_FILE")
	}
	for i, r := range c.AssumeRole {
		if r.RoleARN == "" {
			return invalid("assume_role.role_arn: it is empty (role %d of %d)", i+1, len(c.AssumeRole))
		}
	}
	for _, p := range [...]struct{ name, value string }{{"http_proxy", c.HTTPProxy}, {"https_proxy", c.HTTPSProxy}} {
		if _, err := url.Parse(p.value); err != nil {
			return invalid("%s: it is not a URL", p.name) // which may hold a password
		}
	}
	if c.CustomCABundle != "" {
		if _, err := os.Stat(expandHome(c.CustomCABundle)); err != nil {
			return invalid("custom_ca_bundle: %w", err)
		}
	}
	return c.checkFiles(invalid)
}

// maxNamedFile is how long a file of credentials, tokens or certificates may be.
const maxNamedFile = 4 << 20

// checkFiles refuses what the SDK would wait for, or read for ever: a configuration from elsewhere may name a pipe or a
// device.
func (c *Config) checkFiles(invalid func(string, ...any) error) error {
	named := map[string][]string{
		"custom_ca_bundle": {c.CustomCABundle}, "shared_config_files": c.SharedConfigFiles,
		"shared_credentials_files": c.SharedCredentialsFiles,
	}
	if w := c.AssumeRoleWithWebIdentity; w != nil {
		named["assume_role_with_web_identity.web_identity_token_file"] = []string{w.WebIdentityTokenFile}
	}
	for name, files := range named {
		for _, f := range files {
			info, err := os.Stat(expandHome(f))
			switch {
			case f == "" || f == os.DevNull || err != nil: // which the SDK has to say something about
			case !info.Mode().IsRegular():
				return invalid("%s: %s is not a regular file", name, f)
			case info.Size() > maxNamedFile:
				return invalid("%s: %s is longer than %d MiB", name, f, maxNamedFile>>20)
			}
		}
	}
	return nil
}

// resolveEndpoint finds and checks the URL of a service in place. Without one it stays empty.
func resolveEndpoint(service string, value *string) error {
	upper := strings.ToUpper(service)
	*value = cmp.Or(*value, os.Getenv("AWS_ENDPOINT_URL_"+upper), os.Getenv("AWS_"+upper+"_ENDPOINT"))
	if *value == "" {
		return nil
	}
	if !strings.Contains(*value, "://") {
		*value = "https://" + *value
	}
	u, err := url.Parse(*value)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" ||
		u.Fragment != "" {
		return fmt.Errorf("%w endpoints.%s %q: want a URL such as https://%[2]s.example.com, without user, "+
			"query and fragment", statelatch.ErrInvalid, service, shownURL(u))
	}
	return nil
}

// shownURL is what may be shown of a URL, nil if it is none: a user, and what is behind the path, may be secret.
func shownURL(u *url.URL) string {
	switch {
	case u == nil:
		return "..."
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return u.Scheme + "://" + u.Host + "..."
	}
	return u.String()
}

// base puts c into the words of the library that the engines resolve with.
func (c *Config) base() awsbase.Config {
	b := awsbase.Config{
		AccessKey:                      c.AccessKey,
		AllowedAccountIds:              c.AllowedAccountIDs,
		CallerName:                     "Statelatch",
		CustomCABundle:                 c.CustomCABundle,
		EC2MetadataServiceEndpoint:     c.EC2MetadataServiceEndpoint,
		EC2MetadataServiceEndpointMode: c.EC2MetadataServiceEndpointMode,
		ForbiddenAccountIds:            c.ForbiddenAccountIDs,
		IamEndpoint:                    c.Endpoints.IAM,
		Insecure:                       c.Insecure,
		MaxBackoff:                     maxBackoff,
		MaxRetries:                     cmp.Or(c.MaxRetries, defaultMaxRetries),
		NoProxy:                        c.NoProxy,
		Profile:                        c.Profile,
		HTTPProxyMode:                  awsbase.HTTPProxyModeLegacy,
		Region:                         c.Region,
		RetryMode:                      aws.RetryMode(c.RetryMode),
		SecretKey:                      c.SecretKey,
		SharedConfigFiles:              c.SharedConfigFiles,
		SharedCredentialsFiles:         c.SharedCredentialsFiles,
		SkipCredsValidation:            true,
		SkipRequestingAccountId:        true,
		SsoEndpoint:                    c.Endpoints.SSO,
		StsEndpoint:                    c.Endpoints.STS,
		StsRegion:                      c.STSRegion,
		Token:                          c.Token,
		UseDualStackEndpoint:           c.UseDualStackEndpoint,
		UseFIPSEndpoint:                c.UseFIPSEndpoint,
	}
	b.HTTPProxy, b.HTTPSProxy = optional(c.HTTPProxy), optional(c.HTTPSProxy)
	for _, r := range c.AssumeRole {
		b.AssumeRole = append(b.AssumeRole, awsbase.AssumeRole(r))
	}
	if w := c.AssumeRoleWithWebIdentity; w != nil {
		b.AssumeRoleWithWebIdentity = (*awsbase.AssumeRoleWithWebIdentity)(w)
	}
	if skip := c.SkipMetadataAPICheck; skip != nil {
		b.EC2MetadataServiceEnableState = imds.ClientEnabled
		if *skip {
			b.EC2MetadataServiceEnableState = imds.ClientDisabled
		}
	}
	return b
}

// withoutLogs takes away what logs requests with their bodies. To have it left out is no choice: then the SDK writes to
// stderr what it thinks of the shared files.
func withoutLogs(stack *middleware.Stack) error {
	_, _ = stack.Initialize.Remove("TF_AWS_LogAttributeExtractor") // they may not be there
	_, _ = stack.Deserialize.Remove("TF_AWS_RequestResponseLogger")
	return nil
}

// environment serializes what changes the environment of the process for a moment.
var environment sync.Mutex

// load resolves credentials and the rest. It leaves the process's environment as it was,
// which the library does not, and which child processes would see.
func load(ctx context.Context, base *awsbase.Config) (aws.Config, error) {
	if base.EC2MetadataServiceEnableState != imds.ClientDefaultEnableState {
		environment.Lock()
		defer environment.Unlock()
		old, was := os.LookupEnv(metadataDisabled)
		defer func() {
			if was {
				_ = os.Setenv(metadataDisabled, old)
			} else {
				_ = os.Unsetenv(metadataDisabled)
			}
		}()
	}
	_, awsConfig, diags := awsbase.GetAwsConfig(ctx, base)
	return awsConfig, firstError(diags)
}

// firstError is the first error of diags, with its cause where it has one. What is not a
// *credentialsError is wrong in the configuration.
func firstError(diags diag.Diagnostics) error {
	failed := diags.Errors()
	if len(failed) == 0 {
		return nil
	}
	d, ok := failed[0].(diag.DiagnosticWithErr)
	if !ok || d.Err() == nil {
		return errors.New(strings.TrimSpace(failed[0].Summary() + ": " + failed[0].Detail()))
	}
	if _, native := d.(diag.NativeErrorDiagnostic); native {
		return d.Err()
	}
	if awsbase.IsNoValidCredentialSourcesError(d) {
		return &credentialsError{d.Err()}
	}
	return &credentialsError{fmt.Errorf("cannot assume the role: %w", d.Err())}
}

// loadError says what to do about a failure to find credentials.
func (c *Config) loadError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &statelatch.StoreError{Kind: statelatch.ErrBroken, Op: "open", Err: ctx.Err()}
	}
	if missing, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); ok {
		return fmt.Errorf("%w profile %q: there is none of that name in the AWS configuration ('aws configure "+
			"list-profiles' shows them)", statelatch.ErrInvalid, missing.Profile)
	}
	if _, ok := errors.AsType[*credentialsError](err); !ok {
		return fmt.Errorf("%w AWS configuration: %w", statelatch.ErrInvalid, err)
	}
	// The instance's metadata is the end of the chain: whoever fails there found nothing before.
	if oe, ok := errors.AsType[*smithy.OperationError](err); ok && oe.Service() == "ec2imds" {
		err = errors.New(errNoCredentials)
	}
	return denied(c.loginAdvice(ctx, err))
}

func denied(err error) error {
	return &statelatch.StoreError{Kind: statelatch.ErrDenied, Op: "open", Err: err}
}

// checkAccount asks STS whose credentials these are and compares.
func checkAccount(ctx context.Context, awsConfig aws.Config, base awsbase.Config) error {
	base.SkipCredsValidation = false
	id, _, diags := awsbase.GetAwsAccountIDAndPartition(ctx, awsConfig, &base)
	if err := firstError(diags); err != nil {
		return fmt.Errorf("look up the AWS account for allowed_account_ids or forbidden_account_ids: %w", err)
	}
	return base.VerifyAccountIDAllowed(id)
}

// client makes the S3 client.
func (c *Config) client(awsConfig aws.Config) (*s3.Client, error) {
	service, err := c.service(awsConfig, c.Endpoints.S3)
	if err != nil {
		return nil, err
	}
	client := s3.NewFromConfig(service.AWS, func(o *s3.Options) {
		err = service.Locate(&o.BaseEndpoint, &o.Region)
		o.UsePathStyle = c.UsePathStyle || pathStyleOnly(aws.ToString(o.BaseEndpoint))
		if c.ExpectedBucketOwner != "" {
			o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue("X-Amz-Expected-Bucket-Owner", c.ExpectedBucketOwner))
		}
	})
	if err != nil {
		return nil, err
	}
	return client, nil
}

// pathStyleOnly reports whether no bucket.HOST could resolve.
func pathStyleOnly(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" {
		return false
	}
	_, err = netip.ParseAddr(u.Hostname())
	return err == nil || !strings.Contains(u.Hostname(), ".")
}

// onlyMetadataLeft reports whether nothing but the instance's metadata service could
// know credentials: the one source that takes seconds to say no where there is none.
func (c *Config) onlyMetadataLeft() bool {
	if c.AccessKey != "" || c.Profile != "" || c.AssumeRoleWithWebIdentity != nil {
		return false
	}
	for _, name := range [...]string{
		"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
	} {
		if os.Getenv(name) != "" {
			return false
		}
	}
	files := append([]string{
		cmp.Or(os.Getenv("AWS_CONFIG_FILE"), "~/.aws/config"),
		cmp.Or(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), "~/.aws/credentials"),
	}, c.SharedConfigFiles...)
	for _, f := range append(files, c.SharedCredentialsFiles...) {
		if _, err := os.Stat(expandHome(f)); err == nil { //nolint:gosec // the user's own environment names the file
			return false
		}
	}
	return true
}

// metadataReachable reports whether something listens where the metadata service would.
func (c *Config) metadataReachable(ctx context.Context) bool {
	if skip := c.SkipMetadataAPICheck; skip != nil && *skip ||
		skip == nil && strings.EqualFold(os.Getenv(metadataDisabled), "true") {
		return false
	}
	endpoint := c.EC2MetadataServiceEndpoint
	if endpoint == "" {
		endpoint = "http://169.254.169.254"
		if strings.EqualFold(cmp.Or(c.EC2MetadataServiceEndpointMode, os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")),
			"IPv6") {
			endpoint = "http://[fd00:ec2::254]"
		}
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return true // let the SDK complain
	}
	dialer := net.Dialer{Timeout: metadataDial}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80")))
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

func expandHome(path string) string {
	rest, ok := strings.CutPrefix(path, "~/")
	home, err := os.UserHomeDir()
	if !ok || err != nil {
		return path
	}
	return filepath.Join(home, rest)
}
