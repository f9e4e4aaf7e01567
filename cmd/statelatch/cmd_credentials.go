package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/statelatch/statelatch/gateway/exchange"
	"github.com/statelatch/statelatch/gateway/session"
	"github.com/statelatch/statelatch/internal/treefile"
	"github.com/urfave/cli/v3"
)

type credentialsOptions struct {
	gateway   string
	plainHTTP bool
	keyFile   string
	tokenFile string
	tokenEnv  string
	audience  string
	lasts     time.Duration
}

func credentialsCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "credentials",
		Usage:     "begin a session with a gateway, for credential_process of AWS's configuration",
		UsageText: "statelatch credentials [flags]",
		Description: "Prints the credentials of a new session as JSON, as AWS's clients take them from a program. Each process of\n" +
			"an engine asks anew, and so has a session of its own: the gateway can tell it from others of the same owner.\n\n" +
			"What is exchanged: -key-file, -token-file or -token-env; else what the environment has, in this order:\n" +
			"AWS_WEB_IDENTITY_TOKEN_FILE, a token of GitHub Actions (permissions: id-token: write), AWS_ACCESS_KEY_ID with\n" +
			"AWS_SECRET_ACCESS_KEY.\n\n" +
			"In ~/.aws/config:\n" +
			"  [profile states]\n" +
			"  credential_process = statelatch credentials -gateway URL -key-file FILE\n\n" +
			"Examples:\n" +
			"  statelatch credentials -gateway https://states.example.com -token-file /var/run/token\n" +
			"  statelatch credentials -token-env GITLAB_OIDC_TOKEN",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "gateway", Usage: "`URL` of the gateway (default: AWS_ENDPOINT_URL_STS, AWS_ENDPOINT_URL)"},
			&cli.StringFlag{Name: "key-file", Usage: "`FILE` with a static key, as AWS's shared credentials (mode 0600)"},
			&cli.StringFlag{Name: "token-file", Usage: "`FILE` with a token of an OpenID Connect issuer"},
			&cli.StringFlag{Name: "token-env", Usage: "`NAME` of the variable with such a token"},
			&cli.StringFlag{Name: "audience", Value: "statelatch", Usage: "`NAME` whom a token of GitHub Actions is for"},
			&durationFlag{Name: "lasts", Usage: "`DURATION` of the session (default: as long as the gateway gives)"},
			&cli.BoolFlag{Name: "plain-http", Usage: "speak http:// to a gateway on another machine, though others may listen"},
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			return runCredentials(ctx, credentialsOptions{
				gateway: c.String("gateway"), plainHTTP: c.Bool("plain-http"), keyFile: c.String("key-file"),
				tokenFile: c.String("token-file"), tokenEnv: c.String("token-env"), audience: c.String("audience"),
				lasts: c.Duration("lasts"),
			}, term)
		},
	}
}

func runCredentials(ctx context.Context, o credentialsOptions, term terminal) error {
	given := 0
	for _, source := range []string{o.keyFile, o.tokenFile, o.tokenEnv} {
		if source != "" {
			given++
		}
	}
	if given > 1 {
		return usageError{errors.New("-key-file, -token-file and -token-env are three ways to say who asks: give one")}
	}
	r := exchange.Request{
		Gateway: cmp.Or(o.gateway, exchange.GatewayOf(term.Getenv)), Unprotected: o.plainHTTP, Lasts: o.lasts,
		CABundle: term.Getenv("AWS_CA_BUNDLE"),
	}
	if r.Gateway == "" {
		return usageError{errors.New("-gateway is missing, and neither AWS_ENDPOINT_URL_STS nor AWS_ENDPOINT_URL is set")}
	}
	var err error
	if r.Token, r.Key, err = o.who(ctx, term.Getenv); err != nil {
		return err
	}
	credentials, err := exchange.Begin(ctx, r)
	if err != nil {
		return err
	}
	return term.PrintJSON(credentials)
}

const maxTokenFile = 64 << 10 // bytes

// who is the token or the key that is exchanged.
func (o credentialsOptions) who(ctx context.Context, getenv func(string) string) (string, session.KeyPair, error) {
	fromFile := func(file string) (string, session.KeyPair, error) {
		data, err := treefile.ReadNamed(file, maxTokenFile)
		token := string(bytes.TrimSpace(data))
		if err == nil && token == "" {
			err = fmt.Errorf("the token file %s is empty", file)
		}
		return token, session.KeyPair{}, err
	}
	switch {
	case o.keyFile != "":
		pair, err := session.ReadKeyPair(o.keyFile)
		return "", pair, err
	case o.tokenFile != "":
		return fromFile(o.tokenFile)
	case o.tokenEnv != "":
		token := getenv(o.tokenEnv)
		if token == "" {
			return "", session.KeyPair{}, usageError{fmt.Errorf("-token-env: the variable %s is not set", o.tokenEnv)}
		}
		return token, session.KeyPair{}, nil
	case getenv("AWS_WEB_IDENTITY_TOKEN_FILE") != "":
		return fromFile(getenv("AWS_WEB_IDENTITY_TOKEN_FILE"))
	}
	if token, ok, err := exchange.GitHubToken(ctx, getenv, o.audience); ok {
		return token, session.KeyPair{}, err
	}
	pair := session.KeyPair{ID: getenv("AWS_ACCESS_KEY_ID"), Secret: getenv("AWS_SECRET_ACCESS_KEY")}
	if pair.ID == "" || pair.Secret == "" || getenv("AWS_SESSION_TOKEN") != "" {
		return "", session.KeyPair{}, usageError{errors.New("nothing says who asks: give -key-file, -token-file or " +
			"-token-env")}
	}
	return "", pair, nil
}
