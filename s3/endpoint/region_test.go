package endpoint

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

func regional(cfg *Config) { cfg.Regional = true }

func inRegion(region string) func(*s3.Options) { return func(o *s3.Options) { o.Region = region } }

func create(t *testing.T, c *s3.Client, name, location string) error {
	t.Helper()
	in := &s3.CreateBucketInput{Bucket: &name}
	if location != "" {
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(location)}
	}
	_, err := c.CreateBucket(t.Context(), in)
	return err
}

func TestRegion_WrongOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t, regional)
	const name = "far-bucket"
	right, wrong := f.newClient(inRegion("eu-west-1")), f.newClient(inRegion("us-east-1"))
	wantCode(t, create(t, right, name, "eu-west-1"), "", 0)
	if _, err := right.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(name), Key: aws.String("k"), Body: strings.NewReader("v")}); err != nil {
		t.Fatal(err)
	}
	for what, call := range map[string]func(*s3.Client) error{
		"list": func(c *s3.Client) error {
			_, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(name)})
			return err
		},
		"get": func(c *s3.Client) error {
			_, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(name), Key: aws.String("k")})
			return err
		},
		"put": func(c *s3.Client) error {
			_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(name), Key: aws.String("k"), Body: strings.NewReader("w")})
			return err
		},
		"location": func(c *s3.Client) error {
			_, err := c.GetBucketLocation(t.Context(), &s3.GetBucketLocationInput{Bucket: aws.String(name)})
			return err
		},
	} {
		err := call(wrong)
		wantCode(t, err, "PermanentRedirect", 301)
		response, ok := errors.AsType[*smithyhttp.ResponseError](err)
		if !ok || response.Response.Header.Get("X-Amz-Bucket-Region") != "eu-west-1" {
			t.Errorf("%s: got %v, want the region of the bucket in a header", what, err)
		}
		if err := call(right); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	a := f.send(t, request{method: "GET", target: "/" + name + "/k"})
	a.want(t, 301, "PermanentRedirect")
	if a.err.Bucket != name || a.err.Endpoint == "" || !strings.Contains(a.err.Message, "eu-west-1") || a.header.Get("Location") != "" {
		t.Errorf("got %+v, want the bucket, the endpoint and the region", a.err)
	}
	if a := f.send(t, request{method: "HEAD", target: "/" + name}); a.status != 301 || a.header.Get("X-Amz-Bucket-Region") != "eu-west-1" {
		t.Errorf("got %d, %v, want where the bucket is", a.status, a.header)
	}
	out, err := right.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String(name)})
	if err != nil || *out.BucketRegion != "eu-west-1" {
		t.Errorf("got %+v, %v, want the region", out, err)
	}
	f.send(t, request{method: "GET", target: "/no-such-bucket"}).want(t, 404, "NoSuchBucket")
	f.send(t, request{method: "GET", target: "/" + testBucket + "?location"}).want(t, 200, "")
	f.send(t, request{method: "GET", target: "/"}).want(t, 200, "")
}

func TestRegion_Create(t *testing.T) {
	t.Parallel()
	f := newFixture(t, regional)
	for _, tt := range []struct{ signed, location, code string }{
		{"us-east-1", "", ""},
		{"us-east-1", "eu-west-1", ""},
		{"eu-west-1", "eu-west-1", ""},
		{"eu-west-1", "", "IllegalLocationConstraintException"},
		{"eu-west-1", "us-west-2", "IllegalLocationConstraintException"},
	} {
		name := "b-" + tt.signed + "-" + tt.location + "-x"
		wantCode(t, create(t, f.newClient(inRegion(tt.signed)), name, tt.location), tt.code, 400)
		if tt.code != "" {
			continue
		}
		b, err := f.store.GetBucket(t.Context(), name)
		if err != nil || b.Location != tt.location {
			t.Errorf("got %+v, %v, want it in %q", b, err, tt.location)
		}
	}
}

// Without the option any region will do: whoever has another one in his environment goes on working.
func TestRegion_AnyByDefault(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, signed := range []string{"us-east-1", "eu-west-1"} {
		c := f.newClient(inRegion(signed))
		name := "bucket-of-" + signed
		wantCode(t, create(t, c, name, "ap-south-1"), "", 0)
		_, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(name)})
		wantCode(t, err, "", 0)
	}
}
