package s3bucket

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/sdkcall"
)

// error makes an error of the driver's own finding.
func (c *call) error(kind error, message string) *statelatch.StoreError {
	return &statelatch.StoreError{Kind: kind, Op: c.Op.Name, Bucket: c.bucket.name, Key: c.key, Message: message}
}

// fail turns whatever the SDK reported into a StoreError of exactly one kind.
func (c *call) fail(err error) error {
	se := c.Fail(sdkcall.S3, err)
	se.Bucket, se.Key = c.bucket.name, c.key
	if se.Status == 0 {
		return se
	}
	se.Over = c.Op.Write && c.spoke && sdkcall.S3.Over(se.Status, se.Code)
	switch {
	case !c.Op.Write && c.header.Get("X-Amz-Delete-Marker") == "true":
		se.Kind = statelatch.ErrNotFound // a version that is a delete marker answers 405
	case errors.Is(se.Kind, statelatch.ErrBroken) || se.Status/100 == 3:
		if is, want := c.region(), c.header.Get("X-Amz-Bucket-Region"); want != "" && want != is {
			se.Message = fmt.Sprintf("the bucket is in region %q and was asked for in %q: set the region (AWS_REGION) to %[1]q",
				want, is)
		}
	}
	if errors.Is(se.Kind, statelatch.ErrUnsupported) && c.Op.Name == opPut.Name && len(c.bucket.Encoding()) > 0 {
		se.Err = statelatch.ErrEncoding
	}
	return se
}

func (c *call) region() string { return c.bucket.client.Options().Region }

// credentialsError marks a failure to obtain credentials inside the SDK's errors.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// Is makes it of the kind that it is, for users of a [Service].
func (e *credentialsError) Is(target error) bool { return target == statelatch.ErrDenied }

// markedCredentials is a provider whose errors can be told from others.
type markedCredentials struct{ aws.CredentialsProvider }

// Retrieve passes on what the provider has.
func (m markedCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	creds, err := m.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, &credentialsError{err}
	}
	return creds, nil
}
