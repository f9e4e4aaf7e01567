package bootstrap

import (
	"context"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/sdkcall"
)

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
