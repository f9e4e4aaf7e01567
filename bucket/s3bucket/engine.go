package s3bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// EngineWrite is how an engine writes states and locks: with checksums that not every store understands (B24).
// Terraform sends them behind the body over TLS, in chunks; OpenTofu in a header.
type EngineWrite struct {
	Engine           string // "terraform" or "tofu"
	SkipS3Checksum   bool   // skip_s3_checksum
	ChecksumRequired bool   // AWS_REQUEST_CHECKSUM_CALCULATION=when_required
}

// EngineWrites are how the engines write with the configuration of b.
func (b *Bucket) EngineWrites() []EngineWrite {
	required := b.client.Options().RequestChecksumCalculation == aws.RequestChecksumCalculationWhenRequired
	return []EngineWrite{
		{"terraform", b.objects.SkipS3Checksum, required},
		{"tofu", b.objects.SkipS3Checksum, required},
	}
}

// Cures are the other ways of that engine, the smallest change first.
func (w EngineWrite) Cures() []EngineWrite {
	var cures []EngineWrite
	for _, c := range []EngineWrite{{w.Engine, true, w.ChecksumRequired}, {w.Engine, true, true}} {
		if c != w && (len(cures) == 0 || c != cures[0]) {
			cures = append(cures, c)
		}
	}
	return cures
}

// String is what makes the engine write like that: arguments and variables.
func (w EngineWrite) String() string {
	var set []string
	if w.SkipS3Checksum {
		set = append(set, "skip_s3_checksum = true in the backend")
	}
	if w.ChecksumRequired {
		set = append(set, "AWS_REQUEST_CHECKSUM_CALCULATION=when_required in the environment")
	}
	return strings.Join(set, " and ")
}

// PutAs writes an object as an engine does; create makes it a lock's write, If-None-Match. Nothing is verified. It is
// for finding out whether a store understands that. Errors as for Put; the version ID may be empty.
func (b *Bucket) PutAs(
	ctx context.Context, w EngineWrite, key string, body []byte, create bool,
) (version string, err error) {
	ctx, c := b.beginUpload(ctx, opPut, key, "", int64(len(body)))
	defer c.End()
	in := &s3.PutObjectInput{
		Bucket: &b.name, Key: &key, Body: bytes.NewReader(body), ContentLength: aws.Int64(int64(len(body))),
		ContentType: aws.String("application/json"),
	}
	if create {
		in.IfNoneMatch = aws.String("*")
	}
	tofu := w.Engine == "tofu"
	switch {
	case w.SkipS3Checksum:
	case tofu:
		sum := sha256.Sum256(body)
		in.ChecksumSHA256 = aws.String(base64.StdEncoding.EncodeToString(sum[:]))
	default:
		in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256
	}
	b.objects.applyToPut(in)
	out, err := b.client.PutObject(ctx, in, c.options, func(o *s3.Options) {
		if !w.ChecksumRequired && (!tofu || !w.SkipS3Checksum) {
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenSupported
		}
		if tofu && strings.HasPrefix(b.Endpoint(), "https://") {
			o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
		}
	})
	if err != nil {
		return "", c.fail(err)
	}
	return aws.ToString(out.VersionId), nil
}

// Encoding names the arguments that make writes ask for more than storing bytes: encryption, an ACL, tags.
func (b *Bucket) Encoding() []string {
	o := b.objects
	var names []string
	if o.Encrypt {
		names = append(names, "encrypt")
		if o.KMSKeyID != "" {
			names = append(names, "kms_key_id")
		} else if o.SSECustomerKey != "" {
			names = append(names, "sse_customer_key")
		}
	}
	if o.ACL != "" {
		names = append(names, "acl")
	}
	if len(o.StateTags)+len(o.LockTags) > 0 {
		names = append(names, "tags")
	}
	return names
}
