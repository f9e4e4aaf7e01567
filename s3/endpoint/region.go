package endpoint

import (
	"errors"
	"net/http"

	"github.com/statelatch/statelatch/s3/s3model"
)

// checkRegion refuses a request that was signed for another region than its bucket is in, if regions matter. The one
// endpoint stands for those of all regions: the region of the signature is the endpoint that the client meant to ask.
func (c *call) checkRegion(op *operation) error {
	if !c.Regional || c.bucket == "" || op.name == "CreateBucket" {
		return nil
	}
	b, err := c.Store.GetBucket(c.ctx, c.bucket)
	if errors.Is(err, s3model.ErrNoSuchBucket) {
		return nil // which the operation says
	}
	if err != nil || b.Region() == c.sig.Region {
		return err
	}
	c.w.Header().Set("X-Amz-Bucket-Region", b.Region())
	return refuse("PermanentRedirect", http.StatusMovedPermanently,
		"The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future "+
			"requests to this endpoint. "+
			"The bucket is in the region "+b.Region()+", and the request was signed for "+c.sig.Region+
			": set the region of the client to "+b.Region()+".")
}

// checkNewRegion refuses a bucket in another region than the endpoint that was asked, if regions matter. That of
// us-east-1 makes buckets everywhere, as on AWS.
func (c *call) checkNewRegion(location string) error {
	if !c.Regional || c.sig.Region == s3model.DefaultRegion || location == c.sig.Region {
		return nil
	}
	which := "The " + location
	if location == "" {
		which = "The unspecified"
	}
	return refuse("IllegalLocationConstraintException", http.StatusBadRequest,
		which+" location constraint is incompatible for the region specific endpoint this request was sent to.")
}
