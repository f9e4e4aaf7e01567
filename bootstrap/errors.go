package bootstrap

import (
	"context"
	"errors"
	"fmt"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/sdkcall"
)

// NotOurs says of an error of [Inspect] that a bucket is somebody else's, where that is why it may not be seen. Owner
// is the account that it is expected to belong to; empty: any.
func NotOurs(err error, bucket, owner string) error {
	se, ok := errors.AsType[*statelatch.StoreError](err)
	if !ok || !errors.Is(se.Kind, statelatch.ErrDenied) || se.Code != "" && se.Code != "AccessDenied" {
		// such as wrong credentials
		return err
	}
	belongs := "belongs to somebody else"
	if owner != "" {
		belongs = "does not belong to account " + owner
	}
	return fmt.Errorf("s3://%s %s, or the credentials may not see it; nothing was changed: %w", bucket, belongs, err)
}

// call makes one call on a bucket. Errors are a *statelatch.StoreError. Writes of a bucket's configuration can be
// repeated, so none is ambiguous: what was not answered is ErrBroken.
func call(ctx context.Context, bucket, name, action string, do func(context.Context) error) error {
	ctx, c := sdkcall.Begin(ctx, callTimeout, sdkcall.Op{Name: name, Action: action})
	defer c.End()
	err := do(ctx)
	if err == nil {
		return nil
	}
	se := c.Fail(sdkcall.S3, err)
	se.Bucket = bucket
	switch se.Code {
	case "BucketAlreadyExists":
		se.Kind, se.Message = statelatch.ErrDenied,
			"the name belongs to somebody else, and S3 owns each name once in the world: choose another one"
	case "InvalidBucketAclWithObjectOwnership":
		se.Message = "the bucket's ACL gives rights to others, which bucket owner enforced ownership ends: grant them in " +
			"the bucket policy, then take them " +
			"off the ACL (aws s3api put-bucket-acl --acl private), and run the command again"
	}
	return se
}
