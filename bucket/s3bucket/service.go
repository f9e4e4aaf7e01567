package s3bucket

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go/logging"
	"github.com/hashicorp/aws-sdk-go-base/v2/validation"

	"github.com/statelatch/statelatch"
)

// idleConns is how many connections wait for their next request: more than there are requests at a time, since a new
// one takes longer than most answers.
const idleConns = 128

// Service is what a client of one AWS service is made of.
type Service struct {
	// AWS holds credentials, proxies, retries of reads and a region. Its connections have limits and follow no
	// redirect, and requests sign no header that proxies rewrite. A failure to obtain credentials matches
	// [statelatch.ErrDenied].
	AWS aws.Config
	// Timeouts are those of the [Config], its zero fields filled in.
	Timeouts Timeouts

	endpoint             string // empty: what the SDK finds
	skipRegionValidation bool
}

// Service resolves c for a service other than S3 that the engines reach with the same arguments, such as "dynamodb",
// exactly as [Open] does for S3. The endpoint overrides AWS's; empty: AWS_ENDPOINT_URL_DYNAMODB, AWS_DYNAMODB_ENDPOINT
// and the rest as for [Endpoints]. It sends what Open sends, and errors match as there; a *statelatch.StoreError names
// no bucket.
func (c Config) Service(ctx context.Context, name, endpoint string) (Service, error) {
	if err := c.resolve(); err != nil {
		return Service{}, err
	}
	if err := resolveEndpoint(name, &endpoint); err != nil {
		return Service{}, err
	}
	awsConfig, err := c.connect(ctx)
	if err != nil {
		return Service{}, err
	}
	return c.service(awsConfig, endpoint)
}

func (c *Config) service(awsConfig aws.Config, endpoint string) (Service, error) {
	httpClient, err := c.httpClient(awsConfig.HTTPClient)
	if err != nil {
		return Service{}, err
	}
	credentials := &renewedCredentials{current: awsConfig.Credentials, load: c.connect}
	httpClient.Transport = expiryWatcher{httpClient.Transport, credentials}
	awsConfig.HTTPClient = httpClient
	awsConfig.Credentials = markedCredentials{advisedCredentials{credentials, c}}
	awsConfig.Logger = logging.Nop{}
	return Service{
		AWS: awsConfig, Timeouts: c.Timeouts.orDefaults(), endpoint: endpoint,
		skipRegionValidation: c.SkipRegionValidation,
	}, nil
}

// Locate completes the BaseEndpoint and the Region in a client's Options, as the SDK prefilled them from s.AWS, and
// checks them. Errors match [statelatch.ErrInvalid].
func (s Service) Locate(baseEndpoint **string, region *string) error {
	if s.endpoint != "" {
		*baseEndpoint = &s.endpoint
	}
	custom := *baseEndpoint != nil // or the SDK found one
	if *region == "" && custom {
		*region = customRegion
	}
	switch {
	case *region == "":
		return fmt.Errorf("%w region: it is not set; set AWS_REGION, or region in the backend configuration",
			statelatch.ErrInvalid)
	case !custom && !s.skipRegionValidation && validation.SupportedRegion(*region) != nil:
		return fmt.Errorf("%w region %q: AWS has none of that name that this version knows; correct it (AWS_REGION), or "+
			"set skip_region_validation", statelatch.ErrInvalid, *region)
	}
	return nil
}

// httpClient limits every wait and follows no redirect: it would carry a customer's
// key and a session token to wherever the answer points.
func (c *Config) httpClient(from aws.HTTPClient) (*http.Client, error) {
	buildable, ok := from.(*awshttp.BuildableClient)
	if !ok {
		return nil, fmt.Errorf("%w HTTP client %T: cannot set its limits", statelatch.ErrInvalid, from)
	}
	limits := c.Timeouts.orDefaults()
	transport := buildable.WithDialerOptions(func(d *net.Dialer) { d.Timeout = limits.Dial }).GetTransport()
	transport.TLSHandshakeTimeout = limits.TLSHandshake
	transport.ResponseHeaderTimeout = limits.ResponseHeader
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = idleConns, idleConns
	transport.DisableCompression = true // bytes and ETag are to be those of the object
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}
