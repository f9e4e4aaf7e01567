package s3bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
)

// The codes with which IAM Identity Center refuses a session that is over.
var sessionOver = map[string]bool{
	"UnauthorizedException": true, "InvalidGrantException": true,
	"ExpiredTokenException": true,
}

// loginAdvice adds to a failure to get credentials how to log in, where they come from IAM Identity Center and its
// session is what is missing: nothing of it is kept on this machine, it is over, or the service says so.
func (c *Config) loginAdvice(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok && !sessionOver[api.ErrorCode()] {
		return err // somebody was asked, and it is something else
	}
	if errors.As(err, new(*net.OpError)) || errors.As(err, new(*net.DNSError)) ||
		errors.Is(err, context.DeadlineExceeded) {
		return err // nobody could be asked
	}
	profile := c.ssoProfile(ctx)
	if profile == "" {
		return err
	}
	return fmt.Errorf("the session of IAM Identity Center is over, or there is none: log in with: aws sso login "+
		"--profile %s (%w)", profile, err)
}

// ssoProfile is the profile to log in with, empty where the credentials come from elsewhere.
func (c *Config) ssoProfile(ctx context.Context) string {
	if c.AccessKey != "" || c.Profile == "" && os.Getenv("AWS_ACCESS_KEY_ID") != "" {
		return ""
	}
	name := cmp.Or(c.Profile, os.Getenv("AWS_PROFILE"), os.Getenv("AWS_DEFAULT_PROFILE"),
		config.DefaultSharedConfigProfile)
	shared, err := config.LoadSharedConfigProfile(ctx, name, func(o *config.LoadSharedConfigOptions) {
		expanded := func(files []string) (out []string) {
			for _, f := range files {
				out = append(out, expandHome(f))
			}
			return out
		}
		if f := os.Getenv("AWS_CONFIG_FILE"); f != "" {
			o.ConfigFiles = []string{f}
		}
		if len(c.SharedConfigFiles) > 0 {
			o.ConfigFiles = expanded(c.SharedConfigFiles)
		}
		if f := os.Getenv("AWS_SHARED_CREDENTIALS_FILE"); f != "" {
			o.CredentialsFiles = []string{f}
		}
		if len(c.SharedCredentialsFiles) > 0 {
			o.CredentialsFiles = expanded(c.SharedCredentialsFiles)
		}
	})
	if err != nil {
		return ""
	}
	for p := &shared; p != nil; p = p.Source { // a role is assumed with what its source has
		if (p.SSOSessionName != "" || p.SSOStartURL != "") && !p.Credentials.HasKeys() {
			return p.Profile
		}
	}
	return ""
}

// advisedCredentials add that advice to what fails later, when a session ends under way.
type advisedCredentials struct {
	aws.CredentialsProvider
	config *Config
}

// Retrieve passes on what the provider has.
func (a advisedCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	creds, err := a.CredentialsProvider.Retrieve(ctx)
	return creds, a.config.loginAdvice(ctx, err)
}
