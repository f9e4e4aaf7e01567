package s3bucket

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"github.com/statelatch/statelatch"
)

func TestConfig_Service_ResolvesLikeOpen(t *testing.T) {
	t.Setenv("AWS_EXAMPLE_ENDPOINT", "example.test:1234")
	cfg := Config{Region: "eu-central-1", AccessKey: "AKIDEXAMPLE", SecretKey: "secretexample"}
	for argument, want := range map[string]string{"": "https://example.test:1234", "http://other.test": "http://other.test"} {
		service, err := cfg.Service(t.Context(), "example", argument)
		if err != nil {
			t.Fatal(err)
		}
		var endpoint *string
		region := service.AWS.Region
		if err := service.Locate(&endpoint, &region); err != nil || aws.ToString(endpoint) != want || region != "eu-central-1" {
			t.Errorf("Locate: got %q in %q, %v, want %q in eu-central-1", aws.ToString(endpoint), region, err, want)
		}
		creds, err := service.AWS.Credentials.Retrieve(t.Context())
		if err != nil || creds.AccessKeyID != "AKIDEXAMPLE" {
			t.Errorf("credentials: got %v, %v", creds.AccessKeyID, err)
		}
		if client, ok := service.AWS.HTTPClient.(*http.Client); !ok || client.CheckRedirect == nil {
			t.Errorf("HTTP client: got %T, want one that follows no redirect", service.AWS.HTTPClient)
		}
		if service.Timeouts != (Timeouts{}).orDefaults() {
			t.Errorf("Timeouts: got %+v, want the defaults", service.Timeouts)
		}
	}
}

// The bucket is named where there is one.
func TestConfig_Service_NoCredentials(t *testing.T) {
	t.Parallel()
	cfg := Config{Region: "eu-central-1"}
	_, opened := Open(t.Context(), "bkt", cfg)
	_, service := cfg.Service(t.Context(), "example", "")
	for bucket, err := range map[string]error{"bkt": opened, "": service} {
		if se, ok := errors.AsType[*statelatch.StoreError](err); !ok || !errors.Is(err, statelatch.ErrDenied) || se.Bucket != bucket {
			t.Errorf("got %v, want ErrDenied for bucket %q", err, bucket)
		}
	}
}

// Credentials that cannot be renewed are told from a service that cannot be reached.
func TestService_CredentialsGone(t *testing.T) {
	t.Parallel()
	service, err := new(Config).service(aws.Config{
		HTTPClient: awshttp.NewBuildableClient(),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{}, errors.New("the session has ended")
		}),
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := service.AWS.Credentials.Retrieve(t.Context()); !errors.Is(err, statelatch.ErrDenied) {
		t.Errorf("got %v, want ErrDenied", err)
	}
}

func TestService_Locate_Region(t *testing.T) {
	t.Parallel()
	custom := "https://example.test"
	for _, tc := range []struct {
		service      Service
		found        *string
		region, want string // want empty: ErrInvalid
	}{
		{Service{}, nil, "eu-central-1", "eu-central-1"},
		{Service{}, nil, "", ""},
		{Service{}, nil, "mars-1", ""},
		{Service{skipRegionValidation: true}, nil, "mars-1", "mars-1"},
		{Service{endpoint: custom}, nil, "", customRegion},
		{Service{}, &custom, "", customRegion}, // the SDK found it
		{Service{endpoint: custom}, nil, "mars-1", "mars-1"},
	} {
		region := tc.region
		err := tc.service.Locate(&tc.found, &region)
		if tc.want == "" && !errors.Is(err, statelatch.ErrInvalid) || tc.want != "" && (err != nil || region != tc.want) {
			t.Errorf("%+v in %q: got %q, %v, want %q", tc.service, tc.region, region, err, tc.want)
		}
	}
}
