package embedded_test

import (
	"errors"
	"io"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/statelatch/statelatch/embedded"
	"github.com/statelatch/statelatch/embedded/boltstore"
)

func config(t *testing.T) embedded.Config {
	t.Helper()
	return embedded.Config{Dir: filepath.Join(t.TempDir(), "data"), AccessKeyID: "key", SecretAccessKey: "secret-key"}
}

// open opens a store and a client of it.
func open(t *testing.T, cfg embedded.Config) (*embedded.Server, *s3.Client) {
	t.Helper()
	server, err := embedded.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server.Handler())
	t.Cleanup(func() {
		web.Close()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server, s3.New(s3.Options{
		BaseEndpoint: aws.String(web.URL), Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(cfg.AccessKeyID, cfg.SecretAccessKey, ""),
	})
}

func TestServer_EnsureBucket_VersionedAndEncrypted(t *testing.T) {
	t.Parallel()
	server, client := open(t, config(t))
	for range 2 { // the second time it exists
		if err := server.EnsureBucket(t.Context(), "states"); err != nil {
			t.Fatal(err)
		}
	}
	bucket := aws.String("states")
	versioning, err := client.GetBucketVersioning(t.Context(), &s3.GetBucketVersioningInput{Bucket: bucket})
	if err != nil || versioning.Status != types.BucketVersioningStatusEnabled {
		t.Errorf("versioning is %+v, %v; want Enabled", versioning, err)
	}
	put, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: aws.String("k"), Body: strings.NewReader("v")})
	if err != nil || put.ServerSideEncryption != types.ServerSideEncryptionAes256 || aws.ToString(put.VersionId) == "" {
		t.Fatalf("put: %+v, %v; want AES256 and a version", put, err)
	}
	got, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if body, err := io.ReadAll(got.Body); err != nil || string(body) != "v" {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestServer_EnsureBucket_LeavesAnExistingOneAsItIs(t *testing.T) {
	t.Parallel()
	server, client := open(t, config(t))
	bucket := aws.String("mine")
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	if err := server.EnsureBucket(t.Context(), "mine"); err != nil {
		t.Fatal(err)
	}
	versioning, err := client.GetBucketVersioning(t.Context(), &s3.GetBucketVersioningInput{Bucket: bucket})
	if err != nil || versioning.Status != "" {
		t.Errorf("versioning is %q, %v; want it untouched", versioning.Status, err)
	}
	if err := server.EnsureBucket(t.Context(), "Not_A_Bucket"); err == nil || !strings.Contains(err.Error(), "Not_A_Bucket") {
		t.Errorf("got %v, want an error that names the bucket", err)
	}
}

func TestServer_EnsureBucket_Region(t *testing.T) {
	t.Parallel()
	for _, region := range []string{"eu-central-1", "us-east-1"} {
		cfg := config(t)
		cfg.Region = region
		server, client := open(t, cfg)
		for range 2 {
			if err := server.EnsureBucket(t.Context(), "states"); err != nil {
				t.Fatal(err)
			}
		}
		out, err := client.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String("states")}, func(o *s3.Options) { o.Region = region })
		if err != nil || aws.ToString(out.BucketRegion) != region {
			t.Errorf("got %+v, %v, want the bucket in %s", out, err, region)
		}
		_, err = client.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String("states")}, func(o *s3.Options) { o.Region = "sa-east-1" })
		var response interface{ HTTPStatusCode() int }
		if !errors.As(err, &response) || response.HTTPStatusCode() != 301 {
			t.Errorf("got %v, want 301 for a signature for another region", err)
		}
		if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{
			Bucket: aws.String("elsewhere"), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "sa-east-1"},
		}, func(o *s3.Options) { o.Region = "sa-east-1" }); err != nil {
			t.Fatal(err)
		}
		if err := server.EnsureBucket(t.Context(), "elsewhere"); err == nil || !strings.Contains(err.Error(), "sa-east-1") || !strings.Contains(err.Error(), region) {
			t.Errorf("got %v, want an error with both regions", err)
		}
	}
}

func TestOpen_Refusals(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	open(t, cfg)
	if _, err := embedded.Open(cfg); !errors.Is(err, boltstore.ErrInUse) {
		t.Errorf("second process: got %v, want ErrInUse", err)
	}
	for _, broken := range []embedded.Config{
		{Dir: t.TempDir()},
		{Dir: t.TempDir(), AccessKeyID: "key"},
		{AccessKeyID: "key", SecretAccessKey: "secret-key"},
		{Dir: t.TempDir(), AccessKeyID: "key", SecretAccessKey: "secret-key", Region: "eu central"},
	} {
		if _, err := embedded.Open(broken); err == nil {
			t.Errorf("Open(%+v) succeeded", broken)
		}
	}
}
