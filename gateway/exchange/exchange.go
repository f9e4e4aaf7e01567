// Package exchange is a client of a gateway's STS door: a static key or a token of an issuer in, a session out, in the
// form in which AWS's clients take credentials from a program (credential_process). One exchange is one session, so
// that a program that is asked by each process gives each its own.
package exchange

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/gateway/session"
	"github.com/statelatch/statelatch/internal/treefile"
)

// Request is what is exchanged, and where.
type Request struct {
	// Gateway is the URL of the STS door: https://, or http:// on this machine unless Unprotected.
	Gateway     string
	Unprotected bool            // http:// will do anywhere, and whoever listens learns the session
	CABundle    string          // a file of certificate authorities in place of the system's; empty: those
	Token       string          // of an issuer; empty: Key is exchanged
	Key         session.KeyPair // a static key; ignored where there is a Token
	Lasts       time.Duration   // how long the session is to last; zero: as long as the gateway gives
}

// Credentials are those of a session, as credential_process has them.
type Credentials struct {
	Version         int       // 1
	AccessKeyID     string    `json:"AccessKeyId"` // ASIA...
	SecretAccessKey string    // what signs
	SessionToken    string    // what goes with each request
	Expiration      time.Time // the end of the session
}

const (
	answerTime = 20 * time.Second // for all tries together
	maxAnswer  = 64 << 10         // bytes, of who is asked for a token
)

// Begin begins a session. Errors match [statelatch.ErrInvalid] for a request that makes no sense,
// [statelatch.ErrDenied] where the gateway refuses the key or the token, and [statelatch.ErrBroken] where it cannot be
// asked.
func Begin(ctx context.Context, r Request) (Credentials, error) {
	if err := r.check(); err != nil {
		return Credentials{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	web, err := r.client()
	if err != nil {
		return Credentials{}, err
	}
	// Nothing of the environment or of shared files: the caller may be named there, as the program to ask.
	client := sts.New(sts.Options{
		BaseEndpoint: &r.Gateway, Region: "us-east-1", HTTPClient: web,
		Credentials: credentials.NewStaticCredentialsProvider(r.Key.ID, r.Key.Secret, ""),
	})
	// The door asks for both, and takes them as they are.
	role, name := aws.String("arn:aws:iam::000000000000:role/statelatch"), aws.String("statelatch")
	var seconds *int32
	if r.Lasts > 0 {
		seconds = aws.Int32(int32(r.Lasts / time.Second))
	}
	var got *types.Credentials
	if r.Token != "" {
		out, failed := client.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
			RoleArn: role, RoleSessionName: name, WebIdentityToken: &r.Token, DurationSeconds: seconds,
		})
		if err = failed; err == nil {
			got = out.Credentials
		}
	} else {
		out, failed := client.AssumeRole(ctx, &sts.AssumeRoleInput{
			RoleArn: role, RoleSessionName: name, DurationSeconds: seconds,
		})
		if err = failed; err == nil {
			got = out.Credentials
		}
	}
	if err != nil {
		return Credentials{}, r.failure(err)
	}
	if got == nil || got.Expiration == nil {
		return Credentials{}, fmt.Errorf("%w: %s answers without credentials: is it a gateway?", statelatch.ErrBroken,
			r.Gateway)
	}
	return Credentials{
		Version: 1, AccessKeyID: aws.ToString(got.AccessKeyId), SecretAccessKey: aws.ToString(got.SecretAccessKey),
		SessionToken: aws.ToString(got.SessionToken), Expiration: got.Expiration.UTC(),
	}, nil
}

func (r *Request) check() error {
	u, err := url.Parse(r.Gateway)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil:
		return fmt.Errorf("%w gateway: want https://HOST[:PORT]", statelatch.ErrInvalid)
	case u.Scheme == "http" && !r.Unprotected && !loopback(u.Hostname()):
		return fmt.Errorf("%w gateway: at %s whoever listens on the way learns the session: want https://",
			statelatch.ErrInvalid, u.Redacted())
	case r.Token == "" && r.Key == session.KeyPair{}:
		return fmt.Errorf("%w exchange: there is neither a token nor a key", statelatch.ErrInvalid)
	case r.Lasts < 0 || r.Lasts%time.Second != 0:
		return fmt.Errorf("%w duration %s: want whole seconds", statelatch.ErrInvalid, r.Lasts)
	}
	return nil
}

// client knows the authorities of CABundle.
func (r *Request) client() (*awshttp.BuildableClient, error) {
	client := awshttp.NewBuildableClient()
	if r.CABundle == "" {
		return client, nil
	}
	pem, err := treefile.ReadNamed(r.CABundle, treefile.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("%w certificate authorities: %w", statelatch.ErrInvalid, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w certificate authorities: %s has no certificate in PEM", statelatch.ErrInvalid, r.CABundle)
	}
	return client.WithTransportOptions(func(t *http.Transport) { t.TLSClientConfig.RootCAs = pool }), nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// failure is an error of the SDK in our words.
func (r *Request) failure(err error) error {
	api, answered := errors.AsType[smithy.APIError](err)
	if answered && api.ErrorFault() != smithy.FaultServer && api.ErrorCode() != "IDPCommunicationError" {
		return fmt.Errorf("%w: the gateway at %s says %s: %s", statelatch.ErrDenied, r.Gateway, api.ErrorCode(),
			api.ErrorMessage())
	}
	return fmt.Errorf("%w: the gateway at %s: %w", statelatch.ErrBroken, r.Gateway, err)
}

// GitHubToken asks GitHub Actions for a token of the job, for an audience. It is false where getenv says that this is
// no job of theirs that may have one (permissions: id-token: write). Errors match [statelatch.ErrBroken],
// [statelatch.ErrDenied] or [statelatch.ErrInvalid].
func GitHubToken(ctx context.Context, getenv func(string) string, audience string) (token string, ok bool, err error) {
	address, bearer := getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	if address == "" || bearer == "" {
		return "", false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && !loopback(u.Hostname()) {
		return "", true, fmt.Errorf("%w ACTIONS_ID_TOKEN_REQUEST_URL: want https://", statelatch.ErrInvalid)
	}
	query := u.Query()
	query.Set("audience", audience)
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", true, fmt.Errorf("%w ACTIONS_ID_TOKEN_REQUEST_URL", statelatch.ErrInvalid)
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", true, fmt.Errorf("%w: GitHub Actions gives no token: %w", statelatch.ErrBroken, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	var answer struct {
		Value string `json:"value"`
	}
	switch {
	case err != nil:
		return "", true, fmt.Errorf("%w: GitHub Actions gives no token: %w", statelatch.ErrBroken, err)
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return "", true, fmt.Errorf("%w: GitHub Actions gives no token: %s", statelatch.ErrDenied, resp.Status)
	case resp.StatusCode != http.StatusOK:
		return "", true, fmt.Errorf("%w: GitHub Actions gives no token: %s", statelatch.ErrBroken, resp.Status)
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Value == "" {
		return "", true, fmt.Errorf("%w: GitHub Actions answers without a token", statelatch.ErrBroken)
	}
	return answer.Value, true, nil
}

// GatewayOf is where a process with this environment finds the STS door, as AWS's clients look for STS; empty: nowhere.
func GatewayOf(getenv func(string) string) string {
	return cmp.Or(getenv("AWS_ENDPOINT_URL_STS"), getenv("AWS_ENDPOINT_URL"))
}
