package endpoint

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/statelatch/statelatch/s3/s3model"
)

func TestCopyObject(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.enableVersioning(t)
	key := "src/ä +%.txt"
	put, err := f.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(testBucket), Key: &key, Body: strings.NewReader("v1"), ContentType: aws.String("text/x"),
		Metadata: map[string]string{"m": "1"}, Tagging: aws.String("a=b&c=d%20e"),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.put(t, key, "v2")
	source := aws.String(testBucket + "/src/%C3%A4%20%2B%25.txt?versionId=" + *put.VersionId)

	out, err := f.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String(testBucket), Key: aws.String("dst"), CopySource: source, IfNoneMatch: aws.String("*")})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(out.CopySourceVersionId) != *put.VersionId || aws.ToString(out.CopyObjectResult.ETag) != *put.ETag || out.CopyObjectResult.LastModified == nil {
		t.Errorf("got %+v, want the version and ETag of the source", out)
	}
	got, err := f.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(testBucket), Key: aws.String("dst")})
	if err != nil {
		t.Fatal(err)
	}
	if body := readAll(t, got.Body); body != "v1" || *got.ContentType != "text/x" || got.Metadata["m"] != "1" || aws.ToInt32(got.TagCount) != 2 {
		t.Errorf("got %q %q %v with %d tags, want all of the source", body, *got.ContentType, got.Metadata, aws.ToInt32(got.TagCount))
	}

	_, err = f.CopyObject(t.Context(), &s3.CopyObjectInput{
		Bucket: aws.String(testBucket), Key: aws.String("dst"), CopySource: source,
		MetadataDirective: types.MetadataDirectiveReplace, TaggingDirective: types.TaggingDirectiveReplace,
		ContentType: aws.String("text/y"), Tagging: aws.String("z=1"), IfMatch: out.CopyObjectResult.ETag, ServerSideEncryption: "AES256",
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err = f.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(testBucket), Key: aws.String("dst")})
	if err != nil {
		t.Fatal(err)
	}
	if body := readAll(t, got.Body); body != "v1" || *got.ContentType != "text/y" || len(got.Metadata) != 0 || aws.ToInt32(got.TagCount) != 1 || got.ServerSideEncryption != "AES256" {
		t.Errorf("got %q %q %v with %d tags, want the replaced ones", body, *got.ContentType, got.Metadata, aws.ToInt32(got.TagCount))
	}

	for _, tt := range []struct {
		name   string
		edit   func(*s3.CopyObjectInput)
		code   string
		status int
	}{
		{"to itself", func(in *s3.CopyObjectInput) {
			in.Key = aws.String("dst")
			in.CopySource = aws.String(testBucket + "/dst")
		}, "InvalidRequest", 400},
		{"exists", func(in *s3.CopyObjectInput) { in.IfNoneMatch = aws.String("*") }, "PreconditionFailed", 412},
		{"other ETag", func(in *s3.CopyObjectInput) { in.IfMatch = aws.String(`"x"`) }, "PreconditionFailed", 412},
		{"source other ETag", func(in *s3.CopyObjectInput) { in.CopySourceIfMatch = aws.String(`"x"`) }, "PreconditionFailed", 412},
		{"source same ETag", func(in *s3.CopyObjectInput) { in.CopySourceIfNoneMatch = put.ETag }, "PreconditionFailed", 412},
		{"source modified", func(in *s3.CopyObjectInput) { in.CopySourceIfUnmodifiedSince = aws.Time(time.Unix(1, 0)) }, "PreconditionFailed", 412},
		{"source match", func(in *s3.CopyObjectInput) { in.CopySourceIfMatch = put.ETag }, "", 0},
		{"no source", func(in *s3.CopyObjectInput) { in.CopySource = aws.String(testBucket + "/none") }, "NoSuchKey", 404},
		{"no source bucket", func(in *s3.CopyObjectInput) { in.CopySource = aws.String("other-bucket/none") }, "NoSuchBucket", 404},
		{"no source version", func(in *s3.CopyObjectInput) { in.CopySource = aws.String(testBucket + "/dst?versionId=none") }, "NoSuchVersion", 404},
		{"source nonsense", func(in *s3.CopyObjectInput) { in.CopySource = aws.String("nothing") }, "InvalidArgument", 400},
		{"directive nonsense", func(in *s3.CopyObjectInput) { in.MetadataDirective = "MERGE" }, "InvalidArgument", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := &s3.CopyObjectInput{Bucket: aws.String(testBucket), Key: aws.String("dst"), CopySource: source}
			tt.edit(in)
			_, err := f.CopyObject(t.Context(), in)
			wantCode(t, err, tt.code, tt.status)
		})
	}
}

// A copy whose source header is empty must not become a PUT of an empty object.
func TestCopyObject_EmptySource(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, "k", "untouched")
	for _, target := range []string{"/k", "/k?uploadId=x&partNumber=1"} {
		a := f.send(t, request{method: "PUT", target: "/" + testBucket + target, header: map[string]string{"x-amz-copy-source": ""}})
		a.want(t, 400, "InvalidArgument")
	}
	if got := f.get(t, "k"); got != "untouched" {
		t.Errorf("got %q, want the object untouched", got)
	}
}

// A condition that cannot be understood must not count as one that holds.
func TestCopyObject_BrokenSourceDate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, "src", "x")
	for _, name := range []string{"x-amz-copy-source-if-unmodified-since", "x-amz-copy-source-if-modified-since"} {
		a := f.send(t, request{method: "PUT", target: "/" + testBucket + "/dst", header: map[string]string{
			"x-amz-copy-source": testBucket + "/src", name: "2013-05-24T00:00:00Z",
		}})
		a.want(t, 400, "InvalidArgument")
	}
	f.send(t, request{method: "GET", target: "/" + testBucket + "/dst"}).want(t, 404, "NoSuchKey")
}

// overwriteAfterHead is a store in which somebody writes the source between the look at it and the copy.
type overwriteAfterHead struct {
	s3model.Store
	key   string
	count int
}

func (s *overwriteAfterHead) Head(ctx context.Context, req s3model.ReadRequest) (s3model.Object, error) {
	obj, err := s.Store.Head(ctx, req)
	if err == nil && req.Key == s.key {
		s.count++
		_, err = s.Put(ctx, s3model.PutRequest{Bucket: req.Bucket, Key: req.Key}, strings.NewReader(strings.Repeat("new", s.count)))
	}
	return obj, err
}

func TestCopyObject_SourceChanges(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) { c.Store = &overwriteAfterHead{Store: c.Store, key: "src"} })
	etag := f.put(t, "src", "old").ETag
	in := s3.CopyObjectInput{Bucket: aws.String(testBucket), Key: aws.String("dst"), CopySource: aws.String(testBucket + "/src"), IfNoneMatch: aws.String("*")}
	conditional := in
	conditional.CopySourceIfMatch = etag
	_, err := f.CopyObject(t.Context(), &conditional)
	wantCode(t, err, "PreconditionFailed", 412)
	// Without a condition on the source a 412 would say that the destination exists.
	_, err = f.CopyObject(t.Context(), &in)
	wantCode(t, err, "", 0)
	if got := f.get(t, "dst"); got != "newnew" {
		t.Errorf("got %q, want the source as it was when it was copied", got)
	}
}
